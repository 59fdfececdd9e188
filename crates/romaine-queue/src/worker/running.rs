//! Jobs of a worker while their handlers run: start, heartbeat, end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::Id;

use crate::clock;
use crate::error::Result;
use crate::scripts::EXTEND_LEASES;
use crate::worker::engine::{Ended, Engine};
use crate::worker::handler::{Done, Failure, Then};
use crate::worker::job::{Interruption, Job, Stop};
use crate::worker::ledger::{Held, Pulse};
use crate::worker::stats::add;
use crate::worker::turn::{Claim, End, Report};

/// Leases in one call.
const RENEWALS: usize = 500;

/// So many passes of the scheduler in which no handler ends are waited for before those that did are reported. After a
/// single pass a handler on another thread was late every other time, and went with a call of its own: with 32 empty jobs
/// at a time that made twice the calls, and a sixth more of the server's time per job (17.4 µs; with two more, 14.8).
const BARREN_PASSES: usize = 2;

/// A heartbeat that came back.
pub(crate) struct Beat {
    asked_at: Instant,
    /// By task and token: a job that runs on may have another by now.
    pulses: romaine::Result<Vec<(Id, String, Pulse)>>,
}

/// What became of a job of a worker that is no more.
pub(crate) struct Untold {
    pub(crate) id: String,
    pub(crate) enqueued_ms: i64,
    pub(crate) state: String,
    pub(crate) unique: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: std::result::Result<Done, Failure>,
}

impl Engine {
    /// To be told with the first turn.
    pub(crate) fn tell(&mut self, untold: Vec<Untold>) {
        for Untold { id, enqueued_ms, state, unique, attempt, outcome } in untold {
            let end = match outcome {
                Ok(done) => self.finished(done),
                Err(failure) => self.failed(failure, attempt),
            };
            self.reports.push(Report { id, enqueued_ms, state, unique, has_error: true, end });
        }
        // What another could not do says nothing of this one.
        self.refusals.over();
    }

