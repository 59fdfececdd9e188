//! Settings of clients with several servers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use romaine_proto::{Candidate, NodeAddress, ReadFrom};

use crate::config::Config;
use crate::credentials::{Credentials, CredentialsProvider, StaticCredentials};
use crate::error::{Delivery, Error, ErrorKind, Result};

/// How the servers of a client belong together.
#[derive(Clone, Default)]
#[non_exhaustive]
pub(crate) enum Topology {
    /// One server.
    #[default]
    Single,
    /// A primary and its replicas, of which Sentinels say who is the primary.
    Sentinel {
        sentinels: Vec<NodeAddress>,
        name: String,
        /// Theirs; the data nodes have others.
        credentials: Option<Arc<dyn CredentialsProvider>>,
    },
    /// A primary and its replicas, which say themselves what they are.
    Discover { hosts: Vec<NodeAddress> },
    /// A Cluster; any node leads to the others.
    Cluster { seeds: Vec<NodeAddress> },
}

/// The user's own choice of whom to read from.
#[derive(Clone)]
pub(crate) struct ReadWith(pub(crate) Arc<Choose>);

type Choose = dyn Fn(&[Candidate]) -> Option<usize> + Send + Sync;

impl fmt::Debug for ReadWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadWith")
    }
}

/// Where to dial what is known by another address.
#[derive(Clone)]
pub(crate) struct AddressMap(Arc<Translate>);

/// A host and a port to another host and port; `None`: as they are.
type Translate = dyn Fn(&str, u16) -> Option<(String, u16)> + Send + Sync;

impl AddressMap {
    /// `None`: as it is.
    pub(crate) fn dialled(&self, address: &NodeAddress) -> Result<Option<NodeAddress>> {
        let asked = crate::panics::catch_call(|| (self.0)(address.host(), address.port()));
        // It is the user's; what it breaks must not be the task that connects.
        let answer = asked.map_err(|()| Error::new(ErrorKind::Config, Delivery::NotSent, "the address_map panicked"));
        Ok(answer?.map(|(host, port)| NodeAddress::new(host, port)))
    }
}

impl fmt::Debug for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressMap")
    }
}

impl fmt::Debug for Topology {
    /// Shows no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("Single"),
            Self::Sentinel { sentinels, name, .. } => write!(f, "Sentinel({name}, {} Sentinels)", sentinels.len()),
            Self::Discover { hosts } => write!(f, "Discover({} hosts)", hosts.len()),
            Self::Cluster { seeds } => write!(f, "Cluster({} seeds)", seeds.len()),
        }
    }
}

impl Config {
    /// The primary that Sentinels know as `name`; everything else default. Each Sentinel is a host and a port (26379 is
    /// usual); others are learned from them.
    ///
    /// # Errors
    /// When there is no Sentinel or no name.
    pub fn sentinel(
        sentinels: impl IntoIterator<Item = (impl Into<String>, u16)>,
        name: impl Into<String>,
    ) -> Result<Self> {
        let sentinels = addresses(sentinels)?;
        let name = name.into();
        if name.is_empty() {
            return Err(Error::config("the primary's name is missing; it is the one in sentinel.conf, often mymaster"));
        }
        let mut config = Self::of_first(&sentinels);
        config.topology = Topology::Sentinel { sentinels, name, credentials: None };
        Ok(config)
    }

    /// A Cluster; any of its nodes will do, several survive the loss of one. Everything else default.
    ///
    /// # Errors
    /// When there is no node.
    pub fn cluster(nodes: impl IntoIterator<Item = (impl Into<String>, u16)>) -> Result<Self> {
        let seeds = addresses(nodes)?;
        let mut config = Self::of_first(&seeds);
        config.topology = Topology::Cluster { seeds };
        Ok(config)
    }

    /// A primary and its replicas without Sentinel, all of them named: who is the primary is asked, again and again.
    /// Everything else default.
    ///
    /// # Errors
    /// When there is no host.
    pub fn discover(hosts: impl IntoIterator<Item = (impl Into<String>, u16)>) -> Result<Self> {
        let hosts = addresses(hosts)?;
        let mut config = Self::of_first(&hosts);
        config.topology = Topology::Discover { hosts };
        Ok(config)
    }

    fn of_first(addresses: &[NodeAddress]) -> Self {
        let (host, port) = addresses.first().map_or(("", 0), |first| (first.host(), first.port()));
        Self::new(host, port)
    }

    /// The Sentinels' own user and password, apart from the data nodes'. Default: none. An empty user is the default
    /// user.
    ///
    /// # Errors
    /// When the topology has no Sentinels.
    pub fn sentinel_user(self, username: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let username = username.into();
        let of_sentinels = match username.as_str() {
            "" => Credentials::password(password),
            _ => Credentials::user(username, password),
        };
        self.sentinel_credentials(StaticCredentials(of_sentinels))
    }

    /// As [`credentials`](Self::credentials), for the Sentinels.
    ///
    /// # Errors
    /// When the topology has no Sentinels.
    pub fn sentinel_credentials(mut self, provider: impl CredentialsProvider + 'static) -> Result<Self> {
        match &mut self.topology {
            Topology::Sentinel { credentials, .. } => {
                *credentials = Some(Arc::new(provider));
                Ok(self)
            }
            _ => Err(Error::config("only redis-sentinel:// has Sentinels with credentials of their own")),
        }
    }

