//! What a worker holds, and until when it may believe so. No I/O, no clock: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, Id};

use crate::worker::job::{Interruption, Stop};
use crate::worker::settings::LostLease;

/// A job whose handler runs.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    /// With its id what tells it from another job of that id.
    pub(crate) enqueued_ms: i64,
    /// The token.
    pub(crate) state: String,
    pub(crate) unique: String,
    pub(crate) attempt: u32,
    pub(crate) has_error: bool,
    /// Until when the job is ours for certain: counted from *before* the lease was asked for.
    pub(crate) lease_until: Instant,
    /// The server said that it is not ours any more; it runs on.
    pub(crate) lost: bool,
    pub(crate) stop: Stop,
    pub(crate) task: AbortHandle,
    /// When a handler that was told to stop is dropped.
    pub(crate) drop_at: Option<Instant>,
}

/// The jobs in hand.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: HashMap<Id, Held>,
    /// No deadline is earlier than this.
    look_at: Option<Instant>,
}

/// What a heartbeat said of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    Lost,
    Renewed,
    CancelRequested,
}

/// How soon a lease makes its job stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// So long before its end the job is told.
    pub(crate) margin: Duration,
    /// So long after it was told its handler is dropped.
    pub(crate) grace: Duration,
    pub(crate) lost_lease: LostLease,
}

impl Patience {
    /// When a job is told that its lease ends, if it is.
    fn told_at(self, held: &Held) -> Option<Instant> {
        match self.lost_lease {
            LostLease::Stops => Some(held.lease_until - self.margin),
            LostLease::RunsOn => None,
        }
    }
}

impl Ledger {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn insert(&mut self, held: Held, patience: Patience) {
        if let Some(at) = patience.told_at(&held) {
            self.expect_at(at);
        }
        self.held.insert(held.task.id(), held);
    }

    pub(crate) fn take(&mut self, task: Id) -> Option<Held> {
        self.held.remove(&task)
    }

    /// What runs of this very job.
    pub(crate) fn held(&mut self, id: &str, enqueued_ms: i64) -> Option<&mut Held> {
        self.held.values_mut().find(|held| held.id == id && held.enqueued_ms == enqueued_ms)
    }

    /// What is to be renewed: tasks, ids and tokens. What is known to be lost is not renewed any more.
    pub(crate) fn renewals(&self) -> Vec<(Id, String, String)> {
        let ours = |held: &&Held| !held.lost && held.stop.why() != Some(Interruption::LeaseLost);
        self.held.values().filter(ours).map(|held| (held.task.id(), held.id.clone(), held.state.clone())).collect()
    }

    /// A heartbeat that was sent at `asked_at` says so of the lease with this token.
    pub(crate) fn beat(
        &mut self,
        task: Id,
        state: &str,
        pulse: Pulse,
        asked_at: Instant,
        lease: Duration,
        patience: Patience,
    ) {
        let Some(held) = self.held.get_mut(&task).filter(|held| held.state == state) else { return };
        let stop_by = asked_at + patience.grace;
        match pulse {
            Pulse::Renewed => held.lease_until = held.lease_until.max(asked_at + lease),
            Pulse::CancelRequested => {
                held.lease_until = held.lease_until.max(asked_at + lease);
                if held.stop.why().is_none() {
                    held.stop.now(Interruption::Cancelled);
                    held.drop_at = Some(stop_by);
                    self.expect_at(stop_by);
                }
            }
            Pulse::Lost if patience.lost_lease == LostLease::RunsOn => held.lost = true,
            Pulse::Lost => {
                // Another worker may run it at this moment.
                held.stop.now(Interruption::LeaseLost);
                held.drop_at = Some(asked_at);
                self.expect_at(asked_at);
            }
        }
    }

    /// Everybody is told to stop, and dropped after the grace.
    pub(crate) fn stop_all(&mut self, now: Instant, grace: Duration) {
        for held in self.held.values_mut() {
            if held.stop.why().is_none() {
                held.stop.now(Interruption::Shutdown);
                held.drop_at = Some(now + grace);
            }
        }
        self.expect_at(now + grace);
    }

