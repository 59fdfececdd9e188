//! How durable a job must be before it counts as accepted.

use std::time::Duration;

/// What must have happened before a job counts as accepted. A fourth level, the [`Outbox`](crate::Outbox), writes it to
/// a database of your own first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The server has it in memory. It survives the end of this process, and what the server's own configuration lets it
    /// survive: with `appendfsync everysec` a crash of the machine loses up to a second, a failover what was not yet
    /// copied. The default.
    #[default]
    Fast,
    /// So many replicas have confirmed it (WAIT): it survives a failover to one of them.
    Replicated {
        /// How many, at least 1.
        replicas: u32,
        /// How long they have for it.
        timeout: Duration,
    },
    /// It is in the append-only file, fsynced, at the primary, and at so many replicas (WAITAOF, 7.2 and later).
    Fsynced {
        /// How many replicas; 0 for the primary alone.
        replicas: u32,
        /// How long they have for it: three seconds at least, or with `appendfsync everysec` it would never be enough. A
        /// replica fsyncs once a second, and says so once a second.
        timeout: Duration,
    },
}

impl Durability {
    /// Replicated to one, within a second.
    #[must_use]
    pub const fn replicated(replicas: u32) -> Self {
        Self::Replicated { replicas, timeout: Duration::from_secs(1) }
    }

    /// On the primary's disk, within three seconds: with `appendfsync everysec` that takes more than one at times.
    #[must_use]
    pub const fn fsynced() -> Self {
        Self::Fsynced { replicas: 0, timeout: Duration::from_secs(3) }
    }
}
