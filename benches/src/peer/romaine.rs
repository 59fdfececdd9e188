//! romaine, from this repository.
//!
//! Settings: the defaults. Being fast must not need a knob.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use romaine::{Client, Incoming, Subscription as Messages, commands::*};
use tokio::sync::OnceCell;

use super::{Block, Delivery, Peer, Subscribe, Subscription};
use crate::address::Address;

/// Name; the version is the revision of this repository.
pub(super) const LABEL: &str = "romaine";

/// A client with one connection, or one to each node of a cluster.
#[derive(Clone)]
pub(crate) struct Romaine(Client);

impl Peer for Romaine {
    async fn connect(address: &Address) -> Result<Self> {
        Ok(Self(Client::connect(&address.url("redis+unix", "redis-cluster")).await?))
    }

    async fn get(&mut self, key: &str) -> Result<usize> {
        let value: Option<Bytes> = self.0.get::<Bytes>(key).await?;
        Ok(value.map_or(0, |value| value.len()))
    }

    async fn set(&mut self, key: &str, value: &Bytes) -> Result<()> {
        self.0.set(key, value).await?;
        Ok(())
    }

    async fn pipeline_of_gets(&mut self, key: &str, count: usize) -> Result<usize> {
        let mut pipeline = self.0.pipeline();
        let tickets: Vec<_> = (0..count).map(|_| pipeline.get::<Bytes>(key)).collect();
        let mut replies = pipeline.execute().await?;
        let mut bytes = 0;
        for ticket in tickets {
            bytes += replies.take(ticket)?.context("GET: nil")?.len();
        }
        Ok(bytes)
    }

    async fn mget(&mut self, keys: &[String]) -> Result<usize> {
        let values = self.0.mget::<String>(keys).await?;
        Ok(values.len())
    }

    async fn hgetall(&mut self, key: &str) -> Result<usize> {
        let fields = self.0.hgetall::<HashMap<String, String>>(key).await?;
        Ok(fields.len())
    }
}

/// A client and the stream of its messages.
pub(crate) struct RomaineSubscription {
    /// Held, in case the connection ends with the client.
    _client: Client,
    messages: Messages,
}

impl Subscribe for Romaine {
    type Subscription = RomaineSubscription;

    async fn subscribe(address: &Address, channel: &str) -> Result<Self::Subscription> {
        let client = Client::connect(&address.url("redis+unix", "redis-cluster")).await?;
        let messages = client.subscribe([channel]).await?;
        Ok(RomaineSubscription { _client: client, messages })
    }
}

impl Subscription for RomaineSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        match self.messages.next().await.context("the subscription ended")? {
            Incoming::Message(_) => Ok(Delivery::Messages(1)),
            Incoming::Dropped(count) => Ok(Delivery::Dropped(count)),
            other => anyhow::bail!("the subscription was interrupted: {other:?}"),
        }
    }
}

/// A client gives each blocking command a connection of its own, so N lanes are N calls on one client: what an
/// application would write. Its other two connections (commands, control) are in the sum.
static BLOCKING: OnceCell<Client> = OnceCell::const_new();

impl Block for Romaine {
    type Lane = Client;

    async fn open_lane(address: &Address) -> Result<Self::Lane> {
        // Boxed: a lane's task must not carry the room for connecting a client that only the first one connects.
        let client =
            Box::pin(BLOCKING.get_or_try_init(|| Client::connect(address.url("redis+unix", "redis-cluster")))).await?;
        Ok(client.clone())
    }

    async fn brpop(lane: Self::Lane, key: &str) -> Result<()> {
        let _popped = lane.brpop::<Bytes, Bytes>(key, 0.0).await?;
        Ok(())
    }
}
