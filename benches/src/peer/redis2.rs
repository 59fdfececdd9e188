//! redis-rs 2.0.0-rc.2, `MultiplexedConnection`, with and without its response time-out, and `ClusterConnection` for a
//! cluster.
//!
//! Settings: the crate's front page says of `MultiplexedConnection` that connection pooling is not necessary for it. TCP_NODELAY is on
//! by default. `AsyncConnectionConfig::set_pipeline_buffer_size`: "consider increasing this value for high-concurrency
//! scenarios". `set_write_backpressure_boundary`: "a larger threshold lets the buffer reach a stable capacity and batch
//! larger writes". The default response time-out of 500 ms costs a timer per command, 6-11 % of the client's processor
//! time; `NoTimeout` is without it, the fastest redis-rs there is.
//!
//! The `ClusterConnection` has the same setting for the write boundary, none for its queue of 100, and no response time-out
//! by default.

use std::{collections::HashMap, future::Future};

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use redis2::{
    AsyncCommands as _, AsyncConnectionConfig, Client,
    aio::{ConnectionLike, MultiplexedConnection, PubSubStream},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name and version.
pub(super) const LABEL: &str = "redis-rs 2.0.0-rc.2";
/// The same for the connection without a response time-out.
pub(super) const LABEL_NO_TIMEOUT: &str = "redis-rs 2.0.0-rc.2 no timeout";

/// As many commands as the most callers of any cell.
const PIPELINE_BUFFER_SIZE: usize = 1_024;
const WRITE_BACKPRESSURE_BOUNDARY: usize = 64 * 1_024;

/// A connection of one of the three kinds.
#[derive(Clone)]
pub(crate) struct Redis2<K: Kind>(K::Connection);

/// What the kinds differ in.
pub(crate) trait Kind: Clone + Send + 'static {
    type Connection: ConnectionLike + Clone + Send + Sync + 'static;

    fn open(address: &Address) -> impl Future<Output = Result<Self::Connection>> + Send;
}

/// A multiplexed connection with the default response time-out.
#[derive(Clone)]
pub(crate) enum Timeout {}

/// A multiplexed connection without any.
#[derive(Clone)]
pub(crate) enum NoTimeout {}

/// The connection to a cluster.
#[derive(Clone)]
pub(crate) enum Cluster {}

impl Kind for Timeout {
    type Connection = MultiplexedConnection;

    async fn open(address: &Address) -> Result<Self::Connection> {
        Ok(client(address)?.get_multiplexed_async_connection_with_config(&config()).await?)
    }
}

impl Kind for NoTimeout {
    type Connection = MultiplexedConnection;

    async fn open(address: &Address) -> Result<Self::Connection> {
        let config = config().set_response_timeout(None);
        Ok(client(address)?.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

impl Kind for Cluster {
    type Connection = ClusterConnection;

    async fn open(address: &Address) -> Result<Self::Connection> {
        let client = ClusterClient::builder(super::node_urls(address))
            .write_backpressure_boundary(WRITE_BACKPRESSURE_BOUNDARY)
            .build()?;
        Ok(client.get_async_connection().await?)
    }
}

fn client(address: &Address) -> Result<Client> {
    Ok(Client::open(address.url("redis+unix", "redis-cluster"))?)
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_pipeline_buffer_size(PIPELINE_BUFFER_SIZE)
        .set_write_backpressure_boundary(WRITE_BACKPRESSURE_BOUNDARY)
}

impl<K: Kind> Peer for Redis2<K> {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(K::open(address).await?))
    }

    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Vec<u8>> = self.0.get(key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<()> {
        Ok(self.0.set(key, value.as_ref()).await?)
    }

    async fn pipeline_of_gets(&mut self, key: &str, count: usize) -> Result<usize> {
        let mut pipeline = redis2::pipe();
        for _ in 0..count {
            pipeline.get(key);
        }
        let values: Vec<Vec<u8>> = pipeline.query_async(&mut self.0).await?;
        Ok(values.iter().map(Vec::len).sum())
    }

    async fn mget(&mut self, keys: &[String]) -> Result<usize> {
        let values: Vec<String> = self.0.mget(keys).await?;
        Ok(values.len())
    }

    async fn hgetall(&mut self, key: &str) -> Result<usize> {
        let fields: HashMap<String, String> = self.0.hgetall(key).await?;
        Ok(fields.len())
    }
}

impl<K: Kind> Subscribe for Redis2<K> {
    type Subscription = PubSubStream;

    async fn subscribe(address: &Address, channel: &str) -> Result<Self::Subscription> {
        let mut subscription = client(address)?.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(subscription.into_on_message())
    }
}

impl Subscription for PubSubStream {
    async fn next(&mut self) -> Result<Delivery> {
        match StreamExt::next(self).await {
            Some(message) => Ok(Delivery::Messages(u64::from(!message.get_payload_bytes().is_empty()))),
            None => anyhow::bail!("the subscription ended"),
        }
    }
}

impl<K: Kind> Block for Redis2<K> {
    type Lane = MultiplexedConnection;

    async fn open_lane(address: &Address) -> Result<Self::Lane> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(client(address)?.get_multiplexed_async_connection_with_config(&config).await?)
    }

    async fn brpop(mut lane: Self::Lane, key: &str) -> Result<()> {
        let _popped: Option<(String, Vec<u8>)> = lane.brpop(key, 0.0).await?;
        Ok(())
    }
}
