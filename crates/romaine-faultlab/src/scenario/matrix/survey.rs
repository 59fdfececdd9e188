//! The matrix of many clients.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::onto::Onto;
use super::peers::Contestant;
use super::plan::{Cell, Scale, Settings};
use super::report::{CellReport, Outcome};
use super::run::{Progress, Task, measure_all};
use super::summary::{Entry, Run};
use crate::scenario::moment::Moment;
use crate::scenario::protocol::Pace;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct SurveyPlan {
    /// The clients.
    pub contestants: Vec<Contestant>,
    /// Their configurations: [`Pace::Default`], [`Pace::Fast`] for the best documented one.
    pub configs: Vec<Pace>,
    /// The cells.
    pub cells: Vec<Cell>,
    /// The length of the faults.
    pub scale: Scale,
    /// How often each.
    pub runs: usize,
    /// How many cells side by side.
    pub jobs: usize,
    /// Where each cell's log goes.
    pub logs: Option<PathBuf>,
    /// The command that asks for all this, without what is the machine's own.
    pub command: String,
    /// An earlier survey to add to.
    pub onto: Option<Onto>,
}

/// What happens while a survey runs.
#[derive(Debug, Clone)]
pub enum SurveyStep {
    /// A run of a cell begins: its name.
    Begins(String),
    /// It has ended: its name, the line that says how, and the time that the rest will take.
    Ended {
        /// The name.
        name: String,
        /// How.
        line: String,
        /// How many have ended.
        done: usize,
        /// An estimate.
        left: Duration,
    },
}

/// Who was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Who {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is written in.
    pub language: String,
    /// Why it was not, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One command that measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sitting {
    /// When it ended, in UTC.
    pub date: String,
    /// The command.
    pub command: String,
    /// The machine.
    pub machine: String,
    /// The revision of the repository: of the lab, the drivers, and romaine.
    #[serde(default)]
    pub revision: String,
    /// How often each of its cells was measured.
    pub runs: usize,
    /// How many runs of cells had ended when it was stopped, if that is so: not all cells were measured, or not as often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_after: Option<usize>,
    /// How long it took, in seconds.
    pub took_s: f64,
}

/// The matrix of many clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Survey {
    /// What made it, the last one last.
    pub sittings: Vec<Sitting>,
    /// The server.
    pub server: String,
    /// The length of the faults.
    pub scale: Scale,
    /// The configurations.
    pub configs: Vec<Pace>,
    /// The clients.
    pub clients: Vec<Who>,
    /// The cells, client by client.
    pub entries: Vec<Entry>,
}

