//! An entry of the slow log.

use bytes::Bytes;
use romaine_resp::Reader;

use super::fields::{listed, skip, text};
use crate::convert::{ConversionError, FromValue};

/// A command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowlogEntry {
    /// Grows by one per entry.
    pub id: i64,
    /// When it was executed, as a Unix time in seconds.
    pub time: i64,
    /// How long it took.
    pub microseconds: i64,
    /// The command with its arguments; the server cuts both long ones and many.
    pub args: Vec<Bytes>,
    /// Who sent it; empty for a script's own.
    pub addr: String,
    /// The client's name.
    pub client_name: String,
}

impl FromValue for SlowlogEntry {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "an entry of the slow log", 4)?;
        let mut entry = Self {
            id: i64::from_value(reader)?,
            time: i64::from_value(reader)?,
            microseconds: i64::from_value(reader)?,
            args: Vec::from_value(reader)?,
            addr: String::new(),
            client_name: String::new(),
        };
        if n >= 6 {
            entry.addr = text(reader)?;
            entry.client_name = text(reader)?;
            skip(reader, n - 6)?;
        } else {
            skip(reader, n - 4)?;
        }
        Ok(entry)
    }
}
