//! How fast empty jobs go through a queue: `cargo run --release --example empty_jobs -- redis://localhost:6379 100000 8 32`
//! (server, jobs, workers, jobs at the same time in each). Each worker has a client of its own. The queue `bench` must be
//! empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use romaine::Client;
use romaine_queue::{Failure, Job, NewJob, Queue};
use tokio::sync::Notify;

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a duration is what is measured")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://localhost:6379".to_owned());
    let mut number = |default: usize| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (jobs, workers, concurrency) = (number(100_000), number(1), number(32));

    let client = Client::connect(url.as_str()).await?;
    let queue = Queue::new(&client, "bench")?;
    let start = Instant::now();
    queue.producer().enqueue_all((0..jobs).map(|_| NewJob::new("empty", ""))).await?;
    report("enqueued in bulk", jobs, start);

    let (done, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let start = Instant::now();
    let mut running = Vec::new();
    for _ in 0..workers {
        let (done, all) = (done.clone(), all.clone());
        let queue = Queue::new(&Client::connect(url.as_str()).await?, "bench")?;
        let handler = move |_job: Job| {
            if done.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                all.notify_one();
            }
            std::future::ready(Ok::<_, Failure>(()))
        };
        running.push(queue.worker(handler).concurrency(concurrency).start()?);
    }
    all.notified().await;
    report("processed", jobs, start);
    for worker in running {
        let stats = worker.shutdown().await?;
        println!("{} turns for {} jobs", stats.turns, stats.done);
    }
    Ok(())
}

fn report(what: &str, jobs: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {jobs} jobs in {seconds:.2} s, {:.0} a second",
        f64::from(u32::try_from(jobs).unwrap_or(0)) / seconds
    );
}
