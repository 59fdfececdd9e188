//! How a server is configured.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::admin;
use crate::claim::Port;
use crate::namespace::Namespace;
use crate::server::{Plan, Server};
use crate::tls_files::TlsFiles;

/// Between finding a port free and the server's binding it, another process may take it.
const START_ATTEMPTS: usize = 3;

/// Files in memory, on Linux.
const MEMORY: &str = "/dev/shm";

/// From how many free bytes on.
const MEMORY_MIN: u64 = 1 << 30;

/// The configuration of a [`Server`].
///
/// The defaults: no persistence, the loopback only, no protected mode, `DEBUG` allowed. Lines given with
/// [`ServerBuilder::config_line`] come last in the file, and so win.
#[derive(Debug, Clone, Default)]
pub struct ServerBuilder {
    lines: Vec<String>,
    tls: Option<TlsFiles>,
    password: Option<String>,
    acl: Vec<String>,
    program: Option<PathBuf>,
    is_persistent: bool,
    namespace: Option<Namespace>,
    port: Option<u16>,
    ip: Option<IpAddr>,
    mode: Mode,
}

/// What the program is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Data,
    ClusterNode {
        node_timeout: Duration,
    },
    Sentinel,
}

impl ServerBuilder {
    /// Adds a line to the configuration file, such as `maxclients 10`.
    #[must_use]
    pub fn config_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Answers TLS too, on a second port. Client certificates are checked when given; `tls-auth-clients yes` as a
    /// configuration line makes them mandatory.
    #[must_use]
    pub fn tls(mut self, files: &TlsFiles) -> Self {
        self.tls = Some(files.clone());
        self
    }

    /// The default user's password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a user: what follows `user` in the configuration, such as `alice on >secret ~* +@all`.
    #[must_use]
    pub fn acl(mut self, user: impl Into<String>) -> Self {
        self.acl.push(user.into());
        self
    }

    /// The program to run. Otherwise it is what the environment's `ROMAINE_REDIS_SERVER` names, or `redis-server`.
    #[must_use]
    pub fn binary(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Keeps every write in an append-only file, synced before the reply, so that the data outlives a kill.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.is_persistent = true;
        self
    }

    /// Runs the server inside a namespace, where packets can be lost.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// This port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Another address of the loopback (any of 127.0.0.0/8) instead of 127.0.0.1, so that two servers can have the same
    /// port, as behind a name that moves from one to the other.
    #[must_use]
    pub fn ip(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = Some(ip.into());
        self
    }

    /// A node of a cluster, which knows nobody yet, with a claimed port for the bus. [`Cluster`](crate::Cluster) joins
    /// nodes.
    #[must_use]
    pub fn cluster_node(mut self, node_timeout: Duration) -> Self {
        self.mode = Mode::ClusterNode { node_timeout };
        self
    }

    /// A Sentinel, which watches what its configuration lines say. [`Sentinels`](crate::Sentinels) has whole sets.
    #[must_use]
    pub fn sentinel(mut self) -> Self {
        self.mode = Mode::Sentinel;
        self
    }

