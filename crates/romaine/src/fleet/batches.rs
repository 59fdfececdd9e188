//! Several requests in one piece, at the primary that is right for them.

use std::sync::Arc;
use std::time::Instant;

use romaine_proto::retry;
use romaine_resp::ServerError;

use super::{Elsewhere, Fleet};
use crate::batch::{Batch, Replies};
use crate::circuit::Patience;
use crate::clock;
use crate::config::Offline;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::server::Server;

/// How long to wait for a change of the map before looking at it again.
const LOST: std::time::Duration = std::time::Duration::from_millis(500);

impl Fleet {
    /// The deadline of what begins now.
    pub(crate) fn deadline(&self, patience: Patience) -> Option<Instant> {
        match patience {
            Patience::Default => self.common.config.timeout.map(clock::after),
            Patience::For(limit) => limit.map(clock::after),
            Patience::Until(deadline) => deadline,
        }
    }

    /// Nobody serves it: until its deadline, if that `is_over`, or at present. Its cause is why there is nobody.
    pub(crate) fn unserved(&self, is_over: bool, why: &'static str) -> Error {
        let kind = if is_over { ErrorKind::Timeout } else { ErrorKind::Unavailable };
        let error = Error::new(kind, Delivery::NotSent, why);
        match self.common.health.borrow().last_error.clone() {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }

    /// The primary for `slot`, as soon as there is one.
    ///
    /// # Errors
    /// When there is none until the deadline.
    pub(crate) async fn primary_in_time(&self, slot: Option<u16>, deadline: Option<Instant>) -> Result<Arc<Server>> {
        loop {
            if let Some(server) = self.primary(slot) {
                server.start_commands();
                return Ok(server);
            }
            let now = clock::now();
            if self.common.is_closed() {
                return Err(Error::without_reply(romaine_proto::FailureKind::Closed, Delivery::NotSent));
            }
            if self.common.config.offline == Offline::Fail || deadline.is_some_and(|deadline| deadline <= now) {
                return Err(self.unserved(deadline.is_some_and(|deadline| deadline <= now), super::NOBODY));
            }
            self.changed(deadline.unwrap_or(now + LOST).min(now + LOST)).await;
        }
    }

    /// Runs a batch at the primary for `slot`; again at another when that one was left before the batch was sent.
    pub(crate) async fn run(
        &self,
        batch: &Batch,
        slot: Option<u16>,
        deadline: Option<Instant>,
    ) -> Result<(Replies, Arc<Server>)> {
        loop {
            let server = self.primary_in_time(slot, deadline).await?;
            match batch.run(&server.commands, Patience::Until(deadline), true).await {
                Ok(replies) => return Ok((replies, server)),
                Err(error)
                    if error.kind() == ErrorKind::Closed
                        && !self.common.is_closed()
                        && (error.delivery() == Delivery::NotSent || !batch.not_repeatable) =>
                {
                    self.changed(clock::now() + std::time::Duration::from_millis(5)).await;
                }
                Err(error) => {
                    server.refused(&server.commands, &error);
                    return Err(error.with_node(&server.node));
                }
            }
        }
    }

    /// A batch was refused as a whole, with `error`. Whether it is worth running again, after the pause.
    pub(crate) async fn is_worth_again(
        &self,
        server: &Arc<Server>,
        error: &ServerError,
        attempt: u32,
        deadline: Option<Instant>,
    ) -> bool {
        if let Elsewhere::No = self.elsewhere(server, error) {
            return false;
        }
        let until = clock::now() + retry::pause(attempt, &mut fastrand::Rng::new());
        if attempt >= self.common.config.redirects_max || deadline.is_some_and(|deadline| deadline <= until) {
            return false;
        }
        tokio::time::sleep_until(until.into()).await;
        true
    }
}
