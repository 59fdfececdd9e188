//! romaine-queue, with its defaults: a lease of 30 s, renewed every 5 s, the id of a job that is done remembered for a
//! minute. A job that is done is removed.

use std::sync::Arc;

use anyhow::Result;
use romaine::Client;
use romaine_queue::{Failure, Job, NewJob, Queue, Worker};

use super::{Contestant, Progress, QUEUE};

/// A queue.
pub(super) struct Romaine {
    url: String,
    queue: Queue,
}

impl Contestant for Romaine {
    type Workers = Vec<Worker>;

    async fn connect(url: &str) -> Result<Self> {
        let queue = Queue::new(&Client::connect(url).await?, QUEUE)?;
        Ok(Self { url: url.to_owned(), queue })
    }

    async fn enqueue(&mut self, jobs: usize) -> Result<()> {
        self.queue.producer().enqueue_all((0..jobs).map(job)).await?;
        Ok(())
    }

    async fn push(&mut self, number: usize) -> Result<()> {
        self.queue.producer().enqueue(job(number)).await?;
        Ok(())
    }

    async fn start(&self, workers: usize, concurrency: usize, progress: &Arc<Progress>) -> Result<Self::Workers> {
        let mut running = Vec::new();
        for _ in 0..workers {
            let queue = Queue::new(&Client::connect(self.url.as_str()).await?, QUEUE)?;
            let progress = progress.clone();
            let handler = move |job: Job| {
                progress.start(number(&job));
                std::future::ready(Ok::<_, Failure>(()))
            };
            running.push(queue.worker(handler).concurrency(concurrency).start()?);
        }
        Ok(running)
    }

    async fn is_drained(&mut self, done: usize) -> Result<bool> {
        let status = self.queue.status().await?;
        Ok(status.waiting == 0 && status.leased == 0 && usize::try_from(status.totals.done)? == done)
    }

    async fn stop(workers: Self::Workers) -> Result<()> {
        for worker in workers {
            worker.shutdown().await?;
        }
        Ok(())
    }
}

fn job(number: usize) -> NewJob {
    NewJob::new("empty", number.to_string())
}

fn number(job: &Job) -> Option<usize> {
    std::str::from_utf8(job.payload()).ok()?.parse().ok()
}