    pub(crate) fn given_password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When the program cannot be started, ends at once (the error has the end of its log), or does not answer within
    /// ten seconds.
    ///
    /// # Cancel safety
    ///
    /// A server whose start is given up is killed.
    pub async fn start(self) -> anyhow::Result<Server> {
        let mut attempts = START_ATTEMPTS;
        loop {
            attempts -= 1;
            match self.attempt().await {
                Err(error) if attempts > 0 && self.port.is_none() && is_port_taken(&error) => {}
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self) -> anyhow::Result<Server> {
        let dir = self.directory()?;
        let mut claims = Vec::new();
        let port = match self.port {
            Some(port) => port,
            None => claim_into(&mut claims)?,
        };
        let tls_port = self.tls.as_ref().map(|_| claim_into(&mut claims)).transpose()?;
        let bus_port = match self.mode {
            Mode::ClusterNode { .. } => Some(claim_into(&mut claims)?),
            Mode::Data | Mode::Sentinel => None,
        };
        let program = self.program.clone().unwrap_or_else(default_program);
        let loopback = self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let ip = self.namespace.as_ref().map_or(loopback, Namespace::ip);
        let plan = Plan {
            program,
            ip,
            port,
            tls_port,
            bus_port,
            is_sentinel: self.mode == Mode::Sentinel,
            password: self.password.clone(),
            namespace: self.namespace.clone(),
            _tls: self.tls.clone(),
            _claims: claims,
        };
        let config = self.config(&plan, dir.path())?;
        std::fs::write(dir.path().join("redis.conf"), config)?;
        Server::launch(plan, dir).await
    }

    /// A server that is to persist nothing has its directory in memory, where the system has one that any process may
    /// use: a Sentinel and a Cluster's node write their state down with an fsync before they go on, a replica the
    /// primary's data, and a disk that is busy with something else would freeze them for as long, which is a fault that
    /// nobody asked for.
    fn directory(&self) -> anyhow::Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("romaine-redis-");
        let memory = Path::new(MEMORY);
        let in_memory = (!self.is_persistent && has_room(memory)).then(|| builder.tempdir_in(memory).ok()).flatten();
        in_memory.map_or_else(|| builder.tempdir(), Ok).context("no directory for the server")
    }

    fn config(&self, plan: &Plan, dir: &Path) -> anyhow::Result<String> {
        let bind = if plan.namespace.is_some() { "0.0.0.0".to_owned() } else { plan.ip.to_string() };
        let mut out = format!(
            "bind {bind}\nport {}\nunixsocket {socket}\nunixsocketperm 700\ndir {dir}\n\
             daemonize no\nprotected-mode no\nloglevel notice\n",
            plan.port,
            socket = dir.join("redis.sock").display(),
            dir = dir.display(),
        );
        if self.mode != Mode::Sentinel {
            self.data_lines(plan, &mut out)?;
        }
        if let Some(files) = &self.tls {
            writeln!(out, "tls-port {}", plan.tls_port.context("TLS without a port")?)?;
            writeln!(out, "tls-ca-cert-file {}", files.ca_cert().display())?;
            writeln!(out, "tls-cert-file {}", files.server_cert().display())?;
            writeln!(out, "tls-key-file {}", files.server_key().display())?;
            out.push_str("tls-auth-clients optional\n");
        }
        if let Some(password) = &self.password {
            writeln!(out, "requirepass \"{}\"", password.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        writeln!(out, "user {user} on >{user} ~* &* +@all", user = admin::USER)?;
        for user in &self.acl {
            writeln!(out, "user {user}")?;
        }
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        Ok(out)
    }

    /// What only a server with data understands.
    fn data_lines(&self, plan: &Plan, out: &mut String) -> anyhow::Result<()> {
        // Version 7 knows the directive and needs it; older ones do not know it and allow DEBUG.
        let is_modern = major_version(&plan.program)? >= 7;
        if is_modern {
            out.push_str("enable-debug-command yes\n");
        }
        out.push_str(if self.is_persistent {
            "save \"\"\nappendonly yes\nappendfsync always\n"
        } else {
            "save \"\"\nappendonly no\n"
        });
        if let Mode::ClusterNode { node_timeout } = self.mode {
            writeln!(out, "cluster-enabled yes\ncluster-config-file nodes.conf")?;
            writeln!(out, "cluster-node-timeout {}", node_timeout.as_millis())?;
            // Older ones know no such line: theirs is the port + 10,000.
            if let (Some(port), true) = (plan.bus_port, is_modern) {
                writeln!(out, "cluster-port {port}")?;
            }
        }
        Ok(())
    }
}

/// Whether what the servers of many tests write finds room there: containers have 64 MiB of it at times.
fn has_room(dir: &Path) -> bool {
    let free = rustix::fs::statvfs(dir).map(|room| room.f_bavail.saturating_mul(room.f_frsize));
    free.is_ok_and(|free| free >= MEMORY_MIN)
}

fn claim_into(claims: &mut Vec<Port>) -> anyhow::Result<u16> {
    let port = Port::claim()?;
    let number = port.number();
    claims.push(port);
    Ok(number)
}

pub(crate) fn default_program() -> PathBuf {
    std::env::var_os("ROMAINE_REDIS_SERVER").map_or_else(|| "redis-server".into(), Into::into)
}

/// From `Redis server v=7.0.15 sha=…`, or Valkey's line, which is alike.
fn major_version(program: &Path) -> anyhow::Result<u32> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}: is Redis installed?", program.display()))?;
    let line = String::from_utf8_lossy(&output.stdout);
    let version = line.split_once("v=").and_then(|(_, rest)| rest.split('.').next());
    let major = version.and_then(|major| major.parse().ok());
    major.with_context(|| format!("`{} --version` does not name a version: {line:?}", program.display()))
}

fn is_port_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}
