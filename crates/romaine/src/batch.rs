//! Several requests as one place in the line: what pipelines, transactions and the client's own questions are made of.

use std::fmt;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use romaine_commands::{Flags, Request, Spec};
use romaine_proto::FailureKind;
use romaine_proto::retry::{self, Decision, RetryPolicy};
use romaine_resp::{Framer, Limits, Scan};

use crate::cells::Ended;
use crate::circuit::{Circuit, Issue, Patience, State, Ticketed};
use crate::error::{Delivery, Error, Result};

/// Requests in wire form.
#[derive(Default, Clone)]
pub(crate) struct Batch {
    pub(crate) wire: BytesMut,
    pub(crate) count: u32,
    /// The first request that cannot be part of a batch.
    pub(crate) misuse: Option<&'static Spec>,
    /// Whether sending all of it twice does no harm.
    pub(crate) not_repeatable: bool,
}

impl fmt::Debug for Batch {
    /// Shows no arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("count", &self.count).field("bytes", &self.wire.len()).finish_non_exhaustive()
    }
}

impl Batch {
    #[inline]
    pub(crate) fn push(&mut self, request: &Request) {
        let spec = request.spec();
        if self.misuse.is_none() && (request.is_blocking() || spec.flags.has(Flags::CONNECTION_STATE)) {
            self.misuse = Some(spec);
        }
        self.not_repeatable |= !spec.is_repeatable();
        self.wire.reserve(request.wire_len());
        request.write_to(&mut self.wire);
        self.count += 1;
    }

    /// Adds a command of the client's own (MULTI, EXEC).
    pub(crate) fn push_raw(&mut self, wire: &[u8]) {
        self.wire.extend_from_slice(wire);
        self.count += 1;
        self.not_repeatable = true;
    }

    pub(crate) fn issue(&self, circuit: &Circuit, patience: Patience) -> Result<Ticketed> {
        let issue = Issue { patience, replies: self.count, batch: true, blocking: false };
        circuit.issue_bytes(spec(), issue, self.wire.len(), Waker::noop(), |out| out.extend_from_slice(&self.wire))
    }

    /// Issues it only if `allowed` at that very moment: a request issued on a ready connection never moves to another.
    pub(crate) fn issue_if(&self, circuit: &Circuit, allowed: impl FnOnce(&State) -> bool) -> Option<Result<Ticketed>> {
        let guard = circuit.lock();
        if !allowed(&guard) {
            return None;
        }
        let issue = Issue { patience: Patience::For(None), replies: self.count, batch: true, blocking: false };
        let length = self.wire.len();
        Some(Circuit::issue_under(guard, spec(), issue, length, Waker::noop(), |out| out.extend_from_slice(&self.wire)))
    }

    /// Waits for the replies of a batch that was issued.
    ///
    /// # Cancel safety
    /// Dropping abandons the replies, never the connection.
    pub(crate) async fn collect(
        &self,
        circuit: &Circuit,
        ticketed: Ticketed,
    ) -> Result<Replies, (FailureKind, Delivery)> {
        let mut guard = Abandon { circuit, ticketed: Some(ticketed) };
        let ended = circuit.outcome(ticketed).await;
        guard.ticketed = None;
        match ended {
            Ended::Batch(bytes) => {
                Replies::new(bytes.into(), self.count).ok_or((FailureKind::Disconnected, Delivery::Unknown))
            }
            Ended::Reply(_) => Err((FailureKind::Disconnected, Delivery::Unknown)),
            Ended::Failed(kind, delivery) => Err((kind, delivery)),
        }
    }

    /// Sends it and waits for all its replies; what was not sent, or may be repeated, is sent again within the
    /// deadline.
    ///
    /// # Cancel safety
    /// Dropping abandons the replies, never the connection.
    pub(crate) async fn run(&self, circuit: &Circuit, mut patience: Patience, retries: bool) -> Result<Replies> {
        let mut earlier = Delivery::NotSent;
        loop {
            let ticketed = match self.issue(circuit, patience) {
                Ok(ticketed) => ticketed,
                Err(refused) => {
                    let delivery = retry::over_attempts(earlier, refused.delivery());
                    return Err(refused.with_delivery(delivery));
                }
            };
            let (kind, delivery) = match self.collect(circuit, ticketed).await {
                Ok(replies) => return Ok(replies),
                Err(failure) => failure,
            };
            let policy = match (retries, self.not_repeatable) {
                (false, _) => RetryPolicy::Never,
                (true, true) => RetryPolicy::Unsent,
                (true, false) => RetryPolicy::Idempotent,
            };
            let again =
                kind == FailureKind::Disconnected && retry::without_reply(policy, delivery, spec()) == Decision::Again;
            if !again {
                let error = Error::without_reply(kind, retry::over_attempts(earlier, delivery));
                let cause = circuit.lock().last_error.clone();
                return Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                });
            }
            earlier = retry::over_attempts(earlier, delivery);
            circuit.lock().counters.retries += 1;
            patience = Patience::Until(ticketed.deadline);
        }
    }
}

fn spec() -> &'static Spec {
    // Latencies of pipelines are counted under a name of their own.
    static PIPELINE: Spec = Spec { name: "pipeline", ..Spec::UNLISTED };
    &PIPELINE
}

struct Abandon<'a> {
    circuit: &'a Circuit,
    ticketed: Option<Ticketed>,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(ticketed) = self.ticketed {
            self.circuit.abandon(ticketed);
        }
    }
}

/// The replies of a batch, each found but not decoded.
#[derive(Debug)]
pub(crate) struct Replies {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Replies {
    /// `None` when there are not `count` of them.
    pub(crate) fn new(bytes: Bytes, count: u32) -> Option<Self> {
        let mut framer = Framer::new(Limits { reply_bytes_max: usize::MAX, ..Limits::default() });
        let mut ends = Vec::with_capacity(count as usize);
        let mut position = 0;
        while position < bytes.len() {
            match framer.scan(&bytes[position..]) {
                Ok(Scan::Complete { length, .. }) => {
                    position += length;
                    ends.push(position);
                }
                Ok(Scan::Incomplete { .. }) | Err(_) => break,
            }
        }
        (ends.len() == count as usize).then_some(Self { bytes, ends })
    }

    /// The frame of the last reply: EXEC's.
    pub(crate) fn last_frame(&self) -> Option<&[u8]> {
        self.frame(self.ends.len().checked_sub(1)?)
    }

    /// The frame of one reply.
    pub(crate) fn frame(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.bytes.get(start..*self.ends.get(index)?)
    }
}
