//! When to dial again. There is no last attempt.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Counts attempts and says when the next one is due.
///
/// The back-off starts anew only after a connection has been usable for the stable period: a peer that completes the
/// handshake and closes at once is not a success.
#[derive(Debug)]
pub struct Reconnect {
    backoff: Backoff,
    stable_after: Duration,
    random: fastrand::Rng,
    attempt: u64,
    previous: Duration,
    ready_since: Option<Instant>,
}

impl Reconnect {
    /// A machine at its first attempt.
    #[must_use]
    pub const fn new(backoff: Backoff, stable_after: Duration, random: fastrand::Rng) -> Self {
        Self { backoff, stable_after, random, attempt: 0, previous: Duration::ZERO, ready_since: None }
    }

    /// The number of the attempt that comes next, counted from 1 since the last stable connection.
    #[must_use]
    pub const fn attempt(&self) -> u64 {
        self.attempt.saturating_add(1)
    }

    /// A connection became usable.
    pub fn ready(&mut self, now: Instant) {
        self.ready_since = Some(now);
    }

    /// A connection ended, or an attempt failed: how long to wait before the next one.
    pub fn failed(&mut self, now: Instant) -> Duration {
        if let Some(since) = self.ready_since.take()
            && now.saturating_duration_since(since) >= self.stable_after
        {
            self.attempt = 0;
            self.previous = Duration::ZERO;
        }
        let delay = self.backoff.delay(self.attempt, self.previous, &mut self.random);
        self.attempt = self.attempt.saturating_add(1);
        self.previous = delay;
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Reconnect {
        let backoff = Backoff::Exponential { base: Duration::from_millis(100), max: Duration::from_secs(5) };
        Reconnect::new(backoff, Duration::from_secs(10), fastrand::Rng::with_seed(1))
    }

    #[test]
    fn the_delay_grows_to_its_cap_and_stays_there_for_ever() {
        let mut reconnect = machine();
        let now = Instant::now();
        let delays: Vec<_> = (0..8).map(|_| reconnect.failed(now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(reconnect.attempt(), 9);
    }

    #[test]
    fn a_peer_that_greets_and_closes_does_not_reset_the_delay() {
        let mut reconnect = machine();
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            reconnect.ready(now);
            now += Duration::from_millis(50);
            let delay = reconnect.failed(now);
            assert!(delay > last, "{delay:?} after {last:?}");
            last = delay;
            now += delay;
        }
    }

    #[test]
    fn a_stable_connection_resets_the_delay() {
        let mut reconnect = machine();
        let now = Instant::now();
        for _ in 0..5 {
            reconnect.failed(now);
        }
        reconnect.ready(now);
        assert_eq!(reconnect.failed(now + Duration::from_secs(10)), Duration::from_millis(100));
        assert_eq!(reconnect.attempt(), 2);
    }
}
