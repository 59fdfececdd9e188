//! Makes one description of a cluster out of several.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::address::NodeAddress;
use super::super::cluster_answer::{ClusterAnswer, ClusterNode};
use super::super::slot::SLOTS;
use super::{ClusterView, NOBODY, ShardView, ranged};

/// What the answers say of one node.
#[derive(Default)]
struct Testimony<'a> {
    id: &'a str,
    /// The highest configuration epoch with which it is called a primary.
    epoch: u64,
    named: usize,
    failed: usize,
    /// How many answers would not send a client there.
    unusable: usize,
    /// What it calls itself.
    own_address: Option<&'a NodeAddress>,
    addresses: Vec<&'a NodeAddress>,
}

impl Testimony<'_> {
    /// Itself knows best, then the most answers, then what was believed.
    fn address(&self, before: &[&NodeAddress]) -> Option<NodeAddress> {
        let votes = |address: &NodeAddress| self.addresses.iter().filter(|other| **other == address).count();
        let most =
            self.addresses.iter().copied().max_by_key(|address| (votes(address), before.contains(address), *address));
        self.own_address.or(most).cloned()
    }
}

/// One answer's owner of a slot.
#[derive(Clone, Copy)]
struct Claim {
    owner: u16,
    epoch: u64,
    has_not_failed: bool,
    votes: usize,
    was_believed: bool,
}

/// What one answer says of each slot.
struct Statement {
    /// For each slot the place of its owner, or `NOBODY`.
    owners: Vec<u16>,
    /// The epoch of each owner.
    epochs: HashMap<u16, u64>,
    /// The place of the node that was asked.
    speaker: Option<u16>,
}

struct Court<'a> {
    answers: &'a [ClusterAnswer],
    /// Every node named, and its place.
    nodes: Vec<Testimony<'a>>,
    places: HashMap<&'a str, u16>,
}

