//! The requests of one connection in the order of their bytes: those waiting to be sent, and those waiting for a reply.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use romaine_commands::{Flags, Spec};
use romaine_resp::{Reader, Token};

use super::options::RequestOptions;
use super::outcome::{Answered, Delivery, Failure, FailureKind, Outcomes};

/// The value of `left` for a request whose replies never end.
const ENDLESS: u32 = u32::MAX;

/// A buffer that is larger than this is not kept for one request at a time.
const LONE_BYTES: usize = 256;

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
    /// Whether an endless request got its first reply.
    begun: bool,
}

/// See the module. Has no `Debug`: its bytes are nobody's to see.
#[derive(Default)]
pub(super) struct Line {
    places: VecDeque<Place>,
    /// How many places at the front were taken for the transport.
    sent: usize,
    /// Places behind `sent` whose bytes must not be sent.
    withdrawn: usize,
    /// Their bytes.
    withdrawn_bytes: usize,
    next_id: u64,
    /// The bytes of the places behind `sent`.
    outgoing: BytesMut,
    /// Offset of `outgoing[0]` in the stream of requests.
    taken: u64,
    /// A lower bound of all deadlines in the line.
    earliest_deadline: Option<Instant>,
    /// Requests that were found expired when they were to be sent; their owners are told with the next chance.
    overdue: Vec<(u64, Failure)>,
}

