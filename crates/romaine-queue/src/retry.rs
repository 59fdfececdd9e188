//! What the library waits out by itself, and how long it waits.

use std::time::Duration;

use romaine::{Backoff, Client, Error, ErrorKind, Status};

/// What an error of the client means for an operation that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Passes by itself: connections, failovers, loading, memory.
    Passes,
    /// Stays until somebody changes something.
    Stays,
    /// The client was closed.
    Closed,
}

/// Judges an error.
pub(crate) fn fate(error: &Error, client: &Client) -> Fate {
    if client.health().borrow().status == Status::Closed {
        return Fate::Closed;
    }
    match error.kind() {
        ErrorKind::Connect
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Overloaded
        | ErrorKind::Closed
        | ErrorKind::Protocol
        | ErrorKind::Tls => Fate::Passes,
        // WAIT and WAITAOF say so of a primary that was demoted after the write.
        ErrorKind::Server if is_demotion(error) => Fate::Passes,
        ErrorKind::Server => match error.server().map_or("", |error| error.code()) {
            "OOM" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED" | "NOSCRIPT" | "MOVED" | "ASK" | "READONLY" | "TRYAGAIN"
            | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" | "BUSY" => Fate::Passes,
            _ => Fate::Stays,
        },
        ErrorKind::Config | ErrorKind::Usage | ErrorKind::Auth | ErrorKind::Conversion => Fate::Stays,
        _ => Fate::Passes,
    }
}

fn is_demotion(error: &Error) -> bool {
    error.server().is_some_and(|error| error.to_string().contains("cannot be used with replica instances"))
}

/// The delay between attempts at the server: full jitter, 25 ms doubling to 2 s.
#[derive(Debug)]
pub(crate) struct Pauses {
    backoff: Backoff,
    attempt: u64,
    previous: Duration,
    random: fastrand::Rng,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        let backoff = Backoff::EqualJitter { base: Duration::from_millis(25), max: Duration::from_secs(2) };
        Self { backoff, attempt: 0, previous: Duration::ZERO, random: fastrand::Rng::new() }
    }

    /// The next delay.
    pub(crate) fn next(&mut self) -> Duration {
        self.previous = self.backoff.delay(self.attempt, self.previous, &mut self.random);
        self.attempt = self.attempt.saturating_add(1);
        self.previous
    }

    /// It worked: the next delay is the shortest again.
    pub(crate) const fn reset(&mut self) {
        self.attempt = 0;
        self.previous = Duration::ZERO;
    }
}
