//! What is done with the lab: a client under load, a fault, and what must be true afterwards.
//!
//! | part | is |
//! |---|---|
//! | [`Order`], [`Control`], [`Observation`] | what a scenario and a client under test say to each other |
//! | [`drive`], [`serve_lines`] | the driver for romaine: loads on its public API, observations out |
//! | [`Driver`] | where the client under test runs: here, or as a program that speaks the protocol line by line |
//! | [`Field`] | a real server and a way to it that can be cut |
//! | [`demo`] | five faults one after the other under a consumer, a subscriber and 64 callers |
//! | [`demo_topology`] | failovers, one after the other, under the same |
//! | [`matrix`] | the fault matrix: one fault under one load a cell |
//!
//! The elements and messages are numbered, and produced over a Unix socket that no fault reaches. What was lost,
//! duplicated or announced follows from the numbers alone, so the accounting is the same for every client.

mod cell_log;
mod change;
pub mod demo;
pub mod demo_topology;
mod driver;
mod field;
mod host;
mod line;
pub mod matrix;
mod moment;
mod producer;
mod promises;
mod protocol;
mod record;
mod sockets;
mod stage;
mod subject;
pub mod table;

pub use driver::{drive, serve_lines};
pub use field::{Cut, Field, Path};
pub use moment::Moment;
pub use promises::Balance;
pub use protocol::{BIG, COUNTER, Calls, Control, JOBS, Link, Load, NEWS, Observation, Order, Pace, SPREAD_KEYS, Seen};
pub use record::Flow;
pub use subject::{Driver, Subject, resident};
