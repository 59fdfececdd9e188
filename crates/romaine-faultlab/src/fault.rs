//! What a [`FaultProxy`](crate::FaultProxy) can do to a connection.

use std::time::Duration;

use bytes::Bytes;

/// A direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What happens to the bytes of one direction. Counts begin when the fault is set, for each connection on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes go through.
    Pass,
    /// Nothing is read any more: the sender fills the kernel's buffers and then blocks. What was held back goes through
    /// after the fault.
    Stall,
    /// Everything is read, and so acknowledged, and thrown away; so is the end of the stream, until the fault ends.
    Swallow,
    /// So many bytes go through; then as [`Fault::Swallow`].
    SwallowAfter(u64),
    /// Every byte arrives this much later; the throughput stays.
    Delay(Duration),
    /// So many bytes go through each second.
    Bandwidth(u32),
    /// Every n-th byte arrives with all its bits inverted; 1 means every byte.
    Corrupt {
        /// The n.
        every: u64,
    },
    /// So many bytes go through; then both sides are closed, in the middle of whatever it was.
    CloseAfter(u64),
    /// So many bytes go through; then both sides are reset (RST).
    ResetAfter(u64),
    /// The receiver sees the end of the stream, while the other direction goes on. Cannot be healed for a connection that
    /// has had it.
    HalfClose,
}

/// Bytes that the proxy says in one direction, in the place of who is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outburst {
    /// What is said.
    pub bytes: Bytes,
    /// Whether both sides are closed when it has been said.
    pub closes: bool,
}

/// What happens to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// They are joined to the upstream.
    Pass,
    /// Nobody listens: the kernel refuses.
    Refuse,
    /// They are accepted, and what they send is acknowledged, but never answered.
    Silent,
    /// They are accepted and closed.
    CloseAtOnce,
    /// They are accepted and reset (RST).
    Reset,
}
