//! Counters, and latencies per command.

use std::time::Duration;

use romaine_commands::Spec;

/// A histogram of durations from 1 µs to about an hour: eight buckets for each doubling, so a quantile is right to 12 %.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// A row for each doubling, made with its first count: most commands take much the same time, so most rows stay empty.
    rows: [Option<Box<[u64; SUBS_LEN]>>; ROWS],
    count: u64,
    sum_micros: u64,
    max_micros: u64,
}

const SUB_BITS: u32 = 3;
const SUBS: u64 = 1 << SUB_BITS;
const SUBS_LEN: usize = 1 << SUB_BITS;
const ROWS: usize = 33;
const BUCKETS: usize = ROWS << SUB_BITS;

impl Default for Histogram {
    fn default() -> Self {
        Self { rows: [const { None }; ROWS], count: 0, sum_micros: 0, max_micros: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&mut self, duration: Duration) {
        // Not as_micros(): its 128-bit division is felt at two million replies a second.
        let micros = duration.as_secs().saturating_mul(1_000_000) + u64::from(duration.subsec_micros());
        let bucket = bucket(micros);
        self.rows[bucket >> SUB_BITS].get_or_insert_default()[bucket % SUBS_LEN] += 1;
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
        self.max_micros = self.max_micros.max(micros);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (row, others) in self.rows.iter_mut().zip(&other.rows) {
            let Some(others) = others else { continue };
            for (count, more) in row.get_or_insert_default().iter_mut().zip(others.iter()) {
                *count += more;
            }
        }
        self.count += other.count;
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
        self.max_micros = self.max_micros.max(other.max_micros);
    }

    /// How many were recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_micros(self.max_micros)
    }

    /// The mean; zero when nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_micros.checked_div(self.count).unwrap_or(0))
    }

    /// The upper end of the bucket that holds the quantile `q` (0.5 is the median, 0.99 the 99th percentile); zero when
    /// nothing was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among counted things"
        )]
        let rank = (q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64;
        let mut seen = 0;
        let counts = self.rows.iter().flat_map(|row| row.as_deref().copied().unwrap_or_default());
        for (index, count) in counts.enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper_end(index).min(self.max_micros));
            }
        }
        Duration::ZERO
    }
}

#[inline]
fn bucket(micros: u64) -> usize {
    if micros < SUBS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2();
    let sub = (micros >> (power - SUB_BITS)) & (SUBS - 1);
    usize::try_from(u64::from(power - SUB_BITS + 1) * SUBS + sub).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    let (row, sub) = (index / SUBS, index % SUBS);
    if row == 0 { sub + 1 } else { (SUBS + sub + 1) << (row - 1) }
}

/// Latencies by command, recorded where replies are matched. A process may have a client for each of ten thousand edges,
/// which call three commands each: there are rows for these only.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// Ordered by the commands' indices.
    rows: Vec<Row>,
    /// The row of the last reply: the next is often of the same command.
    last: usize,
}

#[derive(Debug)]
struct Row {
    /// In the table. What is not in it shares 0: raw commands and pipelines, a handful of names that are constants of
    /// this crate.
    index: u16,
    name: &'static str,
    histogram: Box<Histogram>,
}

impl Row {
    #[inline]
    fn is_of(&self, spec: &Spec) -> bool {
        self.index == spec.index && (spec.index != 0 || self.name == spec.name)
    }
}

impl Latencies {
    #[inline]
    pub(crate) fn record(&mut self, spec: &'static Spec, latency: Duration) {
        if !self.rows.get(self.last).is_some_and(|row| row.is_of(spec)) {
            self.last = self.row_of(spec);
        }
        self.rows[self.last].histogram.record(latency);
    }

    /// Where the row of a command is, made if there is none.
    fn row_of(&mut self, spec: &'static Spec) -> usize {
        let first = self.rows.partition_point(|row| row.index < spec.index);
        let of_index = self.rows[first..].iter().take_while(|row| row.index == spec.index);
        let (mut at, mut is_known) = (first, false);
        for row in of_index {
            is_known = row.is_of(spec);
            if is_known {
                break;
            }
            at += 1;
        }
        if !is_known {
            self.rows.reserve_exact(1);
            self.rows.insert(at, Row { index: spec.index, name: spec.name, histogram: Box::default() });
        }
        at
    }

