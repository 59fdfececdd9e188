//! The course of one blocking command: on a connection of its own, probed or sliced, issued again when its connection
//! dies, its ghost fenced first. The caller sees a reply, nil at its own time-out, or an error that says what may have
//! been lost.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use romaine_commands::{Flags, Request};
use romaine_proto::{
    Action, Detours, FailureKind, GhostVerdict, Lane as WireLane, Lead, Outcome, Parting, ProbeAnswer, Reconnect,
    Trigger, Wait, WaitLimits, WaitSettings, ends_by_itself, retry,
};
use romaine_resp::ServerError;

use crate::asked::{Asked, resolve_last_ids};
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::Patience;
use crate::clock;
use crate::common::Common;
use crate::dedicated::Dedicated;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::{Event, Lane};
use crate::fleet::Elsewhere;
use crate::probe;
use crate::router::Router;
use crate::server::{Course as Stay, Server};
use crate::under_way::{Answer, Fencing, Input, Manner, UnderWay, fence_in_the_end};

/// What an end of stream means in the middle of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfStream {
    /// The call goes on elsewhere. What the server may have discarded with the connection is told as an event: an error
    /// would end every consumer at every restart.
    GoesOn,
    /// Nothing: the caller has another way to find out.
    Unknown,
}

/// Runs a blocking command. `patience` is the caller's own limit besides the command's time-out.
pub(crate) async fn run(
    router: Router,
    request: Box<Request>,
    patience: Patience,
    end_of_stream: EndOfStream,
) -> Result<ReplyBytes> {
    if matches!(request.spec().name, "WAIT" | "WAITAOF") {
        return Err(Error::usage(
            "it waits for what its own connection wrote: use client.exclusive() for the writes and for it",
        ));
    }
    let _seat = Seat::take(router.common())?;
    let now = clock::now();
    let own = match patience {
        Patience::For(limit) => limit.map(|limit| clock::later(now, limit)),
        Patience::Until(deadline) => deadline,
        Patience::Default => None,
    };
    let Some(asked) = Asked::of(&request) else {
        return once(&router.server(&request)?, &request, own).await;
    };
    // Fixed before anything is waited for: what comes before the wait is a part of it to the caller.
    let limits = WaitLimits::new(now, asked.timeout, own);
    // What is rare is boxed: a blocked call carries only what it needs to wait.
    let request = Box::pin(resolve_last_ids(router.place(), request, limits.issued_by)).await?;
    let course = Course { router: &router, request: &request, asked, limits, end_of_stream };
    course.run().await
}

struct Course<'a> {
    router: &'a Router,
    request: &'a Request,
    asked: Asked,
    limits: WaitLimits,
    end_of_stream: EndOfStream,
}

/// How one connection's part of the course ended.
enum Part {
    Over(Result<ReplyBytes>),
    /// On another connection, at once or after the back-off.
    Again {
        backoff: bool,
    },
    /// The server sent it away, with this error.
    Sent(Onward, ServerError),
    /// To the owner of the slot, which has sent it here: it may have thought better of it, and nobody else tells.
    Return,
}

/// Where a server sent a command.
enum Onward {
    /// Where the map says.
    ByMap(Lead),
    /// To this server, which is getting the slot.
    Asking(Stay),
}

/// What is waited for after an attempt.
#[derive(Debug, Clone, Copy)]
enum Pause {
    /// The server; another connection may show that it is back.
    Unreachable,
    /// That it takes what it refused, or keeps what it closed: only time tells. Two connections that it closes at once
    /// would else call each other back without a delay.
    Refused,
}

