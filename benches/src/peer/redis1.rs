//! redis-rs 1.8.1, `MultiplexedConnection`, and `ClusterConnection` for a cluster.
//!
//! Settings: the crate's front page says of `MultiplexedConnection` that connection pooling is not necessary for it. TCP_NODELAY is off
//! by default in 1.x; 2.0 switched it on because "Nagle serializes writes to one per ACK round-trip" (docs of
//! `TcpSettings::set_nodelay`). `AsyncConnectionConfig::set_pipeline_buffer_size`: "consider increasing this value for
//! high-concurrency scenarios". `set_write_backpressure_boundary`: "a larger threshold lets the buffer reach a stable
//! capacity and batch larger writes". The default response time-out of 500 ms stays: it is what users of the crate run.
//!
//! The `ClusterConnection` has the same two settings for TCP_NODELAY and the write boundary, none for its queue of 100, and
//! no response time-out by default.

use std::{collections::HashMap, future::Future};

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use redis1::{
    AsyncCommands as _, AsyncConnectionConfig, Client, IntoConnectionInfo as _,
    aio::{ConnectionLike, MultiplexedConnection, PubSubStream},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
};

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name and version.
pub(super) const LABEL: &str = "redis-rs 1.8.1";

/// As many commands as the most callers of any cell.
const PIPELINE_BUFFER_SIZE: usize = 1_024;
const WRITE_BACKPRESSURE_BOUNDARY: usize = 64 * 1_024;

/// A connection of either kind.
#[derive(Clone)]
pub(crate) struct Redis1<C>(C);

/// The connection to one server.
pub(crate) type Redis1Single = Redis1<MultiplexedConnection>;
/// The connection to a cluster.
pub(crate) type Redis1Cluster = Redis1<ClusterConnection>;

/// What the two kinds differ in.
pub(crate) trait Open: ConnectionLike + Clone + Send + Sync + 'static {
    fn open(address: &Address) -> impl Future<Output = Result<Self>> + Send;
}

impl Open for MultiplexedConnection {
    async fn open(address: &Address) -> Result<Self> {
        Ok(client(address)?.get_multiplexed_async_connection_with_config(&config()).await?)
    }
}

impl Open for ClusterConnection {
    async fn open(address: &Address) -> Result<Self> {
        let client = ClusterClient::builder(super::node_urls(address))
            .tcp_settings(tcp_settings())
            .write_backpressure_boundary(WRITE_BACKPRESSURE_BOUNDARY)
            .build()?;
        Ok(client.get_async_connection().await?)
    }
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn client(address: &Address) -> Result<Client> {
    let info = address.url("redis+unix", "redis-cluster").as_str().into_connection_info()?;
    Ok(Client::open(info.set_tcp_settings(tcp_settings()))?)
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_pipeline_buffer_size(PIPELINE_BUFFER_SIZE)
        .set_write_backpressure_boundary(WRITE_BACKPRESSURE_BOUNDARY)
}

impl<C: Open> Peer for Redis1<C> {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(C::open(address).await?))
    }

    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Vec<u8>> = self.0.get(key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<()> {
        Ok(self.0.set(key, value.as_ref()).await?)
    }

    async fn pipeline_of_gets(&mut self, key: &str, count: usize) -> Result<usize> {
        let mut pipeline = redis1::pipe();
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

impl<C: Open> Subscribe for Redis1<C> {
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

impl<C: Open> Block for Redis1<C> {
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
