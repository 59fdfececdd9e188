//! The grammar of one element, for [`Framer`](crate::Framer) and [`Reader`](crate::Reader) alike: they agree because
//! there is only one.

use crate::error::DecodeErrorKind;
use crate::number;
use crate::reader::Token;

/// One element: a leaf with its data, or the header of an aggregate.
pub(crate) struct Element<'a> {
    pub(crate) piece: Piece<'a>,
    /// Where it ends: the offset of the next element.
    pub(crate) end: usize,
}

pub(crate) enum Piece<'a> {
    Value(Token<'a>),
    /// `|`: this many pairs follow, and then the value that they describe.
    Attribute(usize),
}

/// Why there is no element.
pub(crate) enum Stop {
    /// The bytes end too early.
    Incomplete {
        /// A lower bound of the length at which they do not, more than there are now.
        needed: usize,
        /// Where the search for the CR of the header line goes on. `None` when the header is complete: there is nothing
        /// to look at before all that is needed has come.
        search_from: Option<usize>,
    },
    Wrong(DecodeErrorKind),
}

/// The limits that concern a single element. Every answer depends on the bytes and on these, never on where a read
/// happened to cut: an element past a limit is refused whether it came whole or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) reply_bytes_max: usize,
    /// At least [`LINE_BYTES_MIN`].
    pub(crate) line_bytes_max: usize,
}

/// Every length and integer fits in such a line, so that the shortcuts need not look at the limit.
pub(crate) const LINE_BYTES_MIN: usize = 32;

impl Bounds {
    /// For a frame whose limits were checked before.
    pub(crate) const NONE: Self = Self { reply_bytes_max: usize::MAX, line_bytes_max: usize::MAX };
}

use Stop::Wrong;

/// A 1 in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The element that `rest` starts with and its length, when it is one of the few forms that nearly all are, complete
/// and well-formed. `None` says nothing: ask [`element`], which knows all of them and why one is none.
///
/// No limit is looked at: give it no more bytes than the reply may have. Inlined, because the caller mostly throws
/// the half of the result away: a bulk string costs the framer a quarter of the instructions it costs through `element`.
#[expect(clippy::inline_always, reason = "measured, see above")]
#[inline(always)]
pub(crate) fn common(rest: &[u8]) -> Option<(Token<'_>, usize)> {
    if let Some(bulk) = common_bulk(rest) {
        return Some(bulk);
    }
    match *rest.first()? {
        b'$' => rest.starts_with(b"$-1\r\n").then_some((Token::Null, 5)),
        b':' if rest.get(1) == Some(&b'-') => {
            let (n, length) = decimal(&rest[1..])?;
            Some((Token::Integer(0_i64.checked_sub_unsigned(n)?), length + 1))
        }
        b':' => {
            let (n, length) = decimal(rest)?;
            Some((Token::Integer(i64::try_from(n).ok()?), length))
        }
        b'*' => {
            let (count, length) = decimal(rest)?;
            Some((Token::Array(usize::try_from(count).ok()?), length))
        }
        b'+' if rest.starts_with(b"+OK\r\n") => Some((Token::Simple(&rest[1..3]), 5)),
        b'+' => {
            // `QUEUED`, `PONG`, `string`: the CR is one of eight bytes. No call of a search: a function without any
            // call saves no registers, which is 30 instructions for every other leaf.
            let word = u64::from_le_bytes(*rest[1..].first_chunk()?) ^ (ONES * u64::from(b'\r'));
            let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
            let cr = 1 + zeros.trailing_zeros() as usize / 8;
            (zeros != 0 && rest.get(cr + 1) == Some(&b'\n')).then(|| (Token::Simple(&rest[1..cr]), cr + 2))
        }
        b'_' => rest.starts_with(b"_\r\n").then_some((Token::Null, 3)),
        _ => None,
    }
}

