//! The server's side of a scenario, as the lab sees it: where the loads' data is now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::line::Line;
use super::producer::Outlet;
use super::protocol::{COUNTER, JOBS, Load, NEWS, SPREAD_KEYS};
use crate::admin::USER;
use crate::deadline::within;
use crate::{Cluster, Replicated, Sentinels, Server, slot_of};

/// How often it is asked who the primary is now.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// For answers that come in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's side.
#[derive(Debug, Clone)]
pub(crate) enum Host {
    Real(Arc<Server>),
    Replicated(Arc<Replicated>),
    Sentinels(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Host {
    /// The node that serves a key now.
    async fn node_of(&self, key: &str) -> anyhow::Result<Arc<Server>> {
        match self {
            Self::Real(server) => Ok(server.clone()),
            Self::Replicated(nodes) => nodes.primary().await,
            Self::Sentinels(setup) => setup.primary().await,
            Self::Cluster(cluster) => cluster.primary_of(key).await,
        }
    }

    /// How many replicas a primary has at the beginning.
    pub(crate) fn replicas(&self) -> usize {
        match self {
            Self::Real(_) => 0,
            Self::Replicated(nodes) => nodes.nodes().len().saturating_sub(1),
            Self::Sentinels(setup) => setup.data().nodes().len().saturating_sub(1),
            // Those of the default: one each.
            Self::Cluster(_) => 1,
        }
    }

    /// What the calls of `loads` have counted up to.
    pub(crate) async fn counter(&self, loads: &[Load]) -> anyhow::Result<u64> {
        if !loads.iter().any(|load| load.counts()) {
            return Ok(0);
        }
        let mut keys = vec![COUNTER.to_owned()];
        if loads.contains(&Load::Spread) {
            keys.extend((0..SPREAD_KEYS).map(|number| format!("{COUNTER}:{number}")));
        }
        within(PATIENCE, "the counters", self.sum(&keys)).await?
    }

    async fn sum(&self, keys: &[String]) -> anyhow::Result<u64> {
        let mut sum = 0;
        for (node, keys) in self.by_node(keys).await? {
            let mut line = Line::connect(&node).await?;
            keys.iter().for_each(|key| line.put(&["GET", key]));
            line.send().await?;
            for _ in keys {
                sum += u64::try_from(line.answer().await?.as_int().unwrap_or(0)).unwrap_or(0);
            }
        }
        Ok(sum)
    }

    /// Which keys are where, by the nodes' sockets.
    async fn by_node<'a>(&self, keys: &'a [String]) -> anyhow::Result<BTreeMap<PathBuf, Vec<&'a String>>> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        match self {
            Self::Cluster(cluster) => {
                let owners = cluster.owners().await;
                for key in keys {
                    let node = owners.get(&slot_of(key)).with_context(|| format!("no node serves {key}"))?;
                    found.entry(node.unix_path()).or_default().push(key);
                }
            }
            Self::Real(_) | Self::Replicated(_) | Self::Sentinels(_) => {
                found.insert(self.node_of(COUNTER).await?.unix_path(), keys.iter().collect());
            }
        }
        Ok(found)
    }

    /// The client's connections, by the server's numbers for them; `None` where there are several servers.
    pub(crate) async fn connections(&self) -> anyhow::Result<Option<BTreeSet<u64>>> {
        let Self::Real(server) = self else { return Ok(None) };
        let list = server.command(&["CLIENT", "LIST"]).await?.text();
        let field = |line: &str, name: &str| {
            line.split_ascii_whitespace().find_map(|pair| Some(pair.strip_prefix(name)?.to_owned()))
        };
        let theirs = list.lines().filter(|line| field(line, "user=").as_deref() != Some(USER));
        Ok(Some(theirs.filter_map(|line| field(line, "id=")?.parse().ok()).collect()))
    }

    /// How many elements wait.
    pub(crate) async fn queued(&self) -> anyhow::Result<u64> {
        let length = self.node_of(JOBS).await?.command(&["LLEN", JOBS]).await?.as_int().unwrap_or(0);
        Ok(u64::try_from(length).unwrap_or(0))
    }

    /// Where elements and messages are produced. Where the primary may change, a task in `tasks` follows it.
    pub(crate) async fn outlet(&self, goes_to: &'static str, tasks: &mut JoinSet<()>) -> anyhow::Result<Outlet> {
        Ok(match self {
            Self::Real(server) => Outlet(watch::channel(server.unix_path()).1),
            Self::Replicated(_) | Self::Sentinels(_) | Self::Cluster(_) => {
                let (tell, path) = watch::channel(self.node_of(goes_to).await?.unix_path());
                tasks.spawn(follow(self.clone(), goes_to, tell));
                Outlet(path)
            }
        })
    }

    /// What has the elements, or else the messages.
    pub(crate) fn goes_to(loads: &[Load]) -> &'static str {
        if loads.contains(&Load::Blocked) { JOBS } else { NEWS }
    }
}

async fn follow(host: Host, key: &'static str, tell: watch::Sender<PathBuf>) {
    loop {
        if let Ok(node) = host.node_of(key).await {
            tell.send_if_modified(|path| {
                let changes = *path != node.unix_path();
                *path = node.unix_path();
                changes
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
