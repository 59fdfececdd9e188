//! A queue by its name.

use bytes::Bytes;
use romaine::{Client, Cmd, Value};

use crate::error::{Error, Result};
use crate::keys::{Key, Keys};
use crate::look::{JobInfo, Place};
use crate::producer::Producer;
use crate::scripts;
use crate::status::Status;
use crate::worker::{Handler, WorkerBuilder};

/// Jobs that one administrative call looks at.
const BATCH: usize = 500;

/// What the script answers that puts dead jobs back.
type Revival = (i64, i64, i64, i64);

/// A queue: a name and the client that reaches it. Cheap to clone; nothing is created at the server before the first
/// job.
///
/// Every queue has its own keys, all with one hash tag, `rq:{name}:…`. Give each target that only it may serve a queue
/// of its own (`edge:017`): a backlog, an age and an ACL rule of its own come with it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use romaine::Client;
/// use romaine_queue::{NewJob, Queue};
///
/// let client = Client::connect("redis://localhost:6379").await?;
/// let queue = Queue::new(&client, "mail")?;
/// queue.producer().enqueue(NewJob::new("welcome", "ada")).await?;
/// println!("{} waiting", queue.status().await?.waiting);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Queue {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// There is no such job (any more).
    Unknown,
    /// It had not started, or was dead; it is gone.
    Removed,
    /// It is running: its worker is told with its next heartbeat, and fires the job's cancellation token.
    Requested,
}

/// What a [`purge`](Queue::purge) takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purge {
    /// What waits.
    Waiting,
    /// What is delayed, retries included.
    Delayed,
    /// The dead letters.
    Dead,
}

/// How dead jobs came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Revived {
    /// They wait again, with all their attempts.
    pub revived: u64,
    /// They stay dead: another unfinished job has their unique key.
    pub held: u64,
}

impl Queue {
    /// The queue of this name, reached through `client`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the name is not 1 to 128 printable ASCII characters without spaces, braces, brackets,
    /// `*` and `?`.
    pub fn new(client: &Client, name: &str) -> Result<Self> {
        Ok(Self { client: client.clone(), keys: Keys::new(name)? })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keys.name()
    }

    /// The client it is reached through.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// A producer with default settings.
    #[must_use]
    pub fn producer(&self) -> Producer {
        Producer::new(self)
    }

