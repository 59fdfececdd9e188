//! The project's own tasks.

mod bench;
mod cargo;
mod ci;
mod codegen;
mod matrix;
mod options;
mod peers;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the client at work: five faults on a real redis-server. Arguments go to `romaine demo`; `--server NAME` chooses
    /// a server that `scripts/fetch-servers.sh` has fetched.
    Demo(Rest),
    /// Run every test, and say how many passed, failed and were skipped. Arguments go to `cargo test`; `--server NAME`.
    Test(Rest),
    /// Measure the fault matrix for romaine and for the clients of `peers/peers.toml`, whose drivers are built first.
    /// Arguments go to `romaine matrix`; `--server NAME`, `--png FILE`.
    Matrix(Rest),
    /// Compare with other clients and with redis-benchmark, or (`--queue`) the work queue with others; or (`--edges`)
    /// measure what a fleet costs its hub. Further arguments go to the benchmark, which knows `--help`.
    Bench(Rest),
    /// Generate the command table and the typed methods from `crates/romaine-commands/data`.
    Codegen(codegen::Args),
    /// Check what no compiler checks: file lengths, unfinished code, ARCHITECTURE.md.
    Tidy,
    /// All of it: formatting, lints, documentation, generated code, tidiness, tests.
    Ci,
}

/// What is passed on.
#[derive(Debug, clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(code) => code,
        // Without a backtrace: what goes wrong here is the machine's state, not ours.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Demo(rest) => matrix::romaine("demo", &rest.args),
        Task::Matrix(rest) => matrix::run(&rest.args),
        Task::Test(rest) => test::run(&rest.args),
        Task::Bench(rest) => bench::run(&rest.args),
        Task::Codegen(args) => codegen::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Tidy => tidy::run().map(|is_tidy| if is_tidy { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Ci => ci::run(),
    }
}
