//! `romaine ping`: who answers, and how fast.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use romaine::commands::*;
use romaine::{Client, Config};

use crate::exit::{Failure, Outcome};
use crate::out::say;

/// What `romaine ping` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the server is, as a URL. Give one with a password as REDIS_URL: arguments are seen by everybody.
    #[arg(help = HELP, env = "REDIS_URL", hide_env_values = true)]
    url: String,
    /// How many round trips to time.
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// How long to wait for the connection and for each answer, in seconds.
    #[arg(long, default_value_t = 5.0)]
    timeout: f64,
}

const HELP: &str = "Where: redis://[[user]:password@]host[:port][/database], rediss:// for TLS, redis+unix:///path; with \
                    a password better in the environment, which others cannot read";

/// Connects, asks, times.
pub(crate) async fn run(args: &Args) -> Outcome {
    let limit = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|limit| !limit.is_zero())
        .with_context(|| format!("--timeout {}: expected a positive number of seconds", args.timeout))
        .map_err(Failure::usage)?;
    let config = Config::from_url(&args.url).map_err(Failure::client)?.timeout(limit).connect_timeout(limit);
    let address = config.address().to_string();
    let connecting = now();
    let client = match tokio::time::timeout(limit, Client::connect(config)).await {
        Ok(connected) => connected.map_err(Failure::client)?,
        Err(_elapsed) => {
            let error = anyhow::anyhow!("{address} did not answer within {} s", args.timeout);
            return Err(Failure::unreachable(error));
        }
    };
    let connected = connecting.elapsed();
    // Who it is may be a secret of the server's; that it answers is not.
    let about = client.info_sections(["server"]).await.ok();
    let mut times = Vec::new();
    for _ in 0..args.count {
        let asked = now();
        client.ping().await.map_err(Failure::client)?;
        times.push(asked.elapsed());
    }
    client.close().await;
    times.sort_unstable();
    let at = |share: f64| times.get(rank(times.len(), share)).copied().unwrap_or_default();
    say!("{}", describe(&address, about.as_ref()));
    say!(
        "connected in {:.2?}; {} round trips: min {:.2?}, median {:.2?}, p99 {:.2?}, max {:.2?}",
        connected,
        times.len(),
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    Ok(true)
}

fn rank(count: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among counted things"
    )]
    let rank = (share * count as f64).ceil() as usize;
    rank.max(1) - 1
}

#[expect(clippy::disallowed_methods, reason = "a round trip is what is measured")]
fn now() -> Instant {
    Instant::now()
}

fn describe(address: &str, about: Option<&romaine::replies::Info>) -> String {
    let unknown = || format!("{address}: answers (and does not let us ask who it is)");
    let Some(about) = about else { return unknown() };
    let field = |name: &str| about.get(name).map(str::to_owned);
    let version = field("valkey_version").map(|version| format!("Valkey {version}"));
    let version = version.or_else(|| field("redis_version").map(|version| format!("Redis {version}")));
    let Some(version) = version else { return unknown() };
    let mode = field("redis_mode").unwrap_or_else(|| "unknown mode".into());
    let uptime = field("uptime_in_seconds").unwrap_or_else(|| "?".into());
    format!("{address}: {version}, {mode}, up {uptime} s")
}
