//! `romaine queue status`, `peek` and `dead`.

use std::time::Duration;

use romaine::Client;
use romaine_edge::show_span;
use romaine_faultlab::scenario::table::Table;
use romaine_queue::{JobInfo, Place, Status};
use serde_json::{Value, json};

use super::{failure, queue};
use crate::exit::Outcome;
use crate::out::say;

/// What `status` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 1 when a queue is in trouble: NOBODY WORKS although jobs wait, or workers are SILENT."
)]
pub(crate) struct StatusArgs {
    /// The queues.
    #[arg(required = true)]
    queues: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `peek` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PeekArgs {
    /// The queue.
    queue: String,
    /// Where to look.
    #[arg(long, value_enum, default_value = "waiting")]
    place: Where,
    /// Which is the first to be shown, from 0.
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// How many, 100 at most.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    count: u8,
    /// As JSON, payloads in full.
    #[arg(long)]
    json: bool,
}

/// What `dead` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadArgs {
    /// The queue.
    queue: String,
    /// Which is the first to be shown, from 0.
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// How many, 100 at most.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    count: u8,
    /// As JSON, payloads in full.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Where {
    Waiting,
    Delayed,
    Leased,
    Dead,
}

impl From<Where> for Place {
    fn from(place: Where) -> Self {
        match place {
            Where::Waiting => Self::Waiting,
            Where::Delayed => Self::Delayed,
            Where::Leased => Self::Leased,
            Where::Dead => Self::Dead,
        }
    }
}

/// The heading of [`row`].
pub(crate) const HEADING: [&str; 9] =
    ["queue", "waiting", "oldest", "delayed", "running", "dead", "done", "workers", "state"];

/// Whether somebody should look after it, and why: nobody works, or workers broke their promise to be heard of.
pub(crate) fn trouble(status: &Status) -> Option<String> {
    let overdue = status.consumers.iter().filter(|consumer| consumer.overdue().is_some()).count();
    match (&status.paused, overdue) {
        (Some(_), _) => None,
        (None, 0) if status.waiting > 0 && status.consumers_total == 0 => Some("NOBODY WORKS".to_owned()),
        (None, 0) => None,
        (None, overdue) => Some(format!("{overdue} SILENT")),
    }
}

/// A queue in a line.
pub(crate) fn row(status: &Status) -> Vec<String> {
    let state = match (&status.paused, trouble(status)) {
        (Some(reason), _) => format!("paused: {reason}"),
        (None, Some(trouble)) => trouble,
        (None, None) => "ok".to_owned(),
    };
    vec![
        status.queue.clone(),
        status.waiting.to_string(),
        status.oldest_waiting.map_or_else(|| "–".to_owned(), show_span),
        status.delayed.to_string(),
        status.leased.to_string(),
        status.dead.to_string(),
        status.totals.done.to_string(),
        status.consumers_total.to_string(),
        state,
    ]
}

/// Counts, ages, consumers.
pub(crate) async fn status(client: &Client, args: &StatusArgs) -> Outcome {
    let mut all = Vec::new();
    for name in &args.queues {
        all.push(queue(client, name)?.status().await.map_err(failure)?);
    }
    let is_well = all.iter().all(|status| trouble(status).is_none());
    if args.json {
        let all: Vec<Value> = all.iter().map(as_json).collect();
        say!("{:#}", Value::Array(all));
        return Ok(is_well);
    }
    let mut table = Table::new(&HEADING);
    all.iter().for_each(|status| table.row(row(status)));
    crate::out::text(format_args!("{}", table.text()));
    for status in &all {
        if status.consumers.is_empty() {
            continue;
        }
        let mut workers = Table::new(&["worker", "last heard of", "holds", "state"]);
        for consumer in &status.consumers {
            let state =
                consumer.overdue().map_or_else(|| "ok".into(), |late| format!("SILENT for {}", show_span(late)));
            workers.row(vec![consumer.name.clone(), show_span(consumer.last_claim), consumer.held.to_string(), state]);
        }
        crate::out::text(format_args!("\n{}\n{}", status.queue, workers.text()));
    }
    Ok(is_well)
}

