//! Where does a reply end? The only part that sees bytes from the network before they are known to be complete.

use crate::element::{Bounds, Element, LINE_BYTES_MIN, Piece, Stop, common, common_bulk, element};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::reader::Token;

/// What one reply may cost. A reply past a limit closes the connection: it is never half-decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one reply, all its elements together. Default 512 MiB, the server's own `proto-max-bulk-len`.
    pub reply_bytes_max: usize,
    /// Nesting of aggregates. Default 32; `COMMAND DOCS`, the deepest reply of a server, has 9. At most
    /// [`Limits::DEPTH_CEILING`], because a [`Value`](crate::Value) is built and dropped by recursion.
    pub depth_max: usize,
    /// Elements of one reply, all levels together. Default 16,777,216.
    pub elements_max: u64,
    /// Bytes of one line (simple string, error, number). Default 64 KiB, the server's own inline limit. At least 32, so
    /// that a number always fits.
    pub line_bytes_max: usize,
}

impl Limits {
    /// What [`depth_max`](Self::depth_max) cannot exceed.
    pub const DEPTH_CEILING: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Self { reply_bytes_max: 512 << 20, depth_max: 32, elements_max: 1 << 24, line_bytes_max: 64 << 10 }
    }
}

/// What kind of frame it is: who it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The answer to the oldest unanswered request.
    Reply,
    /// Out-of-band data (RESP3 `>`): it answers no request.
    Push,
}

/// What [`Framer::scan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// A whole frame is in the first `length` bytes.
    Complete {
        /// Bytes of the frame.
        length: usize,
        /// Reply or push.
        kind: FrameKind,
    },
    /// More bytes are needed: at least up to `needed` from the frame's start.
    Incomplete {
        /// A lower bound of the frame's length: what a buffer should reserve. More than there are bytes now, and never
        /// more than [`Limits::reply_bytes_max`]; the peer alone says it, so reserve in steps.
        needed: usize,
    },
}

/// Finds the end of a frame, resumably.
///
/// Give it the bytes from the start of the frame, again and again with more of them; what was already walked is not
/// walked again. After [`Scan::Complete`] it is ready for the next frame.
#[derive(Debug)]
pub struct Framer {
    bounds: Bounds,
    depth_max: usize,
    elements_max: u64,
    /// Where the element starts that is looked at next.
    position: usize,
    /// With fewer bytes than this there is nothing to look at: a bulk string is still coming. It only grows, too.
    awaited: usize,
    /// The header line at `position` has no CR before this offset. It only grows within a frame, so a later element
    /// is not affected.
    search_from: usize,
    /// Elements announced so far.
    elements: u64,
    /// Elements of the innermost open aggregate that are not begun yet; around all of them, the frame's one value.
    left: u64,
    /// The same for the aggregates around it, outermost first. Empty between frames and for every flat reply.
    outer: Vec<u64>,
    kind: FrameKind,
}

