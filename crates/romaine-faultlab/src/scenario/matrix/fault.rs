//! The rows of the matrix.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Scale, Under};

/// The variant of F07 that kills a consumer after it was served and before it was sent its element.
pub(super) const SERVED: &str = "just served";

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// Packets dropped both ways.
    F01,
    /// Packets dropped from the server to the client.
    F02,
    /// Packets dropped from the client to the server.
    F03,
    /// The server is frozen.
    F04,
    /// A proxy keeps acknowledging, its upstream gone.
    F05,
    /// The server is killed and restarted.
    F06,
    /// CLIENT KILL, repeatedly.
    F07,
    /// Accepts and never answers; accepts and closes.
    F08,
    /// Password rotated; `maxclients` reached; LOADING.
    F09,
    /// A name moves to another server; the old one lives as a replica.
    F10,
    /// A Sentinel failover.
    F11,
    /// All Sentinels unreachable during a failover.
    F12,
    /// One Sentinel stale or unreachable at the start.
    F13,
    /// A cluster fails over, moves slots, loses a node.
    F14,
    /// A subscriber that does not read.
    F15,
    /// A reply that trickles; a long script; CLIENT PAUSE WRITE.
    F16,
    /// The client's own process is stopped.
    F17,
    /// A thousand connections lost at once.
    F18,
    /// Replies that are none.
    F19,
    /// Callers dropped and timed out at random.
    F20,
    /// An outage under a torrent of calls.
    F21,
}

/// What rows have in common: a table of the results each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nobody says that the peer is gone.
    Silence,
    /// The connection ends, and something is in the way of the next.
    Return,
    /// Another server has the data now.
    Failover,
    /// The peer is alive, only slow.
    Patience,
    /// The peer talks nonsense.
    Nonsense,
    /// More than there should be.
    Masses,
}

impl Class {
    /// All that there are.
    pub const ALL: [Self; 6] =
        [Self::Silence, Self::Return, Self::Failover, Self::Patience, Self::Nonsense, Self::Masses];

    /// A heading for it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Silence => "The peer is gone, and nobody says so",
            Self::Return => "The connection ends, and the next one is not easily had",
            Self::Failover => "Another server has the data now",
            Self::Patience => "Slow, and not dead",
            Self::Nonsense => "Not what was asked for",
            Self::Masses => "Masses",
        }
    }
}

/// What kind of address the client is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// One server.
    Standalone,
    /// Sentinels.
    Sentinel,
    /// Nodes of a cluster.
    Cluster,
}

impl Topology {
    /// Its name in `peers.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

impl Fault {
    /// All that there are.
    pub const ALL: [Self; 21] = [
        Self::F01,
        Self::F02,
        Self::F03,
        Self::F04,
        Self::F05,
        Self::F06,
        Self::F07,
        Self::F08,
        Self::F09,
        Self::F10,
        Self::F11,
        Self::F12,
        Self::F13,
        Self::F14,
        Self::F15,
        Self::F16,
        Self::F17,
        Self::F18,
        Self::F19,
        Self::F20,
        Self::F21,
    ];

