//! What can be asked of a Redis or Valkey server: every command as a value that knows its reply type, its keys and its
//! flags. Knows no connection.
//!
//! A [`Command`] is a value; an [`Executor`] says what issuing one means (a client: a future; a pipeline: a ticket).
//! The method traits of `commands` are implemented once for all executors, so what a client can do, a pipeline can do.
//! Whether a command may be retried, must not share a connection, or where its keys are is *derived* from its [`Spec`],
//! which is generated from what a server says about itself.

mod arg;
mod body;
mod convert;
mod executor;
mod request;
mod spec;
pub mod table;

pub use arg::{ArgWriter, ToArg};
pub use convert::{ConversionError, FromValue};
pub use executor::{Command, Executor};
pub use request::{Cmd, Request, cmd};
pub use spec::{Flags, KeySpec, Spec, Wait};
