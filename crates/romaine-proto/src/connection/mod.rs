//! The line of requests on one connection: which reply belongs to whom, what left this process, who is told what when
//! the connection closes.
//!
//! One `Connection` lives as long as its client: it is `Down` between sockets and keeps accepting requests then, within
//! its limits. [`Connection::request`] is called by callers (it only appends), everything else by the driver.

mod incoming;
mod line;
mod options;
mod outcome;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use romaine_commands::Spec;
use romaine_resp::Framer;

pub use self::options::{ConnectionLimits, Deadlines, Lane, Link, Refusal, RequestId, RequestOptions};
pub use self::outcome::{Answered, CloseReason, Delivery, Failure, FailureKind, Outcomes};

use self::line::Line;
use crate::handshake::{Greeting, Handshake};
use crate::liveness::{Liveness, Verdict, Watchdog};

/// See the module.
pub struct Connection {
    link: Link,
    lane: Lane,
    limits: ConnectionLimits,
    liveness: Arc<Liveness>,
    /// Boxed: a connection spends its life without one.
    handshake: Option<Box<Handshake>>,
    /// Of the handshake.
    deadlines: Option<Deadlines>,
    /// See [`Self::was_hurried`].
    hurried: bool,
    /// See [`Self::is_wanted`].
    wanted: bool,
    handshake_out: BytesMut,
    resp2: bool,
    framer: Framer,
    watchdog: Watchdog,
    line: Line,
    /// What [`Self::next_timeout`] last said: an earlier deadline must wake the driver.
    announced: Option<Instant>,
    /// Until then nothing is handed over.
    held_until: Option<Instant>,
}

impl fmt::Debug for Connection {
    /// Shows no bytes: those that wait to be sent hold passwords and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("link", &self.link)
            .field("lane", &self.lane)
            .field("queued", &self.queued())
            .field("in_flight", &self.in_flight())
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that is down.
    #[must_use]
    pub fn new(lane: Lane, mut limits: ConnectionLimits, liveness: impl Into<Arc<Liveness>>, now: Instant) -> Self {
        let liveness = liveness.into();
        limits.in_flight_max = limits.in_flight_max.max(if lane == Lane::Monitor { 2 } else { 1 });
        Self {
            link: Link::Down,
            lane,
            limits,
            handshake: None,
            deadlines: None,
            hurried: false,
            wanted: false,
            handshake_out: BytesMut::new(),
            resp2: false,
            framer: Framer::new(limits.reply),
            watchdog: Watchdog::new(liveness.clone(), now),
            liveness,
            line: Line::default(),
            announced: None,
            held_until: None,
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
        self.line.in_flight()
    }

    /// Requests accepted and not yet handed to the transport.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.line.queued()
    }

