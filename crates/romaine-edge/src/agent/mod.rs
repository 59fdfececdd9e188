//! The agent: takes the jobs of its own queue, and runs them by a command.

pub(crate) mod course;
pub(crate) mod ledger;
pub(crate) mod presence;
pub(crate) mod process;
mod runs;
mod shared;
mod untold;

#[cfg(test)]
mod agent_tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use romaine::{Backoff, Client, Event, Keepalive, Lane, Liveness};
use romaine_queue::{Job, LostLease, Queue, Worker};

pub use course::Repeat;

use crate::error::{Error, ErrorKind, Result};
use crate::health::Probe;
use crate::hub::Speaker;
use crate::id::EdgeId;
use crate::labels::Labels;
use ledger::{Ledger, Remembered};
use presence::Presence;
use shared::Shared;
use untold::Untold;

/// What a result may have in bytes: the end of a handler's output, and what JSON makes of it.
const RESULT_MAX: usize = 256 * 1024;

/// Longer than a handler that is told to stop can take.
const CANCEL_GRACE: Duration = Duration::from_secs(12);

/// How long the agent waits for its queue's bell before it looks by itself, give or take a fifth.
///
/// It looks twice in every three heartbeats or so; what a look costs is in the guide. A bell that was lost with a dead
/// connection delays a job by no more than this.
pub const BLOCK: Duration = Duration::from_secs(42);

/// How long runs are waited for that were stopped: their handlers' grace, and some tries to write their ends down.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The longest that an agent takes to end, beyond [`Settings::grace`].
pub const END_LIMIT: Duration =
    Duration::from_secs(CANCEL_GRACE.as_secs() + STOP_LIMIT.as_secs() + LAST_WORDS.as_secs());

/// What an agent keeps to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its id.
    pub id: EdgeId,
    /// Its labels.
    pub labels: Labels,
    /// What runs a job, for `/bin/sh -c`. It reads the job as JSON on its standard input.
    pub command: String,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// How long a handler may take.
    pub timeout: Duration,
    /// Jobs at the same time. Deployments are always one at a time.
    pub concurrency: usize,
    /// How often a sign of life is given.
    pub heartbeat: Duration,
    /// How long a job is this agent's without a sign of life.
    pub lease: Duration,
    /// How long the agent lets handlers end when it is told to end.
    pub grace: Duration,
    /// What may be run again.
    pub repeat: Repeat,
    /// Its checks.
    pub probes: Vec<Probe>,
    /// How often they look.
    pub health_every: Duration,
    /// How long one look may take.
    pub health_limit: Duration,
    /// How long something that was deployed may take to become healthy.
    pub settle: Duration,
    /// The agent's version, for the fleet's table.
    pub version: String,
    /// The machine's name, for the fleet's table.
    pub host: String,
}

/// How an agent of a large fleet watches over its two connections: without a command of its own, because what it says and
/// asks anyway is enough.
///
/// A machine that is gone and packets that are lost are noticed by the kernel within 25 s. A frozen hub, or a proxy that
/// goes on acknowledging, is noticed within 60 s, by the heartbeat that is not answered (a PING where `--heartbeat` is
/// longer than 35 s) and by the wait for the bell that does not end; nobody is asked to probe it, so there is no control
/// connection either.
#[must_use]
pub fn frugal_liveness() -> Liveness {
    let seconds = Duration::from_secs;
    Liveness {
        keepalive: Some(Keepalive { idle: seconds(15), interval: seconds(5), count: 2 }),
        user_timeout: Some(seconds(25)),
        heartbeat: Some(seconds(35)),
        suspect_after: seconds(8),
        dead_after: Some(seconds(22)),
        probe_after: None,
        probe_grace: seconds(8),
        // The longest wait of the default block, so that it is one command.
        slice: seconds(51),
        slice_grace: seconds(8),
    }
}

