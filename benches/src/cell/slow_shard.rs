//! One primary of a cluster hangs (SIGSTOP): what that does to calls to the others.
//!
//! Half of the callers go through the keys of the primary that will hang, the other half through all other keys, in closed
//! loops over one client. The latter are measured, before and while it hangs.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{task, time::sleep};

use super::operation::{MixedGet, Operation as _};
use crate::{address::Address, admin::Admin, data, histogram::Histogram, peer::Peer, sample::Sample};

/// Phases of a run, in this order.
const WARMING_UP: u8 = 0;
const BEFORE: u8 = 1;
const FROZEN: u8 = 2;
const STOPPING: u8 = 3;

/// Whoever gets an error calls again after so long, as an application should: a client that fails at once must not spend the
/// processor on failing.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// How much is run, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Tasks that share the client.
    pub(super) callers: usize,
    /// Time before the first window.
    pub(super) warm_up: Duration,
    /// Each of the two windows: with all primaries well, and with one that hangs.
    pub(super) window: Duration,
}

/// Calls of the measured callers in one phase.
struct Tally {
    latencies: Histogram,
    failed: AtomicU64,
}

impl Tally {
    fn new() -> Self {
        Self { latencies: Histogram::new(), failed: AtomicU64::new(0) }
    }
}

/// What the callers share with the stop-watch.
struct Board {
    phase: AtomicU8,
    epoch: Instant,
    before: Tally,
    frozen: Tally,
    /// For each measured caller, when its call began: nanoseconds since the epoch, or 0 between calls.
    under_way: Vec<AtomicU64>,
    /// Errors that the callers of the frozen primary were given while it hung.
    given_up: AtomicU64,
}

