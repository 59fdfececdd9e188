//! One measurement of one contestant in Rust. What it finds it prints, one JSON object a line.

mod apalis;
mod bullmq;
mod progress;
mod romaine;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use self::progress::Progress;

/// The name of the queue.
const QUEUE: &str = "bench";
/// How often it is asked whether everything is acknowledged, once every handler has run.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A driver that does not end within this time has lost something.
const PATIENCE: Duration = Duration::from_secs(180);
/// So long a worker is given to fall idle before the first latency is taken.
const SETTLE: Duration = Duration::from_millis(500);

/// A measurement. Drivers in other languages take the same arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which library.
    #[arg(long)]
    library: Library,
    /// The server, `redis://HOST:PORT`.
    #[arg(long)]
    url: String,
    /// What to measure.
    #[arg(long)]
    measure: Measure,
    /// How many jobs.
    #[arg(long)]
    jobs: usize,
    /// How many jobs are enqueued and done before, unmeasured (drain).
    #[arg(long, default_value_t = 0)]
    warm_up: usize,
    /// How many workers (drain).
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Jobs at the same time in each worker.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Jobs pushed per second (latency).
    #[arg(long, default_value_t = 50)]
    rate: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Library {
    Romaine,
    Bullmq,
    Apalis,
    ApalisNoLocks,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Measure {
    /// Enqueue all, then start the workers and wait until all are acknowledged.
    Drain,
    /// From before the push to the start of the handler, with an idle worker.
    Latency,
}

/// What a library has to be able to do.
trait Contestant: Sized {
    /// The workers that run.
    type Workers;

    /// A producer's end.
    async fn connect(url: &str) -> Result<Self>;
    /// Brings in many jobs, the way the library is fastest at. The payload of each is a number.
    async fn enqueue(&mut self, jobs: usize) -> Result<()>;
    /// Brings in one job, with this number as its payload.
    async fn push(&mut self, number: usize) -> Result<()>;
    /// Starts workers, each with a connection of its own. Their handler tells `progress`, and no more.
    async fn start(&self, workers: usize, concurrency: usize, progress: &Arc<Progress>) -> Result<Self::Workers>;
    /// Why a worker ended by itself, once one does.
    async fn failure(_workers: &mut Self::Workers) -> anyhow::Error {
        std::future::pending().await
    }
    /// Whether the server has `done` jobs acknowledged and nothing left to do.
    async fn is_drained(&mut self, done: usize) -> Result<bool>;
    /// Stops workers.
    async fn stop(workers: Self::Workers) -> Result<()>;
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.library {
            Library::Romaine => measure::<romaine::Romaine>(arguments).await,
            Library::Bullmq => measure::<bullmq::BullMq>(arguments).await,
            Library::Apalis => measure::<apalis::Apalis<true>>(arguments).await,
            Library::ApalisNoLocks => measure::<apalis::Apalis<false>>(arguments).await,
        }
    })
}

async fn measure<C: Contestant>(arguments: &Arguments) -> Result<()> {
    let measured = async {
        match arguments.measure {
            Measure::Drain => drain::<C>(arguments).await,
            Measure::Latency => latency::<C>(arguments).await,
        }
    };
    tokio::time::timeout(PATIENCE, measured).await.context("not all jobs were done in time")?
}

async fn drain<C: Contestant>(arguments: &Arguments) -> Result<()> {
    let mut contestant = C::connect(&arguments.url).await?;
    let (warm_up, jobs) = (arguments.warm_up, arguments.jobs);
    if warm_up > 0 {
        contestant.enqueue(warm_up).await?;
        let workers = work_off(&mut contestant, 1, arguments.concurrency, warm_up, 0).await?;
        C::stop(workers).await?;
    }

    let start = Instant::now();
    contestant.enqueue(jobs).await?;
    report(&json!({ "event": "enqueued", "jobs": jobs, "seconds": start.elapsed().as_secs_f64() }));

    let start = Instant::now();
    let workers = work_off(&mut contestant, arguments.workers, arguments.concurrency, jobs, warm_up).await?;
    report(&json!({ "event": "drained", "jobs": jobs, "seconds": start.elapsed().as_secs_f64() }));
    C::stop(workers).await
}

/// Starts workers and waits until `jobs` more than `before` are acknowledged.
async fn work_off<C: Contestant>(
    contestant: &mut C,
    workers: usize,
    concurrency: usize,
    jobs: usize,
    before: usize,
) -> Result<C::Workers> {
    let progress = Arc::new(Progress::of(jobs));
    let mut workers = contestant.start(workers, concurrency, &progress).await?;
    all_started::<C>(&mut workers, &progress).await?;
    while !contestant.is_drained(before + jobs).await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if progress.started() != jobs {
        bail!("{} handlers ran for {jobs} jobs", progress.started());
    }
    Ok(workers)
}

async fn latency<C: Contestant>(arguments: &Arguments) -> Result<()> {
    let mut contestant = C::connect(&arguments.url).await?;
    let progress = Arc::new(Progress::of(arguments.jobs));
    let mut workers = contestant.start(1, arguments.concurrency, &progress).await?;
    tokio::time::sleep(SETTLE).await;

    let mut pushed = Vec::with_capacity(arguments.jobs);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / arguments.rate.max(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..arguments.jobs {
        ticks.tick().await;
        pushed.push(Instant::now());
        contestant.push(number).await?;
    }
    all_started::<C>(&mut workers, &progress).await?;
    let micros = progress.since(&pushed);
    report(&json!({ "event": "latency", "micros": micros }));
    C::stop(workers).await
}

async fn all_started<C: Contestant>(workers: &mut C::Workers, progress: &Progress) -> Result<()> {
    tokio::select! {
        () = progress.all_started() => Ok(()),
        failure = C::failure(workers) => Err(failure),
    }
}

fn report(found: &Value) {
    println!("{found}");
}
