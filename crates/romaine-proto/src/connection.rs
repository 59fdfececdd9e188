//! The line of requests on one connection: which reply belongs to whom, what left this process, who is told what when
//! the connection closes.
//!
//! One `Connection` lives as long as its client: it is `Down` between sockets and keeps accepting requests then, within
//! its limits. [`Connection::request`] is called by callers (it only appends), everything else by the driver.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use romaine_commands::Spec;
use romaine_resp::{DecodeError, FrameKind, Framer, Limits, Reader, Scan, Token};

use crate::handshake::{Greeting, Handshake, HandshakeError, Protocol, ServerIdentity};
use crate::liveness::{Liveness, Verdict, Watchdog};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// No socket. Requests are queued.
    Down,
    /// A socket, and the handshake under way. Requests are queued.
    Greeting,
    /// Requests flow.
    Ready,
    /// Over for good. Requests are refused.
    Closed,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Requests and replies.
    Requests,
    /// Subscriptions: in RESP2, messages come as ordinary arrays.
    Subscriber,
    /// MONITOR: status lines without end; the answer to our PING is the line `PONG`.
    Monitor,
}

/// What one connection may hold. Each limit refuses the request that would pass it, with an error that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Requests accepted and not yet handed to the transport. Default 65,536.
    pub queued_requests_max: usize,
    /// Bytes of these. Default 64 MiB.
    pub queued_bytes_max: usize,
    /// Requests handed to the transport and not yet answered; further ones wait in the queue. Default 65,536.
    pub in_flight_max: usize,
    /// Limits of one reply.
    pub reply: Limits,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            queued_requests_max: 65_536,
            queued_bytes_max: 64 << 20,
            in_flight_max: 65_536,
            reply: Limits::default(),
        }
    }
}

/// What is known of the effect of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// No byte of it left this process: always safe to send again.
    NotSent,
    /// The server answered that it did not execute it (LOADING, READONLY, NOAUTH, …).
    Refused,
    /// Sent, no reply seen: it may or may not have been executed.
    Unknown,
    /// The server executed it; the failure is in its result or in reading it.
    Executed,
}

/// A place in the line; what [`Connection::abandon`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Why a request was not accepted. Nothing of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`ConnectionLimits::queued_requests_max`] requests are queued.
    QueuedRequests,
    /// [`ConnectionLimits::queued_bytes_max`] bytes are queued.
    QueuedBytes,
    /// The connection is closed for good.
    Closed,
}

/// How a request is to be treated.
#[derive(Debug, Clone, Copy)]
pub struct RequestOptions {
    /// The owner's name for it; handed back with every outcome.
    pub token: u32,
    /// When the owner stops waiting, the time in the queue included.
    pub deadline: Option<Instant>,
    /// How many replies it gets: 1, or the number of commands of a pipeline. `u32::MAX`: without end (MONITOR).
    pub replies: u32,
    /// Whether it may hold the connection (BLPOP): the watchdog is quiet meanwhile.
    pub blocking: bool,
    /// Whether only a refusal answers it (SUBSCRIBE: what it asked for comes as pushes). A PING must follow.
    pub refusal_only: bool,
}

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The owner's name for the request.
    pub token: u32,
    /// The command.
    pub spec: &'static Spec,
    /// When the request was accepted.
    pub issued: Instant,
    /// Replies still to come for this request (pipelines).
    pub left: u32,
}

/// A request that ends without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The owner's name for the request.
    pub token: u32,
    /// Why.
    pub kind: FailureKind,
    /// What is known of its effect.
    pub delivery: Delivery,
}

/// Why a request ends without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Its deadline passed.
    Expired,
    /// The connection ended.
    Disconnected,
    /// The client was closed.
    Closed,
}

/// Why a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    PeerClosed,
    /// The transport failed.
    Transport(std::sync::Arc<std::io::Error>),
    /// Nothing was received for this long although something was unanswered.
    Silent(Duration),
    /// The bytes are not RESP, or pass a limit.
    Malformed(DecodeError),
    /// A reply came that nobody asked for.
    Unsolicited,
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The handshake did not end in time; the name of the step that hung.
    HandshakeTimeout(&'static str),
    /// We closed it.
    Ours,
}

