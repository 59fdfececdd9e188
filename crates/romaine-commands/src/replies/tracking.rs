//! The reply of `CLIENT TRACKINGINFO`.

use romaine_resp::Reader;

use super::fields::read_fields;
use crate::convert::{ConversionError, FromValue};

/// How a connection tracks keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackingInfo {
    /// `off`, `on`, `bcast`, `optin`, ….
    pub flags: Vec<String>,
    /// The client that gets the invalidations; -1 for none, 0 for itself.
    pub redirect: i64,
    /// Prefixes of keys, in broadcasting mode.
    pub prefixes: Vec<String>,
}

impl FromValue for TrackingInfo {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut tracking = Self::default();
        read_fields!(reader => tracking {
            b"flags" => flags,
            b"redirect" => redirect,
            b"prefixes" => prefixes,
        });
        Ok(tracking)
    }
}
