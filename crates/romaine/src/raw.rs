//! A call before its reply type is considered: issued, redirected, repeated, and what became of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use romaine_commands::{Flags, Request};
use romaine_proto::retry::{self, Decision, RetryPolicy};
use romaine_proto::{FailureKind, REDIRECTS_AT_ONCE};
use romaine_resp::ServerError;
use tokio::time::Sleep;

use crate::blocking::{self, EndOfStream};
use crate::call::{Place, Target, refusal};
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::{Circuit, Issue, Patience, Ticketed};
use crate::clock;
use crate::config::Offline;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::fleet::{Elsewhere, Fleet, NOBODY, Way, asking, scatter};
use crate::router::Router;
use crate::server::Server;

enum State {
    New,
    Waiting(Ticketed),
    Pausing(Pin<Box<Sleep>>),
    /// No server serves it at present.
    Lost(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// A blocking command on its own course, or a command for several servers.
    Elsewhere(BoxedReply),
    /// Asked with ASKING at the server that a slot is moving to.
    Asking(Pin<Box<dyn Future<Output = Result<Ended>> + Send>>),
    Over,
}

type BoxedReply = Pin<Box<dyn Future<Output = Result<ReplyBytes>> + Send>>;

/// A call before its reply type is considered.
pub(crate) struct Raw<'a> {
    place: Place<'a>,
    /// Of several servers, the one it is at, or was redirected to.
    server: Option<Arc<Server>>,
    redirects: u32,
    pub(crate) request: Request,
    pub(crate) patience: Patience,
    pub(crate) policy: RetryPolicy,
    attempt: u32,
    /// What is known of the effect of the attempts before this one.
    earlier: Delivery,
    state: State,
    /// It was handed to a server once.
    was_issued: bool,
    /// It is not handed to a server a second time: others must come before it.
    pub(crate) held: bool,
}

/// How long a call waits for a change of the map before it looks at it again.
const LOST: Duration = Duration::from_millis(500);

impl<'a> Raw<'a> {
    #[inline]
    pub(crate) fn new(place: Place<'a>, request: Request, patience: Patience) -> Self {
        let policy = match place {
            Place::At(Target { exclusive: true, .. }) => RetryPolicy::Never,
            Place::At(_) | Place::Fleet(_) => RetryPolicy::Derived,
        };
        Self {
            place,
            server: None,
            redirects: 0,
            request,
            patience,
            policy,
            attempt: 0,
            earlier: Delivery::NotSent,
            state: State::New,
            was_issued: false,
            held: false,
        }
    }

    /// Whether it would go on if it were not held.
    pub(crate) const fn is_held_back(&self) -> bool {
        self.held && self.was_issued && !matches!(self.state, State::Waiting(_) | State::Over)
    }

    /// The server it is at.
    #[inline]
    fn server(&self) -> Option<&Arc<Server>> {
        match self.place {
            Place::At(target) => Some(target.server),
            Place::Fleet(_) => self.server.as_ref(),
        }
    }

