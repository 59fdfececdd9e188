//! Handlers by kind, with typed payloads.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::worker::handler::{Done, Failure, Handler, Working};
use crate::worker::job::Job;

type Route = Arc<dyn Fn(Job) -> Working + Send + Sync>;

/// Handlers by the kind of job, each with its own type of payload.
///
/// A payload that is not of its handler's type sends the job to the dead letters: trying again would not help. A kind
/// that has no handler here is tried again later, since another worker may know it, and ends as a dead letter that says
/// so.
///
/// ```
/// use romaine_queue::{Failure, Job, Router};
///
/// #[derive(serde::Deserialize)]
/// struct Mail {
///     to: String,
/// }
///
/// let router = Router::new().on("mail", async |mail: Mail, _job: Job| {
///     println!("mail to {}", mail.to);
///     Ok::<_, Failure>(())
/// });
/// # let _ = router;
/// ```
#[derive(Clone, Default)]
pub struct Router {
    routes: HashMap<String, Route>,
}

impl Router {
    /// No handlers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles jobs of this kind; replaces an earlier handler for it.
    #[must_use]
    pub fn on<T, F, Work, R>(mut self, kind: impl Into<String>, handler: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(T, Job) -> Work + Send + Sync + 'static,
        Work: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Done> + 'static,
    {
        let route: Route = Arc::new(move |job: Job| match job.json::<T>() {
            Ok(payload) => {
                let work = handler(payload, job);
                Box::pin(async move { work.await.map(Into::into) })
            }
            Err(error) => {
                let failure = Failure::dead(error.to_string());
                Box::pin(std::future::ready(Err(failure)))
            }
        });
        self.routes.insert(kind.into(), route);
        self
    }

    /// The kinds it handles, in no order.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }
}

impl Handler for Router {
    fn handle(&self, job: Job) -> impl Future<Output = Result<Done, Failure>> + Send + 'static {
        let work = self.routes.get(job.kind()).map(|route| route(job.clone()));
        async move {
            match work {
                Some(work) => work.await,
                None => Err(Failure::retry(format!("no handler for jobs of kind {}", job.kind()))),
            }
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("kinds", &self.routes.keys()).finish()
    }
}
