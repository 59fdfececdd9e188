//! Every setting of a client, its default, and the reason for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use romaine_proto::{Backoff, ConnectionLimits, Liveness, Protocol, ReadFrom};

use crate::config_topology::{AddressMap, ReadWith, Topology};
use crate::credentials::{Credentials, CredentialsProvider, StaticCredentials};
use crate::error::{Error, Result};
use crate::tls::Tls;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address and a port. A name is resolved again on every attempt to connect.
    Tcp {
        /// The host.
        host: String,
        /// The port; 6379 in a URL without one.
        port: u16,
    },
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What calls do while there is no connection. Blocking commands wait by their own time-out, and subscriptions are
/// restored, in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// Wait in the bounded queue until the connection is back or their deadline passes. The default: most outages are
    /// shorter than a call's deadline.
    #[default]
    Wait,
    /// Fail at once with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and
    /// [`Delivery::NotSent`](crate::Delivery::NotSent). Of several servers one may be dialled with the first call for it;
    /// such calls wait until it is known whether that leads to a connection.
    Fail,
}

/// What happens when a subscriber does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Drop the oldest messages and say in the stream how many. The default.
    #[default]
    DropOldest,
    /// End the subscription; [`Subscription::ended_by`](crate::Subscription::ended_by) says why.
    Close,
}

/// The settings of a client. Start from [`Config::from_url`] or [`Config::new`], change what must be changed, and give
/// it to [`Client::connect`](crate::Client::connect).
///
/// ```
/// use romaine::{Config, Liveness};
/// use std::time::Duration;
///
/// let config = Config::from_url("redis://app:s3cret@localhost:6379/2")?
///     .liveness(Liveness::fast())
///     .timeout(Duration::from_secs(3));
/// # Ok::<(), romaine::Error>(())
/// ```
#[derive(Clone)]
pub struct Config {
    pub(crate) address: Address,
    pub(crate) tls: Option<Tls>,
    pub(crate) credentials: Option<Arc<dyn CredentialsProvider>>,
    pub(crate) database: u32,
    pub(crate) client_name: Option<String>,
    pub(crate) library_info: bool,
    pub(crate) protocol: Protocol,
    pub(crate) liveness: Liveness,
    pub(crate) backoff: Backoff,
    pub(crate) stable_after: Duration,
    pub(crate) resolve_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) offline: Offline,
    pub(crate) lazy: bool,
    pub(crate) limits: ConnectionLimits,
    pub(crate) blocking_connections_max: usize,
    pub(crate) blocking_idle_max: usize,
    pub(crate) subscription_backlog: usize,
    pub(crate) subscription_backlog_bytes: usize,
    pub(crate) subscription_overflow: Overflow,
    pub(crate) events_backlog: usize,
    pub(crate) topology: Topology,
    pub(crate) read_from: ReadFrom,
    pub(crate) read_with: Option<ReadWith>,
    pub(crate) refresh_every: Duration,
    pub(crate) redirects_max: u32,
    pub(crate) failover_hold: Duration,
    pub(crate) sentinel_hello: bool,
    pub(crate) address_map: Option<AddressMap>,
}

