//! Jobs that must not be lost even if the server is: written to a database first, then relayed.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use romaine::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::durability::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::new_job::NewJob;
use crate::producer::Outcome;
use crate::queue::Queue;
use crate::retry::Pauses;
use crate::send::{BYTES_PER_CALL, JOBS_PER_CALL};

/// Entries that are read together.
const BATCH: usize = 500;

/// So many are read where others before them cannot be relayed: beyond that, the outbox is stuck.
const BATCH_MAX: usize = 5_000;

/// More than the id, the kind and the keys of a job take.
const NAMES_BYTES: usize = 1_024;

/// How often the outbox is looked at without being nudged: for what other processes wrote.
const LOOK: Duration = Duration::from_secs(1);

/// What an outbox's calls answer.
pub type OutboxFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A place that keeps jobs until a queue has accepted them. Best in the database, and in the very transaction, that the
/// job is about: then either both are there or neither.
pub trait Outbox: Send + Sync + 'static {
    /// The oldest entries that were not relayed, `most` of them.
    fn pending(&self, most: usize) -> OutboxFuture<'_, Vec<Entry>>;

    /// These were accepted, and can go.
    fn relayed<'a>(&'a self, numbers: &'a [i64]) -> OutboxFuture<'a, ()>;

    /// This one can never be accepted: keep it where somebody looks, out of the way of the others.
    fn refused<'a>(&'a self, number: i64, why: &'a str) -> OutboxFuture<'a, ()>;
}

/// A job in an outbox.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The outbox's own number; grows.
    pub number: i64,
    /// The queue it is for.
    pub queue: String,
    /// The job. Its id must be the same at every reading: it is what makes repetition harmless.
    pub job: NewJob,
}

/// Carries entries of an outbox to their queues, in the order of each queue, until it is dropped. Several may run over
/// one outbox: what both relay is accepted once.
///
/// Entries that a queue does not take for now (it is full, the user has no permission) stay, are tried again, and hold up
/// no other queue's, up to some thousands of them.
#[derive(Debug)]
pub struct Relay {
    nudge: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Relay {
    /// Starts it, with [`Durability::Fast`]: an entry leaves the outbox as soon as the server has its job in memory. What
    /// the server loses after that, in a crash or a failover, is lost.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(client: &Client, outbox: Arc<dyn Outbox>) -> Self {
        Self::start_with(client, outbox, Durability::Fast)
    }

    /// Starts it; an entry stays in the outbox until its job is as durable as this.
    ///
    /// Until then its job is sent again and again. It may have been done in the meantime, so workers must
    /// [`remember`](crate::WorkerBuilder::remember) ids for longer than replicas can be away, or it is done again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_with(client: &Client, outbox: Arc<dyn Outbox>, durability: Durability) -> Self {
        let nudge = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        task.spawn(relay(client.clone(), outbox, durability, nudge.clone()));
        Self { nudge, _task: task }
    }

    /// Something was written: look at once instead of within a second.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }
}

async fn relay(client: Client, outbox: Arc<dyn Outbox>, durability: Durability, nudge: Arc<Notify>) {
    let mut pauses = Pauses::new();
    let mut stuck = 0;
    loop {
        let most = (BATCH + stuck).min(BATCH_MAX);
        let error = match step(&client, &*outbox, durability, most).await {
            Ok(step) => {
                stuck = step.stuck;
                if step.gone > 0 || step.error.is_none() {
                    pauses.reset();
                }
                if step.gone == 0 && step.error.is_none() {
                    tokio::select! {
                        () = nudge.notified() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
                step.error
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            tracing::warn!(%error, stuck, "the outbox could not be relayed; trying again");
            tokio::time::sleep(pauses.next()).await;
        }
    }
}

/// What a look at the outbox came to.
#[derive(Debug, Default)]
struct Step {
    /// Entries that left it.
    gone: usize,
    /// Entries that stay for now.
    stuck: usize,
    /// The first reason why.
    error: Option<Error>,
}

impl Step {
    fn stays(&mut self, entries: usize, error: Error) {
        self.stuck += entries;
        self.error.get_or_insert(error);
    }
}

/// Relays what is there. An error is the outbox's own; those of a queue are in the answer.
async fn step(client: &Client, outbox: &dyn Outbox, durability: Durability, most: usize) -> Result<Step> {
    let entries = outbox.pending(most).await?;
    let mut step = Step::default();
    // After an error no later entry of the same queue: it would come before those that stay.
    let mut closed = BTreeSet::new();
    let mut rest = entries.as_slice();
    while let Some(first) = rest.first() {
        let (now, later) = rest.split_at(together(rest));
        rest = later;
        if closed.contains(first.queue.as_str()) {
            step.stuck += now.len();
            continue;
        }
        if let Err(error) = send(client, outbox, durability, now, &mut step).await? {
            step.stays(now.len(), error);
            closed.insert(first.queue.as_str());
        }
    }
    Ok(step)
}

/// How many at the front are for the same queue and fit into one call, whose jobs are accepted together or not at all.
fn together(entries: &[Entry]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let mut bytes = 0;
    let fit = entries.iter().take(JOBS_PER_CALL).take_while(|entry| {
        bytes += entry.job.payload.len() + NAMES_BYTES;
        entry.queue == first.queue && bytes <= BYTES_PER_CALL
    });
    fit.count().max(1)
}

/// Sends entries of one queue and takes each out of the outbox by its own answer. The outer error is the outbox's, the
/// inner one the queue's.
async fn send(
    client: &Client,
    outbox: &dyn Outbox,
    durability: Durability,
    entries: &[Entry],
    step: &mut Step,
) -> Result<Result<()>> {
    let Some(first) = entries.first() else { return Ok(Ok(())) };
    let queue = match Queue::new(client, &first.queue) {
        Ok(queue) => queue,
        Err(error) => {
            for entry in entries {
                refuse(outbox, entry, &error).await?;
            }
            step.gone += entries.len();
            return Ok(Ok(()));
        }
    };
    let producer = queue.producer().durability(durability);
    let answers = match producer.enqueue_each(entries.iter().map(|entry| entry.job.clone())).await {
        Ok(answers) => answers,
        Err(error) => return Ok(Err(error)),
    };
    let mut relayed = Vec::with_capacity(entries.len());
    for (answer, entry) in answers.into_iter().zip(entries) {
        match answer {
            Ok(answer) => {
                if let Outcome::Held { by } = &answer.outcome {
                    tracing::info!(job = answer.id, by, number = entry.number, "not enqueued: its unique key is held");
                }
                relayed.push(entry.number);
            }
            Err(error) if error.kind() == ErrorKind::Invalid => {
                refuse(outbox, entry, &error).await?;
                step.gone += 1;
            }
            Err(error) => step.stays(1, error),
        }
    }
    if !relayed.is_empty() {
        outbox.relayed(&relayed).await?;
        step.gone += relayed.len();
    }
    Ok(Ok(()))
}

async fn refuse(outbox: &dyn Outbox, entry: &Entry, why: &Error) -> Result<()> {
    let why = why.to_string();
    tracing::error!(number = entry.number, why, "an entry of the outbox can never be accepted");
    outbox.refused(entry.number, &why).await
}

impl fmt::Debug for dyn Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}
