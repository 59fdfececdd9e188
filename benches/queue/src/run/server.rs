//! The redis-server of a run.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";
/// The server must answer within this time.
const UP_WITHIN: Duration = Duration::from_secs(10);
/// Another process may take the free port first.
const ATTEMPTS: usize = 3;

/// A running server without persistence. Stopped when dropped.
pub(super) struct Server {
    process: Child,
    url: String,
    version: String,
    connection: Option<BufReader<TcpStream>>,
    /// Removed at the end.
    _directory: TempDir,
}

impl Server {
    /// Starts `$ROMAINE_REDIS_SERVER`, or the redis-server in the path, on a free port.
    pub(super) fn start() -> Result<Self> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::start_once() {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or_else(|| bail!("not started"), Err).context("starting redis-server")
    }

    fn start_once() -> Result<Self> {
        let program = env::var_os("ROMAINE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let directory = tempfile::Builder::new().prefix("romaine-queue-bench-").tempdir()?;
        let port = TcpListener::bind((HOST, 0))?.local_addr()?.port();
        let process = Command::new(&program)
            .args(["--bind", HOST, "--port", &port.to_string(), "--dir"])
            .arg(directory.path())
            .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let url = format!("redis://{HOST}:{port}");
        let mut server = Self { process, url, version: String::new(), connection: None, _directory: directory };
        server.connection = Some(server.connect(port)?);
        let facts = server.bulk("INFO server")?;
        let version = facts.lines().find_map(|line| line.strip_prefix("redis_version:"));
        server.version = version.context("INFO without redis_version")?.trim().to_owned();
        Ok(server)
    }

    /// Its address.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Removes everything.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.ok("FLUSHALL SYNC")
    }

    fn connect(&mut self, port: u16) -> Result<BufReader<TcpStream>> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            if let Ok(stream) = TcpStream::connect((HOST, port)) {
                stream.set_read_timeout(Some(UP_WITHIN))?;
                return Ok(BufReader::new(stream));
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("it ended at once: {status}");
            }
            ensure!(Instant::now() < deadline, "no answer within {UP_WITHIN:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command that is answered by OK.
    fn ok(&mut self, command: &str) -> Result<()> {
        let line = self.line(command)?;
        ensure!(line == "+OK", "{command}: {line}");
        Ok(())
    }

    /// A command that is answered by a text.
    fn bulk(&mut self, command: &str) -> Result<String> {
        let line = self.line(command)?;
        let length: usize = line.strip_prefix('$').with_context(|| format!("{command}: {line}"))?.parse()?;
        let mut bytes = vec![0; length + 2];
        self.connection.as_mut().context("not connected")?.read_exact(&mut bytes)?;
        Ok(String::from_utf8(bytes)?)
    }

    fn line(&mut self, command: &str) -> Result<String> {
        let connection = self.connection.as_mut().context("not connected")?;
        connection.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing worth saving; an error means that it is gone already.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}
