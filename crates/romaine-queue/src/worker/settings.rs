//! What a worker keeps to.

use std::time::Duration;

use romaine::Backoff;

use crate::error::{Error, Result};

/// What becomes of a running job whose lease could not be renewed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LostLease {
    /// It is stopped before its lease ends, so that no two workers run it at a time.
    #[default]
    Stops,
    /// It runs on. What it comes to counts unless another worker claimed the job since, or somebody put it back or
    /// cancelled it. For a queue that one worker serves, or for jobs that may run twice at a time.
    RunsOn,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) concurrency: usize,
    pub(crate) claim_max: usize,
    pub(crate) rate: Option<(f64, u32)>,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) lost_lease: LostLease,
    pub(crate) block: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel_grace: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) result_max: usize,
    pub(crate) results_for: Duration,
    pub(crate) results_max: u64,
    pub(crate) dead_max: u64,
    pub(crate) dead_for: Duration,
    pub(crate) remember_for: Duration,
    pub(crate) remember_max: u64,
    pub(crate) tidy_every: Duration,
}

impl Settings {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            concurrency: 16,
            claim_max: 128,
            rate: None,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            lost_lease: LostLease::Stops,
            block: Duration::from_secs(25),
            timeout: None,
            cancel_grace: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(30),
            backoff: Backoff::EqualJitter { base: Duration::from_secs(2), max: Duration::from_secs(600) },
            result_max: 64 * 1024,
            results_for: Duration::from_secs(3_600),
            results_max: 10_000,
            dead_max: 10_000,
            dead_for: Duration::from_secs(30 * 24 * 3_600),
            remember_for: Duration::from_secs(60),
            remember_max: 100_000,
            tidy_every: Duration::from_secs(600),
        }
    }

    /// Checks what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let name_fits = (1..=100).contains(&self.name.len()) && self.name.bytes().all(|byte| byte.is_ascii_graphic());
        let tiny = Duration::from_millis(1);
        let findings = [
            (!name_fits, "a consumer's name is 1 to 100 printable ASCII characters without spaces"),
            (self.concurrency == 0, "concurrency must be at least 1"),
            (self.lease < Duration::from_millis(100), "a lease must be at least 100 ms"),
            (self.heartbeat < tiny || self.heartbeat * 3 > self.lease, "three heartbeats must fit into a lease"),
            (self.block < Duration::from_millis(50), "block must be at least 50 ms"),
            (self.block >= Duration::from_secs(3_600), "block must be less than an hour"),
            (
                self.rate.is_some_and(|(rate, burst)| !rate.is_finite() || rate <= 0.0 || burst == 0),
                "a rate is above 0 jobs per second, with a burst of at least 1",
            ),
        ];
        match findings.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(Error::config(what)),
            None => Ok(()),
        }
    }

    /// The longest block: its jitter included.
    fn longest_block(&self) -> Duration {
        self.block.mul_f64(1.2)
    }

    /// Within what time an idle worker is heard of again.
    pub(crate) fn idle_promise(&self) -> Duration {
        self.longest_block() + Duration::from_secs(1)
    }

    /// Within what time a busy one is.
    pub(crate) fn busy_promise(&self) -> Duration {
        self.heartbeat + Duration::from_secs(1)
    }

    /// How long before the end of a lease a job is told to stop.
    pub(crate) fn fence_margin(&self) -> Duration {
        self.lease / 6
    }
}
