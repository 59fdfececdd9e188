//! The comparison benchmark: romaine, the other Redis clients for Rust, and redis-benchmark as the limit of what one
//! connection can do.
//!
//! `romaine-bench run` starts a redis-server of its own, measures every cell in a child process (`romaine-bench cell`),
//! alternating between the clients, and writes medians and ratios as JSON and markdown.

mod address;
mod admin;
mod allocations;
mod cell;
mod data;
mod histogram;
mod peer;
mod run;
mod sample;
mod stats;
mod usage;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{cell::CellArgs, run::RunArgs};

/// Compares Redis clients for Rust, and all of them with redis-benchmark.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a selection of clients, workloads, runtimes and transports.
    Run(RunArgs),
    /// Measure one cell against a running server, in this process.
    Cell(CellArgs),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Cell(arguments) => {
            let sample = arguments.run()?;
            let text =
                if arguments.json { serde_json::to_string(&sample)? } else { serde_json::to_string_pretty(&sample)? };
            println!("{text}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_understands_the_arguments_a_run_gives_it() {
        let common = ["romaine-bench", "cell", "--peer=redis1", "--runtime=ct", "--address=tcp:127.0.0.1:1", "--json"];
        for measure in [
            vec!["speed", "--workload=get16", "--callers=64"],
            vec!["allocations", "--workload=mget", "--callers=4"],
            vec!["delivery", "--messages=64"],
            vec!["blocked", "--connections=1000", "--settle-ms=300"],
            vec!["mixed", "--callers=64"],
            vec!["slow-shard", "--callers=64", "--frozen-ms=1000"],
        ] {
            let Command::Cell(cell) = Cli::parse_from(common.iter().chain(&measure)).command else {
                panic!("not a cell")
            };
            let arguments = ["romaine-bench".to_owned()].into_iter().chain(cell.to_arguments());
            let Command::Cell(again) = Cli::parse_from(arguments).command else { panic!("not a cell") };
            assert_eq!(again.to_arguments(), cell.to_arguments());
            assert_eq!(again.measure, cell.measure);
        }
    }
}
