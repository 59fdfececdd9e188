//! A command under way: a future that allocates nothing and can be dropped at any time.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use romaine_commands::{Command, FromValue, Request};
use romaine_proto::retry::RetryPolicy;
use romaine_resp::{Reader, ServerError, Token};

use crate::cells::ReplyBytes;
use crate::circuit::{Circuit, Patience};
use crate::common::Common;
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::raw::Raw;
use crate::server::Server;

/// A definite connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) circuit: &'a Arc<Circuit>,
    /// A connection of its own: its state would be lost with it, so nothing is sent again elsewhere.
    pub(crate) exclusive: bool,
}

impl<'a> Target<'a> {
    pub(crate) const fn of(server: &'a Arc<Server>, circuit: &'a Arc<Circuit>) -> Self {
        Self { server, circuit, exclusive: false }
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// To this connection.
    At(Target<'a>),
    /// To the right server of several.
    Fleet(&'a Arc<Fleet>),
}

impl<'a> Place<'a> {
    pub(crate) fn common(self) -> &'a Arc<Common> {
        match self {
            Self::At(target) => &target.server.common,
            Self::Fleet(fleet) => &fleet.common,
        }
    }
}

/// The reply of a call as it came, an error reply too.
pub(crate) struct RawCall<'a>(Raw<'a>);

impl<'a> RawCall<'a> {
    pub(crate) fn new(place: Place<'a>, request: Request, patience: Patience) -> Self {
        Self(Raw::new(place, request, patience))
    }

    pub(crate) const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.0.policy = policy;
        self
    }

    /// Its first attempt: `None` when there is to be another, after [`go_on`](Self::go_on).
    pub(crate) async fn first(&mut self) -> Option<Result<ReplyBytes>> {
        self.0.held = true;
        std::future::poll_fn(|cx| match Pin::new(&mut *self).poll(cx) {
            Poll::Ready(reply) => Poll::Ready(Some(reply)),
            Poll::Pending if self.0.is_held_back() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Every further attempt.
    pub(crate) async fn go_on(mut self) -> Result<ReplyBytes> {
        self.0.held = false;
        self.await
    }
}

impl Future for RawCall<'_> {
    type Output = Result<ReplyBytes>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<ReplyBytes>> {
        let raw = &mut self.get_mut().0;
        let reply = ready!(raw.poll(cx));
        Poll::Ready(reply.map_err(|error| raw.describe(error)))
    }
}

impl Unpin for RawCall<'_> {}

/// A command that was issued: `.await` it for the reply. Nothing is sent before it is first polled.
///
/// # Errors
/// [`Error::kind`] says what went wrong, [`Error::delivery`] what is known of the command's effect.
///
/// # Cancel safety
/// Dropping a call abandons its reply, never the connection: a command that was not sent is withdrawn, one that was
/// keeps its place in the line, so that its reply reaches nobody else. A dropped *blocking* command is cancelled at the
/// server.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<'a, R> {
    raw: Raw<'a>,
    reply: PhantomData<fn() -> R>,
}

impl<R> std::fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("request", &self.raw.request).finish_non_exhaustive()
    }
}

impl<'a, R: FromValue> Call<'a, R> {
    #[inline]
    pub(crate) fn new(target: Target<'a>, request: Request, patience: Patience) -> Self {
        Self::at(Place::At(target), request, patience)
    }

    #[inline]
    pub(crate) fn at(place: Place<'a>, request: Request, patience: Patience) -> Self {
        Self { raw: Raw::new(place, request, patience), reply: PhantomData }
    }

    /// How long this call may take, the time in the queue included, instead of the client's default. For a blocking
    /// command: how long the *answer to its own time-out* is waited for is decided by
    /// [`Liveness`](crate::Liveness); this shortens the wait itself.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.raw.patience = Patience::For(Some(limit));
        self
    }

    /// No deadline: the call ends by its reply or by the death of its connection.
    pub fn no_timeout(mut self) -> Self {
        self.raw.patience = Patience::For(None);
        self
    }

    /// When the call may be sent again, instead of what the command's flags allow.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.raw.policy = policy;
        self
    }
}

impl<R: FromValue> Future for Call<'_, R> {
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R>> {
        let raw = &mut self.get_mut().raw;
        let reply = ready!(raw.poll(cx));
        Poll::Ready(reply.and_then(|bytes| decode(&bytes)).map_err(|error| raw.describe(error)))
    }
}

impl<R> Unpin for Call<'_, R> {}

/// The error in a reply, if it is one.
#[inline]
pub(crate) fn refusal(bytes: &ReplyBytes) -> Option<ServerError> {
    let frame = bytes.as_slice();
    if !matches!(frame.first(), Some(b'-' | b'!')) {
        return None;
    }
    match Reader::new(frame).token() {
        Ok(Token::Error(text)) => Some(ServerError::new(text)),
        _ => None,
    }
}

/// Decodes on the caller's own thread.
#[inline]
pub(crate) fn decode<R: FromValue>(bytes: &ReplyBytes) -> Result<R> {
    let mut reader = match bytes {
        ReplyBytes::Inline { .. } => Reader::new(bytes.as_slice()),
        ReplyBytes::Shared(bytes) => Reader::shared(bytes),
    };
    R::from_value(&mut reader).map_err(Error::conversion)
}

/// Issues a command without an executor around it: for the client's own questions.
pub(crate) async fn ask_in<C: Command>(place: Place<'_>, command: C, patience: Patience) -> Result<C::Reply> {
    Call::at(place, command.into_request(), patience).await
}

/// The same on a definite connection.
pub(crate) async fn ask<C: Command>(target: Target<'_>, command: C, patience: Patience) -> Result<C::Reply> {
    Call::new(target, command.into_request(), patience).await
}
