//! F14: a cluster that changes under the client.

use std::sync::Arc;

use super::cell::Lab;
use super::plan::Under;
use super::report::Outcome;
use super::trial::{Expect, Trial, Verdict};
use crate::scenario::change::move_slots;
use crate::scenario::host::Host;
use crate::scenario::protocol::NEWS;
use crate::{Cluster, FailoverKind};

/// F14.
pub(super) async fn changed(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let cluster = Arc::new(Cluster::start().await?);
    let mut order = lab.order(cluster.url());
    order.shard = lab.cell.under == Under::Subscribed;
    let stage = lab.stage_at(Host::Cluster(cluster.clone()), order).await?;
    let old = cluster.primary_of(NEWS).await?;
    let mut expect = Expect::new(Verdict::Any)
        .note("the fault is over when another node serves the slot by its own word, or when the moving is done");
    let trial = Trial::begin(stage, lab.settings).await?;
    match lab.cell.variant {
        "killed" => {
            expect.may_lose_writes = true;
            old.kill();
            cluster.wait_for_new_primary(NEWS, old.address()).await?;
        }
        "frozen" => {
            expect.may_lose_writes = true;
            old.freeze().await?;
            cluster.wait_for_new_primary(NEWS, old.address()).await?;
        }
        "manual failover" => {
            let replica = cluster.replica_of(NEWS).await?;
            cluster.failover(&replica, FailoverKind::Manual).await?;
        }
        "slots moving" => move_slots(&cluster, NEWS, &old).await?,
        _ => cluster.remove(&old).await?,
    }
    lab.log.say(&format!(
        "the slot of {NEWS} is at {}, and was at {}",
        cluster.primary_of(NEWS).await?.address(),
        old.address()
    ));
    let variant = lab.cell.variant;
    let behind = cluster.clone();
    let then = async move {
        match variant {
            "killed" => old.restart().await?,
            "frozen" => old.thaw()?,
            _ => return Ok(()),
        }
        // Else its counters would be read, too.
        behind.wait_until_settled().await
    };
    trial.healed_then(expect, then).await
}
