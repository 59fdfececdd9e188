//! What the matrix has measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Cell, Scale};
use super::storm::Storm;
use crate::scenario::promises::{BACK_WITHIN, Balance};
use crate::scenario::protocol::Pace;
use crate::scenario::record::Flow;
use crate::scenario::table::{Table, seconds};

/// A cell in one word, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Every promise was kept.
    Good,
    /// Nothing is wrong but the time that it took, or the memory.
    Late,
    /// Gave connections up whose peer was alive.
    Misjudges,
    /// Something is gone or came twice, and nobody was told.
    Loses,
    /// Calls never returned, or a load never worked again.
    Hangs,
    /// The client's process ended in the middle of its work.
    Crashes,
}

impl Grade {
    /// All that there are.
    pub const ALL: [Self; 6] = [Self::Good, Self::Late, Self::Misjudges, Self::Loses, Self::Hangs, Self::Crashes];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Late => "late",
            Self::Misjudges => "misjudges",
            Self::Loses => "loses",
            Self::Hangs => "hangs",
            Self::Crashes => "crashes",
        }
    }
}

/// The figures of one cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// All in one word.
    pub grade: Grade,
    /// The longest, over the loads, from the fault's begin to the loss of the connection, in seconds.
    pub noticed_s: Option<f64>,
    /// The longest, over the loads, from the fault's end to work that began after it, in seconds.
    pub working_s: Option<f64>,
    /// Its limit: two seconds, the back-off in force, and what the note says, in seconds.
    pub working_limit_s: f64,
    /// Connections given up although the peer was alive.
    pub false_verdicts: usize,
    /// The elements of the queue.
    pub elements: Flow,
    /// The messages of the subscription.
    pub messages: Flow,
    /// The calls.
    pub calls: Balance,
    /// Writes that were acknowledged and are not there any more.
    pub acked_lost: u64,
    /// Calls that were executed more than once: the client repeated them by itself, and told nobody.
    pub repeated: u64,
    /// How many connections came back at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// Ghosts examined and ended.
    pub ghosts_fenced: usize,
    /// The most memory of the client's process, in bytes.
    pub peak_memory: Option<u64>,
    /// That, without what it had before the fault, in bytes.
    pub memory_grown: Option<u64>,
    /// How it was measured, where that needs a word.
    pub note: String,
    /// Promises that were not kept.
    pub broken: Vec<String>,
    /// What the client said of its connections since the fault began; only where a promise was not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub course: Vec<String>,
}

impl Measured {
    /// Of a client that the fault kept from its work from the start on.
    pub(super) fn never_at_work(why: String, note: &str) -> Self {
        Self {
            grade: Grade::Hangs,
            noticed_s: None,
            working_s: None,
            working_limit_s: BACK_WITHIN.as_secs_f64(),
            false_verdicts: 0,
            elements: Flow::default(),
            messages: Flow::default(),
            calls: Balance::default(),
            acked_lost: 0,
            repeated: 0,
            storm: None,
            ghosts_fenced: 0,
            peak_memory: None,
            memory_grown: None,
            note: note.to_owned(),
            broken: vec![why],
            course: Vec::new(),
        }
    }

    /// A promise that was not kept, seen by the cell itself: it is no better than `grade` for that.
    pub(super) fn breaks(&mut self, grade: Grade, what: String) {
        self.grade = self.grade.max(grade);
        self.broken.push(what);
    }
}

/// What became of a cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measured>),
    /// It cannot be measured here, and why.
    Skipped(String),
    /// The lab itself failed, and how.
    Failed(String),
}

impl Outcome {
    /// The figures, where there are any.
    #[must_use]
    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::Skipped(_) | Self::Failed(_) => None,
        }
    }
}

/// One cell and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct CellReport {
    /// Which cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub took_s: f64,
}

impl CellReport {
    /// Whether every promise was kept. A skipped cell breaks none.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match &self.outcome {
            Outcome::Measured(measured) => measured.broken.is_empty(),
            Outcome::Skipped(_) => true,
            Outcome::Failed(_) => false,
        }
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.cell, self.words())
    }

    /// The same without the cell.
    #[must_use]
    pub fn words(&self) -> String {
        let what = match &self.outcome {
            Outcome::Skipped(reason) => format!("skipped: {reason}"),
            Outcome::Failed(error) => format!("FAILED: {error}"),
            Outcome::Measured(measured) => {
                let of = |value: Option<f64>| seconds(value.map(Duration::from_secs_f64));
                let mut line = format!("noticed {}, again {}", of(measured.noticed_s), of(measured.working_s));
                for broken in &measured.broken {
                    line.push_str(&format!("; BROKEN {broken}"));
                }
                line
            }
        };
        format!("[{:.0} s]: {what}", self.took_s)
    }
}

