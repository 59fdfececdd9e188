//! A run: one server, every contestant in turn, tables.

mod contestant;
mod machine;
mod markdown;
mod report;
mod server;
#[path = "../../src/stats.rs"]
mod stats;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use self::{
    contestant::{Contestant, Measure},
    machine::Machine,
    report::Report,
    server::Server,
};

/// Ctrl-C and SIGTERM end a run after the current measurement, so that the server is stopped.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How many workers the jobs are drained by.
const WORKERS: [usize; 2] = [1, 8];
/// Jobs at the same time in each worker.
const CONCURRENCY: usize = 32;
/// Pushes per second while latency is measured.
const RATE: u32 = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Fewer jobs and three repetitions: about three minutes.
    #[arg(long)]
    quick: bool,
    /// Write everything, each single run included, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file rather than to standard output.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Contestants, as their names begin; all by default.
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<String>,
    /// What to measure; both by default.
    #[arg(long, value_delimiter = ',')]
    measures: Vec<Measure>,
    /// Jobs to drain; 20,000 by default (with --quick, 5,000).
    #[arg(long)]
    jobs: Option<usize>,
    /// Repetitions; 5 by default (with --quick, 3).
    #[arg(long)]
    runs: Option<usize>,
    /// The list of contestants.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/drivers.toml"))]
    drivers: PathBuf,
}

/// What is measured, and how often.
#[derive(Debug, serde::Serialize)]
struct Plan {
    /// Repetitions.
    runs: usize,
    /// Jobs to drain.
    jobs: usize,
    /// Jobs enqueued and done before, unmeasured.
    warm_up: usize,
    /// Jobs pushed one by one in each repetition.
    pushes: usize,
    /// Jobs at the same time in each worker.
    concurrency: usize,
    /// Pushes per second.
    rate: u32,
}

/// One of the things measured.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// Enqueue all, then drain with so many workers.
    Drain(usize),
    /// From push to start.
    Latency,
}

/// Measures, and writes the tables.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Relaxed)).context("signal handler")?;
    let quick = arguments.quick;
    let jobs = arguments.jobs.unwrap_or(if quick { 5_000 } else { 20_000 });
    let plan = Plan {
        runs: arguments.runs.unwrap_or(if quick { 3 } else { 5 }),
        jobs,
        warm_up: jobs / 10,
        pushes: if quick { 150 } else { 500 },
        concurrency: CONCURRENCY,
        rate: RATE,
    };
    let contestants = Contestant::read(&arguments.drivers, &arguments.contestants)?;
    let mut server = Server::start()?;
    let machine = Machine::describe(server.version())?;
    eprintln!("{} contestants; redis-server {}", contestants.len(), server.version());

    let started = Instant::now();
    let mut report = Report::new(machine, plan, &contestants);
    let is_wanted = |measure| arguments.measures.is_empty() || arguments.measures.contains(&measure);
    if is_wanted(Measure::Drain) {
        for workers in WORKERS {
            measure(&mut server, &contestants, Cell::Drain(workers), &mut report)?;
        }
    }
    if is_wanted(Measure::Latency) {
        measure(&mut server, &contestants, Cell::Latency, &mut report)?;
    }
    drop(server);

    report.conclude(started.elapsed());
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n").with_context(|| path.display().to_string())?;
    }
    let tables = markdown::render(&report);
    match &arguments.markdown {
        Some(path) => fs::write(path, tables).with_context(|| path.display().to_string())?,
        None => print!("{tables}"),
    }
    Ok(())
}

/// All repetitions of one cell. In each, every contestant has its turn; every second time in reverse. One that has failed
/// has no further turn.
fn measure(server: &mut Server, contestants: &[Contestant], cell: Cell, report: &mut Report) -> Result<()> {
    for run in 0..report.plan.runs {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if run % 2 == 1 {
            order.reverse();
        }
        for at in order {
            if INTERRUPTED.load(Relaxed) {
                bail!("interrupted");
            }
            let Some(contestant) = contestants.get(at) else { continue };
            if !contestant.takes_part(cell.measure()) || report.has_failed(at, cell) {
                continue;
            }
            server.flush()?;
            let found = contestant.drive(server.url(), cell, &report.plan);
            match &found {
                Ok(found) => eprintln!("{cell} {run}: {}: {found}", contestant.name),
                Err(error) => eprintln!("{cell} {run}: {}: {error:#}", contestant.name),
            }
            report.record(at, cell, found);
        }
    }
    Ok(())
}

impl Cell {
    fn measure(self) -> Measure {
        match self {
            Self::Drain(_) => Measure::Drain,
            Self::Latency => Measure::Latency,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drain(1) => f.write_str("1 worker"),
            Self::Drain(workers) => write!(f, "{workers} workers"),
            Self::Latency => f.write_str("latency"),
        }
    }
}
