//! What happened, as a stream that never blocks a connection.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use romaine_proto::GhostVerdict;
use tokio::sync::broadcast;

use crate::error::Error;

/// Which connection of a client an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lane {
    /// The shared connection of ordinary commands.
    Commands,
    /// The connection that probes and fences others.
    Control,
    /// The connection of all subscriptions.
    Subscriptions,
    /// A connection of one blocking command.
    Blocking,
    /// A connection of one WATCH or MONITOR.
    Exclusive,
    /// A connection to a Sentinel.
    Sentinel,
    /// A short one that asks who serves what, or for a second opinion. Its coming and going is not told.
    Topology,
}

/// What a node is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeRole {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

/// A node as the topology has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopologyNode {
    /// Its address.
    pub node: Arc<str>,
    /// What it is.
    pub role: NodeRole,
    /// In a Cluster: how many slots it serves.
    pub slots: usize,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commands => "commands",
            Self::Control => "control",
            Self::Subscriptions => "subscriptions",
            Self::Blocking => "blocking",
            Self::Exclusive => "exclusive",
            Self::Sentinel => "sentinel",
            Self::Topology => "topology",
        })
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An attempt to connect begins.
    ConnectAttempt {
        /// Which connection.
        lane: Lane,
        /// The server's address.
        node: Arc<str>,
        /// Counted from 1 since the last stable connection.
        attempt: u64,
        /// The delay that was waited before it.
        after: Duration,
    },
    /// The socket is open; the handshake begins.
    Connected {
        /// Which connection.
        lane: Lane,
        /// The address reached; the server's own where [`address_map`](crate::Config::address_map) leads to another.
        node: Arc<str>,
    },
    /// The handshake is done: requests flow (again).
    Activated {
        /// Which connection.
        lane: Lane,
        /// The address reached; the server's own where [`address_map`](crate::Config::address_map) leads to another.
        node: Arc<str>,
        /// The server's number for the connection.
        client_id: Option<u64>,
    },
    /// The peer is silent although something is unanswered. Nothing is closed yet.
    Suspect {
        /// Which connection.
        lane: Lane,
        /// For how long.
        silent_for: Duration,
    },
    /// A suspect connection answered after all.
    Recovered {
        /// Which connection.
        lane: Lane,
    },
    /// Our own process was paused or overloaded: the peer is not blamed for that time.
    Stalled {
        /// Which connection noticed.
        lane: Lane,
        /// How late its clock was.
        late_by: Duration,
    },
    /// A connection ended.
    Disconnected {
        /// Which connection.
        lane: Lane,
        /// The address it led to.
        node: Arc<str>,
        /// Why.
        cause: Error,
    },
    /// An attempt failed; the next one follows after the delay.
    ReconnectFailed {
        /// Which connection.
        lane: Lane,
        /// Which attempt.
        attempt: u64,
        /// Why.
        cause: Error,
        /// Time until the next attempt.
        next_in: Duration,
    },
    /// The subscriptions are in force again.
    Resubscribed {
        /// How many topics.
        topics: usize,
    },
    /// Messages may have been missed on a topic; the subscription's own stream says the same.
    Gap {
        /// The channel or pattern.
        topic: bytes::Bytes,
        /// For how long.
        duration: Duration,
    },
    /// The server refuses a subscription. A subscriber that has it already is told in its stream; it is asked for again.
    SubscriptionRefused {
        /// The channel or pattern.
        topic: bytes::Bytes,
        /// The server's words.
        cause: Error,
    },
    /// A subscriber does not keep up: its oldest messages were dropped.
    MessagesDropped {
        /// The channel or pattern.
        topic: bytes::Bytes,
        /// How many since the last such event.
        count: u64,
    },
    /// A ghost (the server's side of a dead blocked connection) was examined and ended.
    GhostFenced {
        /// The command it was blocked in.
        command: &'static str,
        /// What became of it.
        verdict: GhostVerdict,
    },
    /// An element may have been handed to nobody: a ghost was served, a blocking call was dropped while its reply was
    /// on its way, or the server closed the connection of one (it discards a reply that it has not written yet; the
    /// call itself goes on waiting).
    ElementMayBeLost {
        /// The command.
        command: &'static str,
    },
    /// A limit refused a call; told once per outage and limit.
    QueueFull {
        /// Which connection.
        lane: Lane,
    },
    /// A replica has taken over; calls go to it from now on.
    Failover {
        /// The primary until now.
        from: Arc<str>,
        /// The primary from now on.
        to: Arc<str>,
    },
    /// Who serves what has changed.
    TopologyChanged {
        /// As it was known.
        before: Arc<[TopologyNode]>,
        /// As it is.
        after: Arc<[TopologyNode]>,
    },
    /// The server at a primary's address says that it is none: no command is sent to it.
    RoleRefused {
        /// The address.
        node: Arc<str>,
        /// What it says it is.
        found: String,
    },
    /// The server at a primary's address says that it is one.
    RoleVerified {
        /// The address.
        node: Arc<str>,
    },
    /// So many redirects were followed since the last such event, a second or more ago: the topology is moving, or ours
    /// is not true.
    Redirected {
        /// How many.
        count: u64,
    },
    /// The client was closed.
    Closed,
    /// This listener was slow: so many events are missing here.
    Lagged(u64),
}

/// A listener. Slow ones lose the oldest events and are told how many.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// The next event; `None` when the client is gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event if one is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

/// Made with its first listener: the places of 1,024 events are 82 KiB, which a process with a client for each of ten
/// thousand edges would pay for all of them.
#[derive(Debug)]
pub(crate) struct EventBus {
    sender: OnceLock<broadcast::Sender<Event>>,
    backlog: usize,
}

impl EventBus {
    pub(crate) fn new(backlog: usize) -> Self {
        Self { sender: OnceLock::new(), backlog: backlog.max(1) }
    }

    pub(crate) fn listen(&self) -> EventStream {
        EventStream(self.sender.get_or_init(|| broadcast::Sender::new(self.backlog)).subscribe())
    }

    /// Never blocks; costs nothing without listeners.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(sender) = self.sender.get()
            && sender.receiver_count() > 0
        {
            let _nobody_listens = sender.send(event);
        }
    }
}
