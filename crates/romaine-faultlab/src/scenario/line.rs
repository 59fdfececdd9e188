//! A lasting connection to a server's Unix socket, which no network fault reaches.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::admin::USER;
use crate::resp::{Reply, encode_request, take_reply};

/// One connection, as the lab's own user.
#[derive(Debug)]
pub(crate) struct Line {
    path: PathBuf,
    stream: UnixStream,
    buffer: BytesMut,
    out: Vec<u8>,
}

impl Line {
    pub(crate) async fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).await.context("cannot reach the server's Unix socket")?;
        let mut line = Self { path: path.to_owned(), stream, buffer: BytesMut::new(), out: Vec::new() };
        line.ask(&["AUTH", USER, USER]).await?;
        line.ask(&["CLIENT", "SETNAME", USER]).await?;
        Ok(line)
    }

    /// Where it leads.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends a command and waits for its reply, as long as the connection lives: a frozen server answers when it goes on.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        self.put(words);
        self.send().await?;
        self.answer().await
    }

    /// The next reply; the server's refusal is an error.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<Reply> {
        match self.reply().await? {
            Reply::Error(error) => bail!("{error}"),
            reply @ (Reply::Simple(_) | Reply::Int(_) | Reply::Bulk(_) | Reply::Array(_)) => Ok(reply),
        }
    }

    /// Adds a command to what [`Line::send`] sends.
    pub(crate) fn put(&mut self, words: &[&str]) {
        encode_request(&mut self.out, words);
    }

    pub(crate) async fn send(&mut self) -> anyhow::Result<()> {
        let sent = self.stream.write_all(&self.out).await;
        self.out.clear();
        Ok(sent?)
    }

    async fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            if let Some(reply) = take_reply(&mut self.buffer)? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}