    /// What it is.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::F01 => "packets dropped both ways",
            Self::F02 => "packets dropped server → client",
            Self::F03 => "packets dropped client → server",
            Self::F04 => "server frozen (SIGSTOP)",
            Self::F05 => "proxy acknowledges, upstream gone",
            Self::F06 => "server killed and restarted",
            Self::F07 => "CLIENT KILL, five times",
            Self::F08 => "cannot connect",
            Self::F09 => "is not served",
            Self::F10 => "name moved, the old server lives as a replica",
            Self::F11 => "Sentinel failover, the primary",
            Self::F12 => "all Sentinels silent during a failover",
            Self::F13 => "failover, with one Sentinel from the start",
            Self::F14 => "cluster",
            Self::F15 => "subscriber does not read, 50 MB/s published",
            Self::F16 => "slow but alive",
            Self::F17 => "client process stopped (SIGSTOP)",
            Self::F18 => "1,000 connections lost at once",
            Self::F19 => "not what was asked for",
            Self::F20 => "callers dropped and timed out at random",
            Self::F21 => "outage under 20,000 calls/s",
        }
    }

    /// With which others it has a table.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::F01 | Self::F02 | Self::F03 | Self::F04 | Self::F05 => Class::Silence,
            Self::F06 | Self::F07 | Self::F08 | Self::F09 => Class::Return,
            Self::F10 | Self::F11 | Self::F12 | Self::F13 | Self::F14 => Class::Failover,
            Self::F15 | Self::F16 | Self::F17 => Class::Patience,
            Self::F19 => Class::Nonsense,
            Self::F18 | Self::F20 | Self::F21 => Class::Masses,
        }
    }

    /// What the client must be able to connect to.
    #[must_use]
    pub const fn topology(self) -> Topology {
        match self {
            Self::F11 | Self::F12 | Self::F13 => Topology::Sentinel,
            Self::F14 => Topology::Cluster,
            Self::F01
            | Self::F02
            | Self::F03
            | Self::F04
            | Self::F05
            | Self::F06
            | Self::F07
            | Self::F08
            | Self::F09
            | Self::F10
            | Self::F15
            | Self::F16
            | Self::F17
            | Self::F18
            | Self::F19
            | Self::F20
            | Self::F21 => Topology::Standalone,
        }
    }

    /// Its variants and the loads it is measured under.
    pub(super) fn cells(self) -> Vec<(&'static str, Under)> {
        let four = |variant| Under::FOUR.into_iter().map(move |under| (variant, under));
        let each = |variants: &[&'static str], under: &[Under]| {
            variants.iter().flat_map(|variant| under.iter().map(|under| (*variant, *under))).collect::<Vec<_>>()
        };
        match self {
            Self::F01 | Self::F02 | Self::F03 | Self::F04 | Self::F05 | Self::F17 => four("").collect(),
            Self::F07 => four("").chain([(SERVED, Under::Blocked)]).collect(),
            Self::F06 => four("").filter(|(_, under)| *under != Under::Idle).collect(),
            Self::F08 => each(&["silent", "closing"], &[Under::All]),
            Self::F09 => each(&["password rotated", "maxclients", "LOADING"], &[Under::All]),
            Self::F10 => each(&["at once", "5 s later"], &[Under::Callers]),
            Self::F11 => each(&["killed", "frozen", "demoted"], &[Under::Callers, Under::Blocked, Under::Subscribed]),
            Self::F12 => vec![("", Under::Callers)],
            Self::F13 => each(&["stale", "unreachable"], &[Under::Callers]),
            Self::F14 => each(
                &["killed", "frozen", "manual failover", "slots moving", "node removed"],
                &[Under::Spread, Under::Subscribed],
            ),
            Self::F15 => vec![("", Under::Subscribed)],
            Self::F16 => {
                vec![("reply at 1 KiB/s", Under::Callers), ("script", Under::All), ("CLIENT PAUSE", Under::All)]
            }
            Self::F18 => each(&["CLIENT KILL", "restart"], &[Under::Many]),
            // A reply too many where replies are expected cannot be told from the right one by anybody.
            Self::F19 => ["garbage", "truncated", "oversized", "nested", "push"]
                .into_iter()
                .flat_map(four)
                .chain([("reply", Under::Idle), ("reply", Under::Subscribed), ("sunsubscribe", Under::Subscribed)])
                .collect(),
            Self::F20 | Self::F21 => vec![("", Under::Callers)],
        }
    }

    /// Whether it needs the machine for itself.
    pub(super) const fn is_alone(self) -> bool {
        matches!(self, Self::F15 | Self::F18 | Self::F20 | Self::F21)
    }

    /// About how long it lasts.
    pub(super) const fn length(self, scale: Scale) -> Duration {
        match self {
            Self::F01 | Self::F02 | Self::F03 | Self::F05 | Self::F15 | Self::F16 => scale.seconds(60, 15, 5),
            Self::F04 | Self::F08 | Self::F17 => scale.seconds(30, 15, 5),
            Self::F06 | Self::F07 | Self::F10 | Self::F13 => Duration::from_secs(6),
            Self::F09 => scale.seconds(10, 10, 4),
            Self::F11 | Self::F14 | Self::F18 => Duration::from_secs(12),
            Self::F12 => scale.seconds(30, 20, 12),
            Self::F19 => Duration::from_secs(1),
            Self::F20 => scale.seconds(300, 15, 5),
            Self::F21 => scale.seconds(300, 30, 8),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.to_string().eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("expected one of F01–F21, not {name:?}"))
    }
}
