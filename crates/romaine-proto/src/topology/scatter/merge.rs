//! How the replies of several nodes become one.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use romaine_commands::Spec;
use romaine_resp::{DecodeError, Reader, Token};

/// Why replies cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeError {
    /// There is no reply at all.
    Nothing,
    /// A reply is not RESP.
    Undecodable(DecodeError),
    /// A reply does not have the form that the command's policy needs; which form that is.
    Form(&'static str),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("there is no reply to merge"),
            Self::Undecodable(_) => f.write_str("a node's reply is not RESP"),
            Self::Form(expected) => write!(f, "the nodes' replies cannot be merged: expected {expected}"),
        }
    }
}

impl std::error::Error for MergeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Undecodable(error) => Some(error),
            Self::Nothing | Self::Form(_) => None,
        }
    }
}

impl From<DecodeError> for MergeError {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

const OTHER_COUNT: MergeError = MergeError::Form("as many elements as keys");

/// Merges complete frames, one for each part or node and in their order, into one frame that reads as the command's
/// ordinary reply.
///
/// The row's response policy says how. Without one, arrays of a request that was [split](super::split) are put into
/// the order of the original's keys (`keys`: those of each part), and other arrays, sets and maps are joined.
///
/// An error frame among the replies is the result, whatever the others say; only where the policy asks for one success
/// is it looked past.
///
/// # Errors
/// When there is no frame, or the frames do not have the form the policy needs.
pub fn merge(spec: &Spec, keys: Option<&[Vec<usize>]>, frames: &[&[u8]]) -> Result<Bytes, MergeError> {
    let first = *frames.first().ok_or(MergeError::Nothing)?;
    if spec.response_policy == "one_succeeded" {
        return one_succeeded(frames);
    }
    if let Some(error) = frames.iter().find(|frame| is_error(frame)) {
        return Ok(Bytes::copy_from_slice(error));
    }
    match spec.response_policy {
        "all_succeeded" => Ok(Bytes::copy_from_slice(first)),
        "agg_sum" => folded(frames, i64::saturating_add),
        "agg_min" => folded(frames, i64::min),
        "agg_max" => folded(frames, i64::max),
        "agg_logical_and" => folded(frames, |one, other| i64::from(one != 0 && other != 0)),
        "agg_logical_or" => folded(frames, |one, other| i64::from(one != 0 || other != 0)),
        // A report of one node: what several say is told apart only by their places.
        "special" if frames.len() > 1 => Err(MergeError::Form("the reply of a single node")),
        _ => match keys {
            Some(keys) => in_order(keys, frames),
            None => joined(frames),
        },
    }
}

fn is_error(frame: &[u8]) -> bool {
    matches!(Reader::new(frame).peek(), Ok(Token::Error(_)))
}

/// The first success; if there is none, the first error that says more than that nothing was running there.
fn one_succeeded(frames: &[&[u8]]) -> Result<Bytes, MergeError> {
    let is_idle =
        |frame: &&&[u8]| matches!(Reader::new(frame).peek(), Ok(Token::Error(text)) if text.starts_with(b"NOTBUSY"));
    let chosen = frames
        .iter()
        .find(|frame| !is_error(frame))
        .or_else(|| frames.iter().find(|frame| !is_idle(frame)))
        .or_else(|| frames.first());
    chosen.map(|frame| Bytes::copy_from_slice(frame)).ok_or(MergeError::Nothing)
}

/// Integers, or arrays of them element by element (SCRIPT EXISTS, WAITAOF).
fn folded(frames: &[&[u8]], fold: impl Fn(i64, i64) -> i64) -> Result<Bytes, MergeError> {
    let mut total: Option<(bool, Vec<i64>)> = None;
    for frame in frames {
        let (is_array, numbers) = numbers(frame)?;
        total = Some(match total {
            None => (is_array, numbers),
            Some((was_array, mut so_far)) => {
                if was_array != is_array || so_far.len() != numbers.len() {
                    return Err(MergeError::Form("replies of the same form"));
                }
                for (one, other) in so_far.iter_mut().zip(numbers) {
                    *one = fold(*one, other);
                }
                (is_array, so_far)
            }
        });
    }
    let (is_array, numbers) = total.ok_or(MergeError::Nothing)?;
    let mut out = BytesMut::new();
    if is_array {
        write_number(&mut out, b'*', numbers.len());
    }
    for number in numbers {
        write_number(&mut out, b':', number);
    }
    Ok(out.freeze())
}

fn numbers(frame: &[u8]) -> Result<(bool, Vec<i64>), MergeError> {
    const INTEGERS: MergeError = MergeError::Form("integers");
    let mut reader = Reader::new(frame);
    match reader.token()? {
        Token::Integer(number) => Ok((false, vec![number])),
        Token::Array(length) => {
            let mut numbers = Vec::with_capacity(length.min(reader.remaining()));
            for _ in 0..length {
                let Token::Integer(number) = reader.token()? else { return Err(INTEGERS) };
                numbers.push(number);
            }
            Ok((true, numbers))
        }
        _ => Err(INTEGERS),
    }
}

/// One element for each key: each goes to its key's place.
fn in_order(keys: &[Vec<usize>], frames: &[&[u8]]) -> Result<Bytes, MergeError> {
    if keys.len() != frames.len() {
        return Err(MergeError::Form("one reply for each part"));
    }
    let total = keys.iter().map(Vec::len).sum();
    let mut elements: Vec<Option<&[u8]>> = vec![None; total];
    for (keys, frame) in keys.iter().zip(frames) {
        let mut reader = Reader::new(frame);
        let Token::Array(length) = reader.token()? else { return Err(MergeError::Form("an array")) };
        if length != keys.len() {
            return Err(OTHER_COUNT);
        }
        for key in keys {
            let start = reader.position();
            reader.skip()?;
            *elements.get_mut(*key).ok_or(OTHER_COUNT)? = frame.get(start..reader.position());
        }
    }
    let mut out = BytesMut::with_capacity(frames.iter().map(|frame| frame.len()).sum());
    write_number(&mut out, b'*', total);
    for element in elements {
        out.put_slice(element.ok_or(OTHER_COUNT)?);
    }
    Ok(out.freeze())
}

/// Arrays, sets and maps one behind the other; of anything else, one reply.
fn joined(frames: &[&[u8]]) -> Result<Bytes, MergeError> {
    let mut kind = None;
    let mut total: usize = 0;
    let mut bodies = Vec::with_capacity(frames.len());
    for frame in frames {
        let mut reader = Reader::new(frame);
        let (sigil, length) = match reader.token()? {
            Token::Array(length) => (b'*', length),
            Token::Set(length) => (b'~', length),
            Token::Map(length) => (b'%', length),
            _ => return Ok(one_of(frames)),
        };
        if *kind.get_or_insert(sigil) != sigil {
            return Err(MergeError::Form("replies of the same form"));
        }
        total = total.saturating_add(length);
        bodies.push(frame.get(reader.position()..).unwrap_or_default());
    }
    let mut out = BytesMut::with_capacity(frames.iter().map(|frame| frame.len()).sum());
    write_number(&mut out, kind.ok_or(MergeError::Nothing)?, total);
    for body in bodies {
        out.put_slice(body);
    }
    Ok(out.freeze())
}

/// RANDOMKEY: one of the keys, and nil only if every node says nil. Which one is drawn by what the nodes drew, so that
/// it is not always the first node's.
fn one_of(frames: &[&[u8]]) -> Bytes {
    let some: Vec<&[u8]> =
        frames.iter().copied().filter(|frame| !matches!(Reader::new(frame).peek(), Ok(Token::Null))).collect();
    let candidates = if some.is_empty() { frames } else { &some };
    let draw = candidates
        .iter()
        .flat_map(|frame| frame.iter())
        .fold(0_usize, |draw, byte| draw.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    candidates.get(draw % candidates.len().max(1)).map(|frame| Bytes::copy_from_slice(frame)).unwrap_or_default()
}

fn write_number(out: &mut BytesMut, sigil: u8, number: impl fmt::Display) {
    out.put_slice(format!("{}{number}\r\n", char::from(sigil)).as_bytes());
}
