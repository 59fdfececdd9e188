//! What a connection is told: its lane, its limits, and how a request is to be treated.

use std::time::Instant;

use romaine_resp::Limits;

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
    /// Bytes of these. Default 64 MiB. The buffer may hold an eighth more, of requests that were given up.
    pub queued_bytes_max: usize,
    /// Requests handed to the transport and not yet answered; further ones wait in the queue. Default 65,536. At least
    /// 1, on a monitor's connection 2, so that something can be sent and its PING too.
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

/// A place in the line; what [`Connection::abandon`](crate::Connection::abandon) takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

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
    /// How many replies it gets: 1, or the number of commands of a pipeline; never 0. `u32::MAX`: without end
    /// (MONITOR).
    pub replies: u32,
    /// Whether it may hold the connection (BLPOP): the watchdog is quiet meanwhile.
    pub blocking: bool,
    /// Whether only a refusal answers it (SUBSCRIBE: what it asked for comes as pushes). A PING must follow: its reply
    /// says that nothing was refused, and is the only outcome then.
    pub refusal_only: bool,
}

/// Until when a handshake may go unanswered.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Whatever happens.
    pub end: Instant,
    /// When another connection shows after this that the server is there, it is lost. `None`: that shows nothing.
    pub lost: Option<Instant>,
    /// Once a call comes that finds none waiting before it, if this is earlier than the end.
    pub hurried: Option<Instant>,
}

impl Deadlines {
    /// The end, and nothing before it.
    #[must_use]
    pub const fn only(end: Instant) -> Self {
        Self { end, lost: None, hurried: None }
    }
}
