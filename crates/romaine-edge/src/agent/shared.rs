//! What the agent's tasks know together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::Settings;
use crate::agent::ledger::{Ledger, Outcome, Remembered};
use crate::error::Result;
use crate::health;
use crate::image::Image;
use crate::record::{Check, Deploy, Progress, Reported, Tried, Wellness};

/// How a run's end reaches those who wait for it.
pub(crate) type End = watch::Receiver<Option<Ended>>;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It came to this.
    As(Outcome),
    /// The agent ends, and its handler was not started.
    Unbegun,
    /// The agent ends, and so did its handler, in the middle; it may run again.
    Halfway,
}

/// A job that runs.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) is_deploy: bool,
    pub(crate) end: End,
    pub(crate) cancel: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    /// By the job's id and when it was enqueued: an id that is used again is another job.
    pub(crate) runs: Mutex<HashMap<String, Run>>,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    pub(crate) remembered: Mutex<Remembered>,
    pub(crate) checks: Mutex<Vec<Check>>,
    pub(crate) wanted: Mutex<Option<Deploy>>,
    /// Something changed that the hub is to know at once.
    pub(crate) changed: Notify,
    /// There is something in the outbox.
    pub(crate) news: Notify,
    /// One job is opened at a time: what the ledger said of it must still be true when it is begun.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// One deployment at a time.
    pub(crate) deploying: tokio::sync::Mutex<()>,
    /// Everything is to stop; runs are interrupted, not cancelled.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(settings: Settings, ledger: Ledger, remembered: Remembered) -> Self {
        Self {
            settings,
            ledger,
            runs: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
            remembered: Mutex::new(remembered),
            checks: Mutex::default(),
            wanted: Mutex::default(),
            changed: Notify::new(),
            news: Notify::new(),
            opening: tokio::sync::Mutex::new(()),
            deploying: tokio::sync::Mutex::new(()),
            stop: CancellationToken::new(),
        }
    }

    /// Whether a deployment is under way.
    pub(crate) fn is_deploying(&self) -> bool {
        lock(&self.runs).values().any(|run| run.is_deploy)
    }

    /// Notes how far a deployment is; what is returned belongs into the ledger.
    pub(crate) fn progress(
        &self,
        deploy: &Deploy,
        attempt: u32,
        progress: Progress,
        error: Option<String>,
    ) -> (&'static str, String) {
        let mut remembered = lock(&self.remembered);
        remembered.tried = Some(Tried { generation: deploy.generation, progress, attempt, error });
        if progress == Progress::Done {
            remembered.image = Some(deploy.image.clone());
            remembered.generation = deploy.generation;
        }
        remembered.fact()
    }

    /// Looks at everything that is to be looked at; `image` is what is to run here.
    pub(crate) async fn look(&self, image: Option<&Image>) -> Wellness {
        let limit = self.settings.health_limit;
        let checks = join_all(self.settings.probes.iter().map(|probe| probe.look(limit, image))).await;
        let overall = health::overall(&checks);
        let before = std::mem::replace(&mut *lock(&self.checks), checks);
        if health::overall(&before) != overall {
            self.changed.notify_one();
        }
        overall
    }

    /// What is to be said of this edge.
    pub(crate) async fn reported(&self, reconnects: u64) -> Result<Reported> {
        let outbox = self.ledger.outbox_len().await?;
        let remembered = lock(&self.remembered).clone();
        let checks = lock(&self.checks).clone();
        let mut running: Vec<String> = lock(&self.runs).values().map(|run| run.id.clone()).collect();
        running.sort_unstable();
        let settings = &self.settings;
        Ok(Reported {
            seen_ms: 0,
            promise_ms: i64::try_from(settings.heartbeat.as_millis()).unwrap_or(i64::MAX),
            left: false,
            version: settings.version.clone(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            health: health::overall(&checks),
            image: observed(&checks, remembered.image.as_ref()).or(remembered.image),
            checks,
            generation: remembered.generation,
            tried: remembered.tried,
            running,
            outbox,
            reconnects,
        })
    }
}

/// The image that the engine says is running in place of the one we believe is.
fn observed(checks: &[Check], believed: Option<&Image>) -> Option<Image> {
    let repository = believed?.repository();
    let running = checks.iter().flat_map(|check| &check.containers).filter(|container| container.state == "running");
    let images: Vec<Image> = running.filter_map(|container| container.image.parse().ok()).collect();
    let same = |image: &&Image| image.repository() == repository;
    // Two of them while one takes over from the other: the one we brought.
    images.iter().find(|image| Some(*image) == believed).or_else(|| images.iter().find(same)).cloned()
}

/// Nothing here stays half done when a task panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Container;

    #[test]
    fn what_the_engine_runs_counts_more_than_what_we_believe() {
        let image = |repository: &str, digit: &str| {
            format!("{repository}@sha256:{}", digit.repeat(64)).parse::<Image>().unwrap()
        };
        let container = |image: &Image| Container {
            name: "a".into(),
            image: image.to_string(),
            state: "running".into(),
            status: String::new(),
        };
        let (old, new, other) = (image("app", "1"), image("app", "2"), image("db", "3"));
        let seen = |images: &[&Image]| {
            let containers = images.iter().map(|image| container(image)).collect();
            let checks = [Check { name: "docker:/x".into(), ok: true, detail: String::new(), containers }];
            observed(&checks, Some(&new))
        };
        assert_eq!(seen(&[&other, &old]), Some(old.clone()));
        assert_eq!(seen(&[&old, &new]), Some(new.clone()));
        assert_eq!(seen(&[&other]), None);
    }
}
