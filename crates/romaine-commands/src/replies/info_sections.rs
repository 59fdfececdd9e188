//! The common sections of `INFO`, typed.
//!
//! Every field is an option: versions, forks and build options decide what a server sends.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::info::{Info, InfoSection};

/// A field in the server's spelling: `0` and `1` for truth values.
trait Field: Sized {
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! parsed_fields {
    ($($type:ty)*) => {$(impl Field for $type { fn parse(text: &str) -> Option<Self> { Self::from_str(text).ok() } })*};
}

parsed_fields! { String i64 u16 u64 f64 }

impl Field for bool {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "1" | "yes" | "ok" | "up" => Some(true),
            "0" | "no" | "err" | "down" => Some(false),
            _ => None,
        }
    }
}

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident = $method:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
        }

        impl $name {
            fn read(section: InfoSection<'_>) -> Self {
                Self { $($field: section.get(stringify!($field)).and_then(Field::parse),)* }
            }
        }

        impl Info {
            $(#[$doc])*
            #[must_use]
            pub fn $method(&self) -> Option<$name> {
                self.section(stringify!($method)).map($name::read)
            }
        }
    )*};
}

sections! {
    /// The section `Server`.
    InfoServer = server {
        /// The version Redis calls itself, and Valkey pretends to be.
        redis_version: String,
        /// The version of a Valkey server.
        valkey_version: String,
        /// `valkey` on a Valkey server.
        server_name: String,
        /// `standalone`, `sentinel` or `cluster`.
        redis_mode: String,
        /// The operating system.
        os: String,
        /// The process.
        process_id: i64,
        /// Changes with every start of the process.
        run_id: String,
        /// The port it listens on.
        tcp_port: u16,
        /// Seconds since it started.
        uptime_in_seconds: i64,
        /// Times per second it looks after its own affairs.
        hz: i64,
        /// The configuration file, or nothing.
        config_file: String,
    }
    /// The section `Clients`.
    InfoClients = clients {
        /// Connections, without replicas.
        connected_clients: i64,
        /// The limit of connections.
        maxclients: i64,
        /// Connections waiting in a blocking command.
        blocked_clients: i64,
        /// Connections with tracking on.
        tracking_clients: i64,
        /// Connections subscribed to something.
        pubsub_clients: i64,
        /// Connections that watch keys.
        watching_clients: i64,
        /// The largest request buffer.
        client_recent_max_input_buffer: i64,
        /// The largest reply buffer.
        client_recent_max_output_buffer: i64,
    }
    /// The section `Memory`.
    InfoMemory = memory {
        /// Bytes allocated.
        used_memory: i64,
        /// Bytes as the operating system counts them.
        used_memory_rss: i64,
        /// The most bytes ever allocated.
        used_memory_peak: i64,
        /// Bytes of the data itself.
        used_memory_dataset: i64,
        /// Bytes of the machine.
        total_system_memory: i64,
        /// The limit in bytes; 0 for none.
        maxmemory: i64,
        /// What happens at the limit.
        maxmemory_policy: String,
        /// Resident over allocated.
        mem_fragmentation_ratio: f64,
        /// Bytes of clients' buffers.
        mem_clients_normal: i64,
        /// Bytes of replicas' buffers.
        mem_clients_slaves: i64,
    }
    /// The section `Persistence`.
    InfoPersistence = persistence {
        /// Whether a dump is being loaded.
        loading: bool,
        /// Changes since the last save.
        rdb_changes_since_last_save: i64,
        /// Whether a save runs.
        rdb_bgsave_in_progress: bool,
        /// When the last save succeeded, as a Unix time.
        rdb_last_save_time: i64,
        /// Whether the last save succeeded.
        rdb_last_bgsave_status: bool,
        /// Whether the append-only file is on.
        aof_enabled: bool,
        /// Whether it is being rewritten.
        aof_rewrite_in_progress: bool,
        /// Whether the last rewrite succeeded.
        aof_last_bgrewrite_status: bool,
        /// Whether the last write to it succeeded.
        aof_last_write_status: bool,
    }
    /// The section `Stats`.
    InfoStats = stats {
        /// Connections ever accepted.
        total_connections_received: i64,
        /// Commands ever executed.
        total_commands_processed: i64,
        /// Commands per second now.
        instantaneous_ops_per_sec: i64,
        /// Bytes ever read.
        total_net_input_bytes: i64,
        /// Bytes ever written.
        total_net_output_bytes: i64,
        /// Connections refused for the limit.
        rejected_connections: i64,
        /// Keys that expired.
        expired_keys: i64,
        /// Keys evicted for the memory limit.
        evicted_keys: i64,
        /// Lookups that found a key.
        keyspace_hits: i64,
        /// Lookups that found none.
        keyspace_misses: i64,
        /// Full resynchronisations with replicas.
        sync_full: i64,
        /// Partial ones.
        sync_partial_ok: i64,
        /// Partial ones that were refused.
        sync_partial_err: i64,
        /// Error replies ever sent.
        total_error_replies: i64,
        /// Microseconds of the last fork.
        latest_fork_usec: i64,
        /// Channels with subscribers.
        pubsub_channels: i64,
        /// Patterns with subscribers.
        pubsub_patterns: i64,
    }
    /// The section `CPU`.
    InfoCpu = cpu {
        /// Seconds of the process in the kernel.
        used_cpu_sys: f64,
        /// Seconds of the process.
        used_cpu_user: f64,
        /// Seconds of its children in the kernel.
        used_cpu_sys_children: f64,
        /// Seconds of its children.
        used_cpu_user_children: f64,
    }
}

