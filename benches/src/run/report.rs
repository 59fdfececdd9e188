//! The figures of a run, with medians and ratios.

use anyhow::Result;
use serde::Serialize;

use super::{
    contestant::Contestant,
    machine::Machine,
    plan::{Cell, Plan},
};
use crate::{cell::Measure, sample::Sample, stats::median};

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where and when.
    pub(super) machine: Machine,
    /// Repetitions of a speed cell.
    pub(super) runs: usize,
    /// Time before each window, in milliseconds.
    pub(super) warm_up_ms: u128,
    /// Each window, in milliseconds.
    pub(super) window_ms: u128,
    /// How long it all took.
    pub(super) seconds: f64,
    /// The cells.
    pub(super) cells: Vec<CellReport>,
}

impl Report {
    /// Puts it together.
    pub(super) fn new(machine: Machine, plan: &Plan, cells: Vec<CellReport>, seconds: f64) -> Self {
        let (warm_up_ms, window_ms) = (plan.warm_up.as_millis(), plan.window.as_millis());
        Self { machine, runs: plan.runs, warm_up_ms, window_ms, seconds, cells }
    }

    /// Whether any measurement failed.
    pub(super) fn has_errors(&self) -> bool {
        self.cells.iter().flat_map(|cell| &cell.entries).any(|entry| !entry.errors.is_empty())
    }
}

/// One cell.
#[derive(Debug, Serialize)]
pub(super) struct CellReport {
    /// Name of the workload, or `pubsub`, `blocked`, `allocs`, `mixed`, `slow-shard`.
    pub(super) topic: &'static str,
    /// The workload, if there is one.
    pub(super) workload: Option<&'static str>,
    /// Callers, or connections.
    pub(super) callers: usize,
    /// How long a primary was frozen, and how long it was measured before that, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frozen_ms: Option<u64>,
    /// The clients' runtime.
    pub(super) runtime: &'static str,
    /// The way to the server.
    pub(super) transport: &'static str,
    /// The rival with the most operations per second.
    pub(super) fastest_rival: Option<&'static str>,
    /// The rival with the least processor time per operation.
    pub(super) leanest_rival: Option<&'static str>,
    /// Everybody, the reference first.
    pub(super) entries: Vec<Entry>,
}

/// One contestant in one cell.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// Who.
    #[serde(skip)]
    pub(super) contestant: Contestant,
    /// Its name.
    pub(super) name: &'static str,
    /// Median of each figure.
    pub(super) median: Sample,
    /// Medians of the ratios of each single run.
    pub(super) ratios: Ratios,
    /// The runs; null where one failed.
    pub(super) runs: Vec<Option<Sample>>,
    /// Why they failed.
    pub(super) errors: Vec<String>,
}

/// Each is taken run by run, since what disturbs a shared machine disturbs neighbours in time alike; then the median.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ratios {
    /// Operations per second over those of the reference.
    pub(super) ops_to_reference: Option<f64>,
    /// Operations per second over those of the fastest rival.
    pub(super) ops_to_fastest_rival: Option<f64>,
    /// Processor time per operation over that of the leanest rival.
    pub(super) cpu_to_leanest_rival: Option<f64>,
}

type Figure = fn(&Sample) -> Option<f64>;
const OPS: Figure = |sample| sample.ops_per_s;
const CPU: Figure = |sample| sample.cpu_us_per_op;

impl CellReport {
    /// An empty one.
    pub(super) fn new(cell: &Cell, contestants: &[Contestant]) -> Self {
        let (workload, callers) = cell.detail();
        let entry = |contestant: &Contestant| Entry {
            contestant: *contestant,
            name: contestant.id(),
            median: Sample::default(),
            ratios: Ratios::default(),
            runs: Vec::with_capacity(cell.runs),
            errors: Vec::new(),
        };
        Self {
            topic: cell.topic(),
            workload: workload.map(|workload| workload.id()),
            callers,
            frozen_ms: if let Measure::SlowShard { frozen_ms, .. } = cell.measure { Some(frozen_ms) } else { None },
            runtime: cell.runtime.id(),
            transport: cell.transport.id(),
            fastest_rival: None,
            leanest_rival: None,
            entries: contestants.iter().map(entry).collect(),
        }
    }

    /// Adds a run of the contestant at this place.
    pub(super) fn record(&mut self, at: usize, outcome: Result<Sample>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        match outcome {
            Ok(sample) => entry.runs.push(Some(sample)),
            Err(error) => {
                entry.errors.push(format!("{error:#}"));
                entry.runs.push(None);
            }
        }
    }

