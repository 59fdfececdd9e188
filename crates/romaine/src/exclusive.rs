//! A connection of one's own: for WATCH, and for commands that change their connection's state.

use std::sync::Arc;

use romaine_commands::{Command, Executor, FromValue, ToArgs, cmd};
use romaine_proto::{Lane as WireLane, Link, Reconnect};

use crate::call::{Call, Target, ask};
use crate::circuit::Patience;
use crate::clock;
use crate::dedicated::Dedicated;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::Lane;
use crate::pipeline::{Pipeline, Replies};
use crate::shared::Shared;
use crate::transaction::{Outcome, Transaction};

/// A connection that nobody shares. It is not dialled again when it ends: its state would be lost. Closed when dropped.
#[derive(Debug)]
pub struct Exclusive {
    shared: Arc<Shared>,
    dedicated: Dedicated,
}

impl Exclusive {
    pub(crate) async fn open(shared: &Arc<Shared>) -> Result<Self> {
        let dedicated = Dedicated::open(shared, Lane::Exclusive, WireLane::Requests).await?;
        Ok(Self { shared: shared.clone(), dedicated })
    }

    fn target(&self) -> Target<'_> {
        Target { shared: &self.shared, circuit: &self.dedicated.circuit, exclusive: true }
    }

    fn is_lost(&self) -> bool {
        matches!(self.dedicated.circuit.lock().connection.link(), Link::Down | Link::Closed)
    }

    /// Many commands in one round trip, on this connection.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self.target())
    }

    /// MULTI … EXEC on this connection.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.target())
    }
}

impl<'a> Executor for &'a Exclusive {
    type Issued<R: FromValue> = Call<'a, R>;

    fn issue<C: Command>(self, command: C) -> Call<'a, C::Reply> {
        Call::new(self.target(), command.into_request(), Patience::Default)
    }
}

/// Runs `body` under WATCH until its transaction is executed or `body` fails.
pub(crate) async fn watch<T>(
    shared: &Arc<Shared>,
    keys: impl ToArgs,
    mut body: impl AsyncFnMut(&Exclusive, &mut Transaction<'_>) -> Result<T>,
) -> Result<(Replies, T)> {
    let watch = cmd::<()>("WATCH").args(keys);
    let config = &shared.config;
    let deadline = config.timeout.map(|limit| clock::now() + limit);
    let mut reconnect = Reconnect::new(config.backoff.clone(), config.stable_after, fastrand::Rng::new());
    let mut lost: Option<Error> = None;
    loop {
        if let Some(error) = lost.take() {
            let delay = reconnect.failed(clock::now());
            if shared.is_closed() || deadline.is_some_and(|deadline| clock::now() + delay >= deadline) {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
        let exclusive = match Exclusive::open(shared).await {
            Ok(exclusive) => exclusive,
            Err(error) => {
                lost = Some(error);
                continue;
            }
        };
        // An aborted attempt starts on the same connection; a lost connection starts over on another.
        loop {
            let watched = ask(exclusive.target(), watch.clone(), Patience::Default).await;
            let mut transaction = exclusive.transaction();
            let attempt = match watched {
                Ok(()) => body(&exclusive, &mut transaction).await,
                Err(error) => Err(error),
            };
            let value = match attempt {
                Ok(value) => value,
                // Nothing was executed yet: EXEC was not even sent.
                Err(error) if error.kind() == ErrorKind::Closed && exclusive.is_lost() => {
                    lost = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            match transaction.run().await {
                Ok(Outcome::Done(replies)) => return Ok((replies, value)),
                Ok(Outcome::Aborted) => {}
                Err(error) if error.delivery() == Delivery::NotSent && exclusive.is_lost() => {
                    lost = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
