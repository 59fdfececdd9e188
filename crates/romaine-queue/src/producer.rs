//! Bringing work in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::durability::Durability;
use crate::error::{Error, Result};
use crate::gather::Gather;
use crate::new_job::NewJob;
use crate::queue::Queue;
use crate::record::{self, Encoded};
use crate::send::{Answer, Sender};

/// What a producer keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    pub(crate) timeout: Duration,
    pub(crate) payload_max: usize,
    pub(crate) jobs_max: u64,
    pub(crate) generation_keys_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Fast,
            timeout: Duration::from_secs(30),
            payload_max: 256 * 1024,
            jobs_max: 1_000_000,
            generation_keys_max: 10_000,
        }
    }
}

/// Puts jobs into a queue. Cheap to clone; clones share their connection for durable jobs.
///
/// Every job has an id, and an id is accepted once. So what is interrupted (a lost connection, a failover, a restart) is
/// repeated here until it is answered or [`timeout`](Self::timeout) has passed, and what ends in an error can be repeated
/// by you with the same id. Jobs that many tasks enqueue at the same time travel together.
///
/// ```no_run
/// # async fn example(queue: romaine_queue::Queue) -> romaine_queue::Result<()> {
/// use romaine_queue::NewJob;
///
/// let producer = queue.producer();
/// let mail = producer.enqueue(NewJob::new("mail", "to ada").id("mail-7")).await?;
/// assert!(mail.is_in());
/// let many = (0..1_000).map(|n| NewJob::new("thumbnail", format!("{n}.jpg")));
/// let accepted = producer.enqueue_all(many).await?; // one round trip
/// # let _ = accepted;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    queue: Queue,
    settings: Settings,
    ids: Arc<Ids>,
    gather: Arc<Gather>,
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enqueued {
    /// Its id.
    pub id: String,
    /// Whether it was accepted, or why not.
    pub outcome: Outcome,
}

/// Whether a job was accepted, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is in the queue.
    Accepted,
    /// A job of this id is in the queue already, or was until recently.
    Known,
    /// Another unfinished job has its unique key.
    Held {
        /// That job's id.
        by: String,
    },
    /// Its generation is not newer than the newest.
    Superseded,
}

impl Enqueued {
    /// Whether a job of this id is or was in the queue: nothing is left to be done.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted | Outcome::Known)
    }
}

/// Names for jobs that bring none: 64 random bits per producer, and a number.
#[derive(Debug)]
struct Ids {
    prefix: String,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Self { prefix: nonce(), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        format!("{}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// 64 random bits as text.
pub(crate) fn nonce() -> String {
    const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._";
    let mut bits = fastrand::u64(..);
    let mut text = String::with_capacity(11);
    for _ in 0..11 {
        let digit = usize::try_from(bits & 63).unwrap_or(0);
        text.push(char::from(DIGITS[digit]));
        bits >>= 6;
    }
    text
}

impl Producer {
    pub(crate) fn new(queue: &Queue) -> Self {
        Self::with(queue, Settings::default())
    }

    fn with(queue: &Queue, settings: Settings) -> Self {
        let sender = Sender::new(queue.clone(), settings);
        Self { queue: queue.clone(), settings, ids: Arc::new(Ids::new()), gather: Arc::new(Gather::new(sender)) }
    }

    /// What must have happened before a job counts as accepted. Default [`Durability::Fast`].
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self::with(&self.queue, Settings { durability, ..self.settings })
    }

    /// How long an interruption is waited out, the time in line behind other callers included. Default 30 s.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self::with(&self.queue, Settings { timeout: limit, ..self.settings })
    }

    /// The largest payload in bytes. Default 256 KiB: what is larger belongs into a store of its own, and its name into
    /// the job.
    #[must_use]
    pub fn payload_max(self, bytes: usize) -> Self {
        Self::with(&self.queue, Settings { payload_max: bytes, ..self.settings })
    }

    /// Jobs that the queue may hold, in all places together; further ones are refused with
    /// [`ErrorKind::Full`](crate::ErrorKind::Full). Default 1,000,000.
    #[must_use]
    pub fn jobs_max(self, jobs: u64) -> Self {
        Self::with(&self.queue, Settings { jobs_max: jobs, ..self.settings })
    }

    /// Generation keys that the queue may remember; jobs with further ones are refused. Default 10,000.
    #[must_use]
    pub fn generation_keys_max(self, keys: u64) -> Self {
        Self::with(&self.queue, Settings { generation_keys_max: keys, ..self.settings })
    }

    /// The queue.
    #[must_use]
    pub const fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Enqueues one job.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the job cannot work, [`Full`](crate::ErrorKind::Full) when the queue
    /// or the server is at its limit, [`Unsupported`](crate::ErrorKind::Unsupported) or
    /// [`NotDurable`](crate::ErrorKind::NotDurable) for the durability asked for,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the server did not answer in time;
    /// [`Error::delivery`] says whether it may have been accepted.
    ///
    /// # Cancel safety
    /// The job may be accepted although the future was dropped.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        let (encoded, own_id) = self.prepare(job)?;
        let id = encoded.id.clone();
        let answer = self.gather.send(encoded).await?;
        outcome(id, answer, own_id)
    }

