//! The program `romaine`.

mod demo;
mod drive;
mod exit;
mod matrix;
mod ping;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Failure;

/// A Redis client whose connections never die silently: its demonstration, its measurements, its tools.
#[derive(Debug, Parser)]
#[command(name = "romaine", version, after_help = exit::HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Five faults on a real redis-server, under a consumer, a subscriber and 64 callers: what was noticed, what was lost.
    Demo(demo::Args),
    /// The fault matrix: each fault under each load, measured.
    Matrix(matrix::Args),
    /// Connect to a server and say who answers, and how fast.
    Ping(ping::Args),
    /// The matrix's line protocol on standard input and output.
    #[command(hide = true)]
    Drive,
}

fn main() -> ExitCode {
    // Usage errors end with status 2 in clap itself.
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::end(Err(Failure::internal(error.into()))),
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Command::Demo(args) => demo::run(&args).await,
            Command::Matrix(args) => matrix::run(&args).await,
            Command::Ping(args) => ping::run(&args).await,
            Command::Drive => drive::run().await,
        }
    });
    // A task blocked in reading standard input would hold the process.
    runtime.shutdown_background();
    exit::end(outcome)
}