    /// Bytes of these.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.line.queued_bytes()
    }

    /// Whether the watchdog suspects the peer. What has no peer is not suspect.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        matches!(self.link, Link::Greeting | Link::Ready) && self.watchdog.is_suspect()
    }

    /// Whether the server may have what is unanswered and hold it back, as it does with writes during a pause of them.
    #[must_use]
    pub fn may_be_held(&self) -> bool {
        self.link == Link::Ready && self.line.may_be_held()
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
        if self.line.queued() >= self.limits.queued_requests_max {
            return Err(Refusal::QueuedRequests);
        }
        // A single request larger than the limit may pass alone: else it could never be sent.
        let queued_bytes = self.line.queued_bytes();
        if queued_bytes > 0 && queued_bytes.saturating_add(length) > self.limits.queued_bytes_max {
            return Err(Refusal::QueuedBytes);
        }
        let mut wake = !self.line.has_outgoing() && self.link == Link::Ready;
        if self.link != Link::Ready && self.line.queued() == 0 {
            self.hurry();
            wake = true;
        }
        if let Some(deadline) = options.deadline {
            wake |= self.announced.is_none_or(|announced| deadline < announced);
        }
        Ok((RequestId(self.line.push(now, spec, options, length, write)), wake))
    }

    /// The first call that waits for a connection: what was under way while nobody missed it may be lost for long.
    #[cold]
    fn hurry(&mut self) {
        self.wanted = true;
        if let Some(deadlines) = &mut self.deadlines
            && let Some(hurried) = deadlines.hurried.take()
        {
            deadlines.end = deadlines.end.min(hurried);
            self.hurried = true;
        }
    }

    /// Whether a call waits that no dial has been made for yet: it came when none waited, after the last dial had begun.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted && self.line.queued() > 0
    }

    /// Whether a call has shortened the last handshake's deadline.
    #[must_use]
    pub const fn was_hurried(&self) -> bool {
        self.hurried
    }

    /// A dial begins.
    pub const fn dialling(&mut self) {
        self.wanted = false;
    }

    /// Nobody waits for `id` any more: no outcome of it is told. If it was not sent, it never will be; else its reply
    /// keeps its place in the line.
    pub fn abandon(&mut self, id: RequestId) {
        self.line.abandon(id.0);
    }

    /// Another connection shows that the server is back. Whether the driver must be woken: what was sent to it before, and
    /// should have been answered by now, is lost.
    pub fn back(&mut self, now: Instant) -> bool {
        match &mut self.deadlines {
            Some(deadlines) if deadlines.lost.is_some_and(|lost| lost <= now) => {
                deadlines.end = now;
                true
            }
            _ => false,
        }
    }

    /// A socket is open: the handshake starts. Ignored after the end.
    pub fn opened(&mut self, now: Instant, greeting: Greeting, deadlines: Deadlines) {
        if self.link == Link::Closed {
            return;
        }
        assert!(self.link == Link::Down, "one socket at a time");
        self.framer.reset();
        self.resp2 = false;
        self.handshake_out.clear();
        self.handshake = Some(Box::new(Handshake::start(greeting, &mut self.handshake_out)));
        self.deadlines = Some(deadlines);
        self.hurried = false;
        self.watchdog = Watchdog::new(self.liveness.clone(), now);
        self.link = Link::Greeting;
        self.watch(now);
    }

    /// Whether [`take`](Self::take) has something.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.handshake_out.is_empty()
            || (self.link == Link::Ready
                && self.held_until.is_none()
                && self.line.has_outgoing()
                && self.line.in_flight() < self.limits.in_flight_max)
    }

    /// Hands over what is to be sent, appended to `into`. Nothing that has expired by `now` is in it.
    pub fn take(&mut self, now: Instant, into: &mut BytesMut) {
        if !self.handshake_out.is_empty() {
            into.unsplit(self.handshake_out.split());
        }
        if self.link == Link::Ready && self.held_until.is_none() && self.line.has_outgoing() {
            self.line.take(now, self.limits.in_flight_max, into);
            self.watch(now);
        }
    }

    /// Gives the empty buffer of [`take`](Self::take) back when all of it was written: it may be used again.
    #[inline]
    pub fn give_back(&mut self, written: &mut BytesMut) {
        if written.is_empty() {
            self.line.give_back(written);
        }
    }

    /// Hands nothing over until `until`: a failover is about to give the server's role to another, and what the server
    /// acknowledges from now on would be lost with it. Requests queue meanwhile.
    pub fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// The end of [`hold`](Self::hold); whether it was one.
    pub fn release(&mut self) -> bool {
        self.held_until.take().is_some()
    }

    /// Tells the watchdog what is unanswered.
    #[inline]
    fn watch(&mut self, now: Instant) {
        let waiting = match self.link {
            Link::Greeting => Some(false),
            Link::Ready => self.line.unanswered(),
            Link::Down | Link::Closed => None,
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
        let deadlines =
            [self.line.earliest_deadline(), watchdog, self.deadlines.map(|deadlines| deadlines.end), self.held_until];
        self.announced = deadlines.into_iter().flatten().min();
        self.announced
    }

    /// Time has passed. Early calls do nothing.
    ///
    /// # Errors
    /// When the connection is dead; the driver closes it with that reason.
    pub fn timeout(&mut self, now: Instant, out: &mut impl Outcomes) -> Result<(), CloseReason> {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
        }
        if self.line.earliest_deadline().is_some_and(|earliest| earliest <= now) {
            self.line.expire(now, out);
        }
        if self.deadlines.is_some_and(|deadlines| deadlines.end <= now) {
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
            // Nobody relies on it yet, and its handshake has a deadline.
            Some(Verdict::Suspect { .. }) if self.link == Link::Greeting => {}
            Some(verdict @ (Verdict::Suspect { .. } | Verdict::Stalled { .. })) => out.verdict(verdict),
        }
        Ok(())
    }

    fn heartbeat(&mut self, now: Instant) {
        // Whatever is about to be sent will be answered just as well.
        if self.link == Link::Ready && !self.line.has_outgoing() {
            self.line.push_heartbeat(now);
        }
    }

    /// The socket is gone. `unwritten` is what was taken and not accepted by the transport. Everything unanswered is
    /// told to its owner. With `for_good` no further request is accepted. Ignored after the end.
    pub fn closed(&mut self, unwritten: usize, for_good: bool, out: &mut impl Outcomes) {
        if self.link == Link::Closed {
            return;
        }
        let was_up = self.link == Link::Ready;
        self.link = if for_good { Link::Closed } else { Link::Down };
        self.handshake = None;
        self.deadlines = None;
        self.handshake_out.clear();
        self.held_until = None;
        // A failed attempt to connect leaves the queue as it is: its requests wait for the next one, or their deadline.
        if was_up || for_good {
            let kind = if for_good { FailureKind::Closed } else { FailureKind::Disconnected };
            self.line.fail_all(unwritten, kind, out);
        }
    }

    /// Tells every queued request that there is no connection (behaviour "fail at once while disconnected").
    pub fn fail_queued(&mut self, out: &mut impl Outcomes) {
        if self.link != Link::Ready {
            self.line.fail_all(0, FailureKind::Disconnected, out);
        }
    }
}
