//! Walks named fields: a map in RESP3, a flat list of names and values in RESP2.

use romaine_resp::{Reader, Token};

use crate::convert::{ConversionError, FromValue};

/// Calls `each` with every name; it consumes the value and answers true, or leaves it and answers false.
pub(super) fn fields(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(&[u8], &mut Reader<'_>) -> Result<bool, ConversionError>,
) -> Result<(), ConversionError> {
    let pairs = match reader.token()? {
        Token::Map(n) => n,
        Token::Array(n) if n.is_multiple_of(2) => n / 2,
        other => return Err(ConversionError::mismatch("named fields", other)),
    };
    for _ in 0..pairs {
        let name = match reader.peek()? {
            Token::Bulk(name) | Token::Simple(name) => name,
            // A name that is none: nothing of ours.
            _ => b"",
        };
        reader.skip()?;
        if !each(name, reader)? {
            reader.skip()?;
        }
    }
    Ok(())
}

/// Text as the server writes it; bytes that are no UTF-8 are replaced.
pub(super) fn text(reader: &mut Reader<'_>) -> Result<String, ConversionError> {
    match reader.peek()? {
        Token::Bulk(text) | Token::Simple(text) => {
            reader.skip()?;
            Ok(String::from_utf8_lossy(text).into_owned())
        }
        _ => String::from_value(reader),
    }
}

/// Fills a struct's fields by their names in the reply.
macro_rules! read_fields {
    ($reader:ident => $out:ident { $($name:literal => $field:ident,)* }) => {
        $crate::replies::fields::fields($reader, |name, reader| {
            $(if name == $name {
                $out.$field = $crate::convert::FromValue::from_value(reader)?;
                return Ok(true);
            })*
            let _ = reader;
            Ok(false)
        })?
    };
}

/// Fills a struct from a list in a fixed order; elements that a newer server adds are stepped over.
pub(super) fn listed(
    reader: &mut Reader<'_>,
    expected: &'static str,
    at_least: usize,
) -> Result<usize, ConversionError> {
    match reader.token()? {
        Token::Array(n) | Token::Set(n) | Token::Push(n) if n >= at_least => Ok(n),
        other => Err(ConversionError::mismatch(expected, other)),
    }
}

/// Steps over `n` elements.
pub(super) fn skip(reader: &mut Reader<'_>, n: usize) -> Result<(), ConversionError> {
    for _ in 0..n {
        reader.skip()?;
    }
    Ok(())
}

pub(super) use read_fields;
