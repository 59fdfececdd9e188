//! What can be asked of a Redis or Valkey server: every command as a value that knows its reply type, its keys and its
//! flags. Knows no connection.
//!
//! A [`Command`] is a value; an [`Executor`] says what issuing one means (a client: a future; a pipeline: a ticket).
//! The method traits of `commands` are implemented once for all executors, so what a client can do, a pipeline can do.
//! Whether a command may be retried, must not share a connection, or where its keys are is *derived* from its [`Spec`],
//! which is generated from what a server says about itself.

mod arg;
mod args;
mod body;
mod convert;
mod executor;
mod generated;
mod geo_shape;
pub mod replies;
mod request;
mod spec;
pub mod table;

/// Every command as a constructor, with its options as methods of what it returns.
pub mod commands {
    pub use crate::generated::all::*;
    pub use crate::geo_shape::GeoShape;
}

/// The method traits of all groups, for `use romaine_commands::prelude::*`.
pub mod prelude {
    pub use crate::generated::traits::*;
}

pub use arg::{ArgWriter, ToArg};
pub use args::{ArgGroup, Many, ToArgs};
pub use convert::{ConversionError, FromValue};
pub use executor::{Command, Executor};
pub use generated::traits::*;
pub use request::{Cmd, Request, cmd};
pub use spec::{Flags, KeySpec, Spec, Wait};
