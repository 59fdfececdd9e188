//! One client, one server: connecting, delivering, giving up, coming back, noticing.
//!
//! `README.md` beside this file says which case of the catalogue is tested where.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod bounds;
mod connect;
mod deadlines;
mod delivery;
mod liveness;
mod offline;
mod reconnect;
mod refusals;
mod support;
mod transports;