impl SurveyPlan {
    /// How many runs of cells there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.jobs_to_do().len()
    }

    /// About how long it all takes.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        let tasks = self.jobs_to_do();
        self.estimate_of(tasks.iter().map(|(.., cell)| *cell))
    }

    fn estimate_of(&self, cells: impl Iterator<Item = Cell>) -> Duration {
        let (mut alone, mut together) = (Duration::ZERO, Duration::ZERO);
        for cell in cells {
            let length = cell.estimate(self.scale);
            if cell.fault.is_alone() {
                alone += length;
            } else {
                together += length * u32::try_from(cell.weight()).unwrap_or(u32::MAX);
            }
        }
        alone + together / u32::try_from(self.jobs.max(1)).unwrap_or(u32::MAX)
    }

    /// Every run of every cell of everybody: the same cell of all clients in turn, because the machine may not be the
    /// same an hour later.
    fn jobs_to_do(&self) -> Vec<(usize, usize, Pace, Cell)> {
        let mut all = Vec::new();
        for run in 0..self.runs {
            for cell in &self.cells {
                for config in &self.configs {
                    for (who, contestant) in self.contestants.iter().enumerate() {
                        let known = |onto: &Onto| onto.runs(&contestant.name, *config, *cell);
                        if contestant.cannot(*cell).is_none() && run >= self.onto.as_ref().map_or(0, known) {
                            all.push((run, who, *config, *cell));
                        }
                    }
                }
            }
        }
        all
    }

    /// Measures all of it, or as much as there is time for until `stop`: what was not measured says so.
    ///
    /// # Errors
    ///
    /// When the directory for the logs cannot be made, or the earlier survey is of something else ([`fits`](Self::fits)).
    pub async fn run(
        &self,
        progress: mpsc::Sender<SurveyStep>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<Survey> {
        self.fits()?;
        let began = Moment::now();
        if let Some(logs) = &self.logs {
            std::fs::create_dir_all(logs)?;
        }
        let wanted = self.jobs_to_do();
        let names: Vec<_> =
            wanted.iter().map(|(run, who, config, cell)| self.name(*run, *who, *config, *cell)).collect();
        let tasks = wanted.iter().map(|(run, who, config, cell)| self.task(*run, *who, *config, *cell)).collect();
        let (tell, told) = mpsc::channel(64);
        let cells: Vec<_> = wanted.iter().map(|(.., cell)| *cell).collect();
        let telling = self.tell(&names, &cells, told, progress);
        let (reports, ()) = tokio::join!(measure_all(tasks, self.jobs, tell, stop), telling);
        let measured = reports.iter().flatten().count();

        let mut runs = BTreeMap::<_, Vec<Run>>::new();
        for ((run, who, config, cell), report) in wanted.into_iter().zip(reports) {
            let Some(CellReport { outcome, took_s, .. }) = report else { continue };
            let log = self.logs.as_ref().map(|_| self.log_name(run, who, config, cell));
            runs.entry((who, config_place(config), cell)).or_default().push(Run {
                outcome: scrubbed(outcome),
                took_s,
                log,
            });
        }
        let mut entries = Vec::new();
        for (who, contestant) in self.contestants.iter().enumerate() {
            for config in &self.configs {
                for cell in &self.cells {
                    let found = runs.remove(&(who, config_place(*config), *cell));
                    let runs = found.unwrap_or_else(|| vec![not_run(contestant, *cell)]);
                    entries.push(Entry::new(contestant.name.clone(), *config, *cell, runs));
                }
            }
        }
        let sitting = Sitting {
            date: super::machine::date(),
            command: self.command.clone(),
            machine: super::machine::describe(),
            revision: super::machine::revision(),
            runs: self.runs,
            stopped_after: (measured < names.len()).then_some(measured),
            took_s: Moment::now().since(began).as_secs_f64(),
        };
        let survey = Survey {
            sittings: vec![sitting],
            server: super::machine::server(),
            scale: self.scale,
            configs: self.configs.clone(),
            clients: self.contestants.iter().map(who).collect(),
            entries,
        };
        Ok(match &self.onto {
            Some(onto) => survey.added_to(onto.clone()),
            None => survey,
        })
    }

    fn task(&self, run: usize, who: usize, config: Pace, cell: Cell) -> Task {
        let driver = self.contestants.get(who).map(|contestant| contestant.driver.clone());
        let settings = Settings {
            driver: driver.unwrap_or(crate::scenario::Driver::Here),
            pace: config,
            scale: self.scale,
            jobs: self.jobs,
        };
        let log = self.logs.as_ref().map(|dir| dir.join(self.log_name(run, who, config, cell)));
        Task { cell, settings: Arc::new(settings), log }
    }

    fn name(&self, run: usize, who: usize, config: Pace, cell: Cell) -> String {
        let client = self.contestants.get(who).map_or("?", |contestant| contestant.name.as_str());
        format!("{client} {}: {cell}, run {}", config_name(config), run + 1)
    }

    fn log_name(&self, run: usize, who: usize, config: Pace, cell: Cell) -> String {
        let name = self.name(run, who, config, cell);
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
        let name: String = name.chars().map(plain).collect();
        let words: Vec<_> = name.split('-').filter(|word| !word.is_empty()).collect();
        format!("{}.log", words.join("-"))
    }

    async fn tell(
        &self,
        names: &[String],
        cells: &[Cell],
        mut told: mpsc::Receiver<(usize, Progress)>,
        progress: mpsc::Sender<SurveyStep>,
    ) {
        let began = Moment::now();
        let mut waiting: BTreeSet<_> = (0..cells.len()).collect();
        let whole = self.estimate_of(cells.iter().copied());
        while let Some((place, step)) = told.recv().await {
            let name = names.get(place).cloned().unwrap_or_default();
            let step = match step {
                Progress::Begins(_) => SurveyStep::Begins(name),
                Progress::Ended(report) => {
                    waiting.remove(&place);
                    let rest = self.estimate_of(waiting.iter().filter_map(|place| cells.get(*place)).copied());
                    // What it takes in fact, against what was expected of what is done.
                    let expected = whole.saturating_sub(rest).as_secs_f64();
                    let pace = if expected > 60.0 { Moment::now().since(began).as_secs_f64() / expected } else { 1.0 };
                    let line = format!("{name} {}", report.words());
                    let left = rest.mul_f64(pace.clamp(0.5, 5.0));
                    SurveyStep::Ended { name, line, done: cells.len() - waiting.len(), left }
                }
            };
            let _ = progress.send(step).await;
        }
    }
}

