//! A job on its way into a queue.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::priority::Priority;

/// Attempts a job gets when it does not say.
const ATTEMPTS: u16 = 5;

/// The longest id, kind or key, in bytes.
pub(crate) const NAME_MAX: usize = 200;

/// Work to be done: a kind, a payload, and when and how often it may be tried.
///
/// ```
/// use std::time::Duration;
/// use romaine_queue::{NewJob, Priority};
///
/// let job = NewJob::json("mail", &serde_json::json!({ "to": "ada@example.org" }))?
///     .id("welcome-7")
///     .priority(Priority::High)
///     .delay(Duration::from_secs(60))
///     .attempts(3);
/// # Ok::<(), romaine_queue::Error>(())
/// ```
#[derive(Clone)]
pub struct NewJob {
    pub(crate) id: Option<String>,
    pub(crate) kind: String,
    pub(crate) payload: Bytes,
    pub(crate) priority: Priority,
    pub(crate) attempts: u16,
    pub(crate) when: When,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) unique: Option<String>,
    pub(crate) generation: Option<Generation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    After(Duration),
    At(SystemTime),
}

/// What a numbered job does to those with a lower number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Takes their place while they wait.
    Supersedes { key: String, number: u64 },
    /// Leaves them; only refuses to be enqueued after a higher one.
    Once { key: String, number: u64 },
}

impl NewJob {
    /// A job of this kind with a payload of bytes.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            id: None,
            kind: kind.into(),
            payload: payload.into(),
            priority: Priority::default(),
            attempts: ATTEMPTS,
            when: When::Now,
            expires_in: None,
            unique: None,
            generation: None,
        }
    }

    /// A job of this kind with a payload of JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when `payload` has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(kind: impl Into<String>, payload: &T) -> Result<Self> {
        let payload = serde_json::to_vec(payload)
            .map_err(|cause| Error::new(ErrorKind::Codec, "the payload has no form in JSON").with_source(cause))?;
        Ok(Self::new(kind, payload))
    }

    /// Its name: a second job of the same id is not accepted while the first is in the queue, nor for a while after
    /// (the worker's `remember_for`). Default: a new one.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How urgent it is. Default [`Priority::Normal`].
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How often it may be started, a crash of its worker counted, before it goes to the dead letters. Default 5, at
    /// least 1.
    #[must_use]
    pub const fn attempts(mut self, most: u16) -> Self {
        self.attempts = most;
        self
    }

    /// Not before this time has passed at the server. Default: at once.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.when = When::After(delay);
        self
    }

    /// Not before the server's clock shows this. Default: at once.
    #[must_use]
    pub const fn at(mut self, time: SystemTime) -> Self {
        self.when = When::At(time);
        self
    }

    /// Dropped if it was not started within this time after it was accepted (a delay included). Default: never.
    #[must_use]
    pub const fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// Not accepted while another job with this key is unfinished. The key is free again when the job is done, dead,
    /// cancelled or expired. Default: none.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique = Some(key.into());
        self
    }

    /// Desired state rather than one more command: takes the place of every older generation of `key` that has not
    /// started, and is itself not accepted once a newer one is known. Default: none.
    #[must_use]
    pub fn generation(mut self, key: impl Into<String>, number: u64) -> Self {
        self.generation = Some(Generation::Supersedes { key: key.into(), number });
        self
    }

    /// Not accepted unless `number` is higher than every one before under `key`; older jobs stay. For a schedule that
    /// several processes keep.
    #[must_use]
    pub fn once(mut self, key: impl Into<String>, number: u64) -> Self {
        self.generation = Some(Generation::Once { key: key.into(), number });
        self
    }

    /// Whether it can be enqueued.
    pub(crate) fn check(&self, payload_max: usize) -> Result<()> {
        let generation = self.generation.as_ref().map(|generation| match generation {
            Generation::Supersedes { key, .. } | Generation::Once { key, .. } => key.as_str(),
        });
        let names = [
            ("id", self.id.as_deref()),
            ("kind", Some(self.kind.as_str())),
            ("unique key", self.unique.as_deref()),
            ("generation key", generation),
        ];
        for (what, name) in names {
            if name.is_some_and(|name| name.is_empty() || name.len() > NAME_MAX) {
                return Err(Error::invalid(format!("a job's {what} has 1 to {NAME_MAX} bytes")));
            }
        }
        if self.payload.len() > payload_max {
            let size = self.payload.len();
            return Err(Error::invalid(format!(
                "a payload of {size} bytes is larger than payload_max ({payload_max})"
            )));
        }
        if self.attempts == 0 {
            return Err(Error::invalid("a job gets at least one attempt"));
        }
        let number = self.generation.as_ref().map_or(0, |generation| match generation {
            Generation::Supersedes { number, .. } | Generation::Once { number, .. } => *number,
        });
        if number >= 1 << 52 {
            return Err(Error::invalid("a generation is a number below 2^52"));
        }
        Ok(())
    }
}

impl fmt::Debug for NewJob {
    /// Shows no payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewJob")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("payload_bytes", &self.payload.len())
            .field("priority", &self.priority)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
