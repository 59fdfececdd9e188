//! Where does a reply end? The only part that sees bytes from the network before they are known to be complete.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::number;

/// What one reply may cost. A reply past a limit closes the connection: it is never half-decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one reply, all its elements together. Default 512 MiB, the server's own `proto-max-bulk-len`.
    pub reply_bytes_max: usize,
    /// Nesting of aggregates. Default 32; `COMMAND DOCS`, the deepest reply of a server, has 9.
    pub depth_max: usize,
    /// Elements of one reply, all levels together. Default 16,777,216.
    pub elements_max: u64,
    /// Bytes of one line (simple string, error, number). Default 64 KiB, the server's own inline limit.
    pub line_bytes_max: usize,
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
        /// A lower bound of the frame's length: what a buffer should reserve.
        needed: usize,
    },
}

/// Finds the end of a frame, resumably.
///
/// Give it the bytes from the start of the frame, again and again with more of them; what was already walked is not
/// walked again. After [`Scan::Complete`] it is ready for the next frame.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    position: usize,
    elements: u64,
    /// Elements still to come, per open aggregate. Empty between frames and for every flat reply.
    open: Vec<u64>,
}

enum Element {
    Leaf {
        end: usize,
    },
    Aggregate {
        end: usize,
        count: u64,
    },
    /// Comes before the element it describes and does not count as one.
    Attribute {
        end: usize,
        count: u64,
    },
    Incomplete {
        needed: usize,
    },
}

