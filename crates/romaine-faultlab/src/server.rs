//! A real Redis server as a child process.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::admin;
use crate::claim::Port;
use crate::deadline::{look_again, until, within};
use crate::namespace::Namespace;
use crate::resp::Reply;
use crate::server_builder::ServerBuilder;
use crate::tls_files::TlsFiles;
use crate::watchdog::Watchdog;

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A running `redis-server` with a port and a directory of its own. Killed when dropped, however it stands, and also when
/// the test process is itself killed.
///
/// All methods take `&self`, so that a test can share it with the tasks that disturb it.
pub struct Server {
    // Dropped in this order: the process, what it wrote, what it held.
    process: Mutex<Option<Process>>,
    dir: TempDir,
    plan: Plan,
}

/// All that is decided before the start.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) tls_port: Option<u16>,
    pub(crate) bus_port: Option<u16>,
    pub(crate) is_sentinel: bool,
    pub(crate) password: Option<String>,
    pub(crate) namespace: Option<Namespace>,
    /// Held so that a restart still finds the certificates.
    pub(crate) _tls: Option<TlsFiles>,
    /// Held so that nobody else takes the ports while the server is down.
    pub(crate) _claims: Vec<Port>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    _watchdog: Watchdog,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too. Both calls fail only where the process has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server").field("address", &self.address()).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server with the defaults, and waits until it answers.
    ///
    /// # Errors
    ///
    /// See [`ServerBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// A server with other than the default configuration.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    pub(crate) async fn launch(plan: Plan, dir: TempDir) -> anyhow::Result<Self> {
        let server = Self { process: Mutex::new(None), dir, plan };
        server.spawn()?;
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// The port for plain TCP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.plan.port
    }

    /// Where plain TCP is answered: the loopback, or the address inside the namespace.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.plan.ip, self.plan.port)
    }

    /// Where TLS is answered, if it is.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.plan.tls_port.map(|port| SocketAddr::new(self.plan.ip, port))
    }

    /// The port of the cluster's bus, if it is a node of one.
    #[must_use]
    pub fn bus_port(&self) -> Option<u16> {
        self.plan.bus_port
    }

    /// `redis://…` with the password, if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}{}", self.credentials(), self.address())
    }

    /// `rediss://localhost:…`, by the name that the certificate bears.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.plan.tls_port.map(|port| format!("rediss://{}localhost:{port}", self.credentials()))
    }

    fn credentials(&self) -> String {
        self.plan.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"))
    }

    /// The Unix socket. Every server has one; [`Server::command`] uses it too, and so reaches the server while its
    /// network is cut.
    #[must_use]
    pub fn unix_path(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The working directory, which goes away with the server.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the server wrote, over all its restarts.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().collect::<Vec<_>>();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// The process, unless it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(|process| process.child.id())
    }

    /// Sends one command over a connection of its own (named `faultlab` in `CLIENT LIST`) as a user of its own, who is
    /// independent of the password and rules under test.
    ///
    /// # Errors
    ///
    /// When the server is down, answers with an error, or not within five seconds.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<Reply> {
        admin::command(&self.unix_path(), words).await
    }

    /// Waits until the server answers `PING`; one that is loading its data does not.
    ///
    /// # Errors
    ///
    /// With the end of the log, when it has ended or does not answer in ten seconds.
    pub async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let looking = async {
            loop {
                if let Some(how) = self.ended() {
                    bail!("the server ended ({how})");
                }
                if self.command(&["PING"]).await.is_ok() {
                    return Ok(());
                }
                look_again().await;
            }
        };
        let waited = within(READY_WITHIN, "the server to be ready", looking).await;
        waited.flatten().with_context(|| format!("{self:?} is not ready; its log ends with\n{}", self.log_tail()))
    }

    /// Stops the process where it is (SIGSTOP), and returns once it has stopped. Its sockets stay open, and the kernel
    /// goes on acknowledging what arrives.
    ///
    /// # Errors
    ///
    /// When the server is down.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        until(STOPPED_WITHIN, "the server to stop", || self.is_frozen()).await
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// When the server is down.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends the process at once (SIGKILL); nothing is saved. Nothing happens when it is already down.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Ends the process in an orderly way (SIGTERM): it saves what it is configured to save.
    ///
    /// # Errors
    ///
    /// When the server is already down, or does not end within ten seconds.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        // A frozen process would take the signal only when it goes on.
        self.thaw()?;
        until(STOPPED_WITHIN, "the server to end", || self.ended().is_some()).await?;
        self.kill();
        Ok(())
    }

    /// Starts the server anew on the same port and in the same directory, killing it first if it runs.
    ///
    /// # Errors
    ///
    /// See [`Server::wait_until_ready`].
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.start_again()?;
        self.wait_until_ready().await
    }

    /// Like [`Server::restart`], without waiting: for a server that is to be seen while it loads its data.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start_again(&self) -> anyhow::Result<()> {
        self.kill();
        self.spawn()
    }

    fn spawn(&self) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let mut command = match &self.plan.namespace {
            // `ip netns exec` becomes the program, so the process id is the server's.
            Some(namespace) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", &namespace.name()]).arg(&self.plan.program);
                ip
            }
            None => Command::new(&self.plan.program),
        };
        command.arg(self.dir.path().join("redis.conf"));
        if self.plan.is_sentinel {
            command.arg("--sentinel");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.plan.program.display()))?;
        let mut process = self.process();
        let pid = child.id().to_string();
        let watchdog = Watchdog::start(r#"kill -KILL "$1"; rm -rf "$2""#, &[pid.as_ref(), self.dir.path().as_os_str()]);
        match watchdog {
            Ok(watchdog) => *process = Some(Process { child, _watchdog: watchdog }),
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
        Ok(())
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // What is inside is whole whenever the lock is free, even after a panic elsewhere.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the process ended, if it has.
    fn ended(&self) -> Option<String> {
        match self.process().as_mut()?.child.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.context("the server is down")?;
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("cannot signal process {}", pid.as_raw_pid()))
    }

    /// Whether the process runs and is not frozen.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ended().is_none() && self.pid().is_some() && !self.is_frozen()
    }

    /// Whether the process is stopped where it is.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let Some(pid) = self.pid() else { return false };
        // The state is the first field after the program's name, which is in parentheses. All threads have to stop: the
        // kernel reports the process's state from its main thread, which is the one that answers.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
    }
}
