//! A place that GEOSEARCH found.

use romaine_resp::{Reader, Token};

use super::fields::listed;
use crate::convert::{ConversionError, FromValue};

/// A member that GEOSEARCH found, with what `WITHDIST`, `WITHHASH` and `WITHCOORD` asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GeoMatch<V> {
    /// The member.
    pub member: V,
    /// Its distance from the centre, in the unit of the search.
    pub distance: Option<f64>,
    /// Its geohash as a number.
    pub hash: Option<i64>,
    /// Longitude and latitude.
    pub position: Option<(f64, f64)>,
}

impl<V: FromValue> FromValue for GeoMatch<V> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        if !matches!(reader.peek()?, Token::Array(_)) {
            // Nothing but members was asked for.
            return Ok(Self { member: V::from_value(reader)?, distance: None, hash: None, position: None });
        }
        let n = listed(reader, "a member and its place", 1)?;
        let mut found = Self { member: V::from_value(reader)?, distance: None, hash: None, position: None };
        for _ in 1..n {
            match reader.peek()? {
                Token::Integer(_) => found.hash = Some(i64::from_value(reader)?),
                Token::Array(_) => found.position = Some(FromValue::from_value(reader)?),
                _ => found.distance = Some(f64::from_value(reader)?),
            }
        }
        Ok(found)
    }
}