    /// Which node commands that only read go to, where there are replicas. Default: the primary. Replicas lag behind:
    /// what was just written may not be there yet.
    #[must_use]
    pub fn read_from(mut self, nodes: ReadFrom) -> Self {
        self.read_from = nodes;
        self
    }

    /// Chooses the node for each command that only reads, instead of [`read_from`](Self::read_from): the place of one of
    /// the candidates (the shard's primary first), or `None` where none will do, which the call then waits for. Called on
    /// the caller's own thread for every such command: it must be quick.
    #[must_use]
    pub fn read_with(mut self, choose: impl Fn(&[Candidate]) -> Option<usize> + Send + Sync + 'static) -> Self {
        self.read_with = Some(ReadWith(Arc::new(choose)));
        self
    }

    /// Where to dial servers whose addresses do not lead to them from here (NAT, forwarded ports, Docker, Kubernetes seen
    /// from outside): pairs of what a server is known by and what is dialled instead, both `host:port`. Whatever is not
    /// among them is dialled as it is. Default: nothing is mapped.
    ///
    /// It holds for every connection: Cluster nodes, redirects, Sentinels, the primaries and replicas that they announce,
    /// and the URL's own hosts. Events, errors, [`nodes`](crate::Client::nodes) and [`on`](crate::Client::on) go on
    /// naming a server by what it announces, and over TLS its certificate must bear that name too
    /// ([`Tls::server_name`](crate::Tls::server_name) asks for another one).
    ///
    /// ```
    /// # use romaine::Config;
    /// let config = Config::from_url("redis-cluster://localhost:7001")?.address_map([
    ///     ("172.18.0.2:6379", "localhost:7001"),
    ///     ("172.18.0.3:6379", "localhost:7002"),
    /// ])?;
    /// # Ok::<(), romaine::Error>(())
    /// ```
    ///
    /// # Errors
    /// When one of them is no `host:port`.
    pub fn address_map(self, map: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) -> Result<Self> {
        let mut table = HashMap::new();
        for (announced, dialled) in map {
            let to = address(dialled.as_ref())?;
            table.insert(address(announced.as_ref())?, (to.host().to_owned(), to.port()));
        }
        Ok(self.address_map_with(move |host, port| table.get(&NodeAddress::new(host, port)).cloned()))
    }

    /// As [`address_map`](Self::address_map), by a function of host and port: what to dial instead, or `None` for what
    /// is dialled as it is. Called before every attempt to connect, and whenever the topology is asked for, to tell one
    /// server by two names from two servers: it must be quick, and what it says may change.
    #[must_use]
    pub fn address_map_with(
        mut self,
        map: impl Fn(&str, u16) -> Option<(String, u16)> + Send + Sync + 'static,
    ) -> Self {
        self.address_map = Some(AddressMap(Arc::new(map)));
        self
    }

    /// What is dialled for `address`; `None`: itself.
    pub(crate) fn dialled(&self, address: &NodeAddress) -> Result<Option<NodeAddress>> {
        self.address_map.as_ref().map_or(Ok(None), |map| map.dialled(address))
    }

    /// How often the topology is asked for without a reason, give or take a quarter. Default 30 s. With a reason (a
    /// redirect, READONLY, silence, a lost connection, a Sentinel's event) it is asked for at once.
    #[must_use]
    pub const fn refresh_every(mut self, period: Duration) -> Self {
        self.refresh_every = period;
        self
    }

    /// Redirects that one call follows before the server's MOVED or ASK is its error. Default 16.
    #[must_use]
    pub const fn redirects_max(mut self, redirects: u32) -> Self {
        self.redirects_max = redirects;
        self
    }

    /// How long commands are held back while a Sentinel failover is about to give the role to a replica: what the old
    /// primary acknowledged in that time would be lost. Default 3 s at most; 0 holds nothing.
    #[must_use]
    pub const fn failover_hold(mut self, limit: Duration) -> Self {
        self.failover_hold = limit;
        self
    }

    /// Whether to listen on the primary's channel `__sentinel__:hello`, where Sentinels tell each other who is the
    /// primary: so a failover is noticed at once even while no Sentinel can be reached. One connection more to the
    /// primary, and a message or two a second; a user who may not read the channel goes without. Default: yes.
    #[must_use]
    pub const fn sentinel_hello(mut self, listen: bool) -> Self {
        self.sentinel_hello = listen;
        self
    }
}

fn addresses(hosts: impl IntoIterator<Item = (impl Into<String>, u16)>) -> Result<Vec<NodeAddress>> {
    let addresses: Vec<_> = hosts.into_iter().map(|(host, port)| NodeAddress::new(host.into(), port)).collect();
    if addresses.is_empty() { Err(Error::config("no host was given")) } else { Ok(addresses) }
}

fn address(text: &str) -> Result<NodeAddress> {
    match text.parse::<NodeAddress>() {
        Ok(address) if address.port() > 0 => Ok(address),
        _ => Err(Error::config(format!(
            "{text:?} in address_map is no address; expected host:port, as in localhost:7001"
        ))),
    }
}
