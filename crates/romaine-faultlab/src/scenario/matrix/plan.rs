//! Which cells there are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::scenario::protocol::{Load, Pace};
use crate::scenario::subject::Driver;

/// The variant of F07 that kills a consumer after it was served and before it was sent its element.
pub(super) const SERVED: &str = "just served";

/// A row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
    /// A subscriber that does not read.
    F15,
    /// A reply that trickles; a long script; CLIENT PAUSE WRITE.
    F16,
    /// The client's own process is stopped.
    F17,
    /// Replies that are none.
    F19,
    /// Callers dropped and timed out at random.
    F20,
    /// An outage under a torrent of calls.
    F21,
}

/// A column: what the client is doing meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Under {
    /// Nothing.
    Idle,
    /// 64 callers of INCR.
    Callers,
    /// A consumer in BRPOP.
    Blocked,
    /// A subscriber.
    Subscribed,
    /// Callers, a consumer and a subscriber on one client.
    All,
}

impl Under {
    const FOUR: [Self; 4] = [Self::Idle, Self::Callers, Self::Blocked, Self::Subscribed];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Callers => "callers",
            Self::Blocked => "blocked",
            Self::Subscribed => "subscribed",
            Self::All => "all",
        }
    }

    /// The loads of the client.
    #[must_use]
    pub const fn loads(self) -> &'static [Load] {
        match self {
            Self::Idle => &[Load::Idle],
            Self::Callers => &[Load::Callers],
            Self::Blocked => &[Load::Blocked],
            Self::Subscribed => &[Load::Subscribed],
            Self::All => &[Load::Callers, Load::Blocked, Load::Subscribed],
        }
    }
}

impl FromStr for Under {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::FOUR.as_slice(), &[Self::All]].concat().into_iter().find(|under| under.name() == name);
        found.ok_or_else(|| format!("expected idle, callers, blocked, subscribed or all, not {name:?}"))
    }
}

impl Fault {
    /// All that there are.
    pub const ALL: [Self; 15] = [
        Self::F01,
        Self::F02,
        Self::F03,
        Self::F04,
        Self::F05,
        Self::F06,
        Self::F07,
        Self::F08,
        Self::F09,
        Self::F15,
        Self::F16,
        Self::F17,
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
            Self::F15 => "subscriber does not read, 50 MB/s published",
            Self::F16 => "slow but alive",
            Self::F17 => "client process stopped (SIGSTOP)",
            Self::F19 => "not what was asked for",
            Self::F20 => "callers dropped and timed out at random",
            Self::F21 => "outage under 20,000 calls/s",
        }
    }

    /// Its variants and the loads it is measured under.
    fn cells(self) -> Vec<(&'static str, Under)> {
        let four = |variant| Under::FOUR.into_iter().map(move |under| (variant, under));
        let all = |variants: &[&'static str]| variants.iter().map(|variant| (*variant, Under::All)).collect();
        match self {
            Self::F01 | Self::F02 | Self::F03 | Self::F04 | Self::F05 | Self::F17 => four("").collect(),
            Self::F07 => four("").chain([(SERVED, Under::Blocked)]).collect(),
            Self::F06 => four("").filter(|(_, under)| *under != Under::Idle).collect(),
            Self::F08 => all(&["silent", "closing"]),
            Self::F09 => all(&["password rotated", "maxclients", "LOADING"]),
            Self::F15 => vec![("", Under::Subscribed)],
            Self::F16 => {
                vec![("reply at 1 KiB/s", Under::Callers), ("script", Under::All), ("CLIENT PAUSE", Under::All)]
            }
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
        matches!(self, Self::F15 | Self::F20 | Self::F21)
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
        found.ok_or_else(|| format!("expected one of F01–F09, F15–F17, F19–F21, not {name:?}"))
    }
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The row.
    pub fault: Fault,
    /// Which form of it, where there are several.
    pub variant: &'static str,
    /// The column.
    pub under: Under,
}

impl Cell {
    /// The fault and its variant.
    #[must_use]
    pub fn row(&self) -> String {
        match self.variant {
            "" => self.fault.to_string(),
            variant => format!("{} ({variant})", self.fault),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {}", self.row(), self.under.name())
    }
}

/// Which cells are wanted; empty lists mean all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Rows.
    pub faults: Vec<Fault>,
    /// Columns.
    pub under: Vec<Under>,
}

impl Selection {
    /// The cells.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for fault in Fault::ALL {
            for (variant, under) in fault.cells() {
                let wanted = self.faults.is_empty() || self.faults.contains(&fault);
                if wanted && (self.under.is_empty() || self.under.contains(&under)) {
                    cells.push(Cell { fault, variant, under });
                }
            }
        }
        cells
    }
}

/// How long the long faults last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As the matrix says: a minute, and five.
    Full,
    /// 15 and 30 seconds: still longer than the default liveness takes to notice.
    Quick,
    /// A few seconds: only with the fast liveness.
    Brief,
}

impl Scale {
    pub(super) const fn seconds(self, full: u64, quick: u64, brief: u64) -> Duration {
        Duration::from_secs(match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Brief => brief,
        })
    }
}

/// How the cells are measured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The client under test.
    pub driver: Driver,
    /// Its liveness settings.
    pub pace: Pace,
    /// The length of the faults.
    pub scale: Scale,
    /// How many cells side by side.
    pub jobs: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_narrows_rows_and_columns() {
        let all = Selection::default().cells();
        assert_eq!(all.len(), 66);
        let selection = Selection { faults: vec![Fault::F01, Fault::F06], under: vec![Under::Idle, Under::Blocked] };
        let names: Vec<_> = selection.cells().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["F01 under idle", "F01 under blocked", "F06 under blocked"]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().to_lowercase().parse(), Ok(fault));
        }
        assert!("F10".parse::<Fault>().unwrap_err().contains("F01"));
        assert!("busy".parse::<Under>().unwrap_err().contains("idle"));
    }
}
