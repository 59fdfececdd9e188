//! More than one server: replication, Sentinels, clusters.

mod cluster;
mod cluster_builder;
mod deployment;
mod migration;
mod node_view;
mod replicated;
mod sentinel_setup;
mod sentinels;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use cluster::{Cluster, FailoverKind};
pub use cluster_builder::ClusterBuilder;
pub use deployment::Deployment;
pub use migration::Migration;
pub use node_view::NodeView;
pub use replicated::{Replicated, ReplicatedBuilder};
pub use sentinel_setup::SentinelSetup;
pub use sentinels::Sentinels;
pub use slot::{SLOTS, slot_of};

use crate::{Server, ServerBuilder};

/// How long a topology may take to come up, or to come to rest after a change: seconds on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// Starts servers side by side; in the order of `builders`.
async fn start_all(builders: Vec<ServerBuilder>) -> anyhow::Result<Vec<Arc<Server>>> {
    let mut starting = JoinSet::new();
    for (index, builder) in builders.into_iter().enumerate() {
        starting.spawn(async move { (index, builder.start().await) });
    }
    let mut started = Vec::new();
    while let Some(outcome) = starting.join_next().await {
        let (index, server) = outcome?;
        started.push((index, Arc::new(server?)));
    }
    started.sort_by_key(|(index, _)| *index);
    Ok(started.into_iter().map(|(_, server)| server).collect())
}

/// A field such as `master_link_status:up` of an INFO text.
fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
