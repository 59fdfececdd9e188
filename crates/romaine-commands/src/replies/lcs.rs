//! Where two strings have their longest common subsequence.

use romaine_resp::Reader;

use super::fields::fields;
use crate::convert::{ConversionError, FromValue};

/// The reply of `LCS … IDX WITHMATCHLEN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lcs {
    /// The common ranges, the last one first.
    pub matches: Vec<LcsMatch>,
    /// Length of the whole common subsequence.
    pub len: i64,
}

/// One common range; both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LcsMatch {
    /// In the first string.
    pub first: (i64, i64),
    /// In the second string.
    pub second: (i64, i64),
    /// How many bytes it has.
    pub len: i64,
}

impl FromValue for Lcs {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut lcs = Self::default();
        fields(reader, |name, reader| {
            match name {
                b"matches" => lcs.matches = Vec::from_value(reader)?,
                b"len" => lcs.len = i64::from_value(reader)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(lcs)
    }
}

impl FromValue for LcsMatch {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (first, second, len) = FromValue::from_value(reader)?;
        Ok(Self { first, second, len })
    }
}
