//! The client under test: a driver in this process, or a program of its own.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::driver;
use super::protocol::{Control, Observation, Order, Seen};

/// Where the client under test runs.
#[derive(Debug, Clone)]
pub enum Driver {
    /// romaine, in this process.
    Here,
    /// A program that speaks the line protocol: its path and arguments.
    Program {
        /// The client's name.
        name: String,
        /// The program and its arguments.
        command: Vec<OsString>,
    },
}

impl Driver {
    /// romaine in a process of its own, driven by `program`.
    #[must_use]
    pub fn romaine(program: impl Into<OsString>, arguments: &[&str]) -> Self {
        let command = std::iter::once(program.into()).chain(arguments.iter().map(Into::into)).collect();
        Self::Program { name: "romaine".into(), command }
    }

    /// The client's name.
    #[must_use]
    pub fn client(&self) -> &str {
        match self {
            Self::Here => "romaine",
            Self::Program { name, .. } => name,
        }
    }
}

/// A client under test, at work. Ended when dropped.
#[derive(Debug)]
pub struct Subject {
    controls: mpsc::Sender<Control>,
    process: Option<Child>,
    _tasks: JoinSet<anyhow::Result<()>>,
}

impl Subject {
    /// Starts a driver. Its observations come through the second part.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub async fn start(driver: &Driver, order: Order) -> anyhow::Result<(Self, mpsc::Receiver<Seen>)> {
        let (controls, orders) = mpsc::channel(16);
        let (witness, seen) = mpsc::channel(4_096);
        let mut tasks = JoinSet::new();
        let process = match driver {
            Driver::Here => {
                tasks.spawn(tell_failure(driver::drive(order, orders, witness.clone()), witness));
                None
            }
            Driver::Program { command, .. } => {
                let (program, arguments) = command.split_first().context("a driver without a program")?;
                let mut child = Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("cannot start the driver {}", program.display()))?;
                let stdin = child.stdin.take().context("the driver has no standard input")?;
                let stdout = child.stdout.take().context("the driver has no standard output")?;
                tasks.spawn(write(stdin, order, orders));
                tasks.spawn(tell_failure(read(stdout, witness.clone()), witness));
                Some(child)
            }
        };
        Ok((Self { controls, process, _tasks: tasks }, seen))
    }

    /// Tells the driver something.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub async fn tell(&self, control: Control) -> anyhow::Result<()> {
        self.controls.send(control).await.ok().context("the driver has ended")
    }

    /// The driver's process, if it has one of its own.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Stops (SIGSTOP) or continues (SIGCONT) the driver's process.
    ///
    /// # Errors
    ///
    /// When it has none of its own.
    pub fn set_stopped(&self, stopped: bool) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.context("the driver has no process of its own")?;
        rustix::process::kill_process(pid, if stopped { Signal::STOP } else { Signal::CONT })?;
        Ok(())
    }
}

async fn tell_failure(
    work: impl Future<Output = anyhow::Result<()>>,
    witness: mpsc::Sender<Seen>,
) -> anyhow::Result<()> {
    if let Err(error) = work.await {
        let _ = witness.send(Seen::now(Observation::Trouble(format!("the driver failed: {error:#}")))).await;
    }
    Ok(())
}

async fn write(mut stdin: ChildStdin, order: Order, mut controls: mpsc::Receiver<Control>) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(&order)?;
    line.push(b'\n');
    stdin.write_all(&line).await?;
    while let Some(control) = controls.recv().await {
        let mut line = serde_json::to_vec(&control)?;
        line.push(b'\n');
        stdin.write_all(&line).await?;
    }
    Ok(())
}

async fn read(stdout: ChildStdout, witness: mpsc::Sender<Seen>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    let mut has_finished = false;
    while let Some(line) = lines.next_line().await? {
        let seen: Seen = serde_json::from_str(&line).with_context(|| format!("not an observation: {line}"))?;
        has_finished |= seen.what == Observation::Finished;
        if witness.send(seen).await.is_err() {
            return Ok(());
        }
    }
    if !has_finished {
        bail!("its output ended before its work");
    }
    Ok(())
}

/// The resident memory of a process, in bytes.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Looks at the memory of `pid` until it is aborted, and tells the highest seen.
pub(crate) async fn watch_memory(pid: u32, peak: std::sync::Arc<std::sync::atomic::AtomicU64>) {
    loop {
        if let Some(bytes) = resident(pid) {
            peak.fetch_max(bytes, std::sync::atomic::Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
