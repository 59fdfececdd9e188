//! The agent, the fleet and rollouts as their users see them: the program itself, against real servers.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is how a test fails")]

mod agent;
mod end_to_end;
mod refusals;
mod rollouts;
mod support;
mod topologies;
