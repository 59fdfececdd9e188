//! A Redis/Valkey client whose connections never die silently.

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod asked;
mod backlog;
mod batch;
mod blocking;
mod call;
mod cells;
mod circuit;
mod client;
mod clock;
mod common;
mod config;
mod config_topology;
mod credentials;
mod dedicated;
mod dialler;
#[cfg(test)]
mod driver_tests;
mod error;
mod events;
mod exclusive;
mod fleet;
mod health;
mod hub;
mod inbox;
mod metrics;
mod monitor;
mod notice;
mod on_nodes;
mod panics;
mod pipeline;
mod probe;
mod raw;
mod reliable;
mod router;
mod scan;
mod script;
mod server;
#[cfg(test)]
mod server_tests;
mod session;
mod socket;
mod subscription;
mod supervisor;
mod tls;
mod transaction;
mod under_way;
mod url;
mod usage;
mod witness;

pub use call::Call;
pub use client::Client;
pub use config::{Address, Config, IntoConfig, Offline, Overflow};
pub use credentials::{Credentials, CredentialsFuture, CredentialsProvider};
pub use error::{Delivery, Error, ErrorKind, Result};
pub use events::{Event, EventStream, Lane, NodeRole, TopologyNode};
pub use exclusive::Exclusive;
pub use health::{Health, Status};
pub use hub::{Incoming, Message};
pub use metrics::{Counters, Histogram, Metrics};
pub use monitor::{Monitor, MonitorLine};
pub use on_nodes::{NodeReplies, NodesCall, OnNodes};
pub use pipeline::{Pipeline, Replies, Ticket};
pub use reliable::{Element, ReliablePop};
pub use script::Script;
pub use subscription::Subscription;
pub use tls::Tls;
pub use transaction::Transaction;

pub use romaine_commands::{Cmd, Command, Executor, FromValue, Request, ToArg, ToArgs, cmd, replies};
pub use romaine_proto::retry::RetryPolicy;
pub use romaine_proto::{
    Backoff, Candidate, ConnectionLimits, Delay, GhostVerdict, Keepalive, Liveness, Protocol, ReadFrom,
    SubscriptionKind,
};
pub use romaine_resp::{Limits, ServerError, Value};

/// The commands as methods of everything that executes: bring the traits into scope with `use romaine::commands::*`.
pub mod commands {
    pub use romaine_commands::Executor;
    pub use romaine_commands::prelude::*;
}

/// The commands as values, with their options: `client.issue(command::set("k", "v").ex(10))`.
pub use romaine_commands::commands as command;
