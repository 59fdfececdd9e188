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
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(index(nanoseconds)) {
            bucket.fetch_add(1, Relaxed);
        }
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
                return Some(middle(at as u64) / 1_000.0);
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

fn middle(index: u64) -> f64 {
    let (exponent, step) = (index / STEPS, index % STEPS);
    ((STEPS + step) << exponent) as f64 + (1_u64 << exponent) as f64 / 2.0
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
    fn extremes_have_a_bucket_and_an_empty_histogram_has_no_quantile() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), None);
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_nanos(u64::MAX));
        assert!(histogram.quantile_us(0.5).unwrap() < 0.04);
    }
}
