//! The data the server holds during a run, and how it gets there.

use anyhow::Result;

use crate::admin::Admin;

/// Values of MGET and fields of HGETALL.
pub(crate) const COLLECTION_LENGTH: usize = 1_000;
/// The hash that HGETALL reads.
pub(crate) const HASH_KEY: &str = "bench:hash";
/// The channel of the deliveries.
pub(crate) const CHANNEL: &str = "bench:channel";
/// Payload of a message.
pub(crate) const MESSAGE_BYTES: usize = 16;
/// The list that stays empty, so that everybody blocks on it.
pub(crate) const LIST_KEY: &str = "bench:list";

/// The key of a string of this size. SET of a size writes the key GET of that size reads.
pub(crate) fn string_key(bytes: usize) -> String {
    format!("bench:string:{bytes}")
}

/// The keys of MGET.
pub(crate) fn collection_keys() -> Vec<String> {
    (0..COLLECTION_LENGTH).map(|at| format!("bench:item:{at:04}")).collect()
}

/// How many keys the mixed GETs go through.
const MIXED_KEYS: usize = 3_000;
/// Size of their values.
pub(crate) const MIXED_VALUE_BYTES: usize = 16;
/// All of them, for KEYS.
pub(crate) const MIXED_PATTERN: &str = "bench:key:*";

/// The keys of the mixed GETs: 16 bytes each, spread over all slots of a cluster.
pub(crate) fn mixed_keys() -> Vec<String> {
    (0..MIXED_KEYS).map(|at| format!("bench:key:{at:06}")).collect()
}

/// A value of this size.
pub(crate) fn value(bytes: usize) -> String {
    "v".repeat(bytes)
}

/// Writes everything the workloads read.
pub(crate) fn seed(admin: &mut Admin, string_sizes: impl IntoIterator<Item = usize>) -> Result<()> {
    for bytes in string_sizes {
        admin.command(&["SET", &string_key(bytes), &value(bytes)])?;
    }
    for (at, key) in collection_keys().iter().enumerate() {
        admin.command(&["SET", key, &format!("value:{at:010}")])?;
        admin.command(&["HSET", HASH_KEY, &format!("field:{at:04}"), &format!("value:{at:010}")])?;
    }
    Ok(())
}
