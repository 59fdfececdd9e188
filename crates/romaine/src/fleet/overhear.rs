//! Listens on the data nodes to what Sentinels tell each other there: news of a promotion that comes even while none of
//! them can be reached.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use romaine_proto::{Backoff, NodeAddress, Reconnect, SENTINEL_HELLO, SentinelHello, SubscriptionKind};

use super::Fleet;
use crate::clock;
use crate::config::{Address, Offline};
use crate::hub::Incoming;
use crate::server::{Part, Role, Server};
use crate::subscription::Subscription;

/// How long after a refusal it is asked again: permissions are given by people.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Where it is listened.
#[derive(Default)]
pub(super) struct Listening {
    at: HashMap<NodeAddress, Arc<Server>>,
}

impl Listening {
    /// Listens at these nodes, and at no others any more.
    pub(super) fn only_at<'a>(
        &mut self,
        fleet: &Arc<Fleet>,
        name: &Arc<str>,
        nodes: impl Iterator<Item = &'a NodeAddress> + Clone,
    ) {
        self.at.retain(|address, server| {
            let stays = nodes.clone().any(|node| node == address);
            if !stays {
                server.retire();
                server.end();
            }
            stays
        });
        for node in nodes {
            if !self.at.contains_key(node) {
                self.at.insert(node.clone(), begin(fleet, name, node));
            }
        }
    }
}

/// With a connection of its own: what is subscribed to by the client's user must not wait for this, nor it for that.
fn begin(fleet: &Arc<Fleet>, name: &Arc<str>, node: &NodeAddress) -> Arc<Server> {
    let mut config = (*fleet.common.config).clone();
    config.address = Address::Tcp { host: node.host().to_owned(), port: node.port() };
    config.offline = Offline::Wait;
    let server = Server::new(fleet.common.clone(), Arc::new(config), Part::Sentinel(fleet.me.clone()), Role::Any);
    fleet.remember(&server);
    fleet.common.spawn(listen(fleet.clone(), server.clone(), name.clone()));
    server
}

async fn listen(fleet: Arc<Fleet>, server: Arc<Server>, name: Arc<str>) {
    let topics = || vec![Bytes::from_static(SENTINEL_HELLO.as_bytes())];
    let mut reconnect = Reconnect::new(Backoff::default(), server.config.stable_after, fastrand::Rng::new());
    while !server.is_closed() {
        let mut subscription = match Subscription::open_at(&server, SubscriptionKind::Channel, topics()).await {
            Ok(subscription) => subscription,
            Err(error) if error.server().is_some() => {
                // A user without the channel. The Sentinels themselves are listened to all the same.
                tracing::info!(%error, node = %server.node, "not allowed to listen to what Sentinels tell each other");
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, node = %server.node, "cannot listen at a data node (yet)");
                tokio::time::sleep(reconnect.failed(clock::now())).await;
                continue;
            }
        };
        while let Some(item) = subscription.next().await {
            if let Incoming::Message(message) = item
                && let Some(hello) = SentinelHello::parse(&message.payload, &name)
            {
                fleet.overhears(hello);
            }
        }
    }
}