    /// Enqueues many jobs, up to 8,000 (or 8 MiB) in one round trip, and answers for each, in order. 500 at a time are
    /// accepted together or not at all.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue). When one job cannot work nothing is sent. After any other error some may have been
    /// accepted: enqueue them again with the same ids.
    ///
    /// # Cancel safety
    /// Jobs may be accepted although the future was dropped.
    pub async fn enqueue_all(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Enqueued>> {
        let prepared = jobs.into_iter().map(|job| self.prepare(job)).collect::<Result<Vec<_>>>()?;
        let own_ids: Vec<bool> = prepared.iter().map(|(_, own_id)| *own_id).collect();
        let encoded: Vec<Encoded> = prepared.into_iter().map(|(encoded, _)| encoded).collect();
        let answers = self.gather.send_all(&encoded).await?;
        let ids = encoded.into_iter().map(|job| job.id);
        ids.zip(answers).zip(own_ids).map(|((id, answer), own_id)| outcome(id, answer, own_id)).collect()
    }

    /// Enqueues many jobs and answers for each by itself: one that cannot work keeps no other back. The outer error is
    /// that of the whole call.
    pub(crate) async fn enqueue_each(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<Result<Enqueued>>> {
        let (mut answers, mut own_ids, mut encoded) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match self.prepare(job) {
                Ok((job, own_id)) => {
                    encoded.push(job);
                    own_ids.push(own_id);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let sent = if encoded.is_empty() { Vec::new() } else { self.gather.send_all(&encoded).await? };
        let ids = encoded.into_iter().map(|job| job.id);
        let mut sent = ids.zip(sent).zip(own_ids).map(|((id, answer), own_id)| outcome(id, answer, own_id));
        Ok(answers.into_iter().filter_map(|answer| answer.or_else(|| sent.next())).collect())
    }

    fn prepare(&self, mut job: NewJob) -> Result<(Encoded, bool)> {
        job.check(self.settings.payload_max)?;
        let own_id = job.id.is_none();
        let id = job.id.take().unwrap_or_else(|| self.ids.next());
        Ok((record::encode(job, id)?, own_id))
    }
}

/// `own_id`: nobody else can have used it, so a job that is known was accepted by an attempt whose answer was lost.
fn outcome(id: String, answer: Answer, own_id: bool) -> Result<Enqueued> {
    let outcome = match answer {
        Answer::Accepted => Outcome::Accepted,
        Answer::Known if own_id => Outcome::Accepted,
        Answer::Known => Outcome::Known,
        Answer::Held(by) => Outcome::Held { by },
        Answer::Superseded => Outcome::Superseded,
        Answer::TooManyKeys => {
            return Err(Error::new(
                crate::ErrorKind::Full,
                "the queue remembers as many generation keys as it may (limit generation_keys_max)",
            ));
        }
    };
    Ok(Enqueued { id, outcome })
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("queue", &self.queue.name()).field("settings", &self.settings).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_given_to_jobs_do_not_repeat() {
        let ids = Ids::new();
        let other = Ids::new();
        assert_ne!(ids.next(), ids.next());
        assert_ne!(ids.next(), other.next());
        assert!(ids.next().len() <= 30);
    }
}
