//! How a set of Sentinels is configured.

use std::sync::Arc;
use std::time::Duration;

use super::sentinels::Sentinels;
use super::{Replicated, start_all};
use crate::{FaultProxy, Port, Server, ServerBuilder};

/// The user of a blind Sentinel at the data nodes: it may ping, and learns nothing.
const BLIND: &str = "blind";

/// A primary, its replicas and the Sentinels that watch them.
///
/// ```no_run
/// # async fn test() -> anyhow::Result<()> {
/// use romaine_faultlab::SentinelSetup;
/// let setup = SentinelSetup::new().start().await?;
/// let old = setup.primary().await?;
/// // … connect a client to setup.url() …
/// old.freeze().await?;
/// let new = setup.wait_for_new_primary(old.address()).await?;
/// // … the client writes to `new` …
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SentinelSetup {
    replicas: usize,
    sentinels: usize,
    name: String,
    quorum: Option<usize>,
    down_after: Duration,
    failover_timeout: Duration,
    server: ServerBuilder,
    sentinel: ServerBuilder,
    sentinel_user: Option<(String, String)>,
    has_proxies: bool,
    has_blind: bool,
}

impl Default for SentinelSetup {
    fn default() -> Self {
        Self::new()
    }
}

impl SentinelSetup {
    /// Two replicas and three Sentinels that notice in a second and vote by two.
    #[must_use]
    pub fn new() -> Self {
        Self {
            replicas: 2,
            sentinels: 3,
            name: "mymaster".into(),
            quorum: None,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(5),
            server: Server::builder(),
            sentinel: Server::builder(),
            sentinel_user: None,
            has_proxies: false,
            has_blind: false,
        }
    }

    /// How many replicas.
    #[must_use]
    pub const fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// How many Sentinels. They vote by the majority.
    #[must_use]
    pub const fn sentinels(mut self, sentinels: usize) -> Self {
        self.sentinels = sentinels;
        self
    }

    /// How many Sentinels have to miss the primary, if not the majority.
    #[must_use]
    pub const fn quorum(mut self, quorum: usize) -> Self {
        self.quorum = Some(quorum);
        self
    }

    /// Under which name the primary is watched, instead of `mymaster`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the primary is silent before a Sentinel misses it.
    #[must_use]
    pub const fn down_after(mut self, down_after: Duration) -> Self {
        self.down_after = down_after;
        self
    }

    /// How long a failover may take before it is tried again (twice this).
    #[must_use]
    pub const fn failover_timeout(mut self, failover_timeout: Duration) -> Self {
        self.failover_timeout = failover_timeout;
        self
    }

    /// What the data nodes are like. With a password the replicas and the Sentinels know it too.
    #[must_use]
    pub fn server(mut self, server: ServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// What the Sentinels are like: program, configuration lines. A password here is that of their default user.
    #[must_use]
    pub fn sentinel(mut self, sentinel: ServerBuilder) -> Self {
        self.sentinel = sentinel;
        self
    }

    /// The Sentinels ask for this user and password, which the URL then has; their default user is off.
    #[must_use]
    pub fn sentinel_auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.sentinel_user = Some((user.into(), password.into()));
        self
    }

    /// Puts a proxy in front of each Sentinel, which is also the address that it announces: all clients come through it,
    /// and so do the other Sentinels. A failover while all proxies are stalled has to be asked for
    /// ([`Sentinels::failover`]), because the Sentinels cannot vote; they learn of it through the data nodes.
    #[must_use]
    pub const fn behind_proxies(mut self) -> Self {
        self.has_proxies = true;
        self
    }

    /// One Sentinel more, first in the URL, that sees the data nodes answer and learns nothing: it names the first
    /// primary for ever, with an epoch of zero. No other Sentinel knows it.
    #[must_use]
    pub const fn with_blind_sentinel(mut self) -> Self {
        self.has_blind = true;
        self
    }

    /// Starts everything, and waits until the Sentinels know the replicas and each other.
    ///
    /// # Errors
    ///
    /// When a server does not start, or they do not find each other.
    pub async fn start(self) -> anyhow::Result<Sentinels> {
        let blind_user = format!("{BLIND} on >{BLIND} +ping +client +command");
        let data = Replicated::builder().replicas(self.replicas).server(self.server.clone().acl(blind_user));
        let data = data.start().await?;
        let mut proxies = Vec::new();
        let mut builders = Vec::new();
        for _ in 0..self.sentinels {
            let mut builder = self.watching(&data);
            if self.has_proxies {
                let port = Port::claim()?;
                let proxy = FaultProxy::start(port.address()).await?;
                builder = builder.port(port.number());
                builder = builder.config_line(format!("sentinel announce-ip {}", proxy.address().ip()));
                builder = builder.config_line(format!("sentinel announce-port {}", proxy.port()));
                proxies.push((Arc::new(proxy), port));
            }
            builders.push(builder);
        }
        let sentinels = start_all(builders).await?;
        let blind = match self.has_blind {
            true => Some(Arc::new(self.blind(&data).start().await?)),
            false => None,
        };
        let sentinels = Sentinels {
            data,
            sentinels,
            blind,
            proxies,
            name: self.name,
            auth: self.sentinel_user.map(|(user, password)| format!("{user}:{password}@")).or_else(|| {
                let password = self.sentinel.given_password()?;
                Some(format!(":{password}@"))
            }),
        };
        sentinels.wait_until_settled().await?;
        Ok(sentinels)
    }

    fn watching(&self, data: &Replicated) -> ServerBuilder {
        let name = &self.name;
        let mut builder = self.monitoring(data, self.quorum.unwrap_or(self.sentinels / 2 + 1));
        if let Some(password) = self.server.given_password() {
            builder = builder.config_line(format!("sentinel auth-pass {name} {password}"));
        }
        if let Some((user, password)) = &self.sentinel_user {
            // What Sentinels say to each other, they say as this user.
            builder = builder
                .acl(format!("{user} on >{password} ~* &* +@all"))
                .acl("default off")
                .config_line(format!("sentinel sentinel-user {user}"))
                .config_line(format!("sentinel sentinel-pass {password}"));
        } else if let Some(password) = self.sentinel.given_password() {
            builder = builder.config_line(format!("sentinel sentinel-pass {password}"));
        }
        builder
    }

    /// With a quorum that it never has: it must not act.
    fn blind(&self, data: &Replicated) -> ServerBuilder {
        let name = &self.name;
        self.monitoring(data, 100)
            .config_line(format!("sentinel auth-user {name} {BLIND}"))
            .config_line(format!("sentinel auth-pass {name} {BLIND}"))
    }

    fn monitoring(&self, data: &Replicated, quorum: usize) -> ServerBuilder {
        let name = &self.name;
        let primary = data.nodes().first().map(|node| node.address());
        let (ip, port) = primary.map_or_else(Default::default, |at| (at.ip().to_string(), at.port()));
        self.sentinel
            .clone()
            .sentinel()
            .config_line(format!("sentinel monitor {name} {ip} {port} {quorum}"))
            .config_line(format!("sentinel down-after-milliseconds {name} {}", self.down_after.as_millis()))
            .config_line(format!("sentinel failover-timeout {name} {}", self.failover_timeout.as_millis()))
            .config_line(format!("sentinel parallel-syncs {name} 10"))
    }
}
