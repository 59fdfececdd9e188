//! What every driver in Rust shares: the line protocol, the loads, the counting. A driver implements [`Client`] for its
//! client and calls [`main`].

mod client;
mod loads;
pub mod protocol;
mod run;
mod tally;
pub mod target;
mod witness;

pub use client::{Client, Effect, FETCH_LIMIT, Failure, Outcome, Reader};
pub use run::main;
pub use witness::Witness;