impl Board {
    fn tally(&self) -> Option<&Tally> {
        match self.phase.load(Relaxed) {
            BEFORE => Some(&self.before),
            FROZEN => Some(&self.frozen),
            _ => None,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Calls that have not ended count with their age.
    fn count_calls_under_way(&self) {
        let now = self.now();
        for started in self.under_way.iter().map(|started| started.load(Relaxed)).filter(|started| *started > 0) {
            self.frozen.latencies.record(Duration::from_nanos(now.saturating_sub(started)));
        }
    }
}

/// Runs the load, freezes the cluster's last primary, measures, and lets it go on.
pub(super) async fn measure<P: Peer>(peer: P, address: &Address, load: Load) -> Result<Sample> {
    ensure!(load.callers >= 2, "one caller cannot be split in halves");
    let shards = Shards::ask(address)?;
    let healthy = load.callers.div_ceil(2);
    let board = Arc::new(Board {
        phase: AtomicU8::new(WARMING_UP),
        epoch: Instant::now(),
        before: Tally::new(),
        frozen: Tally::new(),
        under_way: (0..healthy).map(|_| AtomicU64::new(0)).collect(),
        given_up: AtomicU64::new(0),
    });
    let (to_others, to_frozen) = (MixedGet::new(shards.other_keys), MixedGet::new(shards.frozen_keys));
    let mut callers = Vec::with_capacity(load.callers);
    for at in 0..load.callers {
        // By turns, so that neither half is spawned, and therefore polled, before the other.
        callers.push(if at % 2 == 0 {
            tokio::spawn(call_others(peer.clone(), to_others.for_caller(at / 2), Arc::clone(&board), at / 2))
        } else {
            tokio::spawn(call_frozen(peer.clone(), to_frozen.for_caller(at / 2), Arc::clone(&board)))
        });
    }

    let watched = Arc::clone(&board);
    let windows =
        task::spawn_blocking(move || watch(&watched, shards.frozen, load)).await.context("the stop-watch")??;
    // Some may wait for ever.
    for caller in &callers {
        caller.abort();
    }
    sample(&board, healthy, windows)
}

/// One measured caller.
async fn call_others<P: Peer>(mut peer: P, mut operation: MixedGet, board: Arc<Board>, at: usize) {
    while board.phase.load(Relaxed) != STOPPING {
        let Some(under_way) = board.under_way.get(at) else { return };
        let started = board.now();
        under_way.store(started, Relaxed);
        let outcome = operation.perform(&mut peer).await;
        under_way.store(0, Relaxed);
        if let Some(tally) = board.tally() {
            tally.latencies.record(Duration::from_nanos(board.now().saturating_sub(started)));
            tally.failed.fetch_add(u64::from(outcome.is_err()), Relaxed);
        }
        if outcome.is_err() {
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

/// One caller of the primary that will hang.
async fn call_frozen<P: Peer>(mut peer: P, mut operation: MixedGet, board: Arc<Board>) {
    while board.phase.load(Relaxed) != STOPPING {
        if operation.perform(&mut peer).await.is_err() {
            if board.phase.load(Relaxed) == FROZEN {
                board.given_up.fetch_add(1, Relaxed);
            }
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

/// Opens and closes the windows, with the freezing between them; how long each was.
fn watch(board: &Board, frozen: Pid, load: Load) -> Result<(Duration, Duration)> {
    thread::sleep(load.warm_up);
    let opened = Instant::now();
    board.phase.store(BEFORE, Relaxed);
    thread::sleep(load.window);
    let stopped = Stopped::stop(frozen)?;
    board.phase.store(FROZEN, Relaxed);
    let before = opened.elapsed();
    thread::sleep(load.window);
    board.phase.store(STOPPING, Relaxed);
    let while_frozen = opened.elapsed() - before;
    board.count_calls_under_way();
    drop(stopped);
    Ok((before, while_frozen))
}

fn sample(board: &Board, healthy: usize, (before, frozen): (Duration, Duration)) -> Result<Sample> {
    let rate = |tally: &Tally, window: Duration| {
        let answered = tally.latencies.count().saturating_sub(tally.failed.load(Relaxed));
        answered as f64 / window.as_secs_f64()
    };
    let (rate_before, rate_frozen) = (rate(&board.before, before), rate(&board.frozen, frozen));
    ensure!(rate_before > 0.0, "no call succeeded before the primary was frozen");
    let interval = Duration::from_secs_f64(healthy as f64 / rate_before);
    let p99 = |tally: &Tally| tally.latencies.with_omitted(interval).quantile_us(0.99);
    let (p99_before, p99_frozen) = (p99(&board.before), p99(&board.frozen));
    Ok(Sample {
        before_ops_per_s: Some(rate_before),
        frozen_ops_per_s: Some(rate_frozen),
        frozen_ops_ratio: Some(rate_frozen / rate_before),
        before_p99_us: p99_before,
        frozen_p99_us: p99_frozen,
        frozen_p99_ratio: p99_before.zip(p99_frozen).map(|(before, frozen)| frozen / before),
        frozen_longest_us: board.frozen.latencies.quantile_us(1.0),
        frozen_failed: Some(board.frozen.failed.load(Relaxed) as f64),
        frozen_given_up: Some(board.given_up.load(Relaxed) as f64),
        ..Sample::default()
    })
}

/// Which keys are where, and the process to freeze.
struct Shards {
    frozen: Pid,
    frozen_keys: Vec<String>,
    other_keys: Vec<String>,
}

impl Shards {
    fn ask(address: &Address) -> Result<Self> {
        let nodes = address.nodes();
        let (last, others) = nodes.split_last().context("the address has no servers")?;
        ensure!(!others.is_empty(), "{address} is not a cluster");
        let mut other_keys = Vec::new();
        for node in others {
            other_keys.extend(Admin::connect(node)?.keys(data::MIXED_PATTERN)?);
        }
        let mut admin = Admin::connect(last)?;
        let frozen_keys = admin.keys(data::MIXED_PATTERN)?;
        ensure!(!other_keys.is_empty() && !frozen_keys.is_empty(), "{address} does not hold the benchmark's keys");
        Ok(Self { frozen: process(last, &mut admin)?, frozen_keys, other_keys })
    }
}

/// The server's process, if it is one of this machine.
fn process(address: &Address, admin: &mut Admin) -> Result<Pid> {
    let pid: i32 = admin.info("server", "process_id")?.parse()?;
    let port = admin.info("server", "tcp_port")?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_ours = String::from_utf8_lossy(&command).contains(&port);
    ensure!(is_ours, "{address} is not a server on this machine: process {pid} has nothing to do with port {port}");
    Ok(Pid::from_raw(pid))
}

/// A process that does not run until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop(process: Pid) -> Result<Self> {
        kill(process, Signal::SIGSTOP).context("freezing a primary")?;
        Ok(Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // An error means that it is gone.
        let _gone = kill(self.0, Signal::SIGCONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(callers: usize) -> Board {
        Board {
            phase: AtomicU8::new(STOPPING),
            epoch: Instant::now(),
            before: Tally::new(),
            frozen: Tally::new(),
            under_way: (0..callers).map(|_| AtomicU64::new(0)).collect(),
            given_up: AtomicU64::new(0),
        }
    }

    fn record(tally: &Tally, calls: usize, latency: Duration) {
        for _ in 0..calls {
            tally.latencies.record(latency);
        }
    }

    #[test]
    fn callers_that_are_not_slowed_have_a_ratio_of_one() {
        let board = board(1);
        record(&board.before, 1_000, Duration::from_millis(1));
        record(&board.frozen, 3_000, Duration::from_millis(1));
        let sample = sample(&board, 1, (Duration::from_secs(1), Duration::from_secs(3))).unwrap();
        assert_eq!(sample.frozen_p99_ratio, Some(1.0));
        assert_eq!(sample.frozen_ops_ratio, Some(1.0));
    }

    #[test]
    fn a_caller_that_waits_to_the_end_shows_in_the_p99_though_nearly_all_calls_were_fast() {
        let board = board(1);
        record(&board.before, 1_000, Duration::from_millis(1));
        record(&board.frozen, 1_500, Duration::from_millis(1));
        record(&board.frozen, 1, Duration::from_millis(1_500));
        let sample = sample(&board, 1, (Duration::from_secs(1), Duration::from_secs(3))).unwrap();
        assert!(sample.frozen_p99_ratio.unwrap() > 1_000.0);
        assert!(sample.frozen_ops_ratio.unwrap() < 0.51);
    }
}
