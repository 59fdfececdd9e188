//! Many commands, one round trip.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use romaine_commands::{Command, Executor, FromValue};
use romaine_resp::{Reader, ServerError, Token};

use crate::batch::{self, Batch};
use crate::call::Target;
use crate::circuit::Patience;
use crate::error::{Error, Result};

/// A claim on one reply of a batch, with its type.
#[derive(Debug)]
#[must_use = "a ticket is exchanged for its reply by Replies::take"]
pub struct Ticket<R> {
    index: usize,
    reply: PhantomData<fn() -> R>,
}

impl<R> Ticket<R> {
    pub(crate) const fn new(index: usize) -> Self {
        Self { index, reply: PhantomData }
    }
}

/// Commands that are sent together and answered together. Not atomic: other clients' commands may run in between; see
/// [`Transaction`](crate::Transaction).
///
/// ```no_run
/// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
/// use romaine::commands::*;
///
/// let mut pipeline = client.pipeline();
/// let name = pipeline.get::<String>("user:1");
/// let visits = pipeline.incr("visits");
/// let mut replies = pipeline.execute().await?;
/// let (name, visits) = (replies.take(name)?, replies.take(visits)?);
/// # let _: (Option<String>, i64) = (name, visits);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a pipeline does nothing until it is executed"]
pub struct Pipeline<'a> {
    target: Target<'a>,
    batch: Batch,
    patience: Patience,
}

impl<'a> Pipeline<'a> {
    pub(crate) fn new(target: Target<'a>) -> Self {
        Self { target, batch: Batch::default(), patience: Patience::For(target.shared.config.timeout) }
    }

    /// Number of commands.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.batch.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.batch.count == 0
    }

    /// How long the whole may take, instead of the client's default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.patience = Patience::For(Some(limit));
        self
    }

    /// Sends all commands in one piece and waits for all replies.
    ///
    /// # Errors
    /// When the batch as a whole failed. What a single command is answered, an error too, is in its own reply. A batch
    /// that was not sent is sent again within its deadline; one whose fate is unknown only if all its commands are
    /// repeatable.
    ///
    /// # Cancel safety
    /// Dropping abandons the replies, never the connection.
    pub async fn execute(self) -> Result<Replies> {
        if let Some(spec) = self.batch.misuse {
            return Err(Error::usage(
                "a pipeline must not hold a command that blocks or changes the connection's state",
            )
            .with_command(spec.name));
        }
        if self.is_empty() {
            return Ok(Replies { replies: None, inner: None, node: self.target.shared.node.clone() });
        }
        let retries = !self.target.exclusive;
        let replies = self.batch.run(self.target.circuit, self.patience, retries).await;
        let node = self.target.shared.node.clone();
        let replies = replies.map_err(|error| {
            self.target.shared.refused(self.target.circuit, &error);
            error.with_command("pipeline").with_node(&node)
        })?;
        Ok(Replies { replies: Some(replies), inner: None, node })
    }
}

impl Executor for &mut Pipeline<'_> {
    type Issued<R: FromValue> = Ticket<R>;

    #[inline]
    fn issue<C: Command>(self, command: C) -> Ticket<C::Reply> {
        self.batch.push(&command.into_request());
        Ticket::new(self.batch.count as usize - 1)
    }
}

/// The replies of a pipeline or transaction.
#[derive(Debug)]
pub struct Replies {
    replies: Option<batch::Replies>,
    /// For a transaction: where EXEC's elements are in its frame.
    inner: Option<Vec<std::ops::Range<usize>>>,
    node: Arc<str>,
}

impl Replies {
    pub(crate) const fn of_exec(replies: batch::Replies, inner: Vec<std::ops::Range<usize>>, node: Arc<str>) -> Self {
        Self { replies: Some(replies), inner: Some(inner), node }
    }

    /// Exchanges a ticket for its reply.
    ///
    /// # Errors
    /// When the server answered this command with an error, or with another type than the command's.
    pub fn take<R: FromValue>(&mut self, ticket: Ticket<R>) -> Result<R> {
        let Some(frame) = self.frame(ticket.index) else {
            return Err(Error::usage("this ticket is of another pipeline"));
        };
        let mut reader = Reader::new(frame);
        if let Ok(Token::Error(text)) = reader.peek() {
            return Err(Error::server_error(ServerError::new(text)).with_node(&self.node));
        }
        R::from_value(&mut reader).map_err(|error| Error::conversion(error).with_node(&self.node))
    }

    fn frame(&self, index: usize) -> Option<&[u8]> {
        let replies = self.replies.as_ref()?;
        match &self.inner {
            None => replies.frame(index),
            Some(elements) => replies.last_frame()?.get(elements.get(index)?.clone()),
        }
    }
}
