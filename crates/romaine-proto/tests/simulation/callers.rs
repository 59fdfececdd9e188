//! The callers, who remember what they asked and check what they are told.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Instant;

use romaine_proto::{Answered, Delivery, Failure, FailureKind, Outcomes, RequestId, ServerIdentity, Verdict};
use romaine_resp::Reader;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Increment,
    Get,
    /// A pipeline of so many.
    Echo(u32),
}

impl Ask {
    pub(crate) const fn replies(self) -> u32 {
        match self {
            Self::Increment | Self::Get => 1,
            Self::Echo(n) => n,
        }
    }

    pub(crate) fn bytes(self, token: u32) -> String {
        let request = |words: &[&str]| {
            words
                .iter()
                .fold(format!("*{}\r\n", words.len()), |all, word| format!("{all}${}\r\n{word}\r\n", word.len()))
        };
        match self {
            Self::Increment => request(&["INCR", &token.to_string()]),
            Self::Get => request(&["GET"]),
            Self::Echo(n) => (0..n).map(|part| request(&["ECHO", &echo(token, part)])).collect(),
        }
    }
}

/// What only this part of this call can be answered with; long enough to be cut.
fn echo(token: u32, part: u32) -> String {
    format!("call {token}\r\npart {part}")
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ask: Ask,
    pub(crate) id: RequestId,
    pub(crate) deadline: Option<Instant>,
    answered: u32,
}

/// Everything that was ever asked.
#[derive(Default)]
pub(crate) struct Callers {
    /// The time of what they are told.
    pub(crate) now: Option<Instant>,
    pub(crate) open: BTreeMap<u32, Call>,
    next_token: u32,
    /// INCRs by what became of them.
    pub(crate) acknowledged: HashSet<u32>,
    pub(crate) unknown: HashSet<u32>,
    pub(crate) unsent: HashSet<u32>,
    pub(crate) dropped: HashSet<u32>,
    /// The highest value of the counter that anybody was told.
    seen: u64,
    pushes: u64,
    pub(crate) ready: u64,
    pub(crate) replies: u64,
    pub(crate) failed: u64,
    pub(crate) expired: u64,
    pub(crate) recovered: u64,
    pub(crate) dead: u64,
    pub(crate) stalled: u64,
}

impl Callers {
    pub(crate) fn next_token(&mut self) -> u32 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn asked(&mut self, token: u32, ask: Ask, id: RequestId, deadline: Option<Instant>) {
        self.open.insert(token, Call { ask, id, deadline, answered: 0 });
    }

    /// A caller goes away.
    pub(crate) fn drop_call(&mut self, token: u32) -> RequestId {
        let call = self.open.remove(&token).unwrap();
        if call.ask == Ask::Increment {
            self.dropped.insert(token);
        }
        call.id
    }

    /// A new socket counts its pushes anew.
    pub(crate) const fn reconnected(&mut self) {
        self.pushes = 0;
    }

    /// After a tick nobody waits past their deadline.
    pub(crate) fn check_deadlines(&self, now: Instant) {
        for (token, call) in &self.open {
            assert!(call.deadline.is_none_or(|deadline| deadline > now), "call {token} is overdue: {call:?}");
        }
    }
}

impl Outcomes for Callers {
    fn reply(&mut self, answered: Answered, buffer: &[u8], frame: Range<usize>) {
        let Answered { token, left, .. } = answered;
        let Some(call) = self.open.get_mut(&token) else { panic!("call {token} is answered after its end") };
        call.answered += 1;
        assert_eq!(call.answered + left, call.ask.replies(), "call {token}");
        let value = Reader::new(&buffer[frame]).value().unwrap();
        match call.ask {
            Ask::Increment => {
                let value = u64::try_from(value.as_integer().unwrap()).unwrap();
                assert!(value > self.seen, "the counter went from {} to {value}", self.seen);
                self.seen = value;
                self.acknowledged.insert(token);
            }
            Ask::Get => {
                let value = u64::try_from(value.as_elements().unwrap()[0].as_integer().unwrap()).unwrap();
                assert!(value >= self.seen, "the counter went from {} to {value}", self.seen);
                self.seen = value;
            }
            Ask::Echo(_) => assert_eq!(value.as_str().unwrap(), echo(token, call.answered - 1), "another's reply"),
        }
        self.replies += 1;
        if left == 0 {
            self.open.remove(&token);
        }
    }

    fn failed(&mut self, failure: Failure) {
        let Failure { token, kind, delivery } = failure;
        let Some(call) = self.open.remove(&token) else { panic!("call {token} fails after its end: {failure:?}") };
        self.failed += 1;
        match kind {
            FailureKind::Expired => {
                assert!(call.deadline.is_some() && call.deadline <= self.now, "call {token} expired early");
                self.expired += 1;
            }
            FailureKind::Disconnected | FailureKind::Closed => {}
        }
        assert!(delivery == Delivery::Unknown || call.answered == 0, "call {token} was answered, so it was sent");
        if call.ask == Ask::Increment {
            match delivery {
                Delivery::NotSent => self.unsent.insert(token),
                Delivery::Unknown => self.unknown.insert(token),
                Delivery::Refused | Delivery::Executed => panic!("the connection cannot know that: {failure:?}"),
            };
        }
    }

    fn push(&mut self, frame: &[u8]) {
        let value = Reader::new(frame).value().unwrap();
        let number = value.as_elements().unwrap()[1].as_integer().unwrap();
        let number = u64::try_from(number).unwrap();
        assert!(number > self.pushes, "pushes out of order");
        self.pushes = number;
    }

    fn ready(&mut self, _: &ServerIdentity) {
        self.ready += 1;
    }

    fn verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Ping => panic!("a PING is sent, not told"),
            Verdict::Suspect { .. } => {}
            Verdict::Dead { .. } => self.dead += 1,
            Verdict::Stalled { .. } => self.stalled += 1,
        }
    }

    fn recovered(&mut self) {
        self.recovered += 1;
    }
}
