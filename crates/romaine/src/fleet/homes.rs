//! Where each subscription of a client with several servers lives, and its moves.
//!
//! Channels and patterns live at one primary (a Cluster forwards messages to every node), shard channels at the primary
//! of their slot, and keyspace events, which no node forwards, at every primary.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use romaine_proto::{SubscriptionKind, slot_of};
use romaine_resp::ServerError;

use super::{Fleet, Map};
use crate::backlog::Queue;
use crate::clock;
use crate::error::{Delivery, Error, ErrorKind};
use crate::server::Server;

/// One topic of one subscription.
#[derive(Debug)]
struct Wanted {
    kind: SubscriptionKind,
    topic: Bytes,
    queue: Arc<Queue>,
    at: Vec<Arc<Server>>,
    /// It was in force until then, and has no home since.
    homeless_since: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    wanted: Mutex<Vec<Wanted>>,
    /// When the map was last found to be right, or made so.
    mapped: Mutex<Option<Instant>>,
}

/// Where `topic` belongs.
fn homes_of(map: &Map, kind: SubscriptionKind, topic: &[u8], at: &[Arc<Server>]) -> Vec<Arc<Server>> {
    let primaries = || map.shards.iter().map(|shard| &shard.primary);
    if map.slots.is_some() && kind != SubscriptionKind::Shard && is_of_keyspace(topic) {
        return primaries().cloned().collect();
    }
    if kind == SubscriptionKind::Shard && map.slots.is_some() {
        return map.shard_of(slot_of(topic)).map(|shard| shard.primary.clone()).into_iter().collect();
    }
    // It stays where it is for as long as that is a primary, and answers where another would.
    let is_lost = |server: &Server| {
        !server.subscriptions.is_ready()
            && server.subscriptions.lock().last_error.is_some()
            && primaries().any(|primary| primary.commands.is_ready())
            && !server.commands.is_ready()
    };
    let stays = at.iter().find(|server| !is_lost(server) && primaries().any(|primary| Arc::ptr_eq(primary, server)));
    stays.or_else(|| map.any_shard().map(|shard| &shard.primary)).cloned().into_iter().collect()
}

/// Whether it is about events of keys, which only their own node tells.
fn is_of_keyspace(topic: &[u8]) -> bool {
    topic.starts_with(b"__key")
}

impl Homes {
    fn lock(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers `queue` for topics and asks the servers.
    pub(crate) fn add(&self, fleet: &Fleet, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) {
        let mut wanted = self.lock();
        let map = fleet.map();
        for topic in topics {
            let at = homes_of(&map, kind, topic, &[]);
            for server in &at {
                server.start_subscriptions();
                if let Some(asking) = server.hub.add(kind, std::slice::from_ref(topic), queue) {
                    server.subscriptions.issue_subscription(&asking);
                }
            }
            wanted.push(Wanted { kind, topic: topic.clone(), queue: queue.clone(), at, homeless_since: None });
        }
    }

    /// The reverse of [`add`](Self::add).
    pub(crate) fn remove(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) {
        let mut wanted = self.lock();
        wanted.retain(|known| {
            let is_meant = known.kind == kind && Arc::ptr_eq(&known.queue, queue) && topics.contains(&known.topic);
            if is_meant {
                for server in &known.at {
                    if let Some(asking) = server.hub.remove(kind, std::slice::from_ref(&known.topic), queue) {
                        server.subscriptions.issue_subscription(&asking);
                    }
                }
            }
            !is_meant
        });
    }

    /// The map has changed: what lives at a server that is not its home any more moves, with a gap.
    pub(super) fn move_in(&self, fleet: &Fleet, map: &Map) {
        let mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner).replace(clock::now());
        let mut wanted = self.lock();
        for known in wanted.iter_mut() {
            let homes = homes_of(map, known.kind, &known.topic, &known.at);
            let topic = std::slice::from_ref(&known.topic);
            let mut since = known.homeless_since.take();
            known.at.retain(|server| {
                let stays = homes.iter().any(|home| Arc::ptr_eq(home, server));
                if !stays {
                    let (left, asking) = server.hub.evict(known.kind, &known.topic, &known.queue);
                    let left = left
                        .map(|interrupted| interrupted.unwrap_or_else(|| server.subscriptions.lock().last_received));
                    since = [since, left].into_iter().flatten().min();
                    if let Some(asking) = asking {
                        server.subscriptions.issue_subscription(&asking);
                    }
                }
                stays
            });
            if homes.is_empty() {
                known.homeless_since = since;
            }
            // One more server has a part of it, perhaps since the last look; what was heard so far was all there was.
            if known.at.iter().any(|server| server.hub.is_confirmed(known.kind, &known.topic)) {
                since = since.or(mapped);
            }
            for home in homes {
                if known.at.iter().any(|server| Arc::ptr_eq(server, &home)) {
                    continue;
                }
                home.start_subscriptions();
                let asking = match since {
                    Some(since) => {
                        let cause = Error::new(
                            ErrorKind::Closed,
                            Delivery::Unknown,
                            "the subscription moved to another server",
                        );
                        home.hub.adopt(known.kind, &known.topic, &known.queue, since, cause)
                    }
                    None => home.hub.add(known.kind, topic, &known.queue),
                };
                if let Some(asking) = asking {
                    home.subscriptions.issue_subscription(&asking);
                }
                known.at.push(home);
            }
        }
        drop(wanted);
        fleet.changed.notify_waiters();
    }

    /// Waits until every server that must has confirmed every topic, or one refused.
    pub(crate) async fn confirmed(
        &self,
        fleet: &Fleet,
        kind: SubscriptionKind,
        queue: &Arc<Queue>,
    ) -> Result<(), ServerError> {
        loop {
            let moved = fleet.changed.notified();
            let mut moved = std::pin::pin!(moved);
            moved.as_mut().enable();
            let missing = {
                let wanted = self.lock();
                let mut ours = wanted.iter().filter(|known| known.kind == kind && Arc::ptr_eq(&known.queue, queue));
                ours.find_map(|known| {
                    if known.at.is_empty() {
                        return Some((None, known.topic.clone()));
                    }
                    let missing = known.at.iter().find(|server| !server.hub.is_confirmed(kind, &known.topic));
                    missing.map(|server| (Some(server.clone()), known.topic.clone()))
                })
            };
            match missing {
                None => return Ok(()),
                Some((None, _)) => moved.await,
                Some((Some(server), topic)) => tokio::select! {
                    confirmed = server.hub.confirmed(kind, std::slice::from_ref(&topic)) => confirmed?,
                    () = moved => {}
                },
            }
        }
    }

    /// Why nothing is confirmed: what befell the connection that should.
    pub(crate) fn last_error(&self, queue: &Arc<Queue>) -> Option<Error> {
        let wanted = self.lock();
        let mut ours = wanted.iter().filter(|known| Arc::ptr_eq(&known.queue, queue)).flat_map(|known| &known.at);
        ours.find_map(|server| server.subscriptions.lock().last_error.clone())
    }

    pub(super) fn close(&self, error: &Error) {
        for known in self.lock().drain(..) {
            known.queue.close(error.clone());
        }
    }
}
