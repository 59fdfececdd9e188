//! An entry of a stream.

use bytes::Bytes;
use romaine_resp::{Reader, Token};

use super::StreamId;
use super::fields::{listed, skip};
use crate::convert::{ConversionError, FromValue};

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its fields in the producer's order. Empty for an entry that was claimed or delivered before and deleted since.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl StreamEntry {
    /// The value of the first field with that name.
    #[must_use]
    pub fn field(&self, name: impl AsRef<[u8]>) -> Option<&Bytes> {
        let name = name.as_ref();
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Whether the entry was deleted from the stream while a consumer still had it.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.fields.is_empty()
    }
}

impl FromValue for StreamEntry {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a stream entry", 2)?;
        let entry = Self { id: StreamId::from_value(reader)?, fields: Vec::from_value(reader)? };
        skip(reader, n - 2)?;
        Ok(entry)
    }

    /// Servers before 7 answer nil in the list for an entry that was deleted (XCLAIM, XAUTOCLAIM): left out.
    fn vec_from_value(reader: &mut Reader<'_>) -> Result<Vec<Self>, ConversionError> {
        let n = match reader.token()? {
            Token::Array(n) | Token::Set(n) => n,
            Token::Null => return Ok(Vec::new()),
            other => return Err(ConversionError::mismatch("a list of stream entries", other)),
        };
        let mut entries = Vec::with_capacity(n.min(reader.remaining() + 1));
        for _ in 0..n {
            entries.extend(Option::<Self>::from_value(reader)?);
        }
        Ok(entries)
    }
}
