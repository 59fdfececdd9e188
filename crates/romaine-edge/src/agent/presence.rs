//! What an agent does beside its jobs: signs of life, its outbox, its checks.

use std::time::Duration;

use romaine::{Client, Status};
use romaine_queue::{NewJob, Queue};

use crate::agent::ledger::Ledger;
use crate::agent::shared::{Shared, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::hub::{self, Answer, Holder, Speaker};
use crate::record::{DEPLOY, Deploy, Progress};

/// Events in one call.
const EVENTS_PER_CALL: u32 = 100;

/// How long changes are gathered before they are told.
const GATHER: Duration = Duration::from_millis(50);

/// The shortest time between two attempts at a hub that does not serve.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the whole of a hub of several servers is waited for before a part of it is tried.
const ALL_OF_IT: Duration = Duration::from_secs(10);

/// Every so many heartbeats ask what is wanted.
const ASKED_EVERY: u32 = 4;

/// How often the ledger is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// A job that may bring itself to what is wanted may be started this often: a crash of the agent counts.
pub(crate) const DEPLOY_ATTEMPTS: u16 = 100;

/// The hub as this agent sees it.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) client: Client,
    pub(crate) queue: Queue,
    pub(crate) speaker: Speaker,
}

impl Presence {
    /// Waits until this agent speaks for the edge.
    ///
    /// A session that is not renewed belongs to an agent that is gone: it is waited out. One that is renewed belongs to
    /// another agent that lives.
    pub(crate) async fn arrive(&mut self, shared: &Shared) -> Result<()> {
        let mut first: Option<Holder> = None;
        let mut is_told = false;
        loop {
            self.reach().await?;
            let reported = shared.reported(0).await?;
            match hub::beat(&self.client, &shared.settings.id, &self.speaker, &reported).await {
                Ok(Answer::Ours) => {
                    self.speaker.before.clear();
                    return Ok(());
                }
                Ok(Answer::Taken(holder)) => match &first {
                    Some(before) if before.nonce != holder.nonce || before.renewed_ms != holder.renewed_ms => {
                        return Err(taken(shared, &holder));
                    }
                    _ => {
                        if first.is_none() {
                            let host = holder.host.as_str();
                            let left = holder.left;
                            tracing::warn!(
                                host,
                                ?left,
                                "another agent spoke for this id not long ago; waiting to see whether it lives"
                            );
                        }
                        first = Some(holder);
                        tokio::time::sleep((shared.settings.heartbeat / 4).max(Duration::from_millis(100))).await;
                    }
                },
                Err(error) if error.kind() == ErrorKind::Unreachable => {
                    if !is_told {
                        tracing::warn!(error = error.full(), "trying again");
                        is_told = true;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a connection. A hub that refuses us is an error; one that is not there is waited for.
    async fn reach(&self) -> Result<()> {
        let mut health = self.client.health();
        let mut is_told = false;
        loop {
            {
                let now = health.borrow_and_update();
                if now.is_connected() {
                    return Ok(());
                }
                if now.status == Status::Closed {
                    return Err(Error::new(ErrorKind::Unreachable, "the client was closed"));
                }
                if let Some(error) = &now.last_error {
                    let refused = Error::from(error.clone());
                    if matches!(refused.kind(), ErrorKind::Refused | ErrorKind::Usage) {
                        return Err(refused);
                    }
                    if !is_told {
                        tracing::warn!(
                            error = refused.full(),
                            "trying again, for as long as it takes; jobs and results are kept"
                        );
                        is_told = true;
                    }
                }
            }
            match tokio::time::timeout(ALL_OF_IT, health.changed()).await {
                Ok(Err(_closed)) => return Err(Error::new(ErrorKind::Unreachable, "the client was closed")),
                Ok(Ok(())) => {}
                // Of a Cluster the part that this edge needs may be there; of anything else the next call says no.
                Err(_still_away) => return Ok(()),
            }
        }
    }

    /// Before the next attempt at a hub that does not serve: until it is connected again, but not for ever. A Cluster
    /// counts as connected when all of it is, and this edge needs one of its nodes only.
    async fn pause(&self) -> Result<()> {
        tokio::time::sleep(PAUSE).await;
        match tokio::time::timeout(ALL_OF_IT, self.client.connected()).await {
            Ok(Err(_closed)) => Err(Error::new(ErrorKind::Unreachable, "the client was closed")),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Signs of life, until somebody else speaks for this edge.
    pub(crate) async fn live(&self, shared: &Shared) -> Result<()> {
        let mut unsettled: Option<u64> = None;
        let mut curiosity = Curiosity::default();
        loop {
            let reconnects = self.client.health().borrow().connections.saturating_sub(1);
            let is_curious = curiosity.beat(reconnects, unsettled.is_some());
            match self.beat(shared, reconnects, is_curious).await {
                Ok((Answer::Ours, None)) => {}
                Ok((Answer::Ours, Some(wanted))) => {
                    curiosity.was_told(reconnects);
                    lock(&shared.wanted).clone_from(&wanted);
                    unsettled = self.reconcile(shared, wanted, unsettled).await;
                }
                Ok((Answer::Taken(holder), _)) => return Err(taken(shared, &holder)),
                Err(error) if error.kind() == ErrorKind::Ledger => return Err(error),
                Err(error) => {
                    if error.kind() == ErrorKind::Unreachable {
                        tracing::debug!(error = error.full(), "no sign of life could be given");
                    } else {
                        tracing::error!(error = error.full(), "no sign of life could be given");
                    }
                    self.pause().await?;
                    continue;
                }
            }
            // Spread over a tenth: a fleet that was started together does not beat together for ever.
            let pause = shared.settings.heartbeat.mul_f64(0.95 + 0.1 * fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shared.changed.notified() => tokio::time::sleep(GATHER).await,
            }
        }
    }

    /// One sign of life; with it, if asked for, what is wanted of this edge.
    async fn beat(
        &self,
        shared: &Shared,
        reconnects: u64,
        is_curious: bool,
    ) -> Result<(Answer, Option<Option<Deploy>>)> {
        let reported = shared.reported(reconnects).await?;
        let id = &shared.settings.id;
        let giving = hub::beat(&self.client, id, &self.speaker, &reported);
        if !is_curious {
            return Ok((giving.await?, None));
        }
        let (answer, wanted) = tokio::join!(giving, hub::wanted(&self.client, id));
        match answer? {
            Answer::Ours => Ok((Answer::Ours, Some(wanted?))),
            taken @ Answer::Taken(_) => Ok((taken, None)),
        }
    }

    /// The queue is the wake-up, what is wanted is the truth: where a job is missing (the hub lost it, or who wanted it
    /// died before it was enqueued) it is enqueued from here. Not at first sight: it may be on its way.
    async fn reconcile(&self, shared: &Shared, wanted: Option<Deploy>, unsettled: Option<u64>) -> Option<u64> {
        let wanted = wanted?;
        let tried = lock(&shared.remembered).tried.clone();
        let settled = tried.is_some_and(|tried| {
            tried.generation > wanted.generation
                || (tried.generation == wanted.generation
                    && matches!(tried.progress, Progress::Done | Progress::Failed))
        });
        if settled || shared.is_deploying() {
            return None;
        }
        if unsettled == Some(wanted.generation) {
            match enqueue(&self.queue, &wanted).await {
                Ok(true) => {
                    tracing::info!(
                        generation = wanted.generation,
                        "an image is wanted and no job brought it: enqueued"
                    );
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = error.full(), "an image is wanted, and its job could not be enqueued");
                }
            }
        }
        Some(wanted.generation)
    }

    /// Brings events to the hub, oldest first, each until it has arrived.
    pub(crate) async fn send(&self, shared: &Shared, ledger: &str) -> Result<()> {
        loop {
            if let Err(error) = self.empty_outbox(shared, ledger).await {
                if error.kind() == ErrorKind::Ledger {
                    return Err(error);
                }
                tracing::debug!(error = error.full(), "events are kept until the hub takes them");
                self.pause().await?;
                continue;
            }
            shared.news.notified().await;
        }
    }

    pub(crate) async fn empty_outbox(&self, shared: &Shared, ledger: &str) -> Result<()> {
        loop {
            let events = shared.ledger.outbox(EVENTS_PER_CALL).await?;
            if events.is_empty() {
                return Ok(());
            }
            let last = hub::report(&self.client, &shared.settings.id, ledger, &events).await?;
            shared.ledger.arrived(last).await?;
        }
    }

    /// Goodbye.
    pub(crate) async fn leave(&self, shared: &Shared) -> Result<()> {
        hub::leave(&self.client, &shared.settings.id, &self.speaker.nonce).await
    }
}

/// When a sign of life asks what is wanted, too. The queue says so at once; asking is for a hub that lost the job, and not
/// every heartbeat needs to.
#[derive(Debug, Default)]
struct Curiosity {
    beats_left: u32,
    reconnects: Option<u64>,
}

impl Curiosity {
    /// Whether this beat asks: the first one, the first after a lost connection, one that follows a wish without a job,
    /// and otherwise every fourth.
    fn beat(&mut self, reconnects: u64, is_unsettled: bool) -> bool {
        self.beats_left = self.beats_left.saturating_sub(1);
        if self.reconnects != Some(reconnects) || is_unsettled {
            self.beats_left = 0;
        }
        self.beats_left == 0
    }

    /// The answer has come. A fleet that was started together does not ask together.
    fn was_told(&mut self, reconnects: u64) {
        let is_first = self.reconnects.replace(reconnects) != Some(reconnects);
        self.beats_left = if is_first { fastrand::u32(1..=ASKED_EVERY) } else { ASKED_EVERY };
    }
}

/// Looks at the edge's health, again and again.
pub(crate) async fn watch(shared: &Shared) -> Result<()> {
    if shared.settings.probes.is_empty() {
        return std::future::pending().await;
    }
    loop {
        let is_deploying = shared.is_deploying();
        let (image, progress) = {
            let remembered = lock(&shared.remembered);
            (remembered.image.clone(), remembered.tried.as_ref().map(|tried| tried.progress))
        };
        // The deployment looks itself, at what it has brought. Before that, what it replaces may be gone.
        if !is_deploying || progress != Some(Progress::Verifying) {
            shared.look(image.as_ref().filter(|_| !is_deploying)).await;
        }
        tokio::time::sleep(shared.settings.health_every).await;
    }
}

/// Tidies the ledger, at once and again and again. By itself, because it must not depend on how often there are events, nor
/// on the hub: when it is away the outbox grows.
pub(crate) async fn keep_tidy(ledger: &Ledger) -> Result<()> {
    loop {
        let dropped = ledger.tidy().await?;
        if dropped > 0 {
            tracing::warn!(dropped, "the outbox was full: its oldest events were dropped");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

/// Puts the job into the edge's queue that brings it to what is wanted; false when it is there already.
pub(crate) async fn enqueue(queue: &Queue, deploy: &Deploy) -> Result<bool> {
    let job = NewJob::json(DEPLOY, deploy)?.id(deploy.job_id()).attempts(DEPLOY_ATTEMPTS);
    let enqueued = queue.producer().enqueue(job).await?;
    Ok(enqueued.outcome == romaine_queue::Outcome::Accepted)
}

fn taken(shared: &Shared, holder: &Holder) -> Error {
    let id = &shared.settings.id;
    let span = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let since = crate::show_span(span(holder.now_ms - holder.since_ms));
    let heard = crate::show_span(span(holder.now_ms - holder.renewed_ms));
    Error::new(
        ErrorKind::Duplicate,
        format!(
            "the id {id} is in use by another agent (on {}, for {since}, last heard of {heard} ago): give each edge an --id of \
             its own, or end that agent first. No job was taken by this one",
            holder.host
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::ledger::{Past, tests::an_old_run};

    #[tokio::test(start_paused = true)]
    async fn the_ledger_is_tidied_every_hour() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger")).unwrap();
        let mut keeper = std::pin::pin!(keep_tidy(&ledger));
        for limit in [TIDY_EVERY / 2, TIDY_EVERY] {
            an_old_run(&ledger, "old").await;
            assert_ne!(ledger.past("old").await.unwrap(), Past::Unknown);
            let _it_goes_on = tokio::time::timeout(limit, &mut keeper).await.unwrap_err();
            assert_eq!(ledger.past("old").await.unwrap(), Past::Unknown, "after {limit:?}");
        }
    }

    #[test]
    fn what_is_wanted_is_asked_first_and_after_a_reconnection_and_every_fourth_time() {
        let mut curiosity = Curiosity::default();
        assert!(curiosity.beat(0, false) && curiosity.beat(0, false), "until there was an answer");
        curiosity.was_told(0);
        let gap = (1..).find(|_| curiosity.beat(0, false));
        assert!(gap <= Some(ASKED_EVERY));
        curiosity.was_told(0);
        assert_eq!((1..).find(|_| curiosity.beat(0, false)), Some(ASKED_EVERY));
        curiosity.was_told(0);
        assert!(!curiosity.beat(0, false) && curiosity.beat(0, true), "a wish without a job");
        curiosity.was_told(0);
        assert!(!curiosity.beat(0, false) && curiosity.beat(1, false), "another connection");
    }
}
