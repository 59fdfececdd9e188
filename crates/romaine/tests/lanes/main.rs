//! What does not go through the shared connection: subscriptions, blocking commands, transactions under WATCH, MONITOR;
//! and what is told of all of them.
//!
//! `README.md` beside this file says which case of the catalogue is tested where.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod backlog;
mod blocking;
mod chaos;
mod closing;
mod deadlines;
mod disk_full;
mod events;
mod exclusive;
mod ghosts;
mod late_replies;
mod pauses;
mod pubsub;
mod reliable;
mod slices;
mod support;
mod transactions;
