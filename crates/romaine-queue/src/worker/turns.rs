//! Turns of a worker: when one is taken, and what its answer changes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use romaine::Delivery;

use crate::clock;
use crate::error::Result;
use crate::scripts;
use crate::worker::engine::{Engine, Phase};
use crate::worker::job::Interruption;
use crate::worker::settings::LostLease;
use crate::worker::stats::add;
use crate::worker::turn::{self, Answer, Ask, Claim, End, Report};

/// Reports in one turn; the rest goes with the next.
const REPORTS: usize = 512;

/// When a job was enqueued whose record cannot be read.
const UNKNOWN: i64 = 0;

/// A turn that came back.
pub(crate) struct Turned {
    kind: Kind,
    asked_at: Instant,
    want: usize,
    reports: Vec<Report>,
    nonces: Vec<String>,
    result: romaine::Result<Option<Answer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Turn,
    Recovery,
}

impl Engine {
    /// Takes a turn if there is a reason to.
    pub(crate) fn start_turn(&mut self, now: Instant) {
        if self.turn.is_some() || self.is_quiet(now) {
            return;
        }
        if !self.lost_turns.is_empty() {
            return self.start_recovery(now);
        }
        let room = self.room().min(self.settings.claim_max);
        // What has ended and is not told yet may be among what waits again: nothing is claimed before all of it is told.
        let room = if self.reports.len() > REPORTS { 0 } else { room };
        let want = self.bucket.as_mut().map_or(room, |bucket| bucket.allows(room, now));
        let overdue = (!self.ledger.is_empty() && now >= self.last_turn + self.settings.heartbeat)
            || (self.refusals.resting().is_some() && now >= self.sign_of_life_at());
        let claims = want > 0 && self.hungry;
        let passes_on = self.pass_on && want == 0;
        if self.reports.is_empty() && !claims && !passes_on && !overdue {
            return;
        }
        self.turns += 1;
        self.pass_on = false;
        // Stilled by this turn. What is heard while it is under way is about jobs that it may not have seen: the bell comes
        // by another connection, and can overtake the answer.
        self.hungry &= want == 0;
        self.last_turn = now;
        self.stats.turns.fetch_add(1, Ordering::Relaxed);
        let nonce = format!("{}.{:x}", self.nonce, self.turns);
        let later = self.reports.split_off(self.reports.len().min(REPORTS));
        let reports = std::mem::replace(&mut self.reports, later);
        let (queue, settings, held) = (self.queue.clone(), self.settings.clone(), self.ledger.len());
        // Nor may others get it: this turn looks for leases that ran out.
        let mut holds: Vec<_> = self.reports.iter().map(|later| (later.id.clone(), later.state.clone())).collect();
        if settings.lost_lease == LostLease::RunsOn {
            holds.extend(self.ledger.renewals().into_iter().map(|(_, id, state)| (id, state)));
        }
        self.turn = Some(Box::pin(async move {
            let ask = Ask { settings: &settings, nonce: &nonce, want, held, reports: &reports, holds: &holds };
            let result = turn::take(&queue.client, &queue.keys, &ask).await;
            Turned { kind: Kind::Turn, asked_at: now, want, reports, nonces: vec![nonce], result }
        }));
    }

    fn start_recovery(&mut self, now: Instant) {
        let nonces = std::mem::take(&mut self.lost_turns);
        let (queue, lease) = (self.queue.clone(), self.settings.lease);
        self.turn = Some(Box::pin(async move {
            let result = turn::recover(&queue.client, &queue.keys, lease, &nonces).await;
            Turned { kind: Kind::Recovery, asked_at: now, want: 0, reports: Vec::new(), nonces, result }
        }));
    }

    /// A turn came back.
    pub(crate) fn on_turned(&mut self, turned: Turned) -> Result<()> {
        let Turned { kind, asked_at, want, mut reports, nonces, result } = turned;
        let error = match result {
            Ok(Some(answer)) => {
                self.pauses.reset();
                if kind == Kind::Recovery {
                    add(&self.stats.recovered, answer.claims.len());
                } else {
                    self.hungry |= answer.more || (want > 0 && answer.claims.len() >= want);
                    self.due_at = answer.next_in.map(|left| clock::now() + left);
                }
                self.accept(answer, asked_at);
                return Ok(());
            }
            // A queue of another version, or not a queue: nothing of it is understood, nothing may be dropped.
            Ok(None) => return Err(turn::nonsense()),
            Err(error) => error,
        };
        // What was reported is reported again: a report that arrived is refused the second time, which does no harm.
        reports.append(&mut self.reports);
        self.reports = reports;
        self.hungry = true;
        let may_have_claimed = matches!(error.delivery(), Delivery::Unknown | Delivery::Executed) && want > 0;
        if kind == Kind::Recovery || may_have_claimed {
            self.lost_turns.extend(nonces);
        }
        self.interrupted(&error, "taking a turn")
    }

