//! The connection over which a test looks after its server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::resp::{Reply, encode_request, take_reply};

/// The user that every server gets besides those of the test.
pub(crate) const USER: &str = "faultlab";

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One command on a connection of its own.
///
/// A new connection each time costs a fraction of a millisecond, and holds no state that a restart could invalidate.
pub(crate) async fn command(socket: &Path, words: &[&str]) -> anyhow::Result<Reply> {
    let name = words.first().context("an empty command")?;
    tokio::time::timeout(ANSWER_WITHIN, exchange(socket, words))
        .await
        .with_context(|| format!("{name}: no answer within {ANSWER_WITHIN:?}"))?
        .with_context(|| format!("{name} failed"))
}

async fn exchange(socket: &Path, words: &[&str]) -> anyhow::Result<Reply> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut request = Vec::new();
    encode_request(&mut request, &["AUTH", USER, USER]);
    encode_request(&mut request, &["CLIENT", "SETNAME", USER]);
    encode_request(&mut request, words);
    stream.write_all(&request).await?;

    let mut buffer = BytesMut::new();
    // The replies to the two introductory commands.
    for _ in 0..2 {
        if let Reply::Error(error) = read_reply(&mut stream, &mut buffer).await? {
            bail!("{error}");
        }
    }
    match read_reply(&mut stream, &mut buffer).await? {
        Reply::Error(error) => bail!("{error}"),
        reply @ (Reply::Simple(_) | Reply::Int(_) | Reply::Bulk(_) | Reply::Array(_)) => Ok(reply),
    }
}

async fn read_reply(stream: &mut UnixStream, buffer: &mut BytesMut) -> anyhow::Result<Reply> {
    loop {
        if let Some(reply) = take_reply(buffer)? {
            return Ok(reply);
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the server closed the connection");
        }
    }
}
