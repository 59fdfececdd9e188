//! The redis-server of a run, or one of its cluster.

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{
    address::Address,
    admin::{Admin, Reply},
    data,
    workload::Workload,
};

/// Where the server runs with `--pin`.
pub(super) const SERVER_CPU: usize = 0;
/// Where everything else runs with `--pin`.
pub(super) const CLIENT_CPU: usize = 1;

/// The server must answer within this time.
const UP_WITHIN: Duration = Duration::from_secs(10);
/// Another process may take the free port first.
const START_ATTEMPTS: usize = 3;
/// Many free ports have no bus port above them.
const PORT_ATTEMPTS: usize = 200;
const HOST: &str = "127.0.0.1";
/// Enough for the blocked connections of a full run.
const MAX_CLIENTS: &str = "12000";
/// With a node time-out far longer than any cell, a frozen node is never declared to have failed.
const CLUSTER_OPTIONS: &[&str] =
    &["--cluster-enabled", "yes", "--cluster-announce-ip", HOST, "--cluster-node-timeout", "120000"];

/// The port of a cluster node's bus lies so far above its own.
const BUS_PORT_OFFSET: u16 = 10_000;

/// What a server is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// All workloads, alone.
    Alone,
    /// A node of a cluster that has yet to be formed.
    ClusterNode,
}

/// A running server. Stopped when dropped.
pub(super) struct Server {
    process: Child,
    port: u16,
    tcp: Address,
    unix: Address,
    version: String,
    redis_benchmark: PathBuf,
    /// Its directory with the unix socket, removed at the end.
    _directory: TempDir,
}

/// A command, kept on one processor by taskset if one is given.
pub(super) fn pinned(program: &Path, cpu: Option<usize>) -> Command {
    match cpu {
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &cpu.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

impl Server {
    /// Starts `$ROMAINE_REDIS_SERVER`, or the redis-server in the path, on a free port. One that is alone has the data of the
    /// workloads.
    pub(super) fn start(role: Role, pin: bool) -> Result<Self> {
        let program = PathBuf::from(env::var_os("ROMAINE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into()));
        let mut failure = None;
        for _ in 0..START_ATTEMPTS {
            match Self::start_once(&program, role, pin) {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or_else(|| bail!("not started"), Err).context("starting redis-server")
    }

    fn start_once(program: &Path, role: Role, pin: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("romaine-bench-").tempdir()?;
        let port = free_port(role)?;
        let socket = directory.path().join("redis.sock");
        let process = pinned(program, pin.then_some(SERVER_CPU))
            .args(["--bind", HOST, "--port", &port.to_string(), "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory.path())
            .args(["--save", "", "--appendonly", "no", "--maxclients", MAX_CLIENTS, "--loglevel", "warning"])
            .args(if role == Role::ClusterNode { CLUSTER_OPTIONS } else { &[] })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;

        let mut server = Self {
            process,
            port,
            tcp: Address::Tcp { host: HOST.to_owned(), port },
            unix: Address::Unix(socket),
            version: String::new(),
            redis_benchmark: redis_benchmark_beside(program),
            _directory: directory,
        };
        let mut admin = server.wait_until_up()?;
        server.version = admin.info("server", "redis_version")?;
        if role == Role::Alone {
            data::seed(&mut admin, Workload::string_sizes())?;
        }
        Ok(server)
    }

    /// The address to reach it by over TCP.
    pub(super) fn tcp(&self) -> &Address {
        &self.tcp
    }

    /// The address of its unix socket.
    pub(super) fn unix(&self) -> &Address {
        &self.unix
    }

    /// Its host and port.
    pub(super) fn host_and_port(&self) -> (String, u16) {
        (HOST.to_owned(), self.port)
    }

    /// Its process.
    pub(super) fn process(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.process.id().try_into()?))
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The redis-benchmark of the same installation.
    pub(super) fn redis_benchmark(&self) -> &Path {
        &self.redis_benchmark
    }

    fn wait_until_up(&mut self) -> Result<Admin> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            if let Ok(mut admin) = Admin::connect(&self.unix)
                && admin.command(&["PING"])? == Reply::Status("PONG".to_owned())
            {
                return Ok(admin);
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("no answer within {UP_WITHIN:?}");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing worth saving; an error means that it is gone already.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// A port that nobody listens on; for a node of a cluster one whose bus port is free as well.
fn free_port(role: Role) -> Result<u16> {
    for _ in 0..PORT_ATTEMPTS {
        let port = TcpListener::bind((HOST, 0))?.local_addr()?.port();
        let bus = port.checked_add(BUS_PORT_OFFSET);
        if role == Role::Alone || bus.is_some_and(|bus| TcpListener::bind((HOST, bus)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no free port with another {BUS_PORT_OFFSET} above it")
}

/// The redis-benchmark in the directory of the server if there is one, or else in the path.
fn redis_benchmark_beside(server: &Path) -> PathBuf {
    let name = "redis-benchmark";
    let beside = server.parent().map(|directory| directory.join(name));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}
