//! What the latency monitor has seen.

use romaine_resp::Reader;

use super::fields::{listed, skip, text};
use crate::convert::{ConversionError, FromValue};

/// One event in the reply of `LATENCY LATEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencyEvent {
    /// Its name: `command`, `fork`, `aof-write`, ….
    pub name: String,
    /// When it last happened, as a Unix time in seconds.
    pub time: i64,
    /// How long that took, in milliseconds.
    pub latest_ms: i64,
    /// The longest ever, in milliseconds.
    pub max_ms: i64,
}

impl FromValue for LatencyEvent {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a latency event", 4)?;
        let event = Self {
            name: text(reader)?,
            time: i64::from_value(reader)?,
            latest_ms: i64::from_value(reader)?,
            max_ms: i64::from_value(reader)?,
        };
        skip(reader, n - 4)?;
        Ok(event)
    }
}

/// One sample in the reply of `LATENCY HISTORY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySample {
    /// When, as a Unix time in seconds.
    pub time: i64,
    /// How long it took.
    pub milliseconds: i64,
}

impl FromValue for LatencySample {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (time, milliseconds) = FromValue::from_value(reader)?;
        Ok(Self { time, milliseconds })
    }
}
