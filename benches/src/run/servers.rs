//! What a run measures against: one server, or a cluster.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{
    RunArgs, Transport,
    cluster::Cluster,
    server::{Role, Server},
};
use crate::address::Address;

/// The servers of a run. Stopped when dropped.
pub(super) enum Servers {
    /// One, with the data of the workloads.
    Alone(Server),
    /// A cluster, with the keys of the mixed GETs.
    Cluster(Cluster),
}

impl Servers {
    /// Starts what the run needs.
    pub(super) fn start(arguments: &RunArgs) -> Result<Self> {
        if arguments.cluster {
            Ok(Self::Cluster(Cluster::start(arguments.pin)?))
        } else {
            Ok(Self::Alone(Server::start(Role::Alone, arguments.pin)?))
        }
    }

    /// The address to reach them by.
    pub(super) fn address(&self, transport: Transport) -> Result<&Address> {
        match (self, transport) {
            (Self::Alone(server), Transport::Tcp) => Ok(server.tcp()),
            (Self::Alone(server), Transport::Unix) => Ok(server.unix()),
            (Self::Cluster(cluster), Transport::Cluster) => Ok(cluster.address()),
            _ => bail!("these servers cannot be reached by {}", transport.id()),
        }
    }

    /// The redis-benchmark of the same installation.
    pub(super) fn redis_benchmark(&self) -> Result<&Path> {
        Ok(self.any()?.redis_benchmark())
    }

    /// What they are.
    pub(super) fn description(&self) -> Result<String> {
        let version = self.any()?.version();
        Ok(match self {
            Self::Alone(_) => format!("redis-server {version}"),
            Self::Cluster(cluster) => format!("a cluster of {} redis-server {version}", cluster.nodes().len()),
        })
    }

    /// Puts right what a measurement that failed may have left: a frozen node.
    pub(super) fn recover(&self) -> Result<()> {
        match self {
            Self::Alone(_) => Ok(()),
            Self::Cluster(cluster) => cluster.thaw().context("thawing the cluster"),
        }
    }

    fn any(&self) -> Result<&Server> {
        match self {
            Self::Alone(server) => Ok(server),
            Self::Cluster(cluster) => cluster.nodes().first().context("a cluster without nodes"),
        }
    }
}
