//! A whole comparison: which cells, in which order, and what becomes of the figures.

mod cluster;
mod contestant;
mod machine;
mod markdown;
mod plan;
mod reference;
mod report;
mod server;
mod servers;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use self::{
    contestant::{Arena, Contestant},
    machine::Machine,
    plan::{Cell, Plan},
    report::{CellReport, Report},
    servers::Servers,
};
use crate::{cell::Flavour, peer::PeerName, usage};

/// Set by SIGINT, SIGTERM and SIGHUP; looked at between two cells, so that the server is stopped in an orderly way.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How the clients reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Transport {
    /// The loopback interface.
    Tcp,
    /// A unix socket.
    Unix,
    /// The loopback interface, to all nodes of a cluster: `--cluster`.
    #[value(skip)]
    Cluster,
}

impl Transport {
    /// The name as it is written on the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Cluster => "cluster",
        }
    }
}

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Measure the clients on a cluster of three primaries: GETs of keys all over it, and calls to two of the primaries while
    /// the third is frozen.
    #[arg(long, conflicts_with = "transport")]
    pub(crate) cluster: bool,
    /// Fewer cells, shorter windows and three repetitions: under three minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write everything, each single run included, to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the tables to this file rather than to standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Clients; all by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<PeerName>,
    /// Workloads by name, and `pubsub`, `blocked`, `allocs`; with --cluster, `mixed` and `slow-shard`. By default all (with
    /// --quick, a choice).
    #[arg(long, value_delimiter = ',', value_parser = plan::topics())]
    pub(crate) workloads: Vec<String>,
    /// Only cells with these numbers of callers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) callers: Vec<usize>,
    /// Runtimes; both by default (with --pin, only ct).
    #[arg(long, value_delimiter = ',')]
    pub(crate) runtime: Vec<Flavour>,
    /// Transports; both by default (with --quick, only tcp).
    #[arg(long, value_delimiter = ',')]
    pub(crate) transport: Vec<Transport>,
    /// How long a primary is frozen (and measured before that) in `slow-shard`; 3000 by default (with --quick, 1000).
    #[arg(long, requires = "cluster")]
    pub(crate) frozen_ms: Option<u64>,
    /// Repetitions; 5 by default (with --quick, 3).
    #[arg(long)]
    pub(crate) runs: Option<usize>,
    /// Keep the server on processor 0 and everything else on processor 1.
    #[arg(long)]
    pub(crate) pin: bool,
}

/// Measures, and writes the tables.
pub(crate) fn run(arguments: &RunArgs) -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Relaxed)).context("signal handler")?;
    usage::raise_open_files_limit()?;
    let plan = Plan::new(arguments)?;
    let servers = Servers::start(arguments)?;
    let machine = Machine::describe(&servers)?;
    eprintln!("{} cells; {}", plan.cells.len(), machine.server);

    let arena = Arena::new(&servers, &plan, arguments.pin)?;
    let started = Instant::now();
    let mut cells = Vec::with_capacity(plan.cells.len());
    for (at, cell) in plan.cells.iter().enumerate() {
        let report = measure(&arena, &plan, cell)?;
        eprintln!("[{:>3}/{} {:>4.0} s] {}", at + 1, plan.cells.len(), started.elapsed().as_secs_f64(), report.line());
        cells.push(report);
    }
    drop(servers);

    let seconds = started.elapsed().as_secs_f64();
    let report = Report::new(machine, &plan, cells, seconds);
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n").with_context(|| path.display().to_string())?;
    }
    let tables = markdown::render(&report);
    match &arguments.markdown {
        Some(path) => fs::write(path, tables).with_context(|| path.display().to_string())?,
        None => print!("{tables}"),
    }
    ensure!(!report.has_errors(), "some cells failed; see the end of the tables");
    Ok(())
}

/// All repetitions of one cell. In each, every contestant has its turn; every second time in reverse.
fn measure(arena: &Arena<'_>, plan: &Plan, cell: &Cell) -> Result<CellReport> {
    let contestants: Vec<Contestant> = plan.contestants(cell);
    let mut report = CellReport::new(cell, &contestants);
    for run in 0..cell.runs {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if run % 2 == 1 {
            order.reverse();
        }
        for at in order {
            if INTERRUPTED.load(Relaxed) {
                bail!("interrupted");
            }
            let Some(contestant) = contestants.get(at) else { continue };
            report.record(at, arena.measure(cell, *contestant));
        }
    }
    report.conclude();
    Ok(report)
}
