//! Sentinels and what they watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::replicated::is_primary;
use super::{Replicated, SETTLED_WITHIN, SentinelSetup};
use crate::deadline::{look_again, within};
use crate::{FaultProxy, Port, Reply, Server};

/// A primary, its replicas and the Sentinels that fail it over. Each of them is a [`Server`] that can be frozen, killed
/// and restarted. Made by [`SentinelSetup`].
#[derive(Debug)]
pub struct Sentinels {
    pub(super) data: Replicated,
    pub(super) sentinels: Vec<Arc<Server>>,
    pub(super) blind: Option<Arc<Server>>,
    /// A proxy and the port of the Sentinel behind it, which stays claimed.
    pub(super) proxies: Vec<(Arc<FaultProxy>, Port)>,
    pub(super) name: String,
    pub(super) auth: Option<String>,
}

impl Sentinels {
    /// The defaults of [`SentinelSetup`].
    ///
    /// # Errors
    ///
    /// See [`SentinelSetup::start`].
    pub async fn start() -> anyhow::Result<Self> {
        SentinelSetup::new().start().await
    }

    /// `redis-sentinel://h:p,h:p,h:p/mymaster`, with what the Sentinels ask for; a blind one comes first.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<_> = self.addresses().iter().map(ToString::to_string).collect();
        self.url_of(&addresses)
    }

    /// The same with other addresses, for a client that is told something wrong.
    #[must_use]
    pub fn url_of(&self, addresses: &[String]) -> String {
        format!("redis-sentinel://{}{}/{}", self.auth.as_deref().unwrap_or_default(), addresses.join(","), self.name)
    }

    /// Where clients reach the Sentinels, a blind one first.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let blind = self.blind.iter().map(|blind| blind.address());
        let proxied = self.proxies.iter().map(|(proxy, _)| proxy.address());
        let direct = self.sentinels.iter().map(|sentinel| sentinel.address()).skip(self.proxies.len());
        blind.chain(proxied).chain(direct).collect()
    }

    /// The name of what is watched.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes with the data.
    #[must_use]
    pub const fn data(&self) -> &Replicated {
        &self.data
    }

    /// The Sentinels, without a blind one.
    #[must_use]
    pub fn sentinels(&self) -> &[Arc<Server>] {
        &self.sentinels
    }

    /// The proxies in front of the Sentinels, where there are any.
    pub fn proxies(&self) -> impl Iterator<Item = &Arc<FaultProxy>> {
        self.proxies.iter().map(|(proxy, _)| proxy)
    }

    /// The node that more than half of the Sentinels name, if there is one. It need not know of its luck yet.
    pub async fn named(&self) -> Option<Arc<Server>> {
        let mut votes = BTreeMap::<SocketAddr, usize>::new();
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_up()) {
            if let Some(address) = self.ask(sentinel).await {
                *votes.entry(address).or_default() += 1;
            }
        }
        let (address, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        if count * 2 <= self.sentinels.len() {
            return None;
        }
        self.data.at(address).cloned()
    }

    /// Whom one Sentinel names.
    pub async fn ask(&self, sentinel: &Server) -> Option<SocketAddr> {
        let reply = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name]).await.ok()?;
        let Reply::Array(parts) = reply else { return None };
        let [ip, port] = parts.as_slice() else { return None };
        format!("{}:{}", ip.text(), port.text()).parse().ok()
    }

    /// The primary: named by the majority and a primary by its own word; waited for.
    ///
    /// # Errors
    ///
    /// When there is none for too long.
    pub async fn primary(&self) -> anyhow::Result<Arc<Server>> {
        self.wait_for(|_| true, "a primary that the Sentinels agree on").await
    }

    /// The other data nodes.
    ///
    /// # Errors
    ///
    /// See [`Sentinels::primary`].
    pub async fn replicas(&self) -> anyhow::Result<Vec<Arc<Server>>> {
        let primary = self.primary().await?;
        Ok(self.data.nodes().iter().filter(|node| node.address() != primary.address()).cloned().collect())
    }

    /// Waits until the majority names another node than `old`, and that node says that it is the primary: the servers
    /// have finished their failover.
    ///
    /// # Errors
    ///
    /// When that does not happen in time; the error has the end of a Sentinel's log.
    pub async fn wait_for_new_primary(&self, old: SocketAddr) -> anyhow::Result<Arc<Server>> {
        self.wait_for(move |address| address != old, "a new primary").await
    }

    async fn wait_for(&self, is_it: impl Fn(SocketAddr) -> bool, what: &str) -> anyhow::Result<Arc<Server>> {
        let looking = async {
            loop {
                if let Some(node) = self.named().await
                    && is_it(node.address())
                    && node.is_up()
                    && is_primary(&node).await
                {
                    return node;
                }
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, what, looking).await.with_context(|| self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = self.sentinels.first().map(|sentinel| sentinel.log_tail()).unwrap_or_default();
        format!("the first Sentinel's log ends with\n{log}")
    }

    /// `SENTINEL FAILOVER`: a new primary is made and the old one, which lives, is demoted. Returns when a Sentinel has
    /// begun; [`Sentinels::wait_for_new_primary`] waits for the end.
    ///
    /// # Errors
    ///
    /// When no Sentinel begins: a replica fit for it may be missing.
    pub async fn failover(&self) -> anyhow::Result<()> {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_up()).context("no Sentinel is up")?;
        let begun = async {
            loop {
                let Err(error) = sentinel.command(&["SENTINEL", "FAILOVER", &self.name]).await else { return Ok(()) };
                // For a moment after a start or another failover.
                let text = format!("{error:#}");
                if !text.contains("INPROG") && !text.contains("NOGOODSLAVE") {
                    bail!(error);
                }
                look_again().await;
            }
        };
        within(SETTLED_WITHIN, "a Sentinel that can begin a failover", begun).await?
    }

    /// Closes every connection of clients to the Sentinels; those of the Sentinels among themselves live. Tells how many.
    ///
    /// # Errors
    ///
    /// When a Sentinel does not answer.
    pub async fn kill_clients(&self) -> anyhow::Result<usize> {
        let mut killed = 0;
        for sentinel in self.sentinels.iter().chain(&self.blind).filter(|sentinel| sentinel.is_up()) {
            let list = sentinel.command(&["CLIENT", "LIST"]).await?.text();
            for client in list.lines() {
                let field = |name| client.split(' ').find_map(|pair| pair.strip_prefix(name));
                let name = field("name=").unwrap_or_default();
                // The lab's own is gone already when it is listed.
                if name.starts_with("sentinel-") || name == crate::admin::USER {
                    continue;
                }
                let Some(id) = field("id=") else { continue };
                // It may have left by itself meanwhile.
                killed += usize::from(sentinel.command(&["CLIENT", "KILL", "ID", id]).await?.as_int() == Some(1));
            }
        }
        Ok(killed)
    }

    /// Waits until all Sentinels that are up know all data nodes and each other.
    ///
    /// # Errors
    ///
    /// When they do not find each other.
    pub async fn wait_until_settled(&self) -> anyhow::Result<()> {
        let settled = async {
            for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_up()) {
                while !self.is_settled(sentinel).await {
                    look_again().await;
                }
            }
        };
        within(SETTLED_WITHIN, "the Sentinels to find each other", settled).await.with_context(|| self.log_tail())
    }

    async fn is_settled(&self, sentinel: &Server) -> bool {
        let Ok(reply) = sentinel.command(&["SENTINEL", "MASTER", &self.name]).await else { return false };
        let text = reply.text();
        let words: Vec<_> = text.lines().collect();
        let field = |name| words.windows(2).find_map(|pair| (pair[0] == name).then_some(pair[1]));
        let counts = |name, count: usize| field(name).and_then(|text| text.parse().ok()) == Some(count);
        let knows = field("flags") == Some("master")
            && counts("num-slaves", self.data.nodes().len() - 1)
            && counts("num-other-sentinels", self.sentinels.len() - 1);
        knows && sentinel.command(&["SENTINEL", "CKQUORUM", &self.name]).await.is_ok()
    }
}
