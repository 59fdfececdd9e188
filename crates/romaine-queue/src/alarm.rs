//! When lag becomes an alert. Decides only: what was seen and when are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::status::Status;

/// From when on a queue is in trouble. `None` switches an alert off.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Work waits, and none was finished or started for so long, and the queue is not paused. What is given back was not
    /// started. Default 15 s; for a queue with a rate limit twice the time between two starts, if that is more. This is the
    /// alert that a consumer which hangs for ever cannot keep quiet. Where jobs take longer and all workers can be busy
    /// with them, choose more than the longest of them takes.
    pub no_progress: Option<Duration>,
    /// The oldest waiting job waits for so long. Default 5 minutes.
    pub oldest_waiting: Option<Duration>,
    /// So many jobs wait. Default 50,000.
    pub waiting: Option<u64>,
    /// A consumer was not heard of for so long after the time by which it had promised to be. Default 5 s.
    pub consumer_overdue: Option<Duration>,
    /// Fewer consumers than this keep their promise. Default: off.
    pub consumers_min: Option<usize>,
    /// So many new dead letters since the alert was last quiet. Default 1.
    pub new_dead: Option<u64>,
    /// So many leases ran out within a minute. Default 10.
    pub expired_leases: Option<u64>,
    /// The queue could not be looked at for so long. Default 15 s.
    pub unreachable: Option<Duration>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            no_progress: Some(Duration::from_secs(15)),
            oldest_waiting: Some(Duration::from_secs(300)),
            waiting: Some(50_000),
            consumer_overdue: Some(Duration::from_secs(5)),
            consumers_min: None,
            new_dead: Some(1),
            expired_leases: Some(10),
            unreachable: Some(Duration::from_secs(15)),
        }
    }
}

/// What kind of trouble.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trouble {
    /// Work waits and nothing is done.
    NoProgress,
    /// The oldest job waits too long.
    OldestWaiting,
    /// Too many wait.
    Backlog,
    /// This consumer broke its promise.
    ConsumerOverdue(String),
    /// Too few consumers.
    FewConsumers,
    /// New dead letters.
    DeadLetters,
    /// Leases run out.
    ExpiredLeases,
    /// The queue cannot be looked at.
    Unreachable,
}

impl Trouble {
    /// A short name for labels and messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoProgress => "no_progress",
            Self::OldestWaiting => "oldest_waiting",
            Self::Backlog => "backlog",
            Self::ConsumerOverdue(_) => "consumer_overdue",
            Self::FewConsumers => "few_consumers",
            Self::DeadLetters => "dead_letters",
            Self::ExpiredLeases => "expired_leases",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An alert that begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// The queue.
    pub queue: String,
    /// What kind of trouble.
    pub trouble: Trouble,
    /// Whether it ends with this.
    pub resolved: bool,
    /// What was seen, for people.
    pub message: String,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.resolved { "resolved" } else { "ALERT" };
        write!(f, "{state} {}: queue {}: {}", self.trouble.name(), self.queue, self.message)
    }
}

/// Compares what is seen with the thresholds: each trouble is told once when it begins and once when it ends.
#[derive(Debug)]
pub struct Alarm {
    queue: String,
    thresholds: Thresholds,
    active: BTreeSet<Trouble>,
    /// When work was last seen to be started or finished, or to be absent.
    moved_at: Option<Instant>,
    /// The most jobs that were ever started and not given back, and all that came to something, when it last moved.
    moved: (u64, u64),
    dead_before: Option<u64>,
    expired: Option<(Instant, u64)>,
    unseen_since: Option<Instant>,
}

impl Alarm {
    /// An alarm for this queue; nothing is wrong yet.
    #[must_use]
    pub fn new(queue: impl Into<String>, thresholds: Thresholds) -> Self {
        Self {
            queue: queue.into(),
            thresholds,
            active: BTreeSet::new(),
            moved_at: None,
            moved: (0, 0),
            dead_before: None,
            expired: None,
            unseen_since: None,
        }
    }

    /// What is wrong now.
    pub fn active(&self) -> impl Iterator<Item = &Trouble> {
        self.active.iter()
    }

