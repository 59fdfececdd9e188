//! `romaine queue` on real servers: each test starts its own.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what fails here has failed the test")]

mod alert;
mod commands;
mod support;
mod watch;
