//! What every client under test has to do, and the clients.
//!
//! Dispatch is static: a cell is compiled once per client, so nothing is boxed or looked up per operation. Methods return
//! the size of what they decoded, so that the caller can check every reply and the optimiser can drop none.

mod bare;
mod fred;
mod redis1;
mod redis2;
#[cfg(feature = "romaine")]
mod romaine;
mod rustis;

use std::future::Future;

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[cfg(feature = "romaine")]
pub(crate) use self::romaine::Romaine;
pub(crate) use self::{
    bare::Bare,
    fred::Fred,
    redis1::{Redis1Cluster, Redis1Single},
    redis2::{Cluster as Redis2Cluster, NoTimeout as Redis2NoTimeout, Redis2, Timeout as Redis2Timeout},
    rustis::Rustis,
};
use crate::address::Address;

/// One connection (or one to each node of a cluster), cloned into every task that shares it.
pub(crate) trait Peer: Subscribe + Block + Clone + Send + 'static {
    /// Connects with the settings the client's own documentation recommends for throughput.
    fn connect(address: &Address) -> impl Future<Output = Result<Self>> + Send;

    /// GET, decoded to owned bytes; their number.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<usize>> + Send;

    /// SET.
    fn set(&mut self, key: &str, value: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// `count` times GET in one explicit pipeline, each decoded to owned bytes; their number altogether.
    fn pipeline_of_gets(&mut self, key: &str, count: usize) -> impl Future<Output = Result<usize>> + Send;

    /// MGET, decoded to `Vec<String>`; its length.
    fn mget(&mut self, keys: &[String]) -> impl Future<Output = Result<usize>> + Send;

    /// HGETALL, decoded to `HashMap<String, String>`; its length.
    fn hgetall(&mut self, key: &str) -> impl Future<Output = Result<usize>> + Send;
}

/// Subscribing to one channel.
pub(crate) trait Subscribe: 'static {
    /// The open subscription.
    type Subscription: Subscription;

    /// Connects and subscribes.
    fn subscribe(address: &Address, channel: &str) -> impl Future<Output = Result<Self::Subscription>> + Send;
}

/// Messages as they arrive.
pub(crate) trait Subscription: Send + 'static {
    /// Waits for what arrives next.
    fn next(&mut self) -> impl Future<Output = Result<Delivery>> + Send;
}

/// What a subscription hands over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Delivery {
    /// So many messages. Every real client delivers one at a time.
    Messages(u64),
    /// The client says that it dropped so many.
    Dropped(u64),
}

/// A connection that waits in BRPOP.
pub(crate) trait Block: 'static {
    /// The connection.
    type Lane: Send + 'static;

    /// Connects, with no limit on how long a command may take.
    fn open_lane(address: &Address) -> impl Future<Output = Result<Self::Lane>> + Send;

    /// `BRPOP key 0`.
    fn brpop(lane: Self::Lane, key: &str) -> impl Future<Output = Result<()>> + Send;
}

/// The nodes of a cluster as redis-rs is told them.
fn node_urls(address: &Address) -> Vec<String> {
    address.nodes().iter().map(|node| node.url("redis+unix", "redis-cluster")).collect()
}

/// The clients by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeerName {
    /// The client this benchmark belongs to.
    #[cfg(feature = "romaine")]
    Romaine,
    /// redis-rs, newest stable.
    Redis1,
    /// redis-rs, newest pre-release.
    Redis2,
    /// The same without its response time-out, which costs a timer per command.
    Redis2NoTimeout,
    /// fred.
    Fred,
    /// rustis.
    Rustis,
    /// A socket and no client: the floor of what receiving messages and holding connections costs.
    Bare,
}

impl PeerName {
    /// The clients measured when none are named.
    pub(crate) fn defaults() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|name| *name != Self::Bare).collect()
    }

    /// Whether it can be measured on a cluster. redis-rs has no response time-out there, so it is measured once.
    pub(crate) fn knows_clusters(self) -> bool {
        !matches!(self, Self::Bare | Self::Redis2NoTimeout)
    }

    /// Whether this is a client that romaine is compared with.
    pub(crate) fn is_rival(self) -> bool {
        match self {
            #[cfg(feature = "romaine")]
            Self::Romaine => false,
            Self::Bare => false,
            Self::Redis1 | Self::Redis2 | Self::Redis2NoTimeout | Self::Fred | Self::Rustis => true,
        }
    }

    /// The name as it is written on the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            #[cfg(feature = "romaine")]
            Self::Romaine => "romaine",
            Self::Redis1 => "redis1",
            Self::Redis2 => "redis2",
            Self::Redis2NoTimeout => "redis2-no-timeout",
            Self::Fred => "fred",
            Self::Rustis => "rustis",
            Self::Bare => "bare",
        }
    }

    /// Name and version, for tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            #[cfg(feature = "romaine")]
            Self::Romaine => romaine::LABEL,
            Self::Redis1 => redis1::LABEL,
            Self::Redis2 => redis2::LABEL,
            Self::Redis2NoTimeout => redis2::LABEL_NO_TIMEOUT,
            Self::Fred => fred::LABEL,
            Self::Rustis => rustis::LABEL,
            Self::Bare => bare::LABEL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_name_the_versions_that_are_built_in() {
        let manifest = include_str!("../Cargo.toml");
        for (name, dependency) in [
            (PeerName::Redis1, r#"package = "redis", version = "="#),
            (PeerName::Redis2, r#"package = "redis", version = "="#),
            (PeerName::Fred, r#"fred = { version = "="#),
            (PeerName::Rustis, r#"rustis = { version = "="#),
        ] {
            let version = name.label().split(' ').nth(1).unwrap();
            assert!(manifest.contains(&format!("{dependency}{version}\"")), "{}", name.label());
        }
    }

    #[test]
    fn a_peer_is_called_on_the_command_line_as_in_the_tables() {
        for name in PeerName::value_variants() {
            assert_eq!(name.to_possible_value().unwrap().get_name(), name.id());
        }
    }
}
