//! A simulated edge: the connections, the worker and the heartbeat of an agent, with a handler of our own instead of a
//! process, and without a ledger.

use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Result;
use romaine::{Client, Config, Script, Value};
use romaine_edge::EdgeId;
use romaine_edge::agent::{BLOCK, frugal_liveness};
use romaine_queue::{Handler, Queue, Worker};
use tokio::task::JoinSet;

/// The agent's default.
const HEARTBEAT: Duration = Duration::from_secs(30);

static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../../../crates/romaine-edge/scripts/beat.lua")));

/// Edges that connect at the same time.
const TOGETHER: usize = 100;

/// One of them. It ends when it is dropped.
#[derive(Debug)]
struct Edge {
    number: usize,
    client: Client,
    worker: Worker,
}

/// Some of them, and the one task that beats for them all: in an agent the heartbeat is no task of its own either.
#[derive(Debug)]
pub(crate) struct Edges {
    edges: Vec<Edge>,
    _beats: JoinSet<()>,
}

/// What an edge says and asks over.
#[derive(Debug, Clone)]
enum From {
    /// A connection of its own, as in the field.
    Url(String),
    /// A neighbour's connection: where files are too few for one each. It still waits for its bell on one of its own.
    Neighbour(Client),
}

impl Edge {
    async fn start(from: From, number: usize, handler: impl Handler) -> Result<Self> {
        let id: EdgeId = id(number).parse()?;
        let client = match from {
            From::Url(url) => Client::connect(Config::from_url(&url)?.liveness(frugal_liveness())).await?,
            From::Neighbour(client) => client,
        };
        let worker = Queue::new(&client, &id.queue())?
            .worker(handler)
            .name(id.as_str())
            .concurrency(1)
            .lease(HEARTBEAT * 2)
            .block(BLOCK)
            .start()?;
        Ok(Self { number, client, worker })
    }

    /// Whether it has waited for its bell yet.
    fn has_waited(&self) -> bool {
        self.worker.stats().waits > 0
    }

    /// Connections it has lost.
    fn reconnects(&self) -> u64 {
        self.client.health().borrow().connections.saturating_sub(1)
    }
}

impl Edges {
    /// Connections that were lost.
    pub(crate) fn reconnects(&self) -> u64 {
        self.edges.iter().map(Edge::reconnects).sum()
    }
}

/// The id of the edge of this number.
pub(crate) fn id(number: usize) -> String {
    format!("edge-{number:05}")
}

/// Starts edges of these numbers and waits until each waits for its bell.
pub(crate) async fn start<H: Handler + Clone>(url: &str, numbers: Range<usize>, handler: H) -> Result<Edges> {
    start_from(numbers.map(|number| (number, From::Url(url.to_owned()))), handler).await
}

impl Edges {
    /// The same, each with one connection: it speaks over that of one of these edges.
    pub(crate) async fn start_beside<H: Handler + Clone>(&self, numbers: Range<usize>, handler: H) -> Result<Self> {
        let neighbours = self.edges.iter().map(|edge| From::Neighbour(edge.client.clone()));
        start_from(numbers.zip(neighbours), handler).await
    }
}

async fn start_from<H: Handler + Clone>(all: impl Iterator<Item = (usize, From)>, handler: H) -> Result<Edges> {
    let (mut starting, mut edges) = (JoinSet::new(), Vec::new());
    for (number, from) in all {
        if starting.len() >= TOGETHER
            && let Some(started) = starting.join_next().await
        {
            edges.push(started??);
        }
        let handler = handler.clone();
        starting.spawn(async move { Edge::start(from, number, handler).await });
    }
    while let Some(started) = starting.join_next().await {
        edges.push(started??);
    }
    while !edges.iter().all(Edge::has_waited) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let hearts = edges.iter().map(|edge| (edge.client.clone(), edge.number)).collect();
    let mut beats = JoinSet::new();
    beats.spawn(beat(hearts));
    Ok(Edges { edges, _beats: beats })
}

/// The heartbeats of all, each every 30 s, spread over that time, with the fields an agent reports.
async fn beat(hearts: Vec<(Client, usize)>) {
    let pause = HEARTBEAT / u32::try_from(hearts.len().max(1)).unwrap_or(u32::MAX);
    let mut ticks = tokio::time::interval(pause);
    loop {
        for (client, number) in &hearts {
            ticks.tick().await;
            // An edge whose hub is away goes on.
            let _beaten: romaine::Result<Value> = beat_once(client, *number).await;
        }
    }
}

async fn beat_once(client: &Client, number: usize) -> romaine::Result<Value> {
    let id = id(number);
    let keys = [format!("edge:{{edge:{id}}}:session"), format!("edge:{{edge:{id}}}:state")];
    let nonce = format!("{number:016x}");
    let lease = (HEARTBEAT * 3).as_millis().to_string();
    let arguments = [
        nonce.as_str(),
        "",
        &lease,
        "simulated",
        "promise",
        "30000",
        "left",
        "0",
        "version",
        "0.1.0",
        "host",
        "simulated",
        "labels",
        "region=kr",
        "health",
        "-",
        "checks",
        "[]",
        "image",
        "",
        "generation",
        "0",
        "tried",
        "0",
        "tried_progress",
        "",
        "tried_attempt",
        "0",
        "tried_error",
        "",
        "running",
        "",
        "outbox",
        "0",
        "reconnects",
        "0",
    ];
    client.script(&BEAT, &keys[..], &arguments[..]).await
}
