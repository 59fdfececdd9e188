//! Runs the cells: side by side where they do not disturb each other.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cell::measure;
use super::machine;
use super::plan::{Cell, Settings};
use super::report::{CellReport, Outcome, Report};
use crate::Namespace;
use crate::scenario::cell_log::CellLog;
use crate::scenario::moment::Moment;
use crate::scenario::stage::NotSupported;

/// What happens while the matrix runs.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A cell begins.
    Begins(Cell),
    /// A cell has ended.
    Ended(Box<CellReport>),
}

/// One cell of one client to be measured once.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) cell: Cell,
    pub(super) settings: Arc<Settings>,
    /// Where its log goes.
    pub(super) log: Option<PathBuf>,
}

/// Measures `cells`. Those that need the machine for themselves come last, one by one.
pub async fn run(cells: &[Cell], settings: &Settings, progress: mpsc::Sender<Progress>) -> Report {
    let began = Moment::now();
    let shared = Arc::new(settings.clone());
    let tasks = cells.iter().map(|cell| Task { cell: *cell, settings: shared.clone(), log: None }).collect();
    let (tell, mut told) = mpsc::channel(64);
    let passing_on = async {
        while let Some((_, step)) = told.recv().await {
            let _ = progress.send(step).await;
        }
    };
    let (reports, ()) = tokio::join!(measure_all(tasks, settings.jobs, tell, std::future::pending()), passing_on);
    Report {
        client: settings.driver.client().to_owned(),
        pace: settings.pace,
        scale: settings.scale,
        took_s: Moment::now().since(began).as_secs_f64(),
        cells: reports.into_iter().flatten().collect(),
    }
}

/// Does all tasks, and hands back a report for each, in their order. Progress comes with the task's place. When `stop` is
/// there, what runs is dropped with its servers and clients; of that and of the rest there is no report.
pub(super) async fn measure_all(
    tasks: Vec<Task>,
    jobs: usize,
    progress: mpsc::Sender<(usize, Progress)>,
    stop: impl Future<Output = ()>,
) -> Vec<Option<CellReport>> {
    let no_namespace = Namespace::probe().await.err();
    let mut stop = std::pin::pin!(stop);
    let mut reports: Vec<_> = tasks.iter().map(|_| None).collect();
    let numbered = tasks.into_iter().enumerate();
    let (alone, together): (Vec<_>, Vec<_>) = numbered.partition(|(_, task)| task.cell.fault.is_alone());
    for (batch, jobs) in [(together, jobs.max(1)), (alone, 1)] {
        let mut waiting = VecDeque::from(batch);
        let mut running = JoinSet::new();
        let mut tasks = HashMap::<_, (usize, Cell)>::new();
        loop {
            let fits = |cell: Cell, running: &HashMap<_, (usize, Cell)>| {
                let weight: usize = running.values().map(|(_, cell)| cell.weight()).sum();
                running.is_empty() || weight + cell.weight() <= jobs
            };
            while waiting.front().is_some_and(|(_, task)| fits(task.cell, &tasks))
                && let Some((place, task)) = waiting.pop_front()
            {
                let (progress, no_namespace, cell) = (progress.clone(), no_namespace.clone(), task.cell);
                let running = running.spawn(async move {
                    let _ = progress.send((place, Progress::Begins(task.cell))).await;
                    one(&task, no_namespace).await
                });
                tasks.insert(running.id(), (place, cell));
            }
            let (id, report) = tokio::select! {
                biased;
                () = &mut stop => return reports,
                ended = running.join_next_with_id() => match ended {
                    None => break,
                    Some(Ok((id, report))) => (id, Some(report)),
                    // A panic in a cell is the lab's own mistake; it is on standard error already.
                    Some(Err(panic)) => (panic.id(), None),
                },
            };
            let Some((place, cell)) = tasks.remove(&id) else { continue };
            let report = report.unwrap_or_else(|| panicked(cell));
            if let Some(slot) = reports.get_mut(place) {
                *slot = Some(report.clone());
            }
            // What was told to have ended is in the reports, whenever it is stopped.
            let _ = progress.send((place, Progress::Ended(Box::new(report)))).await;
        }
    }
    reports
}

fn panicked(cell: Cell) -> CellReport {
    CellReport { cell, outcome: Outcome::Failed("the cell panicked".into()), took_s: 0.0 }
}

async fn one(task: &Task, no_namespace: Option<String>) -> CellReport {
    let Task { cell, settings, log } = task;
    let began = Moment::now();
    let log = log.as_deref().map(CellLog::create).transpose().unwrap_or_default().unwrap_or_default();
    let limit = cell.limit(settings.scale);
    // Dropped at the limit: its servers and the client's process end with it.
    let outcome = match tokio::time::timeout(limit, measure(*cell, settings, no_namespace, &log)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) if error.is::<NotSupported>() => Outcome::Skipped(format!("{error}")),
        Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
        Err(_elapsed) => Outcome::Failed(gave_up(limit)),
    };
    match &outcome {
        Outcome::Failed(error) => log.say(&format!("FAILED: {}", machine::scrub(error))),
        Outcome::Skipped(reason) => log.say(&format!("skipped: {reason}")),
        Outcome::Measured(_) => {}
    }
    CellReport { cell: *cell, outcome, took_s: Moment::now().since(began).as_secs_f64() }
}

fn gave_up(limit: Duration) -> String {
    format!("not measured within {} s: given up, the driver was killed", limit.as_secs())
}
