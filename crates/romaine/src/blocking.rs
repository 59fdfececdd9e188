//! The course of one blocking command: on a connection of its own, probed or sliced, issued again when its connection
//! dies, its ghost fenced first. The caller sees a reply, nil at its own time-out, or an error that says what may have
//! been lost.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use romaine_commands::{Flags, Request, Wait as WaitArgument, cmd};
use romaine_proto::{
    Action, FailureKind, Ghost, GhostVerdict, Lane as WireLane, Link, Liveness, Outcome, ProbeAnswer, Reconnect, Wait,
    WaitSettings, retry,
};
use romaine_resp::{Reader, ServerError, Token};
use tokio::time::Sleep;

use crate::call::{Target, ask, refusal};
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::{Patience, Ticketed};
use crate::clock;
use crate::dedicated::Dedicated;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::{Event, Lane};
use crate::probe;
use crate::shared::Shared;

/// What an end of stream means in the middle of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfStream {
    /// That nothing is missing: the server sends it after every reply. Between us and the server a proxy that dies can
    /// make it untrue; to doubt it would be a false alarm with every restart and every idle connection closed.
    NothingMissing,
    /// Nothing: the caller has another way to find out.
    Unknown,
}

/// Runs a blocking command. `patience` is the caller's own limit besides the command's time-out.
pub(crate) async fn run(
    shared: Arc<Shared>,
    request: Box<Request>,
    patience: Patience,
    end_of_stream: EndOfStream,
) -> Result<ReplyBytes> {
    if matches!(request.spec().name, "WAIT" | "WAITAOF") {
        return Err(Error::usage(
            "it waits for what its own connection wrote: use client.exclusive() for the writes and for it",
        ));
    }
    let _place = Place::take(&shared)?;
    // What is rare is boxed: a blocked call carries only what it needs to wait.
    let request = Box::pin(resolve_last_ids(&shared, request)).await?;
    let now = clock::now();
    let Some(asked) = Asked::of(&request) else {
        return once(&shared, &request).await;
    };
    let own = match patience {
        Patience::For(limit) => limit.map(|limit| now + limit),
        Patience::Until(deadline) => deadline,
        Patience::Default => None,
    };
    let server = asked.timeout.map(|timeout| now + timeout);
    let deadline = [own, server].into_iter().flatten().min();
    let course = Course { shared: &shared, request: &request, asked, deadline, own, end_of_stream };
    course.run().await
}

/// How long a blocking request may take on a connection that is not probed: the server's own time-out and the grace for
/// its timer. `None`: for ever.
pub(crate) fn limit_of(request: &Request, liveness: &Liveness) -> Option<Duration> {
    match Asked::of(request) {
        Some(asked) => Some(asked.timeout? + liveness.slice_grace),
        // The server will refuse it at once.
        None => Some(liveness.slice_grace),
    }
}

/// The time-out that a blocking request asks of the server.
#[derive(Debug, Clone, Copy)]
struct Asked {
    position: usize,
    millis: bool,
    /// `None`: for ever.
    timeout: Option<Duration>,
}

impl Asked {
    /// `None` when it cannot be read: the server will say what is wrong with it.
    fn of(request: &Request) -> Option<Self> {
        let position = request.wait_position()?;
        let text = std::str::from_utf8(request.arg(position)?).ok()?;
        let millis = matches!(request.spec().wait, WaitArgument::BlockMillis | WaitArgument::LastMillis);
        let timeout = if millis {
            Duration::from_millis(text.parse().ok()?)
        } else {
            Duration::try_from_secs_f64(text.parse().ok()?).ok()?
        };
        Some(Self { position, millis, timeout: (!timeout.is_zero()).then_some(timeout) })
    }

    /// The request with the time-out `timeout`.
    fn apply(self, request: &Request, timeout: Option<Duration>) -> Request {
        if timeout == self.timeout {
            return request.clone();
        }
        let text = match timeout {
            None => "0".to_owned(),
            Some(timeout) if self.millis => timeout.as_millis().max(1).to_string(),
            Some(timeout) => format!("{:.3}", timeout.as_secs_f64()),
        };
        request.with_arg(self.position, text.as_bytes())
    }
}