fn millis(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

pub(crate) fn as_json(status: &Status) -> Value {
    let totals = &status.totals;
    let consumers: Vec<Value> = status
        .consumers
        .iter()
        .map(|consumer| {
            json!({
                "name": consumer.name,
                "last_claim_ms": millis(Some(consumer.last_claim)),
                "overdue_ms": millis(consumer.overdue()),
                "held": consumer.held,
            })
        })
        .collect();
    json!({
        "queue": status.queue, "time_ms": status.time_ms, "waiting": status.waiting, "delayed": status.delayed,
        "leased": status.leased, "dead": status.dead, "results": status.results, "paused": status.paused, "trouble": trouble(status),
        "oldest_waiting_ms": millis(status.oldest_waiting), "next_due_ms": millis(status.next_due),
        "consumers_total": status.consumers_total, "consumers": consumers,
        "totals": {
            "enqueued": totals.enqueued, "refused": totals.refused, "claimed": totals.claimed, "done": totals.done,
            "retried": totals.retried, "dead": totals.dead, "dropped": totals.dropped, "revived": totals.revived,
            "redeemed": totals.redeemed,
            "expired_leases": totals.expired_leases, "fenced": totals.fenced, "given_back": totals.given_back,
            "cancelled": totals.cancelled, "expired": totals.expired, "superseded": totals.superseded,
            "purged": totals.purged,
        },
    })
}

/// Jobs at a place.
pub(crate) async fn peek(client: &Client, args: &PeekArgs) -> Outcome {
    show(client, &args.queue, args.place.into(), (args.from, args.count), args.json).await
}

/// Dead letters.
pub(crate) async fn dead(client: &Client, args: &DeadArgs) -> Outcome {
    show(client, &args.queue, Place::Dead, (args.from, args.count), args.json).await
}

async fn show(client: &Client, name: &str, place: Place, (from, count): (usize, u8), as_json: bool) -> Outcome {
    let queue = queue(client, name)?;
    let jobs = queue.peek(place, from, usize::from(count)).await.map_err(failure)?;
    if as_json {
        say!("{:#}", Value::Array(jobs.iter().map(job_json).collect()));
        return Ok(true);
    }
    if jobs.is_empty() {
        say!("no job is {place} in {name}");
        return Ok(true);
    }
    let mut table = Table::new(&["id", "kind", "attempts", "priority", "worker", "error", "payload"]);
    for job in &jobs {
        table.row(vec![
            job.id.clone(),
            job.kind.clone(),
            format!("{}/{}", job.attempts, job.attempts_max.map_or_else(|| "–".into(), |most| most.to_string())),
            job.priority.to_string(),
            job.consumer.clone().unwrap_or_else(|| "–".into()),
            shortened(job.error.as_deref().unwrap_or("–")),
            shortened(&String::from_utf8_lossy(&job.payload)),
        ]);
    }
    crate::out::text(format_args!("{}", table.text()));
    Ok(true)
}

/// One line of a terminal's width.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 60;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= WIDTH { clean } else { clean.chars().take(WIDTH - 1).chain(['…']).collect() }
}

fn job_json(job: &JobInfo) -> Value {
    json!({
        "id": job.id, "kind": job.kind, "place": job.place.to_string(), "priority": job.priority.to_string(),
        "attempts": job.attempts, "attempts_max": job.attempts_max, "enqueued_ms": job.enqueued_ms,
        "expires_ms": job.expires_ms, "at_ms": job.at_ms, "consumer": job.consumer, "token": job.token,
        "unique": job.unique, "generation": job.generation, "error": job.error,
        "payload": String::from_utf8_lossy(&job.payload),
    })
}
