//! 60,000 waiting jobs and two consumers, one of which is cut off in the middle: both directions swallowed, nothing
//! closed, everything acknowledged by the proxy between, as the kernel sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use romaine::{Client, Config, Event};
use romaine_faultlab::{Fault, FaultProxy, eventually};
use romaine_queue::{Failure, Job, NewJob, Queue, Worker};
use serde_json::json;

use crate::hub;
use crate::report::Report;

const JOBS: usize = 60_000;

/// What a job takes.
const WORK: Duration = Duration::from_millis(2);

/// How often each job was done.
#[derive(Debug)]
pub(crate) struct Runs {
    each: Vec<AtomicU32>,
    different: AtomicUsize,
}

impl Runs {
    pub(crate) fn new(jobs: usize) -> Arc<Self> {
        let each = std::iter::repeat_with(|| AtomicU32::new(0)).take(jobs).collect();
        Arc::new(Self { each, different: AtomicUsize::new(0) })
    }

    fn done(&self, job: &Job) -> Option<()> {
        let number: usize = std::str::from_utf8(job.payload()).ok()?.parse().ok()?;
        if self.each.get(number)?.fetch_add(1, Ordering::Relaxed) == 0 {
            self.different.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    /// Jobs that were done at least once.
    pub(crate) fn different(&self) -> usize {
        self.different.load(Ordering::Relaxed)
    }

    /// Runs beyond the first.
    pub(crate) fn again(&self) -> u64 {
        self.each.iter().map(|count| u64::from(count.load(Ordering::Relaxed).saturating_sub(1))).sum()
    }
}

/// A consumer behind a proxy of its own, with the default liveness.
pub(crate) struct Consumer {
    pub(crate) proxy: FaultProxy,
    pub(crate) client: Client,
    pub(crate) worker: Worker,
}

impl Consumer {
    pub(crate) async fn start(
        server: &romaine_faultlab::Server,
        queue: &str,
        name: &str,
        lease: Duration,
        runs: &Arc<Runs>,
    ) -> Result<Self> {
        let proxy = FaultProxy::start(server.address()).await?;
        let client = Client::connect(Config::from_url(&format!("redis://{}", proxy.address()))?).await?;
        let runs = runs.clone();
        let handler = move |job: Job| {
            let runs = runs.clone();
            async move {
                tokio::time::sleep(WORK).await;
                runs.done(&job).ok_or_else(|| Failure::dead("not one of ours"))
            }
        };
        let worker = Queue::new(&client, queue)?.worker(handler).name(name).lease(lease).start()?;
        Ok(Self { proxy, client, worker })
    }
}

pub(crate) async fn measure(is_quick: bool, report: &mut Report) -> Result<()> {
    let server = hub::start(1_000).await?;
    let client = Client::connect(Config::from_url(&server.url())?).await?;
    let queue = Queue::new(&client, "push")?;
    let runs = Runs::new(JOBS);
    queue.producer().enqueue_all((0..JOBS).map(|number| NewJob::new("push", number.to_string()))).await?;
    let start = Instant::now();
    let lease = Duration::from_secs(if is_quick { 12 } else { 30 });
    let cut = Consumer::start(&server, "push", "cut", lease, &runs).await?;
    let other = Consumer::start(&server, "push", "other", lease, &runs).await?;
    let minute = Duration::from_secs(120);
    eventually(minute, "a third of the jobs to be done", async || runs.different() >= JOBS / 3).await?;
    let mut events = cut.client.events();
    let (cut_at, done_then) = (Instant::now(), runs.different());
    cut.proxy.set_both(Fault::Swallow);
    let noticing = async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::Disconnected { .. }) {
                return Some(cut_at.elapsed());
            }
        }
        None
    };
    let draining = eventually(minute, "every job to be done", async || runs.different() >= JOBS);
    let (noticed, drained) = tokio::join!(tokio::time::timeout(minute, noticing), draining);
    drained?;
    let drained = cut_at.elapsed();
    let noticed = noticed.ok().flatten().context("the cut was not noticed within two minutes")?;
    // What the other did again after the leases of the one that was cut off, included.
    let emptied = eventually(minute, "the queue to be empty", async || {
        queue.status().await.is_ok_and(|status| status.waiting == 0 && status.leased == 0 && status.delayed == 0)
    });
    emptied.await?;
    let (total, status) = (start.elapsed(), queue.status().await?);
    let (lost, again) = (JOBS - runs.different(), runs.again());
    let is_kept = lost == 0 && status.dead == 0;
    let seconds = |time: Duration| (time.as_secs_f64() * 100.0).round() / 100.0;
    report.goal(
        "60,000 waiting jobs, one of two consumers cut off",
        "none lost",
        format!(
            "{lost} lost, {again} done twice; cut after {done_then}; empty {:.1} s later (leases of {} s)",
            total.as_secs_f64() - cut_at.duration_since(start).as_secs_f64(),
            lease.as_secs()
        ),
        is_kept,
        json!({
            "jobs": JOBS, "lost": lost, "done_again": again, "dead": status.dead, "done_when_cut": done_then,
            "lease_s": lease.as_secs(), "all_done_after_cut_s": seconds(drained), "total_s": seconds(total),
            "expired_leases": status.totals.expired_leases, "fenced": status.totals.fenced,
        }),
    );
    report.goal(
        "the cut consumer notices (busy, default liveness)",
        "within 10 s",
        format!("{:.1} s", noticed.as_secs_f64()),
        noticed <= Duration::from_secs(10),
        json!({ "noticed_s": seconds(noticed) }),
    );
    drop((cut, other));
    client.close().await;
    Ok(())
}
