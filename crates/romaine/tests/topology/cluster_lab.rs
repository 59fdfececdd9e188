//! What the tests of Clusters share: keys by node, a crowd of callers that checks every reply, and a Cluster of scripted
//! nodes for what real ones cannot be brought to say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Error};
use romaine_faultlab::{Cluster, ScriptedServer, Server, eventually, slot_of};
use tokio::task::JoinSet;

use crate::support::{PATIENCE, config, within};

/// By this name the servers know the connections of a test's client.
pub(crate) const NAME: &str = "under-test";

pub(crate) fn named(url: &str) -> Config {
    config(url).client_name(NAME).unwrap()
}

pub(crate) async fn connect_with(config: Config) -> Client {
    within(PATIENCE, "the connection", Client::connect(config)).await.expect("the servers are there")
}

/// How many connections of the client a node has.
pub(crate) async fn connections(node: &Server) -> usize {
    let list = node.command(&["CLIENT", "LIST"]).await.unwrap().text();
    list.lines().filter(|line| line.contains(&format!("name={NAME} "))).count()
}

pub(crate) async fn wait_for_connections(node: &Server, count: usize) {
    let what = format!("{count} connections at {}", node.address());
    eventually(PATIENCE, &what, async || connections(node).await == count).await.unwrap();
}

/// How often a node has run a command since its start.
pub(crate) async fn calls(node: &Server, command: &str) -> u64 {
    let stats = node.command(&["INFO", "commandstats"]).await.unwrap().text();
    let line =
        stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// A key, starting with `prefix`, that each primary serves.
pub(crate) async fn key_of_each(lab: &Cluster, prefix: &str) -> Vec<(Arc<Server>, String)> {
    let owners = lab.owners().await;
    let mut keys: HashMap<_, (Arc<Server>, String)> = HashMap::new();
    for n in 0..1_000 {
        let key = format!("{prefix}{n}");
        if let Some(owner) = owners.get(&slot_of(&key)) {
            keys.entry(owner.address()).or_insert_with(|| (owner.clone(), key));
        }
    }
    let mut keys: Vec<_> = keys.into_values().collect();
    keys.sort_by_key(|(node, _)| node.address());
    keys
}

/// Another primary than that of `key`.
pub(crate) async fn other_primary(lab: &Cluster, key: &str) -> Arc<Server> {
    let owner = lab.primary_of(key).await.unwrap();
    lab.primaries().await.into_iter().find(|other| other.address() != owner.address()).unwrap()
}

/// What a crowd found wrong, and the errors it was told.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) wrong: Vec<String>,
    pub(crate) errors: Vec<Error>,
}

/// Callers that write and read keys of their own, and check each reply: none may be another's.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: JoinSet<Findings>,
}

impl Crowd {
    pub(crate) fn start(client: &Client, callers: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            tasks.spawn(caller_of_crowd(client.clone(), caller, stop.clone(), done.clone()));
        }
        Self { stop, done, tasks }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits for so many calls more.
    pub(crate) async fn goes_on(&self, calls: u64) {
        let until = self.done() + calls;
        eventually(PATIENCE, "the crowd's calls", async || self.done() >= until).await.unwrap();
    }

    pub(crate) async fn stop(mut self) -> Findings {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Findings::default();
        while let Some(found) = within(PATIENCE, "the crowd's end", self.tasks.join_next()).await {
            let found = found.unwrap();
            all.wrong.extend(found.wrong);
            all.errors.extend(found.errors);
        }
        all
    }
}