    fn expect_at(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When to [`look`](Self::look) next.
    pub(crate) const fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Tells jobs whose leases end soon, drops those whose time is over. Answers how many were told that theirs ends.
    pub(crate) fn look(&mut self, now: Instant, patience: Patience) -> u64 {
        if self.look_at.is_none_or(|at| now < at) {
            return 0;
        }
        let mut fenced = 0;
        let mut next = None;
        for held in self.held.values_mut() {
            let told_at = patience.told_at(held);
            if held.stop.why() != Some(Interruption::LeaseLost) && told_at.is_some_and(|at| now >= at) {
                held.stop.now(Interruption::LeaseLost);
                held.drop_at = Some(held.drop_at.map_or(held.lease_until, |at| at.min(held.lease_until)));
                fenced += 1;
            }
            if held.drop_at.is_some_and(|at| now >= at) {
                held.task.abort();
            } else if let Some(deadline) = held.drop_at.or(told_at) {
                next = Some(next.map_or(deadline, |earlier: Instant| earlier.min(deadline)));
            }
        }
        self.look_at = next;
        fenced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { margin: Duration::from_secs(5), grace: Duration::from_secs(2), lost_lease: LostLease::Stops };
    const LEASE: Duration = Duration::from_secs(30);
    const TOKEN: &str = "1:1:5:1-n:c";

    /// A ledger with one job that never ends, and the set it runs in.
    fn one(now: Instant) -> (Ledger, tokio::task::JoinSet<()>, Id, Stop) {
        let mut tasks = tokio::task::JoinSet::new();
        let task = tasks.spawn(std::future::pending());
        let (id, stop) = (task.id(), Stop::default());
        let held = Held {
            id: "a".into(),
            enqueued_ms: 0,
            state: TOKEN.into(),
            unique: String::new(),
            attempt: 1,
            has_error: false,
            lease_until: now + LEASE,
            lost: false,
            stop: stop.clone(),
            task,
            drop_at: None,
        };
        let mut ledger = Ledger::default();
        ledger.insert(held, PATIENCE);
        (ledger, tasks, id, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_lease_was_not_renewed_is_told_before_it_ends_and_dropped_when_it_ends() {
        let now = crate::clock::now();
        let (mut ledger, mut tasks, _, stop) = one(now);
        assert_eq!(ledger.look(now + Duration::from_secs(24), PATIENCE), 0);
        assert_eq!(ledger.look(now + Duration::from_secs(25), PATIENCE), 1);
        assert_eq!(stop.why(), Some(Interruption::LeaseLost));
        assert_eq!(ledger.look_at(), Some(now + LEASE));
        assert_eq!(ledger.look(now + LEASE, PATIENCE), 0);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_counts_from_before_it_was_asked_for() {
        let now = crate::clock::now();
        let (mut ledger, _tasks, id, stop) = one(now);
        ledger.beat(id, TOKEN, Pulse::Renewed, now + Duration::from_secs(10), LEASE, PATIENCE);
        assert_eq!(ledger.look(now + Duration::from_secs(34), PATIENCE), 0);
        assert_eq!(ledger.look(now + Duration::from_secs(35), PATIENCE), 1);
        assert_eq!(stop.why(), Some(Interruption::LeaseLost));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_another_workers_now_is_dropped_at_once() {
        let now = crate::clock::now();
        let (mut ledger, mut tasks, id, _) = one(now);
        ledger.beat(id, TOKEN, Pulse::Lost, now, LEASE, PATIENCE);
        ledger.look(now, PATIENCE);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(ledger.renewals().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_job_gets_its_grace_and_is_renewed_meanwhile() {
        let now = crate::clock::now();
        let (mut ledger, mut tasks, id, stop) = one(now);
        ledger.beat(id, TOKEN, Pulse::CancelRequested, now, LEASE, PATIENCE);
        assert_eq!(stop.why(), Some(Interruption::Cancelled));
        assert_eq!(ledger.renewals().len(), 1);
        ledger.look(now + Duration::from_secs(1), PATIENCE);
        assert!(tasks.try_join_next().is_none());
        ledger.look(now + Duration::from_secs(2), PATIENCE);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    }
    #[tokio::test(start_paused = true)]
    async fn a_job_that_runs_on_is_neither_told_nor_dropped_and_renewed_until_it_is_known_to_be_lost() {
        let now = crate::clock::now();
        let patience = Patience { lost_lease: LostLease::RunsOn, ..PATIENCE };
        let (mut ledger, mut tasks, id, stop) = one(now);
        assert_eq!(ledger.look(now + 10 * LEASE, patience), 0);
        assert_eq!(ledger.renewals().len(), 1, "nobody may have claimed it");
        ledger.beat(id, "1:1:5:0-n:c", Pulse::Lost, now + 10 * LEASE, LEASE, patience);
        assert_eq!(ledger.renewals().len(), 1, "what is said of another lease");
        ledger.beat(id, TOKEN, Pulse::Lost, now + 10 * LEASE, LEASE, patience);
        ledger.look(now + 20 * LEASE, patience);
        assert!(ledger.renewals().is_empty());
        tokio::task::yield_now().await;
        assert!(tasks.try_join_next().is_none() && stop.why().is_none());
        // A shutdown ends it all the same.
        ledger.stop_all(now + 20 * LEASE, patience.grace);
        ledger.look(now + 21 * LEASE, patience);
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
    }
}
