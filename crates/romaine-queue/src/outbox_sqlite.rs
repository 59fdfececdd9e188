//! An outbox in SQLite.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::new_job::{Generation, NewJob, When};
use crate::outbox::{Entry, Outbox, OutboxFuture};
use crate::priority::Priority;
use crate::producer::nonce;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS romaine_outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        payload BLOB NOT NULL,
        priority INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        due_ms INTEGER,
        expires_in_ms INTEGER,
        unique_key TEXT,
        generation_kind INTEGER,
        generation_key TEXT,
        generation INTEGER,
        written_ms INTEGER NOT NULL,
        refused TEXT
    );
    CREATE INDEX IF NOT EXISTS romaine_outbox_pending ON romaine_outbox (number) WHERE refused IS NULL;
";

/// An outbox in a SQLite database of yours, in the table `romaine_outbox`.
#[derive(Clone)]
pub struct SqliteOutbox {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteOutbox {
    /// Opens (or creates) the database at `path`, with its own connection in WAL mode, fsynced at every commit.
    ///
    /// # Errors
    /// [`ErrorKind::Outbox`] when it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let connection = Connection::open(path).map_err(|cause| failed("it cannot be opened", cause))?;
        let set = |name, value: &str| connection.pragma_update(None, name, value);
        set("journal_mode", "WAL").map_err(|cause| failed("WAL mode", cause))?;
        set("synchronous", "FULL").map_err(|cause| failed("synchronous mode", cause))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(|cause| failed("the busy time-out", cause))?;
        connection.execute_batch(TABLE).map_err(|cause| failed("its table cannot be created", cause))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Writes a job within a transaction of yours, so that it is there exactly if what it is about is. Answers the job's
    /// id. Nudge the [`Relay`](crate::Relay) after the commit.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the job cannot work, [`ErrorKind::Outbox`] when it cannot be written.
    pub fn put_in(transaction: &Transaction<'_>, queue: &str, job: NewJob) -> Result<String> {
        put(transaction, queue, job)
    }

    /// Writes a job in a transaction of its own. Answers the job's id.
    ///
    /// # Errors
    /// As [`put_in`](Self::put_in).
    ///
    /// # Cancel safety
    /// The job may be written although the future was dropped.
    pub async fn put(&self, queue: &str, job: NewJob) -> Result<String> {
        let queue = queue.to_owned();
        self.blocking(move |connection| put(connection, &queue, job)).await
    }

    /// Entries that can never be accepted: number, queue, job id and why.
    ///
    /// # Errors
    /// [`ErrorKind::Outbox`] when the database fails.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn refused_entries(&self) -> Result<Vec<(i64, String, String, String)>> {
        self.blocking(|connection| {
            let mut rows = connection
                .prepare_cached("SELECT number, queue, id, refused FROM romaine_outbox WHERE refused IS NOT NULL")
                .map_err(|cause| failed("reading", cause))?;
            let rows = rows
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                .map_err(|cause| failed("reading", cause))?;
            rows.collect::<Result<_, _>>().map_err(|cause| failed("reading", cause))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&connection)
        });
        done.await.map_err(|cause| Error::new(ErrorKind::Outbox, "the outbox's task ended").with_source(cause))?
    }
}

