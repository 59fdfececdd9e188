//! A queue behind Sentinels and in a Cluster: the same tests for both.

use std::sync::Arc;

use romaine::{Backoff, Client, Config, Liveness};
use romaine_faultlab::{Cluster, FailoverKind, SentinelSetup, Sentinels, Server, ServerBuilder, slot_of};
use romaine_queue::Queue;

/// The one queue of these tests, and a key in its slot.
pub(crate) const QUEUE: &str = "test";
pub(crate) const KEY: &str = "rq:{test}:j";

/// Servers that fail over.
#[derive(Debug)]
pub(crate) enum Lab {
    Sentinel(Sentinels),
    Cluster(Cluster),
}

impl Lab {
    /// One replica: the one that confirms a job is the one that is promoted.
    pub(crate) async fn sentinel() -> Self {
        Self::Sentinel(SentinelSetup::new().replicas(1).start().await.unwrap())
    }

    pub(crate) async fn cluster() -> Self {
        Self::Cluster(Cluster::start().await.unwrap())
    }

    /// Both, of servers such as this.
    pub(crate) async fn both_of(server: &ServerBuilder) -> [Self; 2] {
        let sentinels = SentinelSetup::new().replicas(1).server(server.clone()).start().await.unwrap();
        let cluster = Cluster::builder().server(server.clone()).start().await.unwrap();
        [Self::Sentinel(sentinels), Self::Cluster(cluster)]
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sentinel(lab) => lab.url(),
            Self::Cluster(lab) => lab.url(),
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let config = Config::from_url(&self.url()).unwrap().liveness(Liveness::fast());
        Client::connect(config.backoff(Backoff::Constant { delay: std::time::Duration::from_millis(20) }))
            .await
            .unwrap()
    }

    pub(crate) async fn queue(&self) -> Queue {
        Queue::new(&self.client().await, QUEUE).unwrap()
    }

    /// The nodes with data.
    pub(crate) fn nodes(&self) -> &[Arc<Server>] {
        match self {
            Self::Sentinel(lab) => lab.data().nodes(),
            Self::Cluster(lab) => lab.nodes(),
        }
    }

    /// The primary that has the queue.
    pub(crate) async fn primary(&self) -> Arc<Server> {
        match self {
            Self::Sentinel(lab) => lab.primary().await.unwrap(),
            Self::Cluster(lab) => {
                let there = romaine_faultlab::eventually(crate::support::PATIENCE, "the queue's primary", async || {
                    lab.node_of_slot(slot_of(KEY)).await
                });
                there.await.unwrap()
            }
        }
    }

    async fn new_primary(&self, old: &Server) {
        match self {
            Self::Sentinel(lab) => lab.wait_for_new_primary(old.address()).await.unwrap(),
            Self::Cluster(lab) => lab.wait_for_new_primary(KEY, old.address()).await.unwrap(),
        };
    }

    /// A replica takes over from a primary that lives. Returns when all is well again, with the roles exchanged.
    pub(crate) async fn fail_over(&self) {
        let old = self.primary().await;
        match self {
            Self::Sentinel(lab) => lab.failover().await.unwrap(),
            Self::Cluster(lab) => {
                let replica = lab.replica_of(KEY).await.unwrap();
                lab.failover(&replica, FailoverKind::Manual).await.unwrap();
            }
        }
        self.new_primary(&old).await;
        self.settle().await;
    }

    /// The primary is killed; when a replica has its place it comes back, empty, as a replica.
    pub(crate) async fn lose_primary(&self) {
        let old = self.primary().await;
        old.kill();
        self.new_primary(&old).await;
        old.restart().await.unwrap();
        self.settle().await;
    }

    async fn settle(&self) {
        match self {
            Self::Sentinel(lab) => {
                romaine_faultlab::eventually(crate::support::PATIENCE, "one primary", async || {
                    lab.data().primaries().await.len() == 1
                })
                .await
                .unwrap();
                lab.data().wait_until_linked().await.unwrap();
                lab.wait_until_settled().await.unwrap();
            }
            Self::Cluster(lab) => lab.wait_until_settled().await.unwrap(),
        }
    }
}
