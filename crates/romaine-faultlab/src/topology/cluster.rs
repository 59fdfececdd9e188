//! A cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::cluster_builder::ClusterBuilder;
use super::migration::Migration;
use super::node_view::NodeView;
use super::replicated::wait_until_linked;
use super::{SETTLED_WITHIN, info_field, slot_of};
use crate::Server;
use crate::deadline::{look_again, within};

/// How `CLUSTER FAILOVER` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverKind {
    /// The primary stops writes, the replica catches up and takes over: nothing is lost.
    Manual,
    /// Without the primary's help, by the others' votes.
    Force,
    /// Without anybody's.
    Takeover,
}

/// A cluster of real nodes. Each is a [`Server`] that can be frozen, killed and restarted.
///
/// Nodes keep their places in [`Cluster::nodes`] whatever their roles become: the first ones began as primaries.
///
/// ```no_run
/// # async fn test() -> anyhow::Result<()> {
/// use romaine_faultlab::Cluster;
/// let cluster = Cluster::start().await?;
/// let primary = cluster.primary_of("key").await?;
/// // … connect a client to cluster.url() …
/// primary.kill();
/// let promoted = cluster.wait_for_new_primary("key", primary.address()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Arc<Server>>,
    password: Option<String>,
}

impl Cluster {
    /// Three primaries with a replica each, and a node timeout of two seconds.
    ///
    /// # Errors
    ///
    /// See [`ClusterBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Other than the defaults.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    pub(super) async fn new(nodes: Vec<Arc<Server>>, password: Option<String>) -> anyhow::Result<Self> {
        Ok(Self { nodes, password })
    }

    /// `redis-cluster://h:p,h:p,…`: all nodes, with the password, if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        let credentials = self.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("redis-cluster://{credentials}{}", addresses.join(","))
    }

    /// All nodes; the first ones began as primaries.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Server>] {
        &self.nodes
    }

    /// The node with that address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<Server>> {
        self.nodes.iter().find(|node| node.address() == address)
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    fn up(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.nodes.iter().filter(|node| node.is_up())
    }

    /// The name of a node in the cluster.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn id_of(&self, node: &Server) -> anyhow::Result<String> {
        Ok(node.command(&["CLUSTER", "MYID"]).await?.text())
    }

    /// What a node says of all nodes that it knows.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn view_of(&self, node: &Server) -> anyhow::Result<Vec<NodeView>> {
        Ok(NodeView::read_all(&node.command(&["CLUSTER", "NODES"]).await?.text()))
    }

    /// What each node that is up says of itself.
    async fn selves(&self) -> Vec<(Arc<Server>, NodeView)> {
        let mut selves = Vec::new();
        for node in self.up() {
            let Ok(view) = self.view_of(node).await else { continue };
            if let Some(own) = view.into_iter().find(|line| line.is("myself")) {
                selves.push((node.clone(), own));
            }
        }
        selves
    }

    /// The node that serves a slot: of those that are up and claim it, the one with the highest epoch; `None` when nobody
    /// does now.
    pub async fn node_of_slot(&self, slot: u16) -> Option<Arc<Server>> {
        let selves = self.selves().await;
        let claims = selves.into_iter().filter(|(_, own)| own.is("master") && own.has(slot));
        claims.max_by_key(|(_, own)| own.epoch).map(|(node, _)| node)
    }

    /// Who serves which slot now, of the nodes that are up. Of two that claim a slot the one with the higher epoch has it.
    pub async fn owners(&self) -> BTreeMap<u16, Arc<Server>> {
        let mut selves = self.selves().await;
        selves.retain(|(_, own)| own.is("master"));
        selves.sort_by_key(|(_, own)| own.epoch);
        let mut owners = BTreeMap::new();
        for (node, own) in selves {
            owners.extend(own.slots.into_iter().flatten().map(|slot| (slot, node.clone())));
        }
        owners
    }

    /// The primary of a key's slot.
    ///
    /// # Errors
    ///
    /// When no node that is up serves it.
    pub async fn primary_of(&self, key: &str) -> anyhow::Result<Arc<Server>> {
        self.node_of_slot(slot_of(key)).await.with_context(|| format!("no node serves the slot of {key}"))
    }

    /// All primaries with slots that are up.
    pub async fn primaries(&self) -> Vec<Arc<Server>> {
        let selves = self.selves().await;
        selves.into_iter().filter(|(_, own)| own.is("master") && !own.slots.is_empty()).map(|(node, _)| node).collect()
    }

    /// The replicas of a node that are up.
    ///
    /// # Errors
    ///
    /// When the node does not answer.
    pub async fn replicas_of(&self, primary: &Server) -> anyhow::Result<Vec<Arc<Server>>> {
        let id = self.id_of(primary).await?;
        let selves = self.selves().await;
        Ok(selves.into_iter().filter(|(_, own)| own.primary.as_ref() == Some(&id)).map(|(node, _)| node).collect())
    }

    /// A replica of a key's primary.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn replica_of(&self, key: &str) -> anyhow::Result<Arc<Server>> {
        let primary = self.primary_of(key).await?;
        let replicas = self.replicas_of(&primary).await?;
        replicas.first().cloned().with_context(|| format!("{primary:?} has no replica"))
    }

    /// Has a replica take its primary's place, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not happen.
    pub async fn failover(&self, replica: &Server, kind: FailoverKind) -> anyhow::Result<()> {
        let words: &[&str] = match kind {
            FailoverKind::Manual => &["CLUSTER", "FAILOVER"],
            FailoverKind::Force => &["CLUSTER", "FAILOVER", "FORCE"],
            FailoverKind::Takeover => &["CLUSTER", "FAILOVER", "TAKEOVER"],
        };
        replica.command(words).await?;
        let promoted = async {
            while !self.is_primary(replica).await {
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, "the replica's promotion", promoted).await.with_context(|| replica.log_tail())
    }

    async fn is_primary(&self, node: &Server) -> bool {
        let view = self.view_of(node).await.unwrap_or_default();
        view.iter().any(|line| line.is("myself") && line.is("master") && !line.slots.is_empty())
    }

    /// Waits until another node than `old` serves the key, by its own word.
    ///
    /// # Errors
    ///
    /// When that does not happen in time.
    pub async fn wait_for_new_primary(&self, key: &str, old: SocketAddr) -> anyhow::Result<Arc<Server>> {
        let looking = async {
            loop {
                if let Some(node) = self.node_of_slot(slot_of(key)).await.filter(|node| node.address() != old) {
                    return node;
                }
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, "a new primary", looking).await
    }

    /// Begins to move a slot: from now on its owner answers ASK for keys that it has no more, and TRYAGAIN for several of
    /// which only some are there. No key has moved yet: [`Migration`] does the rest, step by step.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub async fn begin_migration(&self, slot: u16, to: &Arc<Server>) -> anyhow::Result<Migration<'_>> {
        let from = self.node_of_slot(slot).await.with_context(|| format!("no node serves slot {slot}"))?;
        if from.address() == to.address() {
            bail!("slot {slot} is there already");
        }
        Migration::begin(self, slot, from, to.clone()).await
    }

    /// Moves a slot with its keys, as under load.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub async fn migrate_slot(&self, slot: u16, to: &Arc<Server>) -> anyhow::Result<()> {
        let migration = self.begin_migration(slot, to).await?;
        while migration.move_keys(100).await? > 0 {}
        migration.finish().await
    }

    /// Takes a node out: a primary with a replica hands over first. All others forget it, and it forgets everything; it
    /// stays in [`Cluster::nodes`], alive, and alone.
    ///
    /// # Errors
    ///
    /// When it is a primary without a replica, or a node refuses.
    pub async fn remove(&self, node: &Arc<Server>) -> anyhow::Result<()> {
        if self.is_primary(node).await {
            let replicas = self.replicas_of(node).await?;
            let replica = replicas.first().with_context(|| format!("{node:?} has slots and no replica"))?;
            self.failover(replica, FailoverKind::Manual).await?;
            // A replica of it would keep it alive in the others' minds, and it cannot be forgotten by its own replica.
            let new = self.id_of(replica).await?;
            for other in replicas.iter().skip(1) {
                other.command(&["CLUSTER", "REPLICATE", &new]).await?;
            }
            let is_demoted = async {
                while self.is_primary(node).await {
                    look_again().await;
                }
            };
            within(SETTLED_WITHIN, "the old primary's demotion", is_demoted).await?;
        }
        let id = self.id_of(node).await?;
        for other in self.up().filter(|other| other.address() != node.address()) {
            other.command(&["CLUSTER", "FORGET", &id]).await?;
        }
        node.command(&["CLUSTER", "RESET", "HARD"]).await?;
        Ok(())
    }

    /// Waits until all nodes that are up say that all is well, agree on who serves what, and their replicas are linked.
    ///
    /// # Errors
    ///
    /// When they do not agree in time.
    pub async fn wait_until_settled(&self) -> anyhow::Result<()> {
        let settled = async {
            while !self.is_settled().await.unwrap_or(false) {
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, "the cluster to settle", settled).await?;
        wait_until_linked(&self.nodes).await
    }

    async fn is_settled(&self) -> anyhow::Result<bool> {
        let mut agreed = None;
        for node in self.up() {
            let view = self.view_of(node).await?;
            if view.len() <= 1 && self.nodes.len() > 1 {
                // Taken out.
                continue;
            }
            let state = node.command(&["CLUSTER", "INFO"]).await?.text();
            if info_field(&state, "cluster_state") != Some("ok") {
                return Ok(false);
            }
            let slots: BTreeMap<_, _> = view
                .into_iter()
                .filter(|line| !line.slots.is_empty() || line.primary.is_some())
                .map(|line| {
                    (
                        line.id,
                        (
                            line.slots.iter().map(|range| (*range.start(), *range.end())).collect::<Vec<_>>(),
                            line.primary,
                        ),
                    )
                })
                .collect();
            if agreed.get_or_insert_with(|| slots.clone()) != &slots {
                return Ok(false);
            }
        }
        Ok(agreed.is_some())
    }

    /// Waits until the views of all nodes that are up are as they should be.
    pub(super) async fn wait_until(&self, what: &str, is_so: impl Fn(&[Vec<NodeView>]) -> bool) -> anyhow::Result<()> {
        let looking = async {
            loop {
                let mut views = Vec::new();
                for node in self.up() {
                    views.push(self.view_of(node).await.unwrap_or_default());
                }
                if is_so(&views) {
                    return;
                }
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, what, looking).await
    }
}
