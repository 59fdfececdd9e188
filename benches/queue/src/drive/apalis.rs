//! apalis with apalis-redis. It keeps the data of jobs that are done; there is no setting for that.
//!
//! - `batch_size` 100 rather than 10: "larger batches can improve throughput" (documentation of `Config::batch_size`).
//! - `concurrency` and `parallelize`, as in the README of apalis.
//! - `lock_tasks`, a lease for each job, is on by default; it "can be turned off for tasks that last shorter than a worker
//!   heartbeat" (documentation of `Config::lock_tasks`), so there is a contestant with it and one without.
//! - `persist_results` stays on: without it nothing is acknowledged at all (`TaskPersistService`, `should_ack`).
//! - `poll_with_interval`: without a strategy an idle worker looks once a heartbeat, which is 30 s. The strategy of
//!   `RedisStorageFactory` waits for a message that `lua/batch_push.lua` never sends, as every job comes with a time to
//!   run at. 100 ms is what apalis-redis 0.7 had by default.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::apalis::prelude::*;
use anyhow::{Context as _, Result, anyhow};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use tokio::task::JoinSet;

use super::{Contestant, Progress, QUEUE};

/// Jobs in a call of `push_bulk`, which sends them in one script.
const BULK: usize = 1_000;
const POLL_EVERY: Duration = Duration::from_millis(100);

/// A storage, with a lease for each job or not.
pub(super) struct Apalis<const LOCKS: bool> {
    url: String,
    storage: RedisStorage<u64>,
    raw: ConnectionManager,
}

fn config(has_locks: bool) -> Config {
    Config::default().queue(QUEUE).batch_size(100).lock_tasks(has_locks)
}

impl<const LOCKS: bool> Contestant for Apalis<LOCKS> {
    type Workers = JoinSet<Result<(), WorkerError>>;

    async fn connect(url: &str) -> Result<Self> {
        let raw = apalis_redis::connect(url).await?;
        let storage = RedisStorage::new(raw.clone()).with_config(config(LOCKS));
        Ok(Self { url: url.to_owned(), storage, raw })
    }

    async fn enqueue(&mut self, jobs: usize) -> Result<()> {
        let numbers: Vec<u64> = (0..u64::try_from(jobs)?).collect();
        for bulk in numbers.chunks(BULK) {
            self.storage.push_bulk(bulk.to_vec()).await.map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }

    async fn push(&mut self, number: usize) -> Result<()> {
        self.storage.push(u64::try_from(number)?).await.map_err(|error| anyhow!("{error}"))
    }

    async fn start(&self, workers: usize, concurrency: usize, progress: &Arc<Progress>) -> Result<Self::Workers> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let progress = progress.clone();
            let handler = move |number: u64| {
                progress.start(usize::try_from(number).ok());
                std::future::ready(Ok::<_, BoxDynError>(()))
            };
            let storage = RedisStorage::<u64>::new(apalis_redis::connect(self.url.as_str()).await?);
            let name = format!("worker-{}-{}", process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
            let worker = WorkerBuilder::new(name)
                .backend(storage.with_config(config(LOCKS)).poll_with_interval(POLL_EVERY))
                .concurrency(concurrency)
                .parallelize(tokio::spawn)
                .build(handler);
            running.spawn(worker.run());
        }
        Ok(running)
    }

    async fn failure(workers: &mut Self::Workers) -> anyhow::Error {
        match workers.join_next().await {
            Some(Ok(Err(error))) => anyhow!("a worker ended: {error:?}"),
            other => anyhow!("a worker ended: {other:?}"),
        }
    }

    async fn is_drained(&mut self, done: usize) -> Result<bool> {
        let mut command = redis::cmd("SCARD");
        let acknowledged: usize =
            command.arg(config(LOCKS).done_jobs_set()).query_async(&mut self.raw).await.context("SCARD")?;
        Ok(acknowledged == done)
    }

    async fn stop(mut workers: Self::Workers) -> Result<()> {
        workers.shutdown().await;
        Ok(())
    }
}
