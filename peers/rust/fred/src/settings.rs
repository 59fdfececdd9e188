//! The two configurations.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use fred::prelude::*;
use fred::types::RespVersion;
use fred::types::config::{CredentialProvider, UnresponsiveConfig};
use peer::FETCH_LIMIT;
use peer::protocol::Order;
use peer::target::{Address, Target, Topology};

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Commands,
    Blocking,
    Subscriptions,
    /// One call that may take long.
    Fetch,
}

/// The time limit of a call in the best configuration.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn builder(order: &Order, target: &Target, what_for: Use) -> Builder {
    let mut config = Config { server: server(&target.topology), ..Config::default() };
    if let Some(credentials) = &target.credentials {
        config.username = Some(credentials.user.clone()).filter(|user| !user.is_empty());
        config.password = Some(credentials.password.clone());
    }
    if let Some(file) = &order.password_file {
        config.credential_provider = Some(std::sync::Arc::new(PasswordFile(file.clone())));
    }
    if order.shard {
        // docs.rs, `Client::ssubscribe`: shard channels need RESP3.
        config.version = RespVersion::RESP3;
    }
    let mut builder = Builder::from_config(config);
    // The README's first example: these two, and no reconnection policy.
    builder.with_connection_config(|config| {
        config.connection_timeout = Duration::from_secs(5);
        config.tcp = TcpConfig { nodelay: Some(true), ..Default::default() };
        if !order.is_fast() {
            // What a build without the feature `custom-reconnect-errors` has, which is off by default.
            config.reconnect_errors = Vec::new();
        }
    });
    if order.is_fast() {
        best(&mut builder, what_for);
    }
    builder
}

fn best(builder: &mut Builder, what_for: Use) {
    // docs.rs, `ReconnectPolicy`: without one, a lost connection stays lost. For ever, 100 ms to 2 s.
    builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2));
    builder.with_connection_config(|config| {
        config.connection_timeout = Duration::from_secs(3);
        config.internal_command_timeout = Duration::from_secs(5);
        // docs.rs, `TcpConfig`; issue 307: a peer that vanishes without a word. No source names values: these are the
        // kernel's part of romaine's `Liveness::fast()`, so that nobody is slower by a choice of the lab's.
        config.tcp.keepalive = Some(
            socket2::TcpKeepalive::new()
                .with_time(Duration::from_secs(1))
                .with_interval(Duration::from_secs(1))
                .with_retries(1),
        );
        // docs.rs, feature `tcp-user-timeouts`.
        config.tcp.user_timeout = Some(Duration::from_millis(1_800));
        // docs.rs, `UnresponsiveConfig`: closes a connection on which a reply is overdue. The maintainer's answer to
        // issue 59 (stuck clients after a failover) names it and the time-outs here. It must not be shorter than what the
        // longest call may take.
        let longest = if what_for == Use::Fetch { FETCH_LIMIT } else { Duration::from_secs(10) };
        config.unresponsive = UnresponsiveConfig { max_timeout: Some(longest), interval: Duration::from_secs(2) };
        // docs.rs, `ConnectionConfig::reconnect_on_auth_error`.
        config.reconnect_on_auth_error = true;
    });
    builder.with_performance_config(|config| {
        if what_for == Use::Commands {
            config.default_command_timeout = CALL_TIMEOUT;
        }
        if what_for == Use::Subscriptions {
            // docs.rs, `PerformanceConfig`: a slow reader of the default 32 places misses what does not fit. The room is
            // taken at once, by each of several channels: a thousand clients would take all there is.
            config.broadcast_channel_capacity = 65_536;
        }
    });
}

fn server(topology: &Topology) -> ServerConfig {
    let pairs = |nodes: &[Address]| nodes.to_vec();
    match topology {
        Topology::Standalone((host, port)) => ServerConfig::new_centralized(host, *port),
        Topology::Sentinel(nodes, name) => ServerConfig::new_sentinel(pairs(nodes), name.as_str()),
        Topology::Cluster(nodes) => ServerConfig::new_clustered(pairs(nodes)),
    }
}

/// The documented way to a password that changes (docs.rs, feature `credential-provider`).
#[derive(Debug)]
struct PasswordFile(PathBuf);

#[async_trait]
impl CredentialProvider for PasswordFile {
    async fn fetch(
        &self,
        _server: Option<&fred::types::config::Server>,
    ) -> FredResult<(Option<String>, Option<String>)> {
        let password = std::fs::read_to_string(&self.0).unwrap_or_default();
        Ok((None, Some(password.trim().to_owned())))
    }
}
