//! What a connection tells: replies, failures, and why it ended.

use std::time::{Duration, Instant};

use romaine_commands::Spec;
use romaine_resp::DecodeError;

use crate::handshake::{HandshakeError, ServerIdentity};
use crate::liveness::Verdict;

/// What is known of the effect of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// No byte of it left this process: always safe to send again.
    NotSent,
    /// The server answered that it did not execute it (LOADING, READONLY, NOAUTH, …).
    Refused,
    /// Sent, no reply seen: it may or may not have been executed.
    Unknown,
    /// The server executed it; the failure is in its result or in reading it.
    Executed,
}

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The owner's name for the request.
    pub token: u32,
    /// The command.
    pub spec: &'static Spec,
    /// When the request was accepted.
    pub issued: Instant,
    /// Replies still to come for this request (pipelines).
    pub left: u32,
}

/// A request that ends without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The owner's name for the request.
    pub token: u32,
    /// Why.
    pub kind: FailureKind,
    /// What is known of its effect.
    pub delivery: Delivery,
}

/// Why a request ends without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Its deadline passed.
    Expired,
    /// The connection ended.
    Disconnected,
    /// The client was closed.
    Closed,
}

/// Why a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    PeerClosed,
    /// The transport failed.
    Transport(std::sync::Arc<std::io::Error>),
    /// Nothing was received for this long although something was unanswered.
    Silent(Duration),
    /// The bytes are not RESP, or pass a limit.
    Malformed(DecodeError),
    /// A reply came that nobody asked for.
    Unsolicited,
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The handshake did not end in time; the name of the step that hung.
    HandshakeTimeout(&'static str),
    /// We closed it.
    Ours,
    /// We left it, because another server has its role, or to find out which server has its address now.
    Left,
}

/// Receives what a connection decides. Called synchronously, in the order of the bytes.
pub trait Outcomes {
    /// A reply for `answered.token` is the bytes `frame` of the buffer given to
    /// [`Connection::received`](crate::Connection::received).
    fn reply(&mut self, answered: Answered, buffer: &[u8], frame: std::ops::Range<usize>);
    /// A request ended without a reply.
    fn failed(&mut self, failure: Failure);
    /// Out-of-band data.
    fn push(&mut self, frame: &[u8]);
    /// The handshake is done.
    fn ready(&mut self, identity: &ServerIdentity);
    /// Something about the peer's life.
    fn verdict(&mut self, verdict: Verdict);
    /// Bytes arrived on a suspect connection: it lives.
    fn recovered(&mut self);
}
