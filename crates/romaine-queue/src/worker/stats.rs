//! What a worker counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A worker's counters since it was started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Jobs that its handler runs now.
    pub running: u64,
    /// Jobs it got.
    pub claimed: u64,
    /// Jobs whose handler said done.
    pub done: u64,
    /// Attempts that failed, to be repeated (or to die, if it was the last).
    pub failed: u64,
    /// Jobs its handler gave up for good.
    pub dead: u64,
    /// Handlers that panicked; contained, and counted as failed too.
    pub panicked: u64,
    /// Reports that came too late: another worker had the job by then, or it was put back or cancelled.
    pub fenced: u64,
    /// Jobs whose lease could not be renewed in time; told to stop, unless they run on.
    pub lease_lost: u64,
    /// Jobs told to stop because they were cancelled.
    pub cancelled: u64,
    /// Jobs given back with their attempt: at shutdown, or by their handler.
    pub given_back: u64,
    /// Jobs found again after the answer that brought them was lost.
    pub recovered: u64,
    /// Calls to the server that claim and report.
    pub turns: u64,
    /// Waits for the bell.
    pub waits: u64,
    /// Interruptions that were waited out.
    pub interruptions: u64,
    /// What the last of them was.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) running: AtomicU64,
    pub(crate) claimed: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) fenced: AtomicU64,
    pub(crate) lease_lost: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) given_back: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) turns: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) interruptions: AtomicU64,
    last_error: Mutex<Option<String>>,
}

pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
}

impl Stats {
    pub(crate) fn interrupted(&self, error: &romaine::Error) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    pub(crate) fn snapshot(&self) -> WorkerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerStats {
            running: read(&self.running),
            claimed: read(&self.claimed),
            done: read(&self.done),
            failed: read(&self.failed),
            dead: read(&self.dead),
            panicked: read(&self.panicked),
            fenced: read(&self.fenced),
            lease_lost: read(&self.lease_lost),
            cancelled: read(&self.cancelled),
            given_back: read(&self.given_back),
            recovered: read(&self.recovered),
            turns: read(&self.turns),
            waits: read(&self.waits),
            interruptions: read(&self.interruptions),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
