//! Who serves what: swapped as a whole, so that a caller reads it without a lock.

use std::collections::HashMap;
use std::sync::Arc;

use romaine_proto::{ClusterView, NodeAddress, SLOTS, SentinelView};

use crate::events::{NodeRole, TopologyNode};
use crate::server::Server;

/// A primary and the replicas that may be read from.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) primary: Arc<Server>,
    pub(crate) replicas: Vec<Arc<Server>>,
}

/// No shard has the slot.
const NONE: u16 = u16::MAX;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    /// Everyone that has connections.
    pub(crate) servers: HashMap<NodeAddress, Arc<Server>>,
    pub(crate) shards: Vec<Shard>,
    /// In a Cluster: the place in `shards` for each slot.
    pub(crate) slots: Option<Arc<[u16]>>,
    /// Everyone there is, those without connections too.
    pub(crate) all: Arc<[TopologyNode]>,
}

/// What a map is to be made of.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) shards: Vec<(NodeAddress, Vec<NodeAddress>)>,
    pub(crate) slots: Option<Arc<[u16]>>,
    pub(crate) all: Arc<[TopologyNode]>,
}

fn node(address: &NodeAddress, role: NodeRole, slots: usize) -> TopologyNode {
    TopologyNode { node: address.to_string().into(), role, slots }
}

impl Layout {
    /// One primary and its replicas.
    pub(crate) fn of_pair(view: &SentinelView) -> Self {
        let mut all = vec![node(&view.primary, NodeRole::Primary, 0)];
        all.extend(view.replicas.iter().map(|replica| node(replica, NodeRole::Replica, 0)));
        Self { shards: vec![(view.primary.clone(), view.replicas.clone())], slots: None, all: all.into() }
    }

    /// A Cluster.
    pub(crate) fn of_cluster(view: &ClusterView) -> Self {
        let mut slots = vec![NONE; SLOTS];
        let mut shards = Vec::new();
        let mut all = Vec::new();
        for (index, shard) in view.shards().iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { break };
            let mut count = 0;
            for slot in shard.slots.iter().cloned().flatten() {
                if let Some(place) = slots.get_mut(usize::from(slot)) {
                    *place = index;
                    count += 1;
                }
            }
            all.push(node(&shard.primary, NodeRole::Primary, count));
            all.extend(shard.replicas.iter().map(|replica| node(replica, NodeRole::Replica, 0)));
            shards.push((shard.primary.clone(), shard.replicas.clone()));
        }
        Self { shards, slots: Some(slots.into()), all: all.into() }
    }
}

impl Map {
    #[inline]
    pub(crate) fn shard_of(&self, slot: u16) -> Option<&Shard> {
        let index = *self.slots.as_ref()?.get(usize::from(slot))?;
        self.shards.get(usize::from(index))
    }

    /// For going through all shards, wherever they are by then.
    pub(crate) fn one_slot_of_each(&self) -> impl Iterator<Item = u16> {
        let slots = self.slots.as_deref().unwrap_or_default();
        let first = |shard| slots.iter().position(|place| usize::from(*place) == shard);
        (0..self.shards.len()).filter_map(first).filter_map(|slot| u16::try_from(slot).ok())
    }

    /// For requests that any server can answer: one that is there, and spread, so that none has more than its share.
    pub(crate) fn any_shard(&self) -> Option<&Shard> {
        let count = self.shards.len();
        if count < 2 {
            return self.shards.first();
        }
        let drawn = fastrand::usize(..count);
        let from_there = || self.shards.iter().cycle().skip(drawn).take(count);
        from_there().find(|shard| shard.primary.commands.is_ready()).or_else(|| from_there().next())
    }

    /// Whether it is a shard's primary.
    pub(crate) fn has_primary(&self, server: &Arc<Server>) -> bool {
        self.shards.iter().any(|shard| Arc::ptr_eq(&shard.primary, server))
    }

    /// Whether every primary can be asked at once.
    pub(crate) fn is_connected(&self) -> bool {
        !self.shards.is_empty() && self.shards.iter().all(|shard| shard.primary.commands.is_ready())
    }

    /// Whether, besides, none of them is suspect.
    pub(crate) fn is_well(&self) -> bool {
        let is_suspect = |shard: &Shard| shard.primary.commands.lock().connection.is_suspect();
        self.is_connected() && !self.shards.iter().any(is_suspect)
    }

    /// The map with one slot at another server.
    pub(crate) fn with_moved(&self, slot: u16, server: &Arc<Server>) -> Self {
        let mut map = self.with_server(server);
        let index = map.shards.iter().position(|shard| Arc::ptr_eq(&shard.primary, server)).unwrap_or_else(|| {
            map.shards.push(Shard { primary: server.clone(), replicas: Vec::new() });
            map.shards.len() - 1
        });
        if let (Some(slots), Ok(index)) = (&map.slots, u16::try_from(index)) {
            let mut slots = slots.to_vec();
            if let Some(place) = slots.get_mut(usize::from(slot)) {
                *place = index;
            }
            map.slots = Some(slots.into());
        }
        map
    }

    /// The map with one primary more, unless it has one at that address. A replica there is none any more.
    pub(crate) fn with_server(&self, server: &Arc<Server>) -> Self {
        let mut map = self.clone();
        if map.servers.get(&server.address).is_some_and(|known| known.verifies_role()) {
            return map;
        }
        if let Some(replica) = map.servers.insert(server.address.clone(), server.clone()) {
            for shard in &mut map.shards {
                shard.replicas.retain(|known| !Arc::ptr_eq(known, &replica));
            }
        }
        map
    }

    /// Whether it says the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.all == other.all && self.slots == other.slots
    }

    pub(crate) fn describe(&self) -> Arc<[TopologyNode]> {
        self.all.clone()
    }

    /// Which primaries another one took over from.
    pub(crate) fn failovers(&self, after: &Self) -> Vec<(Arc<str>, Arc<str>)> {
        let mut found = Vec::new();
        // What a redirect taught since may have been old: it is no failover that it is forgotten again.
        let was_believed =
            |node: &str| self.all.iter().any(|known| known.role == NodeRole::Primary && &*known.node == node);
        let mut pair = |from: &Shard, to: &Shard| {
            let is_gone = !after.shards.iter().any(|shard| shard.primary.address == from.primary.address);
            let pair = (from.primary.node.clone(), to.primary.node.clone());
            if is_gone && was_believed(&pair.0) && from.primary.address != to.primary.address && !found.contains(&pair)
            {
                found.push(pair);
            }
        };
        match (&self.slots, &after.slots) {
            (Some(before), Some(slots)) => {
                let mut last = (NONE, NONE);
                for (was, is) in before.iter().zip(slots.iter()) {
                    if (*was, *is) == last {
                        continue;
                    }
                    last = (*was, *is);
                    if let (Some(was), Some(is)) =
                        (self.shards.get(usize::from(*was)), after.shards.get(usize::from(*is)))
                    {
                        pair(was, is);
                    }
                }
            }
            _ => {
                if let (Some(was), Some(is)) = (self.shards.first(), after.shards.first()) {
                    pair(was, is);
                }
            }
        }
        found
    }
}
