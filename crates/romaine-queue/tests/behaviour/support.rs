//! What the tests share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use romaine::{Backoff, Client, Config, Liveness};
use romaine_faultlab::{Server, eventually};
use romaine_queue::{Failure, Job, Queue, Worker, WorkerBuilder};

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn config(address: SocketAddr) -> Config {
    Config::new(address.ip().to_string(), address.port())
        .backoff(Backoff::Constant { delay: Duration::from_millis(20) })
        .liveness(Liveness::fast())
        .connect_timeout(Duration::from_millis(500))
}

pub(crate) async fn client(server: &Server) -> Client {
    Client::connect(config(server.address())).await.expect("the server is there")
}

/// A server, and a queue on it.
pub(crate) async fn queue() -> (Server, Queue) {
    let server = Server::start().await.unwrap();
    let queue = Queue::new(&client(&server).await, "test").unwrap();
    (server, queue)
}

#[expect(clippy::disallowed_methods, reason = "what is promised in seconds is measured in seconds")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Which jobs ran, how often.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<BTreeMap<String, usize>>>);

impl Runs {
    pub(crate) fn note(&self, job: &Job) {
        self.note_id(job.id());
    }

    pub(crate) fn note_id(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// How many different jobs.
    pub(crate) fn jobs(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn of(&self, id: &str) -> usize {
        self.0.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub(crate) fn most(&self) -> usize {
        self.0.lock().unwrap().values().copied().max().unwrap_or(0)
    }

    pub(crate) async fn wait_for(&self, jobs: usize) {
        eventually(PATIENCE, "all jobs to run", async || self.jobs() >= jobs).await.unwrap();
    }
}

/// A worker with short times, that notes what it runs and is done at once.
pub(crate) fn quick(queue: &Queue, runs: &Runs) -> WorkerBuilder {
    let runs = runs.clone();
    short(queue.worker(move |job: Job| {
        runs.note(&job);
        async { Ok::<_, Failure>(()) }
    }))
}

/// Short times.
pub(crate) fn short(worker: WorkerBuilder) -> WorkerBuilder {
    worker
        .lease(Duration::from_millis(1_500))
        .block(Duration::from_secs(1))
        .backoff(Backoff::Constant { delay: Duration::from_millis(20) })
        .cancel_grace(Duration::from_millis(200))
        .shutdown_grace(Duration::from_secs(5))
}

/// Waits until nothing is left to be done.
pub(crate) async fn until_empty(queue: &Queue) {
    until_empty_within(PATIENCE, queue).await;
}

/// The same, where leases that last have to run out first.
pub(crate) async fn until_empty_within(patience: Duration, queue: &Queue) {
    let empty = eventually(patience, "the queue to be empty", async || {
        queue.status().await.is_ok_and(|status| status.is_empty())
    });
    if let Err(error) = empty.await {
        panic!("{error:#}: {:#?}", queue.status().await);
    }
}

/// Nothing of a finished queue stays: no record, state, lease or key.
pub(crate) async fn nothing_stays(server: &Server, queue: &Queue) {
    let prefix = format!("rq:{{{}}}:", queue.name());
    for key in ["j", "s", "w0", "w1", "w2", "d", "l", "x", "u", "c", "e"] {
        let key = format!("{prefix}{key}");
        let left = server.command(&["EXISTS", &key]).await.unwrap();
        assert_eq!(left.as_int(), Some(0), "{key} stays");
    }
}

pub(crate) async fn end(worker: Worker) -> romaine_queue::WorkerStats {
    worker.shutdown().await.unwrap()
}
