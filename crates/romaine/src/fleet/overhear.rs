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
use crate::hub::{Incoming, Message};
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
    fleet.common.spawn(overhear(fleet.clone(), server.clone(), name.clone()));
    server
}

async fn overhear(fleet: Arc<Fleet>, server: Arc<Server>, name: Arc<str>) {
    listen(&server, &[SENTINEL_HELLO], |heard| {
        if let Heard::Message(message) = heard
            && let Some(hello) = SentinelHello::parse(&message.payload, &name)
        {
            fleet.overhears(hello);
        }
    })
    .await;
}

/// What comes of listening.
pub(super) enum Heard {
    Message(Message),
    /// It is listened (again), or something may be missing.
    Restored,
}

/// Listens to channels of one server for as long as it is there.
pub(super) async fn listen(server: &Arc<Server>, channels: &[&'static str], mut hear: impl FnMut(Heard)) {
    let topics = || channels.iter().map(|channel| Bytes::from_static(channel.as_bytes())).collect();
    let mut reconnect = Reconnect::new(Backoff::default(), server.config.stable_after, fastrand::Rng::new());
    while !server.is_closed() {
        let mut subscription = match Subscription::open_at(server, SubscriptionKind::Channel, topics()).await {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::debug!(%error, node = %server.node, "cannot listen (yet)");
                // Who may not listen goes without; the server's log is not to be filled with refusals.
                let pause = if error.server().is_some() { ASK_AGAIN_AFTER } else { reconnect.failed(clock::now()) };
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        hear(Heard::Restored);
        while let Some(item) = subscription.next().await {
            hear(match item {
                Incoming::Message(message) => Heard::Message(message),
                Incoming::Gap { .. } | Incoming::Resumed { .. } | Incoming::Refused { .. } | Incoming::Dropped(_) => {
                    Heard::Restored
                }
            });
        }
    }
}