/// The matrix of one client.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which client.
    pub client: String,
    /// Its liveness settings.
    pub pace: Pace,
    /// The length of the faults.
    pub scale: Scale,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// The cells.
    pub cells: Vec<CellReport>,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.cells.iter().all(CellReport::is_kept)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            "fault",
            "",
            "under",
            "noticed after",
            "usable after",
            "never returned",
            "lost (announced)",
            "duplicates",
            "false verdicts",
            "peak memory",
            "kept",
        ]);
        for report in &self.cells {
            table.row(row(report));
        }
        table
    }

    /// What the table has no room for: broken promises, reasons, notes.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = Vec::new();
        for report in &self.cells {
            match &report.outcome {
                Outcome::Skipped(reason) => remarks.push(format!("{}: skipped: {reason}", report.cell)),
                Outcome::Failed(error) => remarks.push(format!("{}: FAILED: {error}", report.cell)),
                Outcome::Measured(measured) => {
                    let note = format!("{}: {}", report.cell.row(), measured.note);
                    if !measured.note.is_empty() && !remarks.contains(&note) {
                        remarks.push(note);
                    }
                    remarks.extend(measured.broken.iter().map(|broken| format!("{}: BROKEN: {broken}", report.cell)));
                    remarks.extend(measured.course.iter().map(|line| format!("    {line}")));
                }
            }
        }
        remarks
    }

    /// How many cells were measured, skipped, and broke a promise or failed.
    #[must_use]
    pub fn totals(&self) -> (usize, usize, usize) {
        let measured = self.cells.iter().filter(|cell| matches!(cell.outcome, Outcome::Measured(_))).count();
        let skipped = self.cells.iter().filter(|cell| matches!(cell.outcome, Outcome::Skipped(_))).count();
        (measured, skipped, self.cells.iter().filter(|cell| !cell.is_kept()).count())
    }

    /// As a page of markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let (measured, skipped, broken) = self.totals();
        let mut out = format!(
            "# The fault matrix: {}, {:?} liveness, {:?} scale\n\n\
             {measured} cells measured, {skipped} skipped, {broken} with a broken promise, in {:.0} s.\n\n{}\n",
            self.client,
            self.pace,
            self.scale,
            self.took_s,
            self.table().markdown()
        );
        for remark in self.remarks() {
            out.push_str(&format!("- {remark}\n"));
        }
        out
    }
}

fn row(report: &CellReport) -> Vec<String> {
    let Cell { fault, under, .. } = report.cell;
    let mut row = vec![fault.to_string(), report.cell.title(), under.name().to_owned()];
    match &report.outcome {
        Outcome::Skipped(_) => {
            row.push("skipped".into());
            row.resize(11, String::new());
        }
        Outcome::Failed(_) => {
            row.push("FAILED".into());
            row.resize(10, String::new());
            row.push("NO".into());
        }
        Outcome::Measured(measured) => {
            let of = |value: Option<f64>| seconds(value.map(Duration::from_secs_f64));
            let lost = |what: &str, flow: Flow| match (flow.lost, flow.announced) {
                (0, 0) => String::new(),
                (0, _) => "0 (told: possible)".to_owned(),
                (lost, _) => format!("{lost} {what} ({} told)", lost - flow.unannounced),
            };
            let losses = [lost("elements", measured.elements), lost("messages", measured.messages)];
            let losses: Vec<_> = losses.into_iter().filter(|text| !text.is_empty()).collect();
            row.extend([
                of(measured.noticed_s),
                of(measured.working_s),
                measured.calls.never_returned.to_string(),
                if losses.is_empty() { "0".to_owned() } else { losses.join(", ") },
                (measured.elements.duplicates + measured.messages.duplicates).to_string(),
                measured.false_verdicts.to_string(),
                measured.peak_memory.map_or_else(|| "–".into(), |bytes| format!("{} MiB", bytes >> 20)),
                if measured.broken.is_empty() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
    }
    row
}
