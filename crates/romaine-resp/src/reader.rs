//! Walks a complete frame without building anything: what a typed reply is made from.

use bytes::Bytes;

use crate::error::{DecodeError, DecodeErrorKind, ServerError};
use crate::number;
use crate::value::Value;

/// One step through a frame. Aggregates give their length; their elements are the next tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Token<'a> {
    /// `+`: a status line.
    Simple(&'a [u8]),
    /// `-` or `!`: the server refused.
    Error(&'a [u8]),
    /// `:`.
    Integer(i64),
    /// `$`, and the text of a verbatim string (`=`).
    Bulk(&'a [u8]),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `(`: decimal digits, an optional minus first.
    BigNumber(&'a [u8]),
    /// `_`, `$-1`, `*-1`.
    Null,
    /// `*`, this many elements follow.
    Array(usize),
    /// `~`, this many elements follow.
    Set(usize),
    /// `>`, this many elements follow.
    Push(usize),
    /// `%`, this many *pairs* follow.
    Map(usize),
}

impl Token<'_> {
    /// The name of the type, for messages.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Simple(_) => "status",
            Self::Error(_) => "error",
            Self::Integer(_) => "integer",
            Self::Bulk(_) => "string",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::BigNumber(_) => "big number",
            Self::Null => "nil",
            Self::Array(_) => "array",
            Self::Set(_) => "set",
            Self::Push(_) => "push",
            Self::Map(_) => "map",
        }
    }
}

/// A cursor over one complete frame (as found by [`Framer`](crate::Framer)). Attributes (`|`) are stepped over.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    position: usize,
    /// The owner of `buf`, when slices of it can be handed out without a copy.
    origin: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Reads from borrowed bytes; [`bytes`](Self::bytes) copies.
    #[must_use]
    pub const fn new(buf: &'a [u8]) -> Self {
        Self { buf, position: 0, origin: None }
    }

    /// Reads from shared bytes; [`bytes`](Self::bytes) hands out slices of them.
    #[must_use]
    pub fn shared(origin: &'a Bytes) -> Self {
        Self { buf: origin, position: 0, origin: Some(origin) }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Whether everything was consumed.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.position >= self.buf.len()
    }

    /// Turns a token's bytes into owned ones: a slice of the shared buffer when that does not pin much more memory
    /// than it saves, else a copy.
    #[must_use]
    pub fn bytes(&self, part: &'a [u8]) -> Bytes {
        match self.origin {
            // A 5-byte value must not keep a 64 KiB read buffer alive.
            Some(origin) if part.len() * 4 >= origin.len() => origin.slice_ref(part),
            _ => Bytes::copy_from_slice(part),
        }
    }

    /// The next token without consuming it.
    ///
    /// # Errors
    /// When the frame ends early or is malformed.
    pub fn peek(&self) -> Result<Token<'a>, DecodeError> {
        self.clone().token()
    }

    /// The next token.
    ///
    /// # Errors
    /// When the frame ends early or is malformed; never for a frame that a [`Framer`](crate::Framer) found.
    pub fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        loop {
            let start = self.position;
            let fail = |kind| DecodeError::new(kind, start);
            let kind = *self.buf.get(start).ok_or_else(|| fail(DecodeErrorKind::Truncated))?;
            let line = self.line()?;
            let bad = || fail(DecodeErrorKind::BadNumber);
            return Ok(match kind {
                b'$' | b'!' | b'=' => {
                    let length = number::integer(line).ok_or_else(bad)?;
                    let Ok(length) = usize::try_from(length) else {
                        return Ok(Token::Null);
                    };
                    let body = self
                        .buf
                        .get(self.position..self.position + length)
                        .ok_or_else(|| fail(DecodeErrorKind::Truncated))?;
                    self.position += length + 2;
                    match kind {
                        b'!' => Token::Error(body),
                        b'=' => Token::Bulk(body.get(4..).unwrap_or_default()),
                        _ => Token::Bulk(body),
                    }
                }
                b':' => Token::Integer(number::integer(line).ok_or_else(bad)?),
                b'+' => Token::Simple(line),
                b'-' => Token::Error(line),
                b'_' => Token::Null,
                b'#' => Token::Boolean(line == b"t"),
                b',' => Token::Double(number::double(line).ok_or_else(bad)?),
                b'(' => Token::BigNumber(line),
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let count = number::integer(line).ok_or_else(bad)?;
                    let Ok(count) = usize::try_from(count) else {
                        return Ok(Token::Null);
                    };
                    match kind {
                        b'*' => Token::Array(count),
                        b'~' => Token::Set(count),
                        b'>' => Token::Push(count),
                        b'%' => Token::Map(count),
                        _ => {
                            for _ in 0..count * 2 {
                                self.skip()?;
                            }
                            continue;
                        }
                    }
                }
                other => return Err(fail(DecodeErrorKind::UnknownType(other))),
            });
        }
    }

    /// Steps over one whole value with everything in it.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        let mut left: usize = 1;
        while left > 0 {
            left -= 1;
            left += match self.token()? {
                Token::Array(n) | Token::Set(n) | Token::Push(n) => n,
                Token::Map(n) => n * 2,
                Token::Simple(_)
                | Token::Error(_)
                | Token::Integer(_)
                | Token::Bulk(_)
                | Token::Double(_)
                | Token::Boolean(_)
                | Token::BigNumber(_)
                | Token::Null => 0,
            };
        }
        Ok(())
    }

    /// Builds the next value as a tree.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        // Depth was limited when the frame was found, so recursion is bounded.
        Ok(match self.token()? {
            Token::Simple(text) => Value::Simple(self.bytes(text)),
            Token::Error(text) => Value::Error(ServerError::new(text)),
            Token::Integer(n) => Value::Integer(n),
            Token::Bulk(data) => Value::Bulk(self.bytes(data)),
            Token::Double(n) => Value::Double(n),
            Token::Boolean(b) => Value::Boolean(b),
            Token::BigNumber(digits) => Value::BigNumber(self.bytes(digits)),
            Token::Null => Value::Null,
            Token::Array(n) => Value::Array(self.values(n)?),
            Token::Set(n) => Value::Set(self.values(n)?),
            Token::Push(n) => Value::Push(self.values(n)?),
            Token::Map(n) => {
                let mut pairs = Vec::with_capacity(n.min(self.remaining()));
                for _ in 0..n {
                    pairs.push((self.value()?, self.value()?));
                }
                Value::Map(pairs)
            }
        })
    }

    /// An upper bound of the elements that can still follow: what a `Vec` may reserve for a claimed length.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buf.len().saturating_sub(self.position) / 3
    }

    fn values(&mut self, n: usize) -> Result<Vec<Value>, DecodeError> {
        let mut values = Vec::with_capacity(n.min(self.remaining()));
        for _ in 0..n {
            values.push(self.value()?);
        }
        Ok(values)
    }

    /// The rest of the header line, and the cursor behind its CR LF.
    fn line(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = &self.buf[self.position + 1..];
        // Length lines are a few bytes: a plain search beats the set-up of a vectorised one.
        let cr = if rest.len() < 32 || rest[..16].contains(&b'\r') {
            rest.iter().position(|byte| *byte == b'\r')
        } else {
            memchr::memchr(b'\r', rest)
        };
        let cr = cr.ok_or(DecodeError::new(DecodeErrorKind::Truncated, self.position))?;
        self.position += 1 + cr + 2;
        Ok(&rest[..cr])
    }
}
