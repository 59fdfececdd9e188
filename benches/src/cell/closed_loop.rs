//! One connection shared by N tasks, each of which sends its next command when the last reply is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::operation::Operation;
use crate::{allocations::Allocations, histogram::Histogram, peer::Peer, sample::Sample, usage};

/// Phases of a run, in this order.
const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const STOPPING: u8 = 2;

/// With many callers only one turn in so many is timed: reading the clock twice costs up to a third of the fastest command.
const TURNS_PER_TIMED_TURN: usize = 8;
/// With at most so many callers every turn is timed.
const FEW_CALLERS: usize = 4;

/// How much is run, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Tasks that share the connection.
    pub(super) callers: usize,
    /// Commands per turn.
    pub(super) commands_per_turn: usize,
    /// Time before the window.
    pub(super) warm_up: Duration,
    /// The measured window.
    pub(super) window: Duration,
    /// Count allocations. Time is then not to be trusted, and not reported.
    pub(super) count_allocations: bool,
}

/// What the callers share with the stop-watch.
struct Board {
    phase: AtomicU8,
    latencies: Histogram,
}

/// What the stop-watch read.
struct Window {
    elapsed: Duration,
    cpu: Duration,
    allocations: u64,
    allocated_bytes: u64,
}

/// Runs the load and measures it.
pub(super) async fn measure<P: Peer, O: Operation>(peer: P, operation: O, load: Load) -> Result<Sample> {
    let board = Arc::new(Board { phase: AtomicU8::new(WARMING_UP), latencies: Histogram::new() });
    if load.count_allocations {
        Allocations::start_counting();
    }
    let callers: Vec<_> = (0..load.callers)
        .map(|at| {
            tokio::spawn(call(
                peer.clone(),
                operation.for_caller(at),
                Arc::clone(&board),
                timed_turns(at, load.callers),
            ))
        })
        .collect();

    // A thread, so that a busy runtime cannot be late in starting or ending the window.
    let watched = Arc::clone(&board);
    let stop_watch = thread::spawn(move || watch(&watched, load));

    let mut turns = 0;
    for caller in callers {
        turns += caller.await.context("a caller panicked")??;
    }
    let window = stop_watch.join().ok().context("the stop-watch panicked")??;

    let commands = turns as f64 * load.commands_per_turn as f64;
    if load.count_allocations {
        return Ok(Sample {
            allocations_per_op: Some(window.allocations as f64 / commands),
            allocated_bytes_per_op: Some(window.allocated_bytes as f64 / commands),
            ..Sample::default()
        });
    }
    Ok(Sample {
        ops_per_s: Some(commands / window.elapsed.as_secs_f64()),
        cpu_us_per_op: Some(window.cpu.as_secs_f64() * 1e6 / commands),
        p50_us: board.latencies.quantile_us(0.50),
        p99_us: board.latencies.quantile_us(0.99),
        ..Sample::default()
    })
}

/// Which turns a caller times: all, or one in [`TURNS_PER_TIMED_TURN`] starting at a different one for each caller.
fn timed_turns(at: usize, callers: usize) -> (usize, usize) {
    if callers <= FEW_CALLERS { (0, 1) } else { (at % TURNS_PER_TIMED_TURN, TURNS_PER_TIMED_TURN) }
}

/// One caller. Returns how many of its turns ended inside the window.
async fn call<P: Peer, O: Operation>(
    mut peer: P,
    mut operation: O,
    board: Arc<Board>,
    (mut turn, turns_per_timed): (usize, usize),
) -> Result<u64> {
    let mut counted = 0;
    while board.phase.load(Relaxed) != STOPPING {
        turn += 1;
        let started = if turn.is_multiple_of(turns_per_timed) { Some(Instant::now()) } else { None };
        operation.perform(&mut peer).await?;
        if board.phase.load(Relaxed) == MEASURING {
            counted += 1;
            if let Some(started) = started {
                board.latencies.record(started.elapsed());
            }
        }
    }
    Ok(counted)
}

/// Opens the window, closes it, and reads what was used in between.
fn watch(board: &Board, load: Load) -> Result<Window> {
    thread::sleep(load.warm_up);
    let (cpu, allocations, started) = (usage::own_cpu(), Allocations::now(), Instant::now());
    board.phase.store(MEASURING, Relaxed);
    thread::sleep(load.window);
    board.phase.store(STOPPING, Relaxed);
    let (elapsed, allocations_after) = (started.elapsed(), Allocations::now());
    Ok(Window {
        elapsed,
        cpu: usage::own_cpu()?.saturating_sub(cpu?),
        allocations: allocations_after.calls - allocations.calls,
        allocated_bytes: allocations_after.bytes - allocations.bytes,
    })
}