struct Course<'a> {
    shared: &'a Arc<Shared>,
    request: &'a Request,
    asked: Asked,
    /// When the wait is over: the command's time-out or the caller's limit.
    deadline: Option<Instant>,
    /// The caller's limit: passing it is an error, not nil.
    own: Option<Instant>,
    end_of_stream: EndOfStream,
}

/// How one connection's part of the course ended.
enum Part {
    Over(Result<ReplyBytes>),
    /// On another connection, at once or after the back-off.
    Again {
        backoff: bool,
    },
}

impl Course<'_> {
    async fn run(self) -> Result<ReplyBytes> {
        let config = &self.shared.config;
        let mut reconnect = Reconnect::new(config.backoff.clone(), config.stable_after, fastrand::Rng::new());
        loop {
            let dedicated = match self.connection().await {
                Ok(dedicated) => dedicated,
                Err(error) => {
                    if self.shared.is_closed() {
                        return Err(error);
                    }
                    let attempt = reconnect.attempt();
                    let delay = reconnect.failed(clock::now());
                    let lane = Lane::Blocking;
                    self.shared.events.tell(Event::ReconnectFailed {
                        lane,
                        attempt,
                        cause: error.clone(),
                        next_in: delay,
                    });
                    Box::pin(self.pause(delay, &error)).await?;
                    continue;
                }
            };
            let usable_since = clock::now();
            match self.part(dedicated).await {
                Part::Over(reply) => return reply,
                Part::Again { backoff } => {
                    if self.shared.is_closed() {
                        return Err(Error::without_reply(FailureKind::Closed, Delivery::Refused));
                    }
                    if backoff {
                        reconnect.ready(usable_since);
                        let delay = reconnect.failed(clock::now());
                        let cause = Error::without_reply(FailureKind::Disconnected, Delivery::NotSent);
                        Box::pin(self.pause(delay, &cause)).await?;
                    }
                }
            }
        }
    }

    async fn connection(&self) -> Result<Dedicated> {
        if let Some(dedicated) = self.shared.pool.take() {
            return Ok(dedicated);
        }
        Box::pin(Dedicated::open(self.shared, Lane::Blocking, WireLane::Requests)).await
    }

    /// Waits before the next connection, no longer than the caller wants to wait at all.
    async fn pause(&self, delay: Duration, cause: &Error) -> Result<()> {
        let until = clock::now() + delay;
        let until = self.deadline.map_or(until, |deadline| deadline.min(until));
        tokio::time::sleep_until(until.into()).await;
        if self.deadline.is_some_and(|deadline| clock::now() >= deadline) {
            return Err(Error::new(
                ErrorKind::Timeout,
                Delivery::NotSent,
                "there was no connection until its time-out",
            )
            .with_source(cause.clone()));
        }
        Ok(())
    }

    fn settings(&self, may_probe: bool) -> WaitSettings {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        WaitSettings::new(&self.shared.config.liveness, left, may_probe)
    }

    /// On one connection, until it has the reply or is given up.
    async fn part(&self, dedicated: Dedicated) -> Part {
        let may_probe = match (self.shared.config.liveness.probe_after, self.shared.probes.known()) {
            (None, _) => false,
            (Some(_), Some(known)) => known,
            (Some(_), None) => Box::pin(self.shared.probes.is_granted(self.shared)).await,
        };
        let mut wait = Wait::new(self.settings(may_probe), clock::now(), self.deadline);
        let mut action = wait.start(clock::now());
        let mut under_way = UnderWay::new(self.shared, dedicated, self.request.spec().name, self.takes());
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
                Action::Continue => {}
                Action::End(Outcome::Deliver) => {
                    under_way.keep();
                    return Part::Over(reply.ok_or_else(|| Error::usage("a wait ended without its reply")));
                }
                Action::End(Outcome::TimedOut) => return Part::Over(self.timed_out(under_way)),
                Action::End(Outcome::Dead { silent_for, unblocked }) => {
                    return Box::pin(self.bury(under_way, silent_for, unblocked)).await;
                }
            }
            action = match under_way.next(wait.next_timeout()).await {
                Input::Timer => wait.timeout(clock::now()),
                Input::Probed(ProbeAnswer::Refused) => {
                    // The permission was withdrawn. What is at the server has no slice: it must not stay there.
                    let silent_for = Duration::ZERO;
                    return Box::pin(self.bury(under_way, silent_for, false)).await;
                }
                Input::Probed(answer) => wait.probed(clock::now(), answer),
                Input::Ended(Ended::Reply(bytes)) => match Answer::of(&bytes) {
                    Answer::Nil => wait.nil(clock::now()),
                    Answer::Unblocked => wait.unblocked(clock::now()),
                    Answer::RoleChanged => return Part::Again { backoff: true },
                    Answer::Passing(error) => {
                        let delay = match retry::refused(
                            retry::RetryPolicy::Derived,
                            &error,
                            attempt,
                            &mut fastrand::Rng::new(),
                        ) {
                            retry::Decision::After(delay) => delay,
                            retry::Decision::Again | retry::Decision::GiveUp => return Part::Over(Ok(bytes)),
                        };
                        attempt += 1;
                        if let Err(error) = self.pause(delay, &Error::server_error(error)).await {
                            return Part::Over(Err(error));
                        }
                        wait.start(clock::now())
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

    fn takes(&self) -> bool {
        self.request.spec().flags.has(Flags::TAKES)
    }

    /// The caller's time is over: nil if it was the command's own time-out.
    fn timed_out(&self, mut under_way: UnderWay<'_>) -> Result<ReplyBytes> {
        under_way.keep();
        if self.own.is_some_and(|own| own <= clock::now()) {
            return Err(Error::new(
                ErrorKind::Timeout,
                Delivery::Refused,
                "the caller's limit passed; nothing was taken",
            ));
        }
        Ok(ReplyBytes::copy(b"_\r\n"))
    }

    /// The connection ended while the command was at the server.
    async fn ended_under_it(&self, under_way: UnderWay<'_>) -> Part {
        // After the peer's end of stream nothing can be missing: it comes after every reply.
        if under_way.dedicated.as_ref().is_some_and(|dedicated| dedicated.circuit.lock().orderly_end) {
            return match self.end_of_stream {
                EndOfStream::NothingMissing => Part::Again { backoff: true },
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
        let Some(ghost) = under_way.ghost.clone() else {
            let was_sent = under_way.was_ready;
            under_way.give_up();
            // Without a number for it nobody can be asked.
            return if was_sent { self.maybe_lost() } else { Part::Again { backoff: true } };
        };
        if silent_for > Duration::ZERO {
            let node = under_way.dedicated.as_ref().map_or_else(|| self.shared.node.clone(), |it| it.node.clone());
            let cause = Error::silent(silent_for).with_node(&node);
            self.shared.events.tell(Event::Disconnected { lane: Lane::Blocking, node, cause });
        }
        let shared = self.shared.clone();
        let mut fencing: Fencing = Box::pin(async move { probe::fence(&shared, &ghost).await });
        let mut patience = pin!(self.patience());
        let verdict = loop {
            tokio::select! {
                biased;
                ended = under_way.late_reply() => {
                    // It was not dead after all, or the path has healed in time.
                    if let Some(part) = self.late(&mut under_way, ended) {
                        return part;
                    }
                }
                verdict = &mut fencing => break verdict,
                () = &mut patience => return self.undecided(under_way, fencing),
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
        self.shared.events.tell(Event::GhostFenced { command, verdict });
        if verdict.may_have_lost() {
            // What the server sent before the ghost was ended may still be on its way; not so when the connection has
            // ended meanwhile (the kernel gives a silent one up after 9 s): then nothing more can come.
            let is_open = under_way.ticketed.is_some();
            let grace = tokio::time::sleep(self.shared.config.liveness.probe_grace);
            let late = tokio::select! {
                biased;
                ended = under_way.late_reply(), if is_open => Some(ended),
                () = grace, if is_open => None,
                else => None,
            };
            if let Some(part) = late.and_then(|ended| self.late(&mut under_way, ended)) {
                return part;
            }
            under_way.give_up();
            return self.maybe_lost();
        }
        under_way.give_up();
        if self.deadline.is_some_and(|deadline| deadline <= clock::now()) {
            return Part::Over(self.timed_out(under_way));
        }
        Part::Again { backoff: false }
    }

    /// The caller's time-out holds for an outage too: until then, and the time of an echo, the verdict is waited for.
    async fn patience(&self) {
        match self.deadline {
            None => std::future::pending().await,
            Some(deadline) => {
                let until = deadline.max(clock::now()) + self.shared.config.liveness.probe_grace;
                tokio::time::sleep_until(until.into()).await;
            }
        }
    }

    /// The caller's time is over and the server cannot be asked. The ghost is fenced as soon as it can.
    fn undecided(&self, mut under_way: UnderWay<'_>, fencing: Fencing) -> Part {
        under_way.give_up();
        let (shared, command, takes) = (self.shared.clone(), self.request.spec().name, self.takes());
        self.shared.spawn(async move { fence_in_the_end(&shared, fencing, command, takes).await });
        let error = Error::new(
            ErrorKind::Timeout,
            Delivery::Unknown,
            "the blocked connection died, and the server could not be asked about it before the time-out",
        );
        Part::Over(Err(if takes { error.element_may_be_lost() } else { error }))
    }

    /// What arrived on a connection that was thought dead.
    fn late(&self, under_way: &mut UnderWay<'_>, ended: Ended) -> Option<Part> {
        let Ended::Reply(bytes) = ended else { return None };
        under_way.keep();
        match Answer::of(&bytes) {
            Answer::Other => Some(Part::Over(Ok(bytes))),
            Answer::Nil | Answer::Unblocked | Answer::RoleChanged | Answer::Passing(_) => {
                Some(Part::Again { backoff: false })
            }
        }
    }

    /// Neither KILL nor UNBLOCK is permitted: the ghost ends with its slice.
    async fn wait_out(&self, under_way: &mut UnderWay<'_>) -> GhostVerdict {
        if let Some(until) = under_way.server_until {
            tokio::time::sleep_until((until + Duration::from_millis(100)).into()).await;
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
        self.shared.events.tell(Event::ElementMayBeLost { command: spec.name });
        Part::Over(Err(error.element_may_be_lost()))
    }
}

/// What a reply means to a wait.
enum Answer {
    Nil,
    Unblocked,
    RoleChanged,
    Passing(ServerError),
    Other,
}

impl Answer {
    fn of(bytes: &ReplyBytes) -> Self {
        if let Some(error) = refusal(bytes) {
            return match error.as_str() {
                text if text.starts_with("UNBLOCKED client unblocked") => Self::Unblocked,
                _ if error.code() == "UNBLOCKED" => Self::RoleChanged,
                _ if retry::is_passing(&error) => Self::Passing(error),
                _ => Self::Other,
            };
        }
        match Reader::new(bytes.as_slice()).token() {
            Ok(Token::Null) => Self::Nil,
            _ => Self::Other,
        }
    }
}

enum Input {
    Ended(Ended),
    Probed(ProbeAnswer),
    Timer,
}

type Fencing = Pin<Box<dyn Future<Output = Result<Option<GhostVerdict>>> + Send>>;

type Probing = Pin<Box<dyn Future<Output = ProbeAnswer> + Send>>;

/// A command on its connection. Dropped while the command is at the server, it cancels it there.
struct UnderWay<'a> {
    shared: &'a Arc<Shared>,
    dedicated: Option<Dedicated>,
    ticketed: Option<Ticketed>,
    ghost: Option<Ghost>,
    /// The handshake was done: the command has been sent.
    was_ready: bool,
    server_until: Option<Instant>,
    probing: Option<Probing>,
    timer: Option<Pin<Box<Sleep>>>,
    command: &'static str,
    takes: bool,
}

impl<'a> UnderWay<'a> {
    const fn new(shared: &'a Arc<Shared>, dedicated: Dedicated, command: &'static str, takes: bool) -> Self {
        Self {
            shared,
            dedicated: Some(dedicated),
            ticketed: None,
            ghost: None,
            was_ready: false,
            server_until: None,
            probing: None,
            timer: None,
            command,
            takes,
        }
    }

    fn issue(&mut self, request: &Request) -> Result<()> {
        let Some(dedicated) = &self.dedicated else { return Err(Error::usage("no connection")) };
        self.probing = None;
        self.server_until = Asked::of(request).and_then(|asked| asked.timeout).map(|timeout| clock::now() + timeout);
        self.ticketed = Some(dedicated.issue(request, true)?);
        Ok(())
    }

    /// Who we are to the server, as soon as the handshake has told.
    fn identify(&mut self) -> Option<u64> {
        let dedicated = self.dedicated.as_ref()?;
        let (client_id, address, run_id) = {
            let state = dedicated.circuit.lock();
            self.was_ready |= state.connection.link() == Link::Ready;
            let run_id = self.ghost.is_none().then(|| state.run_id.as_deref().map(str::to_owned)).flatten();
            (state.client_id?, state.local_address, run_id)
        };
        if self.ghost.is_none() {
            self.ghost = Some(Ghost { client_id, run_id, address: address.map(|address| address.to_string()) });
        }
        Some(client_id)
    }

    fn probe(&mut self) {
        let Some(client_id) = self.identify() else {
            self.probing = Some(Box::pin(async { ProbeAnswer::Lost }));
            return;
        };
        self.probing = Some(Box::pin(probe::probe(self.shared.clone(), client_id)));
    }

    async fn next(&mut self, at: Option<Instant>) -> Input {
        std::future::poll_fn(|cx| self.poll_next(cx, at)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<Input> {
        if let Some(ended) = self.poll_ended(cx) {
            return Poll::Ready(Input::Ended(ended));
        }
        if let Some(probing) = &mut self.probing
            && let Poll::Ready(answer) = probing.as_mut().poll(cx)
        {
            self.probing = None;
            return Poll::Ready(Input::Probed(answer));
        }
        let Some(at) = at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if timer.deadline() != at.into() {
            timer.as_mut().reset(at.into());
        }
        timer.as_mut().poll(cx).map(|()| Input::Timer)
    }

    fn poll_ended(&mut self, cx: &Context<'_>) -> Option<Ended> {
        self.identify();
        let (dedicated, ticketed) = (self.dedicated.as_ref()?, self.ticketed?);
        let ended = dedicated.circuit.collect(ticketed, cx.waker())?;
        self.ticketed = None;
        Some(ended)
    }

    /// Waits for whatever still comes; for ever if nothing can.
    async fn late_reply(&mut self) -> Ended {
        std::future::poll_fn(|cx| self.poll_ended(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The connection is free again: it is kept for the next command.
    fn keep(&mut self) {
        if self.ticketed.is_none()
            && let Some(dedicated) = self.dedicated.take()
        {
            self.shared.pool.give(dedicated, self.shared.config.blocking_idle_max);
        }
    }

    /// Nothing is to be cancelled any more. What the kernel still holds of the command must not arrive later.
    fn give_up(&mut self) {
        let Some(dedicated) = self.dedicated.take() else { return };
        if let Some(ticketed) = self.ticketed.take() {
            dedicated.circuit.abandon(ticketed);
        }
        dedicated.circuit.lock().aborting = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let (Some(dedicated), Some(ticketed)) = (self.dedicated.take(), self.ticketed.take()) else { return };
        if self.shared.is_closed() {
            return;
        }
        let ghost = self.ghost.clone();
        self.shared.spawn(cancel(self.shared.clone(), dedicated, ticketed, ghost, self.command, self.takes));
    }
}

/// Ends a blocking command whose caller has gone, so that it takes nothing any more; says so if it just had.
async fn cancel(
    shared: Arc<Shared>,
    dedicated: Dedicated,
    ticketed: Ticketed,
    ghost: Option<Ghost>,
    command: &'static str,
    takes: bool,
) {
    let grace = shared.config.liveness.probe_grace;
    let lost = || {
        if takes {
            shared.events.tell(Event::ElementMayBeLost { command });
        }
    };
    let Some(ghost) = ghost else {
        // The handshake was not even done: the command has not been sent, and never will be.
        dedicated.circuit.abandon(ticketed);
        return;
    };
    if shared.probes.is_granted(&shared).await {
        let answer = probe::probe(shared.clone(), ghost.client_id).await;
        if matches!(answer, ProbeAnswer::Unblocked | ProbeAnswer::NotBlocked)
            && let Ok(ended) = tokio::time::timeout(grace, dedicated.circuit.outcome(ticketed)).await
        {
            if let Ended::Reply(bytes) = ended {
                if matches!(Answer::of(&bytes), Answer::Other) && refusal(&bytes).is_none() {
                    lost();
                }
                shared.pool.give(dedicated, shared.config.blocking_idle_max);
            }
            return;
        }
        if answer == ProbeAnswer::Unblocked {
            return;
        }
    } else {
        // Closing is the best fence there is without permissions: on a living path the server drops the client within
        // 50 ms. What arrives before that is lost, and told.
        let ended = tokio::time::timeout(Duration::from_millis(20), dedicated.circuit.outcome(ticketed)).await;
        if matches!(ended, Ok(Ended::Reply(_))) {
            lost();
        }
        return;
    }
    let asking = shared.clone();
    let fencing = Box::pin(async move { probe::fence(&asking, &ghost).await });
    fence_in_the_end(&shared, fencing, command, takes).await;
}

/// Fences a ghost whose caller has gone, however long the outage is; says what became of it.
async fn fence_in_the_end(shared: &Arc<Shared>, fencing: Fencing, command: &'static str, takes: bool) {
    let verdict = match fencing.await {
        Ok(Some(verdict)) => verdict,
        Ok(None) => GhostVerdict::Stranger,
        Err(_closed) => return,
    };
    shared.events.tell(Event::GhostFenced { command, verdict });
    if verdict.may_have_lost() && takes {
        shared.events.tell(Event::ElementMayBeLost { command });
    }
}

/// One of the connections that blocking commands may use.
struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    fn take(shared: &'a Shared) -> Result<Self> {
        let before = shared.blocking.fetch_add(1, Ordering::AcqRel);
        let place = Self(shared);
        if before >= shared.config.blocking_connections_max {
            return Err(Error::new(
                ErrorKind::Overloaded,
                Delivery::NotSent,
                "too many blocking commands are under way (limit blocking_connections_max)",
            ));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.blocking.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A blocking command whose time-out we cannot read: sent as it is; the server says what is wrong.
async fn once(shared: &Arc<Shared>, request: &Request) -> Result<ReplyBytes> {
    let dedicated = Dedicated::open(shared, Lane::Blocking, WireLane::Requests).await?;
    let ticketed = dedicated.issue(request, true)?;
    crate::dedicated::reply(dedicated.circuit.outcome(ticketed).await, &dedicated.circuit)
}

/// `XREAD … $` means "after the newest entry now". Resolved once: asked again in every slice it would skip what came
/// between two slices.
async fn resolve_last_ids(shared: &Arc<Shared>, mut request: Box<Request>) -> Result<Box<Request>> {
    if request.spec().name != "XREAD" {
        return Ok(request);
    }
    let args: Vec<Vec<u8>> = request.args().map(<[u8]>::to_vec).collect();
    let Some(streams) = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"STREAMS")) else { return Ok(request) };
    let keys = &args[streams + 1..];
    let half = keys.len() / 2;
    for index in 0..half {
        if keys[half + index] != b"$" {
            continue;
        }
        let last = cmd::<Vec<(String, romaine_resp::Value)>>("XREVRANGE")
            .arg(&keys[index])
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        let entries = ask(Target::of(shared, &shared.commands), last, Patience::Default).await?;
        let id = entries.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id);
        *request = request.with_arg(streams + 1 + half + index, id.as_bytes());
    }
    Ok(request)
}
