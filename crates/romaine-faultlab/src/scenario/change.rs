//! Changes of a topology that several scenarios make or wait for.

use std::time::Duration;

use anyhow::Context as _;

use super::protocol::{COUNTER, SPREAD_KEYS};
use crate::deadline::{look_again, within};
use crate::{Cluster, Server, slot_of};

/// How long an old primary may take to be demoted when it is back.
const DEMOTED_WITHIN: Duration = Duration::from_secs(40);

/// How many slots move at most.
const MOVING: usize = 40;

/// Waits until an old primary that is back is none any more: else its counters would be read, too.
pub(in crate::scenario) async fn demoted(old: &Server) -> anyhow::Result<()> {
    let waiting = async {
        while old.command(&["ROLE"]).await.is_ok_and(|role| role.text().starts_with("master")) {
            look_again().await;
        }
    };
    within(DEMOTED_WITHIN, "the old primary's demotion", waiting).await
}

/// Moves the slot of `key` and those of the counters from one node to another, key by key and under load.
pub(in crate::scenario) async fn move_slots(cluster: &Cluster, key: &str, from: &Server) -> anyhow::Result<()> {
    let others = cluster.primaries().await;
    let to = others.iter().find(|node| node.address() != from.address()).context("the cluster has one primary")?;
    let owners = cluster.owners().await;
    let mut slots = vec![slot_of(key)];
    slots.extend((0..SPREAD_KEYS).map(|number| slot_of(&format!("{COUNTER}:{number}"))));
    slots.retain(|slot| owners.get(slot).is_some_and(|owner| owner.address() == from.address()));
    slots.dedup();
    for slot in slots.into_iter().take(MOVING) {
        cluster.migrate_slot(slot, to).await?;
    }
    Ok(())
}
