//! Where and when a run took place, and with what.

use std::{env, fs, process::Command, thread, time::SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::servers::Servers;

/// The conditions of a run.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// UTC, at the start.
    pub(super) date: String,
    /// The command line.
    pub(super) command: String,
    /// The processor.
    pub(super) cpu: String,
    /// Processors that this process may use.
    pub(super) cpus: usize,
    /// The kernel.
    pub(super) kernel: String,
    /// The server.
    pub(super) server: String,
    /// The compiler in the path, which normally is the one that built this.
    pub(super) rustc: String,
    /// The tokio that is built in.
    pub(super) tokio: String,
    /// The revision of this repository.
    pub(super) revision: String,
    /// Load average over the last minute, at the start.
    pub(super) load: String,
}

impl Machine {
    /// Looks around.
    pub(super) fn describe(servers: &Servers) -> Result<Self> {
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: env::args().collect::<Vec<_>>().join(" "),
            cpu: read_line("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cpus: thread::available_parallelism()?.get(),
            kernel: output("uname", &["-sr"]).unwrap_or_else(unknown),
            server: servers.description()?,
            rustc: output("rustc", &["--version"]).unwrap_or_else(unknown),
            tokio: locked_version("tokio").map_or_else(unknown, |version| format!("tokio {version}")),
            revision: output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
                .unwrap_or_else(unknown),
            load: fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value in the first line `name : value` of a file.
fn read_line(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a command prints.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The version of a package in this program's lock file.
fn locked_version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_knows_the_version_of_tokio() {
        assert!(locked_version("tokio").unwrap().starts_with("1."));
        assert_eq!(locked_version("no-such-package"), None);
    }
}