/// Receives what a connection decides. Called synchronously, in the order of the bytes.
pub trait Outcomes {
    /// A reply for `answered.token` is the bytes `frame` of the buffer given to [`Connection::received`].
    fn reply(&mut self, answered: Answered, buffer: &[u8], frame: std::ops::Range<usize>);
    /// A request ended without a reply.
    fn failed(&mut self, failure: Failure);
    /// Out-of-band data.
    fn push(&mut self, frame: &[u8]);
    /// The handshake is done.
    fn ready(&mut self, identity: &ServerIdentity);
    /// Something about the peer's life.
    fn verdict(&mut self, verdict: Verdict);
    /// Bytes arrived on a suspect connection: it lives.
    fn recovered(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A caller, by its token.
    Caller(u32),
    /// Its caller has gone; its reply still holds this place in the line.
    Abandoned,
    /// Its caller has gone before it was sent: it never will be.
    Withdrawn,
    /// Our own PING.
    Heartbeat,
}

#[derive(Debug)]
struct Place {
    id: u64,
    /// Offset of its first byte in the stream of requests.
    start: u64,
    owner: Owner,
    left: u32,
    deadline: Option<Instant>,
    issued: Instant,
    spec: &'static Spec,
    blocking: bool,
    refusal_only: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    link: Link,
    lane: Lane,
    limits: ConnectionLimits,
    liveness: Liveness,
    handshake: Option<Handshake>,
    handshake_deadline: Option<Instant>,
    resp2: bool,
    framer: Framer,
    watchdog: Watchdog,
    line: VecDeque<Place>,
    /// How many places at the front of the line were taken for the transport.
    sent: usize,
    /// Places behind `sent` whose bytes must not be sent.
    withdrawn: usize,
    next_id: u64,
    handshake_out: BytesMut,
    /// The bytes of the places behind `sent`.
    outgoing: BytesMut,
    /// Offset of `outgoing[0]` in the stream of requests.
    taken: u64,
    /// A lower bound of all deadlines in the line.
    earliest_deadline: Option<Instant>,
    /// What [`Self::next_timeout`] last said: an earlier deadline must wake the driver.
    announced: Option<Instant>,
}

impl Connection {
    /// A connection that is down.
    #[must_use]
    pub fn new(lane: Lane, limits: ConnectionLimits, liveness: Liveness, now: Instant) -> Self {
        Self {
            link: Link::Down,
            lane,
            limits,
            handshake: None,
            handshake_deadline: None,
            resp2: false,
            framer: Framer::new(limits.reply),
            watchdog: Watchdog::new(liveness.clone(), now),
            liveness,
            line: VecDeque::new(),
            sent: 0,
            withdrawn: 0,
            next_id: 0,
            handshake_out: BytesMut::new(),
            outgoing: BytesMut::new(),
            taken: 0,
            earliest_deadline: None,
            announced: None,
        }
    }

    /// Where it is in its life.
    #[must_use]
    #[inline]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Requests handed to the transport and not answered.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.sent
    }

