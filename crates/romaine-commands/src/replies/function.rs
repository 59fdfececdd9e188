//! Libraries of functions.

use romaine_resp::Reader;

use super::fields::read_fields;
use crate::convert::{ConversionError, FromValue};

/// A library in the reply of `FUNCTION LIST`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Library {
    /// Its name.
    pub name: String,
    /// `LUA`.
    pub engine: String,
    /// Its functions.
    pub functions: Vec<Function>,
    /// Its source, with `WITHCODE`.
    pub code: Option<String>,
}

/// A function of a [`Library`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for, when its author said so.
    pub description: Option<String>,
    /// `no-writes`, `allow-stale`, ….
    pub flags: Vec<String>,
}

impl FromValue for Library {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut library = Self::default();
        read_fields!(reader => library {
            b"library_name" => name,
            b"engine" => engine,
            b"functions" => functions,
            b"library_code" => code,
        });
        Ok(library)
    }
}

impl FromValue for Function {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut function = Self::default();
        read_fields!(reader => function {
            b"name" => name,
            b"description" => description,
            b"flags" => flags,
        });
        Ok(function)
    }
}