    /// Computes medians and ratios when all runs are in.
    pub(super) fn conclude(&mut self) {
        for entry in &mut self.entries {
            entry.median = Sample::median(entry.runs.iter().flatten());
        }
        let reference = self.entries.iter().position(|entry| entry.contestant.is_reference());
        let fastest = self.best_rival(OPS, |left, right| left > right);
        let leanest = self.best_rival(CPU, |left, right| left < right);
        let ratios: Vec<Ratios> = self
            .entries
            .iter()
            .map(|entry| Ratios {
                ops_to_reference: self.ratio(entry, reference, OPS),
                ops_to_fastest_rival: self.ratio(entry, fastest, OPS),
                cpu_to_leanest_rival: self.ratio(entry, leanest, CPU),
            })
            .collect();
        for (entry, ratios) in self.entries.iter_mut().zip(ratios) {
            entry.ratios = ratios;
        }
        let name = |at: Option<usize>| at.and_then(|at| self.entries.get(at)).map(|entry| entry.name);
        (self.fastest_rival, self.leanest_rival) = (name(fastest), name(leanest));
    }

    /// One line on how it went, for the terminal.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} {} {}", self.title(), self.runtime, self.transport);
        for entry in &self.entries {
            let figure = super::markdown::brief(&entry.median);
            let failed = if entry.errors.is_empty() { "" } else { " (failed)" };
            line.push_str(&format!(" · {} {figure}{failed}", entry.name));
        }
        line
    }

    /// What is measured, with the number of callers or connections.
    pub(super) fn title(&self) -> String {
        let of = self.workload.filter(|workload| *workload != self.topic);
        let of = of.map(|workload| format!(" {workload}")).unwrap_or_default();
        format!("{}{of} ×{}", self.topic, self.callers)
    }

    /// The place of the rival with the best median. Who fails or loses messages cannot be the best.
    fn best_rival(&self, figure: Figure, is_better: fn(f64, f64) -> bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (at, entry) in self.entries.iter().enumerate() {
            let lost = entry.runs.iter().flatten().any(|sample| sample.lost.is_some_and(|lost| lost > 0.0));
            if !entry.contestant.is_rival() || !entry.errors.is_empty() || lost {
                continue;
            }
            if let Some(value) = figure(&entry.median)
                && best.is_none_or(|(_, so_far)| is_better(value, so_far))
            {
                best = Some((at, value));
            }
        }
        best.map(|(at, _)| at)
    }

    /// The median of the ratios of the runs in which both succeeded.
    fn ratio(&self, entry: &Entry, other: Option<usize>, figure: Figure) -> Option<f64> {
        let other = self.entries.get(other?)?;
        let pairs = entry.runs.iter().zip(&other.runs);
        median(pairs.filter_map(|(run, other)| Some(figure(run.as_ref()?)? / figure(other.as_ref()?)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Flavour, peer::PeerName, run::Transport, workload::Workload};

    fn sample(ops_per_s: f64, cpu_us_per_op: f64, lost: Option<f64>) -> Result<Sample> {
        Ok(Sample { ops_per_s: Some(ops_per_s), cpu_us_per_op: Some(cpu_us_per_op), lost, ..Sample::default() })
    }

    fn report(contestants: &[Contestant]) -> CellReport {
        let measure = Measure::Speed { workload: Workload::Get16, callers: 64 };
        CellReport::new(&Cell { measure, runtime: Flavour::Ct, transport: Transport::Tcp, runs: 3 }, contestants)
    }

    #[test]
    fn ratios_are_taken_run_by_run() {
        let mut report = report(&[Contestant::RedisBenchmark, Contestant::Client(PeerName::Rustis)]);
        for (reference, rustis) in [(100.0, 50.0), (10.0, 6.0), (1_000.0, 400.0)] {
            report.record(0, sample(reference, 1.0, None));
            report.record(1, sample(rustis, 2.0, None));
        }
        report.conclude();
        assert_eq!(report.entries[1].ratios.ops_to_reference, Some(0.5));
        assert_eq!(report.entries[1].ratios.ops_to_fastest_rival, Some(1.0));
        assert_eq!(report.entries[0].ratios.cpu_to_leanest_rival, Some(0.5));
    }

    #[test]
    fn who_loses_messages_or_fails_is_not_the_best_rival() {
        let peers = [PeerName::Fred, PeerName::Redis1, PeerName::Rustis].map(Contestant::Client);
        let mut report = report(&peers);
        report.record(0, sample(900.0, 0.1, Some(5.0)));
        report.record(1, sample(800.0, 0.2, Some(0.0)));
        report.record(1, Err(anyhow::anyhow!("refused")));
        report.record(2, sample(700.0, 0.3, Some(0.0)));
        report.conclude();
        assert_eq!(report.fastest_rival, Some("rustis"));
        assert_eq!(report.leanest_rival, Some("rustis"));
    }
}
