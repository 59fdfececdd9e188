//! The subscriber.
//!
//! Default: `Client::get_async_pubsub`, as the documentation's first example of it, whose stream ends with its connection;
//! the user subscribes again. Best: a `ConnectionManager` with RESP3, whose pushes tell of a disconnection and which
//! subscribes again by itself (docs.rs, `ConnectionManagerConfig::set_automatic_resubscription`). A cluster and shard
//! channels know only the second way.

use std::time::Duration;

use futures_util::StreamExt as _;
use peer::Reader;
use peer::protocol::{Link, NEWS};
use peer::target::Topology;
use redis::aio::{ConnectionManager, PubSub, PubSubStream};
use redis::cluster_async::ClusterConnection;
use redis::{Client, ProtocolVersion, PushInfo, PushKind, RedisResult, cmd};
use tokio::sync::mpsc;

use super::settings::Settings;

/// How long a user waits before subscribing again.
const AGAIN: Duration = Duration::from_millis(100);

pub struct Messages(Source);

enum Source {
    /// Ends with its connection.
    Stream(PubSubStream),
    /// Goes on for as long as the connection is held.
    Pushes { _held: Held, pushes: mpsc::UnboundedReceiver<PushInfo> },
}

enum Held {
    Manager { _manager: ConnectionManager },
    Cluster { _cluster: ClusterConnection },
}

impl Messages {
    pub(super) async fn subscribe(settings: &Settings) -> RedisResult<Self> {
        let is_plain = !settings.is_fast() && !settings.shard && !settings.is_cluster();
        if is_plain { Ok(Self(Source::Stream(stream(settings).await?))) } else { pushes(settings).await.map(Self) }
    }

    pub(super) async fn listen(self, settings: &Settings, mut reader: Reader) {
        reader.begins().await;
        match self.0 {
            Source::Stream(messages) => listen_to_stream(messages, settings, &reader).await,
            Source::Pushes { _held, pushes } => listen_to_pushes(pushes, &reader).await,
        }
    }
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
    let held = match &settings.target.topology {
        Topology::Cluster(nodes) => {
            let client = settings.cluster(nodes, Some(Duration::from_secs(5)), Some(sender)).build()?;
            let mut cluster = client.get_async_connection().await?;
            if settings.shard {
                cluster.ssubscribe(NEWS).await?
            } else {
                cluster.subscribe(NEWS).await?
            }
            Held::Cluster { _cluster: cluster }
        }
        Topology::Standalone(address) => {
            let client = Client::open(settings.info(address, ProtocolVersion::RESP3)?)?;
            Held::Manager { _manager: manager(&client, settings, sender).await? }
        }
        Topology::Sentinel(sentinels, name) => {
            // The manager then stays with this server's address: the library has no subscriber that follows a failover.
            let client = settings.sentinel(sentinels, name)?.async_get_client().await?;
            let info = client.get_connection_info().clone();
            let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(info.set_redis_settings(redis))?;
            Held::Manager { _manager: manager(&client, settings, sender).await? }
        }
    };
    Ok(Source::Pushes { _held: held, pushes })
}

async fn manager(
    client: &Client,
    settings: &Settings,
    sender: mpsc::UnboundedSender<PushInfo>,
) -> RedisResult<ConnectionManager> {
    let config = settings.manager(Some(Duration::from_secs(5)));
    let config = config.set_push_sender(sender).set_automatic_resubscription();
    let mut manager = client.get_connection_manager_with_config(config).await?;
    if settings.shard {
        cmd("SSUBSCRIBE").arg(NEWS).exec_async(&mut manager).await?;
    } else {
        manager.subscribe(NEWS).await?;
    }
    Ok(manager)
}

async fn listen_to_stream(mut messages: PubSubStream, settings: &Settings, reader: &Reader) {
    loop {
        while let Some(message) = messages.next().await {
            reader.message(message.get_payload_bytes()).await;
        }
        reader.witness().lost(Link::Subscriptions, "the stream of messages ended").await;
        messages = loop {
            match stream(settings).await {
                Ok(messages) => break messages,
                Err(error) => eprintln!("the subscriber: {error}"),
            }
            tokio::time::sleep(AGAIN).await;
        };
        reader.witness().back(Link::Subscriptions).await;
    }
}

async fn listen_to_pushes(mut pushes: mpsc::UnboundedReceiver<PushInfo>, reader: &Reader) {
    while let Some(push) = pushes.recv().await {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                if let Some(redis::Value::BulkString(payload)) = push.data.get(1) {
                    reader.message(payload).await;
                }
            }
            PushKind::Disconnection => reader.witness().lost(Link::Subscriptions, "the push Disconnection").await,
            PushKind::Subscribe | PushKind::SSubscribe => reader.witness().back(Link::Subscriptions).await,
            _ => {}
        }
    }
    reader.witness().lost(Link::Subscriptions, "the pushes ended").await;
}
