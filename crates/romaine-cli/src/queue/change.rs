//! `romaine queue retry`, `cancel`, `forget`, `pause`, `resume` and `drain`.

use romaine::Client;
use romaine_queue::{Cancelled, Purge, Queue, Revived};
use serde_json::json;

use super::{failure, progress, queue};
use crate::exit::{Failure, Outcome};
use crate::out::say;

/// What takes only a queue.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The queue.
    queue: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `retry` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// The queue.
    queue: String,
    /// The jobs' ids.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All dead letters, the oldest first.
    #[arg(long)]
    all: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `cancel` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// The queue.
    queue: String,
    /// The jobs' ids.
    #[arg(required = true)]
    ids: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `forget` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// The queue.
    queue: String,
    /// The workers' names, as `status` shows them.
    #[arg(required = true)]
    workers: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `pause` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The queue.
    queue: String,
    /// Why: shown by `status`.
    #[arg(long, default_value = "paused")]
    reason: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What `drain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// The queue.
    queue: String,
    /// What is taken away.
    #[arg(long, value_enum, default_value = "waiting")]
    what: What,
    /// Yes, they are to be lost.
    #[arg(long)]
    yes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Waiting,
    Delayed,
    Dead,
}

impl From<What> for Purge {
    fn from(what: What) -> Self {
        match what {
            What::Waiting => Self::Waiting,
            What::Delayed => Self::Delayed,
            What::Dead => Self::Dead,
        }
    }
}

/// Puts dead letters back.
pub(crate) async fn retry(client: &Client, args: &RetryArgs) -> Outcome {
    let queue = queue(client, &args.queue)?;
    let revived = if args.all { retry_all(&queue).await? } else { queue.revive(&args.ids).await.map_err(failure)? };
    let missing = if args.all { 0 } else { args.ids.len() as u64 - (revived.revived + revived.held) };
    let is_all = revived.held == 0 && missing == 0;
    if args.json {
        say!("{}", json!({ "revived": revived.revived, "held": revived.held, "unknown": missing }));
        return Ok(is_all);
    }
    say!("{} wait again", revived.revived);
    if revived.held > 0 {
        say!("{} stay dead: another unfinished job has their unique key", revived.held);
    }
    if missing > 0 {
        say!("not among the dead letters of {}: {missing}", queue.name());
    }
    Ok(is_all)
}

/// As many as are dead now, the oldest first: what dies again meanwhile is not tried again.
async fn retry_all(queue: &Queue) -> Result<Revived, Failure> {
    let dead = queue.status().await.map_err(failure)?.dead;
    let bar = progress(dead);
    let mut all = Revived::default();
    while all.revived < dead {
        let most = STEP.min(usize::try_from(dead - all.revived).unwrap_or(usize::MAX));
        let some = queue.revive_oldest(most).await.map_err(failure)?;
        all.revived += some.revived;
        // Those that must stay are passed over each time; the last step passes over all of them.
        all.held = all.held.max(some.held);
        bar.inc(some.revived);
        if some.revived < most as u64 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(all)
}

/// Cancels jobs.
pub(crate) async fn cancel(client: &Client, args: &CancelArgs) -> Outcome {
    let queue = queue(client, &args.queue)?;
    let outcomes = queue.cancel(&args.ids).await.map_err(failure)?;
    let is_all = outcomes.iter().all(|outcome| *outcome != Cancelled::Unknown);
    let outcomes = args.ids.iter().zip(outcomes).map(|(id, outcome)| match outcome {
        Cancelled::Removed => (id, "removed", "removed"),
        Cancelled::Requested => (id, "requested", "is running; its worker is told"),
        _ => (id, "unknown", "is unknown"),
    });
    if args.json {
        let all: Vec<_> = outcomes.map(|(id, outcome, _)| json!({ "id": id, "outcome": outcome })).collect();
        say!("{}", json!(all));
    } else {
        outcomes.for_each(|(id, _, text)| say!("{id} {text}"));
    }
    Ok(is_all)
}

/// Forgets workers that are gone.
pub(crate) async fn forget(client: &Client, args: &ForgetArgs) -> Outcome {
    let queue = queue(client, &args.queue)?;
    let mut all = Vec::new();
    for name in &args.workers {
        all.push((name, queue.forget_consumer(name).await.map_err(failure)?));
    }
    if args.json {
        let all: Vec<_> =
            all.iter().map(|(name, was_there)| json!({ "worker": name, "forgotten": was_there })).collect();
        say!("{}", json!(all));
    } else {
        all.iter()
            .for_each(|(name, was_there)| say!("{name} {}", if *was_there { "is forgotten" } else { "is unknown" }));
    }
    Ok(all.iter().all(|(_, was_there)| *was_there))
}

/// Pauses a queue.
pub(crate) async fn pause(client: &Client, args: &PauseArgs) -> Outcome {
    queue(client, &args.queue)?.pause(&args.reason).await.map_err(failure)?;
    if args.json {
        say!("{}", json!({ "queue": args.queue, "paused": args.reason }));
    } else {
        say!("{} is paused; what runs goes on", args.queue);
    }
    Ok(true)
}

/// Ends a pause.
pub(crate) async fn resume(client: &Client, args: &NameArgs) -> Outcome {
    queue(client, &args.queue)?.resume().await.map_err(failure)?;
    if args.json {
        say!("{}", json!({ "queue": args.queue, "paused": null }));
    } else {
        say!("{} goes on", args.queue);
    }
    Ok(true)
}

/// Jobs that are put back, or taken away, in one step, between which the progress is told.
const STEP: usize = 2_000;

/// Takes jobs away.
pub(crate) async fn drain(client: &Client, args: &DrainArgs) -> Outcome {
    let queue = queue(client, &args.queue)?;
    let status = queue.status().await.map_err(failure)?;
    let there = match args.what {
        What::Waiting => status.waiting,
        What::Delayed => status.delayed,
        What::Dead => status.dead,
    };
    if !args.yes {
        return Err(Failure::usage(anyhow::anyhow!(
            "this loses {there} jobs of {} for good; if that is what you want, add --yes",
            queue.name()
        )));
    }
    let bar = progress(there);
    let mut gone = 0;
    loop {
        let step = queue.purge(args.what.into(), STEP).await.map_err(failure)?;
        gone += step;
        bar.inc(step);
        if step < STEP as u64 {
            break;
        }
    }
    bar.finish_and_clear();
    if args.json {
        say!("{}", json!({ "taken_away": gone }));
    } else {
        say!("{gone} jobs were taken away");
    }
    Ok(true)
}
