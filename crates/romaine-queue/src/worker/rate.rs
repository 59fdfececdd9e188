//! A worker's own limit of starts per second: a token bucket. No clock: time is an argument.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new((per_second, burst): (f64, u32), now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { per_second, burst, tokens: burst, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = now;
    }

    /// How many of `want` may start now.
    pub(crate) fn allows(&mut self, want: usize, now: Instant) -> usize {
        self.refill(now);
        let mut allowed = 0;
        let mut left = self.tokens;
        while allowed < want && left >= 1.0 {
            allowed += 1;
            left -= 1.0;
        }
        allowed
    }

    /// So many started.
    pub(crate) fn take(&mut self, started: usize) {
        self.tokens -= u32::try_from(started).map_or(f64::MAX, f64::from);
    }

    /// When the next one may start.
    pub(crate) fn next_at(&self) -> Instant {
        let missing = ((1.0 - self.tokens) / self.per_second).clamp(0.0, 86_400.0);
        // Never now: rounding must not turn waiting into spinning, or into waiting for ever.
        self.at + Duration::from_secs_f64(missing).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let now = crate::clock::now();
        let mut bucket = Bucket::new((10.0, 3), now);
        assert_eq!(bucket.allows(8, now), 3);
        bucket.take(3);
        assert_eq!(bucket.allows(8, now), 0);
        assert_eq!(bucket.next_at(), now + Duration::from_millis(100));
        assert_eq!(bucket.allows(8, now + Duration::from_millis(205)), 2);
    }
}
