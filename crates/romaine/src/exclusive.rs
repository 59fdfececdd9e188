//! A connection of one's own: for WATCH, and for commands that change their connection's state.

use std::sync::Arc;

use romaine_commands::{Command, Executor, FromValue, ToArgs, cmd};
use romaine_proto::{Lane as WireLane, Link, Reconnect, Trigger, retry, slot_of};

use crate::call::{Call, Place, Target, ask};
use crate::circuit::Patience;
use crate::clock;
use crate::dedicated::Dedicated;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::Lane;
use crate::fleet::{Elsewhere, Fleet, common_slot};
use crate::pipeline::{Pipeline, Replies};
use crate::server::Server;
use crate::transaction::{Outcome, Transaction};

/// A connection that nobody shares. It is not dialled again when it ends: its state would be lost. Closed when dropped.
#[derive(Debug)]
pub struct Exclusive {
    server: Arc<Server>,
    dedicated: Dedicated,
}

impl Exclusive {
    pub(crate) async fn open(server: &Arc<Server>) -> Result<Self> {
        let dedicated = Dedicated::open(server, Lane::Exclusive, WireLane::Requests).await?;
        Ok(Self { server: server.clone(), dedicated })
    }

    /// To the node of a Cluster that has the slot of `key`, by that node's own word.
    pub(crate) async fn open_for(fleet: &Arc<Fleet>, key: &[u8]) -> Result<Self> {
        let deadline = fleet.deadline(Patience::Default);
        for attempt in 0.. {
            let server = fleet.primary_in_time(Some(slot_of(key)), deadline).await?;
            let error = match Self::open(&server).await {
                Ok(exclusive) => {
                    let probe = cmd::<i64>("EXISTS").arg(key);
                    let Err(error) = ask(exclusive.target(), probe, Patience::Until(deadline)).await else {
                        return Ok(exclusive);
                    };
                    match error.server().map(|said| fleet.elsewhere(&server, said)) {
                        // The slot is this node's: it is on its way and not gone, or the user may not ask for the key.
                        Some(Elsewhere::No | Elsewhere::Asking(_)) => return Ok(exclusive),
                        Some(Elsewhere::At(_) | Elsewhere::Later) if attempt >= fleet.common.config.redirects_max => {
                            return Err(error);
                        }
                        Some(Elsewhere::At(_) | Elsewhere::Later) => error,
                        None => lost(&server, error),
                    }
                }
                Err(error) => lost(&server, error),
            };
            let until = clock::now() + retry::pause(attempt, &mut fastrand::Rng::new());
            if fleet.common.is_closed() || deadline.is_some_and(|deadline| deadline <= until) {
                return Err(error);
            }
            fleet.changed(until).await;
        }
        Err(Error::usage("a connection was tried too often"))
    }

    fn target(&self) -> Target<'_> {
        Target { server: &self.server, circuit: &self.dedicated.circuit, exclusive: true }
    }

    fn is_lost(&self) -> bool {
        matches!(self.dedicated.circuit.lock().connection.link(), Link::Down | Link::Closed)
    }

    /// Many commands in one round trip, on this connection.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(Place::At(self.target()))
    }

    /// MULTI … EXEC on this connection.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(Place::At(self.target()))
    }
}

impl<'a> Executor for &'a Exclusive {
    type Issued<R: FromValue> = Call<'a, R>;

    fn issue<C: Command>(self, command: C) -> Call<'a, C::Reply> {
        Call::new(self.target(), command.into_request(), Patience::Default)
    }
}

/// A node that was to have a slot could not be asked: another may have it by now.
fn lost(server: &Arc<Server>, error: Error) -> Error {
    server.trigger(Trigger::Reconnecting { attempts: 1 });
    error
}

/// Runs `body` under WATCH until its transaction is executed or `body` fails.
pub(crate) async fn watch<T>(
    place: Place<'_>,
    keys: impl ToArgs,
    mut body: impl AsyncFnMut(&Exclusive, &mut Transaction<'_>) -> Result<T>,
) -> Result<(Replies, T)> {
    let watch = cmd::<()>("WATCH").args(keys);
    let config = &place.common().config;
    let slot = match place {
        Place::Fleet(fleet) if fleet.is_cluster() => common_slot(None, watch.clone().into_request().keys())?,
        Place::Fleet(_) | Place::At(_) => None,
    };
    let deadline = config.timeout.map(clock::after);
    let mut reconnect = Reconnect::new(config.backoff.clone(), config.stable_after, fastrand::Rng::new());
    let mut lost: Option<Error> = None;
    loop {
        if let Some(error) = lost.take() {
            let delay = reconnect.failed(clock::now());
            if place.common().is_closed() || deadline.is_some_and(|deadline| clock::after(delay) >= deadline) {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
        let server = match place {
            Place::At(target) => target.server.clone(),
            Place::Fleet(fleet) => fleet.primary_in_time(slot, deadline).await?,
        };
        let exclusive = match Exclusive::open(&server).await {
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
                // The keys or the role are another server's now; nothing was executed here.
                Err(error) if is_elsewhere(place, &server, &error) => {
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
                Err(error) if error.delivery() == Delivery::Refused && is_elsewhere(place, &server, &error) => {
                    lost = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether another server is the right one; the topology is asked then.
fn is_elsewhere(place: Place<'_>, server: &Arc<Server>, error: &Error) -> bool {
    let (Place::Fleet(fleet), Some(error)) = (place, error.server()) else { return false };
    !matches!(fleet.elsewhere(server, error), Elsewhere::No)
}
