//! `romaine queue retry`, `cancel`, `pause`, `resume` and `drain`.

use romaine::Client;
use romaine_queue::{Cancelled, Purge};

use super::{failure, queue};
use crate::exit::{Failure, Outcome};
use crate::out::say;

/// What takes only a queue.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The queue.
    queue: String,
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
}

/// What `cancel` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// The queue.
    queue: String,
    /// The jobs' ids.
    #[arg(required = true)]
    ids: Vec<String>,
}

/// What `pause` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The queue.
    queue: String,
    /// Why: shown by `status`.
    #[arg(long, default_value = "paused")]
    reason: String,
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
    let revived = if args.all {
        queue.revive_oldest(usize::MAX).await.map_err(failure)?
    } else {
        queue.revive(&args.ids).await.map_err(failure)?
    };
    say!("{} wait again", revived.revived);
    if revived.held > 0 {
        say!("{} stay dead: another unfinished job has their unique key", revived.held);
    }
    let missing = if args.all { 0 } else { args.ids.len() as u64 - (revived.revived + revived.held) };
    if missing > 0 {
        say!("{missing} are no dead letters of {}", queue.name());
    }
    Ok(revived.held == 0 && missing == 0)
}

/// Cancels jobs.
pub(crate) async fn cancel(client: &Client, args: &CancelArgs) -> Outcome {
    let queue = queue(client, &args.queue)?;
    let outcomes = queue.cancel(&args.ids).await.map_err(failure)?;
    for (id, outcome) in args.ids.iter().zip(&outcomes) {
        say!(
            "{id} {}",
            match outcome {
                Cancelled::Removed => "removed",
                Cancelled::Requested => "is running; its worker is told",
                _ => "is unknown",
            }
        );
    }
    Ok(outcomes.iter().all(|outcome| *outcome != Cancelled::Unknown))
}

/// Pauses a queue.
pub(crate) async fn pause(client: &Client, args: &PauseArgs) -> Outcome {
    queue(client, &args.queue)?.pause(&args.reason).await.map_err(failure)?;
    say!("{} is paused; what runs goes on", args.queue);
    Ok(true)
}

/// Ends a pause.
pub(crate) async fn resume(client: &Client, args: &NameArgs) -> Outcome {
    queue(client, &args.queue)?.resume().await.map_err(failure)?;
    say!("{} goes on", args.queue);
    Ok(true)
}

/// Jobs taken away in one step, between which the progress is told.
const STEP: usize = 10_000;

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
    let bar = indicatif::ProgressBar::new(there);
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
    say!("{gone} jobs were taken away");
    Ok(true)
}