/// Runs an agent until `stop` comes. It dials out only.
///
/// # Errors
/// When the ledger cannot be used, the hub refuses us at the beginning, or another agent uses the id. A hub that is away
/// is waited for.
///
/// # Cancel safety
/// Dropping the future stops the handlers as at the agent's end, but without its grace: their process groups get SIGTERM,
/// and SIGKILL 5 s later, and what they came to is written into the ledger, by tasks that go on for that long. The hub is
/// told by the next agent. Where the runtime ends, too, the groups are killed at once, and the jobs stay begun in the ledger.
pub async fn run(client: &Client, settings: Settings, stop: impl Future<Output = ()> + Send) -> Result<()> {
    tokio::pin!(stop);
    let ledger = Ledger::open(&settings.ledger)?;
    let name = own_name(&ledger).await?;
    let before = ledger.fact("session").await?.unwrap_or_default();
    let nonce = format!("{:016x}", fastrand::u64(..));
    ledger.keep(vec![("session", nonce.clone())]).await?;
    let remembered = match ledger.fact(Remembered::FACT).await? {
        Some(text) => serde_json::from_str(&text).unwrap_or_default(),
        None => Remembered::default(),
    };
    let queue = Queue::new(client, &settings.id.queue())?;
    let lease = settings.heartbeat * 3;
    let speaker = Speaker { nonce, before, host: settings.host.clone(), lease };
    let shared = Arc::new(Shared::new(settings, ledger, remembered));
    // Nothing runs on without an agent, however this future ends.
    let _stop = shared.stop.clone().drop_guard();
    shared.end_leftovers().await?;
    let mut presence = Presence { client: client.clone(), queue, speaker };
    tokio::select! {
        arrived = presence.arrive(&shared) => arrived?,
        () = &mut stop => return Ok(()),
    }
    let id = &shared.settings.id;
    tracing::info!(%id, queue = presence.queue.name(), "the agent is at work");
    let untold = tokio::select! {
        untold = shared.untold(&presence.queue) => untold,
        // The place is kept meanwhile, or lost.
        ended = presence.live(&shared) => return ended,
        () = &mut stop => {
            // Nothing runs yet; if this does not arrive the session lapses.
            let _unheard = tokio::time::timeout(LAST_WORDS, presence.leave(&shared)).await;
            return Ok(());
        }
    };
    let mut worker = start_worker(&shared, &presence.queue, untold)?;
    let outcome = tokio::select! {
        ended = presence.live(&shared) => ended,
        ended = presence.send(&shared, &name) => ended,
        ended = presence::watch(&shared) => ended,
        ended = presence::keep_tidy(&shared.ledger) => ended,
        ended = worker.ended() => ended.map_err(Error::from),
        () = tell_events(client) => Ok(()),
        () = &mut stop => Ok(()),
    };
    finish(&shared, &presence, worker, &name, &outcome).await;
    outcome
}

async fn finish(shared: &Shared, presence: &Presence, worker: Worker, name: &str, outcome: &Result<()>) {
    let limit = if outcome.is_ok() {
        tracing::info!(grace = ?shared.settings.grace, "ending: what runs may end within the grace");
        shared.settings.grace + CANCEL_GRACE
    } else {
        // The queue may be another's by now. Nothing more is claimed, nothing runs on, and what is in hand is let go of.
        worker.pause();
        shared.stop.cancel();
        CANCEL_GRACE
    };
    if tokio::time::timeout(limit, worker.shutdown()).await.is_err() {
        tracing::warn!("the queue could not be told; its leases end by time");
    }
    if tokio::time::timeout(STOP_LIMIT, shared.stop_all()).await.is_err() {
        tracing::error!("a run could not be ended in time; the next agent tells of it");
    }
    let is_duplicate = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Duplicate);
    let last_words = async {
        // Of two that share a ledger's name only one may count its events.
        if !is_duplicate {
            presence.empty_outbox(shared, name).await?;
        }
        presence.leave(shared).await
    };
    match tokio::time::timeout(LAST_WORDS, last_words).await {
        Ok(Ok(())) => tracing::info!("ended"),
        Ok(Err(error)) => tracing::warn!(error = error.full(), "ended; what the hub was not told is told next time"),
        Err(_late) => tracing::warn!("ended; what the hub was not told is told next time"),
    }
}