/// The configuration's name on the command line.
#[must_use]
pub const fn config_name(config: Pace) -> &'static str {
    match config {
        Pace::Default => "default",
        Pace::Fast => "best",
        Pace::Off => "off",
    }
}

pub(super) const fn config_place(config: Pace) -> u8 {
    match config {
        Pace::Default => 0,
        Pace::Fast => 1,
        Pace::Off => 2,
    }
}

fn who(contestant: &Contestant) -> Who {
    Who {
        name: contestant.name.clone(),
        version: contestant.version.clone(),
        language: contestant.language.clone(),
        missing: contestant.missing.clone(),
    }
}

/// Said of a cell that was not reached.
pub(super) const NOT_MEASURED: &str = "not measured: it was stopped before";

fn not_run(contestant: &Contestant, cell: Cell) -> Run {
    let reason = contestant.cannot(cell).unwrap_or_else(|| NOT_MEASURED.into());
    Run { outcome: Outcome::Skipped(reason), took_s: 0.0, log: None }
}

/// Without what only this machine knows: results are for other people.
fn scrubbed(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(error) => Outcome::Failed(super::machine::scrub(&error)),
        Outcome::Skipped(reason) => Outcome::Skipped(super::machine::scrub(&reason)),
        Outcome::Measured(mut measured) => {
            for line in measured.broken.iter_mut().chain(&mut measured.course) {
                *line = super::machine::scrub(line);
            }
            Outcome::Measured(measured)
        }
    }
}

impl Survey {
    /// The entry of one client in one configuration for a cell.
    #[must_use]
    pub fn entry(&self, client: &str, config: Pace, cell: Cell) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.client == client && entry.config == config && entry.cell == cell)
    }

    /// The cells, each once, in their order.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<_> = self.entries.iter().map(|entry| entry.cell).collect();
        cells.sort_by_key(|cell| (cell.fault, self.entries.iter().position(|entry| entry.cell == *cell)));
        cells.dedup();
        cells
    }

    /// Clients with their configurations, as columns.
    #[must_use]
    pub fn columns(&self) -> Vec<(&Who, Pace)> {
        let of = |who| self.configs.iter().map(move |config| (who, *config));
        let is_shown = |(who, config): &(&Who, Pace)| {
            let is_it = |entry: &Entry| entry.client == who.name && entry.config == *config;
            who.missing.is_none() && self.entries.iter().any(is_it)
        };
        self.clients.iter().flat_map(of).filter(is_shown).collect()
    }

    /// Whether romaine kept every promise and nothing of it failed.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let own = self.entries.iter().filter(|entry| entry.client == "romaine");
        own.flat_map(|entry| &entry.runs).all(|run| match &run.outcome {
            Outcome::Measured(measured) => measured.broken.is_empty(),
            Outcome::Skipped(_) => true,
            Outcome::Failed(_) => false,
        })
    }
}
