//! How a client is, as a snapshot that cannot lag.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;

/// Whether the shared connection of ordinary commands is usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Not connected yet, or connecting again.
    Disconnected,
    /// Usable.
    Connected,
    /// Connected, but the server does not answer; it will be declared dead if that goes on.
    Suspect,
    /// Closed by [`Client::close`](crate::Client::close).
    Closed,
}

/// A snapshot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// Whether commands flow.
    pub status: Status,
    /// Since when it has this status.
    pub since: Instant,
    /// The address reached last; the server's own where [`address_map`](crate::Config::address_map) leads to another.
    pub node: Option<Arc<str>>,
    /// Attempts that failed since commands last flowed.
    pub attempts: u64,
    /// Connections made so far, the first included.
    pub connections: u64,
    /// Why the last connection or attempt failed.
    pub last_error: Option<Error>,
}

impl Health {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { status: Status::Disconnected, since: now, node: None, attempts: 0, connections: 0, last_error: None }
    }

    /// Whether commands flow.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.status, Status::Connected | Status::Suspect)
    }
}
