//! A command under way: a future that allocates nothing and can be dropped at any time.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use romaine_commands::{Command, Flags, FromValue, Request};
use romaine_proto::retry::{self, Decision, RetryPolicy};
use romaine_resp::{Reader, ServerError, Token};
use tokio::time::Sleep;

use crate::blocking::{self, EndOfStream};
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::{Circuit, Issue, Patience, Ticketed};
use crate::clock;
use crate::error::{Delivery, Error, Result};
use crate::shared::Shared;

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) circuit: &'a Arc<Circuit>,
    /// A connection of its own: its state would be lost with it, so nothing is sent again elsewhere.
    pub(crate) exclusive: bool,
}

impl<'a> Target<'a> {
    pub(crate) const fn of(shared: &'a Arc<Shared>, circuit: &'a Arc<Circuit>) -> Self {
        Self { shared, circuit, exclusive: false }
    }
}

enum State {
    New,
    Waiting(Ticketed),
    Pausing(Pin<Box<Sleep>>),
    /// A blocking command on its own course.
    Blocking(BoxedReply),
    Over,
}

type BoxedReply = Pin<Box<dyn Future<Output = Result<ReplyBytes>> + Send>>;

/// A call before its reply type is considered.
struct Raw<'a> {
    target: Target<'a>,
    request: Request,
    patience: Patience,
    policy: RetryPolicy,
    attempt: u32,
    /// What is known of the effect of the attempts before this one.
    earlier: Delivery,
    state: State,
}

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
        let policy = if target.exclusive { RetryPolicy::Never } else { RetryPolicy::Derived };
        Self {
            raw: Raw { target, request, patience, policy, attempt: 0, earlier: Delivery::NotSent, state: State::New },
            reply: PhantomData,
        }
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

impl Raw<'_> {
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReplyBytes>> {
        loop {
            match &mut self.state {
                State::Waiting(ticketed) => {
                    let Some(ended) = self.target.circuit.collect(*ticketed, cx.waker()) else {
                        return Poll::Pending;
                    };
                    self.patience = Patience::Until(ticketed.deadline);
                    self.state = State::Over;
                    if let Ended::Reply(bytes) = ended {
                        match refusal(&bytes) {
                            None => return Poll::Ready(Ok(bytes)),
                            Some(error) => ready!(self.refused(cx, error))?,
                        }
                    } else {
                        self.failed(ended)?;
                    }
                }
                State::New => {
                    if let Some(reply) = self.issue(cx) {
                        return Poll::Ready(reply);
                    }
                    if let State::Waiting(_) = self.state {
                        return Poll::Pending;
                    }
                }
                State::Blocking(course) => {
                    let reply = ready!(course.as_mut().poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(reply);
                }
                State::Pausing(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::New;
                }
                State::Over => {
                    return Poll::Ready(Err(Error::usage("a call was polled again after it had ended")));
                }
            }
        }
    }

    /// Hands the request to its circuit, or starts the course of a blocking command.
    #[inline]
    fn issue(&mut self, cx: &Context<'_>) -> Option<Result<ReplyBytes>> {
        let spec = self.request.spec();
        if !self.target.exclusive {
            if spec.flags.has(Flags::CONNECTION_STATE) && spec.name != "QUIT" {
                return Some(Err(Error::usage(crate::usage::connection_state(spec.name))));
            }
            if self.request.is_blocking() {
                return self.start_blocking();
            }
        }
        let blocking = self.target.exclusive && self.request.is_blocking();
        let patience = match self.patience {
            Patience::Default if blocking => {
                match crate::asked::limit_of(&self.request, &self.target.shared.liveness) {
                    Some(limit) => Patience::For(Some(limit)),
                    None => return Some(Err(Error::usage(crate::usage::UNWATCHED))),
                }
            }
            Patience::Default => Patience::For(self.target.shared.config.timeout),
            chosen @ (Patience::For(_) | Patience::Until(_)) => chosen,
        };
        let issue = Issue { patience, replies: 1, batch: false, blocking };
        match self.target.circuit.issue(&self.request, issue, cx.waker()) {
            Ok(ticketed) => {
                self.state = State::Waiting(ticketed);
                None
            }
            Err(error) => {
                self.target.shared.refused(self.target.circuit, &error);
                self.state = State::Over;
                Some(Err(error))
            }
        }
    }

    #[cold]
    fn start_blocking(&mut self) -> Option<Result<ReplyBytes>> {
        let (shared, request) = (self.target.shared.clone(), Box::new(self.request.clone()));
        let course = blocking::run(shared, request, self.patience, EndOfStream::GoesOn);
        self.state = State::Blocking(Box::pin(course));
        None
    }

    /// The call ended without a reply: again, or the end.
    #[cold]
    fn failed(&mut self, ended: Ended) -> Result<()> {
        let Ended::Failed(kind, delivery) = ended else {
            return Err(Error::usage("a pipeline's reply came to a call"));
        };
        let decision = match kind {
            romaine_proto::FailureKind::Disconnected => {
                retry::without_reply(self.policy, delivery, self.request.spec())
            }
            romaine_proto::FailureKind::Expired | romaine_proto::FailureKind::Closed => Decision::GiveUp,
        };
        if decision == Decision::GiveUp {
            let error = Error::without_reply(kind, delivery).with_node(&self.target.shared.node);
            let cause = self.target.circuit.lock().last_error.clone();
            return Err(match cause {
                Some(cause) => error.with_source(cause),
                None => error,
            });
        }
        self.earlier = retry::over_attempts(self.earlier, delivery);
        self.count_retry();
        self.state = State::New;
        Ok(())
    }

    /// The server answered with an error: wait and ask again, or the end.
    #[cold]
    fn refused(&mut self, cx: &mut Context<'_>, error: ServerError) -> Poll<Result<()>> {
        let decision = retry::refused(self.policy, &error, self.attempt, &mut fastrand::Rng::new());
        self.attempt = self.attempt.saturating_add(1);
        let told = |error| Poll::Ready(Err(Error::server_error(error).with_node(&self.target.shared.node)));
        match decision {
            Decision::GiveUp => told(error),
            Decision::Again => {
                self.state = State::New;
                Poll::Ready(Ok(()))
            }
            Decision::After(delay) => {
                let at = clock::now() + delay;
                if deadline(self.patience).is_some_and(|deadline| at >= deadline) {
                    return told(error);
                }
                self.count_retry();
                let mut sleep = Box::pin(tokio::time::sleep_until(at.into()));
                if sleep.as_mut().poll(cx).is_ready() {
                    self.state = State::New;
                    return Poll::Ready(Ok(()));
                }
                self.state = State::Pausing(sleep);
                Poll::Pending
            }
        }
    }

    fn count_retry(&self) {
        self.target.circuit.lock().counters.retries += 1;
        tracing::debug!(command = %self.request.name(), "issued again");
    }

    #[cold]
    fn describe(&self, error: Error) -> Error {
        let delivery = retry::over_attempts(self.earlier, error.delivery());
        let error = error.with_command(self.request.name()).with_delivery(delivery);
        if error.node().is_some() { error } else { error.with_node(&self.target.shared.node) }
    }
}

impl Drop for Raw<'_> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting(ticketed) = self.state {
            self.target.circuit.abandon(ticketed);
        }
    }
}

const fn deadline(patience: Patience) -> Option<Instant> {
    match patience {
        Patience::Until(deadline) => deadline,
        Patience::For(_) | Patience::Default => None,
    }
}

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
pub(crate) async fn ask<C: Command>(target: Target<'_>, command: C, patience: Patience) -> Result<C::Reply> {
    Call::new(target, command.into_request(), patience).await
}
