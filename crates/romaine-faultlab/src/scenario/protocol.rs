//! What a scenario and the client under test say to each other.
//!
//! A driver is a program (or, in the demo, a task) that puts one client under load and tells what it sees. It is given an
//! [`Order`], then [`Control`]s, and answers with [`Seen`] observations. Between processes each of these is one line of
//! JSON: the order first, then one control a line on the driver's standard input; one observation a line on its standard
//! output. A driver for another client is a program that speaks these lines: nothing else here knows which client it is.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The list that the consumer pops from.
pub const JOBS: &str = "jobs";
/// The channel that the subscriber listens to.
pub const NEWS: &str = "news";
/// The key that the callers increment.
pub const COUNTER: &str = "counter";
/// Over how many keys [`Load::Spread`] is spread: `counter:0`, `counter:1`, … Enough to touch every shard, few enough to be
/// read back at the end.
pub const SPREAD_KEYS: usize = 256;
/// The key of the large value that [`Load::Fetch`] reads.
pub const BIG: &str = "big";

/// How long a driver waits after [`Control::Stop`] for the calls that have begun; those that have not ended then never
/// returned. Ten seconds more than the longest limit that any client under test sets a call by default (Lettuce: 60 s), so
/// that a call which merely takes as long as its client lets it is not counted.
pub(crate) const CALLS_END_WITHIN: Duration = Duration::from_secs(70);

/// What a client is kept busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Nothing: a connected client that says nothing until a [`Control::Probe`].
    Idle,
    /// Callers of `INCR counter`, one after the other each.
    Callers,
    /// Callers of `INCR counter:<n>`, each call with an n of its own below [`SPREAD_KEYS`]: all shards of a cluster. Counted
    /// as the calls of [`Load::Callers`] are.
    Spread,
    /// A consumer in `BRPOP jobs 0`.
    Blocked,
    /// A subscriber of `news`.
    Subscribed,
    /// One caller that reads a large value, again and again.
    Fetch,
    /// Callers of `ECHO <something unique>`, many of which are dropped or time out.
    Droppers,
    /// `INCR counter` at a fixed rate, whether or not the calls before have ended.
    Torrent,
}

impl Load {
    /// The connection that carries it.
    #[must_use]
    pub const fn link(self) -> Link {
        match self {
            Self::Idle | Self::Callers | Self::Spread | Self::Fetch | Self::Droppers | Self::Torrent => Link::Commands,
            Self::Blocked => Link::Blocking,
            Self::Subscribed => Link::Subscriptions,
        }
    }

    /// Whether its calls increment what can be read back.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Callers | Self::Spread | Self::Torrent)
    }
}

/// How soon the client is to notice a dead peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// The client's defaults: within 10 s.
    Default,
    /// Its documented quickest: within 2 s.
    Fast,
    /// Nothing is watched. For seeing that the lab tells.
    Off,
}

impl Pace {
    /// The promise: within this a dead peer is declared dead.
    #[must_use]
    pub const fn bound(self) -> Duration {
        match self {
            Self::Default => Duration::from_secs(10),
            Self::Fast | Self::Off => Duration::from_secs(2),
        }
    }
}

/// What a driver is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The server.
    pub url: String,
    /// The liveness settings.
    pub pace: Pace,
    /// How many clients the driver makes, each with all the loads. One, but where connections are lost in masses.
    #[serde(default = "one")]
    pub clients: usize,
    /// All on one client.
    pub loads: Vec<Load>,
    /// How many callers, where there are callers.
    pub callers: usize,
    /// How long a caller waits between two calls.
    pub pause: Duration,
    /// Calls a second, of [`Load::Torrent`].
    pub rate: u32,
    /// Whether the subscriber reads from the beginning; otherwise from [`Control::Consume`] on.
    pub consume: bool,
    /// Whether the subscriber uses a shard channel.
    pub shard: bool,
    /// A file from which the password is read for each connection.
    pub password_file: Option<PathBuf>,
}

const fn one() -> usize {
    1
}

