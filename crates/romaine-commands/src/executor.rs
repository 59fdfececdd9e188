//! What issuing a command means.

use crate::convert::FromValue;
use crate::request::Request;

/// A command: a value that knows the type of its reply.
pub trait Command {
    /// What the server answers.
    type Reply: FromValue;

    /// The request to send.
    fn into_request(self) -> Request;
}

/// Somebody commands can be given to.
///
/// A client issues a call (a future), a pipeline or transaction issues a ticket (a claim on one reply of the batch).
pub trait Executor: Sized {
    /// What stands for the reply.
    type Issued<R: FromValue>;

    /// Issues `command`.
    fn issue<C: Command>(self, command: C) -> Self::Issued<C::Reply>;
}
