//! What is wanted of an edge, and what it says of itself, as they stand in Redis.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::Image;
use crate::labels::Labels;

/// The kind of the jobs that bring an edge to an image.
pub const DEPLOY: &str = "deploy";

/// Desired state: the payload of a job of kind [`DEPLOY`], and what stands in `edge:{edge:<id>}:desired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Grows with everything that is wanted of any edge; a newer one supersedes.
    pub generation: u64,
    /// The image that is to run.
    pub image: Image,
    /// The rollout it belongs to.
    pub rollout: String,
    /// Why.
    pub reason: Reason,
    /// What ran before, as the rollout knew it.
    #[serde(default)]
    pub previous: Option<Image>,
    /// How often a handler that failed is run again.
    #[serde(default)]
    pub retries: u32,
}

/// Why an image is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// A rollout reached this edge.
    Rollout,
    /// A rollout was aborted: back to what ran before.
    Rollback,
}

impl Deploy {
    /// The id of its job: the same from whoever enqueues it.
    #[must_use]
    pub fn job_id(&self) -> String {
        format!("deploy-{}", self.generation)
    }

    /// From the hash that says what is wanted; nothing where nothing is.
    pub(crate) fn wanted(fields: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let Some(text) = fields.get("deploy") else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            Error::caused(crate::ErrorKind::Record, "what is wanted of the edge was written by another version", error)
        })
    }
}

/// How far an edge is with what is wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// The job is here.
    Received,
    /// The handler runs.
    Running,
    /// The handler is done; health is awaited.
    Verifying,
    /// It runs and is healthy.
    Done,
    /// It did not work.
    Failed,
}

impl Progress {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Received, Self::Running, Self::Verifying, Self::Done, Self::Failed]
            .into_iter()
            .find(|progress| progress.name() == text)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an edge last tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The generation.
    pub generation: u64,
    /// How far it came.
    pub progress: Progress,
    /// In which attempt: more than the first after a failure, or after its agent died in the middle.
    #[serde(default)]
    pub attempt: u32,
    /// Why it failed.
    pub error: Option<String>,
}

/// How an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wellness {
    /// All its checks pass.
    Ok,
    /// One of them does not.
    Failing,
    /// It has no checks, or they have not run yet.
    #[default]
    Unknown,
}

impl fmt::Display for Wellness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Unknown => "-",
        })
    }
}

/// A health check's latest outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What it found.
    pub detail: String,
    /// The containers it saw, where it looks at containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
}

/// A container as the engine on the edge describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// `registry/app@sha256:…` where the image came from a registry, else what the engine calls it.
    pub image: String,
    /// `running`, `exited`, `restarting`, …
    pub state: String,
    /// `Up 3 hours (healthy)`
    pub status: String,
}

/// What an edge says of itself, by the hub's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reported {
    /// When it was last heard of, in milliseconds since 1970.
    pub seen_ms: i64,
    /// Within what time after that it is heard of again.
    pub promise_ms: i64,
    /// Whether it said goodbye.
    pub left: bool,
    /// The agent's version.
    pub version: String,
    /// The machine's name.
    pub host: String,
    /// Its labels.
    pub labels: Labels,
    /// How it is.
    pub health: Wellness,
    /// Its checks.
    pub checks: Vec<Check>,
    /// The image it runs.
    pub image: Option<Image>,
    /// The generation that it runs.
    pub generation: u64,
    /// What it last tried.
    pub tried: Option<Tried>,
    /// Jobs that run on it.
    pub running: Vec<String>,
    /// Events that wait for the hub.
    pub outbox: u64,
    /// Connections it lost since it started.
    pub reconnects: u64,
}

impl Reported {
    pub(crate) fn read(fields: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let number = |name: &str| text(name).parse::<i64>().unwrap_or(0);
        let count = |name: &str| text(name).parse::<u64>().unwrap_or(0);
        let tried = Progress::parse(text("tried_progress")).map(|progress| Tried {
            generation: count("tried"),
            progress,
            attempt: u32::try_from(count("tried_attempt")).unwrap_or(u32::MAX),
            error: Some(text("tried_error").to_owned()).filter(|error| !error.is_empty()),
        });
        Self {
            seen_ms: number("seen"),
            promise_ms: number("promise"),
            left: text("left") == "1",
            version: text("version").to_owned(),
            host: text("host").to_owned(),
            labels: text("labels").parse().unwrap_or_default(),
            health: match text("health") {
                "ok" => Wellness::Ok,
                "failing" => Wellness::Failing,
                _ => Wellness::Unknown,
            },
            checks: serde_json::from_str(text("checks")).unwrap_or_default(),
            image: text("image").parse().ok(),
            generation: count("generation"),
            tried,
            running: text("running").split(' ').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            outbox: count("outbox"),
            reconnects: count("reconnects"),
        }
    }

    /// Fields and values for the hash; `seen` is the hub's to write.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let tried = self.tried.as_ref();
        vec![
            ("promise", self.promise_ms.to_string()),
            ("left", u8::from(self.left).to_string()),
            ("version", self.version.clone()),
            ("host", self.host.clone()),
            ("labels", self.labels.to_string()),
            ("health", self.health.to_string()),
            ("checks", serde_json::to_string(&self.checks).unwrap_or_default()),
            ("image", self.image.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("generation", self.generation.to_string()),
            ("tried", tried.map_or(0, |tried| tried.generation).to_string()),
            ("tried_progress", tried.map_or("", |tried| tried.progress.name()).to_owned()),
            ("tried_attempt", tried.map_or(0, |tried| tried.attempt).to_string()),
            ("tried_error", tried.and_then(|tried| tried.error.clone()).unwrap_or_default()),
            ("running", self.running.join(" ")),
            ("outbox", self.outbox.to_string()),
            ("reconnects", self.reconnects.to_string()),
        ]
    }

    /// How long it has not been heard of at `now_ms` of the hub.
    #[must_use]
    pub fn silent_for(&self, now_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(now_ms - self.seen_ms).unwrap_or(0))
    }

    /// Whether it is there: it kept its promise, three times over, and did not say goodbye.
    #[must_use]
    pub fn is_online(&self, now_ms: i64) -> bool {
        !self.left && self.seen_ms > 0 && now_ms - self.seen_ms <= self.promise_ms.saturating_mul(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_edge_says_is_read_as_it_was_written() {
        let reported = Reported {
            seen_ms: 0,
            promise_ms: 15_000,
            version: "0.1.0".into(),
            labels: "region=kr".parse().unwrap(),
            health: Wellness::Failing,
            checks: vec![Check { name: "c".into(), ok: false, detail: "exit code 1".into(), containers: Vec::new() }],
            image: format!("a@sha256:{}", "a".repeat(64)).parse().ok(),
            generation: 7,
            tried: Some(Tried { generation: 8, progress: Progress::Failed, attempt: 2, error: Some("no".into()) }),
            running: vec!["a".into(), "b".into()],
            ..Reported::default()
        };
        let fields = reported.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(Reported::read(&fields), reported);
    }

    #[test]
    fn an_edge_is_gone_when_it_broke_its_promise_three_times() {
        let reported = Reported { seen_ms: 1_000, promise_ms: 100, ..Reported::default() };
        assert!(reported.is_online(1_300) && !reported.is_online(1_301));
        assert!(!Reported { left: true, ..reported }.is_online(1_001));
    }
}
