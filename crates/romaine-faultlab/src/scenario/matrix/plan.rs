//! Which cells there are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::fault::Fault;
use crate::scenario::producer::EVERY;
use crate::scenario::protocol::{Load, Pace};
use crate::scenario::subject::Driver;

/// A column: what the client is doing meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// 64 callers of INCR over many keys.
    Spread,
    /// 1,000 clients with a caller each.
    Many,
}

impl Under {
    /// All that there are.
    pub const ALL: [Self; 7] =
        [Self::Idle, Self::Callers, Self::Blocked, Self::Subscribed, Self::All, Self::Spread, Self::Many];

    pub(super) const FOUR: [Self; 4] = [Self::Idle, Self::Callers, Self::Blocked, Self::Subscribed];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Callers => "callers",
            Self::Blocked => "blocked",
            Self::Subscribed => "subscribed",
            Self::All => "all",
            Self::Spread => "spread",
            Self::Many => "many",
        }
    }

    /// The loads of the client.
    #[must_use]
    pub const fn loads(self) -> &'static [Load] {
        match self {
            Self::Idle => &[Load::Idle],
            Self::Callers | Self::Many => &[Load::Callers],
            Self::Spread => &[Load::Spread],
            Self::Blocked => &[Load::Blocked],
            Self::Subscribed => &[Load::Subscribed],
            Self::All => &[Load::Callers, Load::Blocked, Load::Subscribed],
        }
    }
}

impl FromStr for Under {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|under| under.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| format!("expected one of {names}, not {name:?}"))
    }
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Cell {
    /// The row.
    pub fault: Fault,
    /// Which form of it, where there are several.
    pub variant: &'static str,
    /// The column.
    pub under: Under,
}

/// From a file that may be of another version: a cell that is not known is an error.
impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            fault: Fault,
            variant: String,
            under: Under,
        }

        let Written { fault, variant, under } = Written::deserialize(deserializer)?;
        let cells = fault.cells();
        let known = cells.into_iter().find(|(known, column)| *known == variant && *column == under);
        match known {
            Some((variant, under)) => Ok(Self { fault, variant, under }),
            None => Err(D::Error::custom(format!("there is no cell {fault} ({variant}) under {}", under.name()))),
        }
    }
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

    /// The fault and its variant in words.
    #[must_use]
    pub fn title(&self) -> String {
        match self.variant {
            "" => self.fault.title().to_owned(),
            variant => format!("{}: {variant}", self.fault.title()),
        }
    }

    /// How many ordinary cells it takes the place of: with every load on one client, some clients do nothing but connect
    /// for as long as the fault lasts, and would starve the cells beside them.
    pub(super) const fn weight(&self) -> usize {
        match self.under {
            Under::All => 3,
            _ => 1,
        }
    }

    /// What a driver must be able to do beyond the ordinary loads.
    pub(super) fn needs(&self) -> Vec<&'static str> {
        let mut needs = Vec::new();
        match self.fault {
            Fault::F20 => needs.push("droppers"),
            Fault::F21 => needs.push("torrent"),
            Fault::F14 if self.under == Under::Subscribed => needs.push("shard"),
            Fault::F19 if self.variant == "sunsubscribe" => needs.push("shard"),
            _ => {}
        }
        match self.under {
            Under::Spread => needs.push("spread"),
            Under::Many => needs.push("clients"),
            Under::Idle | Under::Callers | Under::Blocked | Under::Subscribed | Under::All => {}
        }
        needs
    }

    /// About how long it takes to measure a client that is well.
    #[must_use]
    pub fn estimate(&self, scale: Scale) -> Duration {
        self.fault.length(scale) + Duration::from_secs(6)
    }

    /// When it is given up: longer than everything in it may take.
    pub(super) fn limit(&self, scale: Scale) -> Duration {
        self.fault.length(scale) + scale.back_at_last() + Duration::from_secs(240)
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::Brief => "brief",
        }
    }

    /// The time between two elements, and between two messages: no more of them wait after a long fault than after a short
    /// one, so that it is the client that is waited for when it has to work again, and not its backlog.
    pub(super) const fn between_goods(self) -> Duration {
        match self {
            Self::Full => Duration::from_millis(80),
            Self::Quick | Self::Brief => EVERY,
        }
    }

    /// How long the client is waited for after a fault, far beyond what is promised.
    pub(super) const fn back_at_last(self) -> Duration {
        self.seconds(60, 25, 25)
    }

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

impl Settings {
    /// Within this a dead peer is to be noticed. romaine is held to its own word, two seconds in its best configuration;
    /// others have given none, and are measured by what romaine promises by default.
    pub(super) fn bound(&self) -> Duration {
        if self.driver.is_romaine() { self.pace.bound() } else { Pace::Default.bound() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_narrows_rows_and_columns() {
        let all = Selection::default().cells();
        assert_eq!(all.len(), 92);
        let selection = Selection { faults: vec![Fault::F01, Fault::F06], under: vec![Under::Idle, Under::Blocked] };
        let names: Vec<_> = selection.cells().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["F01 under idle", "F01 under blocked", "F06 under blocked"]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().to_lowercase().parse(), Ok(fault));
        }
        assert!("F22".parse::<Fault>().unwrap_err().contains("F01"));
        assert!("busy".parse::<Under>().unwrap_err().contains("idle"));
    }
}
