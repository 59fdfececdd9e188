//! Replies with a shape of their own.
//!
//! All of them read both protocol versions and step over fields they do not know, so a newer server is no error.

mod acl;
mod client_entry;
mod command_info;
mod fields;
mod function;
mod geo;
mod hello;
mod info;
mod info_sections;
mod latency;
mod lcs;
mod memory;
mod page;
mod role;
mod server_time;
mod slowlog;
mod stream_entry;
mod stream_group;
mod stream_id;
mod tracking;

pub use acl::{AclLogEntry, AclUser, Patterns};
pub use client_entry::{ClientEntry, Clients};
pub use command_info::CommandInfo;
pub use function::{Function, Library};
pub use geo::GeoMatch;
pub use hello::Hello;
pub use info::{Info, InfoSection};
pub use info_sections::{
    InfoClients, InfoCommand, InfoCpu, InfoKeyspace, InfoMemory, InfoPersistence, InfoReplica, InfoReplication,
    InfoServer, InfoStats,
};
pub use latency::{LatencyEvent, LatencySample};
pub use lcs::{Lcs, LcsMatch};
pub use memory::MemoryStats;
pub use page::Page;
pub use role::{Role, RoleReplica};
pub use server_time::ServerTime;
pub use slowlog::SlowlogEntry;
pub use stream_entry::StreamEntry;
pub use stream_group::{AutoClaim, PendingEntry, PendingSummary, StreamConsumer, StreamGroup, StreamInfo};
pub use stream_id::{NotAStreamId, StreamId};
pub use tracking::TrackingInfo;

/// Members of a sorted set with their scores.
pub type ScoredMembers<V> = Vec<(V, f64)>;
