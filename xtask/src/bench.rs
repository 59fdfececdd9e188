//! The benchmarks: of clients with one server, of clients with (`--cluster`) a cluster of three primaries, (`--queue`) of
//! work queues, and (`--edges`) of what a fleet costs its hub.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, peers, setup};

/// Builds `benches/`, which is a workspace of its own, with romaine in it, and runs it.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    setup::redis_server()?;
    if args.iter().any(|arg| arg == "--queue") {
        return queue(args);
    }
    if args.iter().any(|arg| arg == "--edges") {
        let mut command = cargo::command(&["run", "--release", "--manifest-path", "benches/edges/Cargo.toml", "--"]);
        return cargo::exit_code(command.args(args.iter().filter(|arg| *arg != "--edges")));
    }
    // The reference of everything but a cluster.
    if !args.iter().any(|arg| arg == "--cluster") {
        setup::redis_benchmark()?;
    }
    let mut command = cargo::command(&["run", "--release", "--manifest-path", "benches/Cargo.toml"]);
    command.args(["--features", "romaine", "--", "run"]).args(args);
    cargo::exit_code(&mut command)
}

/// Builds `benches/queue/`, another workspace, and its drivers in other languages, and runs it. A driver that cannot be
/// built here is a line in the tables.
fn queue(args: &[String]) -> Result<ExitCode> {
    let list = cargo::workspace()?.join("benches/queue/drivers.toml");
    if !args.iter().any(|arg| arg == "--help" || arg == "-h") {
        peers::build(&list, None)?;
    }
    let mut command = cargo::command(&["run", "--release", "--manifest-path", "benches/queue/Cargo.toml", "--", "run"]);
    cargo::exit_code(command.args(args.iter().filter(|arg| *arg != "--queue")))
}
