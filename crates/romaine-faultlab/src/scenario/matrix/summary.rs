//! Several runs of one cell as one.

use serde::{Deserialize, Serialize};

use super::plan::Cell;
use super::report::{Grade, Measured, Outcome};
use crate::scenario::protocol::Pace;

/// All runs of one cell with one client in one configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Which client.
    pub client: String,
    /// In which configuration.
    pub config: Pace,
    /// Which cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// What the runs amount to; nothing where none was measured.
    pub summary: Option<Summary>,
    /// The runs.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// The name of its log, if one was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The median and the worst of several figures.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread<T> {
    /// The one in the middle; of two in the middle the worse.
    pub median: T,
    /// The worst.
    pub worst: T,
}

impl<T: Copy> Spread<T> {
    /// Of figures, by an order in which the worst comes last.
    fn of(mut figures: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<Self> {
        figures.sort_by(order);
        Some(Self { median: *figures.get(figures.len() / 2)?, worst: *figures.last()? })
    }
}

/// What several runs amount to. A time that is missing is worse than any.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The worst run's word.
    pub grade: Grade,
    /// From the fault's begin until the client noticed, in seconds.
    pub noticed_s: Spread<Option<f64>>,
    /// From the fault's end until it was usable, in seconds.
    pub working_s: Spread<Option<f64>>,
    /// Calls that never returned.
    pub never_returned: Spread<u64>,
    /// Elements and messages lost.
    pub lost: Spread<u64>,
    /// Of these: lost without a word.
    pub unannounced: Spread<u64>,
    /// Acknowledged writes that are not there any more.
    pub acked_lost: Spread<u64>,
    /// Elements and messages that came twice, and writes that were executed twice.
    pub duplicates: Spread<u64>,
    /// Connections given up although the peer was alive.
    pub false_verdicts: Spread<u64>,
    /// The most memory of the client's process, in bytes.
    pub peak_memory: Option<u64>,
}

impl Entry {
    pub(super) fn new(client: String, config: Pace, cell: Cell, runs: Vec<Run>) -> Self {
        let measured: Vec<_> = runs.iter().filter_map(|run| run.outcome.measured()).collect();
        Self { client, config, cell, summary: Summary::of(&measured), runs }
    }

    /// Why there is no figure.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.runs.iter().find_map(|run| match &run.outcome {
            Outcome::Skipped(reason) => Some(reason.as_str()),
            Outcome::Failed(error) => Some(error.as_str()),
            Outcome::Measured(_) => None,
        })
    }

    /// Whether a run failed, which is the lab's fault or the driver's.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.runs.iter().any(|run| matches!(run.outcome, Outcome::Failed(_)))
    }

    /// The promises that were not kept, each once.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut all = Vec::new();
        for broken in self.runs.iter().filter_map(|run| run.outcome.measured()).flat_map(|measured| &measured.broken) {
            if !all.contains(broken) {
                all.push(broken.clone());
            }
        }
        all
    }
}

impl Summary {
    fn of(runs: &[&Measured]) -> Option<Self> {
        let times = |of: &dyn Fn(&Measured) -> Option<f64>| {
            let late = |time: &Option<f64>| time.unwrap_or(f64::INFINITY);
            Spread::of(runs.iter().map(|run| of(run)).collect(), |one, other| late(one).total_cmp(&late(other)))
        };
        let counts = |of: &dyn Fn(&Measured) -> u64| Spread::of(runs.iter().map(|run| of(run)).collect(), u64::cmp);
        Some(Self {
            grade: runs.iter().map(|run| run.grade).max()?,
            noticed_s: times(&|run| run.noticed_s)?,
            working_s: times(&|run| run.working_s)?,
            never_returned: counts(&|run| run.calls.never_returned)?,
            lost: counts(&|run| run.elements.lost + run.messages.lost)?,
            unannounced: counts(&|run| run.elements.unannounced + run.messages.unannounced)?,
            acked_lost: counts(&|run| run.acked_lost)?,
            duplicates: counts(&|run| run.elements.duplicates + run.messages.duplicates + run.repeated)?,
            false_verdicts: counts(&|run| u64::try_from(run.false_verdicts).unwrap_or(u64::MAX))?,
            peak_memory: runs.iter().filter_map(|run| run.peak_memory).max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_time_and_the_middle_leans_to_the_worse() {
        let late = |time: &Option<f64>| time.unwrap_or(f64::INFINITY);
        let of = |times: &[Option<f64>]| {
            Spread::of(times.to_vec(), |one: &Option<f64>, other| late(one).total_cmp(&late(other))).unwrap()
        };
        assert_eq!(of(&[None, Some(1.0), Some(2.0)]), Spread { median: Some(2.0), worst: None });
        assert_eq!(of(&[Some(3.0), Some(1.0)]), Spread { median: Some(3.0), worst: Some(3.0) });
    }
}
