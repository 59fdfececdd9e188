//! The words of which a script for a [`ScriptedServer`](crate::ScriptedServer) is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::resp::take_request;
use crate::scripted::{Record, is_named};
use crate::sockets;

/// The server's side of one connection.
///
/// After a greeting, the commands with which clients introduce themselves (`CLIENT …`, `SELECT`, `AUTH`) are answered on
/// the side unless they are expected by name, so that a script need not know every word of a client's greeting.
#[derive(Debug)]
pub struct ScriptedConnection {
    stream: TcpStream,
    index: usize,
    record: Arc<Record>,
    received: BytesMut,
    answers_introductions: bool,
}

impl ScriptedConnection {
    pub(crate) fn new(stream: TcpStream, index: usize, record: Arc<Record>) -> Self {
        Self { stream, index, record, received: BytesMut::new(), answers_introductions: false }
    }

    /// The number of this connection, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The client's address.
    ///
    /// # Errors
    ///
    /// When the client has left.
    pub fn peer(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.stream.peer_addr()?)
    }

    /// Whether introductory commands are answered on the side: on after a greeting, and otherwise off.
    pub fn answer_introductions(&mut self, on: bool) {
        self.answers_introductions = on;
    }

    /// Expects `HELLO 3` and answers it as Redis 7 does.
    ///
    /// # Errors
    ///
    /// When another command comes, or the client leaves.
    pub async fn greet_resp3(&mut self) -> anyhow::Result<()> {
        let hello = self.expect("HELLO").await?;
        if hello.get(1).is_none_or(|version| version != "3") {
            bail!("expected HELLO 3, got {hello:?}");
        }
        let reply = format!(
            "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:{}\r\n\
             $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
            self.index + 1
        );
        self.answers_introductions = true;
        self.send(reply.as_bytes()).await
    }

    /// Expects `HELLO` and does not know it, as Redis 5: from here on the client should speak RESP2.
    ///
    /// # Errors
    ///
    /// When another command comes, or the client leaves.
    pub async fn greet_resp2(&mut self) -> anyhow::Result<()> {
        self.expect("HELLO").await?;
        self.answers_introductions = true;
        self.send(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n").await
    }

    /// Expects `HELLO`, knows it, and refuses version 3.
    ///
    /// # Errors
    ///
    /// When another command comes, or the client leaves.
    pub async fn greet_noproto(&mut self) -> anyhow::Result<()> {
        self.expect("HELLO").await?;
        self.answers_introductions = true;
        self.send(b"-NOPROTO unsupported protocol version\r\n").await
    }

    /// The next command, whatever it is, with its arguments.
    ///
    /// # Errors
    ///
    /// When the client leaves, or sends what is not a command.
    ///
    /// # Cancel safety
    ///
    /// Cancelled, it has taken nothing.
    pub async fn next_command(&mut self) -> anyhow::Result<Vec<Bytes>> {
        match self.next_or_end().await? {
            Some(command) => Ok(command),
            None => bail!("the client closed the connection where a command was expected"),
        }
    }

    /// The next command, which must have that name.
    ///
    /// # Errors
    ///
    /// When another command comes, or the client leaves.
    pub async fn expect(&mut self, name: &str) -> anyhow::Result<Vec<Bytes>> {
        loop {
            let command = self.next_command().await?;
            if is_named(&command, name) {
                return Ok(command);
            }
            if !self.answers_introductions || !self.answer_introduction(&command).await? {
                bail!("expected {name}, got {command:?}");
            }
        }
    }

    /// Sends bytes: a reply, a push, a part of one, or garbage.
    ///
    /// # Errors
    ///
    /// When the client has left.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(())
    }

    /// Sends bytes in pieces of `size` with a pause after each.
    ///
    /// # Errors
    ///
    /// When the client has left.
    pub async fn trickle(&mut self, bytes: &[u8], size: usize, pause: Duration) -> anyhow::Result<()> {
        for piece in bytes.chunks(size.max(1)) {
            self.send(piece).await?;
            self.pause(pause).await;
        }
        Ok(())
    }

    /// Does nothing for a while. Commands that come meanwhile are read afterwards.
    pub async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Goes silent: reads on and records what comes, and answers nothing. Ends when the client leaves.
    ///
    /// # Errors
    ///
    /// When the client sends what is not a command.
    pub async fn silence(&mut self) -> anyhow::Result<()> {
        while self.next_or_end().await?.is_some() {}
        Ok(())
    }

    /// Goes silent and reads nothing any more, so that the client's writes block in the end. Never returns.
    ///
    /// # Errors
    ///
    /// None; the result is there so that a script can end with this.
    pub async fn stop_reading(&self) -> anyhow::Result<()> {
        std::future::pending().await
    }

    /// Answers every further command with the same bytes, until the client leaves.
    ///
    /// # Errors
    ///
    /// When the client sends what is not a command, or leaves before its answer.
    pub async fn answer_all(&mut self, reply: &[u8]) -> anyhow::Result<()> {
        while self.next_or_end().await?.is_some() {
            self.send(reply).await?;
        }
        Ok(())
    }

    /// Closes the connection in an orderly way, as returning from the script does too, except that unread commands do
    /// not turn the end into a reset.
    ///
    /// # Errors
    ///
    /// None; the result is there so that a script can end with this.
    pub async fn close(self) -> anyhow::Result<()> {
        sockets::close(&self.stream);
        Ok(())
    }

    /// Resets the connection (RST).
    ///
    /// # Errors
    ///
    /// None; the result is there so that a script can end with this.
    pub async fn reset(self) -> anyhow::Result<()> {
        sockets::prepare_reset(&self.stream);
        Ok(())
    }

    async fn next_or_end(&mut self) -> anyhow::Result<Option<Vec<Bytes>>> {
        loop {
            if let Some(command) = take_request(&mut self.received)? {
                self.record.command(self.index, command.clone());
                return Ok(Some(command));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                // A client that resets has left no less than one that closes.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn answer_introduction(&mut self, command: &[Bytes]) -> anyhow::Result<bool> {
        let is_client_id =
            is_named(command, "CLIENT") && command.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"ID"));
        if is_client_id {
            self.send(format!(":{}\r\n", self.index + 1).as_bytes()).await?;
            return Ok(true);
        }
        let is_introduction = ["CLIENT", "SELECT", "AUTH"].iter().any(|name| is_named(command, name));
        if is_introduction {
            self.send(b"+OK\r\n").await?;
        }
        Ok(is_introduction)
    }
}
