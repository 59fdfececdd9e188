//! What a server tells of streams, their groups and consumers, and of entries in the pending entries list.

use bytes::Bytes;
use romaine_resp::{Reader, Token};

use super::fields::{listed, read_fields, skip};
use super::{StreamEntry, StreamId};
use crate::convert::{ConversionError, FromValue};

/// The reply of `XINFO STREAM`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Number of entries.
    pub length: i64,
    /// Number of groups.
    pub groups: i64,
    /// The highest id ever given.
    pub last_generated_id: StreamId,
    /// The highest id ever deleted (since 7.0).
    pub max_deleted_entry_id: StreamId,
    /// How many entries were ever added (since 7.0).
    pub entries_added: i64,
    /// The first entry.
    pub first_entry: Option<StreamEntry>,
    /// The last entry.
    pub last_entry: Option<StreamEntry>,
    /// Keys of the tree the stream lies in.
    pub radix_tree_keys: i64,
    /// Nodes of that tree.
    pub radix_tree_nodes: i64,
}

impl FromValue for StreamInfo {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut stream = Self::default();
        read_fields!(reader => stream {
            b"length" => length,
            b"groups" => groups,
            b"last-generated-id" => last_generated_id,
            b"max-deleted-entry-id" => max_deleted_entry_id,
            b"entries-added" => entries_added,
            b"first-entry" => first_entry,
            b"last-entry" => last_entry,
            b"radix-tree-keys" => radix_tree_keys,
            b"radix-tree-nodes" => radix_tree_nodes,
        });
        Ok(stream)
    }
}

/// One group in the reply of `XINFO GROUPS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamGroup {
    /// Its name.
    pub name: Bytes,
    /// Number of consumers.
    pub consumers: i64,
    /// Entries delivered and not acknowledged.
    pub pending: i64,
    /// The last id that was delivered.
    pub last_delivered_id: StreamId,
    /// How many entries the group has read (since 7.0); nil when the server lost count.
    pub entries_read: Option<i64>,
    /// How many entries wait for delivery (since 7.0); nil when the server cannot tell.
    pub lag: Option<i64>,
}

impl FromValue for StreamGroup {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut group = Self::default();
        read_fields!(reader => group {
            b"name" => name,
            b"consumers" => consumers,
            b"pending" => pending,
            b"last-delivered-id" => last_delivered_id,
            b"entries-read" => entries_read,
            b"lag" => lag,
        });
        Ok(group)
    }
}

/// One consumer in the reply of `XINFO CONSUMERS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamConsumer {
    /// Its name.
    pub name: Bytes,
    /// Entries delivered to it and not acknowledged.
    pub pending: i64,
    /// Milliseconds since it last asked.
    pub idle: i64,
    /// Milliseconds since it last got something (since 7.2); -1 for never.
    pub inactive: Option<i64>,
}

impl FromValue for StreamConsumer {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let mut consumer = Self::default();
        read_fields!(reader => consumer {
            b"name" => name,
            b"pending" => pending,
            b"idle" => idle,
            b"inactive" => inactive,
        });
        Ok(consumer)
    }
}

/// The reply of `XPENDING key group`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PendingSummary {
    /// How many entries are delivered and not acknowledged.
    pub count: i64,
    /// The lowest and the highest id of them.
    pub range: Option<(StreamId, StreamId)>,
    /// Consumers that have any, and how many.
    pub consumers: Vec<(Bytes, i64)>,
}

impl FromValue for PendingSummary {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a summary of pending entries", 4)?;
        let count = i64::from_value(reader)?;
        let (lowest, highest): (Option<StreamId>, _) = (FromValue::from_value(reader)?, FromValue::from_value(reader)?);
        let consumers = Vec::from_value(reader)?;
        skip(reader, n - 4)?;
        Ok(Self { count, range: lowest.zip(highest), consumers })
    }
}

/// One entry of the reply of `XPENDING key group start end count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its id.
    pub id: StreamId,
    /// Who has it.
    pub consumer: Bytes,
    /// Milliseconds since it was last delivered.
    pub idle: i64,
    /// How often it was delivered.
    pub deliveries: i64,
}

impl FromValue for PendingEntry {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (id, consumer, idle, deliveries) = FromValue::from_value(reader)?;
        Ok(Self { id, consumer, idle, deliveries })
    }
}

/// The reply of `XAUTOCLAIM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoClaim<T = StreamEntry> {
    /// Where to go on; `0-0` when all of the list was seen.
    pub cursor: StreamId,
    /// What was claimed.
    pub claimed: Vec<T>,
    /// Ids that were pending though their entries are deleted (since 7.0); the server dropped them.
    pub deleted: Vec<StreamId>,
}

impl<T: FromValue> FromValue for AutoClaim<T> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = listed(reader, "a cursor and claimed entries", 2)?;
        let cursor = StreamId::from_value(reader)?;
        let claimed = Vec::from_value(reader)?;
        let mut deleted = Vec::new();
        if n > 2 && matches!(reader.peek()?, Token::Array(_)) {
            deleted = Vec::from_value(reader)?;
            skip(reader, n - 3)?;
        } else {
            skip(reader, n - 2)?;
        }
        Ok(Self { cursor, claimed, deleted })
    }
}