impl Config {
    /// Plain TCP to `host:port`, everything else default.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self::at(Address::Tcp { host: host.into(), port })
    }

    /// A Unix domain socket, everything else default.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::at(Address::Unix(path.into()))
    }

    /// Everything from a URL.
    ///
    /// `redis://[[user]:password@]host[:port][/database][?parameter=value&…]`, `rediss://` for TLS,
    /// `redis+unix://[[user]:password@]/path[?…]` (or `unix://`) for a Unix domain socket. User and password are
    /// percent-encoded. `redis-sentinel://[…@]host[:port],host…/name[/database]` for a primary that Sentinels watch
    /// (26379 is their usual port), `redis-cluster://[…@]host[:port],host…` for a Cluster,
    /// `redis://[…@]host,host…?role=discover` for a primary and its replicas without Sentinel; each with `rediss` for
    /// TLS. Parameters: `db`, `protocol` (`2`, `3`, `auto`), `client_name`, `timeout`, `connect_timeout`,
    /// `handshake_timeout` (durations such as `500ms`, `3s`, `2m`), `liveness` (`default`, `fast`, `frugal`, `off`),
    /// `offline` (`wait`, `fail`), `lazy` (`true`, `false`), and for TLS `ca` (path of a PEM file), `cert` and `key`
    /// (client certificate), `sni` (the name to verify). Where there are several nodes: `read_from` (`primary`,
    /// `primary-preferred`, `replica`, `replica-preferred`, `nearest`, `any`, `zone:NAME`), `refresh` (a duration),
    /// `sentinel_user` and `sentinel_password`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) that names the part at fault and the form expected, before any
    /// connection is tried.
    pub fn from_url(url: &str) -> Result<Self> {
        crate::url::parse(url)
    }

    pub(crate) fn at(address: Address) -> Self {
        Self {
            address,
            tls: None,
            credentials: None,
            database: 0,
            client_name: None,
            library_info: true,
            protocol: Protocol::Auto,
            liveness: Liveness::default(),
            backoff: Backoff::default(),
            stable_after: Duration::from_secs(5),
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            tls_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            timeout: Some(Duration::from_secs(10)),
            close_timeout: Duration::from_secs(2),
            offline: Offline::Wait,
            lazy: false,
            limits: ConnectionLimits::default(),
            blocking_connections_max: 10_000,
            blocking_idle_max: 16,
            subscription_backlog: 65_536,
            subscription_backlog_bytes: 64 * 1_024 * 1_024,
            subscription_overflow: Overflow::DropOldest,
            events_backlog: 1_024,
            topology: Topology::Single,
            read_from: ReadFrom::Primary,
            read_with: None,
            refresh_every: Duration::from_secs(30),
            redirects_max: 16,
            failover_hold: Duration::from_secs(3),
            sentinel_hello: true,
            address_map: None,
        }
    }

    /// Where the server is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// TLS. Default: none, or on by `rediss://`.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// A password for the default user. Default: none.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        self.credentials(StaticCredentials(Credentials::password(password)))
    }

    /// An ACL user (6.0 and later) and its password. Default: none.
    #[must_use]
    pub fn user(self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials(StaticCredentials(Credentials::user(username, password)))
    }

    /// Asked for user and password on every attempt to connect, so that rotated passwords and tokens are picked up.
    /// Default: none.
    #[must_use]
    pub fn credentials(mut self, provider: impl CredentialsProvider + 'static) -> Self {
        self.credentials = Some(Arc::new(provider));
        self
    }

    /// The database to SELECT, after every connect. Default 0.
    #[must_use]
    pub const fn database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }

    /// The connections' name in CLIENT LIST; printable ASCII without spaces. Default: none.
    ///
    /// # Errors
    /// When the server would refuse the name.
    pub fn client_name(mut self, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::config("client_name must be printable ASCII without spaces, for example web-17"));
        }
        self.client_name = Some(name);
        Ok(self)
    }

    /// Whether to tell the server our library name and version (CLIENT SETINFO, 7.2 and later). Default true: it helps
    /// whoever reads CLIENT LIST in an incident.
    #[must_use]
    pub const fn library_info(mut self, tell: bool) -> Self {
        self.library_info = tell;
        self
    }

    /// RESP2, RESP3, or RESP3 with a fall-back. Default: RESP3 with a fall-back.
    #[must_use]
    pub const fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How soon a dead peer is noticed. Default [`Liveness::default`]: 10 s.
    #[must_use]
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = liveness;
        self
    }

    /// The delay between attempts to reconnect. Default full jitter, 50 ms doubling to 1 s: a fleet comes back spread,
    /// and a server that is back is found within two seconds.
    ///
    /// A call that comes when no other waits cuts a delay of at most a second short, at most once a second and never the
    /// first after a connection. Longer delays are kept, whoever calls.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long a connection must have been usable, at most, before the back-off starts anew. Default 5 s. After short
    /// delays less is enough: ten times the longest since the back-off began, and half a second.
    #[must_use]
    pub const fn stable_after(mut self, period: Duration) -> Self {
        self.stable_after = period;
        self
    }

    /// Limit of name resolution, per attempt. Default 5 s.
    #[must_use]
    pub const fn resolve_timeout(mut self, limit: Duration) -> Self {
        self.resolve_timeout = limit;
        self
    }

    /// Limit of the TCP connect, per address. Default 2 s: two SYNs; a path that heals is found by the next attempt
    /// rather than by the kernel's third, four seconds later. Once connections to a server have come about in
    /// milliseconds, most further attempts get one second, this one and the greeting alike ([`Openings`](romaine_proto::Openings)),
    /// and an address that has not answered after a quarter of one is dialled a second time beside the first. Of several
    /// addresses each is given 250 ms before the next is dialled beside it ([`Dialling`](romaine_proto::Dialling)).
    #[must_use]
    pub const fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Limit of the TLS handshake. Default 5 s.
    #[must_use]
    pub const fn tls_timeout(mut self, limit: Duration) -> Self {
        self.tls_timeout = limit;
        self
    }

    /// Limit of HELLO, AUTH and SELECT together, and, before them, of the credentials provider. Default 5 s each.
    #[must_use]
    pub const fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// The deadline of every call, the time in the queue included; a call can have its own
    /// ([`Call::timeout`](crate::Call::timeout)). Default 10 s. Blocking commands have their own.
    #[must_use]
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// No deadline for calls: they end by a reply or by the death of their connection.
    #[must_use]
    pub const fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// How long [`Client::close`](crate::Client::close) waits for what is in flight. Default 2 s.
    #[must_use]
    pub const fn close_timeout(mut self, limit: Duration) -> Self {
        self.close_timeout = limit;
        self
    }

    /// What calls do while there is no connection. Blocking commands wait by their own time-out, and subscriptions are
    /// restored, in both cases. Default [`Offline::Wait`].
    #[must_use]
    pub const fn offline(mut self, offline: Offline) -> Self {
        self.offline = offline;
        self
    }

    /// Start disconnected: [`Client::connect`](crate::Client::connect) returns at once and the supervisor connects.
    /// Default: connect fails fast with a clear error.
    #[must_use]
    pub const fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// What one connection may hold: queued requests and bytes, requests in flight, size and depth of a reply. See
    /// [`ConnectionLimits`] for names and defaults.
    #[must_use]
    pub const fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Connections that blocking commands may use at the same time; further ones fail with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded). Default 10,000, the server's own `maxclients`.
    #[must_use]
    pub const fn blocking_connections_max(mut self, limit: usize) -> Self {
        self.blocking_connections_max = limit;
        self
    }

    /// Connections kept for the next blocking command. Default 16.
    #[must_use]
    pub const fn blocking_idle_max(mut self, limit: usize) -> Self {
        self.blocking_idle_max = limit;
        self
    }

    /// Messages that one subscription holds for an application that does not keep up. Default 65,536. The socket is
    /// read in any case, so that we never are the slow reader that fills the server's output buffer.
    #[must_use]
    pub const fn subscription_backlog(mut self, messages: usize, overflow: Overflow) -> Self {
        self.subscription_backlog = messages;
        self.subscription_overflow = overflow;
        self
    }

    /// Bytes of payload that one subscription holds for an application that does not keep up; what happens then is as for
    /// [`subscription_backlog`](Self::subscription_backlog). A single message is always held. Default 64 MiB.
    #[must_use]
    pub const fn subscription_backlog_bytes(mut self, bytes: usize) -> Self {
        self.subscription_backlog_bytes = bytes;
        self
    }

    /// Events that a slow listener may lag behind before it gets a marker that says how many it missed. Default 1,024.
    #[must_use]
    pub const fn events_backlog(mut self, events: usize) -> Self {
        self.events_backlog = events;
        self
    }

    /// Checks what can be checked before a connection.
    pub(crate) fn validate(&self) -> Result<()> {
        let zero = |name: &'static str| Err(Error::config(format!("{name} must not be 0")));
        if self.limits.queued_requests_max == 0 {
            return zero("queued_requests_max");
        }
        if self.limits.in_flight_max == 0 {
            return zero("in_flight_max");
        }
        if self.subscription_backlog == 0 {
            return zero("subscription_backlog");
        }
        if self.refresh_every.is_zero() {
            return zero("refresh_every");
        }
        if matches!(self.topology, Topology::Cluster { .. }) && self.database != 0 {
            return Err(Error::config("a Cluster has only the database 0"));
        }
        if self.connect_timeout.is_zero() || self.handshake_timeout.is_zero() {
            return zero("connect_timeout and handshake_timeout");
        }
        if let Some(tls) = &self.tls {
            if let Address::Unix(_) = self.address {
                return Err(Error::config(
                    "TLS over a Unix domain socket makes no sense: use redis+unix:// without TLS",
                ));
            }
            tls.validate(&self.address)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    /// Shows no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &format_args!("{}", self.address))
            .field("tls", &self.tls.is_some())
            .field("credentials", &self.credentials.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("client_name", &self.client_name)
            .field("protocol", &self.protocol)
            .field("liveness", &self.liveness)
            .field("backoff", &self.backoff)
            .field("timeout", &self.timeout)
            .field("offline", &self.offline)
            .field("limits", &self.limits)
            .field("topology", &self.topology)
            .field("read_from", &self.read_from)
            .field("address_map", &self.address_map)
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for Config {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::from_url(url)
    }
}

/// What [`Client::connect`](crate::Client::connect) takes: a URL or a [`Config`].
pub trait IntoConfig {
    /// The settings.
    ///
    /// # Errors
    /// When they cannot work; see [`Config::from_url`].
    fn into_config(self) -> Result<Config>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config> {
        Ok(self)
    }
}

impl IntoConfig for &str {
    fn into_config(self) -> Result<Config> {
        Config::from_url(self)
    }
}

impl IntoConfig for String {
    fn into_config(self) -> Result<Config> {
        Config::from_url(&self)
    }
}

impl IntoConfig for &String {
    fn into_config(self) -> Result<Config> {
        Config::from_url(self)
    }
}
