//! A connection for commands, whatever the topology.

use peer::target::Topology;
use redis::aio::ConnectionManager;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, FromRedisValue, RedisResult};
use tokio::sync::mpsc;

use super::sentinel::SentinelWire;
use super::settings::{Patience, Settings};

/// No pushes are wanted.
pub(super) const NO_PUSHES: Option<mpsc::UnboundedSender<redis::PushInfo>> = None;

#[derive(Clone)]
pub(super) enum Wire {
    Manager(ConnectionManager),
    Cluster(ClusterConnection),
    Sentinel(SentinelWire),
}

impl Wire {
    pub(super) async fn connect(settings: &Settings, patience: Patience) -> RedisResult<Self> {
        Ok(match &settings.target.topology {
            Topology::Standalone(address) => {
                let client = Client::open(settings.info(address, settings.protocol())?)?;
                let config = settings.manager(patience);
                Self::Manager(client.get_connection_manager_with_config(config).await?)
            }
            Topology::Cluster(nodes) => {
                let client = settings.cluster(nodes, patience, NO_PUSHES).build()?;
                Self::Cluster(client.get_async_connection().await?)
            }
            Topology::Sentinel(sentinels, name) => {
                let client = settings.sentinel(sentinels, name)?;
                Self::Sentinel(SentinelWire::connect(client, settings.single(patience)).await?)
            }
        })
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Manager(manager) => command.query_async(&mut manager.clone()).await,
            Self::Cluster(cluster) => command.query_async(&mut cluster.clone()).await,
            Self::Sentinel(sentinel) => sentinel.query(command).await,
        }
    }
}
