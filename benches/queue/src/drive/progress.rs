//! Which handlers have started.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

/// What the handlers tell.
pub(super) struct Progress {
    started: AtomicUsize,
    all: usize,
    all_started: Notify,
    /// When the handler of each job started first.
    at: Vec<OnceLock<Instant>>,
}

impl Progress {
    /// Of so many jobs.
    pub(super) fn of(all: usize) -> Self {
        let at = (0..all).map(|_| OnceLock::new()).collect();
        Self { started: AtomicUsize::new(0), all, all_started: Notify::new(), at }
    }

    /// The handler of the job with this payload has started.
    pub(super) fn start(&self, number: Option<usize>) {
        if let Some(cell) = number.and_then(|number| self.at.get(number)) {
            // A job that is delivered twice has started before.
            let _ = cell.set(Instant::now());
        }
        if self.started.fetch_add(1, Ordering::Relaxed) + 1 == self.all {
            self.all_started.notify_one();
        }
    }

    /// How many have started.
    pub(super) fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Until all have.
    pub(super) async fn all_started(&self) {
        self.all_started.notified().await;
    }

    /// Microseconds from each of these times to the start of that job.
    pub(super) fn since(&self, pushed: &[Instant]) -> Vec<f64> {
        let started = self.at.iter().zip(pushed);
        started.filter_map(|(cell, pushed)| Some((*cell.get()? - *pushed).as_secs_f64() * 1e6)).collect()
    }
}
