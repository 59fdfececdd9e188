//! The runs of jobs. A run is the agent's, not the queue's: when the hub is away and a lease lapses the run goes on, and
//! when its job comes back it is joined, or its end is told from the ledger.

use std::sync::Arc;
use std::time::Duration;

use romaine_queue::{Done, Failure, Interruption, Job};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::course::{self, Facts, Next};
use crate::agent::ledger::{Entry, Outcome, Past, Phase, Verdict};
use crate::agent::process::{self, How, Order, Ran};
use crate::agent::shared::{End, Run, Shared, lock};
use crate::clock;
use crate::error::{Error, Result};
use crate::record::{Deploy, Progress, Wellness};

/// How soon a job is tried again that could not be begun.
const LATER: Duration = Duration::from_secs(10);

/// How long until the ledger is tried again with the end of a run.
const LEDGER_AGAIN: Duration = Duration::from_secs(1);

/// How long between two looks at what was just deployed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The most of a handler's output that goes into a reason, in bytes.
const REASON_TAIL: usize = 600;

impl Shared {
    /// The queue's handler: begins the job, joins it, or tells how it ended.
    pub(crate) async fn take(self: Arc<Self>, job: Job) -> Result<Done, Failure> {
        let run = match self.open(&job).await {
            Ok(Opened::Run(run)) => run,
            Ok(Opened::Ended(outcome)) => return answer(&outcome),
            Err(error) => return Err(Failure::retry_after(LATER, error.full())),
        };
        let mut end = run.end.clone();
        tokio::select! {
            outcome = wait(&mut end) => return told(outcome.as_ref()),
            () = job.cancellation().cancelled() => {}
        }
        match job.interrupted() {
            Some(Interruption::Cancelled) => {
                run.cancel.cancel();
                told(wait(&mut end).await.as_ref())
            }
            // The run goes on; it ends in the ledger, and is told when the job comes back.
            Some(_) | None => Err(Failure::retry("the job was taken back while it ran")),
        }
    }

