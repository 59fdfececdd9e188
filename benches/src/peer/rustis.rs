//! rustis 0.27.2, multiplexed `Client`, and `ExclusiveClient` for BRPOP.
//!
//! Settings: the defaults, which its documentation gives as the fast ones: TCP_NODELAY on, and `max_messages_per_wave` 48
//! ("the optimum is flat between 32 and 128", docs of `Config`). RESP3 is its only protocol. Values are read as
//! `BulkString`, its bytes type. A cluster has no settings for throughput. Without the default feature `server-tests`, which only concerns its own tests.

use std::collections::HashMap;

use anyhow::Result;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rustis::{
    client::{BatchPreparedCommand as _, Client, ExclusiveClient, PubSubStream},
    commands::{BlockingCommands as _, HashCommands as _, PubSubCommands as _, StringCommands as _},
    resp::{BulkString, RefBulkString},
};

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name and version.
pub(super) const LABEL: &str = "rustis 0.27.2";

/// A multiplexed client, of one server or of a cluster.
#[derive(Clone)]
pub(crate) struct Rustis(Client);

impl Peer for Rustis {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(Client::connect(address.url("unix", "redis+cluster")).await?))
    }

    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<BulkString> = self.0.get(key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<()> {
        Ok(self.0.set(key, RefBulkString::new(value)).await?)
    }

    async fn pipeline_of_gets(&mut self, key: &str, count: usize) -> Result<usize> {
        let mut pipeline = self.0.create_pipeline();
        pipeline.reserve(count);
        for _ in 0..count {
            pipeline.get::<()>(key).queue();
        }
        let values: Vec<BulkString> = pipeline.execute().await?;
        Ok(values.iter().map(|value| value.len()).sum())
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

/// A client and the stream of its messages.
pub(crate) struct RustisSubscription {
    /// Held, since the connection ends with the client.
    _client: Client,
    messages: PubSubStream,
}

impl Subscribe for Rustis {
    type Subscription = RustisSubscription;

    async fn subscribe(address: &Address, channel: &str) -> Result<Self::Subscription> {
        let client = Client::connect(address.url("unix", "redis+cluster")).await?;
        let messages = client.subscribe(channel).await?;
        Ok(RustisSubscription { _client: client, messages })
    }
}

impl Subscription for RustisSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        match self.messages.next().await {
            Some(message) => Ok(Delivery::Messages(u64::from(!message?.payload().is_empty()))),
            None => anyhow::bail!("the subscription ended"),
        }
    }
}

impl Block for Rustis {
    type Lane = ExclusiveClient;

    async fn open_lane(address: &Address) -> Result<Self::Lane> {
        Ok(ExclusiveClient::connect(address.url("unix", "redis+cluster")).await?)
    }

    async fn brpop(lane: Self::Lane, key: &str) -> Result<()> {
        let _popped: Option<(String, BulkString)> = lane.brpop(key, 0.0).await?;
        Ok(())
    }
}
