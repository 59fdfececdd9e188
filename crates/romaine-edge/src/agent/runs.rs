//! The runs of jobs. A run is the agent's, not the queue's: when the hub is away and a lease lapses the run goes on. Its end
//! counts all the same, as nobody else can have claimed the job; when its job comes back to us it is joined, or its end is
//! told from the ledger.

use std::sync::Arc;
use std::time::Duration;

use romaine_queue::{Done, Failure, Interruption, Job};
use tokio::sync::{MutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::course::{self, Facts, Next, answer, with_tail};
use crate::agent::ledger::{Entry, Outcome, Past, Phase, Verdict};
use crate::agent::process::{self, How, Order, Ran};
use crate::agent::shared::{End, Ended, Run, Shared, lock};
use crate::clock;
use crate::error::{Error, Result};
use crate::health::Probe;
use crate::record::{Deploy, Progress, Wellness};

/// How soon a job is tried again that could not be begun.
const LATER: Duration = Duration::from_secs(10);

/// How long until the ledger is tried again with the end of a run.
const LEDGER_AGAIN: Duration = Duration::from_secs(1);

/// How often it is tried still when the agent ends.
const LAST_TRIES: u32 = 3;

/// How long between two looks at what was just deployed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An engine calls a container running from its first instant; one that ends at once is found out this much later.
const STAYS_FOR: Duration = Duration::from_secs(2);

impl Shared {
    /// The queue's handler: begins the job, joins it, or tells how it ended.
    pub(crate) async fn take(self: Arc<Self>, job: Job) -> Result<Done, Failure> {
        if self.stop.is_cancelled() {
            return told(Some(&Ended::Unbegun));
        }
        let run = match self.open(&job).await {
            Ok(Opened::Run(run)) => run,
            Ok(Opened::Ended(outcome)) => return answer(&outcome),
            Err(error) => return Err(Failure::give_back_for(LATER, error.full())),
        };
        let mut end = run.end.clone();
        tokio::select! {
            ended = wait(&mut end) => return told(ended.as_ref()),
            () = job.cancellation().cancelled() => {}
        }
        match job.interrupted() {
            Some(Interruption::Cancelled) => run.cancel.cancel(),
            // The agent ends, and with it all that runs: what it has come to by then is told, and nothing else.
            Some(_) | None => self.stop.cancel(),
        }
        told(wait(&mut end).await.as_ref())
    }

    async fn open(self: &Arc<Self>, job: &Job) -> Result<Opened> {
        let facts = Facts::new(job.id(), job.kind(), job.payload(), self.settings.repeat);
        let key = key(job.id(), job.enqueued_ms(), &facts);
        let _one_at_a_time = self.opening.lock().await;
        if let Some(run) = lock(&self.runs).get(&key) {
            return Ok(Opened::Run(run.clone()));
        }
        let token = i64::try_from(job.token().number).unwrap_or(i64::MAX);
        let entry = Entry { job: key.clone(), kind: job.kind().to_owned(), token, attempt: job.attempt() };
        let mut facts = match facts {
            Ok(facts) => facts,
            Err(why) => {
                let outcome = self.give_up(&entry, None, Verdict::Failed, why, clock::wall_ms()).await?;
                return Ok(Opened::Ended(outcome));
            }
        };
        (facts.attempt, facts.token) = (job.attempt(), token);
        facts.last_error = job.last_error().map(str::to_owned);
        let past = self.ledger.past(&key).await?;
        let failures = past.failures();
        let seen_before = past != Past::Unknown;
        match course::next(past, &facts) {
            Next::Tell(outcome) => {
                tracing::info!(job = job.id(), verdict = ?outcome.verdict, "it ended before: told again, not run again");
                return Ok(Opened::Ended(outcome));
            }
            Next::GiveUp { begun_ms, attempt } => {
                return self.interrupted(&entry, &facts, attempt, begun_ms).await.map(Opened::Ended);
            }
            Next::Run => {}
        }
        if let Some(newer) = facts.deploy.as_ref().and_then(|deploy| self.newer_than(deploy)) {
            let why = format!("generation {newer} is wanted by now");
            let outcome = self.give_up(&entry, None, Verdict::Superseded, why, clock::wall_ms()).await?;
            return Ok(Opened::Ended(outcome));
        }
        let noted = facts.deploy.as_ref().map(|deploy| self.progress(deploy, facts.attempt, Progress::Received, None));
        self.ledger.step(&entry, Phase::Received, noted.into_iter().collect()).await?;
        self.tell_hub();
        tracing::info!(job = job.id(), kind = job.kind(), attempt = job.attempt(), again = seen_before, "received");
        let input = facts.input(self.settings.id.as_str(), &job.token().nonce, job.attempts_max(), job.enqueued_ms());
        Ok(Opened::Run(self.begin(entry, facts, failures, input)))
    }

    /// Ends a job whose run was begun and has no end, and that may not be run again.
    pub(super) async fn interrupted(
        &self,
        entry: &Entry,
        facts: &Facts,
        attempt: u32,
        begun_ms: i64,
    ) -> Result<Outcome> {
        let why = format!(
            "the agent ended while attempt {attempt} ran, and nobody knows how far it came; it is not run again because it \
             is not marked idempotent (\"idempotent\": true in its payload, or --repeat)"
        );
        self.give_up(entry, facts.deploy.as_ref(), Verdict::Interrupted, why, begun_ms).await
    }

    /// The generation that makes this one pointless.
    fn newer_than(&self, deploy: &Deploy) -> Option<u64> {
        let tried = lock(&self.remembered).tried.as_ref().map_or(0, |tried| tried.generation);
        let wanted = lock(&self.wanted).as_ref().map_or(0, |wanted| wanted.generation);
        Some(tried.max(wanted)).filter(|newest| *newest > deploy.generation)
    }

    /// Ends a job that is not run. `deploy`: what has failed by that.
    async fn give_up(
        &self,
        entry: &Entry,
        deploy: Option<&Deploy>,
        verdict: Verdict,
        why: String,
        begun_ms: i64,
    ) -> Result<Outcome> {
        tracing::warn!(job = entry.job, ?verdict, why, "not run");
        let ended_ms = clock::wall_ms();
        let (exit, tail, attempt, token) = (None, String::new(), entry.attempt, entry.token);
        let noted = deploy.map(|deploy| self.progress(deploy, attempt, Progress::Failed, Some(why.clone())));
        let outcome = Outcome { verdict, exit, error: Some(why), tail, begun_ms, ended_ms, attempt, token };
        self.ledger.step(entry, Phase::Ended(outcome.clone()), noted.into_iter().collect()).await?;
        self.tell_hub();
        Ok(outcome)
    }

    fn begin(self: &Arc<Self>, entry: Entry, facts: Facts, failures: u32, input: Vec<u8>) -> Run {
        let (tell, end) = watch::channel(None);
        let cancel = self.stop.child_token();
        let run = Run { id: facts.id.clone(), is_deploy: facts.deploy.is_some(), end, cancel: cancel.clone() };
        lock(&self.runs).insert(entry.job.clone(), run.clone());
        let shared = self.clone();
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let end = shared.run(&entry, &facts, failures, input, &cancel).await;
            lock(&shared.runs).remove(&entry.job);
            let _nobody_waits = tell.send(Some(end));
            shared.tell_hub();
        });
        run
    }

    /// Waits until it is this one's turn: deployments run one after the other.
    async fn turn(&self, facts: &Facts, cancel: &CancellationToken) -> Result<Option<MutexGuard<'_, ()>>, Cancelled> {
        let turn = async { if facts.deploy.is_some() { Some(self.deploying.lock().await) } else { None } };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Cancelled),
            turn = turn => Ok(turn),
        }
    }

    /// It was cancelled before it was begun.
    async fn withdrawn(&self, entry: &Entry, facts: &Facts) -> Ended {
        let why = "it was cancelled before it was begun".to_owned();
        match self.give_up(entry, facts.deploy.as_ref(), Verdict::Cancelled, why, clock::wall_ms()).await {
            Ok(outcome) => Ended::As(outcome),
            Err(error) => {
                tracing::error!(job = facts.id, error = error.full(), "its end cannot be written down");
                Ended::Unbegun
            }
        }
    }

    /// From the ledger's "begun" to its "ended".
    async fn run(
        &self,
        entry: &Entry,
        facts: &Facts,
        failures: u32,
        input: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Ended {
        let _turn = match self.turn(facts, cancel).await {
            Ok(turn) => turn,
            Err(_cancelled) if self.stop.is_cancelled() => return Ended::Unbegun,
            Err(_cancelled) => return self.withdrawn(entry, facts).await,
        };
        let begun_ms = clock::wall_ms();
        let noted = facts.deploy.as_ref().map(|deploy| self.progress(deploy, facts.attempt, Progress::Running, None));
        if let Err(error) = self.ledger.step(entry, Phase::Begun, noted.into_iter().collect()).await {
            // Not on the disk: not begun.
            let why = Some(format!("it was not begun: {}", error.full()));
            let (verdict, exit, tail) = (Verdict::Unable, None, String::new());
            let (ended_ms, attempt, token) = (begun_ms, facts.attempt, facts.token);
            return Ended::As(Outcome { verdict, exit, error: why, tail, begun_ms, ended_ms, attempt, token });
        }
        self.tell_hub();
        let order = self.order(facts, input);
        let ran = process::run(order, cancel, async |mark| {
            if let Err(error) = self.ledger.process(&entry.job, mark).await {
                tracing::warn!(error = error.full(), "a leftover of this run could not be ended after a crash");
            }
        })
        .await;
        if ran.how == How::Stopped && self.stop.is_cancelled() {
            return self.cut_short(entry, facts, begun_ms).await;
        }
        let (mut verdict, exit, mut error) = course::judge(&ran, facts, failures, self.settings.timeout);
        if let (Verdict::Done, Some(deploy)) = (verdict, &facts.deploy)
            && let Err(why) = self.verify(entry, deploy, cancel).await
        {
            // Nobody knows yet whether it is well: that is no failure of the deployment.
            if self.stop.is_cancelled() {
                return self.cut_short(entry, facts, begun_ms).await;
            }
            verdict = if failures < deploy.retries { Verdict::Retry } else { Verdict::Failed };
            error = Some(why);
        }
        let ended_ms = clock::wall_ms();
        let Ran { tail, .. } = ran;
        let (attempt, token) = (facts.attempt, facts.token);
        let outcome = Outcome { verdict, exit, error, tail, begun_ms, ended_ms, attempt, token };
        self.end(entry, facts, &outcome).await;
        Ended::As(outcome)
    }

    /// The agent ends in the middle of a run. What may not run again has ended with it: whoever serves the queue next may
    /// be another, with a ledger that knows nothing of this.
    async fn cut_short(&self, entry: &Entry, facts: &Facts, begun_ms: i64) -> Ended {
        tracing::warn!(job = facts.id, may_repeat = facts.may_repeat, "interrupted: the agent ends");
        if facts.may_repeat {
            return Ended::Halfway;
        }
        match self.interrupted(entry, facts, facts.attempt, begun_ms).await {
            Ok(outcome) => Ended::As(outcome),
            Err(error) => {
                // "Begun" is what stands in it: the next agent says what this one cannot.
                tracing::error!(job = facts.id, error = error.full(), "its end cannot be written down");
                Ended::Halfway
            }
        }
    }

    fn order(&self, facts: &Facts, input: Vec<u8>) -> Order {
        let mut environment = vec![
            ("ROMAINE_EDGE", self.settings.id.to_string()),
            ("ROMAINE_JOB", facts.id.clone()),
            ("ROMAINE_KIND", facts.kind.clone()),
            ("ROMAINE_TOKEN", facts.token.to_string()),
        ];
        if let Some(deploy) = &facts.deploy {
            environment.push(("ROMAINE_IMAGE", deploy.image.to_string()));
            environment.push(("ROMAINE_GENERATION", deploy.generation.to_string()));
        }
        Order { command: self.settings.command.clone(), input, environment, limit: self.settings.timeout }
    }

    /// The end is on the disk before anybody hears of it; but an agent that is to end does not wait for a disk for ever.
    async fn end(&self, entry: &Entry, facts: &Facts, outcome: &Outcome) {
        let noted = facts.deploy.as_ref().map(|deploy| {
            let progress = match outcome.verdict {
                Verdict::Done => Progress::Done,
                Verdict::Retry | Verdict::Later | Verdict::Unable => Progress::Received,
                Verdict::Superseded | Verdict::Failed | Verdict::Interrupted | Verdict::Cancelled => Progress::Failed,
            };
            self.progress(
                deploy,
                facts.attempt,
                progress,
                outcome.error.as_ref().map(|why| with_tail(why, &outcome.tail)),
            )
        });
        let noted: Vec<_> = noted.into_iter().collect();
        let mut last_tries = LAST_TRIES;
        while let Err(error) = self.ledger.step(entry, Phase::Ended(outcome.clone()), noted.clone()).await {
            let error = error.full();
            if self.stop.is_cancelled() {
                last_tries -= 1;
                if last_tries == 0 {
                    // Its token guards it at the hub. "Begun" is what stands in the ledger: that is what the next agent
                    // says of it, if this one is not heard.
                    tracing::error!(job = facts.id, error, "the end of a job cannot be written down: it is only told");
                    break;
                }
                tokio::time::sleep(LEDGER_AGAIN).await;
                continue;
            }
            tracing::error!(job = facts.id, error, "the end of a job cannot be written down; trying again");
            tokio::select! {
                () = tokio::time::sleep(LEDGER_AGAIN) => {}
                () = self.stop.cancelled() => {}
            }
        }
        let took = Duration::from_millis(u64::try_from(outcome.ended_ms - outcome.begun_ms).unwrap_or(0));
        tracing::info!(job = facts.id, verdict = ?outcome.verdict, error = outcome.error, ?took, "ended");
    }

    /// Waits until what was deployed is well.
    async fn verify(&self, entry: &Entry, deploy: &Deploy, cancel: &CancellationToken) -> Result<(), String> {
        if self.settings.probes.is_empty() {
            return Ok(());
        }
        let fact = self.progress(deploy, entry.attempt, Progress::Verifying, None);
        if let Err(error) = self.ledger.keep(vec![fact]).await {
            tracing::warn!(job = entry.job, error = error.full(), "the progress of a deployment is not written down");
        }
        self.tell_hub();
        let is_well = async || self.look(Some(&deploy.image)).await == Wellness::Ok;
        let well = async {
            loop {
                if is_well().await {
                    if !self.settings.probes.iter().any(Probe::asks_engine) {
                        return;
                    }
                    tokio::time::sleep(STAYS_FOR.min(self.settings.settle / 2)).await;
                    if is_well().await {
                        return;
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = well => Ok(()),
            () = tokio::time::sleep(self.settings.settle) => {
                let sick = lock(&self.checks).iter().find(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail));
                Err(format!("not healthy within {:?} (--settle): {}", self.settings.settle, sick.unwrap_or_default()))
            }
            () = cancel.cancelled() => Err("it was stopped while its health was awaited".to_owned()),
        }
    }

    fn tell_hub(&self) {
        self.changed.notify_one();
        self.news.notify_one();
    }

    /// Ends everything that runs.
    pub(crate) async fn stop_all(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    /// Ends what handlers left behind when the agent before this one died.
    pub(crate) async fn end_leftovers(&self) -> Result<(), Error> {
        for (job, mark) in self.ledger.leftovers().await? {
            if process::end_leftover(&mark) {
                tracing::warn!(job, "its handler was still running although the agent had ended: it was ended too");
            }
        }
        Ok(())
    }
}

/// What a run is known by. An id that is used again is another job. A wish is the same wherever its job comes from: a hub
/// that lost the job is given it again.
pub(super) fn key(id: &str, enqueued_ms: i64, facts: &Result<Facts, String>) -> String {
    match facts.as_ref().map(|facts| &facts.deploy) {
        Ok(Some(deploy)) => format!("{id}@{}", deploy.image),
        Ok(None) | Err(_) => format!("{id}@{enqueued_ms}"),
    }
}

/// Somebody does not want it any more.
struct Cancelled;

enum Opened {
    Run(Run),
    Ended(Outcome),
}

async fn wait(end: &mut End) -> Option<Ended> {
    match end.wait_for(Option::is_some).await {
        Ok(end) => end.clone(),
        Err(_gone) => None,
    }
}

pub(super) fn told(ended: Option<&Ended>) -> Result<Done, Failure> {
    match ended {
        Some(Ended::As(outcome)) => answer(outcome),
        Some(Ended::Unbegun) => Err(Failure::give_back_for(Duration::ZERO, "the agent ended before it was begun")),
        Some(Ended::Halfway) => Err(Failure::give_back_for(Duration::ZERO, "the agent ended while it ran")),
        None => Err(Failure::retry("the agent's run of it ended unexpectedly")),
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
