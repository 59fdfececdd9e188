//! Nobody consumes: two consumers that wait for work are both cut off, and work comes; and a queue that never had one. The
//! watch looks with its default thresholds.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use romaine::{Client, Config};
use romaine_faultlab::{Fault, eventually};
use romaine_queue::{Alert, NewJob, Queue, Trouble, Watch};
use serde_json::json;
use tokio::sync::broadcast;

use crate::drain::{Consumer, Runs};
use crate::hub;
use crate::report::Report;

/// Jobs that come while nobody can take them: 50 a second for as long as a minute.
const JOBS: usize = 3_000;

/// The goal.
const WITHIN: Duration = Duration::from_secs(30);

const LEASE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let server = hub::start(1_000).await?;
    let client = Client::connect(Config::from_url(&server.url())?).await?;
    let (push, orphan) = (Queue::new(&client, "push")?, Queue::new(&client, "orphan")?);
    let runs = Runs::new(JOBS);
    let consumers = [
        Consumer::start(&server, "push", "one", LEASE, &runs).await?,
        Consumer::start(&server, "push", "two", LEASE, &runs).await?,
    ];
    let minute = Duration::from_secs(60);
    eventually(minute, "both to wait", async || consumers.iter().all(|one| one.worker.stats().waits > 0)).await?;
    let watch = Watch::over([push.clone(), orphan.clone()]).start()?;
    let (mut alerts, mut orphans) = (watch.alerts(), watch.alerts());
    eventually(minute, "a look", async || watch.statuses().iter().all(Option::is_some)).await?;
    for consumer in &consumers {
        consumer.proxy.set_both(Fault::Swallow);
    }
    let cut_at = Instant::now();
    let (told, orphan_told, pushed) = tokio::select! {
        told = async { tokio::join!(
            no_progress(&mut alerts, "push", cut_at),
            no_progress(&mut orphans, "orphan", cut_at),
        ) } => (told.0?, told.1?, pushed_so_far(&push).await?),
        failed = produce(&push, &orphan) => return Err(failed.err().context("no alert for a minute")?),
    };
    for consumer in &consumers {
        consumer.proxy.heal().await?;
    }
    let healed_at = Instant::now();
    // The watch may have been told of more jobs since: what counts is what was accepted.
    let accepted = usize::try_from(push.status().await?.totals.enqueued)?;
    eventually(minute, "every job to be done", async || runs.different() >= accepted).await?;
    let recovered = healed_at.elapsed();
    for (what, time) in [("two consumers cut off while they wait", told), ("no consumer at all", orphan_told)] {
        report.goal(
            &format!("the alert: {what}"),
            "within 30 s",
            format!("{:.1} s", time.as_secs_f64()),
            time <= WITHIN,
            json!({ "alert_s": time.as_secs_f64(), "jobs_when_told": pushed }),
        );
    }
    report.note(
        "after both are reachable again",
        format!("{accepted} jobs done {:.1} s later, {} twice", recovered.as_secs_f64(), runs.again()),
        json!({ "jobs": accepted, "done_again": runs.again(), "seconds": recovered.as_secs_f64() }),
    );
    drop(consumers);
    client.close().await;
    Ok(())
}

async fn pushed_so_far(queue: &Queue) -> Result<u64> {
    Ok(queue.status().await?.totals.enqueued)
}

/// Fifty jobs a second for both queues. Its end is an end without an alert.
async fn produce(push: &Queue, orphan: &Queue) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let producers = (push.producer(), orphan.producer());
    for number in 0..JOBS {
        ticks.tick().await;
        producers.0.enqueue(NewJob::new("push", number.to_string())).await?;
        producers.1.enqueue(NewJob::new("push", number.to_string())).await?;
    }
    anyhow::bail!("{JOBS} jobs were pushed and no alert came")
}

async fn no_progress(alerts: &mut broadcast::Receiver<Alert>, queue: &str, since: Instant) -> Result<Duration> {
    loop {
        let alert = alerts.recv().await.context("the watch has ended")?;
        if alert.queue == queue && alert.trouble == Trouble::NoProgress && !alert.resolved {
            return Ok(since.elapsed());
        }
    }
}