impl Framer {
    /// A framer that enforces `limits`.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        let Limits { reply_bytes_max, depth_max, elements_max, line_bytes_max } = limits;
        let line_bytes_max = if line_bytes_max < LINE_BYTES_MIN { LINE_BYTES_MIN } else { line_bytes_max };
        Self {
            bounds: Bounds { reply_bytes_max, line_bytes_max },
            depth_max: if depth_max > Limits::DEPTH_CEILING { Limits::DEPTH_CEILING } else { depth_max },
            elements_max,
            position: 0,
            awaited: 0,
            search_from: 0,
            elements: 0,
            left: 1,
            outer: Vec::new(),
            kind: FrameKind::Reply,
        }
    }

    /// Forgets a half-walked frame, for the next connection.
    pub fn reset(&mut self) {
        self.position = 0;
        self.awaited = 0;
        self.search_from = 0;
        self.elements = 0;
        self.left = 1;
        self.outer.clear();
        self.kind = FrameKind::Reply;
    }

    /// Looks for the end of the frame that starts at `buf[0]`.
    ///
    /// # Errors
    /// When the bytes are not RESP or pass a limit. The framer must not be used for this connection again.
    #[expect(clippy::inline_always, reason = "measured: 42 instructions for a small bulk string, 77 out of line")]
    #[inline(always)]
    pub fn scan(&mut self, buf: &[u8]) -> Result<Scan, DecodeError> {
        if buf.len() < self.awaited {
            return Ok(Scan::Incomplete { needed: self.awaited });
        }
        if self.position == 0
            && let Some((token, length)) = common(self.within(buf))
            && elements_of(&token) == 0
        {
            // Nearly every reply is one leaf: it needs none of the state.
            self.awaited = 0;
            self.search_from = 0;
            return Ok(Scan::Complete { length, kind: FrameKind::Reply });
        }
        self.walk(buf)
    }

    /// The bytes that can belong to the reply: what is complete in them is within the limit.
    #[inline]
    fn within<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[..buf.len().min(self.bounds.reply_bytes_max)]
    }

    #[inline(never)]
    fn walk(&mut self, buf: &[u8]) -> Result<Scan, DecodeError> {
        let within = self.within(buf);
        let mut left = self.left;
        let mut position = self.position;
        loop {
            let mut rest = within.get(position..).unwrap_or_default();
            // What fills nearly every aggregate, in a loop of its own: 32 instructions an element, not 44.
            while left > 1
                && let Some((_, length)) = common_bulk(rest)
            {
                rest = &rest[length..];
                position += length;
                left -= 1;
            }
            let (count, describes, end) = match common(rest) {
                Some((token, length)) => (elements_of(&token), false, position + length),
                None => match element(buf, position, self.bounds, self.search_from) {
                    Ok(Element { piece: Piece::Attribute(pairs), end }) => (doubled(pairs), true, end),
                    Ok(Element { piece: Piece::Value(token), end }) => {
                        if self.outer.is_empty() && matches!(token, Token::Push(_)) {
                            self.kind = FrameKind::Push;
                        }
                        (elements_of(&token), false, end)
                    }
                    Err(Stop::Wrong(kind)) => return Err(DecodeError::new(kind, position)),
                    Err(Stop::Incomplete { needed, search_from }) => {
                        self.left = left;
                        self.position = position;
                        match search_from {
                            Some(offset) => self.search_from = offset,
                            None => self.awaited = needed,
                        }
                        return Ok(Scan::Incomplete { needed });
                    }
                },
            };
            // An attribute comes before the element it describes and does not count as one.
            left -= u64::from(!describes);
            if count > 0 {
                self.enter(count, position)?;
                self.outer.push(left);
                left = count;
            }
            position = end;
            while left == 0 {
                let Some(around) = self.outer.pop() else {
                    let kind = self.kind;
                    self.reset();
                    return Ok(Scan::Complete { length: end, kind });
                };
                left = around;
            }
        }
    }

    /// Checks the limits for an aggregate of `count` elements at `position`.
    fn enter(&mut self, count: u64, position: usize) -> Result<(), DecodeError> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > self.elements_max {
            return Err(DecodeError::new(DecodeErrorKind::TooManyElements, position));
        }
        if self.outer.len() >= self.depth_max {
            return Err(DecodeError::new(DecodeErrorKind::TooDeep, position));
        }
        Ok(())
    }
}

/// How many elements follow the token as its own.
#[inline]
fn elements_of(token: &Token<'_>) -> u64 {
    match *token {
        Token::Array(count) | Token::Set(count) | Token::Push(count) => count as u64,
        Token::Map(pairs) => doubled(pairs),
        Token::Simple(_)
        | Token::Error(_)
        | Token::Integer(_)
        | Token::Bulk(_)
        | Token::Double(_)
        | Token::Boolean(_)
        | Token::BigNumber(_)
        | Token::Null => 0,
    }
}

/// More than fits is past every limit anyway.
#[inline]
const fn doubled(pairs: usize) -> u64 {
    (pairs as u64).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_string_that_trickles_in_is_not_looked_at_before_it_is_there() {
        let mut framer = Framer::new(Limits::default());
        let wire = b"*2\r\n$5\r\nfirst\r\n$300\r\n";
        assert_eq!(framer.scan(wire), Ok(Scan::Incomplete { needed: wire.len() + 302 }));
        assert_eq!((framer.position, framer.awaited), (15, wire.len() + 302));
        // Bytes that would be refused if they were looked at.
        assert_eq!(framer.scan(&[b'?'; 100]), Ok(Scan::Incomplete { needed: wire.len() + 302 }));
    }

    #[test]
    fn the_search_for_the_end_of_a_line_goes_on_where_it_stopped() {
        let mut framer = Framer::new(Limits::default());
        let mut wire = b"*2\r\n:1\r\n+".to_vec();
        for _ in 0..1_000 {
            wire.push(b'x');
            assert_eq!(framer.scan(&wire), Ok(Scan::Incomplete { needed: wire.len() + 2 }));
            assert_eq!((framer.position, framer.search_from), (8, wire.len()));
        }
        wire.push(b'\r');
        assert_eq!(framer.scan(&wire), Ok(Scan::Incomplete { needed: wire.len() + 1 }));
        wire.push(b'\n');
        assert_eq!(framer.scan(&wire), Ok(Scan::Complete { length: wire.len(), kind: FrameKind::Reply }));
        assert_eq!((framer.position, framer.search_from), (0, 0));
    }
}
