//! The program `romaine`.

mod agent;
mod demo;
mod drive;
mod exit;
mod fleet;
mod matrix;
mod out;
mod ping;
mod queue;
mod rollout;
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
    /// On an edge server that can only dial out: take the jobs of its own queue and run them by a command.
    Agent(Box<agent::Args>),
    /// Five faults on a real redis-server, under a consumer, a subscriber and 64 callers: what was noticed, what was lost.
    Demo(demo::Args),
    /// The edges: when they were last heard of, how they are, what they run and what they should.
    Fleet(fleet::Args),
    /// The fault matrix: each fault under each load, measured.
    Matrix(matrix::Args),
    /// Connect to a server and say who answers, and how fast.
    Ping(ping::Args),
    /// Work queues: bring work in, look at it, repair.
    Queue(queue::Args),
    /// Bring an image to many edges, in waves.
    Rollout(rollout::Args),
    /// The matrix's line protocol on standard input and output.
    #[command(hide = true)]
    Drive,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return exit::usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::end(Err(Failure::internal(error.into()))),
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Command::Agent(args) => agent::run(&args).await,
            Command::Demo(args) => demo::run(&args).await,
            Command::Fleet(args) => fleet::run(&args).await,
            Command::Matrix(args) => matrix::run(&args).await,
            Command::Ping(args) => ping::run(&args).await,
            Command::Queue(args) => queue::run(&args).await,
            Command::Rollout(args) => rollout::run(&args).await,
            Command::Drive => drive::run().await,
        }
    });
    // A task blocked in reading standard input would hold the process.
    runtime.shutdown_background();
    exit::end(outcome)
}