impl Course<'_> {
    async fn run(&self) -> Result<ReplyBytes> {
        let common = self.router.common();
        let config = &common.config;
        let mut reconnect = Reconnect::new(config.backoff.clone(), config.stable_after, fastrand::Rng::new());
        let mut detours = Detours::default();
        let mut asked = None;
        loop {
            let manner = if asked.is_some() { Manner::Asking } else { Manner::Owner };
            let (stay, dedicated) = match self.connection(asked.take()).await {
                Ok(connected) => connected,
                Err(error) => {
                    if common.is_closed() || error.kind() == ErrorKind::Usage {
                        return Err(error);
                    }
                    if has_passed(self.limits.issued_by) {
                        return Err(too_late(Some(&error)));
                    }
                    let attempt = reconnect.attempt();
                    let delay = reconnect.failed(clock::now());
                    let lane = Lane::Blocking;
                    common.events.tell(Event::ReconnectFailed { lane, attempt, cause: error.clone(), next_in: delay });
                    Box::pin(self.pause(delay, Pause::Unreachable, &error)).await?;
                    continue;
                }
            };
            let usable_since = clock::now();
            match self.part(stay, dedicated, manner).await {
                Part::Over(reply) => return reply,
                Part::Sent(onward, error) => {
                    let lead = match onward {
                        Onward::ByMap(lead) => lead,
                        Onward::Asking(stay) => {
                            asked = Some(stay);
                            Lead::Elsewhere
                        }
                    };
                    let delay = detours.next(usable_since, clock::now(), lead, &mut fastrand::Rng::new());
                    if !delay.is_zero() {
                        Box::pin(self.pause(delay, Pause::Refused, &Error::server_error(error))).await?;
                    }
                }
                Part::Return => detours.waited(),
                Part::Again { backoff } => {
                    if common.is_closed() {
                        return Err(Error::without_reply(FailureKind::Closed, Delivery::Refused));
                    }
                    if backoff {
                        reconnect.ready(usable_since);
                        let delay = reconnect.failed(clock::now());
                        let cause = Error::without_reply(FailureKind::Disconnected, Delivery::NotSent);
                        Box::pin(self.pause(delay, Pause::Refused, &cause)).await?;
                    }
                }
            }
        }
    }

    /// To the server that a redirect named, or to the one that the map has.
    async fn connection(&self, asked: Option<Stay>) -> Result<(Stay, Dedicated)> {
        let stay = match asked {
            Some(stay) => stay,
            None => self.router.server(self.request)?.course(),
        };
        let server = stay.server();
        if let Some(dedicated) = server.pool.take() {
            return Ok((stay, dedicated));
        }
        match Box::pin(open(server, self.limits.issued_by)).await {
            Ok(dedicated) => Ok((stay, dedicated)),
            Err(error) => {
                server.trigger(Trigger::Reconnecting { attempts: 1 });
                Err(error)
            }
        }
    }

    /// Waits before the next connection, no longer than the caller wants to wait at all.
    async fn pause(&self, delay: Duration, why: Pause, cause: &Error) -> Result<()> {
        let until = clock::after(delay);
        let until = self.limits.deadline.map_or(until, |deadline| deadline.min(until));
        match (self.router, why) {
            // Another server may be the right one before the delay is over.
            (Router::Fleet(fleet), _) => fleet.changed(until).await,
            (Router::One(server), Pause::Unreachable) => server.dialler.back(until).await,
            (Router::One(_), Pause::Refused) => tokio::time::sleep_until(until.into()).await,
        }
        if self.is_over() { Err(too_late(Some(cause))) } else { Ok(()) }
    }

    fn is_over(&self) -> bool {
        has_passed(self.limits.deadline)
    }

    fn settings(&self, may_probe: bool) -> WaitSettings {
        let left = self.limits.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        WaitSettings::new(&self.router.common().config.liveness, left, may_probe)
    }

    /// On one connection, until it has the reply or is given up.
    async fn part(&self, stay: Stay, dedicated: Dedicated, manner: Manner) -> Part {
        let server = &stay.server().clone();
        let may_probe = match (server.config.liveness.probe_after, server.probes.known()) {
            (None, _) => false,
            (Some(_), Some(known)) => known,
            (Some(_), None) => {
                let granted = Box::pin(server.probes.is_granted(server));
                in_time(self.limits.issued_by, granted).await.unwrap_or(false)
            }
        };
        let mut settings = self.settings(may_probe);
        let mut under_way = UnderWay::new(server, stay, (dedicated, manner), self.request.spec().name, self.takes());
        if manner == Manner::Asking {
            settings = settings.visiting();
        }
        let mut wait = Wait::new(settings, clock::now(), self.limits.deadline);
        let mut action = wait.start(clock::now());
        let mut attempt = 0;
        let mut reply = None;
        loop {
            match action {
                Action::Issue { timeout } => {
                    if let Err(error) = under_way.issue(&self.asked.apply(self.request, timeout)) {
                        // The connection ended before the command was handed to it.
                        tracing::debug!(%error, "a dedicated connection was lost before its command");
                        return Part::Again { backoff: true };
                    }
                }
                Action::Probe => under_way.probe(),
                Action::Inquire => under_way.inquire(),
                Action::Continue => {}
                Action::End(Outcome::Deliver) => {
                    under_way.keep();
                    return Part::Over(reply.ok_or_else(|| Error::usage("a wait ended without its reply")));
                }
                Action::End(Outcome::Return) => {
                    under_way.keep();
                    return Part::Return;
                }
                Action::End(Outcome::TimedOut) => return Part::Over(self.timed_out(under_way)),
                Action::End(Outcome::Dead { silent_for, unblocked }) => {
                    return Box::pin(self.bury(under_way, silent_for, unblocked)).await;
                }
            }
            // In the handshake there is no wait yet that would watch over the time.
            let issued_by = self.limits.issued_by.filter(|_| !under_way.was_ready);
            action = match under_way.next([wait.next_timeout(), issued_by].into_iter().flatten().min()).await {
                Input::Timer if !under_way.was_ready && has_passed(self.limits.issued_by) => {
                    let cause = under_way.dedicated.as_ref().and_then(|it| it.circuit.lock().last_error.clone());
                    return Part::Over(Err(too_late(cause.as_ref())));
                }
                Input::Timer => wait.timeout(clock::now()),
                Input::Left => return Box::pin(self.bury(under_way, Duration::ZERO, false)).await,
                Input::Probed(ProbeAnswer::Refused) => {
                    // The permission was withdrawn. What is at the server has no slice: it must not stay there.
                    let silent_for = Duration::ZERO;
                    return Box::pin(self.bury(under_way, silent_for, false)).await;
                }
                Input::Probed(answer) => wait.probed(clock::now(), answer),
                Input::Ended(Ended::Reply(bytes)) => match Answer::of(&bytes) {
                    Answer::Nil => wait.nil(clock::now()),
                    Answer::Unblocked => wait.unblocked(clock::now()),
                    Answer::RoleChanged => {
                        server.demoted();
                        return Part::Again { backoff: true };
                    }
                    Answer::Refused(error) => {
                        if let Some(part) = self.elsewhere(&mut under_way, &error) {
                            return part;
                        }
                        match self.passes(&error, attempt).await {
                            Ok(true) => {
                                attempt += 1;
                                wait.start(clock::now())
                            }
                            Ok(false) => {
                                reply = Some(bytes);
                                wait.replied()
                            }
                            Err(error) => return Part::Over(Err(error)),
                        }
                    }
                    Answer::Other => {
                        reply = Some(bytes);
                        wait.replied()
                    }
                },
                Input::Ended(Ended::Batch(_)) => return Part::Over(Err(Error::usage("a batch came to a single call"))),
                Input::Ended(Ended::Failed(_, Delivery::NotSent)) => return Part::Again { backoff: true },
                Input::Ended(Ended::Failed(..)) => return Box::pin(self.ended_under_it(under_way)).await,
            };
        }
    }

    /// Another server is the right one, or will be. `None` where there is no other.
    fn elsewhere(&self, under_way: &mut UnderWay<'_>, error: &ServerError) -> Option<Part> {
        let server = under_way.server;
        let Router::Fleet(fleet) = self.router else {
            let is_left = error.code() == "READONLY" && server.demoted();
            return is_left.then_some(Part::Again { backoff: true });
        };
        let (onward, stays) = match fleet.elsewhere(server, error) {
            Elsewhere::No => return None,
            // The map has learned it. To itself: our connections lead to another server than its name does.
            Elsewhere::At(other) => {
                let to_itself = Arc::ptr_eq(&other, server);
                (Onward::ByMap(Lead::moved(to_itself)), !to_itself)
            }
            Elsewhere::Asking(other) => (Onward::Asking(other.course()), true),
            Elsewhere::Later if error.code() == "READONLY" => return Some(Part::Again { backoff: true }),
            Elsewhere::Later => (Onward::ByMap(Lead::Later), true),
        };
        if stays {
            under_way.keep();
        }
        Some(Part::Sent(onward, error.clone()))
    }

    /// Waits, if the server's refusal passes by itself.
    async fn passes(&self, error: &ServerError, attempt: u32) -> Result<bool> {
        match retry::refused(retry::RetryPolicy::Derived, error, attempt, &mut fastrand::Rng::new()) {
            retry::Decision::After(delay) => {
                let cause = Error::server_error(error.clone());
                Box::pin(self.pause(delay, Pause::Refused, &cause)).await.map(|()| true)
            }
            retry::Decision::Again | retry::Decision::GiveUp => Ok(false),
        }
    }

    fn takes(&self) -> bool {
        self.request.spec().flags.has(Flags::TAKES)
    }

    /// The caller's time is over: nil if it was the command's own time-out.
    fn timed_out(&self, mut under_way: UnderWay<'_>) -> Result<ReplyBytes> {
        under_way.keep();
        if has_passed(self.limits.own) {
            return Err(Error::new(
                ErrorKind::Timeout,
                Delivery::Refused,
                "the caller's limit passed; nothing was taken",
            ));
        }
        Ok(ReplyBytes::copy(b"_\r\n"))
    }

    /// The connection ended while the command was at the server.
    async fn ended_under_it(&self, mut under_way: UnderWay<'_>) -> Part {
        // Nobody may have looked since the handshake.
        under_way.was_ready = true;
        // The end of the stream comes after every reply that was written to it, so the wait goes on by itself. But a
        // server that closes a client discards what it has not written yet: LPUSH and CLIENT KILL in one turn of its
        // loop lose the element (fault lab, F07 "just served"). That cannot be known here, so it is told.
        if under_way.dedicated.as_ref().is_some_and(|dedicated| dedicated.circuit.lock().orderly_end) {
            return match self.end_of_stream {
                EndOfStream::GoesOn => {
                    if self.takes() {
                        under_way.server.tell(Event::ElementMayBeLost { command: self.request.spec().name });
                    }
                    Part::Again { backoff: true }
                }
                EndOfStream::Unknown => {
                    Part::Over(Err(Error::without_reply(FailureKind::Disconnected, Delivery::Unknown)))
                }
            };
        }
        self.bury(under_way, Duration::ZERO, false).await
    }

    /// The connection is dead: its ghost is examined and ended before the command is issued again. The socket stays
    /// open meanwhile, because a reply may yet arrive on it.
    async fn bury(&self, mut under_way: UnderWay<'_>, silent_for: Duration, unblocked: bool) -> Part {
        let command = self.request.spec().name;
        let server = under_way.server;
        let Some(ghost) = under_way.ghost.clone() else {
            let was_sent = under_way.was_ready;
            under_way.give_up();
            // Without a number for it nobody can be asked.
            return if was_sent { self.maybe_lost() } else { Part::Again { backoff: true } };
        };
        if silent_for > Duration::ZERO {
            let node = under_way.dedicated.as_ref().map_or_else(|| server.node.clone(), |it| it.node.clone());
            let cause = Error::silent(silent_for).with_node(&node);
            server.tell(Event::Disconnected { lane: Lane::Blocking, node, cause });
            server.trigger(Trigger::Silent);
        }
        let asking = server.clone();
        let mut fencing: Fencing = Box::pin(async move { probe::fence(&asking, &ghost).await });
        let mut patience = pin!(self.patience());
        let verdict = loop {
            tokio::select! {
                biased;
                ended = under_way.late_reply() => {
                    // It was not dead after all, or the path has healed in time.
                    if let Some(part) = Self::late(&mut under_way, ended) {
                        return part;
                    }
                }
                verdict = &mut fencing => break verdict,
                () = &mut patience => return self.undecided(under_way, fencing),
                () = left_behind(server) => return self.forsake(under_way, fencing),
            }
        };
        let verdict = match verdict {
            Ok(Some(_)) if unblocked => GhostVerdict::StillBlocked,
            Ok(Some(verdict)) => verdict,
            Ok(None) => self.wait_out(&mut under_way).await,
            // The client was closed: what the server did in the last moment is not known.
            Err(error) if self.takes() => return Part::Over(Err(error.element_may_be_lost())),
            Err(error) => return Part::Over(Err(error)),
        };
        server.tell(Event::GhostFenced { command, verdict });
        if verdict.may_have_lost() {
            // What the server sent before the ghost was ended may still be on its way; not so when the connection has
            // ended meanwhile (the kernel gives a silent one up after 9 s): then nothing more can come.
            let is_open = under_way.ticketed.is_some();
            let grace = tokio::time::sleep(server.config.liveness.probe_grace);
            let late = tokio::select! {
                biased;
                ended = under_way.late_reply(), if is_open => Some(ended),
                () = grace, if is_open => None,
                else => None,
            };
            if let Some(part) = late.and_then(|ended| Self::late(&mut under_way, ended)) {
                return part;
            }
            under_way.give_up();
            return self.maybe_lost();
        }
        under_way.give_up();
        if self.is_over() {
            return Part::Over(self.timed_out(under_way));
        }
        Part::Again { backoff: false }
    }

    /// The caller's time-out holds for an outage too: until then, and the time of an echo, the verdict is waited for.
    async fn patience(&self) {
        match self.limits.deadline {
            None => std::future::pending().await,
            Some(deadline) => {
                let until = deadline.max(clock::now()) + self.router.common().config.liveness.probe_grace;
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }

    /// The caller's time is over and the server cannot be asked. The ghost is fenced as soon as it can.
    fn undecided(&self, mut under_way: UnderWay<'_>, fencing: Fencing) -> Part {
        under_way.give_up();
        self.fence_later(under_way.server, fencing);
        let error = Error::new(
            ErrorKind::Timeout,
            Delivery::Unknown,
            "the blocked connection died, and the server could not be asked about it before the time-out",
        );
        Part::Over(Err(if self.takes() { error.element_may_be_lost() } else { error }))
    }

    fn fence_later(&self, server: &Arc<Server>, fencing: Fencing) {
        let (asking, command, takes) = (server.clone(), self.request.spec().name, self.takes());
        server.spawn(async move { fence_in_the_end(&asking, fencing, command, takes).await });
    }

    /// Another server has the role, and the old one cannot be asked. What it does with the ghost is done to data that
    /// nobody sees any more; what it gave away just before is told as an event, and the ghost is fenced when it can be.
    fn forsake(&self, mut under_way: UnderWay<'_>, fencing: Fencing) -> Part {
        under_way.give_up();
        self.fence_later(under_way.server, fencing);
        if self.takes() {
            under_way.server.tell(Event::ElementMayBeLost { command: self.request.spec().name });
        }
        Part::Again { backoff: false }
    }

    /// What arrived on a connection that was thought dead. The order to kill it may be on its way, or have been executed:
    /// the next command would be killed by it, with what it had just taken. So it is used no more.
    fn late(under_way: &mut UnderWay<'_>, ended: Ended) -> Option<Part> {
        let Ended::Reply(bytes) = ended else { return None };
        under_way.give_up();
        match Answer::of(&bytes) {
            Answer::Other => Some(Part::Over(Ok(bytes))),
            Answer::Nil | Answer::Unblocked | Answer::RoleChanged | Answer::Refused(_) => {
                Some(Part::Again { backoff: false })
            }
        }
    }

    /// Neither KILL nor UNBLOCK is permitted: the ghost ends with its slice.
    async fn wait_out(&self, under_way: &mut UnderWay<'_>) -> GhostVerdict {
        if let Some(until) = under_way.server_until {
            tokio::time::sleep_until(ends_by_itself(until).into()).await;
        }
        GhostVerdict::Stranger
    }

    fn maybe_lost(&self) -> Part {
        let spec = self.request.spec();
        if spec.flags.has(Flags::READ_ONLY) {
            return Part::Again { backoff: false };
        }
        let error = Error::new(ErrorKind::Closed, Delivery::Unknown, "the blocked connection died");
        if !self.takes() {
            return Part::Over(Err(error));
        }
        self.router.common().events.tell(Event::ElementMayBeLost { command: spec.name });
        Part::Over(Err(error.element_may_be_lost()))
    }
}

/// Ends a little after the server was left for another.
async fn left_behind(server: &Arc<Server>) {
    let Some(fleet) = server.fleet() else { return std::future::pending().await };
    let mut parting = Parting::default();
    while let Some(until) = parting.look_again(clock::now(), probe::standing(server)) {
        fleet.changed(until).await;
    }
}

/// One of the connections that blocking commands may use.
struct Seat<'a>(&'a Common);

