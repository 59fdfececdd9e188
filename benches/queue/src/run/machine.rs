//! Where and when a run took place.

use std::{env, fs, iter, path::Path, process::Command, thread, time::SystemTime};

use anyhow::Result;
use serde::Serialize;

/// The conditions of a run.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// UTC, at the start.
    pub(super) date: String,
    /// The command.
    pub(super) command: String,
    /// The processor.
    pub(super) cpu: String,
    /// Processors that this process may use.
    pub(super) cpus: usize,
    /// The kernel.
    pub(super) kernel: String,
    /// The server.
    pub(super) server: String,
    /// The compilers and interpreters in the path.
    pub(super) tools: Vec<String>,
    /// The revision of this repository.
    pub(super) revision: String,
    /// Load average over the last minute, at the start.
    pub(super) load: String,
}

impl Machine {
    /// Looks around.
    pub(super) fn describe(server: &str) -> Result<Self> {
        let tools = [("rustc", ["--version"]), ("go", ["version"]), ("node", ["--version"])];
        let tools = tools.iter().filter_map(|(tool, arguments)| {
            let version = output(tool, arguments)?;
            Some(if version.starts_with(tool) { version } else { format!("{tool} {version}") })
        });
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: command(),
            cpu: processor().unwrap_or_else(unknown),
            cpus: thread::available_parallelism()?.get(),
            kernel: output("uname", &["-sr"]).unwrap_or_else(unknown),
            server: format!("redis-server {server}"),
            tools: tools.collect(),
            revision: output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
                .unwrap_or_else(unknown),
            load: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| Some(text.split(' ').next()?.to_owned()))
                .unwrap_or_else(unknown),
        })
    }
}

/// What a stranger types to have the same: without the paths of this machine.
fn command() -> String {
    let words = env::args().skip(2).map(|word| if Path::new(&word).is_absolute() { "…".to_owned() } else { word });
    iter::once("cargo xtask bench --queue".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a command prints.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
