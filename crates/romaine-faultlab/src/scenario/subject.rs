//! The client under test: a driver in this process, or a program of its own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::driver;
use super::moment::Moment;
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
        /// Where it runs; here, if nothing is said.
        dir: Option<PathBuf>,
    },
}

/// How the trouble begins that a driver is in whose process has ended by itself.
pub(crate) const CRASHED: &str = "the driver failed";

/// How many of the last lines that a driver says on its standard error are kept.
const MURMURS: usize = 20;

/// A line with one of these, in letters of whatever size, says why a process ends, whatever comes after it: Go prints the
/// stack of each goroutine.
const ALARMS: [&str; 4] = ["panic", "fatal", "overflow", "outofmemory"];

/// How long a driver whose output has ended may take to end, and its last words to be heard.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Driver {
    /// romaine in a process of its own, driven by `program`.
    #[must_use]
    pub fn romaine(program: impl Into<OsString>, arguments: &[&str]) -> Self {
        let command = std::iter::once(program.into()).chain(arguments.iter().map(Into::into)).collect();
        Self::Program { name: "romaine".into(), command, dir: None }
    }

    /// The same driver where the file is what the system looks names up in, instead of `/etc/hosts`: in a mount namespace
    /// of its own, so that nobody else sees it. `None` for a driver without a process of its own.
    pub(crate) fn with_hosts(&self, file: &Path) -> Option<Self> {
        const ENTER: &str = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let Self::Program { name, command, dir } = self else { return None };
        let mut words: Vec<OsString> = ["unshare", "--mount", "sh", "-c", ENTER].into_iter().map(Into::into).collect();
        words.push(file.into());
        words.extend(command.iter().cloned());
        Some(Self::Program { name: name.clone(), command: words, dir: dir.clone() })
    }

    /// Whether it drives romaine, which is held to its own word.
    pub(crate) fn is_romaine(&self) -> bool {
        self.client() == "romaine"
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

/// What a driver said on its standard error.
#[derive(Debug, Clone, Default)]
struct Murmurs(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// The first line with one of [`ALARMS`].
    alarm: Option<String>,
    last: VecDeque<String>,
}

impl Murmurs {
    fn hear(&self, line: &str) {
        let line: String = line.chars().take(500).collect();
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.alarm.is_none() && ALARMS.iter().any(|alarm| line.to_lowercase().contains(alarm)) {
            heard.alarm = Some(line.clone());
        }
        heard.last.push_back(line);
        if heard.last.len() > MURMURS {
            heard.last.pop_front();
        }
    }

    fn last(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }

    /// The line that says why it ended, or else the last.
    fn reason(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.alarm.as_ref().or(heard.last.back()).cloned()
    }
}

/// A driver's process and all that it started, ended when dropped.
#[derive(Debug)]
struct Process {
    /// Of the process and of its group, which it leads: a driver may be started by a script.
    pid: Option<Pid>,
    _child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may be gone already.
        let _ = self.pid.map(|pid| rustix::process::kill_process_group(pid, Signal::KILL));
    }
}

/// A client under test, at work. Ended when dropped.
#[derive(Debug)]
pub struct Subject {
    controls: mpsc::Sender<Control>,
    process: Option<Process>,
    murmurs: Murmurs,
    tasks: JoinSet<anyhow::Result<()>>,
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
        let murmurs = Murmurs::default();
        let process = match driver {
            Driver::Here => {
                tasks.spawn(tell_failure(driver::drive(order, orders, witness.clone()), witness));
                None
            }
            Driver::Program { command, dir, .. } => {
                let (program, arguments) = command.split_first().context("a driver without a program")?;
                let mut child = Command::new(program)
                    .args(arguments)
                    .current_dir(dir.as_deref().unwrap_or_else(|| Path::new(".")))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .process_group(0)
                    .kill_on_drop(true)
                    .spawn()
                    .with_context(|| format!("cannot start the driver {}", program.display()))?;
                let stdin = child.stdin.take().context("the driver has no standard input")?;
                let stdout = child.stdout.take().context("the driver has no standard output")?;
                let stderr = child.stderr.take().context("the driver has no standard error")?;
                tasks.spawn(listen(stderr, murmurs.clone()));
                tasks.spawn(write(stdin, order, orders));
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
                tasks.spawn(tell_failure(read(stdout, pid, murmurs.clone(), witness.clone()), witness));
                Some(Process { pid, _child: child })
            }
        };
        Ok((Self { controls, process, murmurs, tasks }, seen))
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
        self.process.as_ref()?.pid.and_then(|pid| u32::try_from(pid.as_raw_pid()).ok())
    }

    /// The last lines that the driver said on its standard error.
    #[must_use]
    pub fn murmurs(&self) -> Vec<String> {
        self.murmurs.last()
    }

    /// Ends the driver at once. Nobody listens any more: that its output ends is not its failure.
    pub(crate) async fn kill(&mut self) {
        self.tasks.shutdown().await;
        self.process = None;
    }

    /// Stops (SIGSTOP) or continues (SIGCONT) the driver's process and those that it started.
    ///
    /// # Errors
    ///
    /// When it has none of its own.
    pub fn set_stopped(&self, stopped: bool) -> anyhow::Result<()> {
        let pid = self.process.as_ref().and_then(|process| process.pid);
        let pid = pid.context("the driver has no process of its own")?;
        rustix::process::kill_process_group(pid, if stopped { Signal::STOP } else { Signal::CONT })?;
        Ok(())
    }
}

async fn tell_failure(
    work: impl Future<Output = anyhow::Result<()>>,
    witness: mpsc::Sender<Seen>,
) -> anyhow::Result<()> {
    if let Err(error) = work.await {
        let _ = witness.send(Seen::now(Observation::Trouble(format!("{CRASHED}: {error:#}")))).await;
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

async fn listen(stderr: ChildStderr, murmurs: Murmurs) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stderr).lines();
    while let Some(line) = lines.next_line().await? {
        murmurs.hear(&line);
    }
    Ok(())
}

async fn read(
    stdout: ChildStdout,
    pid: Option<Pid>,
    murmurs: Murmurs,
    witness: mpsc::Sender<Seen>,
) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stdout).lines();
    let mut has_finished = false;
    while let Some(line) = lines.next_line().await? {
        let mut seen: Seen = serde_json::from_str(&line).with_context(|| format!("not an observation: {line:.200}"))?;
        // One clock for all clients, and the same way to it.
        seen.at = Moment::now();
        has_finished |= seen.what == Observation::Finished;
        if witness.send(seen).await.is_err() {
            return Ok(());
        }
    }
    if !has_finished {
        tokio::time::sleep(LAST_WORDS).await;
        let words = [pid.and_then(ended), murmurs.reason()];
        let words: Vec<_> =
            std::iter::once("its output ended before its work".to_owned()).chain(words.into_iter().flatten()).collect();
        bail!("{}", words.join(": "));
    }
    Ok(())
}

/// How a process has ended, if it has. Nobody else gets its number before it is dropped.
fn ended(pid: Pid) -> Option<String> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::Pid(pid), options).ok()??;
    let code = status.exit_status().map(|code| format!("exit code {code}"));
    code.or_else(|| status.terminating_signal().map(|signal| format!("signal {signal}")))
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
pub(crate) async fn watch_memory(pid: u32, peak: Arc<std::sync::atomic::AtomicU64>) {
    loop {
        if let Some(bytes) = resident(pid) {
            peak.fetch_max(bytes, std::sync::atomic::Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
