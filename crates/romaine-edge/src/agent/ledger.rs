//! What an agent must not forget: which jobs it began, how they ended, what the hub was not told yet.
//!
//! SQLite, one file, locked for as long as the agent lives. Every step is on the disk before the next one is taken: a
//! job is begun in here before its handler is started, and ended in here before the queue is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Tried;

/// How long the end of a job is remembered: a multiple of the longest time after which a job can come back.
const REMEMBERED_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// Ended jobs that are remembered.
const ENDED_MAX: i64 = 100_000;

/// Events that wait for the hub; of more, the oldest are dropped and counted.
const OUTBOX_MAX: i64 = 10_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    job TEXT PRIMARY KEY, kind TEXT NOT NULL, phase TEXT NOT NULL, token INTEGER NOT NULL, attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0, at_ms INTEGER NOT NULL, process TEXT, outcome TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL);
";

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// The handler's exit code, if it ended by itself.
    pub(crate) exit: Option<i32>,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// The end of what the handler wrote.
    pub(crate) tail: String,
    /// When it began, by the edge's clock.
    pub(crate) begun_ms: i64,
    /// When it ended.
    pub(crate) ended_ms: i64,
    /// Which attempt it was.
    pub(crate) attempt: u32,
    /// The number of the lease under which it ran.
    #[serde(default)]
    pub(crate) token: i64,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It worked.
    Done,
    /// Something newer is wanted: nothing was done.
    Superseded,
    /// It did not work; it may be tried again.
    Retry,
    /// It is to be tried again and has not failed: its handler asks for that.
    Later,
    /// Nothing of it was done, and it is not its fault: the handler is not there, or it could not be begun.
    Unable,
    /// It did not work, and is not to be tried again.
    Failed,
    /// The agent ended while it ran: nobody knows how far it came.
    Interrupted,
    /// Somebody cancelled it.
    Cancelled,
}

/// What the ledger knows of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Past {
    Unknown,
    /// It was taken, and its handler was not started since.
    Received {
        failures: u32,
        token: i64,
    },
    /// Its handler was started; no end is known.
    Begun {
        at_ms: i64,
        attempt: u32,
        failures: u32,
    },
    Ended {
        outcome: Outcome,
        failures: u32,
        token: i64,
    },
}

impl Past {
    /// Runs of it that failed before.
    pub(crate) const fn failures(&self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Received { failures, .. } | Self::Begun { failures, .. } | Self::Ended { failures, .. } => *failures,
        }
    }
}

/// A job as the ledger needs it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) job: String,
    pub(crate) kind: String,
    pub(crate) token: i64,
    pub(crate) attempt: u32,
}

/// An event for the hub.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event<'a> {
    pub(crate) at_ms: i64,
    pub(crate) job: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) attempt: u32,
    pub(crate) phase: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<&'a Outcome>,
}