/// The shards to believe in.
pub(super) fn shards(before: &ClusterView, answers: &[ClusterAnswer]) -> Vec<ShardView> {
    let court = Court::hear(answers);
    let believed: Vec<&NodeAddress> = before.nodes().collect();
    // Ordered; by address, because a node that was reset has a new id, and who has not heard of it still says the old.
    let addresses: Vec<_> = court.nodes.iter().map(|node| node.address(&believed)).collect();
    let mut primaries: BTreeMap<&NodeAddress, (&Testimony<'_>, Vec<u16>)> = BTreeMap::new();
    for (slot, owner) in (0..).zip(court.owners(before)) {
        let place = usize::from(owner);
        if let (Some(node), Some(Some(primary))) = (court.nodes.get(place), addresses.get(place)) {
            primaries.entry(primary).or_insert_with(|| (node, Vec::new())).1.push(slot);
        }
    }
    let mut shards = Vec::new();
    for (primary, (node, slots)) in &primaries {
        let mut replicas = court.replicas(node, &believed);
        replicas.retain(|replica| !primaries.contains_key(replica));
        let epoch_before = before.shards().iter().find(|shard| shard.id == node.id).map_or(0, |shard| shard.epoch);
        shards.push(ShardView {
            id: node.id.to_owned(),
            primary: (*primary).clone(),
            replicas,
            epoch: node.epoch.max(epoch_before),
            slots: ranged(slots.iter().copied()),
        });
    }
    shards
}

impl<'a> Court<'a> {
    fn hear(answers: &'a [ClusterAnswer]) -> Self {
        let mut court = Self { answers, nodes: Vec::new(), places: HashMap::new() };
        for node in answers.iter().flat_map(ClusterAnswer::nodes) {
            let next = u16::try_from(court.nodes.len()).unwrap_or(NOBODY);
            // More nodes than slots: nobody runs that.
            if usize::from(next) >= SLOTS {
                break;
            }
            let place = *court.places.entry(&node.id).or_insert(next);
            if place == next {
                court.nodes.push(Testimony { id: &node.id, ..Testimony::default() });
            }
            if let Some(testimony) = court.nodes.get_mut(usize::from(place)) {
                testimony.add(node);
            }
        }
        court
    }

    /// For each slot the place of its owner.
    fn owners(&self, before: &ClusterView) -> Vec<u16> {
        let statements: Vec<Statement> = self.answers.iter().map(|answer| self.statement(answer)).collect();
        let believed = self.believed(before);
        let mut claims: Vec<Claim> = Vec::new();
        let owner_of = |slot: usize| {
            claims.clear();
            let named = statements.iter().filter_map(|statement| Some((statement, *statement.owners.get(slot)?)));
            for (statement, owner) in named.clone().filter(|(_, owner)| *owner != NOBODY) {
                self.claim(&mut claims, owner, statement.epochs.get(&owner).copied().unwrap_or(0));
            }
            if let Some((owner, epoch)) = believed.get(slot).copied().flatten() {
                let mut named = named;
                let is_denied = named.any(|(statement, named)| statement.speaker == Some(owner) && named != owner);
                believe_still(&mut claims, owner, epoch, is_denied);
            }
            // The id last, so that the order in which nodes answered decides nothing.
            let best = claims.iter().max_by_key(|claim| {
                let id = self.nodes.get(usize::from(claim.owner)).map(|node| node.id);
                (claim.epoch, claim.has_not_failed, claim.votes, claim.was_believed, id)
            });
            best.map_or(NOBODY, |claim| claim.owner)
        };
        (0..SLOTS).map(owner_of).collect()
    }

    fn statement(&self, answer: &ClusterAnswer) -> Statement {
        let mut statement = Statement { owners: vec![NOBODY; SLOTS], epochs: HashMap::new(), speaker: None };
        for node in answer.nodes() {
            let Some(place) = self.places.get(&node.id[..]).copied() else { continue };
            if node.is_myself {
                statement.speaker = Some(place);
            }
            statement.epochs.insert(place, node.epoch);
            for range in node.slots.iter().filter(|_| node.address.is_some()) {
                if let Some(slots) = statement.owners.get_mut(usize::from(*range.start())..=usize::from(*range.end())) {
                    slots.fill(place);
                }
            }
        }
        statement
    }

    /// What was believed, as far as an answer still names the owner.
    fn believed(&self, before: &ClusterView) -> Vec<Option<(u16, u64)>> {
        let mut believed = vec![None; SLOTS];
        for shard in before.shards() {
            let owner = self.place_of(shard).map(|place| (place, shard.epoch));
            for range in &shard.slots {
                if let Some(slots) = believed.get_mut(usize::from(*range.start())..=usize::from(*range.end())) {
                    slots.fill(owner);
                }
            }
        }
        believed
    }

    fn place_of(&self, shard: &ShardView) -> Option<u16> {
        if let Some(place) = self.places.get(&shard.id[..]) {
            return Some(*place);
        }
        // Known from a MOVED only: by its address.
        let mut nodes = (0..).zip(&self.nodes);
        let same = nodes.find(|(_, node)| shard.id.is_empty() && node.addresses.contains(&&shard.primary));
        same.map(|(place, _)| place)
    }

    fn claim(&self, claims: &mut Vec<Claim>, owner: u16, epoch: u64) {
        if let Some(claim) = claims.iter_mut().find(|claim| claim.owner == owner) {
            claim.votes += 1;
            claim.epoch = claim.epoch.max(epoch);
            return;
        }
        let has_failed = self.nodes.get(usize::from(owner)).is_some_and(|node| node.failed * 2 > self.answers.len());
        claims.push(Claim { owner, epoch, has_not_failed: !has_failed, votes: 1, was_believed: false });
    }

    fn replicas(&self, primary: &Testimony<'_>, believed: &[&NodeAddress]) -> Vec<NodeAddress> {
        let mut replicas = BTreeSet::new();
        for answer in self.answers {
            // Who describes the shard as it was under an older configuration knows its old replicas.
            let is_current =
                |node: &ClusterNode| node.id == primary.id && is_primary(node) && node.epoch == primary.epoch;
            if !answer.nodes().iter().any(is_current) {
                continue;
            }
            let listed = answer.nodes().iter().filter(|node| node.is_listed);
            for node in listed.filter(|node| node.replica_of.as_deref() == Some(primary.id)) {
                let place = self.places.get(&node.id[..]).copied().unwrap_or(NOBODY);
                let Some(testimony) = self.nodes.get(usize::from(place)) else { continue };
                if testimony.unusable * 2 <= testimony.named {
                    replicas.extend(testimony.address(believed));
                }
            }
        }
        replicas.into_iter().collect()
    }
}

impl<'a> Testimony<'a> {
    fn add(&mut self, node: &'a ClusterNode) {
        self.named += 1;
        self.failed += usize::from(node.has_failed);
        self.unusable += usize::from(node.has_failed || !node.is_connected);
        if is_primary(node) {
            self.epoch = self.epoch.max(node.epoch);
        }
        if let Some(address) = &node.address {
            self.addresses.push(address);
            if node.is_myself {
                self.own_address = Some(address);
            }
        }
    }
}

fn is_primary(node: &ClusterNode) -> bool {
    node.replica_of.is_none()
}

/// What was believed before is one claim more.
fn believe_still(claims: &mut Vec<Claim>, owner: u16, epoch: u64, is_denied: bool) {
    if let Some(claim) = claims.iter_mut().find(|claim| claim.owner == owner) {
        claim.was_believed = true;
        return;
    }
    if is_denied {
        return;
    }
    // Where no answer tells epochs, one from earlier proves nothing against them.
    let is_comparable = claims.iter().any(|claim| claim.epoch > 0);
    let epoch = if is_comparable || claims.is_empty() { epoch } else { 0 };
    claims.push(Claim { owner, epoch, has_not_failed: true, votes: 0, was_believed: true });
}