/// A bulk string of at most 99,999 bytes, its header looked at as one word.
#[expect(clippy::inline_always, reason = "as `common`")]
#[inline(always)]
pub(crate) fn common_bulk(rest: &[u8]) -> Option<(Token<'_>, usize)> {
    // Only an empty bulk string or one of a single byte is shorter, and then it is the last in the buffer.
    let word = u64::from_le_bytes(*rest.first_chunk()?);
    // In the order of how often a value has so many bytes.
    let (header, length) = if let Some(length) = bulk_length::<2>(word) {
        (5, length)
    } else if word & 0xff != u64::from(b'$') {
        return None;
    } else if let Some(length) = bulk_length::<3>(word) {
        (6, length)
    } else if let Some(length) = bulk_length::<1>(word) {
        (4, length)
    } else if let Some(length) = bulk_length::<4>(word) {
        (7, length)
    } else if let Some(length) = bulk_length::<5>(word) {
        (8, length)
    } else {
        return None;
    };
    let close = header + usize::try_from(length).ok()?;
    (rest.get(close..close + 2)? == b"\r\n").then(|| (Token::Bulk(&rest[header..close]), close + 2))
}

/// The number when `word`, eight bytes with the first one lowest, starts with `$`, `DIGITS` digits and CR LF.
#[expect(clippy::inline_always, reason = "as `common`")]
#[inline(always)]
fn bulk_length<const DIGITS: u32>(word: u64) -> Option<u64> {
    // What differs from `$0`, `$00`, …: nothing but the low halves of the digits, and these are below 10, so that their
    // high halves are still 0 after 6 was added.
    let ones = (ONES & ((1 << (8 * DIGITS)) - 1)) << 8;
    let crlf = 8 * (DIGITS + 1);
    let differs = word ^ (u64::from(b'$') | (0x30 * ones) | (0x0a0d << crlf));
    let mask = 0xff | (0xf0 * ones) | (0xffff << crlf);
    if (differs | differs.wrapping_add(6 * ones)) & mask != 0 {
        return None;
    }
    Some((1..=DIGITS).fold(0, |number, at| number * 10 + (differs >> (8 * at) & 0xff)))
}

/// Looks at the element that starts at `start`. `search_from` comes from an earlier [`Stop::Incomplete`] for the
/// same element, or is at or before it.
#[inline(never)]
pub(crate) fn element(buf: &[u8], start: usize, bounds: Bounds, search_from: usize) -> Result<Element<'_>, Stop> {
    let Some(&kind) = buf.get(start) else {
        return Err(missing(start, bounds));
    };
    if bounds.reply_bytes_max < start + 3 {
        return Err(Wrong(DecodeErrorKind::ReplyTooLarge));
    }
    if !is_type(kind) {
        return Err(Wrong(DecodeErrorKind::UnknownType(kind)));
    }
    let (line, end) = line(buf, start, bounds, search_from)?;
    let token = match kind {
        b'+' => Token::Simple(line),
        b'-' => Token::Error(line),
        b':' => Token::Integer(number::integer(line).ok_or(Wrong(DecodeErrorKind::BadNumber))?),
        b',' => Token::Double(number::double(line).ok_or(Wrong(DecodeErrorKind::BadNumber))?),
        b'#' if line == b"t" => Token::Boolean(true),
        b'#' if line == b"f" => Token::Boolean(false),
        b'_' if line.is_empty() => Token::Null,
        b'(' if number::is_integer(line) => Token::BigNumber(line),
        b'$' | b'*' if line == b"-1" => Token::Null,
        b'$' | b'!' | b'=' => return bulk(buf, start, bounds),
        b'*' | b'%' | b'~' | b'>' | b'|' => return aggregate(buf, start),
        b'_' | b'#' => return Err(Wrong(DecodeErrorKind::BadForm)),
        _ => return Err(Wrong(DecodeErrorKind::BadNumber)),
    };
    Ok(Element { piece: Piece::Value(token), end })
}

const fn is_type(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-' | b':' | b'$' | b'*' | b'_' | b',' | b'#' | b'!' | b'=' | b'(' | b'%' | b'~' | b'>' | b'|'
    )
}

