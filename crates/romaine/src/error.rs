//! The one error type.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use romaine_commands::ConversionError;
use romaine_proto::{CloseReason, FailureKind, HandshakeError, Refusal, retry};
use romaine_resp::ServerError;

pub use romaine_proto::Delivery;

/// A failure: what kind, what is known of the command's effect, which command, which node, and why.
///
/// Eight bytes wide and cheap to clone. `Display` prints this level only; the cause is in
/// [`source`](std::error::Error::source). It never contains an argument or a secret.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// What kind of failure it is: what to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings cannot work: wrong URL, unknown parameter, unreadable certificate. Never worth a retry.
    Config,
    /// The call cannot work: SUBSCRIBE through `cmd`, a blocking command in a pipeline.
    Usage,
    /// Nobody answered: name resolution, TCP, a handshake that did not end.
    Connect,
    /// The server refused who we are.
    Auth,
    /// The server cannot serve this now: LOADING, BUSY, READONLY, MASTERDOWN; or there is no connection and the
    /// behaviour is to fail at once.
    Unavailable,
    /// The call's deadline passed.
    Timeout,
    /// A limit of our own refused it; the message names the limit.
    Overloaded,
    /// The client was closed, or the connection died under the request.
    Closed,
    /// A well-formed error reply: WRONGTYPE, NOSCRIPT, …
    Server,
    /// A well-formed reply of another type than asked for.
    Conversion,
    /// Bytes that are not RESP, or a reply nobody asked for.
    Protocol,
    /// TLS: certificate, name, version.
    Tls,
}

