//! Carrying jobs to the server: in batches, again after interruptions, as durably as asked.

use std::time::{Duration, Instant};

use romaine::{Client, Delivery, Exclusive, Executor as _, Value};

use crate::clock;
use crate::durability::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;
use crate::producer::Settings;
use crate::queue::Queue;
use crate::record::Encoded;
use crate::retry::{Fate, Pauses, fate};
use crate::scripts::{self, ENQUEUE_JOBS, On};

/// Jobs that one script call accepts, together or not at all.
pub(crate) const JOBS_PER_CALL: usize = 500;
/// Bytes of jobs in one script call.
pub(crate) const BYTES_PER_CALL: usize = 1024 * 1024;
/// Script calls in one round trip.
const CALLS_PER_TRIP: usize = 16;
/// Bytes in one round trip.
const BYTES_PER_TRIP: usize = 8 * 1024 * 1024;

/// The least that a wait for fsyncs gets. With `appendfsync everysec` a replica fsyncs once a second and says so once a
/// second. With less than both take a repetition does not help: it is a write itself, and waits for its own fsync. On
/// Redis 8.0 waits of 1 s, repeated, came to an end after 7 and 34 s; a single longer one after 1.3 to 1.8 s.
const FSYNC_LEAST: Duration = Duration::from_secs(3);

/// How long one attempt may take, or what is left until the deadline.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What the script said of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Known,
    Superseded,
    TooManyKeys,
    Held(String),
}

/// Sends jobs of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) queue: Queue,
    pub(crate) settings: Settings,
}

/// Why jobs were not answered.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) error: Error,
    /// There was no more time: with more of it the next attempt might have gone well.
    pub(crate) is_late: bool,
}

impl From<Error> for Unsent {
    fn from(error: Error) -> Self {
        Self { error, is_late: false }
    }
}

/// A connection of its own, for what WAIT must count.
pub(crate) type Own = Option<Exclusive>;

impl Sender {
    pub(crate) const fn new(queue: Queue, settings: Settings) -> Self {
        Self { queue, settings }
    }

    fn client(&self) -> &Client {
        &self.queue.client
    }

    /// Sends jobs until they are answered or the time is up.
    pub(crate) async fn send(&self, own: &mut Own, jobs: &[Encoded], deadline: Instant) -> Result<Vec<Answer>, Unsent> {
        let mut answers = Vec::with_capacity(jobs.len());
        if self.settings.durability != Durability::Fast {
            self.check_support(deadline).await?;
        }
        let mut rest = jobs;
        while !rest.is_empty() {
            let trip = Trip::of(rest);
            let (now, later) = rest.split_at(trip.jobs);
            let calls: Vec<&[Encoded]> = trip.split(now);
            match self.patiently(own, &calls, deadline).await {
                Ok(some) => answers.extend(some),
                // Those before these are in.
                Err(unsent) if !answers.is_empty() => return Err(Unsent { error: doubted(unsent.error), ..unsent }),
                Err(unsent) => return Err(unsent),
            }
            rest = later;
        }
        Ok(answers)
    }

