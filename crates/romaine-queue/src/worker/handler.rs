//! What does the work.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::worker::job::Job;

/// The longest reason that is kept with a failed job, in bytes.
const REASON_MAX: usize = 1_024;

/// Does the work of a worker. Any `async fn(Job) -> Result<(), Failure>` is one; for typed payloads by kind see
/// [`Router`](crate::Router).
///
/// It runs at least once for every job: twice when a worker is cut off after the work and before its report arrived.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn handle(&self, job: Job) -> impl Future<Output = Result<Done, Failure>> + Send + 'static;
}

impl<F, Work, R> Handler for F
where
    F: Fn(Job) -> Work + Send + Sync + 'static,
    Work: Future<Output = Result<R, Failure>> + Send + 'static,
    R: Into<Done>,
{
    fn handle(&self, job: Job) -> impl Future<Output = Result<Done, Failure>> + Send + 'static {
        let work = self(job);
        async move { work.await.map(Into::into) }
    }
}

/// A job's work under way.
pub(crate) type Working = Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send>>;

/// [`Handler`] as a trait object.
pub(crate) trait AnyHandler: Send + Sync {
    fn start(&self, job: Job) -> Working;
}

impl<H: Handler> AnyHandler for H {
    fn start(&self, job: Job) -> Working {
        Box::pin(self.handle(job))
    }
}

/// The work is done. With a result, if somebody may ask for it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Done {
    pub(crate) result: Option<Bytes>,
}

impl Done {
    /// Done, with a result for [`Queue::result`](crate::Queue::result).
    #[must_use]
    pub fn with(result: impl Into<Bytes>) -> Self {
        Self { result: Some(result.into()) }
    }

    /// Done, with a result as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] when it has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(result: &T) -> Result<Self> {
        let json = serde_json::to_vec(result)
            .map_err(|cause| Error::new(ErrorKind::Codec, "the result has no form in JSON").with_source(cause))?;
        Ok(Self::with(json))
    }
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Done({} bytes)", self.result.as_ref().map_or(0, Bytes::len))
    }
}

/// The work failed: why, and whether to try again.
///
/// Every error turns into one by `?`: it is tried again after the worker's back-off, until its attempts are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(crate) why: String,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Backoff,
    After(Duration),
    Never,
    /// The attempt does not count.
    GiveBack(Option<Duration>),
}

impl Failure {
    /// Again after the worker's back-off. `why` is kept with the job, up to 1 KiB: no secrets.
    #[must_use]
    pub fn retry(why: impl Into<String>) -> Self {
        Self::new(why.into(), Then::Backoff)
    }

    /// Again after this time.
    #[must_use]
    pub fn retry_after(delay: Duration, why: impl Into<String>) -> Self {
        Self::new(why.into(), Then::After(delay))
    }

    /// Never again: to the dead letters.
    #[must_use]
    pub fn dead(why: impl Into<String>) -> Self {
        Self::new(why.into(), Then::Never)
    }

    /// Not by this worker, or not now: the job is given back, and this attempt is not counted. Another worker may have it a
    /// second later at the latest. A worker that gives back as many in a row as it runs at a time claims nothing for its
    /// back-off, which grows until a job ends otherwise: what is wrong is wrong with the worker, and it neither spins nor
    /// takes from others what they could do. `why` is kept with the job, as always.
    ///
    /// Nothing ends a job that is given back for ever: it is for what is wrong with the worker, not with the job.
    #[must_use]
    pub fn give_back(why: impl Into<String>) -> Self {
        Self::new(why.into(), Then::GiveBack(None))
    }

    /// The same, but the job may be claimed again only after this time: 100 ms at least.
    #[must_use]
    pub fn give_back_for(delay: Duration, why: impl Into<String>) -> Self {
        Self::new(why.into(), Then::GiveBack(Some(delay)))
    }

    fn new(mut why: String, then: Then) -> Self {
        if why.len() > REASON_MAX {
            let mut end = REASON_MAX;
            while !why.is_char_boundary(end) {
                end -= 1;
            }
            why.truncate(end);
        }
        Self { why, then }
    }

    /// Why it failed.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause
            && why.len() < REASON_MAX
        {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        Self::retry(why)
    }
}