/// A bulk string, error or verbatim string whose header line is complete.
fn bulk(buf: &[u8], start: usize, bounds: Bounds) -> Result<Element<'_>, Stop> {
    let Some((length, header)) = decimal(&buf[start..]) else {
        return Err(Wrong(DecodeErrorKind::BadNumber));
    };
    let body = start + header;
    let close = usize::try_from(length).ok().and_then(|length| body.checked_add(length));
    let Some(end) = close.and_then(|close| close.checked_add(2)).filter(|end| *end <= bounds.reply_bytes_max) else {
        return Err(Wrong(DecodeErrorKind::ReplyTooLarge));
    };
    let Some(rest) = buf.get(body..end) else {
        return Err(Stop::Incomplete { needed: end, search_from: None });
    };
    let [data @ .., b'\r', b'\n'] = rest else {
        return Err(Wrong(DecodeErrorKind::MissingTerminator));
    };
    let token = match (buf[start], data) {
        (b'!', _) => Token::Error(data),
        (b'=', [_, _, _, b':', text @ ..]) => Token::Bulk(text),
        (b'=', _) => return Err(Wrong(DecodeErrorKind::BadForm)),
        _ => Token::Bulk(data),
    };
    Ok(Element { piece: Piece::Value(token), end })
}

/// The header of an aggregate whose line is complete.
fn aggregate(buf: &[u8], start: usize) -> Result<Element<'_>, Stop> {
    let Some((count, header)) = decimal(&buf[start..]) else {
        return Err(Wrong(DecodeErrorKind::BadNumber));
    };
    let Ok(count) = usize::try_from(count) else {
        return Err(Wrong(DecodeErrorKind::TooManyElements));
    };
    let piece = match buf[start] {
        b'*' => Piece::Value(Token::Array(count)),
        b'%' => Piece::Value(Token::Map(count)),
        b'~' => Piece::Value(Token::Set(count)),
        b'>' => Piece::Value(Token::Push(count)),
        _ => Piece::Attribute(count),
    };
    Ok(Element { piece, end: start + header })
}

/// The number in `rest`, a type byte and then 1 to 19 digits and CR LF, and the length of all that. `None` for
/// everything else.
#[expect(clippy::inline_always, reason = "as `common`")]
#[inline(always)]
fn decimal(rest: &[u8]) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    let mut at = 1;
    // 19 digits fit u64, so nothing overflows.
    while at <= 20 {
        let byte = *rest.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let ends = at > 1 && byte == b'\r' && rest.get(at + 1) == Some(&b'\n');
            return ends.then_some((value, at + 2));
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    None
}

/// The text between the type byte at `start` and the next CR LF, and the offset behind that.
fn line(buf: &[u8], start: usize, bounds: Bounds, search_from: usize) -> Result<(&[u8], usize), Stop> {
    let at = start + 1;
    // The longest line that still ends within the reply's limit.
    let Some(room) = bounds.reply_bytes_max.checked_sub(start + 3) else {
        return Err(Wrong(DecodeErrorKind::ReplyTooLarge));
    };
    let longest = room.min(bounds.line_bytes_max);
    let rest = &buf[at..];
    let window = &rest[..rest.len().min(longest.saturating_add(1))];
    let known = search_from.saturating_sub(at).min(window.len());
    let Some(found) = memchr::memchr(b'\r', &window[known..]) else {
        return Err(if rest.len() <= longest {
            Stop::Incomplete { needed: buf.len() + 2, search_from: Some(buf.len()) }
        } else if room < bounds.line_bytes_max {
            Wrong(DecodeErrorKind::ReplyTooLarge)
        } else {
            Wrong(DecodeErrorKind::LineTooLong)
        });
    };
    let cr = known + found;
    match rest.get(cr + 1) {
        Some(b'\n') => Ok((&rest[..cr], at + cr + 2)),
        Some(_) => Err(Wrong(DecodeErrorKind::MissingTerminator)),
        None => Err(Stop::Incomplete { needed: buf.len() + 1, search_from: Some(at + cr) }),
    }
}

/// Not even the type byte is there. The shortest element, `_\r\n`, has three bytes.
#[cold]
fn missing(start: usize, bounds: Bounds) -> Stop {
    match start.checked_add(3).filter(|needed| *needed <= bounds.reply_bytes_max) {
        Some(needed) => Stop::Incomplete { needed, search_from: Some(start) },
        None => Wrong(DecodeErrorKind::ReplyTooLarge),
    }
}