struct Inner {
    kind: ErrorKind,
    delivery: Delivery,
    command: Option<Cow<'static, str>>,
    node: Option<Arc<str>>,
    message: Cow<'static, str>,
    server: Option<ServerError>,
    may_have_lost_element: bool,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, delivery: Delivery, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            delivery,
            command: None,
            node: None,
            message: message.into(),
            server: None,
            may_have_lost_element: false,
            source: None,
        }))
    }

    pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, Delivery::NotSent, message)
    }

    pub(crate) fn usage(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Usage, Delivery::NotSent, message)
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // Errors are built before they are shared; a shared one is copied field by field.
        if Arc::get_mut(&mut self.0).is_none() {
            let old = &self.0;
            self.0 = Arc::new(Inner {
                kind: old.kind,
                delivery: old.delivery,
                command: old.command.clone(),
                node: old.node.clone(),
                message: old.message.clone(),
                server: old.server.clone(),
                may_have_lost_element: old.may_have_lost_element,
                source: old.source.clone(),
            });
        }
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    pub(crate) fn with_source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    pub(crate) fn with_command(self, command: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|inner| inner.command = Some(command.into()))
    }

    pub(crate) fn with_node(self, node: &Arc<str>) -> Self {
        self.edit(|inner| inner.node = Some(node.clone()))
    }

    pub(crate) fn with_delivery(self, delivery: Delivery) -> Self {
        self.edit(|inner| inner.delivery = delivery)
    }

    pub(crate) fn element_may_be_lost(self) -> Self {
        self.edit(|inner| inner.may_have_lost_element = true)
    }

    /// A call that ended without a reply.
    pub(crate) fn without_reply(kind: FailureKind, delivery: Delivery) -> Self {
        let (kind, message) = match kind {
            FailureKind::Expired => (ErrorKind::Timeout, "the deadline passed"),
            FailureKind::Disconnected => (ErrorKind::Closed, "the connection was lost"),
            FailureKind::Closed => (ErrorKind::Closed, "the client was closed"),
        };
        Self::new(kind, delivery, message)
    }

    pub(crate) fn refusal(refusal: Refusal) -> Self {
        let (kind, message) = match refusal {
            Refusal::QueuedRequests => {
                (ErrorKind::Overloaded, "the queue is full (limit queued_requests_max): slow down or raise the limit")
            }
            Refusal::QueuedBytes => {
                (ErrorKind::Overloaded, "the queue is full (limit queued_bytes_max): slow down or raise the limit")
            }
            Refusal::Closed => (ErrorKind::Closed, "the client was closed"),
        };
        Self::new(kind, Delivery::NotSent, message)
    }

    pub(crate) fn server_error(error: ServerError) -> Self {
        let delivery = retry::delivery_of(&error);
        let kind = match error.code() {
            "NOAUTH" | "WRONGPASS" | "NOPERM" => ErrorKind::Auth,
            "READONLY" => ErrorKind::Unavailable,
            _ if retry::is_passing(&error) => ErrorKind::Unavailable,
            _ => ErrorKind::Server,
        };
        Self::new(kind, delivery, "the server refused").edit(|inner| inner.server = Some(error))
    }

    pub(crate) fn handshake(error: HandshakeError) -> Self {
        let kind = match &error {
            HandshakeError::Refused { error, .. } if retry::is_passing(error) => ErrorKind::Unavailable,
            HandshakeError::WrongRole { .. } => ErrorKind::Unavailable,
            other if other.is_auth() => ErrorKind::Auth,
            HandshakeError::Unexpected { .. } => ErrorKind::Protocol,
            _ => ErrorKind::Connect,
        };
        match error {
            // The server's words are shown once, by this error; a source would say them again.
            HandshakeError::Refused { step, error } => {
                Self::new(kind, Delivery::NotSent, format!("the server refused {}", step.command()))
                    .edit(|inner| inner.server = Some(error))
            }
            other => Self::new(kind, Delivery::NotSent, "the handshake failed").with_source(other),
        }
    }

    /// Why a connection ended, as an error for events and for `connect`.
    pub(crate) fn closed_by(reason: &CloseReason) -> Self {
        let error = |kind, message: &'static str| Self::new(kind, Delivery::Unknown, message);
        match reason {
            CloseReason::PeerClosed => error(ErrorKind::Closed, "the server closed the connection"),
            // TLS 1.3 tells a client that its certificate is refused only after the handshake.
            CloseReason::Transport(io) if is_tls(io) => {
                error(ErrorKind::Tls, "TLS ended the connection").with_source(io.clone())
            }
            CloseReason::Transport(io) => error(ErrorKind::Closed, "the connection failed").with_source(io.clone()),
            CloseReason::Silent(silence) => Self::silent(*silence),
            CloseReason::Malformed(decode) => {
                error(ErrorKind::Protocol, "the server sent bytes that are not RESP, or past a limit")
                    .with_source(*decode)
            }
            CloseReason::Unsolicited => error(ErrorKind::Protocol, "the server sent a reply that nobody asked for"),
            CloseReason::Handshake(failure) => Self::handshake(failure.clone()),
            CloseReason::HandshakeTimeout(step) => Self::new(
                ErrorKind::Connect,
                Delivery::NotSent,
                format!("the server accepted the connection but did not answer {step} in time (handshake_timeout)"),
            ),
            CloseReason::Left => error(ErrorKind::Closed, "the connection was left: another server has its role"),
            _ => error(ErrorKind::Closed, "we closed the connection"),
        }
    }

    pub(crate) fn silent(silence: Duration) -> Self {
        Self::new(
            ErrorKind::Closed,
            Delivery::Unknown,
            format!("nothing was received for {:.1} s: the peer is gone", silence.as_secs_f32()),
        )
    }

    pub(crate) fn conversion(error: ConversionError) -> Self {
        match error {
            ConversionError::Server(error) => Self::server_error(error),
            ConversionError::Malformed(decode) => {
                Self::new(ErrorKind::Protocol, Delivery::Executed, "the reply is malformed").with_source(decode)
            }
            other => {
                Self::new(ErrorKind::Conversion, Delivery::Executed, "the reply has another type").with_source(other)
            }
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is known of the command's effect.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// The server's words, where it said something.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        self.0.server.as_ref()
    }

    /// The command's name.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.0.command.as_deref()
    }

    /// The node, as `host:port` or socket path.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// Whether the server may have handed an element to this blocking command that did not arrive: it can be lost.
    #[must_use]
    pub fn may_have_lost_element(&self) -> bool {
        self.0.may_have_lost_element
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(command) = &self.0.command {
            write!(f, "{command}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(server) = &self.0.server {
            write!(f, ": {server}")?;
        }
        if let Some(node) = &self.0.node {
            write!(f, " ({node})")?;
        }
        if self.0.kind == ErrorKind::Timeout || self.0.kind == ErrorKind::Closed {
            f.write_str(match self.0.delivery {
                Delivery::NotSent => "; it was not sent",
                Delivery::Refused => "; it was not executed",
                Delivery::Unknown if self.0.command.is_some() => "; it may have been executed",
                Delivery::Unknown => "",
                Delivery::Executed => "; it was executed",
            })?;
        }
        if self.0.may_have_lost_element {
            f.write_str("; an element may have been lost")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("delivery", &self.0.delivery)
            .field("message", &format_args!("{self}"))
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

/// Whether it was TLS that failed, not what carries it.
#[cfg(feature = "tls")]
fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(not(feature = "tls"))]
const fn is_tls(_error: &std::io::Error) -> bool {
    false
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