impl Line {
    pub(super) const fn in_flight(&self) -> usize {
        self.sent
    }

    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.places.len() - self.sent - self.withdrawn
    }

    #[inline]
    pub(super) fn queued_bytes(&self) -> usize {
        self.outgoing.len() - self.withdrawn_bytes
    }

    /// Whether there are bytes to send, those of withdrawn requests included.
    #[inline]
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) const fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest_deadline
    }

    /// Appends a request whose bytes `write` appends.
    #[inline]
    pub(super) fn push(
        &mut self,
        now: Instant,
        spec: &'static Spec,
        options: RequestOptions,
        length: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> u64 {
        assert!(options.replies > 0, "every request has a reply");
        let before = self.outgoing.len();
        self.outgoing.reserve(length);
        write(&mut self.outgoing);
        debug_assert_eq!(self.outgoing.len() - before, length, "the length that was announced");
        if let Some(deadline) = options.deadline {
            self.earliest_deadline = Some(self.earliest_deadline.map_or(deadline, |earliest| earliest.min(deadline)));
        }
        self.push_place(Place {
            id: 0,
            start: self.taken + before as u64,
            owner: Owner::Caller(options.token),
            left: options.replies,
            deadline: options.deadline,
            issued: now,
            spec,
            blocking: options.blocking,
            refusal_only: options.refusal_only,
            begun: false,
        })
    }

    pub(super) fn push_heartbeat(&mut self, now: Instant) {
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
            begun: false,
        });
    }

    #[inline]
    fn push_place(&mut self, mut place: Place) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        place.id = id;
        if self.places.capacity() == 0 {
            // One place is all that most dedicated connections ever need.
            self.places.reserve_exact(1);
        }
        self.places.push_back(place);
        id
    }

    pub(super) fn abandon(&mut self, id: u64) {
        if let Ok(index) = self.places.binary_search_by_key(&id, |place| place.id) {
            self.give_up(index);
            self.reclaim();
        } else {
            self.overdue.retain(|(overdue, _)| *overdue != id);
        }
    }

    fn give_up(&mut self, index: usize) {
        let unsent = index >= self.sent;
        let end = self.start_of(index + 1);
        if let Some(place) = self.places.get_mut(index)
            && matches!(place.owner, Owner::Caller(_))
        {
            if unsent {
                place.owner = Owner::Withdrawn;
                self.withdrawn += 1;
                self.withdrawn_bytes += length(place.start, end);
            } else {
                place.owner = Owner::Abandoned;
            }
        }
    }

    /// Where the bytes of the place at `index` start; behind the last one, where the next request's will.
    fn start_of(&self, index: usize) -> u64 {
        self.places.get(index).map_or(self.taken + self.outgoing.len() as u64, |place| place.start)
    }

    /// Hands over what may be sent, appended to `into`.
    #[inline]
    pub(super) fn take(&mut self, now: Instant, in_flight_max: usize, into: &mut BytesMut) {
        if self.earliest_deadline.is_some_and(|earliest| earliest <= now) {
            self.withdraw_overdue(now);
        }
        if self.withdrawn > 0 {
            self.drop_withdrawn();
        }
        let room = in_flight_max.saturating_sub(self.sent);
        let first_to_wait = self.sent.saturating_add(room);
        if first_to_wait < self.places.len() {
            let bytes = length(self.taken, self.start_of(first_to_wait));
            into.extend_from_slice(&self.outgoing[..bytes]);
            self.outgoing.advance(bytes);
            self.taken += bytes as u64;
            self.sent = first_to_wait;
            return;
        }
        self.taken += self.outgoing.len() as u64;
        self.sent = self.places.len();
        if into.is_empty() {
            // The buffers change places: the written one comes back to be filled again.
            std::mem::swap(into, &mut self.outgoing);
        } else {
            into.extend_from_slice(&self.outgoing);
        }
        self.outgoing.clear();
    }

    /// The buffer of [`take`](Self::take), written. Taken back where the line has none: whoever sends one request after the
    /// other needs one buffer, and a process may have thousands of such connections. What is large for one request is not
    /// kept: it was a script once a minute as likely as not.
    #[inline]
    pub(super) fn give_back(&mut self, written: &mut BytesMut) {
        if self.sent <= 1 && written.capacity() > LONE_BYTES {
            *written = BytesMut::new();
        } else if self.outgoing.capacity() == 0 {
            std::mem::swap(written, &mut self.outgoing);
        }
    }

    /// A late tick must not send what nobody waits for any more. The bound of the deadlines stays in the past, so that
    /// the owners are told at once.
    #[cold]
    fn withdraw_overdue(&mut self, now: Instant) {
        for index in self.sent..self.places.len() {
            let place = &self.places[index];
            if let (Owner::Caller(token), Some(deadline)) = (place.owner, place.deadline)
                && deadline <= now
            {
                let failure = Failure { token, kind: FailureKind::Expired, delivery: Delivery::NotSent };
                self.overdue.push((place.id, failure));
                self.give_up(index);
            }
        }
    }

    /// A queue of withdrawn requests must not grow through an outage. The copy is paid for by what was withdrawn.
    fn reclaim(&mut self) {
        let many = self.withdrawn > 1_024 && self.withdrawn * 2 > self.places.len() - self.sent;
        let much = self.withdrawn_bytes > 64 << 10 && self.withdrawn_bytes * 8 > self.outgoing.len();
        if many || much {
            self.drop_withdrawn();
        }
    }

    /// Removes the bytes and places of requests that were withdrawn before they were sent.
    fn drop_withdrawn(&mut self) {
        let mut old = self.outgoing.split();
        let mut waiting = self.places.split_off(self.sent).into_iter().peekable();
        let end_of_old = self.taken + old.len() as u64;
        while let Some(mut place) = waiting.next() {
            let end = waiting.peek().map_or(end_of_old, |next| next.start);
            let bytes = old.split_to(length(place.start, end));
            if place.owner == Owner::Withdrawn {
                continue;
            }
            place.start = self.taken + self.outgoing.len() as u64;
            self.outgoing.extend_from_slice(&bytes);
            if self.places.capacity() == 0 {
                // One place is all that most dedicated connections ever need.
                self.places.reserve_exact(1);
            }
            self.places.push_back(place);
        }
        self.withdrawn = 0;
        self.withdrawn_bytes = 0;
    }

    /// Matches a reply to the oldest unanswered request: the only place where that is done. False when nobody asked.
    #[inline]
    pub(super) fn answer(&mut self, buffer: &[u8], frame: Range<usize>, out: &mut impl Outcomes) -> bool {
        loop {
            if self.sent == 0 {
                return false;
            }
            let Some(place) = self.places.front_mut() else {
                return false;
            };
            if place.refusal_only && !is_refusal(&buffer[frame.clone()]) {
                // It was not refused; this reply belongs to the PING behind it.
                self.places.pop_front();
                self.sent -= 1;
                continue;
            }
            if place.left == ENDLESS {
                place.begun = true;
            } else {
                place.left -= 1;
            }
            let left = place.left;
            if let Owner::Caller(token) = place.owner {
                let answered = Answered { token, spec: place.spec, issued: place.issued, left };
                out.reply(answered, buffer, frame);
            }
            if left == 0 {
                self.places.pop_front();
                self.sent -= 1;
            }
            return true;
        }
    }

    /// On a monitor's connection our PING is answered between the lines: it leaves the line, the monitor stays. True
    /// when `frame` was that answer.
    pub(super) fn answer_among_lines(&mut self, frame: &[u8]) -> bool {
        // The lines all start with `+`, so an error, once the monitor was accepted, is for the PING.
        let monitor_is_answered = self.places.front().is_none_or(|place| place.begun || place.left != ENDLESS);
        if frame != b"+PONG\r\n" && !(monitor_is_answered && frame.starts_with(b"-")) {
            return false;
        }
        let heartbeat = self.places.iter().take(self.sent).position(|place| place.owner == Owner::Heartbeat);
        if let Some(index) = heartbeat {
            self.places.remove(index);
            self.sent -= 1;
        }
        heartbeat.is_some()
    }

    /// Whether the oldest unanswered request may be one that a server holds back while it pauses writes. What it answers
    /// in any case comes before.
    pub(super) fn may_be_held(&self) -> bool {
        let oldest = self.places.front().filter(|place| self.sent > 0 && place.left != ENDLESS);
        oldest.is_some_and(|place| match place.spec.name {
            "PING" => false,
            // It reads, and may store what it has counted.
            "PFCOUNT" => true,
            _ => !place.spec.flags.has(Flags::READ_ONLY),
        })
    }

    /// What the watchdog wants to know: `None` when nothing is unanswered, else whether it may take its time.
    #[inline]
    pub(super) fn unanswered(&self) -> Option<bool> {
        if self.sent == 0 {
            return None;
        }
        match self.places.front() {
            // An endless request is never answered; only the PING behind it is awaited.
            Some(place) if place.left == ENDLESS => (self.sent > 1).then_some(false),
            place => place.map(|place| place.blocking),
        }
    }

    /// Ends the requests whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant, out: &mut impl Outcomes) {
        self.tell_overdue(out);
        let mut earliest: Option<Instant> = None;
        for index in 0..self.places.len() {
            let place = &self.places[index];
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
        self.reclaim();
    }

    fn tell_overdue(&mut self, out: &mut impl Outcomes) {
        for (_, failure) in self.overdue.drain(..) {
            out.failed(failure);
        }
    }

    /// Ends every request. `unwritten` is what was taken and not accepted by the transport.
    pub(super) fn fail_all(&mut self, unwritten: usize, kind: FailureKind, out: &mut impl Outcomes) {
        self.tell_overdue(out);
        let handed = self.taken.saturating_sub(unwritten as u64);
        for place in self.places.drain(..) {
            if let Owner::Caller(token) = place.owner {
                let delivery = if place.start < handed { Delivery::Unknown } else { Delivery::NotSent };
                out.failed(Failure { token, kind, delivery });
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        self.withdrawn = 0;
        self.withdrawn_bytes = 0;
        self.earliest_deadline = None;
    }
}

fn length(start: u64, end: u64) -> usize {
    usize::try_from(end - start).unwrap_or(usize::MAX)
}

/// Whether `frame` refuses a subscription. A user who may subscribe and not PING gets an error for the PING behind it; so
/// does everybody from a server that cannot write its disk, is loading, or has lost its primary: SUBSCRIBE is accepted
/// there, PING is not.
fn is_refusal(frame: &[u8]) -> bool {
    let Ok(Token::Error(text)) = Reader::new(frame).token() else { return false };
    let is_of_ping = |code: &[u8]| text.starts_with(code);
    if [&b"MISCONF "[..], b"LOADING ", b"MASTERDOWN "].into_iter().any(is_of_ping) {
        return false;
    }
    !(text.starts_with(b"NOPERM") && text.windows(6).any(|word| word.eq_ignore_ascii_case(b"'ping'")))
}

fn heartbeat_spec() -> &'static Spec {
    static HEARTBEAT: Spec = Spec { name: "PING", ..Spec::UNLISTED };
    &HEARTBEAT
}

#[cfg(test)]
impl Line {
    /// Places in memory, withdrawn ones included.
    pub(super) fn places_held(&self) -> usize {
        self.places.len()
    }

    /// Bytes that are reserved.
    pub(super) fn capacity(&self) -> usize {
        self.outgoing.capacity()
    }

    /// Bytes in memory, those of withdrawn requests included.
    pub(super) fn bytes_held(&self) -> usize {
        self.outgoing.len()
    }
}