    /// The queue was seen at `now`: which alerts begin and end.
    pub fn seen(&mut self, status: &Status, now: Instant) -> Vec<Alert> {
        self.unseen_since = None;
        let mut found = BTreeMap::new();
        self.look_at_progress(status, now, &mut found);
        let thresholds = &self.thresholds;
        if let (Some(limit), Some(age)) = (thresholds.oldest_waiting, status.oldest_waiting)
            && age > limit
        {
            found.insert(Trouble::OldestWaiting, format!("the oldest job has been waiting for {}", span(age)));
        }
        if thresholds.waiting.is_some_and(|limit| status.waiting >= limit) {
            found.insert(Trouble::Backlog, jobs_wait(status.waiting));
        }
        if let Some(limit) = thresholds.consumer_overdue {
            for consumer in &status.consumers {
                if consumer.overdue().is_some_and(|late| late > limit) {
                    let (name, age) = (&consumer.name, span(consumer.last_claim));
                    let message =
                        format!("consumer {name} was last heard of {age} ago, holding {} jobs", consumer.held);
                    found.insert(Trouble::ConsumerOverdue(name.clone()), message);
                }
            }
        }
        if let Some(least) = thresholds.consumers_min {
            let there = status.consumers.iter().filter(|consumer| consumer.overdue().is_none()).count();
            if there < least {
                found.insert(Trouble::FewConsumers, format!("{there} of {least} consumers are there"));
            }
        }
        self.look_at_deaths(status, &mut found);
        self.look_at_leases(status, now, &mut found);
        self.compare(found)
    }

    /// The queue could not be seen at `now`.
    pub fn unseen(&mut self, why: &str, now: Instant) -> Vec<Alert> {
        let since = *self.unseen_since.get_or_insert(now);
        let silent = now.saturating_duration_since(since);
        if self.active.contains(&Trouble::Unreachable) || self.thresholds.unreachable.is_none_or(|limit| silent < limit)
        {
            return Vec::new();
        }
        self.active.insert(Trouble::Unreachable);
        let message = format!("it could not be looked at for {}: {why}", span(silent));
        vec![Alert { queue: self.queue.clone(), trouble: Trouble::Unreachable, resolved: false, message }]
    }

    fn look_at_progress(&mut self, status: &Status, now: Instant, found: &mut BTreeMap<Trouble, String>) {
        let totals = &status.totals;
        let ended = totals.done + totals.dead + totals.cancelled + totals.expired + totals.superseded + totals.purged;
        // What is in hand at this moment may be given back: it has started only if more have than ever before.
        let (started, ended) = (totals.claimed.saturating_sub(totals.given_back), ended + totals.retried);
        let has_moved = started > self.moved.0 || ended != self.moved.1;
        if status.waiting == 0 || status.paused.is_some() || has_moved || self.moved_at.is_none() {
            self.moved = (started, ended);
            self.moved_at = Some(now);
        }
        let still = self.moved_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // A queue that may start one job a minute starts none in 15 s.
        let apart = status.rate_limit.filter(|(rate, _)| *rate > 0.0).map(|(rate, _)| 2.0 / rate);
        let apart = apart.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default();
        if self.thresholds.no_progress.is_some_and(|limit| still >= limit.max(apart)) {
            let (wait, leased) = (jobs_wait(status.waiting), status.leased);
            let message = format!("{wait}, {leased} leased, and nothing was done for {}", span(still));
            found.insert(Trouble::NoProgress, message);
        }
    }

    fn look_at_deaths(&mut self, status: &Status, found: &mut BTreeMap<Trouble, String>) {
        let before = *self.dead_before.get_or_insert(status.totals.dead);
        let new = status.totals.dead.saturating_sub(before);
        if status.dead == 0 {
            // Somebody has looked after them.
            self.dead_before = Some(status.totals.dead);
        } else if self.thresholds.new_dead.is_some_and(|limit| new >= limit) {
            found.insert(Trouble::DeadLetters, format!("{new} new dead letters, {} in all", status.dead));
        }
    }

    fn look_at_leases(&mut self, status: &Status, now: Instant, found: &mut BTreeMap<Trouble, String>) {
        let (since, before) = *self.expired.get_or_insert((now, status.totals.expired_leases));
        let new = status.totals.expired_leases.saturating_sub(before);
        if self.thresholds.expired_leases.is_some_and(|limit| new >= limit) {
            found.insert(Trouble::ExpiredLeases, format!("{new} leases ran out: workers die or are cut off"));
        }
        if now.saturating_duration_since(since) >= MINUTE {
            self.expired = Some((now, status.totals.expired_leases));
        }
    }

