//! Layer 1: one connection, simulated time, every input by hand.

mod closing;
mod giving_up;
mod greeting;
mod lanes;
mod limits;
mod liveness;
mod replies;

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use romaine_commands::Spec;

use super::*;
use crate::handshake::{Greeting, Protocol, ServerIdentity};

/// A connection, its clock, and what it said since it was last asked.
struct Rig {
    connection: Connection,
    now: Instant,
    start: Instant,
    told: Told,
    /// Bytes received and not consumed.
    unread: Vec<u8>,
}

/// One line for each outcome.
#[derive(Default)]
struct Told(Vec<String>);

impl Outcomes for Told {
    fn reply(&mut self, answered: Answered, buffer: &[u8], frame: Range<usize>) {
        let left = if answered.left == 0 { String::new() } else { format!(" ({} left)", answered.left) };
        self.0.push(format!("{}: {}{left}", answered.token, buffer[frame].escape_ascii()));
    }

    fn failed(&mut self, failure: Failure) {
        self.0.push(format!("{}: {:?}, {:?}", failure.token, failure.kind, failure.delivery));
    }

    fn push(&mut self, frame: &[u8]) {
        self.0.push(format!("push {}", frame.escape_ascii()));
    }

    fn ready(&mut self, identity: &ServerIdentity) {
        self.0.push(format!("ready {:?}", identity.protocol));
    }

    fn verdict(&mut self, verdict: Verdict) {
        let word = match verdict {
            Verdict::Ping => "ping",
            Verdict::Suspect { .. } => "suspect",
            Verdict::Dead { .. } => "dead",
            Verdict::Stalled { .. } => "stalled",
        };
        self.0.push(word.into());
    }

    fn recovered(&mut self) {
        self.0.push("recovered".into());
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An ordinary request.
const fn options(token: u32) -> RequestOptions {
    RequestOptions { token, deadline: None, replies: 1, blocking: false, refusal_only: false }
}

impl Rig {
    fn new(lane: Lane, limits: ConnectionLimits, liveness: Liveness) -> Self {
        let now = Instant::now();
        let connection = Connection::new(lane, limits, liveness, now);
        Self { connection, now, start: now, told: Told::default(), unread: Vec::new() }
    }

    /// Nothing is watched, the limits are wide.
    fn down() -> Self {
        Self::new(Lane::Requests, ConnectionLimits::default(), Liveness::off())
    }

    fn ready() -> Self {
        Self::down().up()
    }

    fn ready_with(limits: ConnectionLimits) -> Self {
        Self::new(Lane::Requests, limits, Liveness::off()).up()
    }

    fn up(mut self) -> Self {
        self.open();
        self.greet();
        assert_eq!(self.told(), ["ready Resp3"]);
        self
    }

    fn up_in_resp2(mut self) -> Self {
        self.connection.opened(
            self.now,
            Greeting { protocol: Protocol::Resp2, ..Greeting::default() },
            Deadlines::only(self.now + ms(5_000)),
        );
        assert_eq!(self.take(), "*1\r\n$4\r\nPING\r\n");
        self.feed("+PONG\r\n").unwrap();
        assert_eq!(self.take(), "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n");
        self.feed(":1\r\n").unwrap();
        assert_eq!(self.told(), ["ready Resp2"]);
        self
    }

    fn open(&mut self) {
        self.connection.opened(self.now, Greeting::default(), Deadlines::only(self.now + ms(5_000)));
        assert_eq!(self.take(), "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
    }

    fn greet(&mut self) {
        self.feed("%0\r\n").unwrap();
    }

    fn try_request(&mut self, options: RequestOptions, bytes: &str) -> Result<(RequestId, bool), Refusal> {
        let write = |out: &mut BytesMut| out.extend_from_slice(bytes.as_bytes());
        self.connection.request(self.now, &Spec::UNLISTED, options, bytes.len(), write)
    }

    fn request(&mut self, options: RequestOptions, bytes: &str) -> RequestId {
        self.try_request(options, bytes).unwrap().0
    }

    /// Requests with these tokens, whose bytes are `<token>`.
    fn ask<const N: usize>(&mut self, tokens: [u32; N]) -> [RequestId; N] {
        tokens.map(|token| self.request(options(token), &format!("<{token}>")))
    }

    /// A request that expires in so many milliseconds.
    fn ask_within(&mut self, token: u32, timeout: u64) -> RequestId {
        let deadline = Some(self.now + ms(timeout));
        self.request(RequestOptions { deadline, ..options(token) }, &format!("<{token}>"))
    }

    fn take(&mut self) -> String {
        let mut taken = BytesMut::new();
        self.connection.take(self.now, &mut taken);
        String::from_utf8(taken.to_vec()).unwrap()
    }

    fn feed(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), CloseReason> {
        self.unread.extend_from_slice(bytes.as_ref());
        let (consumed, needed) = self.connection.received(self.now, &self.unread, &mut self.told)?;
        self.unread.drain(..consumed);
        assert!(self.unread.is_empty() || needed > self.unread.len(), "it asks for more than there is");
        Ok(())
    }

    /// What was said since this was last asked.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told.0)
    }

    /// The clock moves, nobody looks at it.
    fn sleep(&mut self, time: u64) {
        self.now += ms(time);
    }

    fn timeout(&mut self) -> Result<(), CloseReason> {
        self.connection.timeout(self.now, &mut self.told)
    }

    /// The driver with nothing to do but keep time, exactly; returns what was sent.
    fn idle_for(&mut self, time: u64) -> Result<String, CloseReason> {
        let until = self.now + ms(time);
        let mut sent = self.take();
        let mut ticks = 0;
        while let Some(at) = self.connection.next_timeout().filter(|at| *at <= until) {
            ticks += 1;
            assert!(ticks <= 10 + time / 10, "the driver spins at {:?}", self.now - self.start);
            self.now = self.now.max(at);
            self.timeout()?;
            sent += &self.take();
        }
        self.now = until;
        Ok(sent)
    }

    fn close(&mut self, unwritten: usize) -> Vec<String> {
        self.connection.closed(unwritten, false, &mut self.told);
        self.unread.clear();
        self.told()
    }

    fn close_for_good(&mut self, unwritten: usize) -> Vec<String> {
        self.connection.closed(unwritten, true, &mut self.told);
        self.told()
    }
}
