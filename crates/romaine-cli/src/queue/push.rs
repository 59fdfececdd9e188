//! `romaine queue push`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use romaine::Client;
use romaine_edge::parse_span;
use romaine_queue::{Durability, Enqueued, NewJob, Outcome as Accepted, Priority, Producer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{failure, queue};
use crate::exit::{Failure, Outcome};
use crate::out::say;

/// What `romaine queue push` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The queue.
    queue: String,
    /// What the job is about; `-` reads it from the standard input.
    #[arg(required_unless_present_any = ["file", "lines"], conflicts_with_all = ["file", "lines"])]
    payload: Option<String>,
    /// Read the payload from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    file: Option<PathBuf>,
    /// A job for each line of the standard input.
    #[arg(long)]
    lines: bool,
    /// The job's kind.
    #[arg(long, default_value = "job")]
    kind: String,
    /// Its id: a second job of the same id is not accepted. Default: a new one.
    #[arg(long, conflicts_with = "lines")]
    id: Option<String>,
    /// Not before this time has passed: 500ms, 3s, 2m, 2h55m, 7d.
    #[arg(long, value_parser = parse_span)]
    delay: Option<Duration>,
    /// Dropped if it has not been started by then.
    #[arg(long, value_parser = parse_span)]
    expires: Option<Duration>,
    /// How urgent it is.
    #[arg(long, value_enum, default_value = "normal")]
    priority: Urgency,
    /// How often it may be started before it is dead.
    #[arg(long)]
    attempts: Option<u16>,
    /// Not accepted while another job with this key is unfinished.
    #[arg(long, conflicts_with = "lines")]
    unique: Option<String>,
    /// KEY:NUMBER takes the place of every older number of the key that has not started.
    #[arg(long, value_parser = generation, conflicts_with = "lines")]
    generation: Option<(String, u64)>,
    /// What must have happened before it counts as accepted: fast, replicated:N, fsynced.
    #[arg(long, value_parser = durability, default_value = "fast")]
    durability: Durability,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Urgency {
    High,
    Normal,
    Low,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::High => Self::High,
            Urgency::Normal => Self::Normal,
            Urgency::Low => Self::Low,
        }
    }
}

fn generation(text: &str) -> Result<(String, u64), String> {
    let wrong = || "expected KEY:NUMBER, for example config:17".to_owned();
    let (key, number) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok((key.to_owned(), number.parse().map_err(|_not_a_number| wrong())?))
}

fn durability(text: &str) -> Result<Durability, String> {
    match text.split_once(':') {
        None if text == "fast" => Ok(Durability::Fast),
        None if text == "fsynced" => Ok(Durability::fsynced()),
        Some(("replicated", replicas)) => {
            replicas.parse().map(Durability::replicated).map_err(|_not_a_number| "expected replicated:N".into())
        }
        _ => Err("expected fast, replicated:N or fsynced".into()),
    }
}

/// Jobs that travel together.
const TOGETHER: usize = 500;

/// Enqueues.
pub(crate) async fn run(client: &Client, args: &Args) -> Outcome {
    let producer = queue(client, &args.queue)?.producer().durability(args.durability);
    if args.lines {
        return lines(&producer, args).await;
    }
    let payload = match (&args.payload, &args.file) {
        (Some(payload), _) if payload == "-" => {
            let mut read = Vec::new();
            tokio::io::stdin().read_to_end(&mut read).await.context("cannot read the standard input")?;
            read
        }
        (Some(payload), _) => payload.clone().into_bytes(),
        (None, Some(file)) => tokio::fs::read(file)
            .await
            .with_context(|| format!("cannot read {}", file.display()))
            .map_err(Failure::usage)?,
        (None, None) => Vec::new(),
    };
    let enqueued = producer.enqueue(job(args, payload)).await.map_err(failure)?;
    if args.json {
        say!("{}", as_json(&enqueued));
    } else {
        say!("{}", told(&enqueued));
    }
    Ok(enqueued.is_in())
}

fn job(args: &Args, payload: Vec<u8>) -> NewJob {
    let mut job = NewJob::new(&args.kind, payload).priority(args.priority.into());
    if let Some(id) = &args.id {
        job = job.id(id);
    }
    if let Some(delay) = args.delay {
        job = job.delay(delay);
    }
    if let Some(expires) = args.expires {
        job = job.expires_in(expires);
    }
    if let Some(attempts) = args.attempts {
        job = job.attempts(attempts);
    }
    if let Some(unique) = &args.unique {
        job = job.unique(unique);
    }
    if let Some((key, number)) = &args.generation {
        job = job.generation(key, *number);
    }
    job
}

fn told(enqueued: &Enqueued) -> String {
    let id = &enqueued.id;
    match &enqueued.outcome {
        Accepted::Accepted => format!("{id} accepted"),
        Accepted::Known => format!("{id} not accepted: a job of this id is in the queue, or was until recently"),
        Accepted::Held { by } => format!("{id} not accepted: the unfinished job {by} has its unique key"),
        Accepted::Superseded => format!("{id} not accepted: a newer number of its generation key is known"),
        other => format!("{id} not accepted: {other:?}"),
    }
}

fn as_json(enqueued: &Enqueued) -> Value {
    let id = &enqueued.id;
    match &enqueued.outcome {
        Accepted::Accepted => json!({ "id": id, "outcome": "accepted" }),
        Accepted::Known => json!({ "id": id, "outcome": "known" }),
        Accepted::Held { by } => json!({ "id": id, "outcome": "held", "by": by }),
        Accepted::Superseded => json!({ "id": id, "outcome": "superseded" }),
        _ => json!({ "id": id, "outcome": "refused" }),
    }
}

async fn lines(producer: &Producer, args: &Args) -> Outcome {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} jobs enqueued, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    loop {
        let mut jobs = Vec::with_capacity(TOGETHER);
        while jobs.len() < TOGETHER {
            match lines.next_line().await.context("cannot read the standard input")? {
                Some(line) => jobs.push(job(args, line.into_bytes())),
                None => break,
            }
        }
        if jobs.is_empty() {
            break;
        }
        let sent = jobs.len() as u64;
        // What was accepted before an error stays so, and is said.
        let enqueued = producer.enqueue_all(jobs).await.map_err(|error| {
            bar.abandon();
            eprintln!("{accepted} jobs were accepted before this:");
            failure(error)
        })?;
        let some = enqueued.iter().filter(|job| job.is_in()).count() as u64;
        accepted += some;
        refused += sent - some;
        bar.inc(sent);
    }
    bar.finish_and_clear();
    if args.json {
        say!("{}", json!({ "accepted": accepted, "refused": refused }));
    } else {
        say!("{accepted} accepted, {refused} not");
    }
    Ok(refused == 0)
}
