//! The server, and what it says of itself.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result};
use romaine_faultlab::Server;

/// What clients send in these figures. Everything else that is counted ran inside scripts: of the commands here none does.
const SENT: [&str; 12] = [
    "blpop",
    "brpop",
    "client|id",
    "client|setinfo",
    "client|setname",
    "client|unblock",
    "eval",
    "evalsha",
    "exec",
    "hello",
    "hgetall",
    "ping",
];

/// The server at one moment.
#[derive(Debug)]
pub(crate) struct Sample {
    at: Instant,
    calls: BTreeMap<String, u64>,
    processor: f64,
    /// In bytes, by its allocator.
    pub(crate) memory: u64,
    pub(crate) connected: u64,
    pub(crate) blocked: u64,
}

/// What happened between two moments.
#[derive(Debug)]
pub(crate) struct Between {
    pub(crate) seconds: f64,
    /// Commands a second that clients sent, by name.
    pub(crate) sent: BTreeMap<String, f64>,
    /// Commands a second that ran inside scripts.
    pub(crate) inside: f64,
    /// Of one processor.
    pub(crate) processor: f64,
}

impl Between {
    pub(crate) fn sent_per_second(&self) -> f64 {
        self.sent.values().sum()
    }
}

/// Starts a server for so many connections.
pub(crate) async fn start(connections: usize) -> Result<Server> {
    Server::builder().config_line(format!("maxclients {connections}")).config_line("tcp-backlog 4096").start().await
}

pub(crate) async fn sample(server: &Server) -> Result<Sample> {
    let info = server.command(&["INFO", "everything"]).await?.text();
    let at = Instant::now();
    let mut fields = BTreeMap::new();
    let mut calls = BTreeMap::new();
    for line in info.lines() {
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        if let Some(command) = name.strip_prefix("cmdstat_") {
            let count = value.strip_prefix("calls=").and_then(|rest| rest.split(',').next());
            let count = count.and_then(|count| count.parse().ok()).context("commandstats are not understood")?;
            calls.insert(command.to_owned(), count);
        } else {
            fields.insert(name.to_owned(), value.to_owned());
        }
    }
    let number = |name: &str| -> Result<f64> {
        let text = fields.get(name).with_context(|| format!("INFO has no {name}"))?;
        text.parse().with_context(|| format!("{name} is not a number"))
    };
    let count = |name: &str| -> Result<u64> {
        let text = fields.get(name).with_context(|| format!("INFO has no {name}"))?;
        text.parse().with_context(|| format!("{name} is not a whole number"))
    };
    Ok(Sample {
        at,
        calls,
        processor: number("used_cpu_sys")? + number("used_cpu_user")?,
        memory: count("used_memory")?,
        connected: count("connected_clients")?,
        blocked: count("blocked_clients")?,
    })
}

impl Sample {
    /// What happened from this one to `later`.
    pub(crate) fn until(&self, later: &Self) -> Between {
        let seconds = later.at.duration_since(self.at).as_secs_f64();
        let (mut sent, mut inside) = (BTreeMap::new(), 0.0);
        for (name, count) in &later.calls {
            let more = count.saturating_sub(self.calls.get(name).copied().unwrap_or(0));
            // Our own question.
            if more == 0 || name == "info" {
                continue;
            }
            let rate = crate::number(more) / seconds;
            if SENT.contains(&name.as_str()) {
                sent.insert(name.clone(), rate);
            } else {
                inside += rate;
            }
        }
        Between { seconds, sent, inside, processor: (later.processor - self.processor) / seconds }
    }
}
