//! romaine-queue measured against other work queues on Redis.
//!
//! `romaine-queue-bench run` starts a redis-server of its own and has every contestant of `drivers.toml` measured in a
//! process of its own, in turn. `romaine-queue-bench drive` is such a process, for the contestants in Rust.

mod drive;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares work queues on Redis.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the contestants, in turn, on one server.
    Run(run::Arguments),
    /// Measure one of those in Rust against a running, empty server, in this process.
    Drive(drive::Arguments),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Drive(arguments) => drive::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
