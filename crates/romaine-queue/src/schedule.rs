//! Jobs by cron patterns, kept by any number of processes at once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use croner::Cron;
use romaine::replies::ServerTime;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::new_job::NewJob;
use crate::producer::Producer;

/// How long before its time a job is put into the queue.
const AHEAD: Duration = Duration::from_secs(60);

/// The longest time between two looks at the server's clock.
const LOOK: Duration = Duration::from_secs(30);

/// Occurrences of one schedule that are caught up after an outage: the latest of those whose time has passed.
const CAUGHT_UP_MAX: usize = 100;

/// A job that comes back by a cron pattern, in UTC by the server's clock.
///
/// Each occurrence is one job with an id of its own, put into the queue up to a minute ahead, delayed to its time. Every
/// process may keep the same schedule: an occurrence is accepted once, there is no leader, and one process is enough. An
/// occurrence for which no process was there in the minute before it is left out.
///
/// While the server cannot be reached nothing is left out: a process that was there before puts in afterwards what it
/// could not, to run at once, of each schedule the latest 100 whose time has passed. A process that started during the
/// outage knows of none of them; what it puts in first is newer, and keeps the older ones out.
#[derive(Clone)]
pub struct Schedule {
    name: String,
    pattern: String,
    cron: Cron,
    make: Arc<dyn Fn() -> NewJob + Send + Sync>,
}

impl Schedule {
    /// A schedule by a pattern such as `*/5 * * * *` (minute, hour, day, month, weekday; an optional first field is
    /// seconds). `name` tells it apart from others of the queue; `make` makes each job, whose id and time are set here.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the pattern cannot be read, or the name is empty or longer
    /// than 100 bytes.
    pub fn new(
        name: impl Into<String>,
        pattern: &str,
        make: impl Fn() -> NewJob + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name.len() > 100 {
            return Err(Error::config("a schedule's name has 1 to 100 bytes"));
        }
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Optional)
            .build()
            .parse(pattern)
            .map_err(|cause| Error::config(format!("{pattern:?} is not a cron pattern")).with_source(cause))?;
        Ok(Self { name, pattern: pattern.to_owned(), cron, make: Arc::new(make) })
    }

    /// The first occurrence after `after_ms` (milliseconds since 1970); `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        let after = DateTime::<Utc>::from_timestamp_millis(after_ms)?;
        self.cron.find_next_occurrence(&after, false).ok().map(|next| next.timestamp_millis())
    }

    /// Where to go on after `done_ms` when it is `now_ms`: there, or after an outage so late that no more than the latest
    /// [`CAUGHT_UP_MAX`] occurrences before now follow. Counted backwards: a pattern may have millions of them.
    fn resume_after(&self, done_ms: i64, now_ms: i64) -> i64 {
        if done_ms >= now_ms {
            return done_ms;
        }
        let mut from = now_ms;
        for _ in 0..CAUGHT_UP_MAX {
            match self.last_before(from) {
                Some(previous) if previous > done_ms => from = previous,
                _ => return done_ms,
            }
        }
        // The next is the first of those counted.
        from.saturating_sub(1).max(done_ms)
    }

    fn last_before(&self, before_ms: i64) -> Option<i64> {
        let before = DateTime::<Utc>::from_timestamp_millis(before_ms)?;
        self.cron.find_previous_occurrence(&before, false).ok().map(|previous| previous.timestamp_millis())
    }

    /// The time is absolute: an attempt that is repeated for a while must not move the job.
    fn job(&self, at_ms: i64) -> NewJob {
        // Accepted once, even long after the first has run: the number is the occurrence's time.
        let number = u64::try_from(at_ms).unwrap_or(0);
        (self.make)()
            .id(format!("cron:{}:{at_ms}", self.name))
            .once(format!("cron:{}", self.name), number)
            .at(UNIX_EPOCH + Duration::from_millis(number))
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").field("name", &self.name).field("pattern", &self.pattern).finish_non_exhaustive()
    }
}

/// Keeps schedules, until it is dropped.
#[derive(Debug)]
pub struct Scheduler {
    _tasks: JoinSet<()>,
}

impl Scheduler {
    /// Keeps these schedules; their jobs go through `producer`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(producer: &Producer, schedules: impl IntoIterator<Item = Schedule>) -> Self {
        let mut tasks = JoinSet::new();
        for schedule in schedules {
            tasks.spawn(keep(producer.clone(), schedule));
        }
        Self { _tasks: tasks }
    }
}

