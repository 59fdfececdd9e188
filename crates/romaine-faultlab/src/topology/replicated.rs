//! A primary and its replicas.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use super::{SETTLED_WITHIN, info_field, start_all};
use crate::deadline::{look_again, within};
use crate::{Server, ServerBuilder};

/// How a [`Replicated`] is configured.
#[derive(Debug, Clone)]
pub struct ReplicatedBuilder {
    replicas: usize,
    server: ServerBuilder,
}

impl ReplicatedBuilder {
    /// How many replicas; one by default.
    #[must_use]
    pub const fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// What every node is like: its configuration lines, password, program. Its port, if it has one, is ignored.
    #[must_use]
    pub fn server(mut self, server: ServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// Starts them, and waits until the replicas follow the primary.
    ///
    /// # Errors
    ///
    /// When a server does not start, or a replica does not link.
    pub async fn start(self) -> anyhow::Result<Replicated> {
        // A full synchronisation at once, not after the five seconds in which further replicas might come.
        let mut server = self.server.clone().config_line("repl-diskless-sync-delay 0");
        if let Some(password) = self.server.given_password() {
            server = server.config_line(format!("masterauth \"{password}\""));
        }
        let primary = Arc::new(server.clone().start().await?);
        let follows = format!("replicaof {} {}", primary.address().ip(), primary.port());
        let replicas = start_all(vec![server.config_line(follows); self.replicas]).await?;
        let nodes = [vec![primary], replicas].concat();
        let replicated = Replicated { nodes };
        replicated.wait_until_linked().await?;
        Ok(replicated)
    }
}

/// A primary and its replicas. Each node is a [`Server`] that can be frozen, killed and restarted.
///
/// The nodes keep their places in [`Replicated::nodes`] whatever their roles become; who is primary is asked.
#[derive(Debug, Clone)]
pub struct Replicated {
    nodes: Vec<Arc<Server>>,
}

impl Replicated {
    /// One replica, the default configuration.
    #[must_use]
    pub fn builder() -> ReplicatedBuilder {
        ReplicatedBuilder { replicas: 1, server: Server::builder() }
    }

    /// Nodes that follow each other already; the first is the primary.
    #[must_use]
    pub const fn of(nodes: Vec<Arc<Server>>) -> Self {
        Self { nodes }
    }

    /// All nodes; the first began as the primary.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Server>] {
        &self.nodes
    }

    /// The node with that address.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Arc<Server>> {
        self.nodes.iter().find(|node| node.address() == address)
    }

    /// `redis://h:p,h:p?role=discover`: all nodes, the roles to be found out.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis://{}?role=discover", addresses.join(","))
    }

    /// The nodes that are up and say that they are primaries: one, unless a demotion or promotion is under way.
    pub async fn primaries(&self) -> Vec<Arc<Server>> {
        let mut primaries = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_up()) {
            if is_primary(node).await {
                primaries.push(node.clone());
            }
        }
        primaries
    }

    /// The primary, waited for until there is exactly one.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one, for too long.
    pub async fn primary(&self) -> anyhow::Result<Arc<Server>> {
        let looking = async {
            loop {
                if let [only] = self.primaries().await.as_slice() {
                    return only.clone();
                }
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, "exactly one primary", looking).await
    }

    /// The nodes that are not the primary, down ones included.
    ///
    /// # Errors
    ///
    /// See [`Replicated::primary`].
    pub async fn replicas(&self) -> anyhow::Result<Vec<Arc<Server>>> {
        let primary = self.primary().await?;
        Ok(self.nodes.iter().filter(|node| node.address() != primary.address()).cloned().collect())
    }

    /// Makes `new` the primary: promoted first, then the others that are up follow it. The old one goes on living as a
    /// replica, and answers writes with READONLY.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub async fn promote(&self, new: &Server) -> anyhow::Result<()> {
        new.command(&["REPLICAOF", "NO", "ONE"]).await?;
        let (ip, port) = (new.address().ip().to_string(), new.port().to_string());
        for node in self.nodes.iter().filter(|node| node.is_up() && node.address() != new.address()) {
            node.command(&["REPLICAOF", &ip, &port]).await?;
        }
        Ok(())
    }

    /// Waits until every replica that is up has its link, and its primary sends it what is written.
    ///
    /// # Errors
    ///
    /// Names the node that has none.
    pub async fn wait_until_linked(&self) -> anyhow::Result<()> {
        wait_until_linked(&self.nodes).await
    }
}

pub(super) async fn wait_until_linked(nodes: &[Arc<Server>]) -> anyhow::Result<()> {
    // A primary holds back what is written until a new replica has acknowledged the copy, and a replica says before that
    // that its link is up: so the replicas first, then what their primaries say of them.
    for role in ["slave", "master"] {
        for node in nodes.iter().filter(|node| node.is_up()) {
            let linked = async {
                while !is_settled(node, role).await {
                    look_again().await;
                }
            };
            within(SETTLED_WITHIN, "the replica's link to its primary", linked)
                .await
                .with_context(|| format!("{node:?}; its log ends with\n{}", node.log_tail()))?;
        }
    }
    Ok(())
}

pub(super) async fn is_primary(node: &Server) -> bool {
    let role = node.command(&["ROLE"]).await;
    role.is_ok_and(|role| role.text().lines().next() == Some("master"))
}

/// Not of that role, or else: a primary whose replicas are all online, a replica whose link is up.
async fn is_settled(node: &Server, role: &str) -> bool {
    let Ok(info) = node.command(&["INFO", "replication"]).await else { return false };
    let info = info.text();
    if info_field(&info, "role") != Some(role) {
        return true;
    }
    let replicas = info.lines().filter(|line| line.contains("state="));
    let mut waiting = replicas.filter(|line| !line.contains("state=online"));
    match role {
        "slave" => info_field(&info, "master_link_status") == Some("up"),
        _ => waiting.next().is_none(),
    }
}
