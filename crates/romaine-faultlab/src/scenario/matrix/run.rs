//! Runs the cells: side by side where they do not disturb each other.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cell::measure;
use super::plan::{Cell, Settings};
use super::report::{CellReport, Outcome, Report};
use crate::Namespace;
use crate::scenario::moment::Moment;

/// What happens while the matrix runs.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A cell begins.
    Begins(Cell),
    /// A cell has ended.
    Ended(Box<CellReport>),
}

/// Measures `cells`. Those that need the machine for themselves come last, one by one.
pub async fn run(cells: &[Cell], settings: &Settings, progress: mpsc::Sender<Progress>) -> Report {
    let began = Moment::now();
    let no_namespace = Namespace::probe().await.err();
    let (alone, together): (Vec<Cell>, Vec<Cell>) = cells.iter().partition(|cell| cell.fault.is_alone());
    let mut reports = Vec::new();
    for (batch, jobs) in [(together, settings.jobs.max(1)), (alone, 1)] {
        let mut waiting = VecDeque::from(batch);
        let mut running = JoinSet::new();
        loop {
            while running.len() < jobs
                && let Some(cell) = waiting.pop_front()
            {
                let (settings, progress, no_namespace) = (settings.clone(), progress.clone(), no_namespace.clone());
                running.spawn(async move {
                    let _ = progress.send(Progress::Begins(cell)).await;
                    let report = one(cell, &settings, no_namespace).await;
                    let _ = progress.send(Progress::Ended(Box::new(report.clone()))).await;
                    report
                });
            }
            match running.join_next().await {
                None => break,
                Some(Ok(report)) => reports.push(report),
                // A panic in a cell is the lab's own mistake; it is on standard error already.
                Some(Err(_panicked)) => {}
            }
        }
    }
    let place = |cell: &Cell| cells.iter().position(|other| other == cell);
    reports.sort_by_key(|report| place(&report.cell));
    let is_missing = |cell: &&Cell| !reports.iter().any(|report: &CellReport| report.cell == **cell);
    let missing: Vec<_> = cells.iter().filter(is_missing).copied().collect();
    let panicked = |cell| CellReport { cell, outcome: Outcome::Failed("the cell panicked".into()), took_s: 0.0 };
    reports.extend(missing.into_iter().map(panicked));
    Report {
        client: settings.driver.client().to_owned(),
        pace: settings.pace,
        scale: settings.scale,
        took_s: Moment::now().since(began).as_secs_f64(),
        cells: reports,
    }
}

async fn one(cell: Cell, settings: &Settings, no_namespace: Option<String>) -> CellReport {
    let began = Moment::now();
    let outcome = match measure(cell, settings, no_namespace).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    CellReport { cell, outcome, took_s: Moment::now().since(began).as_secs_f64() }
}