impl Order {
    /// An order with the usual numbers: 64 callers with 20 ms between two calls.
    #[must_use]
    pub fn new(url: impl Into<String>, pace: Pace, loads: &[Load]) -> Self {
        Self {
            url: url.into(),
            pace,
            clients: one(),
            loads: loads.to_vec(),
            callers: 64,
            pause: Duration::from_millis(20),
            rate: 20_000,
            consume: true,
            shard: false,
            password_file: None,
        }
    }
}

/// What a driver is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Issue one PING, and say [`Observation::Worked`] when it is answered.
    Probe,
    /// The subscriber begins to read.
    Consume,
    /// End all load: what has begun is waited for, 70 s at most. Then [`Observation::Finished`], and the end.
    Stop,
}

/// Which of a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Of ordinary commands.
    Commands,
    /// Of the client's own questions.
    Control,
    /// Of subscriptions.
    Subscriptions,
    /// Of a blocking command.
    Blocking,
    /// Any other.
    Other,
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Commands => "commands",
            Self::Control => "control",
            Self::Subscriptions => "subscriptions",
            Self::Blocking => "blocking",
            Self::Other => "other",
        })
    }
}

/// What became of the calls so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Answered.
    pub acked: u64,
    /// Ended, and known not to have been executed.
    pub refused: u64,
    /// Ended, and may have been executed.
    pub unknown: u64,
    /// Begun and not ended.
    pub open: u64,
    /// Ended later than their deadline and a second.
    pub late: u64,
    /// The reply was not the caller's own.
    pub foreign: u64,
    /// Had not ended when the driver gave them up, 70 s after it was told to stop.
    pub never_returned: u64,
    /// The longest, in milliseconds.
    pub slowest_ms: u64,
}

/// Something that the client under test did or said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Connected; the load begins.
    Ready,
    /// The consumer was given this element.
    Element(u64),
    /// The consumer was told that an element may have been lost.
    ElementMayBeLost,
    /// A blocking call ended in an error, its effect unknown: one element may have been lost with it.
    Broken {
        /// The connection.
        link: Link,
        /// The error.
        cause: String,
    },
    /// The subscriber was given this message.
    Message(u64),
    /// The subscriber was told that messages between the two moments are missing here.
    Gap {
        /// From here.
        since: Moment,
        /// To here.
        until: Moment,
    },
    /// The subscriber was told that so many messages were dropped here.
    Dropped(u64),
    /// A call that began at that moment was answered. Not each call is told, but at least one every few milliseconds.
    Worked {
        /// When it began.
        since: Moment,
    },
    /// The totals so far.
    Calls(Calls),
    /// Something that should not happen to a load, in words.
    Trouble(String),
    /// A connection is silent.
    Suspect {
        /// Which.
        link: Link,
        /// For how long.
        silent_for: Duration,
    },
    /// A silent connection answered.
    Recovered {
        /// Which.
        link: Link,
    },
    /// A connection was lost or declared dead.
    Disconnected {
        /// Which.
        link: Link,
        /// Why.
        cause: String,
    },
    /// An attempt to connect failed.
    ReconnectFailed {
        /// Which.
        link: Link,
        /// Why.
        cause: String,
        /// The delay before the next.
        next_in: Duration,
    },
    /// An attempt to connect begins.
    Attempt {
        /// Which.
        link: Link,
        /// The delay that was waited before it.
        after: Duration,
    },
    /// A connection is usable.
    Activated {
        /// Which.
        link: Link,
    },
    /// A ghost was examined and ended.
    Fenced {
        /// What became of it.
        verdict: String,
    },
    /// The client noticed that its own process had been paused.
    Stalled {
        /// Which connection's clock was late.
        link: Link,
        /// For how long.
        late_by: Duration,
    },
    /// Another node is the primary, by the client's own word.
    Failover {
        /// Until now.
        from: String,
        /// From now on.
        to: String,
    },
    /// All load has ended.
    Finished,
}

/// An observation and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Observation,
}

impl Seen {
    /// An observation of this moment.
    #[must_use]
    pub fn now(what: Observation) -> Self {
        Self { at: Moment::now(), what }
    }
}