impl<'a> Seat<'a> {
    fn take(common: &'a Common) -> Result<Self> {
        let before = common.blocking.fetch_add(1, Ordering::AcqRel);
        let seat = Self(common);
        if before >= common.config.blocking_connections_max {
            return Err(Error::new(
                ErrorKind::Overloaded,
                Delivery::NotSent,
                "too many blocking commands are under way (limit blocking_connections_max)",
            ));
        }
        Ok(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.blocking.fetch_sub(1, Ordering::AcqRel);
    }
}

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| clock::now() >= deadline)
}

/// What `work` comes to, if it does until `deadline`.
async fn in_time<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.ok(),
        None => Some(work.await),
    }
}

/// A connection of its own, if there is one until `deadline`.
async fn open(server: &Arc<Server>, deadline: Option<Instant>) -> Result<Dedicated> {
    let opening = Dedicated::open(server, Lane::Blocking, WireLane::Requests);
    in_time(deadline, opening).await.unwrap_or_else(|| Err(too_late(None).with_node(&server.node)))
}

/// The caller's time passed before the command was at a server that takes it.
fn too_late(cause: Option<&Error>) -> Error {
    let (delivery, message) = match cause.and_then(Error::server) {
        Some(_) => (Delivery::Refused, "the server could not serve it until its time-out"),
        None => (Delivery::NotSent, "there was no connection until its time-out"),
    };
    let error = Error::new(ErrorKind::Timeout, delivery, message);
    match cause {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// A blocking command whose time-out we cannot read: sent as it is; the server says what is wrong.
async fn once(server: &Arc<Server>, request: &Request, deadline: Option<Instant>) -> Result<ReplyBytes> {
    let dedicated = open(server, deadline).await?;
    let ticketed = dedicated.issue(request, true)?;
    crate::dedicated::reply(dedicated.circuit.outcome(ticketed).await, &dedicated.circuit)
}
