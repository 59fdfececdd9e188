//! What a server says of a command.

use romaine_resp::{Reader, Value};

use super::fields::{listed, skip};
use crate::convert::{ConversionError, FromValue};

/// One command in the reply of `COMMAND` or `COMMAND INFO`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CommandInfo {
    /// In lower case, `|` before a subcommand.
    pub name: String,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i64,
    /// `readonly`, `write`, `fast`, ….
    pub flags: Vec<String>,
    /// Position of the first key; 0 for none.
    pub first_key: i64,
    /// Position of the last key; negative counts from the end.
    pub last_key: i64,
    /// Distance between keys.
    pub key_step: i64,
    /// Categories for access lists (since 6.0).
    pub acl_categories: Vec<String>,
    /// Tips for clients and proxies (since 7.0).
    pub tips: Vec<String>,
    /// Where keys are, in full (since 7.0).
    pub key_specifications: Vec<Value>,
    /// Subcommands (since 7.0).
    pub subcommands: Vec<CommandInfo>,
}

impl FromValue for CommandInfo {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a command", 6)?;
        let mut info = Self {
            name: String::from_value(reader)?,
            arity: i64::from_value(reader)?,
            flags: Vec::from_value(reader)?,
            first_key: i64::from_value(reader)?,
            last_key: i64::from_value(reader)?,
            key_step: i64::from_value(reader)?,
            acl_categories: Vec::new(),
            tips: Vec::new(),
            key_specifications: Vec::new(),
            subcommands: Vec::new(),
        };
        if n > 6 {
            info.acl_categories = Vec::from_value(reader)?;
        }
        if n < 10 {
            skip(reader, n.saturating_sub(7))?;
            return Ok(info);
        }
        info.tips = Vec::from_value(reader)?;
        info.key_specifications = Vec::from_value(reader)?;
        info.subcommands = Vec::from_value(reader)?;
        skip(reader, n - 10)?;
        Ok(info)
    }
}
