//! One step of an incremental iteration.

use romaine_resp::Reader;

use crate::convert::{ConversionError, FromValue};

/// One step of SCAN, HSCAN, SSCAN or ZSCAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Where to go on; 0 when this was the last page.
    pub cursor: u64,
    /// What this step found; may be empty even if it is not the last.
    pub items: Vec<T>,
}

impl<T> Page<T> {
    /// Whether the iteration is complete.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.cursor == 0
    }
}

impl<T: FromValue> FromValue for Page<T> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (cursor, items) = <(u64, Vec<T>)>::from_value(reader)?;
        Ok(Self { cursor, items })
    }
}