fn failed(what: &str, cause: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Outbox, format!("the outbox failed: {what}")).with_source(cause)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn put(connection: &Connection, queue: &str, mut job: NewJob) -> Result<String> {
    job.check(usize::MAX)?;
    crate::keys::Keys::new(queue)?;
    let id = job.id.take().unwrap_or_else(nonce);
    let now = clock::wall_clock_ms();
    let due = match job.when {
        When::Now => None,
        When::After(delay) => Some(now.saturating_add(millis(delay))),
        When::At(time) => Some(clock::unix_ms(time)),
    };
    let generation = job.generation.as_ref().map(|generation| match generation {
        Generation::Supersedes { key, number } => (1, key.as_str(), i64::try_from(*number).unwrap_or(i64::MAX)),
        Generation::Once { key, number } => (2, key.as_str(), i64::try_from(*number).unwrap_or(i64::MAX)),
    });
    connection
        .prepare_cached(
            "INSERT INTO romaine_outbox (queue, id, kind, payload, priority, attempts, due_ms, expires_in_ms, unique_key,
             generation_kind, generation_key, generation, written_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                queue,
                id,
                job.kind,
                &*job.payload,
                job.priority.number(),
                job.attempts,
                due,
                job.expires_in.map(millis),
                job.unique,
                generation.map(|(kind, ..)| kind),
                generation.map(|(_, key, _)| key),
                generation.map(|(.., number)| number),
                now,
            ])
        })
        .map_err(|cause| failed("writing", cause))?;
    Ok(id)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let mut job = NewJob::new(row.get::<_, String>(3)?, row.get::<_, Vec<u8>>(4)?)
        .id(row.get::<_, String>(2)?)
        .priority(Priority::from_number(row.get(5)?).unwrap_or_default())
        .attempts(row.get(6)?);
    let span = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    if let Some(due) = row.get::<_, Option<i64>>(7)? {
        job = job.at(std::time::UNIX_EPOCH + span(due));
    }
    if let Some(ttl) = row.get::<_, Option<i64>>(8)? {
        job = job.expires_in(span(ttl));
    }
    if let Some(key) = row.get::<_, Option<String>>(9)? {
        job = job.unique(key);
    }
    let generation: (Option<i64>, Option<String>, Option<i64>) = (row.get(10)?, row.get(11)?, row.get(12)?);
    if let (Some(kind), Some(key), Some(number)) = generation {
        let number = u64::try_from(number).unwrap_or(0);
        job = if kind == 1 { job.generation(key, number) } else { job.once(key, number) };
    }
    Ok(Entry { number: row.get(0)?, queue: row.get(1)?, job })
}

impl Outbox for SqliteOutbox {
    fn pending(&self, most: usize) -> OutboxFuture<'_, Vec<Entry>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Box::pin(self.blocking(move |connection| {
            let mut rows = connection
                .prepare_cached(
                    "SELECT number, queue, id, kind, payload, priority, attempts, due_ms, expires_in_ms, unique_key,
                     generation_kind, generation_key, generation
                     FROM romaine_outbox WHERE refused IS NULL ORDER BY number LIMIT ?1",
                )
                .map_err(|cause| failed("reading", cause))?;
            let rows = rows.query_map([most], read).map_err(|cause| failed("reading", cause))?;
            rows.collect::<Result<_, _>>().map_err(|cause| failed("reading", cause))
        }))
    }

    fn relayed<'a>(&'a self, numbers: &'a [i64]) -> OutboxFuture<'a, ()> {
        let numbers = numbers.to_vec();
        Box::pin(self.blocking(move |connection| {
            let transaction = connection.unchecked_transaction().map_err(|cause| failed("deleting", cause))?;
            for number in numbers {
                transaction
                    .prepare_cached("DELETE FROM romaine_outbox WHERE number = ?1")
                    .and_then(|mut delete| delete.execute([number]))
                    .map_err(|cause| failed("deleting", cause))?;
            }
            transaction.commit().map_err(|cause| failed("deleting", cause))
        }))
    }

    fn refused<'a>(&'a self, number: i64, why: &'a str) -> OutboxFuture<'a, ()> {
        let why = why.to_owned();
        Box::pin(self.blocking(move |connection| {
            connection
                .prepare_cached("UPDATE romaine_outbox SET refused = ?2 WHERE number = ?1")
                .and_then(|mut update| update.execute(params![number, why]))
                .map_err(|cause| failed("writing", cause))
                .map(drop)
        }))
    }
}

impl std::fmt::Debug for SqliteOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOutbox").finish_non_exhaustive()
    }
}
