//! The reply of `ROLE`.

use romaine_resp::Reader;

use super::fields::{listed, skip, text};
use crate::convert::{ConversionError, FromValue};

/// What part a server plays.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It takes writes.
    Primary {
        /// Its position in the history.
        offset: i64,
        /// Its replicas.
        replicas: Vec<RoleReplica>,
    },
    /// It follows a primary.
    Replica {
        /// The primary's host.
        host: String,
        /// The primary's port.
        port: u16,
        /// `connect`, `connecting`, `sync`, `connected`, ….
        state: String,
        /// How much it has read.
        offset: i64,
    },
    /// It watches primaries.
    Sentinel {
        /// The names of the primaries.
        primaries: Vec<String>,
    },
    /// Something this version does not know.
    Other(String),
}

/// A replica in a primary's [`Role`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleReplica {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How much it has acknowledged.
    pub offset: i64,
}

impl FromValue for RoleReplica {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (host, port, offset) = FromValue::from_value(reader)?;
        Ok(Self { host, port, offset })
    }
}

impl FromValue for Role {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a role", 1)?;
        let name = text(reader)?;
        let (role, used) = match name.as_str() {
            "master" if n >= 3 => {
                let offset = i64::from_value(reader)?;
                (Self::Primary { offset, replicas: Vec::from_value(reader)? }, 3)
            }
            "slave" | "replica" if n >= 5 => {
                let (host, port) = (text(reader)?, u16::from_value(reader)?);
                let (state, offset) = (text(reader)?, i64::from_value(reader)?);
                (Self::Replica { host, port, state, offset }, 5)
            }
            "sentinel" if n >= 2 => (Self::Sentinel { primaries: Vec::from_value(reader)? }, 2),
            _ => (Self::Other(name), 1),
        };
        skip(reader, n - used)?;
        Ok(role)
    }
}
