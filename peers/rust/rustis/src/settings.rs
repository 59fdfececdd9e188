//! The two configurations.

use std::time::Duration;

use peer::protocol::Order;
use peer::target::{Target, Topology};
use rustis::client::{ClusterConfig, Config, Credentials, ReconnectionConfig, SentinelConfig, ServerConfig};

/// The time limit of a call in the best configuration.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// `limit`: how long a call may take in the best configuration; zero is no limit.
pub(crate) fn config(order: &Order, target: &Target, limit: Duration) -> Config {
    let mut config = Config::default();
    config.server = server(&target.topology);
    if let Some(credentials) = &target.credentials {
        config.username = Some(credentials.user.clone()).filter(|user| !user.is_empty());
        config.password = Some(credentials.password.clone());
    }
    if let Some(file) = order.password_file.clone() {
        // The documented way to a password that changes (docs.rs, `CredentialsProvider`).
        config.credentials_provider = Some(std::sync::Arc::new(move || {
            let password = std::fs::read_to_string(&file).unwrap_or_default();
            let credentials = Credentials { username: None, password: password.trim().to_owned() };
            async move { Ok(credentials) }
        }));
    }
    if order.is_fast() {
        // docs.rs, `Config::keep_alive`: said to detect half-open connections. No source names a value: this is the idle
        // time of romaine's `Liveness::fast()`. Interval and count cannot be set, nor TCP_USER_TIMEOUT.
        config.keep_alive = Some(Duration::from_secs(1));
        config.connect_timeout = Duration::from_secs(3);
        // docs.rs, `Config::command_timeout`: none by default. It holds for blocking commands too.
        config.command_timeout = limit;
        // docs.rs, `ReconnectionConfig`: for ever, 100 ms to 2 s.
        config.reconnection = ReconnectionConfig::new_exponential(0, 100, 2_000, 2);
        // docs.rs, `Config::retry_on_error`: advised against, because a call may be executed twice.
        config.retry_on_error = false;
    }
    config
}

fn server(topology: &Topology) -> ServerConfig {
    match topology.clone() {
        Topology::Standalone((host, port)) => ServerConfig::Standalone { host, port },
        Topology::Sentinel(instances, service_name) => {
            let mut sentinel = SentinelConfig::default();
            (sentinel.instances, sentinel.service_name) = (instances, service_name);
            ServerConfig::Sentinel(sentinel)
        }
        Topology::Cluster(nodes) => {
            let mut cluster = ClusterConfig::default();
            cluster.nodes = nodes;
            ServerConfig::Cluster(cluster)
        }
    }
}
