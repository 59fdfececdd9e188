//! F18: a thousand connections are lost at once, and come back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cell::Lab;
use super::report::{Grade, Outcome};
use super::trial::{Expect, Trial, Verdict};
use crate::Server;
use crate::scenario::host::Host;
use crate::scenario::line::Line;
use crate::scenario::moment::Moment;

/// How many clients there are.
const CLIENTS: u32 = 1_000;

/// How long the server is down where it is restarted.
const DOWN_FOR: Duration = Duration::from_secs(3);

/// How often the server is asked how many there are.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How many connections came back at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// How many there were before.
    pub clients: u64,
    /// How many the server accepted afterwards; those it had no room for are not among them.
    pub attempts: u64,
    /// From the first hundredth of the connections to the last but a hundredth, in seconds.
    pub spread_s: Option<f64>,
    /// From the fault's end until 99 % were back, in seconds.
    pub back_s: Option<f64>,
    /// The most that the server accepted in 100 ms.
    pub busiest: u64,
    /// Connections that the kernel turned away because the server's accept queue was full.
    pub listen_overflows: u64,
}

/// What the server said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    at: Moment,
    connected: u64,
    /// Accepted since the server's start.
    accepted: u64,
}

/// F18.
pub(super) async fn masses(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    raise_files();
    let server = Arc::new(Server::builder().persistent().start().await?);
    // No proxy: the accept queue is to be the server's own.
    let mut order = lab.order(server.url());
    order.clients = usize::try_from(CLIENTS)?;
    order.callers = 1;
    order.pause = Duration::from_secs(1);
    let stage = lab.stage_at(Host::Real(server.clone()), order).await?;
    let mut line = Line::connect(&server.unix_path()).await?;
    let before = look(&mut line).await?;
    // Ours is one, too.
    let clients = before.connected.saturating_sub(1);
    if clients * 100 < u64::from(CLIENTS) * 99 {
        return Ok(Outcome::Skipped(format!(
            "the driver made {clients} connections of {CLIENTS}: it has no `clients`"
        )));
    }
    let overflows = listen_overflows();
    let trial = Trial::begin(stage, lab.settings).await?;
    let mut accepted = before.accepted;
    if lab.cell.variant == "restart" {
        server.kill();
        tokio::time::sleep(DOWN_FOR).await;
        server.start_again()?;
        accepted = 0;
    } else {
        line.ask(&["CLIENT", "KILL", "TYPE", "normal", "USER", "default"]).await?;
    }
    let healed = Moment::now();
    let (tell, mut looks) = mpsc::channel(64);
    let mut watching = JoinSet::new();
    watching.spawn(watch(server.unix_path(), tell));
    // What comes back before the first look counts, too.
    let mut seen = vec![Look { at: healed, connected: 0, accepted }];
    let patience = lab.settings.scale.back_at_last();
    while let Some(look) = looks.recv().await {
        seen.push(look);
        let is_back = (look.connected.saturating_sub(1)) * 100 >= clients * 99;
        if is_back || look.at.since(healed) > patience {
            break;
        }
    }
    watching.shutdown().await;
    let storm = Storm {
        listen_overflows: listen_overflows().saturating_sub(overflows),
        ..judge(&seen, clients, accepted, healed)
    };
    let mut outcome = trial.healed(Expect::new(Verdict::Any)).await?;
    if let Outcome::Measured(measured) = &mut outcome {
        let of = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.2} s"));
        measured.note = format!(
            "{} connections; 99 % back after {}, spread over {}; at most {} in 100 ms; {} turned away by a full queue",
            storm.clients,
            of(storm.back_s),
            of(storm.spread_s),
            storm.busiest,
            storm.listen_overflows
        );
        measured.working_s = storm.back_s;
        let limit = measured.working_limit_s;
        if let Some(late) = storm.back_s.filter(|back| *back > limit) {
            measured.breaks(Grade::Late, format!("99 % were back after {late:.2} s (limit {limit:.2} s)"));
        }
        if storm.back_s.is_none() {
            measured.breaks(Grade::Hangs, "not 99 % of the connections came back".to_owned());
        }
        measured.storm = Some(storm);
    }
    Ok(outcome)
}

fn judge(seen: &[Look], clients: u64, accepted: u64, healed: Moment) -> Storm {
    let reached = |percent: u64| {
        seen.iter().find(|look| look.accepted.saturating_sub(accepted) * 100 >= clients * percent).map(|look| look.at)
    };
    let spread = reached(1).zip(reached(99)).map(|(first, last)| last.since(first).as_secs_f64());
    let back = seen.iter().find(|look| (look.connected.saturating_sub(1)) * 100 >= clients * 99);
    let within = |from: &Look| {
        let window =
            seen.iter().filter(|look| look.at >= from.at && look.at.since(from.at) <= Duration::from_millis(100));
        window.map(|look| look.accepted).max().unwrap_or(0).saturating_sub(from.accepted)
    };
    Storm {
        clients,
        attempts: seen.last().map_or(0, |look| look.accepted.saturating_sub(accepted)),
        spread_s: spread,
        back_s: back.map(|look| look.at.since(healed).as_secs_f64()),
        busiest: seen.iter().map(within).max().unwrap_or(0),
        listen_overflows: 0,
    }
}

async fn watch(path: std::path::PathBuf, tell: mpsc::Sender<Look>) {
    loop {
        if let Ok(mut line) = Line::connect(&path).await {
            while let Ok(look) = look(&mut line).await {
                if tell.send(look).await.is_err() {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(line: &mut Line) -> anyhow::Result<Look> {
    let info = line.ask(&["INFO", "clients", "stats"]).await?.text();
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("INFO has no {name}"))
    };
    Ok(Look {
        at: Moment::now(),
        connected: field("connected_clients")?,
        accepted: field("total_connections_received")?,
    })
}

/// The kernel's count since it started, of all sockets of the machine: this cell has the machine for itself.
fn listen_overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("TcpExt: ")).collect();
    let [names, values] = lines.as_slice() else { return 0 };
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "ListenOverflows");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// As many open files as we may have, for us and for the driver: the usual 1,024 are too few for 1,000 connections.
fn raise_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not be raised the driver says what it could not do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_read_off_what_the_server_said() {
        let at = |ms: u64| Moment::default().plus(Duration::from_millis(ms));
        let look = |ms, connected, accepted| Look { at: at(ms), connected, accepted };
        let seen = [look(1_000, 1, 50), look(1_050, 11, 60), look(1_100, 51, 100), look(1_900, 101, 150)];
        let storm = judge(&seen, 100, 50, at(1_000));
        assert_eq!((storm.attempts, storm.busiest), (100, 50));
        assert_eq!((storm.spread_s, storm.back_s), (Some(0.85), Some(0.9)));
    }
}
