//! A real server that lives as long as the test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A server on a port and in a directory of its own; killed on drop.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    /// Kept open: the server goes on writing its log there.
    _log: BufReader<ChildStdout>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts `redis-server`, or what `ROMAINE_REDIS_SERVER` names, and waits until it takes connections.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        // Another process may take the free port before the server does: then the server ends, and the next one is tried.
        (0..5)
            .find_map(|_| Self::try_start(settings))
            .expect("no redis-server came up; set ROMAINE_REDIS_SERVER to its path")
    }

    fn try_start(settings: &[&str]) -> Option<Self> {
        let program = std::env::var("ROMAINE_REDIS_SERVER").unwrap_or_else(|_unset| "redis-server".to_owned());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(&program)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args([
                "--enable-debug-command",
                "yes",
                "--latency-monitor-threshold",
                "1",
                "--slowlog-log-slower-than",
                "0",
            ])
            .args(settings)
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 {
            if line.contains("eady to accept connections") {
                return Some(Self { child, port, _log: log, _dir: dir });
            }
            line.clear();
        }
        child.wait().unwrap();
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
