//! A contestant, and a process that measures it.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{Cell, Plan};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// Throughput.
    Drain,
    /// Latency.
    Latency,
}

/// An entry of `drivers.toml`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Contestant {
    /// Its name.
    pub(super) name: String,
    /// The version that is built in.
    pub(super) version: String,
    /// What it is written in.
    pub(super) language: String,
    /// Its settings, in words.
    pub(super) settings: String,
    /// Whether it leases each job to a worker.
    #[serde(default = "yes")]
    pub(super) has_leases: bool,
    /// It cannot do with more jobs waiting.
    pub(super) jobs_max: Option<usize>,
    /// The name of a driver in this program.
    library: Option<String>,
    /// Programs that must be there.
    #[serde(default)]
    tools: Vec<String>,
    /// Where `run` is run, as seen from the list.
    #[serde(default)]
    dir: PathBuf,
    /// Program and first arguments of a driver of its own.
    #[serde(default)]
    run: Vec<String>,
    /// What it takes part in; everything if empty.
    #[serde(default)]
    measures: Vec<Measure>,
}

/// What a driver found.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Found {
    /// Jobs per second.
    Throughput {
        /// Jobs that were measured.
        jobs: f64,
        /// Into the queue.
        enqueued: f64,
        /// Through the workers.
        drained: f64,
    },
    /// From push to start, in microseconds.
    Latency(Vec<f64>),
}

/// A line of a driver.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Enqueued { jobs: f64, seconds: f64 },
    Drained { jobs: f64, seconds: f64 },
    Latency { micros: Vec<f64> },
}

#[derive(Deserialize)]
struct List {
    driver: Vec<Contestant>,
}

impl Contestant {
    /// Those of the list whose names begin with one of `wanted`; all if there is none.
    pub(super) fn read(list: &Path, wanted: &[String]) -> Result<Vec<Self>> {
        let text = fs::read_to_string(list).with_context(|| list.display().to_string())?;
        let mut contestants = toml::from_str::<List>(&text).with_context(|| list.display().to_string())?.driver;
        contestants.retain(|one| wanted.is_empty() || wanted.iter().any(|name| one.name.starts_with(name.as_str())));
        for contestant in &mut contestants {
            contestant.dir = list.parent().unwrap_or(Path::new("")).join(&contestant.dir);
        }
        Ok(contestants)
    }

    /// Whether this is measured of it.
    pub(super) fn takes_part(&self, measure: Measure) -> bool {
        self.measures.is_empty() || self.measures.contains(&measure)
    }

    /// Has it measured, by an empty server.
    pub(super) fn drive(&self, url: &str, cell: Cell, plan: &Plan) -> Result<Found> {
        if let Some(tool) = self.tools.iter().find(|tool| !is_in_path(tool)) {
            bail!("there is no {tool}");
        }
        let mut command = self.command()?;
        command.args(["--url", url, "--concurrency", &plan.concurrency.to_string()]);
        match cell {
            Cell::Drain(workers) => {
                let jobs = plan.jobs.min(self.jobs_max.unwrap_or(usize::MAX));
                command.args(["--measure", "drain", "--workers", &workers.to_string()]);
                command.args(["--jobs", &jobs.to_string(), "--warm-up", &plan.warm_up.to_string()]);
            }
            Cell::Latency => {
                command.args(["--measure", "latency", "--jobs", &plan.pushes.to_string()]);
                command.args(["--rate", &plan.rate.to_string()]);
            }
        }
        let output = command.stdin(Stdio::null()).output().context("its driver is not built")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it failed and said nothing");
            bail!("{}", last.trim_start_matches("error: "));
        }
        found(&String::from_utf8(output.stdout)?)
    }

    fn command(&self) -> Result<Command> {
        if let Some(library) = &self.library {
            let mut command = Command::new(env::current_exe()?);
            command.args(["drive", "--library", library]);
            return Ok(command);
        }
        let Some((program, arguments)) = self.run.split_first() else {
            bail!("neither `library` nor `run` in the list")
        };
        // A program of the list's own, or one in the path.
        let own = self.dir.join(program);
        let mut command = if own.is_file() { Command::new(own) } else { Command::new(program) };
        command.args(arguments).current_dir(&self.dir);
        Ok(command)
    }
}

/// What the lines say together.
fn found(lines: &str) -> Result<Found> {
    let mut enqueued_per_second = None;
    for line in lines.lines() {
        match serde_json::from_str(line).with_context(|| format!("its driver printed: {line}"))? {
            Line::Enqueued { jobs, seconds } => enqueued_per_second = Some(jobs / seconds),
            Line::Drained { jobs, seconds } => {
                let enqueued = enqueued_per_second.context("drained before anything was enqueued")?;
                return Ok(Found::Throughput { jobs, enqueued, drained: jobs / seconds });
            }
            Line::Latency { micros } => return Ok(Found::Latency(micros)),
        }
    }
    bail!("its driver printed no result")
}

fn yes() -> bool {
    true
}

fn is_in_path(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|place| place.join(program).is_file())
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throughput { enqueued, drained, .. } => {
                write!(f, "{enqueued:.0} enqueued and {drained:.0} done a second")
            }
            Self::Latency(micros) => {
                let slowest = micros.iter().copied().fold(0.0, f64::max);
                write!(f, "{} jobs, the slowest started after {slowest:.0} µs", micros.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_read() {
        let list = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers.toml"));
        let all = Contestant::read(list, &[]).unwrap();
        assert_eq!(all.first().unwrap().name, "romaine-queue");
        assert!(all.iter().all(|one| one.library.is_some() == one.run.is_empty()), "{all:?}");
        assert_eq!(Contestant::read(list, &["bullmq".to_owned()]).unwrap().len(), 2);
    }

    #[test]
    fn lines_become_rates() {
        let lines = r#"{"event":"enqueued","jobs":10,"seconds":0.5}
            {"event":"drained","jobs":10,"seconds":2}"#;
        let Found::Throughput { enqueued, drained, .. } = found(lines).unwrap() else { panic!("not a throughput") };
        assert!((enqueued - 20.0).abs() < 1e-9 && (drained - 5.0).abs() < 1e-9);
        found("").unwrap_err();
        found("hello").unwrap_err();
    }
}
