//! What the tests share.

use std::process::Stdio;
use std::time::Duration;

use romaine::{Client, Config};
use romaine_faultlab::Server;
use romaine_queue::Queue;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and a queue on it.
pub(crate) async fn queue(name: &str) -> (Server, Queue) {
    let server = Server::start().await.unwrap();
    let address = server.address();
    let client = Client::connect(Config::new(address.ip().to_string(), address.port())).await.unwrap();
    let queue = Queue::new(&client, name).unwrap();
    (server, queue)
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_romaine"));
    command.arg("queue").args(arguments).env("REDIS_URL", url).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `romaine queue` to its end, with this to read: its status, and what it said.
pub(crate) async fn fed(url: &str, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = command(url, arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

/// The same with nothing to read.
pub(crate) async fn run(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    fed(url, arguments, "").await
}

/// What it says as JSON, with its status.
pub(crate) async fn json(url: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, text) = run(url, &[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// `romaine queue` in the background.
pub(crate) struct Running {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    pub(crate) errors: Lines<BufReader<ChildStderr>>,
}

impl Running {
    pub(crate) fn start(url: &str, arguments: &[&str]) -> Self {
        let mut child = command(url, arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, errors }
    }

    /// The next line with this in it.
    pub(crate) async fn says(&mut self, what: &str) -> String {
        let said = async {
            loop {
                let line = self.out.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended before {what}"));
                if line.contains(what) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("it does not say {what}"))
    }

    /// Told to end, it ends.
    pub(crate) async fn end(mut self) -> Option<i32> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}
