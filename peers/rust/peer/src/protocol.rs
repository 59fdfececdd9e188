//! The lines that the fault lab and a driver exchange. `peers/README.md` describes them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The list that the consumer pops from.
pub const JOBS: &str = "jobs";
/// The channel that the subscriber listens to.
pub const NEWS: &str = "news";
/// The key that the callers increment.
pub const COUNTER: &str = "counter";
/// Over how many keys [`Load::Spread`] is spread: `counter:0`, `counter:1`, …
pub const SPREAD_KEYS: usize = 256;
/// The key of the large value.
pub const BIG: &str = "big";

/// A point in time: microseconds since 1970, by the clock that the lab's process reads, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The time since `earlier`; zero when that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What a client is kept busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Nothing, until a probe.
    Idle,
    /// Callers of `INCR counter`.
    Callers,
    /// Callers of `INCR counter:<n>`, each call with an n of its own.
    Spread,
    /// A consumer in `BRPOP jobs 0`.
    Blocked,
    /// A subscriber of `news`.
    Subscribed,
    /// One caller that reads a large value.
    Fetch,
    /// Callers of `ECHO`, many of which do not wait for the reply.
    Droppers,
    /// `INCR counter` at a fixed rate.
    Torrent,
}

/// Which configuration of the client is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// As its own first example makes it.
    Default,
    /// Its documented best for noticing dead peers.
    Fast,
    /// As [`Pace::Default`].
    Off,
}

/// What a driver is to do. Fields that it does not know are skipped.
#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    /// The server, the Sentinels or the cluster.
    pub url: String,
    /// The configuration.
    pub pace: Pace,
    /// How many clients are made, each with all the loads.
    #[serde(default = "one")]
    pub clients: usize,
    /// All on one client.
    pub loads: Vec<Load>,
    /// How many callers.
    pub callers: usize,
    /// How long a caller waits between two calls.
    pub pause: Duration,
    /// Calls a second, of [`Load::Torrent`].
    pub rate: u32,
    /// Whether the subscriber reads from the beginning.
    pub consume: bool,
    /// Whether the subscriber uses a shard channel.
    pub shard: bool,
    /// A file from which the password is read for each connection.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

const fn one() -> usize {
    1
}

impl Order {
    /// Whether the documented best configuration is wanted.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.pace == Pace::Fast
    }

    /// The password that is in the file at this moment, if there is a file.
    #[must_use]
    pub fn password_now(&self) -> Option<String> {
        // An unreadable file is an empty password, which the server refuses: that is retried, too.
        let file = self.password_file.as_ref()?;
        Some(std::fs::read_to_string(file).unwrap_or_default().trim().to_owned())
    }
}

/// What a driver is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Issue one PING and say when it is answered.
    Probe,
    /// The subscriber begins to read.
    Consume,
    /// End all load, then the program.
    Stop,
}

/// Which of a client's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Of ordinary commands.
    Commands,
    /// Of subscriptions.
    Subscriptions,
    /// Of a blocking command.
    Blocking,
}

/// What became of the calls so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
    /// Had not ended when the driver gave them up.
    pub never_returned: u64,
    /// The longest, in milliseconds.
    pub slowest_ms: u64,
}

/// What a driver says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Connected; the load begins.
    Ready,
    /// The consumer was given this element.
    Element(u64),
    /// The subscriber was given this message.
    Message(u64),
    /// The subscriber was told that messages between the two moments are missing.
    Gap {
        /// From here.
        since: Moment,
        /// To here.
        until: Moment,
    },
    /// The subscriber was told that so many messages were dropped.
    Dropped(u64),
    /// A call that began at that moment was answered.
    Worked {
        /// When it began.
        since: Moment,
    },
    /// The totals so far.
    Calls(Calls),
    /// Something that should not happen, in words.
    Trouble(String),
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
    /// A connection is usable.
    Activated {
        /// Which.
        link: Link,
    },
    /// A blocking call ended in an error, and may have been executed.
    Broken {
        /// Which connection's.
        link: Link,
        /// The client's words.
        cause: String,
    },
    /// All load has ended.
    Finished,
}

/// An observation and its time.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Observation,
}