    async fn open(self: &Arc<Self>, job: &Job) -> Result<Opened> {
        let facts = Facts::new(job.id(), job.kind(), job.payload(), self.settings.repeat);
        // A wish is the same wherever its job comes from: a hub that lost the job is given it again.
        let key = match facts.as_ref().map(|facts| &facts.deploy) {
            Ok(Some(deploy)) => format!("{}@{}", job.id(), deploy.image),
            Ok(None) | Err(_) => format!("{}@{}", job.id(), job.enqueued_ms()),
        };
        let _one_at_a_time = self.opening.lock().await;
        if let Some(run) = lock(&self.runs).get(&key) {
            return Ok(Opened::Run(run.clone()));
        }
        let token = i64::try_from(job.token().number).unwrap_or(i64::MAX);
        let entry = Entry { job: key.clone(), kind: job.kind().to_owned(), token, attempt: job.attempt() };
        let mut facts = match facts {
            Ok(facts) => facts,
            Err(why) => return self.give_up(&entry, None, Verdict::Failed, why, clock::wall_ms()).await,
        };
        (facts.attempt, facts.token) = (job.attempt(), token);
        let past = self.ledger.past(&key).await?;
        let failures = if let Past::Ended { failures, .. } = &past { *failures } else { 0 };
        let seen_before = past != Past::Unknown;
        match course::next(past, &facts) {
            Next::Tell(outcome) => {
                tracing::info!(job = job.id(), verdict = ?outcome.verdict, "it ended before: told again, not run again");
                return Ok(Opened::Ended(outcome));
            }
            Next::GiveUp { begun_ms, attempt } => {
                let why = format!(
                    "the agent ended while attempt {attempt} ran, and nobody knows how far it came; it is not run again \
                     because it is not marked idempotent (\"idempotent\": true in its payload, or --repeat)"
                );
                return self.give_up(&entry, facts.deploy.as_ref(), Verdict::Interrupted, why, begun_ms).await;
            }
            Next::Run => {}
        }
        if let Some(newer) = facts.deploy.as_ref().and_then(|deploy| self.newer_than(deploy)) {
            let why = format!("generation {newer} is wanted by now");
            return self.give_up(&entry, None, Verdict::Superseded, why, clock::wall_ms()).await;
        }
        let noted = facts.deploy.as_ref().map(|deploy| self.progress(deploy, facts.attempt, Progress::Received, None));
        self.ledger.step(&entry, Phase::Received, noted.into_iter().collect()).await?;
        self.tell_hub();
        tracing::info!(job = job.id(), kind = job.kind(), attempt = job.attempt(), again = seen_before, "received");
        let input = facts.input(self.settings.id.as_str(), &job.token().nonce, job.attempts_max(), job.enqueued_ms());
        Ok(Opened::Run(self.begin(entry, facts, failures, input)))
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
    ) -> Result<Opened> {
        tracing::warn!(job = entry.job, ?verdict, why, "not run");
        let ended_ms = clock::wall_ms();
        let (exit, tail, attempt) = (None, String::new(), entry.attempt);
        let noted = deploy.map(|deploy| self.progress(deploy, attempt, Progress::Failed, Some(why.clone())));
        let outcome = Outcome { verdict, exit, error: Some(why), tail, begun_ms, ended_ms, attempt };
        self.ledger.step(entry, Phase::Ended(outcome.clone()), noted.into_iter().collect()).await?;
        self.tell_hub();
        Ok(Opened::Ended(outcome))
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

    /// From the ledger's "begun" to its "ended". `None` when it was interrupted: then "begun" is what stands there.
    async fn run(
        &self,
        entry: &Entry,
        facts: &Facts,
        failures: u32,
        input: Vec<u8>,
        cancel: &CancellationToken,
    ) -> Option<Outcome> {
        let _turn = if facts.deploy.is_some() { Some(self.deploying.lock().await) } else { None };
        if self.stop.is_cancelled() {
            return None;
        }
        let begun_ms = clock::wall_ms();
        let noted = facts.deploy.as_ref().map(|deploy| self.progress(deploy, facts.attempt, Progress::Running, None));
        if let Err(error) = self.ledger.step(entry, Phase::Begun, noted.into_iter().collect()).await {
            // Not on the disk: not begun.
            let why = Some(format!("it was not begun: {}", error.full()));
            let (verdict, exit, tail) = (Verdict::Later, None, String::new());
            return Some(Outcome {
                verdict,
                exit,
                error: why,
                tail,
                begun_ms,
                ended_ms: begun_ms,
                attempt: facts.attempt,
            });
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
            tracing::warn!(job = facts.id, "interrupted: the agent ends");
            return None;
        }
        let (mut verdict, exit, mut error) = course::judge(&ran, facts, failures, self.settings.timeout);
        if let (Verdict::Done, Some(deploy)) = (verdict, &facts.deploy)
            && let Err(why) = self.verify(entry, deploy, cancel).await
        {
            // Nobody knows yet whether it is well: that is no failure of the deployment.
            if self.stop.is_cancelled() {
                tracing::warn!(job = facts.id, "interrupted: the agent ends while health is awaited");
                return None;
            }
            verdict = if failures < deploy.retries { Verdict::Retry } else { Verdict::Failed };
            error = Some(why);
        }
        let ended_ms = clock::wall_ms();
        let Ran { tail, .. } = ran;
        let outcome = Outcome { verdict, exit, error, tail, begun_ms, ended_ms, attempt: facts.attempt };
        self.end(entry, facts, &outcome).await;
        Some(outcome)
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

    /// The end is on the disk before anybody hears of it.
    async fn end(&self, entry: &Entry, facts: &Facts, outcome: &Outcome) {
        let noted = facts.deploy.as_ref().map(|deploy| {
            let progress = match outcome.verdict {
                Verdict::Done => Progress::Done,
                Verdict::Retry | Verdict::Later => Progress::Received,
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
        while let Err(error) = self.ledger.step(entry, Phase::Ended(outcome.clone()), noted.clone()).await {
            tracing::error!(
                job = facts.id,
                error = error.full(),
                "the end of a job cannot be written down; trying again"
            );
            tokio::time::sleep(LEDGER_AGAIN).await;
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
        let well = async {
            while self.look().await != Wellness::Ok {
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

enum Opened {
    Run(Run),
    Ended(Outcome),
}

async fn wait(end: &mut End) -> Option<Outcome> {
    match end.wait_for(Option::is_some).await {
        Ok(end) => end.clone().flatten(),
        Err(_gone) => None,
    }
}

fn told(outcome: Option<&Outcome>) -> Result<Done, Failure> {
    match outcome {
        Some(outcome) => answer(outcome),
        None => Err(Failure::retry("the agent ended while it ran")),
    }
}

/// What the queue is told.
fn answer(outcome: &Outcome) -> Result<Done, Failure> {
    let why = || with_tail(outcome.error.as_deref().unwrap_or("it failed"), &outcome.tail);
    match outcome.verdict {
        Verdict::Done | Verdict::Superseded => {
            Done::json(outcome).map_err(|error| Failure::dead(format!("done, but its result cannot be told: {error}")))
        }
        Verdict::Retry | Verdict::Later => Err(Failure::retry(why())),
        Verdict::Failed | Verdict::Interrupted | Verdict::Cancelled => Err(Failure::dead(why())),
    }
}

fn with_tail(why: &str, tail: &str) -> String {
    let tail = tail.trim_end();
    if tail.is_empty() {
        return why.to_owned();
    }
    let mut from = tail.len().saturating_sub(REASON_TAIL);
    while !tail.is_char_boundary(from) {
        from += 1;
    }
    format!("{why}: {}", tail.get(from..).unwrap_or_default())
}
