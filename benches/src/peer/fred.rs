//! fred 10.1.0, `Client`.
//!
//! Settings: `TcpConfig { nodelay: Some(true) }` as in the example on the front page of the crate's documentation; commands of
//! a shared client are pipelined automatically since 10.0. No other knob is documented as one for throughput;
//! `max_feed_count` (frames fed before a flush) keeps its default of 200. For subscriptions
//! `broadcast_channel_capacity`, 32 by default, is raised as in examples/pubsub.rs ("tune the size of the buffer behind the
//! pubsub broadcast channels"), without which nearly all of a burst is lost. The default protocol, RESP2, stays.

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use fred::{
    clients::Client,
    interfaces::{
        ClientLike as _, EventInterface as _, HashesInterface as _, KeysInterface as _, ListInterface as _,
        PubsubInterface as _,
    },
    types::{
        Builder, Message, Value,
        config::{Config, PerformanceConfig, TcpConfig},
    },
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name and version.
pub(super) const LABEL: &str = "fred 10.1.0";

/// The largest capacity tried in our earlier measurements; it still loses messages at times.
const BROADCAST_CAPACITY: usize = 65_536;

/// A client with one connection, or one to each node of a cluster.
#[derive(Clone)]
pub(crate) struct Fred(Client);

/// A cluster's first node with the others as parameters, as fred wants it.
fn url(address: &Address) -> String {
    let url = address.url("redis+unix", "redis-cluster");
    if address.is_cluster() { url.replacen(',', "?node=", 1).replace(',', "&node=") } else { url }
}

async fn client(address: &Address, performance: PerformanceConfig) -> Result<Client> {
    let client = Builder::from_config(Config::from_url(&url(address))?)
        .with_connection_config(|config| config.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() })
        .set_performance_config(performance)
        .build()?;
    client.init().await?;
    Ok(client)
}

impl Peer for Fred {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(client(address, PerformanceConfig::default()).await?))
    }

    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Bytes> = self.0.get(key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<()> {
        Ok(self.0.set(key, value.clone(), None, None, false).await?)
    }

    async fn pipeline_of_gets(&mut self, key: &str, count: usize) -> Result<usize> {
        let pipeline = self.0.pipeline();
        for _ in 0..count {
            let _queued: Value = pipeline.get(key).await?;
        }
        let values: Vec<Bytes> = pipeline.all().await?;
        Ok(values.iter().map(Bytes::len).sum())
    }

    async fn mget(&mut self, keys: &[String]) -> Result<usize> {
        let values: Vec<String> = self.0.mget(keys.to_vec()).await?;
        Ok(values.len())
    }

    async fn hgetall(&mut self, key: &str) -> Result<usize> {
        let fields: HashMap<String, String> = self.0.hgetall(key).await?;
        Ok(fields.len())
    }
}

/// A client and the receiver of its messages.
pub(crate) struct FredSubscription {
    /// Held, since the connection ends with the client.
    _client: Client,
    messages: Receiver<Message>,
}

impl Subscribe for Fred {
    type Subscription = FredSubscription;

    async fn subscribe(address: &Address, channel: &str) -> Result<Self::Subscription> {
        let performance =
            PerformanceConfig { broadcast_channel_capacity: BROADCAST_CAPACITY, ..PerformanceConfig::default() };
        let client = client(address, performance).await?;
        let messages = client.message_rx();
        client.subscribe(channel).await?;
        Ok(FredSubscription { _client: client, messages })
    }
}

impl Subscription for FredSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        match self.messages.recv().await {
            Ok(message) => Ok(Delivery::Messages(u64::from(!message.value.is_null()))),
            Err(RecvError::Lagged(count)) => Ok(Delivery::Dropped(count)),
            Err(RecvError::Closed) => anyhow::bail!("the subscription ended"),
        }
    }
}

impl Block for Fred {
    type Lane = Client;

    async fn open_lane(address: &Address) -> Result<Self::Lane> {
        client(address, PerformanceConfig::default()).await
    }

    async fn brpop(lane: Self::Lane, key: &str) -> Result<()> {
        let _popped: Option<(String, Bytes)> = lane.brpop(key, 0.0).await?;
        Ok(())
    }
}
