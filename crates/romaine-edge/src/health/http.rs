//! As much of HTTP as a health check on the same machine needs: one GET, one answer, a limit on its size.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// The longest answer that is read.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

pub(crate) async fn over_tcp(authority: &str, path: &str) -> Result<Answer, String> {
    let stream = TcpStream::connect(authority).await.map_err(|error| format!("cannot connect: {error}"))?;
    exchange(stream, authority, path).await
}

pub(crate) async fn over_unix(socket: &str, path: &str) -> Result<Answer, String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| format!("cannot connect to {socket}: {error}"))?;
    exchange(stream, "localhost", path).await
}

/// HTTP/1.0: the end of the answer is the end of the connection. Some answer in chunks all the same.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, path: &str) -> Result<Answer, String> {
    let ask = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: romaine-agent\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.map_err(|error| format!("cannot ask: {error}"))?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| format!("the answer broke off: {error}"))?;
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count == 0 || is_whole(&bytes) {
            break;
        }
        if bytes.len() > ANSWER_MAX {
            return Err(format!("the answer is longer than {ANSWER_MAX} bytes"));
        }
    }
    parse(&bytes).ok_or_else(|| "the answer is not HTTP".to_owned())
}

/// Whether the announced length is there: a server may keep the connection open.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((head, body)) = split(bytes) else { return false };
    match header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => {
            header(&head, "transfer-encoding").is_some_and(|coding| coding == "chunked") && body.ends_with(b"0\r\n\r\n")
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let (head, body) = split(bytes)?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let chunked = header(&head, "transfer-encoding").is_some_and(|coding| coding == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, body })
}

fn split(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(bytes.get(..end)?).into_owned(), bytes.get(end + 4..)?))
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
    })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..line)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok().filter(|size| *size <= ANSWER_MAX)?;
        if size == 0 {
            return Some(body);
        }
        let from = line + 2;
        body.extend_from_slice(rest.get(from..from + size)?);
        rest = rest.get(from + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(reply: &'static [u8]) -> Result<Answer, String> {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let serve = async {
            let mut buffer = vec![0; 1_024];
            let _asked = theirs.read(&mut buffer).await;
            let _written = theirs.write_all(reply).await;
            drop(theirs);
        };
        tokio::join!(exchange(ours, "x", "/"), serve).0
    }

    #[tokio::test]
    async fn answers_are_read_whole_in_one_piece_or_in_chunks() {
        let plain = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        assert_eq!((plain.status, plain.body), (200, b"hi".to_vec()));
        let chunked =
            asked(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\n yo\r\n0\r\n\r\n").await;
        assert_eq!(chunked.unwrap(), Answer { status: 503, body: b"hi yo".to_vec() });
        let endless = asked(b"HTTP/1.0 204 No\r\n\r\n").await.unwrap();
        assert_eq!(endless.status, 204);
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        for reply in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(asked(reply).await.is_err());
        }
        let broken = asked(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n").await;
        assert!(broken.is_err());
    }
}
