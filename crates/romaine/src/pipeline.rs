//! Many commands, one round trip.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use romaine_commands::{Command, Executor, FromValue, Request};
use romaine_proto::Route;
use romaine_resp::{Reader, ServerError, Token};

use crate::batch::{self, Batch};
use crate::call::{Place, RawCall};
use crate::cells::ReplyBytes;
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
    place: Place<'a>,
    batch: Batch,
    /// In a Cluster each command goes its own way.
    requests: Vec<Request>,
    patience: Patience,
}

impl<'a> Pipeline<'a> {
    pub(crate) fn new(place: Place<'a>) -> Self {
        let patience = Patience::For(place.common().config.timeout);
        Self { place, batch: Batch::default(), requests: Vec::new(), patience }
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

    /// Sends all commands in one piece and waits for all replies. In a Cluster: one piece for each node, redirects
    /// followed for each command, and an order only within a slot: what must be sent again goes in that order too, but
    /// may find later commands of its slot executed already.
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
            return Ok(Replies { source: Source::Each(Vec::new()), node: "".into() });
        }
        match self.place {
            Place::At(target) => {
                let node = target.server.node.clone();
                let replies = self.batch.run(target.circuit, self.patience, !target.exclusive).await;
                let replies = replies.map_err(|error| {
                    target.server.refused(target.circuit, &error);
                    error.with_command("pipeline").with_node(&node)
                })?;
                if !target.exclusive && (0..self.batch.count as usize).any(|index| is_readonly(replies.frame(index))) {
                    target.server.demoted();
                }
                Ok(Replies { source: Source::Batch(replies), node })
            }
            Place::Fleet(fleet) if fleet.is_cluster() => {
                let deadline = Patience::Until(fleet.deadline(self.patience));
                let replies = each(self.place, self.requests, deadline).await;
                Ok(Replies { source: Source::Each(replies), node: "".into() })
            }
            Place::Fleet(fleet) => {
                let deadline = fleet.deadline(self.patience);
                let ran = fleet.run(&self.batch, None, deadline).await;
                let (replies, server) = ran.map_err(|error| error.with_command("pipeline"))?;
                // Each reply tells its caller; this tells us.
                if (0..self.batch.count as usize).any(|index| is_readonly(replies.frame(index))) {
                    server.demoted();
                }
                Ok(Replies { source: Source::Batch(replies), node: server.node.clone() })
            }
        }
    }
}

/// Each request at its own server; those of a slot go again, where they must, one after the other.
async fn each(place: Place<'_>, requests: Vec<Request>, patience: Patience) -> Vec<Result<ReplyBytes>> {
    let count = requests.len();
    let mut slots: HashMap<u16, Vec<(usize, RawCall<'_>)>> = HashMap::new();
    let mut alone = Vec::new();
    for (index, request) in requests.into_iter().enumerate() {
        let route = Route::of(&request);
        let call = (index, RawCall::new(place, request, patience));
        match route {
            Route::Slot(slot) => slots.entry(slot).or_default().push(call),
            _ => alone.push(vec![call]),
        }
    }
    let replied = join_all(slots.into_values().chain(alone).map(in_order)).await;
    let mut replies: Vec<_> = replied.into_iter().flatten().collect();
    replies.sort_unstable_by_key(|(index, _)| *index);
    debug_assert!(replies.len() == count, "one reply for each request");
    replies.into_iter().map(|(_, reply)| reply).collect()
}

/// All at once; what has to be sent again, in its order.
async fn in_order(calls: Vec<(usize, RawCall<'_>)>) -> Vec<(usize, Result<ReplyBytes>)> {
    let firsts = calls.into_iter().map(|(index, mut call)| async move {
        let reply = call.first().await;
        (index, call, reply)
    });
    let mut replies = Vec::new();
    for (index, call, reply) in join_all(firsts).await {
        let reply = match reply {
            Some(reply) => reply,
            None => call.go_on().await,
        };
        replies.push((index, reply));
    }
    replies
}

fn is_readonly(frame: Option<&[u8]>) -> bool {
    frame.is_some_and(|frame| frame.starts_with(b"-READONLY"))
}

impl Executor for &mut Pipeline<'_> {
    type Issued<R: FromValue> = Ticket<R>;

    #[inline]
    fn issue<C: Command>(self, command: C) -> Ticket<C::Reply> {
        let request = command.into_request();
        self.batch.push(&request);
        if matches!(self.place, Place::Fleet(fleet) if fleet.is_cluster()) {
            self.requests.push(request);
        }
        Ticket::new(self.batch.count as usize - 1)
    }
}

/// The replies of a pipeline or transaction.
#[derive(Debug)]
pub struct Replies {
    source: Source,
    node: Arc<str>,
}

#[derive(Debug)]
enum Source {
    /// Of one batch.
    Batch(batch::Replies),
    /// Of a transaction: where EXEC's elements are in its frame.
    Exec(batch::Replies, Vec<std::ops::Range<usize>>),
    /// Each command's own.
    Each(Vec<Result<ReplyBytes>>),
}

impl Replies {
    pub(crate) const fn of_exec(replies: batch::Replies, inner: Vec<std::ops::Range<usize>>, node: Arc<str>) -> Self {
        Self { source: Source::Exec(replies, inner), node }
    }

    /// Exchanges a ticket for its reply.
    ///
    /// # Errors
    /// When the server answered this command with an error, or with another type than the command's.
    pub fn take<R: FromValue>(&mut self, ticket: Ticket<R>) -> Result<R> {
        let foreign = || Error::usage("this ticket is of another pipeline");
        let frame = match &self.source {
            Source::Batch(replies) => replies.frame(ticket.index).ok_or_else(foreign)?,
            Source::Exec(replies, elements) => {
                let element = elements.get(ticket.index).cloned();
                replies.last_frame().zip(element).and_then(|(exec, at)| exec.get(at)).ok_or_else(foreign)?
            }
            Source::Each(replies) => match replies.get(ticket.index).ok_or_else(foreign)? {
                Ok(bytes) => bytes.as_slice(),
                Err(error) => return Err(error.clone()),
            },
        };
        let mut reader = Reader::new(frame);
        if let Ok(Token::Error(text)) = reader.peek() {
            return Err(self.at(Error::server_error(ServerError::new(text))));
        }
        R::from_value(&mut reader).map_err(|error| self.at(Error::conversion(error)))
    }

    fn at(&self, error: Error) -> Error {
        if self.node.is_empty() { error } else { error.with_node(&self.node) }
    }
}
