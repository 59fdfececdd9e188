//! redis-rs 1.8.1, `MultiplexedConnection`.
//!
//! Settings: the crate's front page says of `MultiplexedConnection` that connection pooling is not necessary for it. TCP_NODELAY is off
//! by default in 1.x; 2.0 switched it on because "Nagle serializes writes to one per ACK round-trip" (docs of
//! `TcpSettings::set_nodelay`). `AsyncConnectionConfig::set_pipeline_buffer_size`: "consider increasing this value for
//! high-concurrency scenarios". `set_write_backpressure_boundary`: "a larger threshold lets the buffer reach a stable
//! capacity and batch larger writes". The default response time-out of 500 ms stays: it is what users of the crate run.

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt;
use redis1::{
    AsyncCommands as _, AsyncConnectionConfig, Client, IntoConnectionInfo as _,
    aio::{MultiplexedConnection, PubSubStream},
    io::tcp::TcpSettings,
};

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name and version.
pub(super) const LABEL: &str = "redis-rs 1.8.1";

/// As many commands as the most callers of any cell.
const PIPELINE_BUFFER_SIZE: usize = 1_024;
const WRITE_BACKPRESSURE_BOUNDARY: usize = 64 * 1_024;

/// A multiplexed connection.
#[derive(Clone)]
pub(crate) struct Redis1(MultiplexedConnection);

fn client(address: &Address) -> Result<Client> {
    let info = address.url("redis+unix").as_str().into_connection_info()?;
    Ok(Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))?)
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_pipeline_buffer_size(PIPELINE_BUFFER_SIZE)
        .set_write_backpressure_boundary(WRITE_BACKPRESSURE_BOUNDARY)
}

impl Peer for Redis1 {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(client(address)?.get_multiplexed_async_connection_with_config(&config()).await?))
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

impl Subscribe for Redis1 {
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

impl Block for Redis1 {
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
