//! How a job is written down at the server: a header that the scripts read, three names, and the payload.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::new_job::{Generation, NewJob, When};
use crate::priority::Priority;

/// Bytes of the header.
const HEADER: usize = 29;

/// The only version there is.
const VERSION: u8 = 1;

/// What `enqueue.lua` is given of one job: see there.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) id: String,
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

impl Encoded {
    pub(crate) fn size(&self) -> usize {
        self.id.len() + self.head.len() + self.body.len()
    }
}

/// Writes a job for the server. Its sizes were checked by [`NewJob::check`].
pub(crate) fn encode(job: NewJob, id: String) -> Result<Encoded> {
    let (time_kind, time) = match job.when {
        When::Now => (0, 0),
        When::After(delay) => (1, millis(delay)),
        When::At(time) => (2, u64::try_from(crate::clock::unix_ms(time)).unwrap_or(0)),
    };
    let unique = job.unique.as_deref().unwrap_or_default();
    let (generation_kind, generation, generation_key) = match &job.generation {
        None => (0, 0, ""),
        Some(Generation::Supersedes { key, number }) => (1, *number, key.as_str()),
        Some(Generation::Once { key, number }) => (2, *number, key.as_str()),
    };
    let mut head = BytesMut::with_capacity(30);
    head.put_u8(job.priority.number());
    head.put_u16(job.attempts);
    head.put_u8(time_kind);
    head.put_u64(time);
    head.put_u64(job.expires_in.map_or(0, millis));
    head.put_u8(u8::from(!unique.is_empty()));
    head.put_u8(generation_kind);
    head.put_u64(generation);
    let names = [job.kind.as_str(), unique, generation_key];
    let size = names.iter().map(|name| name.len() + 2).sum::<usize>() + job.payload.len();
    let mut body = BytesMut::with_capacity(size);
    for name in names {
        let length =
            u16::try_from(name.len()).map_err(|too_long| Error::invalid("a name is too long").with_source(too_long))?;
        body.put_u16(length);
        body.put_slice(name.as_bytes());
    }
    body.put_slice(&job.payload);
    Ok(Encoded { id, head: head.freeze(), body: body.freeze() })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(MILLIS_MAX)
}

/// Lua counts in doubles: whole numbers up to here are exact.
const MILLIS_MAX: u64 = 1 << 52;

/// A job as the server holds it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) priority: Priority,
    pub(crate) enqueued_ms: i64,
    /// 0: never.
    pub(crate) expires_ms: i64,
    pub(crate) kind: String,
    pub(crate) unique: String,
    /// The generation, if it has one.
    pub(crate) generation: Option<u64>,
    pub(crate) payload: Bytes,
}

impl Record {
    /// Reads what `enqueue.lua` wrote; `None` where it cannot have written that.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if *header.first()? != VERSION {
            return None;
        }
        let number = |at: usize| Some(u64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let mut rest = bytes.slice(HEADER..);
        let mut name = || {
            let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
            let text = std::str::from_utf8(rest.get(2..2 + length)?).ok()?.to_owned();
            rest = rest.slice(2 + length..);
            Some(text)
        };
        let (kind, unique, _generation_key) = (name()?, name()?, name()?);
        Some(Self {
            priority: Priority::from_number(*header.get(1)?)?,
            enqueued_ms: i64::try_from(number(4)?).ok()?,
            expires_ms: i64::try_from(number(12)?).ok()?,
            generation: if *header.get(20)? > 0 { Some(number(21)?) } else { None },
            kind,
            unique,
            payload: rest,
        })
    }
}

/// What the server knows of a job's course: `priority:attempts:most:mark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    pub(crate) attempts: u32,
    pub(crate) attempts_max: u32,
    pub(crate) mark: Mark<'a>,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    Waiting,
    Delayed,
    Dead,
    Leased { token: u64, consumer: &'a str },
}

impl<'a> State<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let _priority = parts.next()?;
        let attempts = parts.next()?.parse().ok()?;
        let attempts_max = parts.next()?.parse().ok()?;
        let mark = parts.next()?;
        let mark = match mark.as_bytes().first()? {
            b'w' => Mark::Waiting,
            b'd' => Mark::Delayed,
            b'x' => Mark::Dead,
            _ => {
                let (token, consumer) = mark.split_once(':')?;
                let (number, _nonce) = token.split_once('-')?;
                Mark::Leased { token: number.parse().ok()?, consumer }
            }
        };
        Some(Self { attempts, attempts_max, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_tells_attempts_and_place() {
        let leased = State::parse("1:2:5:42-ab0f:web-1:a").unwrap();
        assert_eq!((leased.attempts, leased.attempts_max), (2, 5));
        assert_eq!(leased.mark, Mark::Leased { token: 42, consumer: "web-1:a" });
        assert_eq!(State::parse("0:0:3:d").unwrap().mark, Mark::Delayed);
        assert_eq!(State::parse("0:1:3:w1700000000000").unwrap().mark, Mark::Waiting);
        assert_eq!(State::parse("nonsense"), None);
    }

    #[test]
    fn bytes_that_are_no_record_are_not_read_as_one() {
        for bytes in [&b""[..], b"\x01", &[0; 40], &[1; 29]] {
            assert!(Record::decode(&Bytes::copy_from_slice(bytes)).is_none());
        }
    }
}
