//! The id of a stream entry.

use std::fmt;
use std::str::FromStr;

use romaine_resp::{Reader, Token};

use crate::arg::{ArgWriter, ToArg};
use crate::convert::{ConversionError, FromValue};

/// The id of a stream entry: `ms-seq`, ordered as the server orders entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// Unix time in milliseconds, unless the producer chose its own.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// Before every entry: `0-0`.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// Behind every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id `ms-seq`.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The smallest id behind this one; none behind [`MAX`](Self::MAX).
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text is not a stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAStreamId;

impl fmt::Display for NotAStreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a stream id; write it as milliseconds-sequence, for example 1526919030474-0")
    }
}

impl std::error::Error for NotAStreamId {}

impl FromStr for StreamId {
    type Err = NotAStreamId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        match (ms.parse(), seq.parse()) {
            (Ok(ms), Ok(seq)) => Ok(Self { ms, seq }),
            _ => Err(NotAStreamId),
        }
    }
}

impl ToArg for StreamId {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        out.write(self.to_string().as_bytes());
    }
}

impl FromValue for StreamId {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let token = reader.token()?;
        let id = match token {
            Token::Bulk(text) | Token::Simple(text) => {
                std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
            }
            _ => None,
        };
        id.ok_or_else(|| ConversionError::mismatch("a stream id", token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_order_as_numbers() {
        for (text, id) in [("0-0", StreamId::ZERO), ("15-3", StreamId::new(15, 3)), ("7", StreamId::new(7, 0))] {
            assert_eq!(text.parse(), Ok(id));
        }
        assert!("x-1".parse::<StreamId>().is_err());
        assert!(StreamId::new(9, 9) < StreamId::new(10, 0));
        assert_eq!(StreamId::new(1, u64::MAX).next(), Some(StreamId::new(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::new(1, 2).to_string(), "1-2");
    }
}
