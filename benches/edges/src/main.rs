//! What a fleet of edges costs its hub, how soon a job starts on one of them, and what happens to a queue whose consumers
//! are cut off. Starts its own redis-server for each figure.

mod cut;
mod drain;
mod edge;
mod hub;
mod idle;
mod latency;
mod many;
mod process;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use report::Report;

/// Measures what fleets need, and prints a table of goals and figures.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Shorter waits; the figures are coarser.
    #[arg(long)]
    quick: bool,
    /// Writes the figures and what they are made of to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Edges that are blocked at the same time in `many`.
    #[arg(long, default_value_t = 10_000)]
    edges: usize,
    /// Ends with 1 when a goal was missed.
    #[arg(long)]
    strict: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Ten thousand blocked edges: memory on both sides, the server's processor.
    Many,
    /// What 500 idle agents send.
    Idle,
    /// From the push to the handler, with 500 idle edges.
    Latency,
    /// A backlog whose one consumer of two is cut off.
    Drain,
    /// The alert when both are.
    Cut,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let measured = tokio::select! {
        measured = measure(&args) => measured,
        _interrupted = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match measured {
        Ok(report) if args.strict && !report.all_reached() => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(5)
        }
    }
}

async fn measure(args: &Args) -> Result<Report> {
    process::raise_open_files()?;
    let mut report = Report::new(args.quick);
    // First what is weighed: memory that was used before and is free again would be used without being seen.
    for figure in [Figure::Many, Figure::Idle, Figure::Latency, Figure::Drain, Figure::Cut] {
        if !args.only.is_empty() && !args.only.contains(&figure) {
            continue;
        }
        eprintln!("{figure:?} …");
        match figure {
            Figure::Many => many::measure(args.quick, args.edges, &mut report).await,
            Figure::Idle => idle::measure(args.quick, &mut report).await,
            Figure::Latency => latency::measure(args.quick, &mut report).await,
            Figure::Drain => drain::measure(args.quick, &mut report).await,
            Figure::Cut => cut::measure(&mut report).await,
        }
        .with_context(|| format!("{figure:?} could not be measured"))?;
    }
    println!("{}", report.markdown());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

/// Counts in these figures are far below 2^52.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count >> 32).unwrap_or(u32::MAX)) * 4_294_967_296.0
        + f64::from(u32::try_from(count & 0xffff_ffff).unwrap_or(u32::MAX))
}
