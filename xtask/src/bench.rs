//! The comparison benchmark: with one server, or (`--cluster`) with a cluster of three primaries.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, setup};

/// Builds `benches/`, which is a workspace of its own, with romaine in it, and runs it.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    setup::redis_server()?;
    // The reference of everything but a cluster.
    if !args.iter().any(|arg| arg == "--cluster") {
        setup::redis_benchmark()?;
    }
    let mut command = cargo::command(&["run", "--release", "--manifest-path", "benches/Cargo.toml"]);
    command.args(["--features", "romaine", "--", "run"]).args(args);
    cargo::exit_code(&mut command)
}
