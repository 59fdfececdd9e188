//! What was found, and what follows from it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::{
    Cell, Plan,
    contestant::{Contestant, Found},
    machine::Machine,
    stats::median,
};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The conditions.
    pub(super) machine: Machine,
    /// What was to be measured.
    pub(super) plan: Plan,
    /// The contestants; the first one is compared with the best of the others.
    pub(super) contestants: Vec<Row>,
    /// The first one against the best of the others that lease each job.
    pub(super) with_leases: Ratios,
    /// The first one against the best of all others.
    pub(super) with_all: Ratios,
    /// How long all of it took.
    pub(super) seconds: f64,
}

/// What one contestant did.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// What it is written in.
    pub(super) language: String,
    /// Its settings, in words.
    pub(super) settings: String,
    /// Whether it leases each job to a worker.
    pub(super) has_leases: bool,
    /// Jobs it was given, where that is fewer than the others had.
    pub(super) jobs_max: Option<usize>,
    /// Jobs enqueued per second, in every run.
    pub(super) enqueued: Vec<f64>,
    /// Jobs done per second by so many workers, in every run.
    pub(super) drained: BTreeMap<usize, Vec<f64>>,
    /// Microseconds from push to start, of all runs.
    pub(super) latency: Vec<f64>,
    /// Why there is no figure, by cell.
    pub(super) failures: BTreeMap<String, String>,
}

/// Throughput against the best other one's. The ratio of each repetition is taken before the median.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ratios {
    /// Enqueueing.
    pub(super) enqueued: Option<Ratio>,
    /// Draining, by number of workers.
    pub(super) drained: BTreeMap<usize, Ratio>,
}

/// Against whom, and by how much.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    /// The best of the others.
    pub(super) best: String,
    /// How many times its throughput.
    pub(super) times: f64,
}

impl Report {
    /// Of nothing yet.
    pub(super) fn new(machine: Machine, plan: Plan, contestants: &[Contestant]) -> Self {
        let row = |contestant: &Contestant| Row {
            name: contestant.name.clone(),
            version: contestant.version.clone(),
            language: contestant.language.clone(),
            settings: contestant.settings.clone(),
            has_leases: contestant.has_leases,
            jobs_max: contestant.jobs_max.filter(|most| *most < plan.jobs),
            enqueued: Vec::new(),
            drained: BTreeMap::new(),
            latency: Vec::new(),
            failures: BTreeMap::new(),
        };
        let contestants = contestants.iter().map(row).collect();
        Self { machine, plan, contestants, with_leases: Ratios::default(), with_all: Ratios::default(), seconds: 0.0 }
    }

    /// Takes down what a run found.
    pub(super) fn record(&mut self, at: usize, cell: Cell, found: Result<Found>) {
        let Some(row) = self.contestants.get_mut(at) else { return };
        match (found, cell) {
            (Ok(Found::Throughput { enqueued, drained, .. }), Cell::Drain(workers)) => {
                row.enqueued.push(enqueued);
                row.drained.entry(workers).or_default().push(drained);
            }
            (Ok(Found::Latency(micros)), Cell::Latency) => row.latency.extend(micros),
            (Ok(_), _) => {
                row.failures.insert(cell.to_string(), "its driver measured something else".to_owned());
            }
            (Err(error), _) => {
                row.failures.insert(cell.to_string(), format!("{error:#}"));
            }
        }
    }

    /// Whether a contestant failed in this cell.
    pub(super) fn has_failed(&self, at: usize, cell: Cell) -> bool {
        self.contestants.get(at).is_some_and(|row| row.failures.contains_key(&cell.to_string()))
    }

    /// Compares.
    pub(super) fn conclude(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.with_leases = Ratios::of(&self.contestants, |row| row.has_leases);
        self.with_all = Ratios::of(&self.contestants, |_| true);
        for row in &mut self.contestants {
            row.latency.sort_by(f64::total_cmp);
        }
    }
}

impl Ratios {
    fn of(rows: &[Row], is_rival: impl Fn(&Row) -> bool) -> Self {
        let drained = |workers| Some((workers, ratio(rows, &is_rival, |row| row.drained.get(&workers))?));
        Self {
            enqueued: ratio(rows, &is_rival, |row| Some(&row.enqueued)),
            drained: super::WORKERS.into_iter().filter_map(drained).collect(),
        }
    }
}

impl Row {
    /// That share of its jobs started within so many microseconds.
    pub(super) fn latency_at(&self, share: f64) -> Option<f64> {
        let last = u32::try_from(self.latency.len()).ok()?.checked_sub(1)?;
        let before = (0..=last).find(|at| f64::from(at + 1) >= share * f64::from(last + 1))?;
        self.latency.get(usize::try_from(before).ok()?).copied()
    }
}

/// The first row's figures against those of its best rival, run by run.
fn ratio(rows: &[Row], is_rival: impl Fn(&Row) -> bool, figures: impl Fn(&Row) -> Option<&Vec<f64>>) -> Option<Ratio> {
    let (first, others) = rows.split_first()?;
    let own = figures(first)?;
    let of = |row| Some((row, median(figures(row)?.iter().copied())?));
    let (best, _) = others
        .iter()
        .filter(|row| is_rival(row))
        .filter_map(of)
        .max_by(|(_, left), (_, right)| left.total_cmp(right))?;
    let pairs = own.iter().zip(figures(best)?);
    Some(Ratio { best: best.name.clone(), times: median(pairs.map(|(own, other)| own / other))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, drained: &[f64]) -> Row {
        Row {
            name: name.to_owned(),
            version: String::new(),
            language: String::new(),
            settings: String::new(),
            has_leases: true,
            jobs_max: None,
            enqueued: Vec::new(),
            drained: BTreeMap::from([(1, drained.to_vec())]),
            latency: (1..=100).map(f64::from).collect(),
            failures: BTreeMap::new(),
        }
    }

    #[test]
    fn the_best_of_the_others_is_the_measure() {
        let rows = [row("own", &[30.0, 20.0, 10.0]), row("slow", &[1.0; 3]), row("fast", &[10.0, 5.0, 10.0])];
        let best = ratio(&rows, |_| true, |row| row.drained.get(&1)).unwrap();
        assert_eq!(best.best, "fast");
        assert!((best.times - 3.0).abs() < 1e-9);
        let slow = ratio(&rows, |row| row.name == "slow", |row| row.drained.get(&1)).unwrap();
        assert!((slow.times - 20.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let row = row("own", &[]);
        assert_eq!(row.latency_at(0.5), Some(50.0));
        assert_eq!(row.latency_at(0.99), Some(99.0));
        assert_eq!(row.latency_at(1.0), Some(100.0));
    }
}
