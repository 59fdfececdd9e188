//! Latencies, in buckets about 3 % wide.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Buckets per power of two.
const STEPS: u64 = 32;
/// The smallest value told apart, 32 ns, has this exponent; everything below falls into the first bucket.
const FIRST_EXPONENT: u64 = 5;
const BUCKETS: usize = 59 * 32;

/// Latencies recorded by many tasks at once.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one latency.
    pub(crate) fn record(&self, latency: Duration) {
        self.add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    fn add(&self, nanoseconds: u64, count: u64) {
        if let Some(bucket) = self.buckets.get(index(nanoseconds)) {
            bucket.fetch_add(count, Relaxed);
        }
    }

    /// How many latencies were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The same with the calls that were not made because their caller waited: whoever calls every `interval` and waits five
    /// times as long would have made four more calls meanwhile, each a little less late than the one before.
    pub(crate) fn with_omitted(&self, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let completed = Self::new();
        for (at, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.load(Relaxed);
            let mut late = (count > 0).then(|| middle(at as u64));
            while let Some(nanoseconds) = late {
                completed.add(nanoseconds, count);
                late = nanoseconds.checked_sub(interval).filter(|rest| *rest >= interval);
            }
        }
        completed
    }

    /// The latency in microseconds below which `share` (0 to 1) of all lie. `None` while nothing is recorded.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = total as f64 * share;
        let mut seen = 0;
        for (at, count) in counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Some(middle(at as u64) as f64 / 1_000.0);
            }
        }
        None
    }
}

fn index(nanoseconds: u64) -> usize {
    let value = nanoseconds.max(STEPS);
    let exponent = u64::from(value.ilog2()) - FIRST_EXPONENT;
    let at = exponent * STEPS + (value >> exponent) % STEPS;
    usize::try_from(at).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn middle(index: u64) -> u64 {
    let (exponent, step) = (index / STEPS, index % STEPS);
    ((STEPS + step) << exponent) + (1 << exponent) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_three_percent() {
        let histogram = Histogram::new();
        for microseconds in 1..=1_000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = histogram.quantile_us(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.03, "{share}: {found}");
        }
    }

    #[test]
    fn who_waits_long_would_have_called_more_often() {
        let histogram = Histogram::new();
        for _ in 0..999 {
            histogram.record(Duration::from_micros(10));
        }
        histogram.record(Duration::from_millis(10));
        assert!(histogram.quantile_us(0.99).unwrap() < 11.0);

        let completed = histogram.with_omitted(Duration::from_micros(10));
        assert!((completed.count() as f64 / 2_000.0 - 1.0).abs() < 0.02, "{}", completed.count());
        assert!((completed.quantile_us(0.75).unwrap() / 5_000.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn extremes_have_a_bucket_and_an_empty_histogram_has_no_quantile() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_nanos(u64::MAX));
        assert!(histogram.quantile_us(0.5).unwrap() < 0.04);
    }
}
