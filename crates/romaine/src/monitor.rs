//! MONITOR as a stream: every command the server executes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use romaine_commands::{Command, cmd};
use romaine_proto::Lane as WireLane;
use romaine_resp::{Reader, ServerError, Token};

use crate::dedicated::Dedicated;
use crate::error::{Error, Result};
use crate::events::Lane;
use crate::server::Server;

/// The lines of MONITOR, as the server writes them: time, database, client address, command and arguments.
///
/// It has a connection of its own and is not restored when that ends: the stream ends with the error. A consumer that
/// does not keep up loses the oldest lines (limit `subscription_backlog`) and is told how many.
#[derive(Debug)]
pub struct Monitor {
    dedicated: Dedicated,
    ended: bool,
}

/// What a [`Monitor`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MonitorLine {
    /// A line.
    Line(String),
    /// The consumer did not keep up: so many lines were dropped here.
    Dropped(u64),
}

impl Monitor {
    pub(crate) async fn open(server: &Arc<Server>) -> Result<Self> {
        let dedicated = Dedicated::open(server, Lane::Exclusive, WireLane::Monitor).await?;
        dedicated.circuit.monitor(&cmd::<()>("MONITOR").into_request(), server.config.subscription_backlog)?;
        let mut monitor = Self { dedicated, ended: false };
        // The first line is the server's OK, or its refusal.
        match monitor.next().await {
            Some(Ok(_ok)) => Ok(monitor),
            Some(Err(error)) => Err(error.with_command("MONITOR").with_node(&server.node)),
            None => Err(Error::usage("MONITOR ended before it began")),
        }
    }

    /// The next line; `None` after the error that ended it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<MonitorLine>> {
        std::future::poll_fn(|cx| self.poll_line(cx)).await
    }

    fn poll_line(&mut self, cx: &Context<'_>) -> Poll<Option<Result<MonitorLine>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let line = self.dedicated.circuit.poll_monitor(cx);
        if let Poll::Ready(Some(Err(_))) = &line {
            self.ended = true;
        }
        line
    }
}

impl Stream for Monitor {
    type Item = Result<MonitorLine>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<MonitorLine>>> {
        self.get_mut().poll_line(cx)
    }
}

/// A frame of MONITOR as a line.
pub(crate) fn line(frame: &[u8]) -> Result<MonitorLine> {
    match Reader::new(frame).token() {
        Ok(Token::Simple(text) | Token::Bulk(text)) => {
            Ok(MonitorLine::Line(String::from_utf8_lossy(text).into_owned()))
        }
        Ok(Token::Error(text)) => Err(Error::server_error(ServerError::new(text))),
        _ => Err(Error::usage("MONITOR sent something that is no line")),
    }
}
