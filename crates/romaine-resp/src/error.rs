//! What can be wrong with bytes, and what a server says when it refuses.

use std::fmt;

/// Bytes that are not RESP, or that pass a limit. The connection they came from cannot be used any more: where the
/// next reply starts is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    kind: DecodeErrorKind,
    offset: usize,
}

/// The reason of a [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The first byte of a reply names no RESP type.
    UnknownType(u8),
    /// A length or an integer is not a number, or does not fit.
    BadNumber,
    /// A line or a bulk string is not ended by CR LF.
    MissingTerminator,
    /// A boolean, null or verbatim string does not have the form the specification gives.
    BadForm,
    /// A line (simple string, error, number) is longer than [`Limits::line_bytes_max`](crate::Limits).
    LineTooLong,
    /// One reply is larger than [`Limits::reply_bytes_max`](crate::Limits).
    ReplyTooLarge,
    /// Aggregates are nested deeper than [`Limits::depth_max`](crate::Limits).
    TooDeep,
    /// One reply has more elements than [`Limits::elements_max`](crate::Limits).
    TooManyElements,
    /// The frame ended early. Only a [`Reader`](crate::Reader) over an incomplete frame says so.
    Truncated,
}

impl DecodeError {
    /// An error at `offset` bytes from the start of the frame.
    #[must_use]
    pub const fn new(kind: DecodeErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// How many bytes after the start of the reply it is wrong.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DecodeErrorKind::UnknownType(byte) => write!(f, "byte 0x{byte:02x} starts no RESP type")?,
            DecodeErrorKind::BadNumber => f.write_str("a length or integer is not a number that fits")?,
            DecodeErrorKind::MissingTerminator => f.write_str("CR LF is missing")?,
            DecodeErrorKind::BadForm => f.write_str("a value does not have the form of its type")?,
            DecodeErrorKind::LineTooLong => f.write_str("a line is longer than the limit")?,
            DecodeErrorKind::ReplyTooLarge => f.write_str("a reply is larger than the limit")?,
            DecodeErrorKind::TooDeep => f.write_str("a reply is nested deeper than the limit")?,
            DecodeErrorKind::TooManyElements => f.write_str("a reply has more elements than the limit")?,
            DecodeErrorKind::Truncated => f.write_str("a reply ends early")?,
        }
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for DecodeError {}

/// An error reply: the server understood the request and says no.
///
/// Its text is the server's own, for example `WRONGTYPE Operation against a key holding the wrong kind of value`. The
/// first word is the code.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerError(Box<str>);

impl ServerError {
    /// Takes the text after the `-` (or of the `!` bulk). Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(String::from_utf8_lossy(text).into())
    }

    /// The first word: `ERR`, `WRONGTYPE`, `READONLY`, …
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// Everything after the code.
    #[must_use]
    pub fn message(&self) -> &str {
        self.0.split_once(' ').map_or("", |(_, rest)| rest)
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({:?})", &*self.0)
    }
}

impl std::error::Error for ServerError {}
