//! The project's own tasks.

mod bench;
mod cargo;
mod ci;
mod codegen;
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
    /// Show the client at work: five faults on a real redis-server. Arguments go to `romaine demo`.
    Demo(Rest),
    /// Run every test, and say how many passed, failed and were skipped. Arguments go to `cargo test`.
    Test(Rest),
    /// Measure the fault matrix. Arguments go to `romaine matrix`.
    Matrix(Rest),
    /// Compare with other clients and with redis-benchmark. Arguments go to `romaine-bench run`.
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
        Task::Demo(rest) => romaine("demo", &rest.args),
        Task::Matrix(rest) => romaine("matrix", &rest.args),
        Task::Test(rest) => test::run(&rest.args),
        Task::Bench(rest) => bench::run(&rest.args),
        Task::Codegen(args) => codegen::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Tidy => tidy::run().map(|is_tidy| if is_tidy { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Ci => ci::run(),
    }
}

/// Builds the program and runs one of its subcommands.
fn romaine(subcommand: &str, args: &[String]) -> anyhow::Result<ExitCode> {
    setup::redis_server()?;
    setup::namespaces();
    let mut cargo = cargo::command(&["run", "--release", "--quiet", "--package", "romaine-cli", "--", subcommand]);
    eprintln!("building the program (release)");
    cargo::exit_code(cargo.args(args))
}
