//! Doing the work.

mod engine;
mod handler;
mod job;
mod ledger;
mod rate;
mod refusals;
mod router;
mod running;
mod settings;
mod stats;
mod turn;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use romaine::Backoff;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use handler::{Done, Failure, Handler};
pub use job::{Interruption, Job, Token};
pub use router::Router;
pub use settings::LostLease;
pub use stats::WorkerStats;

use crate::error::{Error, ErrorKind, Result};
use crate::look::JobInfo;
use crate::producer::nonce;
use crate::queue::Queue;
use engine::{Engine, Orders};
use handler::AnyHandler;
use running::Untold;
use settings::Settings;
use stats::Stats;

/// The settings of a worker, until [`start`](Self::start).
#[must_use = "a worker does nothing until it is started"]
pub struct WorkerBuilder {
    queue: Queue,
    handler: Arc<dyn AnyHandler>,
    settings: Settings,
    untold: Vec<Untold>,
}

impl WorkerBuilder {
    pub(crate) fn new(queue: Queue, handler: impl Handler) -> Self {
        Self {
            queue,
            handler: Arc::new(handler),
            settings: Settings::new(format!("worker-{}", nonce())),
            untold: Vec::new(),
        }
    }

    /// Its name in [`Status::consumers`](crate::Status): 1 to 100 printable ASCII characters. Default: a new one. Two
    /// workers of one name lose nothing, but look like one. A name that is kept over restarts is one that a worker which was
    /// killed is not missed under: see [`Queue::forget_consumer`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Jobs it runs at the same time. Default 16.
    pub const fn concurrency(mut self, jobs: usize) -> Self {
        self.settings.concurrency = jobs;
        self
    }

    /// Jobs it starts per second, at most `burst` of them at once. Default: no limit of its own; for one over all
    /// workers see [`Queue::limit_rate`].
    pub const fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.settings.rate = Some((per_second, burst));
        self
    }

    /// How long a job is this worker's without a sign of life. Default 30 s. A crashed worker's job comes back after
    /// that; a job that runs longer is renewed by heartbeats. The heartbeat becomes a sixth of it.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self.settings.heartbeat = lease / 6;
        self
    }

    /// How often leases are renewed and cancellations noticed. Default 5 s; at most a third of the lease.
    pub const fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// What becomes of a running job whose lease could not be renewed in time. Default: it is stopped.
    pub const fn lost_lease(mut self, what: LostLease) -> Self {
        self.settings.lost_lease = what;
        self
    }

    /// How long it waits for the bell before it looks by itself, give or take a fifth. Default 25 s. A bell that was lost
    /// with a dead connection delays a job by no more than this.
    pub const fn block(mut self, longest: Duration) -> Self {
        self.settings.block = longest;
        self
    }

    /// How long a handler may take for one job before it is dropped and the attempt has failed. Default: no limit.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.settings.timeout = Some(limit);
        self
    }

    /// The delay before the next attempt of a job that failed. Default: half to all of 2 s, doubling to 10 minutes.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long a handler whose job was cancelled may take to stop before it is dropped. Default 5 s.
    pub const fn cancel_grace(mut self, grace: Duration) -> Self {
        self.settings.cancel_grace = grace;
        self
    }

    /// How long [`Worker::shutdown`] lets jobs end by themselves. Default 30 s.
    pub const fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.settings.shutdown_grace = grace;
        self
    }

    /// The largest result in bytes. Default 64 KiB. A job with a larger one becomes a dead letter that says so.
    pub const fn result_max(mut self, bytes: usize) -> Self {
        self.settings.result_max = bytes;
        self
    }

    /// How long results are kept, and how many of them. Default an hour and 10,000.
    pub const fn keep_results(mut self, time: Duration, count: u64) -> Self {
        self.settings.results_for = time;
        self.settings.results_max = count;
        self
    }

    /// How long dead letters are kept, and how many of them. Default 30 days and 10,000.
    pub const fn keep_dead(mut self, time: Duration, count: u64) -> Self {
        self.settings.dead_for = time;
        self.settings.dead_max = count;
        self
    }

    /// How long the ids of finished jobs are remembered so that they are not accepted again, and how many: at least
    /// `count`, at most twice as many. Default a minute and 100,000. A producer that may repeat itself later needs more.
    /// It is the queue's memory: give all its workers the same. What is cancelled, purged or superseded is remembered as
    /// the last worker said.
    pub const fn remember(mut self, time: Duration, count: u64) -> Self {
        self.settings.remember_for = time;
        self.settings.remember_max = count;
        self
    }

    /// What became of a job whose worker died before it could tell, as its application remembers it: told with the first
    /// turn, and as often as it takes. It counts under the rule for every outcome: if nobody else has claimed the job since
    /// `job` was [seen](Queue::peek). A job without a lease is passed over.
    pub fn report(mut self, job: &JobInfo, outcome: std::result::Result<Done, Failure>) -> Self {
        self.untold.extend(job.lease.clone().map(|state| Untold {
            enqueued_ms: job.enqueued_ms,
            id: job.id.clone(),
            state,
            unique: job.unique.clone().unwrap_or_default(),
            attempt: job.attempts,
            outcome,
        }));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the settings cannot work together. The server need not be there yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Worker> {
        self.settings.check()?;
        let (orders, followed) = watch::channel(Orders::default());
        let stats = Arc::new(Stats::default());
        let name = self.settings.name.clone();
        let queue = self.queue.name().to_owned();
        let mut engine = Engine::new(self.queue, self.settings, self.handler, stats.clone(), followed);
        engine.tell(self.untold);
        let mut task = JoinSet::new();
        let (who, whose) = (name.clone(), queue.clone());
        task.spawn(async move {
            let ended = engine.run().await;
            if let Err(error) = &ended {
                tracing::error!(worker = who, queue = whose, %error, "the worker has ended");
            }
            ended
        });
        Ok(Worker { name, queue, orders, stats, task })
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder").field("queue", &self.queue.name()).field("settings", &self.settings).finish()
    }
}