    fn compare(&mut self, found: BTreeMap<Trouble, String>) -> Vec<Alert> {
        let alert =
            |trouble: Trouble, resolved, message| Alert { queue: self.queue.clone(), trouble, resolved, message };
        let over = self.active.iter().filter(|trouble| !found.contains_key(trouble)).cloned();
        let mut alerts: Vec<Alert> = over.map(|trouble| alert(trouble, true, "it is over".to_owned())).collect();
        for (trouble, message) in &found {
            if !self.active.contains(trouble) {
                alerts.push(alert(trouble.clone(), false, message.clone()));
            }
        }
        self.active = found.into_keys().collect();
        alerts
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn jobs_wait(waiting: u64) -> String {
    if waiting == 1 { "1 job is waiting".to_owned() } else { format!("{waiting} jobs are waiting") }
}

fn span(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(alerts: &[Alert]) -> Vec<(&'static str, bool)> {
        alerts.iter().map(|alert| (alert.trouble.name(), alert.resolved)).collect()
    }

    fn backlog(waiting: u64, done: u64) -> Status {
        let mut status = Status { waiting, ..Status::default() };
        status.totals.done = done;
        status.totals.claimed = done;
        status
    }

    #[test]
    fn work_that_waits_while_nothing_is_done_is_told_once_and_its_end_too() {
        let start = crate::clock::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut alarm = Alarm::new("push", Thresholds::default());
        assert!(alarm.seen(&backlog(1_000, 5), at(0)).is_empty());
        assert!(alarm.seen(&backlog(1_500, 5), at(10)).is_empty());
        let alerts = alarm.seen(&backlog(2_000, 5), at(15));
        assert_eq!(names(&alerts), [("no_progress", false)]);
        assert!(alerts[0].to_string().contains("2000 jobs are waiting"), "{}", alerts[0]);
        assert_eq!(jobs_wait(1), "1 job is waiting");
        assert!(alarm.seen(&backlog(2_500, 5), at(20)).is_empty());
        assert_eq!(names(&alarm.seen(&backlog(2_500, 6), at(25))), [("no_progress", true)]);
    }

    #[test]
    fn jobs_that_are_claimed_and_given_back_are_no_progress() {
        let start = crate::clock::now();
        let mut alarm = Alarm::new("push", Thresholds::default());
        let mut seen = |second: u64, claimed: u64, given_back: u64| {
            let mut status = backlog(10, 5);
            (status.totals.claimed, status.totals.given_back) = (claimed, given_back);
            names(&alarm.seen(&status, start + Duration::from_secs(second)))
        };
        // One is in hand at some of the looks.
        assert!(seen(0, 6, 0).is_empty() && seen(5, 10, 5).is_empty() && seen(10, 21, 15).is_empty());
        assert_eq!(seen(15, 30, 25), [("no_progress", false)]);
        assert!(seen(20, 41, 35).is_empty());
        assert_eq!(seen(25, 52, 45), [("no_progress", true)], "one that was not given back");
    }

    #[test]
    fn a_queue_that_may_start_few_jobs_is_given_the_time_for_it() {
        let start = crate::clock::now();
        let mut alarm = Alarm::new("mail", Thresholds::default());
        let mut seen = |second: u64| {
            let status = Status { rate_limit: Some((1.0 / 60.0, 1)), ..backlog(10, 5) };
            names(&alarm.seen(&status, start + Duration::from_secs(second)))
        };
        assert!([0, 30, 61, 119].into_iter().all(|second| seen(second).is_empty()));
        assert_eq!(seen(121), [("no_progress", false)]);
    }

    #[test]
    fn a_paused_or_empty_queue_is_not_in_trouble() {
        let start = crate::clock::now();
        let mut alarm = Alarm::new("push", Thresholds::default());
        for seconds in [0, 100] {
            let mut paused = backlog(10, 0);
            paused.paused = Some("maintenance".into());
            assert!(alarm.seen(&paused, start + Duration::from_secs(seconds)).is_empty());
        }
        for seconds in [200, 300] {
            assert!(alarm.seen(&backlog(0, 0), start + Duration::from_secs(seconds)).is_empty());
        }
        // The time begins when work is there, not before.
        assert!(alarm.seen(&backlog(1, 0), start + Duration::from_secs(310)).is_empty());
    }

    #[test]
    fn dead_letters_are_told_when_they_are_new_and_resolved_when_they_are_gone() {
        let now = crate::clock::now();
        let mut alarm = Alarm::new("q", Thresholds::default());
        let dead = |total: u64, there: u64| {
            let mut status = Status { dead: there, ..Status::default() };
            status.totals.dead = total;
            status
        };
        assert!(alarm.seen(&dead(7, 7), now).is_empty(), "old ones");
        assert_eq!(names(&alarm.seen(&dead(8, 8), now)), [("dead_letters", false)]);
        assert_eq!(names(&alarm.seen(&dead(8, 0), now)), [("dead_letters", true)]);
    }

    #[test]
    fn a_queue_that_cannot_be_seen_is_told_after_a_while() {
        let now = crate::clock::now();
        let mut alarm = Alarm::new("q", Thresholds::default());
        assert!(alarm.unseen("refused", now).is_empty());
        assert_eq!(names(&alarm.unseen("refused", now + Duration::from_secs(15))), [("unreachable", false)]);
        assert!(alarm.unseen("refused", now + Duration::from_secs(20)).is_empty());
        assert_eq!(names(&alarm.seen(&Status::default(), now + Duration::from_secs(21))), [("unreachable", true)]);
    }
}
