//! The reply of `TIME`.

use std::time::Duration;

use romaine_resp::Reader;

use crate::convert::{ConversionError, FromValue};

/// The server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerTime {
    /// Unix time in seconds.
    pub seconds: u64,
    /// Microseconds within the second.
    pub microseconds: u32,
}

impl ServerTime {
    /// Time since 1970.
    #[must_use]
    pub const fn since_epoch(self) -> Duration {
        Duration::from_micros(self.seconds.saturating_mul(1_000_000).saturating_add(self.microseconds as u64))
    }
}

impl FromValue for ServerTime {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (seconds, microseconds) = FromValue::from_value(reader)?;
        Ok(Self { seconds, microseconds })
    }
}
