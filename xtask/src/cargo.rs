//! Running cargo from a task that cargo runs.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

/// Features that are off by default and bring code of ours: what is tested is built with all of them.
pub(crate) const FEATURES: &str = "romaine-queue/sqlite,romaine-queue/webhook";

/// The workspace's directory.
pub(crate) fn workspace() -> Result<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map(Into::into).context("xtask lies in the workspace")
}

/// The cargo that runs this task, in the workspace's directory.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(workspace().unwrap_or_else(|_| ".".into()));
    cargo
}

/// Runs it and hands on its exit status.
pub(crate) fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    // Ended by a signal: as a shell reports it, without the signal's number.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs it; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Off in the tests as well, each for its reason.
    const WITHOUT: [&str; 1] = [
        // Draws a picture by a crate of its own, for what is published.
        "romaine-faultlab/png",
    ];

    #[test]
    fn code_behind_a_feature_is_tested() {
        let mut untested = Vec::new();
        for entry in std::fs::read_dir(workspace().unwrap().join("crates")).unwrap() {
            let crate_dir = entry.unwrap().path();
            let manifest: toml::Table = std::fs::read_to_string(crate_dir.join("Cargo.toml")).unwrap().parse().unwrap();
            let Some(features) = manifest.get("features").and_then(toml::Value::as_table) else { continue };
            let defaults: Vec<_> =
                features.get("default").and_then(toml::Value::as_array).into_iter().flatten().collect();
            let name = crate_dir.file_name().unwrap().to_string_lossy().into_owned();
            let off = features.keys().filter(|feature| {
                *feature != "default" && !defaults.iter().any(|default| default.as_str() == Some(feature.as_str()))
            });
            untested.extend(off.map(|feature| format!("{name}/{feature}")));
        }
        let is_known = |feature: &str| FEATURES.split(',').chain(WITHOUT).any(|known| known == feature);
        untested.retain(|feature| !is_known(feature));
        assert!(untested.is_empty(), "{untested:?} belong into FEATURES");
    }
}