fn start_worker(shared: &Arc<Shared>, queue: &Queue, untold: Vec<Untold>) -> Result<Worker> {
    let handler = {
        let shared = shared.clone();
        move |job: Job| shared.clone().take(job)
    };
    let settings = &shared.settings;
    let mut worker = queue.worker(handler);
    for (job, outcome) in untold {
        worker = worker.report(&job, outcome);
    }
    let worker = worker
        .name(settings.id.as_str())
        .concurrency(settings.concurrency)
        .lease(settings.lease)
        // Nobody else serves this queue: the session sees to it.
        .lost_lease(LostLease::RunsOn)
        .block(settings.heartbeat.clamp(BLOCK, BLOCK * 7))
        .cancel_grace(CANCEL_GRACE)
        .shutdown_grace(settings.grace)
        .result_max(RESULT_MAX)
        .backoff(Backoff::EqualJitter { base: Duration::from_secs(2), max: Duration::from_secs(300) })
        .start()?;
    Ok(worker)
}

/// Says what happens to the connection, in the log.
async fn tell_events(client: &Client) {
    let mut events = client.events();
    while let Some(event) = events.next().await {
        match event {
            Event::Activated { lane: Lane::Commands, node, .. } => tracing::info!(%node, "connected"),
            Event::Disconnected { lane: Lane::Commands, node, cause } => {
                tracing::warn!(%node, cause = crate::error::chain(&cause), "the connection was lost");
            }
            Event::ReconnectFailed { lane: Lane::Commands, attempt, cause, next_in } => {
                tracing::warn!(attempt, ?next_in, cause = crate::error::chain(&cause), "the hub cannot be reached");
            }
            _ => {}
        }
    }
}

/// The ledger's own name: numbers of events count for it alone.
async fn own_name(ledger: &Ledger) -> Result<String> {
    if let Some(name) = ledger.fact("ledger").await? {
        return Ok(name);
    }
    let name = format!("{:016x}", fastrand::u64(..));
    ledger.keep(vec![("ledger", name.clone())]).await?;
    Ok(name)
}

impl Settings {
    /// Checks what can be known to be wrong before anything is done.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] with what to change.
    pub fn check(&self) -> Result<()> {
        let first = self.command.split_whitespace().next().unwrap_or_default();
        if first.is_empty() {
            return Err(Error::usage("--exec is empty: name the command that runs a job"));
        }
        // A name without a path may come with a package that is yet to be installed.
        if first.contains('/') && process::is_missing(&self.command) {
            return Err(Error::usage(format!("the handler {first} is not there or not executable: correct --exec")));
        }
        if self.concurrency == 0 {
            return Err(Error::usage("--concurrency must be at least 1"));
        }
        if self.heartbeat < Duration::from_millis(100) {
            return Err(Error::usage("--heartbeat must be at least 100ms"));
        }
        if self.lease < Duration::from_secs(1) {
            return Err(Error::new(ErrorKind::Usage, "--lease must be at least 1s"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frugal_agent_notices_a_dead_hub_within_a_minute_and_waits_for_its_bell_in_one_piece() {
        let liveness = frugal_liveness();
        let minute = Duration::from_secs(60);
        let keepalive = liveness.keepalive.unwrap();
        let kernel = keepalive.idle + keepalive.interval * keepalive.count;
        assert!(kernel <= Duration::from_secs(25));
        // Ticks are half a second apart at most.
        let tick = Duration::from_millis(500);
        assert!(liveness.heartbeat.unwrap() + liveness.dead_after.unwrap() + tick <= minute);
        assert!(liveness.slice + liveness.slice_grace + tick <= minute);
        assert!(BLOCK.mul_f64(1.2) <= liveness.slice);
    }
}
