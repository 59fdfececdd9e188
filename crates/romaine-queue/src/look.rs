//! Jobs as they are seen from outside.

use bytes::Bytes;

use crate::priority::Priority;
use crate::record::{Mark, Record, State};

/// Where an unfinished job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It can be claimed.
    Waiting,
    /// Its time has not come: delayed, scheduled, or to be retried.
    Delayed,
    /// A worker has it.
    Leased,
    /// It failed for good: a dead letter.
    Dead,
}

impl Place {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Dead => "dead",
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// An unfinished job. Times are the server's, in milliseconds since 1970.
#[derive(Clone)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub place: Place,
    /// How urgent.
    pub priority: Priority,
    /// Times it was started.
    pub attempts: u32,
    /// Times it may be started; `None` before it was first claimed or delayed.
    pub attempts_max: Option<u32>,
    /// When it was accepted.
    pub enqueued_ms: i64,
    /// When it expires, if it does.
    pub expires_ms: Option<i64>,
    /// Due (delayed), end of the lease (leased), or death (dead).
    pub at_ms: Option<i64>,
    /// Who has it.
    pub consumer: Option<String>,
    /// The number of its lease.
    pub token: Option<u64>,
    /// Its unique key.
    pub unique: Option<String>,
    /// Its generation.
    pub generation: Option<u64>,
    /// Why its last attempt failed.
    pub error: Option<String>,
    /// What it is about.
    pub payload: Bytes,
    /// The state that its lease wrote, while the end of that lease is all that happened to it.
    pub(crate) lease: Option<String>,
}

impl JobInfo {
    /// From the time and groups of id, state, score, error, record. One that this version cannot read hides no other.
    pub(crate) fn decode_all(answer: &[Bytes]) -> Option<Vec<Self>> {
        let (jobs, rest) = answer.get(1..)?.as_chunks::<5>();
        if !rest.is_empty() {
            return None;
        }
        Some(jobs.iter().filter_map(Self::decode).collect())
    }

    fn decode([id, state, score, error, record]: &[Bytes; 5]) -> Option<Self> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        let record = Record::decode(record)?;
        let state_text = text(state);
        let state = if state_text.is_empty() { None } else { Some(State::parse(&state_text)?) };
        let (place, consumer, token) = match state.map(|state| state.mark) {
            None | Some(Mark::Waiting) => (Place::Waiting, None, None),
            Some(Mark::Delayed) => (Place::Delayed, None, None),
            Some(Mark::Dead) => (Place::Dead, None, None),
            Some(Mark::Leased { token, consumer }) => (Place::Leased, Some(consumer.to_owned()), Some(token)),
        };
        let at_ms = text(score).parse::<i64>().ok().filter(|at| *at > 0);
        Some(Self {
            id: text(id),
            kind: record.kind,
            place,
            priority: record.priority,
            attempts: state.map_or(0, |state| state.attempts),
            attempts_max: state.map(|state| state.attempts_max),
            enqueued_ms: record.enqueued_ms,
            expires_ms: if record.expires_ms > 0 { Some(record.expires_ms) } else { None },
            at_ms,
            consumer,
            token,
            unique: some(record.unique),
            generation: record.generation,
            error: some(text(error)),
            payload: record.payload,
            lease: lease_of(&state_text),
        })
    }
}

/// The state of the lease that a job has, or left behind when it ran out.
fn lease_of(state: &str) -> Option<String> {
    let (at, _) = state.match_indices(':').nth(2)?;
    let (before, mark) = state.split_at(at + 1);
    let token = match mark.as_bytes().first()? {
        b'w' => mark.split_once(':')?.1,
        b'x' => mark.get(1..)?,
        _ => mark,
    };
    if token.contains('-') { Some(format!("{before}{token}")) } else { None }
}

impl std::fmt::Debug for JobInfo {
    /// Shows no payload.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobInfo")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("place", &self.place)
            .field("attempts", &self.attempts)
            .field("consumer", &self.consumer)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_known_by_its_state_until_something_else_happens_to_its_job() {
        let lease = Some("1:2:5:42-ab0f:web-1:a".to_owned());
        for state in ["1:2:5:42-ab0f:web-1:a", "1:2:5:x42-ab0f:web-1:a", "1:2:5:w1700:42-ab0f:web-1:a"] {
            assert_eq!(lease_of(state), lease, "{state}");
        }
        for state in ["", "1:2:5:x", "1:2:5:d", "1:2:5:w1700", "1:2"] {
            assert_eq!(lease_of(state), None, "{state}");
        }
    }
}
