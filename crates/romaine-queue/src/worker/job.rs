//! A job in a worker's hands.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::priority::Priority;
use crate::worker::turn::Claim;

/// Why a running job is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interruption {
    /// Somebody cancelled it.
    Cancelled,
    /// The lease could not be renewed in time: another worker may get the job.
    LeaseLost,
    /// The worker is shutting down and its grace is over; the job is given back.
    Shutdown,
}

/// The token of a job's lease: tells two runs of the same job apart.
///
/// Give it to whatever the job changes elsewhere (a row, a label) and refuse a lower `number`: then a worker that was cut
/// off cannot overwrite the work of the one that came after it. Numbers grow with every claim of the queue; they are only
/// as durable as the server's writes, which is why a random `nonce` goes with them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    /// Grows with every claim of the queue.
    pub number: u64,
    /// Unlike any other lease's.
    pub nonce: String,
}

/// A job in a worker's hands.
#[derive(Clone)]
pub struct Job {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    kind: String,
    payload: Bytes,
    attempt: u32,
    attempts_max: u32,
    token: Token,
    priority: Priority,
    enqueued_ms: i64,
    last_error: Option<String>,
    stop: Stop,
}

/// How a running job is told to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Interruption>>,
}

impl Stop {
    /// Only the first reason counts.
    pub(crate) fn now(&self, why: Interruption) {
        let _first_or_not = self.why.set(why);
        self.token.cancel();
    }

    pub(crate) fn why(&self) -> Option<Interruption> {
        self.why.get().copied()
    }
}

impl Job {
    pub(crate) fn new(claim: Claim, stop: Stop) -> Self {
        let nonce = claim.state.split(':').nth(3).and_then(|token| token.split_once('-')).map(|(_, nonce)| nonce);
        let token = Token { number: claim.token, nonce: nonce.unwrap_or_default().to_owned() };
        Self {
            inner: Arc::new(Inner {
                id: claim.id,
                kind: claim.record.kind,
                payload: claim.record.payload,
                attempt: claim.attempt,
                attempts_max: claim.attempts_max,
                token,
                priority: claim.record.priority,
                enqueued_ms: claim.record.enqueued_ms,
                last_error: claim.last_error,
                stop,
            }),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.inner.kind
    }

    /// What it is about.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.inner.payload
    }

    /// What it is about, from JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when the payload is not JSON of this type. The message does not show it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.inner.payload).map_err(|cause| {
            // serde's own message may quote the payload.
            let (line, column) = (cause.line(), cause.column());
            let what = match cause.classify() {
                serde_json::error::Category::Data => "has another form",
                serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof
                | serde_json::error::Category::Io => "is not JSON",
            };
            let kind = &self.inner.kind;
            Error::new(ErrorKind::Codec, format!("the payload of a {kind} job {what} (line {line}, column {column})"))
        })
    }

    /// Which attempt this is, from 1. An attempt counts when it is claimed, so those whose workers crashed count too.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How many attempts it has.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        self.inner.attempts_max
    }

    /// The token of this lease.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.inner.token
    }

    /// How urgent it is.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.inner.priority
    }

    /// When it was accepted, by the server's clock, in milliseconds since 1970.
    #[must_use]
    pub fn enqueued_ms(&self) -> i64 {
        self.inner.enqueued_ms
    }

    /// Why the attempt before this one failed; of a dead letter that was put back, why it died.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.inner.last_error.as_deref()
    }

    /// Fires when the job must stop: cancelled, lease lost, shutdown. A handler that does not stop is dropped.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.inner.stop.token
    }

    /// Why it must stop, if it must.
    #[must_use]
    pub fn interrupted(&self) -> Option<Interruption> {
        self.inner.stop.why()
    }
}

impl fmt::Debug for Job {
    /// Shows no payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.inner.id)
            .field("kind", &self.inner.kind)
            .field("attempt", &self.inner.attempt)
            .field("token", &self.inner.token.number)
            .field("payload_bytes", &self.inner.payload.len())
            .finish_non_exhaustive()
    }
}
