//! How a cluster is configured and joined.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::cluster::Cluster;
use super::{SLOTS, start_all};
use crate::{Server, ServerBuilder};

/// The configuration of a [`Cluster`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    primaries: usize,
    replicas: usize,
    node_timeout: Duration,
    server: ServerBuilder,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self { primaries: 3, replicas: 1, node_timeout: Duration::from_secs(2), server: Server::builder() }
    }
}

impl ClusterBuilder {
    /// How many primaries; three by default.
    #[must_use]
    pub const fn primaries(mut self, primaries: usize) -> Self {
        self.primaries = primaries;
        self
    }

    /// How many replicas each primary has; one by default.
    #[must_use]
    pub const fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// How long a node is silent before the others miss it; two seconds by default.
    #[must_use]
    pub const fn node_timeout(mut self, node_timeout: Duration) -> Self {
        self.node_timeout = node_timeout;
        self
    }

    /// What every node is like: its configuration lines, password, program.
    #[must_use]
    pub fn server(mut self, server: ServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// Starts the nodes, joins them, gives every primary an equal share of the slots and its replicas, and waits until
    /// all nodes agree that all is well.
    ///
    /// # Errors
    ///
    /// When a server does not start or the cluster does not come together.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        if self.primaries == 0 {
            bail!("a cluster needs a primary");
        }
        let mut server = self.server.clone().cluster_node(self.node_timeout);
        server = server.config_line("repl-diskless-sync-delay 0");
        if let Some(password) = self.server.given_password() {
            server = server.config_line(format!("masterauth \"{password}\""));
        }
        let nodes = start_all(vec![server; self.primaries * (1 + self.replicas)]).await?;
        let cluster = Cluster::new(nodes, self.server.given_password().map(ToOwned::to_owned)).await?;
        self.join(&cluster).await.context("the cluster does not come together")?;
        Ok(cluster)
    }

    async fn join(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let nodes = cluster.nodes();
        let (primaries, replicas) = nodes.split_at(self.primaries.min(nodes.len()));
        // Epochs of their own from the beginning: nodes with equal ones first have to fight it out.
        for (index, node) in nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        }
        for (index, primary) in primaries.iter().enumerate() {
            let bound = |index: usize| usize::from(SLOTS) * index / self.primaries;
            let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
            primary.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
        }
        if let Some((first, others)) = nodes.split_first() {
            for node in others {
                meet(first, node).await?;
            }
        }
        cluster
            .wait_until("the nodes to know each other", |views| {
                views.iter().all(|view| view.len() == nodes.len() && view.iter().all(|node| !node.is("handshake")))
            })
            .await?;
        for (index, replica) in replicas.iter().enumerate() {
            let primary = primaries.get(index % self.primaries).context("no primary")?;
            follow(cluster, replica, primary).await?;
        }
        cluster.wait_until_settled().await
    }
}

async fn meet(one: &Server, other: &Server) -> anyhow::Result<()> {
    let (ip, port) = (other.address().ip().to_string(), other.port().to_string());
    let bus = other.bus_port().context("not a node of a cluster")?.to_string();
    one.command(&["CLUSTER", "MEET", &ip, &port, &bus]).await?;
    Ok(())
}

async fn follow(cluster: &Cluster, replica: &Arc<Server>, primary: &Arc<Server>) -> anyhow::Result<()> {
    let id = cluster.id_of(primary).await?;
    replica.command(&["CLUSTER", "REPLICATE", &id]).await?;
    Ok(())
}
