//! The two configurations, for each topology.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::BoxStream;
use peer::FETCH_LIMIT;
use peer::protocol::Order;
use peer::target::{Address, Credentials, Target, Topology};
use redis::aio::{AsyncPushSender, ConnectionManagerConfig};
use redis::auth::{BasicAuth, StreamingCredentialsProvider};
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::{TcpSettings, socket2};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisResult};

/// How long a call may take in the best configuration. (Default: 500 ms, docs.rs, `ConnectionManagerConfig`.)
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to come about in the best configuration.
pub(super) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// The library's own default.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Stands for "no limit" where the cluster's builder takes no `None`.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// How long a reply may take on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As the configuration has it.
    Call,
    /// For ever, in the best configuration: what blocks.
    Endless,
    /// [`FETCH_LIMIT`] in both. No call has a limit of its own here (docs.rs, `ConnectionManagerConfig`,
    /// `AsyncConnectionConfig`: it is the connection's).
    Fetch,
}

impl Patience {
    /// The limit, `None` where the configuration's default stays.
    const fn limit(self, is_fast: bool) -> Option<Option<Duration>> {
        match self {
            Self::Fetch => Some(Some(FETCH_LIMIT)),
            Self::Call if is_fast => Some(Some(RESPONSE_TIMEOUT)),
            Self::Endless if is_fast => Some(None),
            Self::Call | Self::Endless => None,
        }
    }
}

/// What all connections of one client are made of.
pub(super) struct Settings {
    pub(super) target: Target,
    is_fast: bool,
    pub(super) shard: bool,
    order: Order,
}

impl Settings {
    pub(super) fn new(order: &Order, target: &Target) -> Self {
        Self { target: target.clone(), is_fast: order.is_fast(), shard: order.shard, order: order.clone() }
    }

    pub(super) const fn is_fast(&self) -> bool {
        self.is_fast
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.target.topology, Topology::Cluster(_))
    }

    /// The time limit of a call on the connection of ordinary commands.
    pub(super) fn response_timeout(&self) -> Option<Duration> {
        match self.target.topology {
            Topology::Standalone(_) | Topology::Sentinel(..) if !self.is_fast => Some(DEFAULT_RESPONSE_TIMEOUT),
            // The cluster's connection sends again for longer than one response may take.
            Topology::Cluster(_) => None,
            Topology::Standalone(_) | Topology::Sentinel(..) => Some(RESPONSE_TIMEOUT),
        }
    }

    /// The server's address and how to greet it, with the password of this moment.
    pub(super) fn info(&self, (host, port): &Address, protocol: ProtocolVersion) -> RedisResult<ConnectionInfo> {
        let info = ConnectionAddr::Tcp(host.clone(), *port).into_connection_info()?;
        let mut redis = info.redis_settings().clone().set_protocol(protocol);
        if let Some(Credentials { user, password }) = &self.credentials_now() {
            redis = redis.set_password(password);
            if !user.is_empty() {
                redis = redis.set_username(user);
            }
        }
        let info = info.set_redis_settings(redis);
        Ok(if self.is_fast { info.set_tcp_settings(watchful()) } else { info })
    }

    /// What the connections for commands speak. The manager learns of a closed connection without a call's failing only
    /// by RESP3's pushes (docs.rs, `ConnectionManager`).
    pub(super) const fn protocol(&self) -> ProtocolVersion {
        if self.is_fast { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 }
    }

    pub(super) fn manager(&self, patience: Patience) -> ConnectionManagerConfig {
        let mut config = ConnectionManagerConfig::new();
        if self.is_fast {
            config = config
                // docs.rs, `ConnectionManagerConfig`: the default gives up after six attempts.
                .set_number_of_retries(1_000_000)
                .set_min_delay(Duration::from_millis(100))
                .set_max_delay(Duration::from_secs(2))
                .set_connection_timeout(Some(CONNECTION_TIMEOUT));
        }
        if let Some(limit) = patience.limit(self.is_fast) {
            // Issues 1924 and 2269: the limit holds for blocking commands too, so theirs has to be none.
            config = config.set_response_timeout(limit);
        }
        match &self.order.password_file {
            Some(file) => config.set_credentials_provider(PasswordFile(file.clone())),
            None => config,
        }
    }

    pub(super) fn single(&self, patience: Patience) -> AsyncConnectionConfig {
        let mut config = AsyncConnectionConfig::new();
        if self.is_fast {
            config = config.set_connection_timeout(Some(CONNECTION_TIMEOUT));
        }
        match patience.limit(self.is_fast) {
            Some(limit) => config.set_response_timeout(limit),
            None => config,
        }
    }

    pub(super) fn cluster(
        &self,
        nodes: &[Address],
        patience: Patience,
        pushes: Option<impl AsyncPushSender>,
    ) -> ClusterClientBuilder {
        let nodes = nodes.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
        let mut builder = ClusterClientBuilder::new(nodes);
        if let Some(Credentials { user, password }) = self.credentials_now() {
            builder = builder.password(password);
            if !user.is_empty() {
                builder = builder.username(user);
            }
        }
        if self.is_fast {
            builder = builder.connection_timeout(CONNECTION_TIMEOUT).tcp_settings(watchful());
        }
        if let Some(limit) = patience.limit(self.is_fast) {
            builder = builder.response_timeout(limit.unwrap_or(FOR_EVER));
        }
        if let Some(pushes) = pushes {
            // docs.rs, `ClusterClientBuilder::push_sender`: needs RESP3.
            builder = builder.use_protocol(ProtocolVersion::RESP3).push_sender(pushes);
        }
        builder
    }

    pub(super) fn sentinel(&self, sentinels: &[Address], name: &str) -> RedisResult<SentinelClient> {
        let sentinels = sentinels.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
        let mut builder = SentinelClientBuilder::new(sentinels, name, SentinelServerType::Master)?;
        if let Some(Credentials { user, password }) = self.credentials_now() {
            builder = builder.set_client_to_redis_password(password);
            if !user.is_empty() {
                builder = builder.set_client_to_redis_username(user);
            }
        }
        if self.is_fast {
            builder =
                builder.set_client_to_redis_tcp_settings(watchful()).set_client_to_sentinel_tcp_settings(watchful());
        }
        builder.build()
    }

    fn credentials_now(&self) -> Option<Credentials> {
        let from_file = self.order.password_now().map(|password| Credentials { user: String::new(), password });
        from_file.or_else(|| self.target.credentials.clone())
    }
}

/// docs.rs, `redis::io::tcp::TcpSettings`; issues 374 (keepalive against silent peers) and 1147 (the user time-out, for
/// what is sent and never acknowledged, which keepalive does not watch). No source names values: these are the kernel's part
/// of romaine's `Liveness::fast()`, so that nobody is slower by a choice of the lab's.
fn watchful() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1))
        .with_retries(1);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_millis(1_800))
}

/// The documented way to a password that changes (docs.rs, `redis::auth`). Asked for each connection.
struct PasswordFile(PathBuf);

impl StreamingCredentialsProvider for PasswordFile {
    fn subscribe(&self) -> BoxStream<'static, RedisResult<BasicAuth>> {
        let password = std::fs::read_to_string(&self.0).unwrap_or_default();
        let credentials = BasicAuth::new("default".into(), password.trim().into());
        Box::pin(futures_util::stream::iter([Ok(credentials)]))
    }
}
