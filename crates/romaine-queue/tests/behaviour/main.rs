//! Behaviour on real servers: each test starts its own.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails here has failed the test")]

mod faults;
mod features;
mod producer;
mod refusals;
mod support;
mod watching;
mod worker;