    pub(crate) fn snapshot(&self) -> Vec<(&'static str, Histogram)> {
        self.rows.iter().map(|row| (row.name, (*row.histogram).clone())).collect()
    }
}

/// What one connection has counted since the client was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests accepted.
    pub requests: u64,
    /// Replies received (of pipelines, each).
    pub replies: u64,
    /// Requests that ended by their deadline.
    pub expired: u64,
    /// Requests that ended with their connection.
    pub disconnected: u64,
    /// Requests refused by a limit.
    pub refused_by_limit: u64,
    /// Calls issued again after a failure.
    pub retries: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Connections that became usable.
    pub connections: u64,
    /// Out-of-band frames received.
    pub pushes: u64,
}

/// A reading of a client's counters and latencies.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Of the shared connection of ordinary commands.
    pub commands: Counters,
    /// Of the connection of all subscriptions.
    pub subscriptions: Counters,
    /// Requests accepted and not yet handed to the transport.
    pub queued: usize,
    /// Bytes of these.
    pub queued_bytes: usize,
    /// Requests handed to the transport and not answered.
    pub in_flight: usize,
    /// Blocking commands under way.
    pub blocking: usize,
    /// Redirects (MOVED, ASK) followed since the client was made.
    pub redirects: u64,
    /// Time from issuing a command to its reply, the time in the queue included, by command name.
    pub latencies: Vec<(&'static str, Histogram)>,
}

impl Counters {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.replies += other.replies;
        self.expired += other.expired;
        self.disconnected += other.disconnected;
        self.refused_by_limit += other.refused_by_limit;
        self.retries += other.retries;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.connections += other.connections;
        self.pushes += other.pushes;
    }
}

impl Metrics {
    /// Adds another server's.
    pub(crate) fn add(&mut self, other: Self) {
        self.commands.add(&other.commands);
        self.subscriptions.add(&other.subscriptions);
        self.queued += other.queued;
        self.queued_bytes += other.queued_bytes;
        self.in_flight += other.in_flight;
        for (name, histogram) in other.latencies {
            match self.latencies.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.merge(&histogram),
                None => self.latencies.push((name, histogram)),
            }
        }
    }

    /// The latencies of one command.
    #[must_use]
    pub fn latency(&self, command: &str) -> Option<&Histogram> {
        self.latencies.iter().find(|(name, _)| *name == command).map(|(_, histogram)| histogram)
    }

    /// The latencies of all commands together.
    #[must_use]
    pub fn latency_of_all(&self) -> Histogram {
        let mut all = Histogram::default();
        for (_, histogram) in &self.latencies {
            all.merge(histogram);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_a_bucket_that_contains_it() {
        for micros in (0..100_000).chain([1 << 20, 1 << 31, (1 << 35) - 1]) {
            let index = bucket(micros);
            assert!(micros < upper_end(index), "{micros} in {index}");
            assert!(index == 0 || micros >= upper_end(index - 1), "{micros} in {index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn each_command_has_a_row_of_its_own_in_whatever_order_they_come() {
        let spec = |index, name| &*Box::leak(Box::new(Spec { index, name, ..Spec::UNLISTED }));
        let mut latencies = Latencies::default();
        let calls = [
            (50, "a", 1),
            (90, "b", 2),
            (7, "c", 3),
            (50, "a", 4),
            (0, "raw", 6),
            (8, "d", 5),
            (0, "pipeline", 7),
            (0, "raw", 1),
        ];
        for (index, name, times) in calls {
            for _ in 0..times {
                latencies.record(spec(index, name), Duration::from_micros(1));
            }
        }
        let counts: Vec<_> =
            latencies.snapshot().into_iter().map(|(name, histogram)| (name, histogram.count())).collect();
        assert_eq!(counts, [("raw", 7), ("pipeline", 7), ("c", 3), ("d", 5), ("a", 5), ("b", 2)]);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let median = histogram.quantile(0.5).as_micros();
        assert!((5_000..=5_700).contains(&median), "{median}");
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(10));
        assert_eq!(histogram.mean(), Duration::from_micros(5_000));
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
