//! The client: a handle that is cloned freely and used by `&self` from any number of tasks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use romaine_commands::{Command, Executor, FromValue, ToArgs};
use romaine_proto::SubscriptionKind;
use tokio::sync::watch;

use crate::call::{Call, Target};
use crate::circuit::Patience;
use crate::clock;
use crate::config::IntoConfig;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::EventStream;
use crate::exclusive::{self, Exclusive};
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::pipeline::{Pipeline, Replies};
use crate::reliable::ReliablePop;
use crate::script::Script;
use crate::shared::Shared;
use crate::subscription::Subscription;
use crate::transaction::Transaction;

/// A client of one Redis or Valkey server.
///
/// All clones share the same connections: one for ordinary commands, which everybody's commands share without waiting
/// for each other's replies; one for all subscriptions; one for each *blocking* command under way; one that watches over
/// those. Commands are the methods of the traits in [`commands`](crate::commands).
///
/// When the last clone is dropped the connections are closed; [`close`](Self::close) lets what is in flight end first.
///
/// ```no_run
/// # async fn example() -> romaine::Result<()> {
/// use romaine::Client;
/// use romaine::commands::*;
///
/// let client = Client::connect("redis://localhost:6379").await?;
/// client.set("greeting", "hello").await?;
/// let greeting: Option<String> = client.get("greeting").await?;
/// # let _ = greeting;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Ends everything with the last clone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.shared.is_closed() {
            self.shared.end();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        let status = shared.health.borrow().status;
        f.debug_struct("Client").field("node", &shared.node).field("status", &status).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects; `config` is a URL (see [`Config::from_url`](crate::Config::from_url)) or a
    /// [`Config`](crate::Config).
    ///
    /// With [`Config::lazy`](crate::Config::lazy) it returns at once, disconnected, and the connection is made in the
    /// background.
    ///
    /// # Errors
    /// When the settings cannot work, or the first attempt to connect failed: what, where, and the server's words.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn connect(config: impl IntoConfig) -> Result<Self> {
        let config = config.into_config()?;
        config.validate()?;
        let lazy = config.lazy;
        let shared = Shared::new(config, tokio::runtime::Handle::current());
        let client = Self { handle: Arc::new(Handle { shared }) };
        client.shared().start_commands();
        if !lazy {
            client.first_attempt().await?;
        }
        Ok(client)
    }

    async fn first_attempt(&self) -> Result<()> {
        let mut health = self.shared().health.subscribe();
        let first = health.wait_for(|health| health.is_connected() || health.last_error.is_some()).await;
        let failed = match first {
            Ok(health) if health.is_connected() => return Ok(()),
            Ok(health) => health.last_error.clone(),
            Err(_closed) => None,
        };
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed")))
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    #[inline]
    fn target(&self) -> Target<'_> {
        let shared = self.shared();
        Target::of(shared, &shared.commands)
    }

    /// Waits until commands flow: at once, or when the connection is (back) up.
    ///
    /// # Errors
    /// When the client is closed.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn connected(&self) -> Result<()> {
        let mut health = self.shared().health.subscribe();
        let reached = health.wait_for(|health| health.is_connected() || health.status == Status::Closed).await;
        match reached {
            Ok(health) if health.is_connected() => Ok(()),
            _ => Err(Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed")),
        }
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.shared().events.listen()
    }

    /// How the shared connection is, now and on every change.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared().health.subscribe()
    }

    /// Counters and latencies.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        let subscriptions = shared.subscriptions.lock().counters;
        let commands = shared.commands.lock();
        Metrics {
            commands: commands.counters,
            subscriptions,
            queued: commands.connection.queued(),
            queued_bytes: commands.connection.queued_bytes(),
            in_flight: commands.connection.in_flight(),
            blocking: shared.blocking.load(Ordering::Relaxed),
            latencies: commands.latencies.as_ref().map(|latencies| latencies.snapshot()).unwrap_or_default(),
        }
    }

    /// Many commands in one round trip.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self.target())
    }

    /// Commands that the server executes together: MULTI … EXEC.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.target())
    }

    /// Optimistic locking: runs `body` with the keys watched, on a connection of its own. `body` reads through the
    /// connection and fills the transaction; when a watched key has changed meanwhile, it is run again.
    ///
    /// ```no_run
    /// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
    /// use romaine::commands::*;
    ///
    /// let (_, before) = client
    ///     .watch(["counter"], async |connection, transaction| {
    ///         let value: Option<i64> = connection.get("counter").await?;
    ///         let _ticket = transaction.issue(romaine::command::set("counter", value.unwrap_or(0) * 2));
    ///         Ok(value)
    ///     })
    ///     .await?;
    /// # let _ = before;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `body`'s own errors; the transaction's. A connection lost before EXEC was sent starts over; one lost after it
    /// is an error with [`Delivery::Unknown`].
    pub async fn watch<T>(
        &self,
        keys: impl ToArgs,
        body: impl AsyncFnMut(&Exclusive, &mut Transaction<'_>) -> Result<T>,
    ) -> Result<(Replies, T)> {
        exclusive::watch(self.shared(), keys, body).await
    }

    /// A connection of one's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn exclusive(&self) -> Result<Exclusive> {
        Exclusive::open(self.shared()).await
    }

    /// Runs a Lua script by its digest, sending its text only when the server does not have it.
    ///
    /// # Errors
    /// As any command.
    pub async fn script<R: FromValue>(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> Result<R> {
        script.run(self.shared(), keys, args).await
    }

    /// Subscribes to channels; returns after the server's confirmation.
    ///
    /// # Errors
    /// When the server refuses or does not confirm within the client's time-out.
    ///
    /// # Cancel safety
    /// Dropping the future ends the subscription.
    pub async fn subscribe<C: AsRef<[u8]>>(&self, channels: impl IntoIterator<Item = C>) -> Result<Subscription> {
        self.open_subscription(SubscriptionKind::Channel, channels).await
    }

    /// Subscribes to patterns (`news.*`); otherwise as [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn psubscribe<C: AsRef<[u8]>>(&self, patterns: impl IntoIterator<Item = C>) -> Result<Subscription> {
        self.open_subscription(SubscriptionKind::Pattern, patterns).await
    }

    /// Subscribes to shard channels (7.0 and later); otherwise as [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn ssubscribe<C: AsRef<[u8]>>(&self, channels: impl IntoIterator<Item = C>) -> Result<Subscription> {
        self.open_subscription(SubscriptionKind::Shard, channels).await
    }

    async fn open_subscription<C: AsRef<[u8]>>(
        &self,
        kind: SubscriptionKind,
        topics: impl IntoIterator<Item = C>,
    ) -> Result<Subscription> {
        let topics = topics.into_iter().map(|topic| Bytes::copy_from_slice(topic.as_ref())).collect();
        Subscription::open(self.shared(), kind, topics).await
    }

    /// The loss-free way to take elements from the list `source`: see [`ReliablePop`]. `processing` is a list that
    /// belongs to this consumer alone. Nothing is sent yet.
    #[must_use]
    pub fn reliable_pop<V: FromValue>(&self, source: impl Into<Bytes>, processing: impl Into<Bytes>) -> ReliablePop<V> {
        ReliablePop::new(self.clone(), source.into(), processing.into())
    }

    /// Every command the server executes, as a stream. Expensive for the server: for incidents, not for production.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn monitor(&self) -> Result<Monitor> {
        Monitor::open(self.shared()).await
    }

    /// Closes the client: new calls are refused, calls in flight may end within
    /// [`Config::close_timeout`](crate::Config::close_timeout), then the connections are closed and every task of the
    /// client has ended.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the client closing; calling it again finishes the work.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.drain();
        let deadline = clock::now() + shared.config.close_timeout;
        // The supervisor of ordinary commands ends when nothing is queued or in flight.
        let mut health = shared.health.subscribe();
        let drained = async {
            // What it returns holds the snapshot's lock: dropped here, before the snapshot changes again.
            health.wait_for(|health| health.status == Status::Closed).await.is_ok()
        };
        let _drained_or_not: std::result::Result<bool, _> = tokio::time::timeout_at(deadline.into(), drained).await;
        shared.end();
        shared.join(LAST_TURN).await;
    }
}

/// What the tasks of a client get to end by themselves once everything is closed.
const LAST_TURN: Duration = Duration::from_millis(500);

impl<'a> Executor for &'a Client {
    type Issued<R: FromValue> = Call<'a, R>;

    #[inline]
    fn issue<C: Command>(self, command: C) -> Call<'a, C::Reply> {
        Call::new(self.target(), command.into_request(), Patience::Default)
    }
}