async fn keep(producer: Producer, schedule: Schedule) {
    let mut done_until: Option<i64> = None;
    loop {
        let pause = match step(&producer, &schedule, &mut done_until).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(schedule = schedule.name, %error, "a scheduled job could not be enqueued; trying again");
                Duration::from_secs(1)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Enqueues what is due within the next minute, and what became due since `done_until` while the server was away; answers
/// how long nothing is to be done.
async fn step(producer: &Producer, schedule: &Schedule, done_until: &mut Option<i64>) -> Result<Duration> {
    use romaine::commands::*;
    let time: ServerTime = producer.queue().client().time().await?;
    let now_ms = i64::try_from(time.seconds * 1_000).unwrap_or(i64::MAX) + i64::from(time.microseconds / 1_000);
    let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(0);
    // Begins with the first look; from then on nothing is passed over only because its time has passed.
    let mut after = schedule.resume_after(*done_until.get_or_insert(now_ms), now_ms);
    loop {
        let Some(next) = schedule.next_after(after) else { return Ok(LOOK) };
        if next > now_ms + ahead {
            let left = u64::try_from(next - ahead - now_ms).unwrap_or(0);
            return Ok(Duration::from_millis(left).min(LOOK));
        }
        // Known, held by its unique key or older than what another process enqueued: all of them are as it should be.
        let _outcome = producer.enqueue(schedule.job(next)).await?;
        *done_until = Some(next);
        after = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pattern: &str) -> Result<Schedule> {
        Schedule::new("s", pattern, || NewJob::new("k", ""))
    }

    #[test]
    fn occurrences_follow_the_pattern_in_utc() {
        let daily = schedule("30 3 * * *").unwrap();
        // 2023-11-14T22:13:20Z.
        let next = daily.next_after(1_700_000_000_000).unwrap();
        assert_eq!(next, 1_700_019_000_000);
        assert_eq!(daily.next_after(next), Some(next + 86_400_000));
        let often = schedule("*/10 * * * * *").unwrap();
        assert_eq!(often.next_after(1_700_000_000_000), Some(1_700_000_010_000));
    }

    #[test]
    fn after_an_outage_the_latest_occurrences_are_caught_up_and_no_more_than_so_many() {
        const DAY: i64 = 86_400_000;
        let now = 1_700_000_000_000;
        let daily = schedule("30 3 * * *").unwrap();
        assert_eq!(daily.resume_after(now - 3 * DAY, now), now - 3 * DAY, "three days, three jobs");
        let every_second = schedule("* * * * * *").unwrap();
        assert_eq!(every_second.resume_after(now - 5_000, now), now - 5_000);
        let after = every_second.resume_after(now - 3 * DAY, now);
        assert_eq!(every_second.next_after(after), Some(now - 100_000));
        assert_eq!(every_second.resume_after(now + 30_000, now), now + 30_000, "nothing twice");
        assert_eq!(every_second.resume_after(now, now), now);
    }

    #[tokio::test]
    async fn what_became_due_while_the_server_was_away_is_put_in_at_its_own_time() {
        use romaine::commands::*;
        let server = romaine_faultlab::Server::start().await.unwrap();
        let client = romaine::Client::connect(server.url()).await.unwrap();
        let queue = crate::Queue::new(&client, "q").unwrap();
        let schedule = schedule("*/10 * * * * *").unwrap();
        let mut done_until = None;
        step(&queue.producer(), &schedule, &mut done_until).await.unwrap();
        let last = done_until.unwrap();
        // All is lost, and a minute and more has passed since the last look that was answered.
        client.flushall().await.unwrap();
        let mut done_until = Some(last - 180_000);
        step(&queue.producer(), &schedule, &mut done_until).await.unwrap();
        let missed = format!("cron:s:{}", last - 170_000);
        let job = queue.job(&missed).await.unwrap().unwrap();
        assert_eq!(job.place, crate::Place::Waiting, "its time has passed");
        let ahead = queue.peek(crate::Place::Delayed, 0, 100).await.unwrap();
        let times: Vec<String> = ahead.iter().map(|job| format!("cron:s:{}", job.at_ms.unwrap())).collect();
        assert!(!times.is_empty() && times.iter().eq(ahead.iter().map(|job| &job.id)), "{times:?}");
    }

    /// A schedule that had nothing to do yet has begun all the same.
    #[tokio::test]
    async fn a_schedule_begins_with_its_first_look() {
        let server = romaine_faultlab::Server::start().await.unwrap();
        let client = romaine::Client::connect(server.url()).await.unwrap();
        let queue = crate::Queue::new(&client, "q").unwrap();
        let mut done_until = None;
        step(&queue.producer(), &schedule("0 0 29 2 *").unwrap(), &mut done_until).await.unwrap();
        assert!(done_until.is_some());
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_refused_and_named() {
        let error = schedule("every day").unwrap_err();
        assert!(error.to_string().contains("every day"), "{error}");
    }
}