    async fn patiently(&self, own: &mut Own, calls: &[&[Encoded]], deadline: Instant) -> Result<Vec<Answer>, Unsent> {
        let mut pauses = Pauses::new();
        // An attempt that may have arrived is not undone by one that did not.
        let mut may_be_in = false;
        loop {
            let limit = ATTEMPT.min(deadline.saturating_duration_since(clock::now()));
            let attempt = match self.settings.durability {
                Durability::Fast => self.once(calls, limit).await,
                Durability::Replicated { .. } | Durability::Fsynced { .. } => self.durably(own, calls, limit).await,
            };
            let error = match attempt {
                Ok(answers) => return answers.map_err(Unsent::from),
                Err(error) => error,
            };
            // A connection of its own is of no use after an error; what it waited for is written again.
            *own = None;
            let pause = pauses.next();
            let passes = fate(&error, self.client()) == Fate::Passes;
            may_be_in |= matches!(error.delivery(), Delivery::Unknown | Delivery::Executed);
            if !passes || clock::now() + pause >= deadline {
                let error = if may_be_in { doubted(error.into()) } else { error.into() };
                return Err(Unsent { error, is_late: passes });
            }
            tracing::debug!(queue = self.queue.name(), %error, "enqueueing again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One round trip on the shared connection.
    async fn once(&self, calls: &[&[Encoded]], limit: Duration) -> romaine::Result<Result<Vec<Answer>>> {
        if let [only] = calls {
            return self.call(only, limit).await;
        }
        let mut pipeline = self.client().pipeline().timeout(limit);
        let tickets: Vec<_> = calls
            .iter()
            .map(|jobs| {
                let command = ENQUEUE_JOBS.request::<Value>(&self.queue.keys);
                (&mut pipeline).issue(arguments(command, self.limits(), jobs))
            })
            .collect();
        let mut replies = pipeline.execute().await?;
        let mut answers = Vec::new();
        for (ticket, jobs) in tickets.into_iter().zip(calls) {
            let some = match replies.take(ticket) {
                Ok(answer) => read(&answer, jobs.len()),
                // The server does not have the script (any more): with its text, one call after the other.
                Err(error) if scripts::is_missing(&error) => self.call(jobs, limit).await?,
                Err(error) => return Err(error),
            };
            match some {
                Ok(some) => answers.extend(some),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(answers))
    }

    async fn call(&self, jobs: &[Encoded], limit: Duration) -> romaine::Result<Result<Vec<Answer>>> {
        let (limits, keys) = (self.limits(), &self.queue.keys);
        let arguments = |command| arguments(command, limits, jobs);
        let answer: Value = ENQUEUE_JOBS.run_again_within(self.client(), keys, Some(limit), arguments).await?;
        Ok(read(&answer, jobs.len()))
    }

    /// On a connection of its own: the jobs, then the wait for their copies.
    async fn durably(
        &self,
        own: &mut Own,
        calls: &[&[Encoded]],
        limit: Duration,
    ) -> romaine::Result<Result<Vec<Answer>>> {
        let exclusive = match own.take() {
            Some(exclusive) => exclusive,
            // In a Cluster to the node that has the queue's slot: WAIT counts what its own connection wrote.
            None => self.client().exclusive_for(self.queue.keys.key(Key::Jobs)).await?,
        };
        let mut answers = Vec::new();
        for jobs in calls {
            let limits = self.limits();
            let on = On::Own(&exclusive);
            let keys = &self.queue.keys;
            let answer: Value =
                ENQUEUE_JOBS.run(on, keys, Some(limit), |command| arguments(command, limits, jobs)).await?;
            match read(&answer, jobs.len()) {
                Ok(some) => answers.extend(some),
                Err(error) => {
                    *own = Some(exclusive);
                    return Ok(Err(error));
                }
            }
        }
        let confirmed = self.confirmed(&exclusive).await?;
        // Whom no replica follows any more may be a primary that was replaced: the next attempt asks anew who it is.
        if confirmed.is_ok() {
            *own = Some(exclusive);
        }
        Ok(confirmed.map(|()| answers))
    }

    async fn confirmed(&self, exclusive: &Exclusive) -> romaine::Result<Result<()>> {
        use romaine::commands::*;
        let (asked, got, timeout) = match self.settings.durability {
            Durability::Fast => return Ok(Ok(())),
            Durability::Replicated { replicas, timeout } => {
                let got = exclusive.wait(i64::from(replicas), millis(timeout)).await?;
                ((0, i64::from(replicas)), (0, got), timeout)
            }
            Durability::Fsynced { replicas, timeout } => {
                let timeout = timeout.max(FSYNC_LEAST);
                match exclusive.waitaof(1, i64::from(replicas), millis(timeout)).await {
                    Ok(got) => ((1, i64::from(replicas)), got, timeout),
                    Err(error) if has_no_file(&error) => return Ok(Err(no_file(error))),
                    Err(error) => return Err(error),
                }
            }
        };
        if got.0 >= asked.0 && got.1 >= asked.1 {
            return Ok(Ok(()));
        }
        Ok(Err(Error::new(
            ErrorKind::NotDurable,
            format!(
                "accepted, but only {} of {} replicas confirmed it within {timeout:?}{}; enqueue it again with the \
                 same id to wait once more",
                got.1,
                asked.1,
                if got.0 < asked.0 { ", and the primary has not fsynced it" } else { "" },
            ),
        )
        .with_delivery(Delivery::Executed)))
    }

    /// Whether the server can do what the durability needs, before anything is accepted.
    async fn check_support(&self, deadline: Instant) -> Result<()> {
        use romaine::commands::*;
        match self.settings.durability {
            Durability::Fast => return Ok(()),
            Durability::Replicated { replicas: 0, .. } => {
                return Err(Error::config("Durability::Replicated needs at least one replica"));
            }
            Durability::Replicated { .. } => return Ok(()),
            Durability::Fsynced { .. } => {}
        }
        let mut pauses = Pauses::new();
        loop {
            let ask = romaine::cmd::<Vec<Value>>("COMMAND").arg("INFO").arg("WAITAOF");
            match self.client().issue(ask).await {
                Ok(known) if known.iter().all(|entry| *entry == Value::Null) => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "Durability::Fsynced needs WAITAOF: Redis 7.2 or Valkey 7.2 and later, with appendonly yes",
                    ));
                }
                Ok(_) => return Ok(()),
                Err(error) => {
                    let pause = pauses.next();
                    if fate(&error, self.client()) != Fate::Passes || clock::now() + pause >= deadline {
                        return Err(error.into());
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    const fn limits(&self) -> (u64, u64) {
        (self.settings.jobs_max, self.settings.generation_keys_max)
    }
}

/// Some of it may have been accepted.
pub(crate) fn doubted(error: Error) -> Error {
    match error.delivery() {
        Delivery::NotSent | Delivery::Refused => error.with_delivery(Delivery::Unknown),
        Delivery::Unknown | Delivery::Executed => error,
    }
}

/// WAITAOF has nothing to wait for.
fn has_no_file(error: &romaine::Error) -> bool {
    error.server().is_some_and(|error| error.message().contains("appendonly is disabled"))
}

fn no_file(error: romaine::Error) -> Error {
    let text = "accepted, but not on a disk: Durability::Fsynced needs `appendonly yes` at the server";
    Error::new(ErrorKind::Unsupported, text).with_delivery(Delivery::Executed).with_source(error)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// How much goes in one round trip.
struct Trip {
    jobs: usize,
    per_call: Vec<usize>,
}

impl Trip {
    fn of(jobs: &[Encoded]) -> Self {
        let (mut taken, mut bytes_of_trip, mut bytes_of_call) = (0, 0, 0);
        let mut per_call = Vec::new();
        let mut in_call = 0;
        for job in jobs {
            let size = job.size();
            if in_call == JOBS_PER_CALL || (in_call > 0 && bytes_of_call + size > BYTES_PER_CALL) {
                per_call.push(in_call);
                (in_call, bytes_of_call) = (0, 0);
                if per_call.len() == CALLS_PER_TRIP || bytes_of_trip + size > BYTES_PER_TRIP {
                    break;
                }
            }
            in_call += 1;
            taken += 1;
            bytes_of_call += size;
            bytes_of_trip += size;
        }
        if in_call > 0 {
            per_call.push(in_call);
        }
        Self { jobs: taken, per_call }
    }

    fn split<'a>(&self, mut jobs: &'a [Encoded]) -> Vec<&'a [Encoded]> {
        self.per_call
            .iter()
            .map(|size| {
                let (now, later) = jobs.split_at((*size).min(jobs.len()));
                jobs = later;
                now
            })
            .collect()
    }
}

fn arguments(command: romaine::Cmd<Value>, limits: (u64, u64), jobs: &[Encoded]) -> romaine::Cmd<Value> {
    let command = command.arg(limits.0).arg(limits.1);
    jobs.iter().fold(command, |command, job| command.arg(&job.id).arg(&job.head).arg(&job.body))
}

fn read(answer: &Value, jobs: usize) -> Result<Vec<Answer>> {
    let nonsense = || Error::answer("enqueue");
    let elements = answer.as_elements().ok_or_else(nonsense)?;
    let (first, rest) = elements.split_first().ok_or_else(nonsense)?;
    if first.as_integer() == Some(-1) {
        let held = rest.first().and_then(Value::as_integer).unwrap_or(0);
        return Err(Error::new(ErrorKind::Full, format!("the queue holds {held} jobs (limit jobs_max)"))
            .with_delivery(Delivery::Refused));
    }
    if rest.len() != jobs {
        return Err(nonsense());
    }
    rest.iter()
        .map(|answer| match (answer.as_integer(), answer.as_str()) {
            (Some(0), _) => Ok(Answer::Accepted),
            (Some(1), _) => Ok(Answer::Known),
            (Some(2), _) => Ok(Answer::Superseded),
            (Some(3), _) => Ok(Answer::TooManyKeys),
            (None, Some(holder)) => Ok(Answer::Held(holder.to_owned())),
            (_, _) => Err(nonsense()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn jobs(count: usize, bytes: usize) -> Vec<Encoded> {
        let body = Bytes::from(vec![0; bytes]);
        (0..count).map(|n| Encoded { id: n.to_string(), head: Bytes::new(), body: body.clone() }).collect()
    }

    #[test]
    fn a_round_trip_is_cut_into_calls_by_number_and_by_size() {
        let many = jobs(1_200, 10);
        let trip = Trip::of(&many);
        assert_eq!(trip.per_call, [500, 500, 200]);
        let large = jobs(10, 600_000);
        let trip = Trip::of(&large);
        assert!(trip.per_call.iter().all(|jobs| *jobs == 1), "{:?}", trip.per_call);
        assert_eq!(trip.split(&large).iter().map(|call| call.len()).sum::<usize>(), trip.jobs);
        let endless = jobs(20_000, 1);
        assert_eq!(Trip::of(&endless).jobs, 8_000);
    }
}
