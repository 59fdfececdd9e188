//! As much RESP2 as a test harness needs: requests in both directions, and replies.
//!
//! Written anew rather than taken from `romaine-resp`: what judges the product must not share its mistakes.

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};

/// Deeper nesting than any command's reply; a guard against recursion without end.
const DEPTH_MAX: usize = 32;

/// A reply of the server to an administrative command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+…`
    Simple(String),
    /// `-…`
    Error(String),
    /// `:…`
    Int(i64),
    /// `$…`; `None` is nil.
    Bulk(Option<Bytes>),
    /// `*…`; the nil array is given as an empty one.
    Array(Vec<Self>),
}

impl Reply {
    /// The reply as text: what redis-cli would print, roughly. Nil is the empty text, elements are separated by newlines.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Bulk(None) => String::new(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Array(elements) => elements.iter().map(Self::text).collect::<Vec<_>>().join("\n"),
        }
    }

    /// The reply as a number: an integer, or text that is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Simple(_) | Self::Bulk(Some(_)) => self.text().parse().ok(),
            Self::Error(_) | Self::Bulk(None) | Self::Array(_) => None,
        }
    }

    /// Whether the reply is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Bulk(None))
    }
}

/// Writes a request as an array of bulk strings.
pub(crate) fn encode_request(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Takes one value from the front of `buffer`; `None` when it has not arrived in full.
///
/// It begins anew with each call, so that a caller can be cancelled between two reads without losing anything.
pub(crate) fn take_reply(buffer: &mut BytesMut) -> anyhow::Result<Option<Reply>> {
    let mut cursor = Cursor { bytes: buffer, at: 0 };
    let reply = cursor.value(0)?;
    let consumed = cursor.at;
    if reply.is_some() {
        drop(buffer.split_to(consumed));
    }
    Ok(reply)
}

/// Takes one request from the front of `buffer`: an array of bulk strings, or an inline command.
pub(crate) fn take_request(buffer: &mut BytesMut) -> anyhow::Result<Option<Vec<Bytes>>> {
    if buffer.first().is_some_and(|first| *first != b'*') {
        let mut cursor = Cursor { bytes: buffer, at: 0 };
        let Some(line) = cursor.line() else { return Ok(None) };
        let words =
            line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(Bytes::copy_from_slice).collect();
        let consumed = cursor.at;
        drop(buffer.split_to(consumed));
        return Ok(Some(words));
    }
    let Some(Reply::Array(elements)) = take_reply(buffer)? else { return Ok(None) };
    let words = elements.into_iter().map(|element| match element {
        Reply::Bulk(Some(word)) => Ok(word),
        Reply::Simple(_) | Reply::Error(_) | Reply::Int(_) | Reply::Bulk(None) | Reply::Array(_) => {
            Err(anyhow::anyhow!("a request's element is not a bulk string: {element:?}"))
        }
    });
    words.collect::<anyhow::Result<Vec<_>>>().map(Some)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The bytes up to the next line end, without it.
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        rest.get(..end)
    }

    fn value(&mut self, depth: usize) -> anyhow::Result<Option<Reply>> {
        if depth > DEPTH_MAX {
            bail!("a reply is nested deeper than {DEPTH_MAX}");
        }
        let Some(line) = self.line() else { return Ok(None) };
        let Some((kind, text)) = line.split_first() else { bail!("an empty line where a value should begin") };
        let text = String::from_utf8_lossy(text).into_owned();
        match *kind {
            b'+' => Ok(Some(Reply::Simple(text))),
            b'-' => Ok(Some(Reply::Error(text))),
            b':' => Ok(Some(Reply::Int(text.parse().with_context(|| format!("not an integer: {text:?}"))?))),
            b'$' => self.bulk(&text),
            b'*' => self.array(&text, depth),
            other => bail!("not a RESP2 type: {:?}", char::from(other)),
        }
    }

    fn bulk(&mut self, length: &str) -> anyhow::Result<Option<Reply>> {
        let length: i64 = length.parse().with_context(|| format!("not a length: {length:?}"))?;
        let Ok(length) = usize::try_from(length) else { return Ok(Some(Reply::Bulk(None))) };
        let Some(body) = self.bytes.get(self.at..self.at + length) else { return Ok(None) };
        let Some(end) = self.bytes.get(self.at + length..self.at + length + 2) else { return Ok(None) };
        if end != b"\r\n" {
            bail!("a bulk string does not end where it said");
        }
        self.at += length + 2;
        Ok(Some(Reply::Bulk(Some(Bytes::copy_from_slice(body)))))
    }

    fn array(&mut self, count: &str, depth: usize) -> anyhow::Result<Option<Reply>> {
        let count: i64 = count.parse().with_context(|| format!("not a count: {count:?}"))?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let Some(element) = self.value(depth + 1)? else { return Ok(None) };
            elements.push(element);
        }
        Ok(Some(Reply::Array(elements)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_found_whole_however_it_is_cut() {
        let wire = b"*3\r\n$3\r\nfoo\r\n:-7\r\n*2\r\n$-1\r\n+OK\r\n";
        let expected = Reply::Array(vec![
            Reply::Bulk(Some(Bytes::from_static(b"foo"))),
            Reply::Int(-7),
            Reply::Array(vec![Reply::Bulk(None), Reply::Simple("OK".into())]),
        ]);
        for cut in 0..wire.len() {
            let mut buffer = BytesMut::from(&wire[..cut]);
            assert_eq!(take_reply(&mut buffer).unwrap(), None, "cut at {cut}");
            buffer.extend_from_slice(&wire[cut..]);
            assert_eq!(take_reply(&mut buffer).unwrap(), Some(expected.clone()));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_request_may_be_inline() {
        let mut buffer = BytesMut::from(&b"PING  hello\r\n*1\r\n$4\r\nPING\r\n"[..]);
        assert_eq!(take_request(&mut buffer).unwrap().unwrap(), ["PING", "hello"]);
        assert_eq!(take_request(&mut buffer).unwrap().unwrap(), ["PING"]);
        assert_eq!(take_request(&mut buffer).unwrap(), None);
    }
}