    /// Requests accepted and not yet handed to the transport.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.line.len() - self.sent - self.withdrawn
    }

    /// Bytes of these.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether the watchdog suspects the peer.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.watchdog.is_suspect()
    }

    /// Accepts a request whose `length` bytes `write` appends. The second part of the answer: whether the driver must
    /// be woken.
    ///
    /// # Errors
    /// When a limit is reached or the connection is closed.
    #[inline]
    pub fn request(
        &mut self,
        now: Instant,
        spec: &'static Spec,
        options: RequestOptions,
        length: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(RequestId, bool), Refusal> {
        if self.link == Link::Closed {
            return Err(Refusal::Closed);
        }
        if self.line.len() - self.sent >= self.limits.queued_requests_max + self.withdrawn {
            return Err(Refusal::QueuedRequests);
        }
        // A single request larger than the limit may pass alone: else it could never be sent.
        if !self.outgoing.is_empty() && self.outgoing.len() + length > self.limits.queued_bytes_max {
            return Err(Refusal::QueuedBytes);
        }
        let was_empty = self.outgoing.is_empty();
        let start = self.taken + self.outgoing.len() as u64;
        self.outgoing.reserve(length);
        write(&mut self.outgoing);
        let id = self.push_place(Place {
            id: 0,
            start,
            owner: Owner::Caller(options.token),
            left: options.replies,
            deadline: options.deadline,
            issued: now,
            spec,
            blocking: options.blocking,
            refusal_only: options.refusal_only,
        });
        let mut wake = was_empty && self.link == Link::Ready;
        if let Some(deadline) = options.deadline {
            self.earliest_deadline = Some(self.earliest_deadline.map_or(deadline, |earliest| earliest.min(deadline)));
            wake |= self.announced.is_none_or(|announced| deadline < announced);
        }
        Ok((RequestId(id), wake))
    }

    fn push_place(&mut self, mut place: Place) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        place.id = id;
        self.line.push_back(place);
        id
    }

    /// Nobody waits for `id` any more. If it was not sent, it never will be; else its reply keeps its place in the line.
    pub fn abandon(&mut self, id: RequestId) {
        let Ok(index) = self.line.binary_search_by_key(&id.0, |place| place.id) else {
            return;
        };
        self.give_up(index);
    }

    fn give_up(&mut self, index: usize) {
        let unsent = index >= self.sent;
        if let Some(place) = self.line.get_mut(index)
            && matches!(place.owner, Owner::Caller(_))
        {
            place.owner = if unsent { Owner::Withdrawn } else { Owner::Abandoned };
            self.withdrawn += usize::from(unsent);
        }
    }

    /// A socket is open: the handshake starts, and must be done by `deadline`.
    pub fn opened(&mut self, now: Instant, greeting: Greeting, deadline: Instant) {
        assert!(self.link == Link::Down, "one socket at a time");
        self.framer.reset();
        self.resp2 = false;
        self.handshake_out.clear();
        self.handshake = Some(Handshake::start(greeting, &mut self.handshake_out));
        self.handshake_deadline = Some(deadline);
        self.watchdog = Watchdog::new(self.liveness.clone(), now);
        self.link = Link::Greeting;
    }

    /// Whether [`take`](Self::take) has something.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.handshake_out.is_empty()
            || (self.link == Link::Ready && !self.outgoing.is_empty() && self.sent < self.limits.in_flight_max)
    }

    /// Hands over what is to be sent, appended to `into`.
    pub fn take(&mut self, now: Instant, into: &mut BytesMut) {
        if !self.handshake_out.is_empty() {
            into.unsplit(self.handshake_out.split());
        }
        if self.link != Link::Ready || self.outgoing.is_empty() {
            return;
        }
        if self.withdrawn > 0 {
            self.drop_withdrawn();
        }
        let room = self.limits.in_flight_max.saturating_sub(self.sent);
        let bytes = match self.line.get(self.sent + room) {
            Some(first_to_wait) => usize::try_from(first_to_wait.start - self.taken).unwrap_or(usize::MAX),
            None => self.outgoing.len(),
        };
        self.taken += bytes as u64;
        if bytes == self.outgoing.len() {
            self.sent = self.line.len();
            if into.is_empty() {
                // The buffers change places: the written one comes back to be filled again.
                std::mem::swap(into, &mut self.outgoing);
                self.outgoing.clear();
            } else {
                into.extend_from_slice(&self.outgoing);
                self.outgoing.clear();
            }
        } else {
            self.sent += room;
            into.extend_from_slice(&self.outgoing[..bytes]);
            self.outgoing.advance(bytes);
        }
        self.watch(now);
    }

    /// Removes the bytes and places of requests that were withdrawn before they were sent.
    fn drop_withdrawn(&mut self) {
        let old = self.outgoing.split();
        let waiting: Vec<Place> = self.line.drain(self.sent..).collect();
        let end_of_old = self.taken + old.len() as u64;
        let ends: Vec<u64> = waiting.iter().skip(1).map(|next| next.start).chain([end_of_old]).collect();
        for (mut place, end) in waiting.into_iter().zip(ends) {
            if place.owner == Owner::Withdrawn {
                continue;
            }
            let offset = |position: u64| usize::try_from(position - self.taken).unwrap_or(usize::MAX);
            let bytes = &old[offset(place.start)..offset(end)];
            place.start = self.taken + self.outgoing.len() as u64;
            self.outgoing.extend_from_slice(bytes);
            self.line.push_back(place);
        }
        self.withdrawn = 0;
    }

    /// Bytes arrived. Consumes whole frames from the start of `buffer`; says how many bytes were consumed and how long
    /// the next frame is at least.
    ///
    /// # Errors
    /// When the connection cannot go on; the driver closes it with that reason.
    pub fn received(
        &mut self,
        now: Instant,
        buffer: &[u8],
        out: &mut impl Outcomes,
    ) -> Result<(usize, usize), CloseReason> {
        if self.watchdog.received(now) {
            out.recovered();
        }
        let mut position = 0;
        let needed = loop {
            let rest = &buffer[position..];
            if rest.is_empty() {
                break 0;
            }
            match self.framer.scan(rest).map_err(CloseReason::Malformed)? {
                Scan::Complete { length, kind } => {
                    let frame = position..position + length;
                    position += length;
                    self.frame(now, kind, buffer, frame, out)?;
                }
                Scan::Incomplete { needed } => break needed,
            }
        };
        self.watch(now);
        Ok((position, needed))
    }

    #[inline]
    fn frame(
        &mut self,
        now: Instant,
        kind: FrameKind,
        buffer: &[u8],
        frame: std::ops::Range<usize>,
        out: &mut impl Outcomes,
    ) -> Result<(), CloseReason> {
        if self.link == Link::Ready {
            if kind == FrameKind::Push {
                out.push(&buffer[frame]);
                return Ok(());
            }
            return match self.lane {
                Lane::Requests => self.reply(buffer, frame, out),
                Lane::Subscriber => self.subscriber_frame(buffer, frame, out),
                Lane::Monitor if &buffer[frame.clone()] == b"+PONG\r\n" => {
                    self.monitor_pong();
                    Ok(())
                }
                Lane::Monitor => self.reply(buffer, frame, out),
            };
        }
        let Some(handshake) = &mut self.handshake else {
            return Err(CloseReason::Unsolicited);
        };
        if kind == FrameKind::Push {
            return Ok(());
        }
        match handshake.reply(&buffer[frame], &mut self.handshake_out) {
            None => Ok(()),
            Some(Err(error)) => Err(CloseReason::Handshake(error)),
            Some(Ok(identity)) => {
                self.handshake = None;
                self.handshake_deadline = None;
                self.resp2 = identity.protocol == Protocol::Resp2;
                self.link = Link::Ready;
                self.watch(now);
                out.ready(&identity);
                Ok(())
            }
        }
    }

    /// Matches a reply to the oldest unanswered request: the only place where that is done.
    #[inline]
    fn reply(
        &mut self,
        buffer: &[u8],
        frame: std::ops::Range<usize>,
        out: &mut impl Outcomes,
    ) -> Result<(), CloseReason> {
        loop {
            if self.sent == 0 {
                return Err(CloseReason::Unsolicited);
            }
            let Some(place) = self.line.front_mut() else {
                return Err(CloseReason::Unsolicited);
            };
            if place.refusal_only && buffer.get(frame.start) != Some(&b'-') {
                // It was not refused; this reply belongs to the PING behind it.
                self.line.pop_front();
                self.sent -= 1;
                continue;
            }
            if place.left != u32::MAX {
                place.left -= 1;
            }
            let left = place.left;
            if let Owner::Caller(token) = place.owner {
                let answered = Answered { token, spec: place.spec, issued: place.issued, left };
                out.reply(answered, buffer, frame);
            }
            if left == 0 {
                self.line.pop_front();
                self.sent -= 1;
            }
            return Ok(());
        }
    }

    /// The answer to our PING among a monitor's lines: the PING leaves the line, the monitor stays.
    fn monitor_pong(&mut self) {
        if self.sent > 1 && self.line.get(1).is_some_and(|place| place.owner == Owner::Heartbeat) {
            self.line.remove(1);
            self.sent -= 1;
        }
    }

    /// On a RESP2 subscriber connection messages are told from replies by their first element.
    fn subscriber_frame(
        &mut self,
        buffer: &[u8],
        frame: std::ops::Range<usize>,
        out: &mut impl Outcomes,
    ) -> Result<(), CloseReason> {
        let mut reader = Reader::new(&buffer[frame.clone()]);
        if self.resp2
            && let Ok(Token::Array(3..)) = reader.token()
            && let Ok(Token::Bulk(kind)) = reader.token()
            && kind != b"pong"
        {
            out.push(&buffer[frame]);
            return Ok(());
        }
        self.reply(buffer, frame, out)
    }

    /// Tells the watchdog what is unanswered.
    #[inline]
    fn watch(&mut self, now: Instant) {
        let waiting = match self.link {
            Link::Greeting => Some(false),
            Link::Ready if self.sent > 0 => match (self.lane, self.line.front()) {
                // The line of a monitor is never answered; only its PING is awaited, see `timeout`.
                (Lane::Monitor, Some(place)) if place.left == u32::MAX && self.sent == 1 => None,
                (_, place) => place.map(|place| place.blocking),
            },
            Link::Ready | Link::Down | Link::Closed => None,
        };
        self.watchdog.unanswered(now, waiting);
    }

    /// A second opinion says that the server is alive and busy.
    pub fn excuse(&mut self, now: Instant) {
        self.watchdog.excuse(now);
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub fn next_timeout(&mut self) -> Option<Instant> {
        let watchdog =
            if matches!(self.link, Link::Greeting | Link::Ready) { self.watchdog.next_timeout() } else { None };
        self.announced = [self.earliest_deadline, watchdog, self.handshake_deadline].into_iter().flatten().min();
        self.announced
    }

    /// Time has passed. Early calls do nothing.
    ///
    /// # Errors
    /// When the connection is dead; the driver closes it with that reason.
    pub fn timeout(&mut self, now: Instant, out: &mut impl Outcomes) -> Result<(), CloseReason> {
        if self.earliest_deadline.is_some_and(|earliest| earliest <= now) {
            self.expire(now, out);
        }
        if let Some(deadline) = self.handshake_deadline
            && deadline <= now
        {
            let step = self.handshake.as_ref().map_or("HELLO", |handshake| handshake.step().command());
            return Err(CloseReason::HandshakeTimeout(step));
        }
        if !matches!(self.link, Link::Greeting | Link::Ready) {
            return Ok(());
        }
        match self.watchdog.timeout(now) {
            None => {}
            Some(Verdict::Ping) => self.heartbeat(now),
            Some(Verdict::Dead { silent_for }) => {
                out.verdict(Verdict::Dead { silent_for });
                return Err(CloseReason::Silent(silent_for));
            }
            Some(verdict @ (Verdict::Suspect { .. } | Verdict::Stalled { .. })) => out.verdict(verdict),
        }
        Ok(())
    }

    fn heartbeat(&mut self, now: Instant) {
        if self.link != Link::Ready {
            return;
        }
        let start = self.taken + self.outgoing.len() as u64;
        self.outgoing.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        self.push_place(Place {
            id: 0,
            start,
            owner: Owner::Heartbeat,
            left: 1,
            deadline: None,
            issued: now,
            spec: heartbeat_spec(),
            blocking: false,
            refusal_only: false,
        });
    }

    fn expire(&mut self, now: Instant, out: &mut impl Outcomes) {
        let mut earliest: Option<Instant> = None;
        for index in 0..self.line.len() {
            let place = &self.line[index];
            let (Owner::Caller(token), Some(deadline)) = (place.owner, place.deadline) else {
                continue;
            };
            if deadline > now {
                earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                continue;
            }
            let delivery = if index < self.sent { Delivery::Unknown } else { Delivery::NotSent };
            self.give_up(index);
            out.failed(Failure { token, kind: FailureKind::Expired, delivery });
        }
        self.earliest_deadline = earliest;
        // A queue of withdrawn requests must not grow through an outage.
        if self.withdrawn > 1_024 && self.withdrawn * 2 > self.line.len() - self.sent {
            self.drop_withdrawn();
        }
    }

    /// The socket is gone. `unwritten` is what was taken and not accepted by the transport. Everything unanswered is
    /// told to its owner. With `for_good` no further request is accepted.
    pub fn closed(&mut self, unwritten: usize, for_good: bool, out: &mut impl Outcomes) {
        let handed = self.taken.saturating_sub(unwritten as u64);
        let was_up = matches!(self.link, Link::Ready);
        self.link = if for_good { Link::Closed } else { Link::Down };
        self.handshake = None;
        self.handshake_deadline = None;
        self.handshake_out.clear();
        let kind = if for_good { FailureKind::Closed } else { FailureKind::Disconnected };
        if was_up || for_good {
            for place in self.line.drain(..) {
                if let Owner::Caller(token) = place.owner {
                    let delivery = if place.start < handed { Delivery::Unknown } else { Delivery::NotSent };
                    out.failed(Failure { token, kind, delivery });
                }
            }
            self.taken += self.outgoing.len() as u64;
            self.outgoing.clear();
            self.sent = 0;
            self.withdrawn = 0;
            self.earliest_deadline = None;
        }
        // A failed attempt to connect leaves the queue as it is: its requests wait for the next one, or their deadline.
    }

    /// Tells every queued request that there is no connection (behaviour "fail at once while disconnected").
    pub fn fail_queued(&mut self, out: &mut impl Outcomes) {
        if self.link == Link::Ready {
            return;
        }
        for place in self.line.drain(..) {
            if let Owner::Caller(token) = place.owner {
                out.failed(Failure { token, kind: FailureKind::Disconnected, delivery: Delivery::NotSent });
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        self.withdrawn = 0;
        self.earliest_deadline = None;
    }
}

fn heartbeat_spec() -> &'static Spec {
    static HEARTBEAT: Spec = Spec { name: "PING", ..Spec::UNLISTED };
    &HEARTBEAT
}
