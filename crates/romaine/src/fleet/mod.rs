//! Several servers behind one client: who they are, and which is the right one for a request.
//!
//! The callers route by a map that is swapped as a whole; one task keeps it true ([`keeper`]). The decisions (whom to
//! believe, when to ask again, what a redirect means) are machines of `romaine-proto`.

mod ask;
mod batches;
mod cluster;
mod discover;
mod homes;
mod keeper;
mod map;
mod overhear;
mod redirect;
mod scatter;
mod sentinel;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use romaine_commands::{Flags, Request};
use romaine_proto::{
    Belief, Candidate, Link, NodeAddress, ReadFrom, Refresh, RefreshSettings, Route, SentinelHello, Trigger, slot_of,
};
use tokio::sync::Notify;

use crate::clock;
use crate::common::Common;
use crate::config::Address;
use crate::config_topology::Topology;
use crate::error::{Delivery, Error, ErrorKind};
use crate::events::Event;
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::server::{Part, Role, Server};

pub(crate) use self::homes::Homes;
pub(crate) use self::map::Map;
use self::map::Shard;
pub(crate) use self::redirect::{ASKING, Elsewhere, asking, behind_asking};
pub(crate) use self::scatter::{each, scatter};

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) common: Arc<Common>,
    me: Weak<Self>,
    map: ArcSwap<Map>,
    /// Told when the map has changed, and when the client is closed.
    changed: Notify,
    refresh: Mutex<Refresh>,
    /// Told when something was triggered.
    triggered: Notify,
    pub(crate) homes: Homes,
    /// Where to ask who is the primary.
    sentinels: Mutex<Vec<Arc<Server>>>,
    /// Who is the primary, by the Sentinels' word.
    belief: Mutex<Belief>,
    /// Told when there is news of it.
    news: Notify,
    /// Every server there ever was and may still have work.
    known: Mutex<Vec<Weak<Server>>>,
    redirects: AtomicU64,
}

/// Why a call cannot be served where no primary is known.
pub(crate) const NOBODY: &str = "no server of the topology serves it at present";

/// Why a call cannot be served where `read_from` allows no node.
const NO_REPLICA: &str = "read_from wants a replica, and the topology has none at present";