/// A worker at work. It never ends by itself while its client lives (unless the queue's scripts answer what no version of
/// them can have answered): lost connections, restarts, failovers, refusals are
/// waited out, and jobs whose reports could not be sent are reported when they can be.
///
/// Dropping it stops it where it is: running handlers are dropped, and their jobs come back when their leases are over.
/// [`shutdown`](Self::shutdown) loses no time.
#[derive(Debug)]
pub struct Worker {
    name: String,
    queue: String,
    orders: watch::Sender<Orders>,
    stats: Arc<Stats>,
    task: JoinSet<Result<()>>,
}

impl Worker {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue it serves.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> WorkerStats {
        self.stats.snapshot()
    }

    /// Claims nothing more until [`resume`](Self::resume). For all workers at once see [`Queue::pause`].
    pub fn pause(&self) {
        self.orders.send_modify(|orders| orders.paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.orders.send_modify(|orders| orders.paused = false);
    }

    /// Stops gracefully: claims nothing more, lets what runs end within the shutdown grace, then tells it to stop, drops
    /// what does not, and gives those jobs back so that another worker gets them at once, with no attempt lost.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the client was closed before; then leases end by time.
    ///
    /// # Cancel safety
    /// Dropping the future stops the worker where it is.
    pub async fn shutdown(mut self) -> Result<WorkerStats> {
        self.orders.send_modify(|orders| orders.stop = true);
        self.ended().await?;
        Ok(self.stats())
    }

    /// Waits until the worker has ended, which it does by itself only when its client is closed.
    ///
    /// # Errors
    /// Why it ended.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn ended(&mut self) -> Result<()> {
        match self.task.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(error)) => {
                Err(Error::new(ErrorKind::Closed, "the worker's task ended unexpectedly").with_source(error))
            }
        }
    }
}
