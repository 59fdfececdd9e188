//! One client, several servers: Sentinels, a primary and its replicas, Clusters; and the right node, always.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod address_map;
mod cluster;
mod cluster_blocking;
mod cluster_failover;
mod cluster_kill;
mod cluster_lab;
mod cluster_migrating;
mod cluster_names;
mod cluster_own;
mod cluster_pubsub;
mod cluster_redirects;
mod cluster_refresh;
mod cluster_split;
mod discover;
mod discover_name;
mod nodes;
mod reads;
mod reads_routing;
mod sentinel;
mod sentinel_calls;
mod sentinel_events;
mod sentinel_fake;
mod sentinel_hello;
mod sentinel_outage;
mod sentinel_trust;
mod sentinel_watch;
mod support;
