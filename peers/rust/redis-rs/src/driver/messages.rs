//! The subscriber.
//!
//! Default: `Client::get_async_pubsub`, as the documentation's first example of it, whose stream ends with its connection;
//! the user subscribes again. Best: a `ConnectionManager` with RESP3, whose pushes tell of a disconnection and which
//! subscribes again by itself (docs.rs, `ConnectionManagerConfig::set_automatic_resubscription`). A cluster and shard
//! channels know only the second way. With Sentinel the first is the better one: a manager stays with the address that it
//! was made for (docs.rs, `ConnectionManager`, made of a `Client`), whereas who subscribes again asks the Sentinels again.

use std::time::Duration;

use futures_util::StreamExt as _;
use peer::Reader;
use peer::protocol::{Link, NEWS};
use peer::target::Topology;
use redis::aio::{ConnectionManager, PubSub, PubSubStream};
use redis::cluster_async::ClusterConnection;
use redis::{Client, ProtocolVersion, PushInfo, PushKind, RedisResult, cmd};
use tokio::sync::mpsc;

use super::settings::{CONNECTION_TIMEOUT, Patience, Settings};

/// How long a user waits before subscribing again.
const AGAIN: Duration = Duration::from_millis(100);

pub struct Messages(Source);

enum Source {
    /// Ends with its connection.
    Stream(PubSubStream),
    /// Goes on for as long as the connection is held.
    Pushes { held: Held, pushes: mpsc::UnboundedReceiver<PushInfo> },
}

enum Held {
    Manager(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Held {
    async fn subscribe(&mut self, shard: bool) -> RedisResult<()> {
        match self {
            Self::Cluster(cluster) if shard => cluster.ssubscribe(NEWS).await,
            Self::Cluster(cluster) => cluster.subscribe(NEWS).await,
            Self::Manager(manager) if shard => cmd("SSUBSCRIBE").arg(NEWS).exec_async(manager).await,
            Self::Manager(manager) => manager.subscribe(NEWS).await,
        }
    }
}

impl Messages {
    pub(super) async fn subscribe(settings: &Settings) -> RedisResult<Self> {
        let is_sentinel = matches!(settings.target.topology, Topology::Sentinel(..));
        let is_plain = !settings.shard && !settings.is_cluster() && (!settings.is_fast() || is_sentinel);
        if is_plain { Ok(Self(Source::Stream(stream(settings).await?))) } else { pushes(settings).await.map(Self) }
    }

    pub(super) async fn listen(self, settings: &Settings, mut reader: Reader) {
        reader.begins().await;
        match self.0 {
            Source::Stream(messages) => listen_to_stream(messages, settings, &reader).await,
            Source::Pushes { held, pushes } => listen_to_pushes(held, pushes, settings.shard, &reader).await,
        }
    }
}

/// The library sets no limit here, so that its user does: a frozen server takes the connection and never answers.
async fn stream_soon(settings: &Settings) -> RedisResult<PubSubStream> {
    if !settings.is_fast() {
        return stream(settings).await;
    }
    let late = || (redis::ErrorKind::Io, "the subscription took too long").into();
    tokio::time::timeout(CONNECTION_TIMEOUT, stream(settings)).await.unwrap_or_else(|_| Err(late()))
}

async fn stream(settings: &Settings) -> RedisResult<PubSubStream> {
    let client = match &settings.target.topology {
        Topology::Standalone(address) => Client::open(settings.info(address, ProtocolVersion::RESP2)?)?,
        Topology::Sentinel(sentinels, name) => settings.sentinel(sentinels, name)?.async_get_client().await?,
        Topology::Cluster(_) => unreachable_here()?,
    };
    let mut pubsub: PubSub = client.get_async_pubsub().await?;
    pubsub.subscribe(NEWS).await?;
    Ok(pubsub.into_on_message())
}

fn unreachable_here() -> RedisResult<Client> {
    Err((redis::ErrorKind::InvalidClientConfig, "a cluster's subscriptions come as pushes").into())
}

async fn pushes(settings: &Settings) -> RedisResult<Source> {
    let (sender, pushes) = mpsc::unbounded_channel();
    let mut held = match &settings.target.topology {
        Topology::Cluster(nodes) => {
            let client = settings.cluster(nodes, Patience::Call, Some(sender)).build()?;
            Held::Cluster(client.get_async_connection().await?)
        }
        Topology::Standalone(address) => {
            let client = Client::open(settings.info(address, ProtocolVersion::RESP3)?)?;
            Held::Manager(manager(&client, settings, sender).await?)
        }
        Topology::Sentinel(sentinels, name) => {
            // Of a shard channel only: the manager then stays with this server's address.
            let client = settings.sentinel(sentinels, name)?.async_get_client().await?;
            let info = client.get_connection_info().clone();
            let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(info.set_redis_settings(redis))?;
            Held::Manager(manager(&client, settings, sender).await?)
        }
    };
    held.subscribe(settings.shard).await?;
    Ok(Source::Pushes { held, pushes })
}

async fn manager(
    client: &Client,
    settings: &Settings,
    sender: mpsc::UnboundedSender<PushInfo>,
) -> RedisResult<ConnectionManager> {
    let config = settings.manager(Patience::Call);
    let config = config.set_push_sender(sender).set_automatic_resubscription();
    client.get_connection_manager_with_config(config).await
}

async fn listen_to_stream(mut messages: PubSubStream, settings: &Settings, reader: &Reader) {
    loop {
        while let Some(message) = messages.next().await {
            reader.message(message.get_payload_bytes()).await;
        }
        reader.witness().lost(Link::Subscriptions, "the stream of messages ended").await;
        messages = loop {
            match stream_soon(settings).await {
                Ok(messages) => break messages,
                Err(error) => eprintln!("the subscriber: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
        };
        reader.witness().back(Link::Subscriptions).await;
    }
}

async fn listen_to_pushes(mut held: Held, mut pushes: mpsc::UnboundedReceiver<PushInfo>, shard: bool, reader: &Reader) {
    while let Some(push) = pushes.recv().await {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(redis::Value::BulkString(payload)) = push.data.get(1) {
                    reader.message(payload).await;
                }
            }
            PushKind::Disconnection => reader.witness().lost(Link::Subscriptions, "the push Disconnection").await,
            PushKind::Subscribe | PushKind::SSubscribe => reader.witness().back(Link::Subscriptions).await,
            // docs.rs, `PushKind::SUnsubscribe`. The server says so when the channel's slot has moved; nobody asked for it
            // here, so the channel is subscribed to again, at its new place.
            PushKind::SUnsubscribe => {
                while let Err(error) = held.subscribe(shard).await {
                    eprintln!("the subscriber: {error}");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            _ => {}
        }
    }
    reader.witness().lost(Link::Subscriptions, "the pushes ended").await;
}
