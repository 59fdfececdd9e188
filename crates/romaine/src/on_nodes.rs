//! One command at many nodes, each of which answers for itself.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use romaine_commands::{Command, Executor, Flags, FromValue, Request};
use romaine_proto::retry::RetryPolicy;

use crate::call::{Place, RawCall, decode};
use crate::cells::ReplyBytes;
use crate::circuit::Patience;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::fleet::each;
use crate::usage;

/// What each node answered, by its name in [`Client::nodes`].
pub type NodeReplies<R> = Vec<(Arc<str>, Result<R>)>;

/// Every primary of a client's topology, or every node: made by [`Client::on_all_primaries`] and
/// [`Client::on_all_nodes`]. A command that is issued on it goes to each of them.
#[derive(Debug, Clone, Copy)]
pub struct OnNodes<'a> {
    client: &'a Client,
    replicas_too: bool,
}

impl<'a> OnNodes<'a> {
    pub(crate) const fn new(client: &'a Client, replicas_too: bool) -> Self {
        Self { client, replicas_too }
    }
}

impl<'a> Executor for OnNodes<'a> {
    type Issued<R: FromValue> = NodesCall<'a, R>;

    fn issue<C: Command>(self, command: C) -> NodesCall<'a, C::Reply> {
        let (policy, patience) = (RetryPolicy::Derived, Patience::Default);
        let asking = Asking { on: self, request: command.into_request(), patience, policy };
        NodesCall { state: State::New(Some(Box::new(asking))), reply: PhantomData }
    }
}

/// A command that was issued on several nodes: `.await` it for the reply of each. Nothing is sent before it is first
/// polled.
///
/// # Errors
/// When nobody could be asked: the topology is not known until the deadline, the client is closed, or the command is of
/// no use on a connection that others share. Whatever goes wrong at one node is that node's result, within the deadline
/// of the call; the others' do not suffer by it.
///
/// # Cancel safety
/// As with [`Call`](crate::Call): dropping it abandons the replies, never a connection.
#[must_use = "a call does nothing until it is awaited"]
pub struct NodesCall<'a, R> {
    state: State<'a>,
    reply: PhantomData<fn() -> R>,
}

enum State<'a> {
    New(Option<Box<Asking<'a>>>),
    Asked(Pin<Box<dyn Future<Output = Result<NodeReplies<ReplyBytes>>> + Send + 'a>>),
}

/// A call before it is polled.
struct Asking<'a> {
    on: OnNodes<'a>,
    request: Request,
    patience: Patience,
    policy: RetryPolicy,
}

impl<R> fmt::Debug for NodesCall<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesCall").finish_non_exhaustive()
    }
}

impl<R> NodesCall<'_, R> {
    /// How long all of it may take, instead of the client's default.
    pub fn timeout(self, limit: Duration) -> Self {
        self.with(|asking| asking.patience = Patience::For(Some(limit)))
    }

    /// No deadline: each node's part ends by its reply or by the death of its connection.
    pub fn no_timeout(self) -> Self {
        self.with(|asking| asking.patience = Patience::For(None))
    }

    /// When a node may be sent it again, instead of what the command's flags allow.
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.with(|asking| asking.policy = policy)
    }

    fn with(mut self, change: impl FnOnce(&mut Asking<'_>)) -> Self {
        if let State::New(Some(asking)) = &mut self.state {
            change(asking);
        }
        self
    }
}

impl<R: FromValue> Future for NodesCall<'_, R> {
    type Output = Result<NodeReplies<R>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                State::New(asking) => {
                    let Some(asking) = asking.take() else {
                        return Poll::Ready(Err(Error::usage("a call was polled again after it had ended")));
                    };
                    self.state = State::Asked(Box::pin(ask(*asking)));
                }
                State::Asked(asked) => {
                    let replies = ready!(asked.as_mut().poll(cx));
                    self.state = State::New(None);
                    return Poll::Ready(replies.map(|replies| replies.into_iter().map(read).collect()));
                }
            }
        }
    }
}

impl<R> Unpin for NodesCall<'_, R> {}

/// Decodes on the caller's own thread.
fn read<R: FromValue>((node, reply): (Arc<str>, Result<ReplyBytes>)) -> (Arc<str>, Result<R>) {
    let reply = reply.and_then(|bytes| decode(&bytes)).map_err(|error| match error.node() {
        None => error.with_node(&node),
        Some(_) => error,
    });
    (node, reply)
}

async fn ask(asking: Asking<'_>) -> Result<NodeReplies<ReplyBytes>> {
    let Asking { on, request, patience, policy } = asking;
    let spec = request.spec();
    let misuse = if spec.flags.has(Flags::CONNECTION_STATE) {
        Some(usage::connection_state(spec.name))
    } else {
        request.is_blocking().then(|| usage::BLOCKS.to_owned())
    };
    if let Some(misuse) = misuse {
        return Err(Error::usage(misuse).with_command(request.name()));
    }
    match on.client.place() {
        Place::Fleet(fleet) => {
            let replies = each(fleet, &request, on.replicas_too, patience, policy).await;
            replies.map_err(|error| error.with_command(request.name()))
        }
        place @ Place::At(target) => {
            let node = target.server.node.clone();
            Ok(vec![(node, RawCall::new(place, request, patience).retry(policy).await)])
        }
    }
}
