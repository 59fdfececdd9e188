//! The decisions of a Redis client as state machines without I/O and without a clock.
//!
//! Time, bytes, order and chance are arguments, so every test is exact. The contract of every machine here:
//!
//! 1. An input never blocks, never fails, never reads a clock, never allocates without a bound. What the peer does wrong
//!    is an outcome; what the driver does wrong is an assert.
//! 2. After each input the driver takes what is to be sent, then acts on the outcomes, then asks for the next deadline.
//! 3. `now` never goes backwards. A late timeout is legal, an early one does nothing. A *late* one is never read as the
//!    peer's silence: see [`Watchdog`].
//! 4. When a connection closes, everything still unanswered is told to its owner with what is known of its effect. After
//!    the end (closed for good) every input is ignored.
//! 5. Deadlines are `Instant`s, settings are `Duration`s. Randomness is a seeded generator held by the machine.
//!
//! | machine | decides |
//! |---|---|
//! | [`Connection`] | which reply belongs to whom; what was sent; who is told what when it closes |
//! | [`Handshake`] | the steps from an open socket to a usable connection |
//! | [`Watchdog`] | when a silent peer is suspect, when it is dead |
//! | [`Reconnect`] | when to dial again |
//! | [`retry`] | whether a failed call may be sent again |
//! | [`Subscriptions`] | what is wanted, what is confirmed, what to say after an interruption |
//! | [`Wait`] | how a blocking command is probed, sliced and ended |
//! | [`Autopsy`], [`Inquest`] | what became of a ghost, and how long it is asked |
//! | [`topology`] | who serves what, when nodes disagree, and when to ask again |
#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test needs one real instant to count from"))]

mod backoff;
mod connection;
mod fence;
mod handshake;
mod liveness;
mod opening;
mod reconnect;
pub mod retry;
mod subscriptions;
pub mod topology;
mod wait;

pub use backoff::{Backoff, Delay};
pub use connection::{
    Answered, CloseReason, Connection, ConnectionLimits, Deadlines, Delivery, Failure, FailureKind, Lane, Link,
    Outcomes, Refusal, RequestId, RequestOptions,
};
pub use fence::{Autopsy, Ghost, GhostVerdict, Inquest, Parting, Standing, autopsy_requests, ends_by_itself};
pub use handshake::{Greeting, Handshake, HandshakeError, Protocol, ServerIdentity, Step};
pub use liveness::{Keepalive, Liveness, Verdict, Watchdog};
pub use opening::{Attempt, Dialling, Openings};
pub use reconnect::Reconnect;
pub use subscriptions::{Delivered, Refused, SubscriptionKind, Subscriptions, subscription_request};
pub use topology::{
    AddressError, Agreement, Belief, Candidate, ClusterAnswer, ClusterNode, ClusterView, Detours, Gathering, Lead,
    MergeError, Newcomer, NodeAddress, Opinions, Part, REDIRECTS_AT_ONCE, ReadFrom, Redirect, Refresh, RefreshSettings,
    Reroute, Route, SENTINEL_EVENTS, SENTINEL_HELLO, SLOTS, SentinelAnswer, SentinelEvent, SentinelHello, SentinelView,
    ShardView, Shortfall, Trigger, ViewError, agree, is_barred, merge, redirect_of, reroute, sentinel_event, slot_of,
    split,
};
pub use wait::{Action, Interruption, Outcome, ProbeAnswer, Wait, WaitLimits, WaitSettings};
