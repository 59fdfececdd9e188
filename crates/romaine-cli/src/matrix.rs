//! `romaine matrix`: each fault under each load, measured.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use romaine_faultlab::scenario::matrix::{self, Fault, Progress, Report, Scale, Selection, Settings, Under};
use romaine_faultlab::scenario::{Driver, Pace};
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome};
use crate::watch::Watch;

/// What `romaine matrix` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these faults: F01–F09, F15–F17, F19–F21.
    #[arg(long, value_delimiter = ',', value_name = "FAULT,…")]
    faults: Vec<Fault>,
    /// Only under these loads: idle, callers, blocked, subscribed, all (the last three on one client).
    #[arg(long, value_delimiter = ',', value_name = "LOAD,…")]
    under: Vec<Under>,
    /// The client's liveness settings.
    #[arg(long, value_enum, default_value_t = Liveness::Default)]
    liveness: Liveness,
    /// Faults of 15 s rather than a minute, and of 30 s rather than five.
    #[arg(long)]
    quick: bool,
    /// Faults of about 5 s; only with --liveness fast.
    #[arg(long, conflicts_with = "quick")]
    brief: bool,
    /// How many cells side by side; four for each processor by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Liveness {
    /// Dead peers are noticed within 10 s.
    Default,
    /// Dead peers are noticed within 2 s.
    Fast,
}

/// Runs the matrix and shows it.
pub(crate) async fn run(args: &Args) -> Outcome {
    if args.brief && args.liveness == Liveness::Default {
        let error = "--brief: a fault of 5 s ends before the default liveness notices it; add --liveness fast";
        return Err(Failure::usage(anyhow::anyhow!(error)));
    }
    let cells = Selection { faults: args.faults.clone(), under: args.under.clone() }.cells();
    if cells.is_empty() {
        let error = "no cell is left: that fault is not measured under that load";
        return Err(Failure::usage(anyhow::anyhow!(error)));
    }
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        driver: Driver::romaine(program, &["drive"]),
        pace: if args.liveness == Liveness::Fast { Pace::Fast } else { Pace::Default },
        scale: match (args.quick, args.brief) {
            (_, true) => Scale::Brief,
            (true, false) => Scale::Quick,
            (false, false) => Scale::Full,
        },
        jobs: args.jobs.map_or(processors * 4, usize::from),
    };
    let (tell, progress) = mpsc::channel(64);
    let (report, ()) = tokio::join!(matrix::run(&cells, &settings, tell), show(progress, cells.len()));
    println!("\n{}", report.table().text());
    for remark in report.remarks() {
        println!("{remark}");
    }
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        json.push('\n');
        write(path, &json)?;
    }
    if let Some(path) = &args.markdown {
        write(path, &report.markdown())?;
    }
    println!("\n{}", verdict(&report));
    Ok(report.is_kept())
}

fn verdict(report: &Report) -> String {
    let (measured, skipped, broken) = report.totals();
    let kept = if broken == 0 { "every promise was kept" } else { "PROMISES WERE BROKEN" };
    format!("{kept}: {measured} cells measured, {skipped} skipped, {broken} broken ({:.0} s)", report.took_s)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

async fn show(mut progress: mpsc::Receiver<Progress>, cells: usize) {
    let watch = Watch::new(cells);
    let mut running = BTreeSet::new();
    let mut done = 0;
    while let Some(progress) = progress.recv().await {
        match progress {
            Progress::Begins(cell) => drop(running.insert(cell.to_string())),
            Progress::Ended(report) => {
                running.remove(&report.cell.to_string());
                done += 1;
                watch.done(done);
                watch.line(&format!("{done:>3}/{cells}  {}", report.line()));
            }
        }
        let names: Vec<_> = running.iter().map(String::as_str).collect();
        watch.doing(format!("{done}/{cells} done; under way: {}", names.join(", ")));
    }
    watch.end();
}
