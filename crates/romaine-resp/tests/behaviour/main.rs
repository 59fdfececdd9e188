//! What the crate promises, through its public API alone. One module per promise.
//!
//! `#[cfg(test)]` says to clippy that helpers may panic here as the tests themselves may.

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod cuts;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod types;