/// The section `Replication`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct InfoReplication {
    /// Whether the server is a primary (`role:master`).
    pub is_primary: bool,
    /// On a replica: the primary's host.
    pub primary_host: Option<String>,
    /// On a replica: the primary's port.
    pub primary_port: Option<u16>,
    /// On a replica: whether the link to the primary is up.
    pub is_primary_link_up: Option<bool>,
    /// On a replica: seconds since the primary was last heard.
    pub primary_last_io_seconds_ago: Option<i64>,
    /// On a replica: whether a resynchronisation runs.
    pub is_primary_sync_in_progress: Option<bool>,
    /// On a replica: how much it has read of the stream.
    pub replica_offset: Option<i64>,
    /// How many replicas are connected.
    pub connected_replicas: i64,
    /// The connected replicas.
    pub replicas: Vec<InfoReplica>,
    /// The id of the history.
    pub replication_id: Option<String>,
    /// The position in that history.
    pub offset: Option<i64>,
    /// `no-failover`, or how far a coordinated failover is.
    pub failover_state: Option<String>,
}

/// A replica as its primary sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InfoReplica {
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: u16,
    /// `online`, or how far the synchronisation is.
    pub state: String,
    /// How much it has acknowledged.
    pub offset: i64,
    /// Seconds since it last acknowledged.
    pub lag: i64,
}

/// A line of the section `Keyspace`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InfoKeyspace {
    /// Keys.
    pub keys: i64,
    /// Keys with an expiry.
    pub expires: i64,
    /// Milliseconds these have left on average.
    pub avg_ttl: i64,
}

/// A line of the section `Commandstats`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct InfoCommand {
    /// Executions.
    pub calls: i64,
    /// Microseconds they took together.
    pub usec: i64,
    /// Microseconds each took on average.
    pub usec_per_call: f64,
    /// Calls refused before execution.
    pub rejected_calls: i64,
    /// Executions that failed.
    pub failed_calls: i64,
}

/// `name=value` in a list with commas.
fn part<T: Field + Default>(line: &str, name: &str) -> T {
    line.split(',')
        .find_map(|part| part.split_once('=').filter(|(have, _)| *have == name))
        .and_then(|(_, value)| T::parse(value))
        .unwrap_or_default()
}

