//! What the tests share.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use romaine::{Client, Config};
use romaine_faultlab::{Namespace, Server, eventually};
use romaine_queue::Queue;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const PROGRAM: &str = env!("CARGO_BIN_EXE_romaine");

/// An edge server: a directory for its handler and ledger, and its agent's process.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) id: String,
    dir: PathBuf,
    hub: String,
    options: Vec<String>,
    namespace: Option<Namespace>,
    agent: Option<Child>,
}

impl Edge {
    /// Not started yet. The handler is a shell script that runs in the edge's directory.
    pub(crate) fn new(dir: &Path, id: &str, hub: &str, handler: &str) -> Self {
        let dir = dir.join(id);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("handler"), format!("cd {}\n{handler}\n", dir.display())).unwrap();
        Self { id: id.into(), dir, hub: hub.into(), options: Vec::new(), namespace: None, agent: None }
    }

    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    pub(crate) fn inside(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    pub(crate) fn ledger(mut self, path: &Path) -> Self {
        self.options.extend(["--ledger".to_owned(), path.display().to_string()]);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts its agent, with short times.
    pub(crate) fn start(&mut self) {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", &namespace.name(), PROGRAM]);
                ip
            }
            None => Command::new(PROGRAM),
        };
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.args(["agent", "--id", &self.id]);
        let ledger = self.path("ledger").display().to_string();
        let handler = format!("sh {}", self.path("handler").display());
        let short = [
            ("--exec", handler.as_str()),
            ("--heartbeat", "300ms"),
            ("--lease", "2s"),
            ("--backoff", "constant:300ms"),
            ("--grace", "2s"),
            ("--ledger", &ledger),
        ];
        for (name, value) in short {
            if !self.options.iter().any(|option| option == name) {
                command.args([name, value]);
            }
        }
        command.args(&self.options).env("ROMAINE_HUB", &self.hub);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    pub(crate) fn started(mut self) -> Self {
        self.start();
        self
    }

    /// Power off, as far as the agent is concerned.
    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let pid = self.agent.as_ref().and_then(|agent| i32::try_from(agent.id()).ok()).and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let agent = self.agent.as_mut().unwrap();
        let waited = eventually(PATIENCE, "the agent to end", async || agent.try_wait().unwrap()).await;
        self.agent = None;
        waited.unwrap_or_else(|error| panic!("{error:#}: {}", self.log()))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the agent has said this.
    pub(crate) async fn says(&self, what: &str) {
        let said = eventually(PATIENCE, what, async || self.log().contains(what)).await;
        said.unwrap_or_else(|error| panic!("{error:#}; it said\n{}", self.log()));
    }

    /// Lines of a file that its handler wrote.
    pub(crate) fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count()
    }

    pub(crate) async fn wait_for_lines(&self, name: &str, count: usize) {
        let waited = eventually(PATIENCE, "the handler", async || self.lines(name) >= count).await;
        waited.unwrap_or_else(|error| panic!("{error:#}; the agent said\n{}", self.log()));
    }

    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _gone = agent.kill();
            let _reaped = agent.wait();
        }
    }
}

pub(crate) async fn client(server: &Server) -> Client {
    let address = server.address();
    Client::connect(Config::new(address.ip().to_string(), address.port())).await.unwrap()
}

pub(crate) async fn queue(server: &Server, edge: &str) -> Queue {
    Queue::new(&client(server).await, &format!("edge:{edge}")).unwrap()
}

/// Runs the program to its end.
pub(crate) async fn romaine(hub: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).env("ROMAINE_HUB", hub).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

/// The same in the background.
pub(crate) fn romaine_spawned(hub: &str, arguments: &[&str]) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).env("ROMAINE_HUB", hub).kill_on_drop(true).stdout(Stdio::null()).spawn().unwrap()
}

/// The same, with somebody who reads what it says, and may stop to.
pub(crate) fn romaine_piped(hub: &str, arguments: &[&str]) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(arguments).env("ROMAINE_HUB", hub).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) async fn romaine_json(hub: &str, arguments: &[&str]) -> Value {
    let (code, text) = romaine(hub, arguments).await;
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until so many edges are online.
pub(crate) async fn online(hub: &str, count: usize) {
    let waited = eventually(PATIENCE, "edges to come online", async || {
        let fleet = romaine_json(hub, &["fleet", "--json"]).await;
        fleet.as_array().unwrap().iter().filter(|edge| edge["online"] == true).count() == count
    });
    if let Err(error) = waited.await {
        panic!("{error:#}: {}", romaine(hub, &["fleet"]).await.1);
    }
}

pub(crate) fn image(digit: char) -> String {
    format!("registry/app@sha256:{}", digit.to_string().repeat(64))
}

/// What happened to the jobs of an edge, as the hub has it.
pub(crate) async fn phases(server: &Server, edge: &str) -> Vec<String> {
    let key = format!("edge:{{edge:{edge}}}:log");
    let client = client(server).await;
    let entries: Vec<romaine::replies::StreamEntry> =
        client_issue(&client, romaine::cmd("XRANGE").arg(key).arg("-").arg("+")).await;
    entries
        .iter()
        .map(|entry| serde_json::from_slice::<Value>(entry.field("event").unwrap()).unwrap())
        .map(|event| event["phase"].as_str().unwrap().to_owned())
        .collect()
}

async fn client_issue<R: romaine::FromValue>(client: &Client, command: romaine::Cmd<R>) -> R {
    use romaine::commands::*;
    client.issue(command).await.unwrap()
}