impl Framer {
    /// A framer that enforces `limits`.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, position: 0, elements: 0, open: Vec::new() }
    }

    /// Forgets a half-walked frame, for the next connection.
    pub fn reset(&mut self) {
        self.position = 0;
        self.elements = 0;
        self.open.clear();
    }

    /// Looks for the end of the frame that starts at `buf[0]`.
    ///
    /// # Errors
    /// When the bytes are not RESP or pass a limit. The framer must not be used for this connection again.
    pub fn scan(&mut self, buf: &[u8]) -> Result<Scan, DecodeError> {
        if self.position == 0 {
            // Nearly every reply is one leaf: no state is touched for it.
            if let Some(&first) = buf.first()
                && let Element::Leaf { end } = self.element(buf, 0)?
            {
                let kind = if first == b'>' { FrameKind::Push } else { FrameKind::Reply };
                return Ok(Scan::Complete { length: end, kind });
            }
        }
        self.walk(buf)
    }

    fn walk(&mut self, buf: &[u8]) -> Result<Scan, DecodeError> {
        loop {
            match self.element(buf, self.position)? {
                Element::Leaf { end } => {
                    self.position = end;
                    if self.finish_element() {
                        return Ok(self.complete(buf));
                    }
                }
                Element::Aggregate { end, count } => {
                    self.position = end;
                    if count == 0 {
                        if self.finish_element() {
                            return Ok(self.complete(buf));
                        }
                    } else {
                        self.enter(count)?;
                    }
                }
                Element::Attribute { end, count } => {
                    self.position = end;
                    // The described element follows the attribute's own: one more at this level.
                    match self.open.last_mut() {
                        Some(left) => *left += 1,
                        None => self.open.push(1),
                    }
                    if count == 0 {
                        self.finish_element();
                    } else {
                        self.enter(count)?;
                    }
                }
                Element::Incomplete { needed } => {
                    if needed > self.limits.reply_bytes_max {
                        return Err(DecodeError::new(DecodeErrorKind::ReplyTooLarge, self.position));
                    }
                    return Ok(Scan::Incomplete { needed });
                }
            }
            if self.position > self.limits.reply_bytes_max {
                return Err(DecodeError::new(DecodeErrorKind::ReplyTooLarge, self.position));
            }
        }
    }

    /// One element ended; closes every aggregate that it completes. True when the frame is complete.
    fn finish_element(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    fn enter(&mut self, count: u64) -> Result<(), DecodeError> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > self.limits.elements_max {
            return Err(DecodeError::new(DecodeErrorKind::TooManyElements, self.position));
        }
        if self.open.len() >= self.limits.depth_max {
            return Err(DecodeError::new(DecodeErrorKind::TooDeep, self.position));
        }
        self.open.push(count);
        Ok(())
    }

    fn complete(&mut self, buf: &[u8]) -> Scan {
        let length = self.position;
        self.reset();
        let kind = if buf.first() == Some(&b'>') { FrameKind::Push } else { FrameKind::Reply };
        Scan::Complete { length, kind }
    }

    /// Looks at the one element that starts at `start`.
    fn element(&self, buf: &[u8], start: usize) -> Result<Element, DecodeError> {
        let fail = |kind| Err(DecodeError::new(kind, start));
        let Some(&kind) = buf.get(start) else {
            return Ok(Element::Incomplete { needed: start + 3 });
        };
        if !matches!(
            kind,
            b'+' | b'-' | b':' | b'$' | b'*' | b'_' | b',' | b'#' | b'!' | b'=' | b'(' | b'%' | b'~' | b'>' | b'|'
        ) {
            return fail(DecodeErrorKind::UnknownType(kind));
        }
        let rest = &buf[start + 1..];
        let Some(cr) = memchr::memchr(b'\r', &rest[..rest.len().min(self.limits.line_bytes_max + 1)]) else {
            if rest.len() > self.limits.line_bytes_max {
                return fail(DecodeErrorKind::LineTooLong);
            }
            return Ok(Element::Incomplete { needed: buf.len() + 1 });
        };
        match rest.get(cr + 1) {
            Some(b'\n') => {}
            Some(_) => return fail(DecodeErrorKind::MissingTerminator),
            None => return Ok(Element::Incomplete { needed: buf.len() + 1 }),
        }
        let line = &rest[..cr];
        let end = start + 1 + cr + 2;
        match kind {
            b'+' | b'-' => Ok(Element::Leaf { end }),
            b'$' | b'!' | b'=' => self.bulk(buf, kind, line, start, end),
            b'*' | b'~' | b'>' | b'%' | b'|' => aggregate(kind, line, start, end),
            b':' if number::integer(line).is_some() => Ok(Element::Leaf { end }),
            b',' if number::double(line).is_some() => Ok(Element::Leaf { end }),
            b'(' if is_big_number(line) => Ok(Element::Leaf { end }),
            b':' | b',' | b'(' => fail(DecodeErrorKind::BadNumber),
            b'_' if line.is_empty() => Ok(Element::Leaf { end }),
            b'#' if matches!(line, b"t" | b"f") => Ok(Element::Leaf { end }),
            _ => fail(DecodeErrorKind::BadForm),
        }
    }

    fn bulk(&self, buf: &[u8], kind: u8, line: &[u8], start: usize, end: usize) -> Result<Element, DecodeError> {
        let fail = |kind| Err(DecodeError::new(kind, start));
        let Some(length) = number::integer(line) else {
            return fail(DecodeErrorKind::BadNumber);
        };
        if length == -1 && kind == b'$' {
            return Ok(Element::Leaf { end });
        }
        let Ok(length) = usize::try_from(length) else {
            return fail(DecodeErrorKind::BadNumber);
        };
        if length > self.limits.reply_bytes_max {
            return fail(DecodeErrorKind::ReplyTooLarge);
        }
        let close = end + length;
        let Some(terminator) = buf.get(close..close + 2) else {
            return Ok(Element::Incomplete { needed: close + 2 });
        };
        if terminator != b"\r\n" {
            return fail(DecodeErrorKind::MissingTerminator);
        }
        if kind == b'=' && (length < 4 || buf[end + 3] != b':') {
            return fail(DecodeErrorKind::BadForm);
        }
        Ok(Element::Leaf { end: close + 2 })
    }
}

fn aggregate(kind: u8, line: &[u8], start: usize, end: usize) -> Result<Element, DecodeError> {
    let Some(count) = number::integer(line) else {
        return Err(DecodeError::new(DecodeErrorKind::BadNumber, start));
    };
    if count == -1 && kind == b'*' {
        return Ok(Element::Leaf { end });
    }
    let Ok(count) = u64::try_from(count) else {
        return Err(DecodeError::new(DecodeErrorKind::BadNumber, start));
    };
    Ok(match kind {
        b'%' => Element::Aggregate { end, count: count.saturating_mul(2) },
        b'|' => Element::Attribute { end, count: count.saturating_mul(2) },
        _ => Element::Aggregate { end, count },
    })
}

fn is_big_number(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}
