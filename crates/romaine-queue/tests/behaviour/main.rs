//! Behaviour on real servers: each test starts its own.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails here has failed the test")]

mod failovers;
mod faults;
mod features;
mod given_back;
mod lab;
mod outbox;
mod producer;
mod refusals;
mod support;
mod topologies;
mod watching;
mod worker;
