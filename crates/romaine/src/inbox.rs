//! Where the connection's machine puts its outcomes, and what is left to do once the circuit's lock is released.

use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use romaine_proto::{Answered, Failure, FailureKind, Outcomes, ServerIdentity, Verdict};

use crate::cells::Cells;
use crate::hub::Hub;
use crate::metrics::{Counters, Latencies};
use crate::notice::Notice;

/// What happens after the lock is released.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) notices: Vec<Notice>,
}

impl After {
    /// A subscriber of `topic` did not keep up. Counted, so that a flood is one event.
    pub(crate) fn dropped(&mut self, topic: &Bytes) {
        match self.notices.last_mut() {
            Some(Notice::Dropped { topic: last, count }) if last == topic => *count += 1,
            _ => self.notices.push(Notice::Dropped { topic: topic.clone(), count: 1 }),
        }
    }

    /// Wakes the first so many, in the order of their replies.
    #[inline]
    pub(crate) fn wake(&mut self, count: usize) {
        for waker in self.wakers.drain(..count) {
            waker.wake();
        }
    }

    /// Wakes everybody.
    #[inline]
    pub(crate) fn wake_all(&mut self) {
        self.wake(self.wakers.len());
    }
}

/// Where the machine puts its outcomes.
pub(crate) struct Inbox<'a> {
    pub(crate) cells: &'a mut Cells,
    pub(crate) counters: &'a mut Counters,
    pub(crate) latencies: Option<&'a mut Latencies>,
    pub(crate) hub: Option<&'a Hub>,
    pub(crate) origin: Option<&'a Bytes>,
    pub(crate) now: Instant,
    pub(crate) after: &'a mut After,
}

/// From this length on a reply is a slice of the buffer it was read into, not a copy.
const SLICE_FROM: usize = 4_096;

impl Outcomes for Inbox<'_> {
    #[inline]
    fn reply(&mut self, answered: Answered, buffer: &[u8], frame: std::ops::Range<usize>) {
        self.counters.replies += 1;
        if let Some(latencies) = &mut self.latencies
            && answered.left == 0
        {
            latencies.record(answered.spec, self.now.saturating_duration_since(answered.issued));
        }
        let shared = match self.origin {
            Some(origin) if frame.len() >= SLICE_FROM && frame.len() * 2 >= origin.len() => {
                Some(origin.slice(frame.clone()))
            }
            _ => None,
        };
        if let Some(hub) = self.hub {
            hub.answered(answered.token, &buffer[frame], self.after);
            return;
        }
        if let Some(waker) = self.cells.reply(answered.token, &buffer[frame], shared, answered.left) {
            self.after.wakers.push(waker);
        }
    }

    fn failed(&mut self, failure: Failure) {
        match failure.kind {
            FailureKind::Expired => self.counters.expired += 1,
            FailureKind::Disconnected | FailureKind::Closed => self.counters.disconnected += 1,
        }
        if let Some(waker) = self.cells.fail(failure.token, failure.kind, failure.delivery) {
            self.after.wakers.push(waker);
        }
    }

    fn push(&mut self, frame: &[u8]) {
        self.counters.pushes += 1;
        if let Some(hub) = self.hub {
            hub.push(frame, self.now, self.after);
        }
    }

    fn ready(&mut self, identity: &ServerIdentity) {
        self.counters.connections += 1;
        self.after.notices.push(Notice::Ready(Box::new(identity.clone())));
    }

    fn verdict(&mut self, verdict: Verdict) {
        self.after.notices.push(Notice::Verdict(verdict));
    }

    fn recovered(&mut self) {
        self.after.notices.push(Notice::Recovered);
    }
}