/// Why a read cannot be served where all whom `read_from` allows are away.
const NOT_CONNECTED: &str = "no node that read_from allows is connected";

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Way {
    /// To this server.
    To(Arc<Server>),
    /// In parts, or to many.
    Scattered(Route),
    /// Nobody serves it at present; in the words of an error.
    Nowhere(&'static str),
    /// It cannot work here.
    Impossible(&'static str),
}

impl Fleet {
    pub(crate) fn new(common: Arc<Common>) -> Arc<Self> {
        // Sentinels and replicas know at once that a primary is lost; a Cluster's node is often back by the next attempt.
        let reconnect_attempts = if matches!(common.config.topology, Topology::Cluster { .. }) { 2 } else { 1 };
        let every = common.config.refresh_every;
        let settings = RefreshSettings { every, reconnect_attempts, ..RefreshSettings::default() };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            map: ArcSwap::from_pointee(Map::default()),
            changed: Notify::new(),
            refresh: Mutex::new(Refresh::new(settings, fastrand::Rng::new())),
            triggered: Notify::new(),
            homes: Homes::default(),
            sentinels: Mutex::default(),
            belief: Mutex::default(),
            news: Notify::new(),
            known: Mutex::default(),
            redirects: AtomicU64::new(0),
            common,
        })
    }

    pub(crate) fn start(self: &Arc<Self>) {
        self.trigger(Trigger::Start);
        self.common.spawn(keeper::keep(self.clone()));
    }

    fn refresh(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened that may mean that the map is not true any more.
    pub(crate) fn trigger(&self, why: Trigger) {
        tracing::debug!(?why, "the topology may have changed");
        self.refresh().trigger(clock::now(), why);
        self.triggered.notify_one();
    }

    fn belief(&self) -> MutexGuard<'_, Belief> {
        self.belief.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Sentinel told the others who is the primary: a reason to look, if that is news.
    fn overhears(&self, hello: SentinelHello) {
        if self.belief().overhear(clock::now(), hello) {
            self.trigger(Trigger::Event);
            self.news.notify_one();
        }
    }

    /// The map as it is now.
    pub(crate) fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.common.config.topology, Topology::Cluster { .. })
    }

    /// Where `request` goes now.
    #[inline]
    pub(crate) fn way(&self, request: &Request) -> Way {
        let map = self.map.load();
        let shard = if self.is_cluster() {
            match Route::of(request) {
                Route::Slot(slot) => map.shard_of(slot),
                Route::AnyNode => map.any_shard(),
                Route::Impossible(why) => return Way::Impossible(why),
                route @ (Route::Split | Route::AllPrimaries | Route::AllNodes) => return Way::Scattered(route),
            }
        } else {
            map.shards.first()
        };
        let Some(shard) = shard else {
            self.trigger(Trigger::Uncovered);
            return Way::Nowhere(NOBODY);
        };
        self.choose(shard, request.spec().flags.has(Flags::READ_ONLY)).map_or_else(Way::Nowhere, Way::To)
    }

    /// The primary for a transaction, a script or a connection of one's own; `slot` in a Cluster.
    pub(crate) fn primary(&self, slot: Option<u16>) -> Option<Arc<Server>> {
        let map = self.map.load();
        let shard = match slot {
            Some(slot) if self.is_cluster() => map.shard_of(slot),
            _ => map.any_shard(),
        };
        shard.map(|shard| shard.primary.clone())
    }

    #[inline]
    fn choose(&self, shard: &Shard, reads: bool) -> Result<Arc<Server>, &'static str> {
        let config = &self.common.config;
        if !reads || !self.reads_replicas() {
            return Ok(shard.primary.clone());
        }
        let servers = || std::iter::once(&shard.primary).chain(&shard.replicas);
        let candidates: Vec<Candidate> = servers().map(|server| server.candidate()).collect();
        let chosen = match &config.read_with {
            Some(choose) => (choose.0)(&candidates),
            None => config.read_from.choose(&candidates, &mut fastrand::Rng::new()),
        };
        let Some(server) = chosen.and_then(|chosen| servers().nth(chosen)) else {
            // One may be there already, and without Sentinels nobody tells.
            self.trigger(Trigger::Uncovered);
            return Err(NO_REPLICA);
        };
        // Whichever comes back first will do: to queue at one would be to wait for this one.
        let is_lost = config.read_with.is_none() && !server.commands.is_ready();
        if is_lost {
            server.start_commands();
            return Err(NOT_CONNECTED);
        }
        Ok(server.clone())
    }

    /// A server has become usable, and may be waited for.
    pub(crate) fn connected(&self) {
        self.changed.notify_waiters();
    }

    /// Whether replicas have connections at all.
    fn reads_replicas(&self) -> bool {
        let config = &self.common.config;
        config.read_from != ReadFrom::Primary || config.read_with.is_some()
    }

    /// Waits until the map has changed, or until `until`.
    pub(crate) async fn changed(&self, until: Instant) {
        let _changed_or_not = tokio::time::timeout_at(until.into(), self.changed.notified()).await;
    }

    /// The server says that another one has the slot. Believed at once, and checked by a refresh.
    pub(crate) fn moved(&self, slot: u16, to: &NodeAddress, from: &Arc<Server>) -> Arc<Server> {
        self.count_redirect();
        if *to == from.address {
            // The name is the same, so it is our connection that leads to the wrong server (Lettuce #3910).
            from.misled();
            self.trigger(Trigger::Redirected);
            return from.clone();
        }
        let server = self.server_at(to);
        self.map.rcu(|map| map.with_moved(slot, &server));
        self.trigger(Trigger::Redirected);
        server
    }

    pub(crate) fn count_redirect(&self) {
        self.redirects.fetch_add(1, Ordering::Relaxed);
    }

    /// How many redirects were followed so far.
    pub(crate) fn redirects(&self) -> u64 {
        self.redirects.load(Ordering::Relaxed)
    }

    /// Where `address` leads from here.
    fn dialled(&self, address: &NodeAddress) -> NodeAddress {
        self.common.config.dialled(address).ok().flatten().unwrap_or_else(|| address.clone())
    }

    /// The primary at `address`, in the map or made now: also where the map has a replica there, whose connections never
    /// asked it whether it is a primary.
    pub(crate) fn server_at(&self, address: &NodeAddress) -> Arc<Server> {
        let found = || self.map.load().servers.get(address).filter(|server| server.verifies_role()).cloned();
        found().unwrap_or_else(|| {
            let server = self.new_server(address, Role::Primary);
            let before = self.map.rcu(|map| map.with_server(&server));
            if let Some(replica) = before.servers.get(address).filter(|known| !known.verifies_role()) {
                replica.retire();
            }
            // Another task may have been first.
            found().unwrap_or(server)
        })
    }

    /// A server for whoever asks for it by its address, and whether it is there for this only.
    pub(crate) fn visit(&self, address: &NodeAddress) -> (Arc<Server>, bool) {
        match self.map.load().servers.get(address) {
            Some(server) => (server.clone(), false),
            None => (self.guest(address), true),
        }
    }

    /// A server that is no part of the map, whatever it is; to be retired by who asked for it.
    pub(crate) fn guest(&self, address: &NodeAddress) -> Arc<Server> {
        self.new_server(address, Role::Any)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let mut all = Metrics::default();
        for server in self.map.load().servers.values() {
            all.add(server.metrics());
        }
        all.redirects = self.redirects();
        all
    }

    fn new_server(&self, address: &NodeAddress, role: Role) -> Arc<Server> {
        let mut config = (*self.common.config).clone();
        config.address = Address::Tcp { host: address.host().to_owned(), port: address.port() };
        if self.is_cluster() {
            config.database = 0;
        }
        let server = Server::new(self.common.clone(), Arc::new(config), Part::Member(self.me.clone()), role);
        self.remember(&server);
        server
    }

    /// For [`end`](Self::end).
    fn remember(&self, server: &Arc<Server>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == known.capacity() {
            known.retain(|server| server.strong_count() > 0);
        }
        known.push(Arc::downgrade(server));
    }

    fn known(&self) -> Vec<Arc<Server>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// A failover is about to give the role of the primary that ends `event` to a replica: what it acknowledges from now
    /// on would be lost. What is told late, of the failover before, holds nothing.
    fn hold(&self, event: &[u8]) {
        if let Some(shard) = self.map.load().shards.first()
            && event.ends_with(format!(" {} {}", shard.primary.address.host(), shard.primary.address.port()).as_bytes())
        {
            shard.primary.commands.hold(clock::after(self.common.config.failover_hold));
        }
    }

    fn release(&self) {
        if let Some(shard) = self.map.load().shards.first() {
            shard.primary.commands.release();
        }
    }

    /// A server's own view of the client's health, and what it means for the whole.
    pub(crate) fn update_health(&self, server: &Server, change: impl FnOnce(&mut Health)) {
        let map = self.map.load();
        let is_primary = map.shards.iter().any(|shard| std::ptr::eq(&*shard.primary, server));
        if !is_primary {
            return;
        }
        let all = map.is_connected();
        self.common.update_health(|health| {
            let suspect = {
                change(health);
                health.status
            };
            health.status = match suspect {
                Status::Connected | Status::Suspect if !all => Status::Disconnected,
                other => other,
            };
        });
    }

    /// The map has changed: whoever was missing may have left, or have been replaced by one that is connected already.
    fn review_health(&self, map: &Map) {
        if map.is_connected() {
            self.common.update_health(|health| {
                if health.status == Status::Disconnected {
                    health.status = Status::Connected;
                    health.attempts = 0;
                }
                if let ([shard], Status::Connected) = (&map.shards[..], health.status) {
                    health.node = Some(shard.primary.node.clone());
                }
            });
        }
    }

    /// Whether any first attempt to connect has come to something, once all have ended: a Cluster of which a part is
    /// down is of use.
    pub(crate) fn first_attempts(&self) -> Option<bool> {
        let map = self.map.load();
        let mut some = false;
        for shard in &map.shards {
            let state = shard.primary.commands.lock();
            let is_ready = state.connection.link() == Link::Ready;
            if !is_ready && state.last_error.is_none() {
                return None;
            }
            some |= is_ready;
        }
        Some(some)
    }

    /// There is no view yet, and asking for one failed.
    fn tell_failure(&self, error: &Error) {
        if self.map.load().shards.is_empty() {
            self.common.update_health(|health| {
                health.attempts += 1;
                health.last_error = Some(error.clone());
            });
        }
    }

    /// No new calls; what is in flight may end.
    pub(crate) fn drain(&self) {
        for server in self.known() {
            server.drain();
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.map.load().servers.values().all(|server| server.commands.lock().is_empty())
    }

    pub(crate) fn end(&self) {
        for server in self.known() {
            server.end();
        }
        self.homes.close(&Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed"));
        self.triggered.notify_one();
        self.changed.notify_waiters();
    }

    /// Makes `map` the one that calls go by; tells who came and went.
    fn install(&self, layout: map::Layout) -> bool {
        let before = self.map();
        let mut servers = HashMap::new();
        let mut take = |address: &NodeAddress, role| {
            // Whose role has changed is one anew. What waits at a primary that was demoted is its successor's, and it may
            // take writes yet; a replica that was promoted has never said that it is a primary.
            let known = before.servers.get(address).filter(|known| known.verifies_role() == (role == Role::Primary));
            let server = known.cloned().unwrap_or_else(|| self.new_server(address, role));
            server.set_importing(false);
            servers.insert(address.clone(), server.clone());
            server
        };
        let wants_replicas = self.reads_replicas();
        let mut shards = Vec::with_capacity(layout.shards.len());
        for (primary, replicas) in &layout.shards {
            let primary = take(primary, Role::Primary);
            let replicas = replicas.iter().filter(|_| wants_replicas).map(|replica| take(replica, Role::Replica));
            shards.push(Shard { primary, replicas: replicas.collect() });
        }
        for (address, server) in before.servers.iter().filter(|(_, server)| server.outlives_views()) {
            servers.entry(address.clone()).or_insert_with(|| server.clone());
        }
        let map = Arc::new(Map { servers, shards, slots: layout.slots, all: layout.all });
        let is_same = map.is_like(&before);
        // Redirects may have added servers meanwhile.
        let left = self.map.swap(map.clone());
        for server in map.servers.values() {
            server.start_commands();
        }
        for (address, server) in &left.servers {
            if !map.servers.get(address).is_some_and(|stays| Arc::ptr_eq(stays, server)) {
                tracing::info!(node = %server.node, "no part of the topology any more");
                server.retire();
            }
        }
        self.changed.notify_waiters();
        self.homes.move_in(self, &map);
        self.review_health(&map);
        if !is_same {
            self.tell_change(&before, &map);
        }
        !is_same
    }

    fn tell_change(&self, before: &Map, after: &Map) {
        let (was, is) = (before.describe(), after.describe());
        for (from, to) in before.failovers(after) {
            tracing::info!(%from, %to, "failover");
            self.common.events.tell(Event::Failover { from, to });
        }
        self.common.events.tell(Event::TopologyChanged { before: was, after: is });
    }
}

/// The slot of keys that must be together, and with `slot`; an error names the way out.
pub(crate) fn common_slot<'a>(
    mut slot: Option<u16>,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<u16>, Error> {
    for key in keys {
        let of_key = slot_of(key);
        if slot.is_some_and(|slot| slot != of_key) {
            return Err(Error::usage(
                "its keys are in different slots of the Cluster: give them a common {hash tag}, or split it",
            ));
        }
        slot = Some(of_key);
    }
    Ok(slot)
}