impl Info {
    /// The section `Replication`.
    #[must_use]
    pub fn replication(&self) -> Option<InfoReplication> {
        let section = self.section("replication")?;
        let replica = |line: &str| InfoReplica {
            ip: part(line, "ip"),
            port: part(line, "port"),
            state: part(line, "state"),
            offset: part(line, "offset"),
            lag: part(line, "lag"),
        };
        let replicas = section
            .fields()
            .filter(|(name, value)| {
                let digits = name.strip_prefix("slave").unwrap_or_default();
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && value.contains('=')
            })
            .map(|(_, line)| replica(line))
            .collect();
        Some(InfoReplication {
            is_primary: section.get("role") == Some("master"),
            primary_host: section.get("master_host").map(str::to_owned),
            primary_port: section.number("master_port"),
            is_primary_link_up: section.get("master_link_status").and_then(Field::parse),
            primary_last_io_seconds_ago: section.number("master_last_io_seconds_ago"),
            is_primary_sync_in_progress: section.get("master_sync_in_progress").and_then(Field::parse),
            replica_offset: section.number("slave_repl_offset"),
            connected_replicas: section.number("connected_slaves").unwrap_or_default(),
            replicas,
            replication_id: section.get("master_replid").map(str::to_owned),
            offset: section.number("master_repl_offset"),
            failover_state: section.get("master_failover_state").map(str::to_owned),
        })
    }

    /// The section `Keyspace`, by the number of the database. Databases without keys are not listed.
    #[must_use]
    pub fn keyspace(&self) -> BTreeMap<u64, InfoKeyspace> {
        let fields = self.section("keyspace").into_iter().flat_map(|section| section.fields());
        let rows = fields.filter_map(|(name, line)| {
            let space = InfoKeyspace {
                keys: part(line, "keys"),
                expires: part(line, "expires"),
                avg_ttl: part(line, "avg_ttl"),
            };
            Some((name.strip_prefix("db")?.parse().ok()?, space))
        });
        rows.collect()
    }

    /// The section `Commandstats`, by the command's name in lower case with `|` before a subcommand.
    #[must_use]
    pub fn commandstats(&self) -> BTreeMap<String, InfoCommand> {
        let fields = self.section("commandstats").into_iter().flat_map(|section| section.fields());
        let rows = fields.filter_map(|(name, line)| {
            let command = InfoCommand {
                calls: part(line, "calls"),
                usec: part(line, "usec"),
                usec_per_call: part(line, "usec_per_call"),
                rejected_calls: part(line, "rejected_calls"),
                failed_calls: part(line, "failed_calls"),
            };
            Some((name.strip_prefix("cmdstat_")?.to_owned(), command))
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_typed_and_unknown_fields_are_at_hand() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\ntcp_port:6379\r\nnew_thing:x:y\r\n\r\n# Replication\r\nrole:master\r\n\
             connected_slaves:1\r\nslave0:ip=10.0.0.2,port=6380,state=online,offset=42,lag=1\r\nslave_read_only:1\r\n\
             master_replid:abc\r\nmaster_repl_offset:43\r\n# Commandstats\r\n\
             cmdstat_client|list:calls=3,usec=17,usec_per_call=5.67,rejected_calls=0,failed_calls=1\r\n\
             # Keyspace\r\ndb0:keys=5,expires=1,avg_ttl=1000\r\ndb9:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\n",
        );
        let server = info.server().unwrap();
        assert_eq!((server.redis_version.as_deref(), server.tcp_port), (Some("7.0.15"), Some(6379)));
        assert_eq!(info.section("Server").unwrap().get("new_thing"), Some("x:y"));
        assert_eq!(info.number::<u16>("tcp_port"), Some(6379));
        let replication = info.replication().unwrap();
        assert!(replication.is_primary);
        assert_eq!(replication.replicas.len(), 1);
        assert_eq!((replication.replicas[0].port, replication.replicas[0].offset), (6380, 42));
        assert_eq!(info.keyspace().keys().copied().collect::<Vec<_>>(), [0, 9]);
        assert_eq!(info.commandstats()["client|list"].calls, 3);
        assert_eq!(info.memory(), None);
    }

    #[test]
    fn a_replica_knows_its_primary() {
        let info = Info::parse(
            "# Replication\nrole:slave\nmaster_host:10.0.0.1\nmaster_port:6379\nmaster_link_status:down\n\
             master_last_io_seconds_ago:-1\nmaster_sync_in_progress:0\nslave_repl_offset:7\nconnected_slaves:0\n",
        );
        let replication = info.replication().unwrap();
        assert!(!replication.is_primary);
        assert_eq!(replication.primary_host.as_deref(), Some("10.0.0.1"));
        assert_eq!(replication.is_primary_link_up, Some(false));
        assert_eq!(replication.replica_offset, Some(7));
    }
}
