//! Walks a complete frame without building anything: what a typed reply is made from.

use bytes::Bytes;

use crate::element::{Bounds, Element, Piece, Stop, common, element};
use crate::error::{DecodeError, DecodeErrorKind, ServerError};
use crate::frame::Limits;
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
    /// `(`: decimal digits, an optional sign first.
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
    ///
    /// # Panics
    /// When the reader is [`shared`](Self::shared) and `part` is not of its bytes.
    #[must_use]
    pub fn bytes(&self, part: &'a [u8]) -> Bytes {
        match self.origin {
            // A 5-byte value must not keep a 64 KiB read buffer alive.
            Some(origin) if part.len().saturating_mul(4) >= origin.len() => origin.slice_ref(part),
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
    #[inline]
    pub fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        if let Some((token, length)) = common(&self.buf[self.position..]) {
            self.position += length;
            return Ok(token);
        }
        self.any_token()
    }

    #[inline(never)]
    fn any_token(&mut self) -> Result<Token<'a>, DecodeError> {
        loop {
            match self.piece()? {
                Piece::Value(token) => return Ok(token),
                Piece::Attribute(pairs) => self.skip_elements(pairs.saturating_mul(2))?,
            }
        }
    }

    /// Steps over one whole value with everything in it.
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn skip(&mut self) -> Result<(), DecodeError> {
        self.skip_elements(1)
    }

    fn skip_elements(&mut self, mut left: usize) -> Result<(), DecodeError> {
        // A claimed length may be any number: saturated, it is still more than the frame can hold.
        while left > 0 {
            let more = match self.piece()? {
                Piece::Value(Token::Array(n) | Token::Set(n) | Token::Push(n)) => n,
                Piece::Value(Token::Map(pairs)) => pairs.saturating_mul(2),
                // Its own elements, and the described one is still to come.
                Piece::Attribute(pairs) => pairs.saturating_mul(2).saturating_add(1),
                Piece::Value(
                    Token::Simple(_)
                    | Token::Error(_)
                    | Token::Integer(_)
                    | Token::Bulk(_)
                    | Token::Double(_)
                    | Token::Boolean(_)
                    | Token::BigNumber(_)
                    | Token::Null,
                ) => 0,
            };
            left = (left - 1).saturating_add(more);
        }
        Ok(())
    }

    /// Builds the next value as a tree.
    ///
    /// # Errors
    /// As [`token`](Self::token), and when it is nested deeper than [`Limits::DEPTH_CEILING`].
    pub fn value(&mut self) -> Result<Value, DecodeError> {
        self.value_in(0)
    }

    /// An upper bound of the elements that can still follow: what a `Vec` may reserve for a claimed length.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buf.len().saturating_sub(self.position) / 3
    }

    /// Builds the next value, `depth` aggregates around it.
    fn value_in(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let start = self.position;
        Ok(match self.token()? {
            Token::Simple(text) => Value::Simple(self.bytes(text)),
            Token::Error(text) => Value::Error(ServerError::new(text)),
            Token::Integer(n) => Value::Integer(n),
            Token::Bulk(data) => Value::Bulk(self.bytes(data)),
            Token::Double(n) => Value::Double(n),
            Token::Boolean(b) => Value::Boolean(b),
            Token::BigNumber(digits) => Value::BigNumber(self.bytes(digits)),
            Token::Null => Value::Null,
            Token::Array(1..) | Token::Set(1..) | Token::Push(1..) | Token::Map(1..)
                if depth >= Limits::DEPTH_CEILING =>
            {
                return Err(DecodeError::new(DecodeErrorKind::TooDeep, start));
            }
            Token::Array(n) => Value::Array(self.values_in(n, depth + 1)?),
            Token::Set(n) => Value::Set(self.values_in(n, depth + 1)?),
            Token::Push(n) => Value::Push(self.values_in(n, depth + 1)?),
            Token::Map(n) => {
                let mut pairs = Vec::with_capacity(n.min(self.remaining() / 2));
                for _ in 0..n {
                    pairs.push((self.value_in(depth + 1)?, self.value_in(depth + 1)?));
                }
                Value::Map(pairs)
            }
        })
    }

    fn values_in(&mut self, n: usize, depth: usize) -> Result<Vec<Value>, DecodeError> {
        let mut values = Vec::with_capacity(n.min(self.remaining()));
        for _ in 0..n {
            values.push(self.value_in(depth)?);
        }
        Ok(values)
    }

    #[inline]
    fn piece(&mut self) -> Result<Piece<'a>, DecodeError> {
        match element(self.buf, self.position, Bounds::NONE, 0) {
            Ok(Element { piece, end }) => {
                self.position = end;
                Ok(piece)
            }
            Err(Stop::Wrong(kind)) => Err(DecodeError::new(kind, self.position)),
            Err(Stop::Incomplete { .. }) => Err(DecodeError::new(DecodeErrorKind::Truncated, self.position)),
        }
    }
}