    pub(crate) fn start_job(&mut self, claim: Claim, asked_at: Instant) {
        let stop = Stop::default();
        let (id, state, unique) = (claim.id.clone(), claim.state.clone(), claim.record.unique.clone());
        let (attempt, has_error, enqueued_ms) = (claim.attempt, claim.last_error.is_some(), claim.record.enqueued_ms);
        let job = Job::new(claim, stop.clone());
        let (handler, limit) = (self.handler.clone(), self.settings.timeout);
        // The handler is called inside the task: a panic before its first await is contained as well.
        let task = self.tasks.spawn(async move {
            let work = handler.start(job);
            match limit {
                None => work.await,
                Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                    Err(Failure::retry(format!("it did not end within its time limit of {limit:?}")))
                }),
            }
        });
        self.stats.running.fetch_add(1, Ordering::Relaxed);
        let lease_until = asked_at + self.settings.lease;
        let (lost, drop_at) = (false, None);
        let held = Held { id, enqueued_ms, state, unique, attempt, has_error, lease_until, lost, stop, task, drop_at };
        if self.ledger.is_empty() {
            self.beat_at = asked_at + self.settings.heartbeat;
        }
        self.ledger.insert(held, self.patience());
    }

    /// A handler ended; others that ended meanwhile are reported along with it.
    pub(crate) async fn on_ended(&mut self, ended: Ended) {
        self.report(ended);
        let mut barren = 0;
        loop {
            let before = self.tasks.len();
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.report(ended);
            }
            barren = if self.tasks.len() < before { 0 } else { barren + 1 };
            if self.tasks.is_empty() || self.turn.is_some() || barren > BARREN_PASSES {
                return;
            }
            // Empty jobs end together: some passes of the scheduler, and one call reports them all.
            tokio::task::yield_now().await;
        }
    }

    fn report(&mut self, ended: Ended) {
        self.stats.running.fetch_sub(1, Ordering::Relaxed);
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) if error.is_panic() => {
                add(&self.stats.panicked, 1);
                (error.id(), Some(Err(Failure::retry("its handler panicked"))))
            }
            Err(error) => (error.id(), None),
        };
        let Some(held) = self.ledger.take(task) else { return };
        let end = match (outcome, held.stop.why()) {
            (Some(Ok(done)), _) => self.finished(done),
            // That it is of no use is as true at the end of a shutdown as before.
            (Some(Err(failure)), _) if failure.then == Then::Never => self.failed(failure, held.attempt),
            (None | Some(Err(_)), Some(Interruption::Shutdown)) => {
                add(&self.stats.given_back, 1);
                End::unharmed()
            }
            (Some(Err(failure)), _) => self.failed(failure, held.attempt),
            // Dropped: another worker has it, or gets it when the lease is over.
            (None, Some(Interruption::LeaseLost) | None) => return,
            (None, Some(Interruption::Cancelled)) => {
                End::Again { after: Duration::ZERO, why: "it was cancelled".to_owned() }
            }
        };
        let Held { id, enqueued_ms, state, unique, has_error, .. } = held;
        self.reports.push(Report { id, enqueued_ms, state, unique, has_error, end });
    }

    fn finished(&mut self, done: Done) -> End {
        self.refusals.over();
        let size = done.result.as_ref().map_or(0, Bytes::len);
        if size > self.settings.result_max {
            add(&self.stats.dead, 1);
            let most = self.settings.result_max;
            return End::Dead(format!("done, but its result of {size} bytes is larger than result_max ({most})"));
        }
        add(&self.stats.done, 1);
        End::Done(done.result)
    }

    fn failed(&mut self, failure: Failure, attempt: u32) -> End {
        if !matches!(failure.then, Then::GiveBack(_)) {
            self.refusals.over();
        }
        let after = match failure.then {
            Then::GiveBack(asked) => {
                let (most, backoff) = (self.settings.concurrency, &self.settings.backoff);
                let after = self.refusals.refused(most, asked, backoff, &mut self.random, clock::now());
                add(&self.stats.given_back, 1);
                return End::GivenBack { after, why: failure.why };
            }
            Then::Never => {
                add(&self.stats.dead, 1);
                return End::Dead(failure.why);
            }
            Then::After(delay) => delay,
            Then::Backoff => {
                let earlier = u64::from(attempt.saturating_sub(1));
                self.settings.backoff.delay(earlier, Duration::ZERO, &mut self.random)
            }
        };
        add(&self.stats.failed, 1);
        End::Again { after, why: failure.why }
    }

    /// Renews all leases in one call, when it is time.
    pub(crate) fn start_beat(&mut self, now: Instant) {
        if self.beat.is_some() || self.ledger.is_empty() || now < self.beat_at {
            return;
        }
        let renewals = self.ledger.renewals();
        let (queue, lease) = (self.queue.clone(), self.settings.lease);
        let limit = self.settings.lease / 3;
        self.beat = Some(Box::pin(async move {
            let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
            let mut all = Vec::with_capacity(renewals.len());
            for some in renewals.chunks(RENEWALS) {
                let call = EXTEND_LEASES.run_again(&queue.client, &queue.keys, |command| {
                    some.iter().fold(command.arg(lease), |command, (_, id, state)| command.arg(id).arg(state))
                });
                // A beat that hangs is given up in time for the next one.
                let pulses: Vec<i64> = match tokio::time::timeout(limit, call).await {
                    Ok(Ok(pulses)) => pulses,
                    Ok(Err(error)) => return Beat { asked_at: now, pulses: Err(error) },
                    Err(_late) => return Beat { asked_at: now, pulses: Ok(all) },
                };
                all.extend(some.iter().zip(pulses).map(|((task, _, state), pulse)| {
                    let pulse = match pulse {
                        1 => Pulse::Renewed,
                        2 => Pulse::CancelRequested,
                        _ => Pulse::Lost,
                    };
                    (*task, state.clone(), pulse)
                }));
            }
            Beat { asked_at: now, pulses: Ok(all) }
        }));
    }

    pub(crate) fn on_beat(&mut self, beat: Beat) -> Result<()> {
        let (lease, patience) = (self.settings.lease, self.patience());
        let error = match beat.pulses {
            Ok(pulses) => {
                self.beat_at = beat.asked_at + self.settings.heartbeat;
                for (task, state, pulse) in pulses {
                    match pulse {
                        Pulse::Renewed => {}
                        Pulse::Lost => add(&self.stats.lease_lost, 1),
                        Pulse::CancelRequested => add(&self.stats.cancelled, 1),
                    }
                    self.ledger.beat(task, &state, pulse, beat.asked_at, lease, patience);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        // Sooner than the next beat: the leases are running.
        self.beat_at = clock::now() + (self.settings.heartbeat / 4).min(Duration::from_millis(500));
        self.interrupted(&error, "renewing leases")
    }
}
