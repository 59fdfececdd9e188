//! Jobs that must not be lost even if the server is: written to a database first, then relayed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use romaine::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::{ErrorKind, Result};
use crate::new_job::NewJob;
use crate::producer::Outcome;
use crate::queue::Queue;
use crate::retry::Pauses;

/// Entries that are relayed together.
const BATCH: usize = 500;

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

/// Carries entries of an outbox to their queues, in their order, until it is dropped. Several may run over one outbox:
/// what both relay is accepted once.
#[derive(Debug)]
pub struct Relay {
    nudge: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Relay {
    /// Starts it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(client: &Client, outbox: Arc<dyn Outbox>) -> Self {
        let nudge = Arc::new(Notify::new());
        let mut task = JoinSet::new();
        task.spawn(relay(client.clone(), outbox, nudge.clone()));
        Self { nudge, _task: task }
    }

    /// Something was written: look at once instead of within a second.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }
}

async fn relay(client: Client, outbox: Arc<dyn Outbox>, nudge: Arc<Notify>) {
    let mut pauses = Pauses::new();
    loop {
        match step(&client, &*outbox).await {
            Ok(0) => {
                pauses.reset();
                tokio::select! {
                    () = nudge.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            Ok(_relayed) => pauses.reset(),
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be relayed; trying again");
                tokio::time::sleep(pauses.next()).await;
            }
        }
    }
}

/// Relays what is there; answers how much.
async fn step(client: &Client, outbox: &dyn Outbox) -> Result<usize> {
    let entries = outbox.pending(BATCH).await?;
    let count = entries.len();
    let mut rest = entries.as_slice();
    while let Some(first) = rest.first() {
        // In order: as many as follow each other for the same queue.
        let same = rest.iter().take_while(|entry| entry.queue == first.queue).count();
        let (now, later) = rest.split_at(same);
        send(client, outbox, now).await?;
        rest = later;
    }
    Ok(count)
}

async fn send(client: &Client, outbox: &dyn Outbox, entries: &[Entry]) -> Result<()> {
    let Some(first) = entries.first() else { return Ok(()) };
    let queue = match Queue::new(client, &first.queue) {
        Ok(queue) => queue,
        Err(error) => return refuse_all(outbox, entries, &error.to_string()).await,
    };
    let producer = queue.producer();
    match producer.enqueue_all(entries.iter().map(|entry| entry.job.clone())).await {
        Ok(answers) => {
            let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
            for (answer, entry) in answers.iter().zip(entries) {
                if let Outcome::Held { by } = &answer.outcome {
                    tracing::info!(job = answer.id, by, number = entry.number, "not enqueued: its unique key is held");
                }
            }
            outbox.relayed(&numbers).await
        }
        Err(error) if error.kind() == ErrorKind::Invalid && entries.len() == 1 => {
            refuse_all(outbox, entries, &error.to_string()).await
        }
        Err(error) if error.kind() == ErrorKind::Invalid => {
            // One of them cannot work: find it by sending each alone.
            for entry in entries {
                Box::pin(send(client, outbox, std::slice::from_ref(entry))).await?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn refuse_all(outbox: &dyn Outbox, entries: &[Entry], why: &str) -> Result<()> {
    for entry in entries {
        tracing::error!(number = entry.number, why, "an entry of the outbox can never be accepted");
        outbox.refused(entry.number, why).await?;
    }
    Ok(())
}

impl fmt::Debug for dyn Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}