    fn accept(&mut self, answer: Answer, asked_at: Instant) {
        add(&self.stats.fenced, answer.lost.len());
        add(&self.stats.claimed, answer.claims.len());
        if let Some(bucket) = &mut self.bucket {
            bucket.take(answer.claims.len());
        }
        for (id, state) in answer.unreadable {
            let end = End::Again { after: self.settings.lease, why: "its record is of another version".to_owned() };
            let unique = String::new();
            self.reports.push(Report { id, enqueued_ms: UNKNOWN, state, unique, has_error: true, end });
        }
        for claim in answer.claims {
            if self.is_in_hand(&claim, asked_at) || self.has_just_ended(&claim) {
                continue;
            }
            if self.phase == Phase::Working {
                self.start_job(claim, asked_at);
            } else {
                // It came while we were leaving: nobody has started it.
                add(&self.stats.given_back, 1);
                let unique = claim.record.unique;
                let (id, state, enqueued_ms) = (claim.id, claim.state, claim.record.enqueued_ms);
                self.reports.push(Report { id, enqueued_ms, state, unique, has_error: true, end: End::unharmed() });
            }
        }
    }

    /// Whether what was claimed runs here already: under this very lease, or under one that was lost while the job runs on.
    /// A failover that lost the claim, or somebody who puts the job back, brings it to us again; it goes on with the new
    /// lease and is not started beside itself.
    fn is_in_hand(&mut self, claim: &Claim, asked_at: Instant) -> bool {
        let (lease, runs_on) = (self.settings.lease, self.settings.lost_lease == LostLease::RunsOn);
        let Some(held) = self.ledger.held(&claim.id, claim.record.enqueued_ms) else { return false };
        if !runs_on {
            return held.state == claim.state && held.stop.why() != Some(Interruption::LeaseLost);
        }
        held.state.clone_from(&claim.state);
        (held.attempt, held.has_error) = (claim.attempt, true);
        (held.lease_until, held.lost) = (asked_at + lease, false);
        true
    }

    /// Whether what was claimed ran here under a lease that was lost, and ended while the turn that claimed it was under way.
    /// What it came to is told of the new claim.
    fn has_just_ended(&mut self, claim: &Claim) -> bool {
        if self.settings.lost_lease != LostLease::RunsOn {
            return false;
        }
        let is_its = |report: &&mut Report| {
            report.id == claim.id && report.enqueued_ms == claim.record.enqueued_ms && report.state != claim.state
        };
        let Some(report) = self.reports.iter_mut().find(is_its) else { return false };
        report.state.clone_from(&claim.state);
        report.has_error = true;
        true
    }

    /// Forgets what is old, now and then.
    pub(crate) fn start_tidying(&mut self, now: Instant) {
        if self.tidying.is_some() || now < self.tidy_at || self.is_quiet(now) || self.phase != Phase::Working {
            return;
        }
        self.tidy_at = now + self.settings.tidy_every.mul_f64(0.5 + self.random.f64());
        let (queue, settings) = (self.queue.clone(), self.settings.clone());
        self.tidying = Some(Box::pin(async move {
            let ages = [settings.dead_for, CONSUMER_AGE];
            let result: romaine::Result<Vec<i64>> = scripts::TIDY
                .run_again(&queue.client, &queue.keys, |command| {
                    ages.iter()
                        .fold(command, |command, age| command.arg(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
                })
                .await;
            match result {
                // Dead letters and results; of the consumers it takes some by chance.
                Ok(forgotten) => forgotten.iter().take(2).any(|count| *count >= TIDIED_AT_ONCE),
                Err(error) => {
                    tracing::debug!(queue = queue.name(), %error, "tidying failed; it is tried again later");
                    false
                }
            }
        }));
    }

    /// Something was forgotten; where there may be more of it, it is not kept until the next time.
    pub(crate) fn on_tidied(&mut self, is_more: bool) {
        self.tidying = None;
        if is_more {
            self.tidy_at = clock::now() + TIDY_AGAIN;
        }
    }
}

/// What the script forgets of a kind in a call, so that nobody waits for it.
const TIDIED_AT_ONCE: i64 = 100;

/// How soon it is called again when there may be more.
const TIDY_AGAIN: Duration = Duration::from_secs(1);

/// A consumer that was not heard of for so long is forgotten.
const CONSUMER_AGE: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use romaine::{Client, Config};
    use romaine_faultlab::{Server, eventually};

    use super::*;
    use crate::queue::Queue;
    use crate::worker::handler::Failure;
    use crate::worker::job::Job;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_is_old_is_forgotten_soon_however_much_it_is() {
        let server = Server::start().await.unwrap();
        let address = server.address();
        let client = Client::connect(Config::new(address.ip().to_string(), address.port())).await.unwrap();
        let queue = Queue::new(&client, "q").unwrap();
        let fill = "for i = 1, 450 do redis.call('HSET', KEYS[1], i, 'kx'); redis.call('ZADD', KEYS[2], 1, i) end";
        server.command(&["EVAL", fill, "2", "rq:{q}:r", "rq:{q}:rt"]).await.unwrap();
        let mut builder = queue.worker(async |_: Job| Ok::<_, Failure>(()));
        builder.settings.tidy_every = Duration::from_secs(10);
        let worker = builder.start().unwrap();
        let left = async || queue.status().await.unwrap().results;
        eventually(PATIENCE, "the first time", async || left().await < 450).await.unwrap();
        // Not four more times of ten seconds.
        eventually(Duration::from_secs(15), "the rest", async || left().await == 0).await.unwrap();
        worker.shutdown().await.unwrap();
    }
}
