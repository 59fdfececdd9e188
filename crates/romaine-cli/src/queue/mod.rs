//! `romaine queue`: bringing work in, looking at it, repairing.

mod change;
mod push;
mod show;
mod watch;

use std::time::Duration;

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
    /// Nothing is claimed any more until `resume`; what runs goes on.
    Pause(change::PauseArgs),
    /// End a pause.
    Resume(change::NameArgs),
    /// Take jobs away without running them.
    Drain(change::DrainArgs),
    /// Queues as they change, on the terminal.
    Watch(watch::Args),
}

/// Runs the subcommand.
pub(crate) async fn run(args: &Args) -> Outcome {
    let client = connect(&args.url).await?;
    let outcome = match &args.command {
        Command::Push(args) => push::run(&client, args).await,
        Command::Status(args) => show::status(&client, args).await,
        Command::Peek(args) => show::peek(&client, args).await,
        Command::Dead(args) => show::dead(&client, args).await,
        Command::Retry(args) => change::retry(&client, args).await,
        Command::Cancel(args) => change::cancel(&client, args).await,
        Command::Pause(args) => change::pause(&client, args).await,
        Command::Resume(args) => change::resume(&client, args).await,
        Command::Drain(args) => change::drain(&client, args).await,
        Command::Watch(args) => watch::run(&client, args).await,
    };
    client.close().await;
    outcome
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let config =
        Config::from_url(url).and_then(|config| config.client_name("romaine-queue")).map_err(Failure::client)?;
    Client::connect(config).await.map_err(Failure::client)
}

fn queue(client: &Client, name: &str) -> Result<Queue, Failure> {
    Queue::new(client, name).map_err(failure)
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

/// `500ms`, `3s`, `2m`, `1h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match digits.parse::<u64>() {
        Ok(count) if unit > 0 => Ok(Duration::from_millis(count.saturating_mul(unit))),
        _ => Err("expected a duration such as 500ms, 3s, 2m, 1h or 7d".into()),
    }
}

/// A duration for people: the two largest units.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_people_do() {
        for (text, written) in [
            ("1500ms", "1.5 s"),
            ("90s", "1 m 30 s"),
            ("2m", "2 m 0 s"),
            ("1h", "1 h 0 m"),
            ("7d", "7 d 0 h"),
            ("20ms", "20 ms"),
        ] {
            assert_eq!(span(duration(text).unwrap()), written);
        }
        for wrong in ["", "3", "s", "3x", "-1s", "1.5s"] {
            assert!(duration(wrong).unwrap_err().contains("500ms"), "{wrong}");
        }
    }
}
