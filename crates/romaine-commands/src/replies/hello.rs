//! The reply of `HELLO`.

use romaine_resp::{Reader, Value};

use super::fields::read_fields;
use crate::convert::{ConversionError, FromValue};

/// How a server introduces itself.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// `redis` or `valkey`.
    pub server: String,
    /// Its version.
    pub version: String,
    /// The protocol version from now on.
    pub proto: i64,
    /// The id of this connection.
    pub id: i64,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// `master` or `replica`; empty from a Sentinel.
    pub role: String,
    /// Loaded modules.
    pub modules: Vec<Value>,
    /// Availability zone of the node (Valkey since 8.1).
    pub availability_zone: Option<String>,
}

impl Hello {
    /// Whether the node says it takes writes.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role == "master"
    }
}

impl FromValue for Hello {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut hello = Self::default();
        read_fields!(reader => hello {
            b"server" => server,
            b"version" => version,
            b"proto" => proto,
            b"id" => id,
            b"mode" => mode,
            b"role" => role,
            b"modules" => modules,
            b"availability_zone" => availability_zone,
        });
        Ok(hello)
    }
}