    /// A worker that gives its jobs to `handler`.
    pub fn worker(&self, handler: impl Handler) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), handler)
    }

    /// The ACL rule (`ACL SETUSER`) with which a user may work on this queue and on nothing else: its keys, its
    /// channel, and no command beyond what producers and workers need.
    #[must_use]
    pub fn acl_rule(&self, user: &str) -> String {
        let (keys, channel) = (self.keys.pattern(), self.keys.results_channel());
        format!(
            "user {user} on resetchannels ~{keys} &{channel} -@all +@hash +@list +@sortedset +@set +@connection \
             +@transaction +eval +evalsha +time +exists +rename +pexpire +publish +subscribe +unsubscribe \
             +wait +info +command +cluster|slots +cluster|nodes -client|kill -client|list -client|pause \
             -client|unpause -client|no-evict"
        )
    }

    /// Counts, ages, consumers.
    ///
    /// # Errors
    /// When the server cannot be reached within the client's time-out, or refuses.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn status(&self) -> Result<Status> {
        let answer: Value = scripts::STATUS.run_again(&self.client, &self.keys, |command| command).await?;
        Status::decode(self.name(), &answer).ok_or_else(|| Error::answer("status"))
    }

    /// Up to 100 jobs at a place, from the `from`-th on, those that come first first. Jobs whose records this version cannot
    /// read are passed over.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn peek(&self, place: Place, from: usize, count: usize) -> Result<Vec<JobInfo>> {
        let kind = place.name();
        let answer: Vec<Bytes> =
            scripts::PEEK.run_again(&self.client, &self.keys, |command| command.arg(kind).arg(from).arg(count)).await?;
        JobInfo::decode_all(&answer).ok_or_else(|| Error::answer("peek"))
    }

    /// A job by its id, unless it is finished.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn job(&self, id: &str) -> Result<Option<JobInfo>> {
        let answer: Vec<Bytes> =
            scripts::PEEK.run_again(&self.client, &self.keys, |command| command.arg("id").arg(id)).await?;
        let mut found = JobInfo::decode_all(&answer).ok_or_else(|| Error::answer("peek"))?;
        // One that is there and cannot be read is not one that is finished.
        if found.is_empty() && answer.len() > 1 { Err(Error::answer("peek")) } else { Ok(found.pop()) }
    }

    /// Cancels jobs by their ids; answers for each.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Jobs may be cancelled although the future was dropped.
    pub async fn cancel<I: AsRef<str>>(&self, ids: impl IntoIterator<Item = I>) -> Result<Vec<Cancelled>> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(BATCH) {
            let answer: Vec<i64> = scripts::CANCEL
                .run_again(&self.client, &self.keys, |command| some.iter().fold(command, |command, id| command.arg(id)))
                .await?;
            all.extend(answer.into_iter().map(|code| match code {
                1 => Cancelled::Removed,
                2 => Cancelled::Requested,
                _ => Cancelled::Unknown,
            }));
        }
        Ok(all)
    }

    /// Nothing is claimed any more, by any worker, until [`resume`](Self::resume). What runs goes on.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// The queue may be paused although the future was dropped.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        let reason = if reason.is_empty() { "paused" } else { reason };
        self.change(&[("paused", reason.to_owned())]).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// The queue may be resumed although the future was dropped.
    pub async fn resume(&self) -> Result<()> {
        self.change(&[("paused", String::new())]).await
    }

    /// At most so many jobs of this queue run at the same time, over all workers; `None` takes the limit away.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// The limit may be set although the future was dropped.
    pub async fn limit_concurrency(&self, most: Option<u32>) -> Result<()> {
        self.change(&[("cap", most.map_or_else(String::new, |most| most.to_string()))]).await
    }

    /// At most so many jobs of this queue start per second, over all workers, `burst` of them at once; `None` takes the
    /// limit away.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a rate that is not above 0 or a burst of 0; else as [`status`](Self::status).
    ///
    /// # Cancel safety
    /// The limit may be set although the future was dropped.
    pub async fn limit_rate(&self, limit: Option<(f64, u32)>) -> Result<()> {
        let none = String::new;
        let (rate, burst) = match limit {
            None => (none(), none()),
            Some((rate, burst)) if rate.is_finite() && rate > 0.0 && burst > 0 => (rate.to_string(), burst.to_string()),
            Some(_) => return Err(Error::invalid("a rate is above 0 jobs per second, with a burst of at least 1")),
        };
        self.change(&[("rate", rate), ("burst", burst), ("tokens", none()), ("tokens_at", none())]).await
    }

    /// Forgets a consumer: one that was killed, and whose name no other will bear, would be overdue for a day. One that
    /// lives is there again with its next sign of life; jobs that it has stay its own. False when there is none.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// It may be forgotten although the future was dropped.
    pub async fn forget_consumer(&self, name: &str) -> Result<bool> {
        use romaine::commands::*;
        let gone: i64 = self.client.hdel(self.keys.key(Key::Consumers), name).await?;
        Ok(gone > 0)
    }

    async fn change(&self, settings: &[(&str, String)]) -> Result<()> {
        let _one: i64 = scripts::CHANGE_SETTINGS
            .run_again(&self.client, &self.keys, |command| {
                settings.iter().fold(command, |command, (name, value)| command.arg(*name).arg(value))
            })
            .await?;
        Ok(())
    }

    /// Puts dead jobs back among the waiting, by id.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Jobs may come back although the future was dropped.
    pub async fn revive<I: AsRef<str>>(&self, ids: impl IntoIterator<Item = I>) -> Result<Revived> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
        let mut all = Revived::default();
        for some in ids.chunks(BATCH) {
            let ids = |command: Cmd<Revival>| some.iter().fold(command.arg(0), |command, id| command.arg(id));
            all.add(self.revive_by(ids).await?.0);
        }
        Ok(all)
    }

    /// Puts the oldest dead jobs back, `most` of them. Those that have to stay are passed over, and what dies meanwhile
    /// stays dead: it ends although a worker may fail them at once.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// # Cancel safety
    /// Jobs may come back although the future was dropped.
    pub async fn revive_oldest(&self, most: usize) -> Result<Revived> {
        let mut all = Revived::default();
        let (mut began, mut passed) = (String::new(), 0);
        let mut left = most;
        while left > 0 {
            let (some, seen, now) =
                self.revive_by(|command| command.arg(left.min(BATCH)).arg(began.as_str()).arg(passed)).await?;
            if seen == 0 {
                break;
            }
            if began.is_empty() {
                began = now.to_string();
            }
            all.add(some);
            passed += seen.saturating_sub(some.revived);
            left = left.saturating_sub(usize::try_from(some.revived).unwrap_or(usize::MAX));
        }
        Ok(all)
    }

    /// What the script did, how many jobs it looked at, and its time.
    async fn revive_by(&self, arguments: impl Fn(Cmd<Revival>) -> Cmd<Revival>) -> Result<(Revived, u64, i64)> {
        let (revived, held, seen, now) = scripts::REVIVE.run_again(&self.client, &self.keys, arguments).await?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok((Revived { revived: count(revived), held: count(held) }, count(seen), now))
    }

    /// Takes at most `most` jobs away, oldest first; answers how many: fewer only if no more were there. Large queues are emptied in steps of 500, so that
    /// the server serves others in between.
    ///
    /// # Errors
    /// As [`status`](Self::status); what was taken away until then is gone.
    ///
    /// # Cancel safety
    /// What was taken away until then is gone.
    pub async fn purge(&self, what: Purge, most: usize) -> Result<u64> {
        let kind = match what {
            Purge::Waiting => "waiting",
            Purge::Delayed => "delayed",
            Purge::Dead => "dead",
        };
        let (mut gone, mut left) = (0, most);
        while left > 0 {
            let step = left.min(BATCH);
            let (seen, taken): (i64, i64) =
                scripts::PURGE.run_again(&self.client, &self.keys, |command| command.arg(kind).arg(step)).await?;
            if seen == 0 {
                break;
            }
            // What was cancelled before is seen and not taken: it does not count.
            gone += u64::try_from(taken).unwrap_or(0);
            left = left.saturating_sub(usize::try_from(taken).unwrap_or(0));
        }
        Ok(gone)
    }
}

impl Revived {
    const fn add(&mut self, some: Self) {
        self.revived += some.revived;
        self.held += some.held;
    }
}
