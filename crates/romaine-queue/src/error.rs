//! The one error type.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use romaine::Delivery;

/// A failure: what kind, what was being done, and what it means for the jobs concerned.
///
/// Eight bytes wide and cheap to clone. `Display` prints this level only; the cause is in [`source`](std::error::Error::source). It never
/// contains a payload or a secret.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    delivery: Delivery,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure it is: what to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings cannot work: a queue's name, a cron pattern, a limit of 0.
    Config,
    /// This job or argument cannot work: too large, an empty id. The message names the limit.
    Invalid,
    /// The queue holds as many jobs as it may, or the server is out of memory. Nothing was accepted; try later.
    Full,
    /// The server cannot do what was asked: WAITAOF before 7.2 (nothing was accepted), or without an append-only file (the
    /// job was accepted, and is on no disk).
    Unsupported,
    /// The job was accepted, but not as many copies confirmed it in time as were asked for.
    NotDurable,
    /// The server could not be reached, or could not serve this, until the deadline.
    Unavailable,
    /// The server refuses for good: no permission, a foreign value under one of the queue's keys, an answer that makes
    /// no sense.
    Server,
    /// A value could not be turned into JSON or out of it.
    Codec,
    /// The outbox failed.
    Outbox,
    /// The client, the producer or the worker was closed.
    Closed,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), delivery: Delivery::NotSent, source: None }))
    }

    pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An answer of a script that it cannot have given.
    pub(crate) fn answer(script: &'static str) -> Self {
        Self::new(ErrorKind::Server, format!("the script {script} gave an answer that makes no sense"))
            .with_delivery(Delivery::Executed)
    }

    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    pub(crate) fn with_delivery(mut self, delivery: Delivery) -> Self {
        Arc::make_mut(&mut self.0).delivery = delivery;
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is known of the effect. After [`Delivery::Unknown`] the same jobs can be enqueued again with the same ids:
    /// what was accepted is not accepted twice.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }
}

impl From<romaine::Error> for Error {
    fn from(error: romaine::Error) -> Self {
        use romaine::ErrorKind as Kind;
        let code = error.server().map(|server| server.code().to_owned());
        let (kind, message) = match (error.kind(), code.as_deref()) {
            (_, Some("OOM")) => (ErrorKind::Full, "the server is out of memory (maxmemory)"),
            (Kind::Config, _) => (ErrorKind::Config, "the client's settings cannot work"),
            (Kind::Auth, _) => (ErrorKind::Server, "the server does not permit it"),
            (_, Some("WRONGTYPE")) => (ErrorKind::Server, "one of the queue's keys holds something else"),
            (Kind::Closed, _) if error.delivery() == Delivery::NotSent => (ErrorKind::Closed, "the client was closed"),
            (Kind::Server | Kind::Usage | Kind::Conversion, _) => (ErrorKind::Server, "the server refused"),
            (_, _) => (ErrorKind::Unavailable, "the server could not be reached or could not serve it"),
        };
        let delivery = error.delivery();
        Self::new(kind, message).with_delivery(delivery).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match (self.0.kind, self.0.delivery) {
            (ErrorKind::Unavailable, Delivery::NotSent | Delivery::Refused) => f.write_str("; nothing happened"),
            (ErrorKind::Unavailable, Delivery::Unknown) => f.write_str("; it may have happened"),
            (_, _) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &format_args!("{self}"))
            .field("delivery", &self.0.delivery)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
