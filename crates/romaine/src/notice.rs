//! What a connection tells the world, and asks it for.

use std::time::Duration;

use bytes::Bytes;
use romaine_proto::{ServerIdentity, SubscriptionKind, Verdict};

use crate::error::Error;

/// What the driver has to act on after the lock is released.
#[derive(Debug)]
pub(crate) enum Notice {
    Ready(Box<ServerIdentity>),
    Verdict(Verdict),
    Recovered,
    Gap {
        topic: Bytes,
        duration: Duration,
    },
    Resubscribed(usize),
    /// It is wanted, and the server ended it: a shard channel whose slot moves, or our own UNSUBSCRIBE was overtaken.
    Revoked {
        kind: SubscriptionKind,
        topic: Bytes,
    },
    /// It was refused together with others, and is asked for alone.
    Apart {
        kind: SubscriptionKind,
        topic: Bytes,
    },
    Refused {
        kind: SubscriptionKind,
        topic: Bytes,
        cause: Error,
    },
    Dropped {
        topic: Bytes,
        count: u64,
    },
    /// Shard channels were asked for at a server that does not serve their slot, or not yet.
    Misplaced {
        kind: SubscriptionKind,
        topics: Vec<Bytes>,
    },
}
