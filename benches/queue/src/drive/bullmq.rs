//! BullMQ's Rust port, `bullmq-official`. A completed job is removed at once, as the guide recommends for production
//! (<https://docs.bullmq.io/guide/going-to-production>, "Auto-job removal"); the rest are defaults: a lock of 30 s,
//! renewed at half of that.

use std::sync::Arc;

use ::bullmq::{
    BulkJob, Error, Job, Queue, QueueOptions, Worker, WorkerOptions, options::RedisConnectionOptions,
    types::RemoveOnFinish, worker::CancellationToken,
};
use anyhow::Result;
use futures_util::future::try_join_all;
use serde_json::Value;

use super::{Contestant, Progress, QUEUE};

/// Jobs in a call of `add_bulk`, which sends each as a command and waits for them together.
const BULK: usize = 1_000;
/// For the jobs of a worker that is closed. There are none.
const CLOSE_MS: u64 = 2_000;

/// A queue.
pub(super) struct BullMq {
    url: String,
    queue: Queue,
}

impl BullMq {
    fn connection(url: &str) -> RedisConnectionOptions {
        RedisConnectionOptions::new().url(url)
    }
}

impl Contestant for BullMq {
    type Workers = Vec<Worker>;

    async fn connect(url: &str) -> Result<Self> {
        let queue = Queue::with_options(QUEUE, QueueOptions::new().connection(Self::connection(url))).await?;
        Ok(Self { url: url.to_owned(), queue })
    }

    async fn enqueue(&mut self, jobs: usize) -> Result<()> {
        for first in (0..jobs).step_by(BULK) {
            let bulk = (first..jobs.min(first + BULK)).map(|number| BulkJob::new("empty", number)).collect();
            self.queue.add_bulk(bulk).await?;
        }
        Ok(())
    }

    async fn push(&mut self, number: usize) -> Result<()> {
        self.queue.add("empty", number).await?;
        Ok(())
    }

    async fn start(&self, workers: usize, concurrency: usize, progress: &Arc<Progress>) -> Result<Self::Workers> {
        let mut running = Vec::new();
        for _ in 0..workers {
            let progress = progress.clone();
            let handler = move |job: Job, _cancelled: CancellationToken| {
                progress.start(job.data().as_u64().and_then(|number| usize::try_from(number).ok()));
                std::future::ready(Ok::<_, Error>(Value::Null))
            };
            let options = WorkerOptions {
                connection: Self::connection(&self.url),
                concurrency,
                remove_on_complete: Some(RemoveOnFinish::Bool(true)),
                ..WorkerOptions::default()
            };
            running.push(Worker::with_options(QUEUE, handler, options).await?);
        }
        Ok(running)
    }

    async fn is_drained(&mut self, _done: usize) -> Result<bool> {
        let counts = self.queue.get_job_counts().await?;
        Ok(counts.waiting == 0 && counts.active == 0)
    }

    async fn stop(workers: Self::Workers) -> Result<()> {
        try_join_all(workers.iter().map(|worker| worker.close(CLOSE_MS))).await?;
        Ok(())
    }
}