async fn caller_of_crowd(client: Client, caller: usize, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Findings {
    let mut found = Findings::default();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("crowd:{caller}:{}", n % 40);
        // A counter that is incremented whatever becomes of it: an INCR cannot be repeated in silence.
        let call = async {
            client.incr(format!("count:{caller}:{}", n % 40)).await?;
            client.set(&*key, format!("{key}={n}")).await?;
            client.get::<String>(&*key).await
        };
        match call.await {
            Ok(Some(value)) if value.starts_with(&format!("{key}=")) => {}
            // A failover may lose what was just written.
            Ok(None) => {}
            Ok(Some(other)) => found.wrong.push(format!("{key}: {other}")),
            Err(error) => found.errors.push(error),
        }
        done.fetch_add(1, Ordering::Relaxed);
        // The load of many callers, not that of a busy loop.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    found
}

/// What a scripted node answers; `None`: what such a node usually answers. An empty answer is silence.
pub(crate) type Answer = dyn Fn(&Fake, usize, &[String]) -> Option<String> + Send + Sync;

/// What the scripted nodes know of each other.
#[derive(Default)]
pub(crate) struct Fake {
    ports: Mutex<Vec<u16>>,
    /// First slot, last slot, node.
    owners: Mutex<Vec<(u16, u16, usize)>>,
    pub(crate) count: AtomicU64,
    /// The connection that is being answered.
    at: AtomicUsize,
}

impl Fake {
    pub(crate) fn port(&self, node: usize) -> u16 {
        self.ports.lock().unwrap()[node]
    }

    /// Clients are told another port, of what stands before the node.
    pub(crate) fn announce(&self, node: usize, port: u16) {
        self.ports.lock().unwrap()[node] = port;
    }

    pub(crate) fn set_owners(&self, owners: &[(u16, u16, usize)]) {
        *self.owners.lock().unwrap() = owners.to_vec();
    }

    /// Counts, from 0.
    pub(crate) fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst)
    }

    /// The number of the connection that is being answered, from 0.
    pub(crate) fn connection(&self) -> usize {
        self.at.load(Ordering::SeqCst)
    }

    fn slots(&self) -> String {
        let owners = self.owners.lock().unwrap().clone();
        let mut text = format!("*{}\r\n", owners.len());
        for (first, last, node) in owners {
            let port = self.port(node);
            text += &format!("*3\r\n:{first}\r\n:{last}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{node:040x}\r\n");
        }
        text
    }

    fn nodes(&self, me: usize) -> String {
        let owners = self.owners.lock().unwrap().clone();
        let mut text = String::new();
        for (node, port) in self.ports.lock().unwrap().iter().enumerate() {
            let flags = if node == me { "myself,master" } else { "master" };
            text += &format!("{node:040x} 127.0.0.1:{port}@1{port} {flags} - 0 0 {} connected", node + 1);
            for (first, last, _) in owners.iter().filter(|(_, _, owner)| *owner == node) {
                text += &format!(" {first}-{last}");
            }
            text.push('\n');
        }
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn usual(&self, me: usize, words: &[String]) -> String {
        match words[0].to_ascii_uppercase().as_str() {
            "CLUSTER" if words[1] == "SLOTS" => self.slots(),
            "CLUSTER" if words[1] == "NODES" => self.nodes(me),
            "PING" => "+PONG\r\n".into(),
            "GET" => format!("+{me}\r\n"),
            "CLIENT" if words[1] == "ID" => ":7\r\n".into(),
            _ => "+OK\r\n".into(),
        }
    }
}

/// A Cluster that says what a test wants. `GET` is answered with the number of the node.
pub(crate) struct FakeCluster {
    pub(crate) nodes: Vec<ScriptedServer>,
    pub(crate) fake: Arc<Fake>,
}

impl FakeCluster {
    pub(crate) async fn start(
        count: usize,
        answer: impl Fn(&Fake, usize, &[String]) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let fake = Arc::new(Fake::default());
        let answer: Arc<Answer> = Arc::new(answer);
        let mut nodes = Vec::new();
        for me in 0..count {
            let (fake, answer) = (fake.clone(), answer.clone());
            let server = ScriptedServer::start(move |mut conn| {
                let (fake, answer) = (fake.clone(), answer.clone());
                async move {
                    conn.greet_resp3().await?;
                    conn.answer_introductions(false);
                    loop {
                        let Ok(command) = conn.next_command().await else { return Ok(()) };
                        let words: Vec<String> =
                            command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                        fake.at.store(conn.index(), Ordering::SeqCst);
                        let reply = answer(&fake, me, &words).unwrap_or_else(|| fake.usual(me, &words));
                        conn.send(reply.as_bytes()).await?;
                    }
                }
            })
            .await
            .unwrap();
            nodes.push(server);
        }
        *fake.ports.lock().unwrap() = nodes.iter().map(ScriptedServer::port).collect();
        let share = 16_384 / count;
        let owners: Vec<(u16, u16, usize)> = (0..count)
            .map(|node| {
                let last = if node + 1 == count { 16_383 } else { (node + 1) * share - 1 };
                (u16::try_from(node * share).unwrap(), u16::try_from(last).unwrap(), node)
            })
            .collect();
        fake.set_owners(&owners);
        Self { nodes, fake }
    }

    pub(crate) fn url(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// The commands that a node was sent, of that name, in short and in the order of its connections.
    pub(crate) fn received(&self, node: usize, name: &str) -> Vec<String> {
        let server = &self.nodes[node];
        let all = (0..server.connections()).flat_map(|connection| server.transcript(connection));
        all.filter(|line| line.split(' ').next() == Some(name)).collect()
    }
}

/// A key whose slot is between these.
pub(crate) fn key_between(first: u16, last: u16) -> String {
    (0..).map(|n| format!("key:{n}")).find(|key| (first..=last).contains(&slot_of(key))).unwrap()
}
