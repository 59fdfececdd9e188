//! MULTI … EXEC: all or nothing, and never piecemeal.

use std::sync::Arc;
use std::time::Duration;

use romaine_commands::{Command, Executor, FromValue};
use romaine_resp::{Reader, ServerError, Token};

use crate::batch::{self, Batch};
use crate::call::Place;
use crate::circuit::Patience;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::fleet::common_slot;
use crate::pipeline::{Replies, Ticket};

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Commands that the server executes together, with nothing in between.
///
/// MULTI, the commands and EXEC leave in one piece on one connection. If the connection dies the transaction fails as a
/// whole: not sent (it is sent again), or of unknown fate (it is not).
///
/// ```no_run
/// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
/// use romaine::commands::*;
///
/// let mut transaction = client.transaction();
/// let from = transaction.decrby("account:1", 10);
/// let to = transaction.incrby("account:2", 10);
/// let mut replies = transaction.execute().await?;
/// println!("{} {}", replies.take(from)?, replies.take(to)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a transaction does nothing until it is executed"]
pub struct Transaction<'a> {
    place: Place<'a>,
    batch: Batch,
    patience: Patience,
    /// In a Cluster: the slot of its keys, or why there is none.
    slot: Result<Option<u16>>,
}

/// How a transaction under WATCH ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Replies),
    /// A watched key had changed; nothing was executed.
    Aborted,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(place: Place<'a>) -> Self {
        let mut batch = Batch::default();
        batch.push_raw(MULTI);
        Self { place, batch, patience: Patience::For(place.common().config.timeout), slot: Ok(None) }
    }

    /// Number of commands.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.batch.count as usize - 1
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long the whole may take, instead of the client's default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.patience = Patience::For(Some(limit));
        self
    }

    /// Sends and waits for EXEC's reply.
    ///
    /// # Errors
    /// When the transaction as a whole failed: the server refused a command while queueing it (nothing was executed,
    /// [`Delivery::Refused`]), it refused MULTI itself (an ACL; the commands may have been executed one by one,
    /// [`Delivery::Unknown`]), or the connection died. A command that fails *within* the executed transaction has its
    /// error in its own reply; the others were executed.
    ///
    /// # Cancel safety
    /// Dropping abandons the replies; the transaction may have been executed, as a whole.
    pub async fn execute(self) -> Result<Replies> {
        match self.run().await? {
            Outcome::Done(replies) => Ok(replies),
            Outcome::Aborted => {
                Err(Error::new(ErrorKind::Server, Delivery::Refused, "the transaction was aborted")
                    .with_command("EXEC"))
            }
        }
    }

    pub(crate) async fn run(mut self) -> Result<Outcome> {
        if let Some(spec) = self.batch.misuse {
            return Err(Error::usage(
                "a transaction must not hold a command that blocks or changes the connection's state",
            )
            .with_command(spec.name));
        }
        self.batch.push_raw(EXEC);
        match self.place {
            Place::At(target) => {
                let node = target.server.node.clone();
                let replies = self.batch.run(target.circuit, self.patience, !target.exclusive).await;
                let replies = replies.map_err(|error| {
                    target.server.refused(target.circuit, &error);
                    error.with_command("EXEC").with_node(&node)
                })?;
                let outcome = judge(replies, node);
                let is_readonly = |error: &Error| error.server().is_some_and(|error| error.code() == "READONLY");
                if !target.exclusive && outcome.as_ref().err().is_some_and(is_readonly) {
                    target.server.demoted();
                }
                outcome
            }
            Place::Fleet(fleet) => {
                let slot = self.slot.map_err(|error| error.with_command("EXEC"))?;
                let deadline = fleet.deadline(self.patience);
                for attempt in 0.. {
                    let ran = fleet.run(&self.batch, slot, deadline).await;
                    let (replies, server) = ran.map_err(|error| error.with_command("EXEC"))?;
                    let outcome = judge(replies, server.node.clone());
                    // Refused while it was queued: nothing of it was executed.
                    let refused = outcome.as_ref().err().filter(|error| error.delivery() == Delivery::Refused);
                    let Some(error) = refused.and_then(Error::server) else { return outcome };
                    if !fleet.is_worth_again(&server, error, attempt, deadline).await {
                        return outcome;
                    }
                }
                Err(Error::usage("a transaction was tried too often"))
            }
        }
    }
}

/// What EXEC's reply says.
fn judge(replies: batch::Replies, node: Arc<str>) -> Result<Outcome> {
    let Some(exec) = replies.last_frame() else { return Err(Error::usage("EXEC got no reply")) };
    let mut reader = Reader::new(exec);
    match reader.token() {
        Ok(Token::Null) => Ok(Outcome::Aborted),
        Ok(Token::Array(count)) => {
            let mut elements = Vec::with_capacity(count.min(reader.remaining() + 1));
            for _ in 0..count {
                let start = reader.position();
                if reader.skip().is_err() {
                    break;
                }
                elements.push(start..reader.position());
            }
            Ok(Outcome::Done(Replies::of_exec(replies, elements, node)))
        }
        Ok(Token::Error(text)) => Err(queueing_error(&replies, text).with_command("EXEC").with_node(&node)),
        _ => Err(Error::new(ErrorKind::Protocol, Delivery::Unknown, "EXEC was answered with something else")),
    }
}

/// EXECABORT does not say why; the reply of the command that was not queued does.
fn queueing_error(replies: &batch::Replies, exec: &[u8]) -> Error {
    if let Some(Ok(Token::Error(text))) = replies.frame(0).map(|multi| Reader::new(multi).token()) {
        // Without MULTI the commands behind it were executed one by one, or refused likewise.
        return Error::server_error(ServerError::new(text)).with_delivery(Delivery::Unknown);
    }
    for index in 1.. {
        let Some(frame) = replies.frame(index) else { break };
        if let Ok(Token::Error(text)) = Reader::new(frame).token() {
            let error = Error::server_error(ServerError::new(text));
            return error.with_delivery(Delivery::Refused);
        }
    }
    Error::server_error(ServerError::new(exec)).with_delivery(Delivery::Refused)
}

impl Executor for &mut Transaction<'_> {
    type Issued<R: FromValue> = Ticket<R>;

    #[inline]
    fn issue<C: Command>(self, command: C) -> Ticket<C::Reply> {
        let request = command.into_request();
        if matches!(self.place, Place::Fleet(fleet) if fleet.is_cluster()) {
            self.slot = match &self.slot {
                Ok(slot) => common_slot(*slot, request.keys()),
                Err(error) => Err(error.clone()),
            };
        }
        self.batch.push(&request);
        Ticket::new(self.batch.count as usize - 2)
    }
}