/// The file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Ledger {
    /// Opens or makes it, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Self::prepare(path).map_err(|error| {
            let shown = path.display();
            let busy = matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked));
            if busy {
                Error::new(
                    ErrorKind::Duplicate,
                    format!("the ledger {shown} is in use by another agent on this machine: give each its own --id and --ledger"),
                )
            } else {
                Error::caused(
                    ErrorKind::Ledger,
                    format!("the ledger {shown} cannot be opened; nothing is run without it: check the path, its permissions and the disk"),
                    error,
                )
            }
        })?;
        Ok(Self { path: path.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    fn prepare(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(&format!("BEGIN EXCLUSIVE; {SCHEMA} COMMIT;"))?;
        Ok(connection)
    }

    /// Does something with the file, on a thread that may wait for the disk.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self.connection.clone();
        let worked =
            tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)));
        match worked.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let path = self.path.display();
                Err(Error::caused(ErrorKind::Ledger, format!("the ledger {path} cannot be read or written"), error))
            }
            Err(error) => Err(Error::caused(ErrorKind::Ledger, "the ledger's thread ended", error)),
        }
    }

    /// A fact by its name.
    pub(crate) async fn fact(&self, name: &'static str) -> Result<Option<String>> {
        self.with(move |db| read_fact(db, name)).await
    }

    /// Facts are replaced together.
    pub(crate) async fn keep(&self, facts: Vec<(&'static str, String)>) -> Result<()> {
        self.with(move |db| {
            let transaction = db.transaction()?;
            for (name, value) in &facts {
                write_fact(&transaction, name, value)?;
            }
            transaction.commit()
        })
        .await
    }

    /// What is known of a job.
    pub(crate) async fn past(&self, job: &str) -> Result<Past> {
        let job = job.to_owned();
        self.with(move |db| {
            let query = "SELECT phase, at_ms, attempt, failures, outcome, token FROM runs WHERE job = ?1";
            db.query_row(query, [job], |row| {
                let (phase, at_ms, attempt): (String, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (failures, outcome): (u32, Option<String>) = (row.get(3)?, row.get(4)?);
                let outcome = outcome.and_then(|text| serde_json::from_str(&text).ok());
                Ok(match (phase.as_str(), outcome) {
                    ("ended", Some(outcome)) => Past::Ended { outcome, failures, token: row.get(5)? },
                    ("begun", _) => Past::Begun { at_ms, attempt, failures },
                    _ => Past::Received { failures, token: row.get(5)? },
                })
            })
            .optional()
            .map(|found| found.unwrap_or(Past::Unknown))
        })
        .await
    }

    /// A step of a job, with its event.
    pub(crate) async fn step(&self, entry: &Entry, phase: Phase, facts: Vec<(&'static str, String)>) -> Result<()> {
        let entry = entry.clone();
        self.with(move |db| {
            let now = clock::wall_ms();
            let transaction = db.transaction()?;
            let (name, outcome, counted) = match &phase {
                Phase::Received => ("received", None, 0),
                Phase::Begun => ("begun", None, 0),
                Phase::Ended(outcome) => ("ended", Some(outcome), u32::from(outcome.verdict == Verdict::Retry)),
            };
            let text = outcome.and_then(|outcome| serde_json::to_string(outcome).ok());
            transaction.execute(
                "INSERT INTO runs (job, kind, phase, token, attempt, failures, at_ms, outcome) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (job) DO UPDATE SET phase = ?3, token = ?4, \
                 attempt = ?5, failures = failures + ?6, at_ms = ?7, outcome = ?8, process = NULL",
                params![entry.job, entry.kind, name, entry.token, entry.attempt, counted, now, text],
            )?;
            let shown = match &phase {
                Phase::Received => "received",
                Phase::Begun => "running",
                Phase::Ended(outcome) => verdict_name(outcome.verdict),
            };
            let (job, kind) = (entry.job.as_str(), entry.kind.as_str());
            let event = Event { at_ms: now, job, kind, attempt: entry.attempt, phase: shown, outcome };
            let event = serde_json::to_string(&event).unwrap_or_default();
            transaction.execute("INSERT INTO events (text) VALUES (?1)", [event])?;
            for (name, value) in &facts {
                write_fact(&transaction, name, value)?;
            }
            transaction.commit()
        })
        .await
    }

    /// Which process runs the job.
    pub(crate) async fn process(&self, job: &str, process: String) -> Result<()> {
        let job = job.to_owned();
        self.with(move |db| db.execute("UPDATE runs SET process = ?2 WHERE job = ?1", params![job, process]).map(drop))
            .await
    }

    /// Processes of jobs that were begun and did not end.
    pub(crate) async fn leftovers(&self) -> Result<Vec<(String, String)>> {
        self.with(|db| {
            let mut query =
                db.prepare("SELECT job, process FROM runs WHERE phase = 'begun' AND process IS NOT NULL")?;
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .await
    }

    /// The oldest events that the hub does not have.
    pub(crate) async fn outbox(&self, most: u32) -> Result<Vec<(i64, String)>> {
        self.with(move |db| {
            let mut query = db.prepare("SELECT number, text FROM events ORDER BY number LIMIT ?1")?;
            query.query_map([most], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .await
    }

    /// How many there are.
    pub(crate) async fn outbox_len(&self) -> Result<u64> {
        self.with(|db| db.query_row("SELECT COUNT(*) FROM events", [], |row| row.get::<_, i64>(0)))
            .await
            .map(|count| u64::try_from(count).unwrap_or(0))
    }

    /// The hub has them up to this number.
    pub(crate) async fn arrived(&self, number: i64) -> Result<()> {
        self.with(move |db| db.execute("DELETE FROM events WHERE number <= ?1", [number]).map(drop)).await
    }

    /// Forgets what is old; answers how many events were dropped unsent.
    pub(crate) async fn tidy(&self) -> Result<usize> {
        self.with(|db| {
            let oldest = clock::wall_ms() - REMEMBERED_MS;
            db.execute("DELETE FROM runs WHERE phase = 'ended' AND at_ms < ?1", [oldest])?;
            db.execute(
                "DELETE FROM runs WHERE job IN (SELECT job FROM runs WHERE phase = 'ended' ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)",
                [ENDED_MAX],
            )?;
            db.execute(
                "DELETE FROM events WHERE number IN (SELECT number FROM events ORDER BY number DESC LIMIT -1 OFFSET ?1)",
                [OUTBOX_MAX],
            )
        })
        .await
    }
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Received,
    Begun,
    Ended(Outcome),
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Done => "done",
        Verdict::Superseded => "superseded",
        Verdict::Retry | Verdict::Later | Verdict::Unable => "retry",
        Verdict::Failed => "failed",
        Verdict::Interrupted => "interrupted",
        Verdict::Cancelled => "cancelled",
    }
}

fn read_fact(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn write_fact(db: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    db.execute("INSERT INTO facts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", [name, value]).map(drop)
}

/// What an agent remembers of the images it ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) image: Option<crate::image::Image>,
    pub(crate) generation: u64,
    pub(crate) tried: Option<Tried>,
}

impl Remembered {
    /// The name of the fact that holds it.
    pub(crate) const FACT: &'static str = "deployed";

    pub(crate) fn fact(&self) -> (&'static str, String) {
        (Self::FACT, serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run that ended so long ago that it is to be forgotten.
    pub(crate) async fn an_old_run(ledger: &Ledger, job: &str) {
        let entry = Entry { job: job.into(), ..entry(1) };
        ledger.step(&entry, Phase::Ended(outcome(Verdict::Done)), Vec::new()).await.unwrap();
        ledger.with(|db| db.execute("UPDATE runs SET at_ms = 0", [])).await.unwrap();
    }

    fn entry(attempt: u32) -> Entry {
        Entry { job: "a".into(), kind: "k".into(), token: 7, attempt }
    }

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            exit: Some(3),
            error: None,
            tail: "end".into(),
            begun_ms: 1,
            ended_ms: 2,
            attempt: 1,
            token: 7,
        }
    }

    #[tokio::test]
    async fn a_ledger_that_was_closed_anyhow_knows_how_far_a_job_came() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        for (step, expected) in [
            (None, Past::Unknown),
            (Some(Phase::Received), Past::Received { failures: 0, token: 7 }),
            (
                Some(Phase::Ended(outcome(Verdict::Retry))),
                Past::Ended { outcome: outcome(Verdict::Retry), failures: 1, token: 7 },
            ),
            // What failed before is not forgotten when the agent dies in the middle of the next run.
            (Some(Phase::Received), Past::Received { failures: 1, token: 7 }),
            (Some(Phase::Begun), Past::Begun { at_ms: 0, attempt: 1, failures: 1 }),
            // No failure of the job.
            (
                Some(Phase::Ended(outcome(Verdict::Later))),
                Past::Ended { outcome: outcome(Verdict::Later), failures: 1, token: 7 },
            ),
            (
                Some(Phase::Ended(outcome(Verdict::Done))),
                Past::Ended { outcome: outcome(Verdict::Done), failures: 1, token: 7 },
            ),
        ] {
            let ledger = Ledger::open(&path).unwrap();
            if let Some(step) = step {
                ledger.step(&entry(1), step, Vec::new()).await.unwrap();
            }
            drop(ledger);
            let mut past = Ledger::open(&path).unwrap().past("a").await.unwrap();
            if let Past::Begun { at_ms, .. } = &mut past {
                *at_ms = 0;
            }
            assert_eq!(past, expected);
        }
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.outbox_len().await.unwrap(), 6);
        let events = ledger.outbox(2).await.unwrap();
        assert!(events[1].1.contains("\"phase\":\"retry\""), "{events:?}");
        ledger.arrived(events[1].0).await.unwrap();
        assert_eq!(ledger.outbox_len().await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_ledger_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let first = Ledger::open(&path).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Duplicate);
        drop(first);
        Ledger::open(&path).unwrap();
        let error = Ledger::open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ledger);
    }
}
