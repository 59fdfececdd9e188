//! From before a push to the beginning of its handler, with 500 idle edges, one of which gets the job.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use romaine::{Client, Config};
use romaine_queue::{Failure, Job, NewJob, Queue};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::report::Report;
use crate::{edge, hub};

const EDGES: usize = 500;

/// Jobs pushed in a second.
const PACE: u32 = 50;

/// The goal, in milliseconds.
const P99: f64 = 3.0;

pub(crate) async fn measure(is_quick: bool, report: &mut Report) -> Result<()> {
    let server = hub::start(10_000).await?;
    let url = server.url();
    let jobs: u32 = if is_quick { 500 } else { 3_000 };
    let epoch = Instant::now();
    let (started, mut starts) = mpsc::channel::<(u64, u64)>(4_096);
    let handler = move |job: Job| {
        let now = nanos(epoch);
        let pushed = std::str::from_utf8(job.payload()).ok().and_then(|text| text.parse().ok());
        let started = started.clone();
        async move {
            let pushed = pushed.ok_or_else(|| Failure::dead("not a time"))?;
            started.send((pushed, now)).await.map_err(|_gone| Failure::dead("nobody measures any more"))?;
            Ok::<_, Failure>(())
        }
    };
    let edges = edge::start(&url, 0..EDGES, handler).await?;
    let client = Client::connect(Config::from_url(&url)?).await?;
    let queues = (0..EDGES)
        .map(|number| Queue::new(&client, &format!("edge:{}", edge::id(number))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The pusher's script and connection are not what is measured.
    for (number, queue) in queues.iter().enumerate().take(20) {
        queue.producer().enqueue(NewJob::new("noop", nanos(epoch).to_string())).await?;
        starts.recv().await.with_context(|| format!("edge {number} has not started its job"))?;
    }
    let mut times = Vec::new();
    for _ in 0..jobs {
        ticks.tick().await;
        let queue = queues.get(fastrand::usize(..queues.len())).context("no queue")?;
        queue.producer().enqueue(NewJob::new("noop", nanos(epoch).to_string())).await?;
    }
    for _ in 0..jobs {
        let arrived = tokio::time::timeout(Duration::from_secs(60), starts.recv()).await;
        let (pushed, now) = arrived.context("a job did not start within a minute")?.context("the edges are gone")?;
        times.push(crate::number(now.saturating_sub(pushed)) / 1e6);
    }
    times.sort_by(f64::total_cmp);
    let reconnects = edges.reconnects();
    let at = |permille: usize| times.get((times.len() * permille / 1_000).min(times.len() - 1)).copied();
    let p99 = at(990).context("nothing was measured")?;
    let details = json!({
        "edges": EDGES, "pushed_per_second": PACE, "jobs": jobs, "lost_connections": reconnects,
        "p50_ms": at(500), "p90_ms": at(900), "p99_ms": p99, "p999_ms": at(999), "max_ms": times.last(),
    });
    let measured = format!(
        "p99 {p99:.2} ms (p50 {:.2} ms, longest {:.2} ms)",
        at(500).unwrap_or_default(),
        times.last().copied().unwrap_or_default()
    );
    report.goal("push to start, 500 idle edges, 50 jobs/s", "p99 under 3 ms", measured, p99 < P99, details);
    drop(edges);
    client.close().await;
    Ok(())
}

fn nanos(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
