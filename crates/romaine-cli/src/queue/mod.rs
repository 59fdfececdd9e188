//! `romaine queue`: bringing work in, looking at it, repairing.

mod alert;
mod change;
mod push;
mod show;
mod watch;

use indicatif::{ProgressBar, ProgressStyle};
use romaine::{Client, Config};
use romaine_queue::{ErrorKind, Queue};

use crate::exit::{Failure, Outcome};

/// What `romaine queue` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the queue is, as a URL. Give one with a password as REDIS_URL: arguments are seen by everybody.
    #[arg(long, global = true, env = "REDIS_URL", hide_env_values = true, default_value = "redis://127.0.0.1:6379")]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Enqueue a job, or one for each line of the standard input.
    Push(push::Args),
    /// Counts, ages and consumers.
    Status(show::StatusArgs),
    /// Jobs at a place, those that come first first.
    Peek(show::PeekArgs),
    /// The dead letters, and why they are dead.
    Dead(show::DeadArgs),
    /// Put dead letters back among the waiting.
    Retry(change::RetryArgs),
    /// Cancel jobs: waiting ones are removed, running ones are told.
    Cancel(change::CancelArgs),
    /// Forget workers that were killed, so that they are not missed for a day. One that lives comes back by itself.
    Forget(change::ForgetArgs),
    /// Nothing is claimed any more until `resume`; what runs goes on.
    Pause(change::PauseArgs),
    /// End a pause.
    Resume(change::NameArgs),
    /// Take jobs away without running them.
    Drain(change::DrainArgs),
    /// Queues as they change, on the terminal.
    Watch(watch::Args),
    /// Say when a queue is in trouble, and when it is over: here, to a webhook, to Prometheus.
    Alert(alert::Args),
}

/// Runs the subcommand.
pub(crate) async fn run(args: &Args) -> Outcome {
    let client = match &args.command {
        // A server that is away is what it is to tell of.
        Command::Alert(_) => Client::connect(config(&args.url)?.lazy()).await.map_err(Failure::client)?,
        _ => Client::connect(config(&args.url)?).await.map_err(Failure::client)?,
    };
    let outcome = match &args.command {
        Command::Push(args) => push::run(&client, args).await,
        Command::Status(args) => show::status(&client, args).await,
        Command::Peek(args) => show::peek(&client, args).await,
        Command::Dead(args) => show::dead(&client, args).await,
        Command::Retry(args) => change::retry(&client, args).await,
        Command::Cancel(args) => change::cancel(&client, args).await,
        Command::Forget(args) => change::forget(&client, args).await,
        Command::Pause(args) => change::pause(&client, args).await,
        Command::Resume(args) => change::resume(&client, args).await,
        Command::Drain(args) => change::drain(&client, args).await,
        Command::Watch(args) => watch::run(&client, args).await,
        Command::Alert(args) => alert::run(&client, args).await,
    };
    client.close().await;
    outcome
}

fn config(url: &str) -> Result<Config, Failure> {
    Config::from_url(url).and_then(|config| config.client_name("romaine-queue")).map_err(Failure::client)
}

fn queue(client: &Client, name: &str) -> Result<Queue, Failure> {
    Queue::new(client, name).map_err(failure)
}

/// How many of so many jobs are done, on a terminal.
fn progress(jobs: u64) -> ProgressBar {
    let bar = ProgressBar::new(jobs);
    // The template is a constant; a mistake in it would show in the first run.
    if let Ok(style) = ProgressStyle::with_template("{bar:32.cyan/dim} {pos}/{len} jobs, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// The status that an error of the queue stands for.
fn failure(error: romaine_queue::Error) -> Failure {
    match error.kind() {
        ErrorKind::Config | ErrorKind::Invalid | ErrorKind::Codec | ErrorKind::Unsupported => {
            Failure::usage(error.into())
        }
        ErrorKind::Full | ErrorKind::NotDurable => Failure::negative(error.into()),
        ErrorKind::Unavailable | ErrorKind::Closed => Failure::unreachable(error.into()),
        ErrorKind::Server => Failure::refused(error.into()),
        _ => Failure::internal(error.into()),
    }
}
