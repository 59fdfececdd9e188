//! The project's own tasks.

mod codegen;

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
    /// Generate the command table and the typed methods from `crates/romaine-commands/data`.
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Codegen(args) => codegen::run(&args),
    }
}
