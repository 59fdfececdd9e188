//! Several servers that fail over, of either kind: for what must be the same behind Sentinels and in a cluster.

use std::sync::Arc;

use super::cluster::{Cluster, FailoverKind};
use super::sentinels::Sentinels;
use super::{SETTLED_WITHIN, SentinelSetup, slot_of};
use crate::deadline::{look_again, within};
use crate::{Server, ServerBuilder};

/// [`Sentinels`] or a [`Cluster`], with one replica for each primary: the one that confirms a write is the one that is
/// promoted.
#[derive(Debug)]
pub enum Deployment {
    /// A primary and a replica that Sentinels watch.
    Sentinels(Sentinels),
    /// Three primaries with a replica each.
    Cluster(Cluster),
}

impl Deployment {
    /// Behind three Sentinels, of data nodes such as this.
    ///
    /// # Errors
    ///
    /// See [`SentinelSetup::start`].
    pub async fn sentinels(server: ServerBuilder) -> anyhow::Result<Self> {
        Ok(Self::Sentinels(SentinelSetup::new().replicas(1).server(server).start().await?))
    }

    /// A cluster of nodes such as this.
    ///
    /// # Errors
    ///
    /// See [`ClusterBuilder::start`](crate::ClusterBuilder::start).
    pub async fn cluster(server: ServerBuilder) -> anyhow::Result<Self> {
        Ok(Self::Cluster(Cluster::builder().server(server).start().await?))
    }

    /// What a client is given.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Sentinels(lab) => lab.url(),
            Self::Cluster(lab) => lab.url(),
        }
    }

    /// The nodes with data.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Server>] {
        match self {
            Self::Sentinels(lab) => lab.data().nodes(),
            Self::Cluster(lab) => lab.nodes(),
        }
    }

    /// The primary that has a key, waited for.
    ///
    /// # Errors
    ///
    /// When there is none for too long.
    pub async fn primary_of(&self, key: &str) -> anyhow::Result<Arc<Server>> {
        match self {
            Self::Sentinels(lab) => lab.primary().await,
            Self::Cluster(lab) => {
                let looking = async {
                    loop {
                        if let Some(node) = lab.node_of_slot(slot_of(key)).await {
                            return node;
                        }
                        look_again().await;
                    }
                };
                within(SETTLED_WITHIN, "a primary", looking).await
            }
        }
    }

    /// A replica takes over from the primary that has `key`, and that lives on. Returns when all is well again, with the
    /// roles exchanged.
    ///
    /// # Errors
    ///
    /// When that does not happen in time.
    pub async fn fail_over(&self, key: &str) -> anyhow::Result<()> {
        let old = self.primary_of(key).await?;
        match self {
            Self::Sentinels(lab) => lab.failover().await?,
            Self::Cluster(lab) => lab.failover(&*lab.replica_of(key).await?, FailoverKind::Manual).await?,
        }
        self.replaced(key, &old).await
    }

    /// The primary that has `key` is killed; when a replica has its place it comes back, empty, as a replica.
    ///
    /// # Errors
    ///
    /// When that does not happen in time.
    pub async fn lose_primary(&self, key: &str) -> anyhow::Result<()> {
        let old = self.primary_of(key).await?;
        old.kill();
        match self {
            Self::Sentinels(lab) => lab.wait_for_new_primary(old.address()).await?,
            Self::Cluster(lab) => lab.wait_for_new_primary(key, old.address()).await?,
        };
        old.restart().await?;
        self.replaced(key, &old).await
    }

    /// Another node is the primary, the old one its replica, and all who decide about it agree.
    async fn replaced(&self, key: &str, old: &Server) -> anyhow::Result<()> {
        match self {
            Self::Sentinels(lab) => {
                lab.wait_for_new_primary(old.address()).await?;
                lab.data().primary().await?;
                lab.data().wait_until_linked().await?;
                lab.wait_until_settled().await
            }
            Self::Cluster(lab) => {
                lab.wait_for_new_primary(key, old.address()).await?;
                lab.wait_until_settled().await
            }
        }
    }
}
