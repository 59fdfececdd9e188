//! Users and what they were refused.

use romaine_resp::{Reader, Token, Value};

use super::fields::{read_fields, text};
use crate::convert::{ConversionError, FromValue};

/// The reply of `ACL GETUSER`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AclUser {
    /// `on`, `off`, `nopass`, `allkeys`, ….
    pub flags: Vec<String>,
    /// SHA-256 of the passwords, in hexadecimal.
    pub passwords: Vec<String>,
    /// Rules for commands.
    pub commands: String,
    /// Patterns of keys.
    pub keys: Patterns,
    /// Patterns of channels.
    pub channels: Patterns,
    /// Further sets of rules (since 7.0).
    pub selectors: Vec<Value>,
}

/// Patterns as words: one string since 7.0, a list of strings before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(pub Vec<String>);

impl FromValue for Patterns {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        if matches!(reader.peek()?, Token::Bulk(_) | Token::Simple(_)) {
            return Ok(Self(text(reader)?.split_ascii_whitespace().map(str::to_owned).collect()));
        }
        Vec::from_value(reader).map(Self)
    }
}

impl FromValue for AclUser {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut user = Self::default();
        read_fields!(reader => user {
            b"flags" => flags,
            b"passwords" => passwords,
            b"commands" => commands,
            b"keys" => keys,
            b"channels" => channels,
            b"selectors" => selectors,
        });
        Ok(user)
    }
}

/// One entry of the reply of `ACL LOG`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct AclLogEntry {
    /// How often it happened in a short time.
    pub count: i64,
    /// `command`, `key`, `channel` or `auth`.
    pub reason: String,
    /// `toplevel`, `multi`, `lua` or `module`.
    pub context: String,
    /// What was refused: the command, key or channel.
    pub object: String,
    /// Who was refused.
    pub username: String,
    /// How long ago.
    pub age_seconds: f64,
    /// The client, as a line of `CLIENT LIST`.
    pub client_info: String,
    /// Grows by one per entry (since 7.2).
    pub entry_id: Option<i64>,
}

impl FromValue for AclLogEntry {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut entry = Self::default();
        read_fields!(reader => entry {
            b"count" => count,
            b"reason" => reason,
            b"context" => context,
            b"object" => object,
            b"username" => username,
            b"age-seconds" => age_seconds,
            b"client-info" => client_info,
            b"entry-id" => entry_id,
        });
        Ok(entry)
    }
}
