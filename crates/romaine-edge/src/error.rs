//! The one error type.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for cannot be done as asked.
    Usage,
    /// The hub could not be reached, or could not serve it now.
    Unreachable,
    /// The hub refused: who we are, or what we may.
    Refused,
    /// Another agent uses this id.
    Duplicate,
    /// The ledger could not be read or written.
    Ledger,
    /// Something in Redis is not what this version wrote.
    Record,
}

/// A failure: what, where, and what to do. The cause is in [`source`](std::error::Error::source). Never contains a
/// payload or a secret.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub(crate) fn record(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Record, message)
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: Some(Box::new(source)) }))
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The whole chain in one line.
    #[must_use]
    pub fn full(&self) -> String {
        chain(self)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<romaine::Error> for Error {
    fn from(error: romaine::Error) -> Self {
        use romaine::ErrorKind as Kind;
        let code = error.server().map_or("", |server| server.code());
        let (kind, message) = match (error.kind(), code) {
            (Kind::Config | Kind::Usage, _) => (ErrorKind::Usage, "the hub's settings cannot work"),
            (Kind::Auth, "NOPERM") => (
                ErrorKind::Refused,
                "the hub does not permit it: give the user the rule that `romaine agent --print-acl` prints",
            ),
            (Kind::Auth, _) => (ErrorKind::Refused, "the hub refuses the user or the password"),
            (Kind::Tls, _) => (ErrorKind::Refused, "the hub and we do not trust each other"),
            // These pass by themselves, or by what is done at the hub.
            (Kind::Server, "OOM" | "MISCONF" | "NOREPLICAS") => {
                (ErrorKind::Unreachable, "the hub cannot take anything in now")
            }
            (Kind::Server, "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "UNBLOCKED") => {
                (ErrorKind::Unreachable, "the hub is being rearranged")
            }
            (Kind::Server, _) => (ErrorKind::Refused, "the hub refused"),
            (Kind::Conversion | Kind::Protocol, _) => (ErrorKind::Record, "the hub gave an answer that makes no sense"),
            (_, _) => (ErrorKind::Unreachable, "the hub cannot be reached, or cannot serve now"),
        };
        Self::caused(kind, message, error)
    }
}

impl From<romaine_queue::Error> for Error {
    fn from(error: romaine_queue::Error) -> Self {
        use romaine_queue::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::Config | Kind::Invalid | Kind::Codec | Kind::Unsupported => ErrorKind::Usage,
            Kind::Unavailable | Kind::NotDurable | Kind::Closed | Kind::Full => ErrorKind::Unreachable,
            _ => ErrorKind::Refused,
        };
        Self::caused(kind, "the queue", error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