    #[inline]
    fn circuit(&self) -> Option<&Arc<Circuit>> {
        match self.place {
            Place::At(target) => Some(target.circuit),
            Place::Fleet(_) => self.server.as_ref().map(|server| &server.commands),
        }
    }

    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReplyBytes>> {
        loop {
            if self.is_held_back() {
                return Poll::Pending;
            }
            match &mut self.state {
                State::Waiting(ticketed) => {
                    let ticketed = *ticketed;
                    let collected = self.circuit().map(|circuit| circuit.collect(ticketed, cx.waker()));
                    let Some(Some(ended)) = collected else { return Poll::Pending };
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
                    let issued = match self.place {
                        Place::At(target) => self.issue(cx, target),
                        Place::Fleet(fleet) => self.issue_in(cx, fleet),
                    };
                    if let Some(reply) = issued {
                        return Poll::Ready(reply);
                    }
                    if let State::Waiting(_) = self.state {
                        return Poll::Pending;
                    }
                }
                State::Elsewhere(course) => {
                    let reply = ready!(course.as_mut().poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(reply);
                }
                State::Asking(asking) => {
                    let ended = ready!(asking.as_mut().poll(cx));
                    self.state = State::Over;
                    match ended {
                        Ok(Ended::Reply(bytes)) => match refusal(&bytes) {
                            None => return Poll::Ready(Ok(bytes)),
                            Some(error) => ready!(self.refused(cx, error))?,
                        },
                        Ok(failed) => self.failed(failed)?,
                        // It was left a moment ago.
                        Err(error) if error.kind() == ErrorKind::Closed => {
                            self.failed(Ended::Failed(FailureKind::Closed, error.delivery()))?;
                        }
                        Err(error) => {
                            if let Some(server) = self.server() {
                                server.refused(&server.commands, &error);
                            }
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                State::Pausing(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.state = State::New;
                }
                State::Lost(changed) => {
                    ready!(changed.as_mut().poll(cx));
                    self.state = State::New;
                }
                State::Over => {
                    return Poll::Ready(Err(Error::usage("a call was polled again after it had ended")));
                }
            }
        }
    }

    /// What cannot be sent over a shared connection, or goes its own way.
    #[inline]
    fn is_unusual(&mut self) -> Option<Option<Result<ReplyBytes>>> {
        let spec = self.request.spec();
        if spec.flags.has(Flags::CONNECTION_STATE) && spec.name != "QUIT" {
            return Some(Some(Err(Error::usage(crate::usage::connection_state(spec.name)))));
        }
        self.request.is_blocking().then(|| self.start_blocking())
    }

    /// Hands the request to its circuit, or starts the course of a blocking command.
    #[inline]
    fn issue(&mut self, cx: &Context<'_>, target: Target<'a>) -> Option<Result<ReplyBytes>> {
        if !target.exclusive
            && let Some(unusual) = self.is_unusual()
        {
            return unusual;
        }
        let blocking = target.exclusive && self.request.is_blocking();
        let patience = match self.patience {
            Patience::Default if blocking => match crate::asked::limit_of(&self.request, &target.server.liveness) {
                Some(limit) => Patience::For(Some(limit)),
                None => return Some(Err(Error::usage(crate::usage::UNWATCHED))),
            },
            Patience::Default => Patience::For(target.server.config.timeout),
            chosen @ (Patience::For(_) | Patience::Until(_)) => chosen,
        };
        let issue = Issue { patience, replies: 1, batch: false, blocking };
        match target.circuit.issue(&self.request, issue, cx.waker()) {
            Ok(ticketed) => {
                self.state = State::Waiting(ticketed);
                None
            }
            Err(error) => {
                target.server.refused(target.circuit, &error);
                self.state = State::Over;
                Some(Err(error))
            }
        }
    }

    /// Hands the request to the server that is right for it now.
    fn issue_in(&mut self, cx: &Context<'_>, fleet: &Arc<Fleet>) -> Option<Result<ReplyBytes>> {
        if let Some(unusual) = self.is_unusual() {
            return unusual;
        }
        if matches!(self.patience, Patience::Default) {
            self.patience = Patience::For(fleet.common.config.timeout);
        }
        let way = self.server.take().map_or_else(|| fleet.way(&self.request), Way::To);
        let server = match way {
            Way::To(server) => server,
            Way::Scattered(route) => {
                self.fix_deadline();
                let (fleet, request) = (fleet.clone(), Box::new(self.request.clone()));
                self.state = State::Elsewhere(Box::pin(scatter(fleet, request, route, self.patience, self.policy)));
                return None;
            }
            Way::Impossible(why) => return Some(Err(Error::usage(why))),
            Way::Nowhere(why) => return self.lose(fleet, why),
        };
        server.start_commands();
        let issue = Issue { patience: self.patience, replies: 1, batch: false, blocking: false };
        match server.commands.issue(&self.request, issue, cx.waker()) {
            Ok(ticketed) => {
                self.state = State::Waiting(ticketed);
                self.was_issued = true;
                self.server = Some(server);
                None
            }
            // It was left a moment ago; the map has another.
            Err(error) if error.kind() == ErrorKind::Closed && !fleet.common.is_closed() => self.lose(fleet, NOBODY),
            Err(error) => {
                server.refused(&server.commands, &error);
                self.state = State::Over;
                Some(Err(error))
            }
        }
    }

    /// Its time begins, unless it has begun: a call that waits or is redirected has no more of it than another. A circuit
    /// that takes the call says when it ends, from a clock that it need not read for each.
    fn fix_deadline(&mut self) {
        if let Patience::For(limit) = self.patience {
            self.patience = Patience::Until(limit.map(clock::after));
        }
    }

    /// Nobody serves it at present: waits until that changes, within the call's deadline.
    #[cold]
    fn lose(&mut self, fleet: &Arc<Fleet>, why: &'static str) -> Option<Result<ReplyBytes>> {
        self.fix_deadline();
        let now = clock::now();
        let is_over = deadline(self.patience).is_some_and(|deadline| deadline <= now);
        if fleet.common.is_closed() {
            return Some(Err(Error::without_reply(FailureKind::Closed, Delivery::NotSent)));
        }
        if is_over || fleet.common.config.offline == Offline::Fail {
            return Some(Err(fleet.unserved(is_over, why)));
        }
        let until = deadline(self.patience).unwrap_or(now + LOST).min(now + LOST);
        let fleet = fleet.clone();
        self.state = State::Lost(Box::pin(async move { fleet.changed(until).await }));
        None
    }

    #[cold]
    fn start_blocking(&mut self) -> Option<Result<ReplyBytes>> {
        let router = Router::of(self.place);
        let course = blocking::run(router, Box::new(self.request.clone()), self.patience, EndOfStream::GoesOn);
        self.state = State::Elsewhere(Box::pin(course));
        None
    }

    /// The call ended without a reply: again, or the end.
    #[cold]
    fn failed(&mut self, ended: Ended) -> Result<()> {
        let Ended::Failed(kind, delivery) = ended else {
            return Err(Error::usage("a pipeline's reply came to a call"));
        };
        let decision = match kind {
            FailureKind::Disconnected => retry::without_reply(self.policy, delivery, self.request.spec()),
            // The server was left, not the client closed.
            FailureKind::Closed if matches!(self.place, Place::Fleet(fleet) if !fleet.common.is_closed()) => {
                retry::without_reply(self.policy, delivery, self.request.spec())
            }
            FailureKind::Expired | FailureKind::Closed => Decision::GiveUp,
        };
        if decision == Decision::GiveUp {
            let error = Error::without_reply(kind, delivery);
            let cause = self.circuit().and_then(|circuit| circuit.lock().last_error.clone());
            return Err(match cause {
                Some(cause) => error.with_source(cause),
                None => error,
            });
        }
        self.earlier = retry::over_attempts(self.earlier, delivery);
        self.count_retry();
        self.server = None;
        self.state = State::New;
        Ok(())
    }

    /// The server answered with an error: elsewhere, wait and ask again, or the end.
    #[cold]
    fn refused(&mut self, cx: &mut Context<'_>, error: ServerError) -> Poll<Result<()>> {
        match self.place {
            Place::Fleet(fleet) => {
                let Some(server) = self.server.take() else { return self.told(error) };
                let elsewhere = fleet.elsewhere(&server, &error);
                if matches!(elsewhere, Elsewhere::At(_) | Elsewhere::Asking(_)) {
                    self.redirects += 1;
                }
                let is_over = self.redirects > fleet.common.config.redirects_max;
                match elsewhere {
                    Elsewhere::No => self.server = Some(server),
                    Elsewhere::At(_) | Elsewhere::Asking(_) if is_over => {
                        self.server = Some(server);
                        return self.told(error);
                    }
                    Elsewhere::At(other) if self.redirects <= REDIRECTS_AT_ONCE => {
                        self.server = Some(other);
                        self.state = State::New;
                        return Poll::Ready(Ok(()));
                    }
                    Elsewhere::At(_) | Elsewhere::Later if self.policy == RetryPolicy::Never => {
                        self.server = Some(server);
                        return self.told(error);
                    }
                    Elsewhere::At(_) | Elsewhere::Later => return self.pause(cx, error, None),
                    Elsewhere::Asking(other) => {
                        let asking = asking(other.clone(), Box::new(self.request.clone()), self.patience);
                        self.server = Some(other);
                        self.state = State::Asking(Box::pin(asking));
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            Place::At(target)
                if !target.exclusive && error.code() == "READONLY" && self.policy != RetryPolicy::Never =>
            {
                // A primary that was demoted is left: the name may lead to another server now.
                if target.server.demoted() {
                    return self.pause(cx, error, None);
                }
            }
            Place::At(_) => {}
        }
        match retry::refused(self.policy, &error, self.attempt, &mut fastrand::Rng::new()) {
            Decision::GiveUp => self.told(error),
            Decision::Again => {
                self.state = State::New;
                Poll::Ready(Ok(()))
            }
            Decision::After(delay) => self.pause(cx, error, Some(delay)),
        }
    }

    fn told(&self, error: ServerError) -> Poll<Result<()>> {
        let error = Error::server_error(error);
        Poll::Ready(Err(match self.server() {
            Some(server) => error.with_node(&server.node),
            None => error,
        }))
    }

    /// Waits, then asks again, if there is time for it.
    fn pause(&mut self, cx: &mut Context<'_>, error: ServerError, delay: Option<Duration>) -> Poll<Result<()>> {
        let delay = delay.unwrap_or_else(|| retry::pause(self.attempt, &mut fastrand::Rng::new()));
        self.attempt = self.attempt.saturating_add(1);
        let at = clock::after(delay);
        if deadline(self.patience).is_some_and(|deadline| at >= deadline) {
            return self.told(error);
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

    fn count_retry(&self) {
        if let Some(circuit) = self.circuit() {
            circuit.lock().counters.retries += 1;
        }
        tracing::debug!(command = %self.request.name(), "issued again");
    }

    #[cold]
    pub(crate) fn describe(&self, error: Error) -> Error {
        let delivery = retry::over_attempts(self.earlier, error.delivery());
        let error = error.with_command(self.request.name()).with_delivery(delivery);
        match self.server() {
            Some(server) if error.node().is_none() => error.with_node(&server.node),
            _ => error,
        }
    }
}

impl Drop for Raw<'_> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting(ticketed) = self.state
            && let Some(circuit) = self.circuit()
        {
            circuit.abandon(ticketed);
        }
    }
}

const fn deadline(patience: Patience) -> Option<Instant> {
    match patience {
        Patience::Until(deadline) => deadline,
        Patience::For(_) | Patience::Default => None,
    }
}
