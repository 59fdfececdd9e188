//! What is believed of a cluster, when its nodes disagree.

mod belief;
#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::address::NodeAddress;
use super::cluster_answer::ClusterAnswer;
use super::slot::SLOTS;

/// A primary with its replicas and slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardView {
    /// The primary's id; empty for one that is known from a MOVED only.
    pub id: String,
    /// Where writes go.
    pub primary: NodeAddress,
    /// Where reads may go: replicas that are up and have data. Ordered.
    pub replicas: Vec<NodeAddress>,
    /// The primary's configuration epoch; 0 when no node tells.
    pub epoch: u64,
    /// The slots it owns, ascending and not adjacent. Never empty.
    pub slots: Vec<RangeInclusive<u16>>,
}

/// What is believed of a cluster: one owner at most for each slot. Finding it is one look into a table.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// In the order of their first slots.
    shards: Vec<ShardView>,
    /// For each slot the index of its shard, or `NOBODY`. Empty when there is no shard.
    owners: Arc<[u16]>,
}

const NOBODY: u16 = u16::MAX;

impl ClusterView {
    /// Nothing is known yet.
    #[must_use]
    pub fn empty() -> Self {
        Self { shards: Vec::new(), owners: Arc::new([]) }
    }

    /// What to believe after these answers.
    ///
    /// The owner of a slot is who has the highest configuration epoch in any answer: a node on the wrong side of a cut
    /// names an old owner with an old epoch, however many there are of it. Among equal epochs a node that most answers
    /// hold to have failed stands back, then the number of answers decides, then what was believed before. What was
    /// believed before also counts with its epoch, as long as any answer still names that node and the node itself does
    /// not deny it.
    ///
    /// Nodes without slots are no shards. Replicas are those that the answers of the owner's epoch list, without those
    /// that most answers hold to have failed or cannot reach. Answers that name no owner for any slot change nothing.
    #[must_use]
    pub fn believe(before: &Self, answers: &[ClusterAnswer]) -> Self {
        if !answers.iter().any(ClusterAnswer::has_slots) {
            return before.clone();
        }
        let shards = belief::shards(before, answers);
        // Owners whose address nobody knows are no good either.
        if shards.is_empty() { before.clone() } else { Self::of_shards(shards) }
    }

    fn of_shards(mut shards: Vec<ShardView>) -> Self {
        shards.retain(|shard| !shard.slots.is_empty());
        shards.sort_by_key(|shard| shard.slots.first().map(|range| *range.start()));
        let mut owners = vec![NOBODY; if shards.is_empty() { 0 } else { SLOTS }];
        for (index, shard) in (0..NOBODY).zip(&shards) {
            for range in &shard.slots {
                if let Some(slots) = owners.get_mut(usize::from(*range.start())..=usize::from(*range.end())) {
                    slots.fill(index);
                }
            }
        }
        Self { shards, owners: owners.into() }
    }

    /// All shards, in the order of their first slots.
    #[must_use]
    pub fn shards(&self) -> &[ShardView] {
        &self.shards
    }

    /// The shard that owns a slot.
    #[must_use]
    #[inline]
    pub fn shard_of(&self, slot: u16) -> Option<&ShardView> {
        self.shards.get(usize::from(self.shard_index_of(slot)?))
    }

    /// The place among [`shards`](Self::shards) of the shard that owns a slot.
    #[must_use]
    #[inline]
    pub fn shard_index_of(&self, slot: u16) -> Option<u16> {
        self.owners.get(usize::from(slot)).copied().filter(|index| *index != NOBODY)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Whether every slot has an owner.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        !self.owners.is_empty() && !self.owners.contains(&NOBODY)
    }

    /// All nodes, shard by shard, each primary before its replicas.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeAddress> {
        self.shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas))
    }

    /// Learns the owner of one slot from a MOVED, before the view is asked for anew. False when that was known.
    pub fn moved(&mut self, slot: u16, to: &NodeAddress) -> bool {
        if usize::from(slot) >= SLOTS || self.shard_of(slot).is_some_and(|shard| shard.primary == *to) {
            return false;
        }
        let mut shards = std::mem::take(&mut self.shards);
        for shard in &mut shards {
            shard.replicas.retain(|replica| replica != to);
            shard.slots = without(&shard.slots, slot);
        }
        match shards.iter_mut().find(|shard| shard.primary == *to) {
            Some(shard) => shard.slots = with(&shard.slots, slot),
            None => shards.push(ShardView {
                id: String::new(),
                primary: to.clone(),
                replicas: Vec::new(),
                epoch: 0,
                slots: vec![slot..=slot],
            }),
        }
        *self = Self::of_shards(shards);
        true
    }
}

impl fmt::Debug for ClusterView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterView").field(&self.shards).finish()
    }
}

fn without(ranges: &[RangeInclusive<u16>], slot: u16) -> Vec<RangeInclusive<u16>> {
    let mut left = Vec::with_capacity(ranges.len() + 1);
    for range in ranges {
        if !range.contains(&slot) {
            left.push(range.clone());
            continue;
        }
        left.extend((*range.start() < slot).then(|| *range.start()..=slot - 1));
        left.extend((slot < *range.end()).then(|| slot + 1..=*range.end()));
    }
    left
}

fn with(ranges: &[RangeInclusive<u16>], slot: u16) -> Vec<RangeInclusive<u16>> {
    let behind = ranges.partition_point(|range| *range.start() <= slot);
    let mut all: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len() + 1);
    let (before, after) = ranges.split_at(behind);
    for range in before.iter().cloned().chain([slot..=slot]).chain(after.iter().cloned()) {
        match all.last_mut() {
            Some(last) if last.end().saturating_add(1) >= *range.start() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            Some(_) | None => all.push(range),
        }
    }
    all
}

/// Ascending slots as ranges.
fn ranged(slots: impl IntoIterator<Item = u16>) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for slot in slots {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(slot) => *last = *last.start()..=slot,
            Some(_) | None => ranges.push(slot..=slot),
        }
    }
    ranges
}
