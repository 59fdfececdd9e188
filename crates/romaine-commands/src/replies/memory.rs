//! The reply of `MEMORY STATS`.

use std::collections::BTreeMap;

use romaine_resp::{Reader, Value};

use super::fields::fields;
use crate::convert::{ConversionError, FromValue};

/// Where a server's memory is.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The most bytes ever allocated.
    pub peak_allocated: i64,
    /// Bytes allocated now.
    pub total_allocated: i64,
    /// Bytes allocated at the start.
    pub startup_allocated: i64,
    /// Bytes of the replication backlog.
    pub replication_backlog: i64,
    /// Bytes of clients.
    pub clients_normal: i64,
    /// Bytes of replicas.
    pub clients_replicas: i64,
    /// Bytes of the data itself.
    pub dataset_bytes: i64,
    /// Keys in all databases.
    pub keys_count: i64,
    /// Bytes per key on average.
    pub keys_bytes_per_key: i64,
    /// Resident over allocated.
    pub fragmentation: f64,
    /// Everything else, by the server's names.
    pub extra: BTreeMap<String, Value>,
}

impl FromValue for MemoryStats {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut stats = Self::default();
        fields(reader, |name, reader| {
            let field = match name {
                b"peak.allocated" => &mut stats.peak_allocated,
                b"total.allocated" => &mut stats.total_allocated,
                b"startup.allocated" => &mut stats.startup_allocated,
                b"replication.backlog" => &mut stats.replication_backlog,
                b"clients.normal" => &mut stats.clients_normal,
                b"clients.slaves" => &mut stats.clients_replicas,
                b"dataset.bytes" => &mut stats.dataset_bytes,
                b"keys.count" => &mut stats.keys_count,
                b"keys.bytes-per-key" => &mut stats.keys_bytes_per_key,
                b"fragmentation" => {
                    stats.fragmentation = f64::from_value(reader)?;
                    return Ok(true);
                }
                _ => {
                    stats.extra.insert(String::from_utf8_lossy(name).into_owned(), reader.value()?);
                    return Ok(true);
                }
            };
            *field = i64::from_value(reader)?;
            Ok(true)
        })?;
        Ok(stats)
    }
}
