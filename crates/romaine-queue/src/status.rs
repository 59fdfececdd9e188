//! How a queue is, at one moment of the server's time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use romaine::Value;

/// Lag and liveness of a queue: what is where, how old the oldest is, who was heard of when.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Status {
    /// The queue.
    pub queue: String,
    /// The server's time, in milliseconds since 1970.
    pub time_ms: i64,
    /// Jobs that can be claimed.
    pub waiting: u64,
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Jobs that workers have.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
    /// Results that are kept.
    pub results: u64,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// How long the oldest waiting job has been waiting.
    pub oldest_waiting: Option<Duration>,
    /// How long until the first delayed job is due.
    pub next_due: Option<Duration>,
    /// What happened since the queue was created.
    pub totals: Totals,
    /// At most this many jobs run at a time.
    pub concurrency_limit: Option<u64>,
    /// At most so many start per second, and so many of them at once.
    pub rate_limit: Option<(f64, u64)>,
    /// Consumers, by name; a thousand of them where there are more.
    pub consumers: Vec<Consumer>,
    /// How many consumers there are.
    pub consumers_total: u64,
}

/// A consumer as the queue last heard of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// How long ago it last reported or asked for work.
    pub last_claim: Duration,
    /// Within what time after that it was to be heard of again.
    pub promised: Duration,
    /// Jobs it held then.
    pub held: u64,
}

impl Consumer {
    /// How long it is overdue, if it is.
    #[must_use]
    pub fn overdue(&self) -> Option<Duration> {
        self.last_claim.checked_sub(self.promised).filter(|late| !late.is_zero())
    }
}

/// Counters that only grow. `ended` jobs are done, dead, cancelled, expired or superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Jobs not accepted: known already, unique key taken, an older generation.
    pub refused: u64,
    /// Claims.
    pub claimed: u64,
    /// Jobs acknowledged.
    pub done: u64,
    /// Attempts that failed and will be repeated.
    pub retried: u64,
    /// Jobs that became dead letters.
    pub dead: u64,
    /// Dead letters dropped by age or number.
    pub dropped: u64,
    /// Dead letters put back.
    pub revived: u64,
    /// Dead letters that were done after all: their workers had been cut off, and could tell it before anybody put them back.
    pub redeemed: u64,
    /// Leases that ran out: the workers died or were cut off.
    pub expired_leases: u64,
    /// Reports refused because the job was another's by then, or nobody's.
    pub fenced: u64,
    /// Jobs given back with their attempt: at a shutdown, or by their handlers.
    pub given_back: u64,
    /// Jobs cancelled.
    pub cancelled: u64,
    /// Jobs that expired before they were started.
    pub expired: u64,
    /// Jobs that a newer generation replaced.
    pub superseded: u64,
    /// Jobs purged.
    pub purged: u64,
}

impl Status {
    /// Whether nothing is there to be done.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0 && self.delayed == 0 && self.leased == 0
    }

    /// From what `status.lua` answers.
    pub(crate) fn decode(queue: &str, answer: &Value) -> Option<Self> {
        let fields = answer.as_elements()?;
        let number = |at: usize| fields.get(at)?.as_integer();
        let count = |at: usize| Some(u64::try_from(number(at)?).unwrap_or(0));
        let span = |at: usize| Some(u64::try_from(number(at)?).ok().map(Duration::from_millis));
        let meta = pairs(fields.get(7)?)?;
        let total = |name: &str| meta.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let time_ms = number(0)?;
        let rate = meta.get("rate").and_then(|rate| rate.parse::<f64>().ok());
        Some(Self {
            queue: queue.to_owned(),
            time_ms,
            waiting: count(1)?,
            delayed: count(2)?,
            leased: count(3)?,
            dead: count(4)?,
            results: count(9)?,
            paused: meta.get("paused").cloned(),
            oldest_waiting: span(5)?,
            next_due: span(6)?,
            concurrency_limit: meta.get("cap").and_then(|cap| cap.parse().ok()),
            rate_limit: rate.map(|rate| (rate, total("burst"))),
            consumers: pairs(fields.get(8)?)?
                .into_iter()
                .filter_map(|(name, heard)| Consumer::parse(name, &heard, time_ms))
                .collect(),
            consumers_total: count(10)?,
            totals: Totals {
                enqueued: total("enqueued"),
                refused: total("refused"),
                claimed: total("claimed"),
                done: total("done"),
                retried: total("retried"),
                dead: total("dead"),
                dropped: total("dropped"),
                revived: total("revived"),
                redeemed: total("redeemed"),
                expired_leases: total("expired_leases"),
                fenced: total("fenced"),
                given_back: total("given_back"),
                cancelled: total("cancelled"),
                expired: total("expired"),
                superseded: total("superseded"),
                purged: total("purged"),
            },
        })
    }
}

impl Consumer {
    /// From `last:promised:held`.
    fn parse(name: String, heard: &str, now: i64) -> Option<Self> {
        let mut parts = heard.split(':').map(|part| part.parse::<i64>().ok());
        let (last, promised, held) = (parts.next()??, parts.next()??, parts.next()??);
        let span = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Some(Self {
            name,
            last_claim: span(now - last),
            promised: span(promised),
            held: u64::try_from(held).unwrap_or(0),
        })
    }
}

/// A flat list of names and values, or a map.
fn pairs(value: &Value) -> Option<BTreeMap<String, String>> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let flat = value.as_elements()?;
    let (pairs, _rest) = flat.as_chunks::<2>();
    pairs.iter().map(|[name, value]| Some((text(name.as_bytes()?), text(value.as_bytes()?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_overdue_when_it_broke_its_own_promise() {
        let heard = Consumer::parse("a".into(), "1000:500:3", 1_400).unwrap();
        assert_eq!(heard.overdue(), None);
        let late = Consumer::parse("a".into(), "1000:500:3", 2_000).unwrap();
        assert_eq!(late.overdue(), Some(Duration::from_millis(500)));
        assert_eq!(late.held, 3);
    }
}
