//! The client: a handle that is cloned freely and used by `&self` from any number of tasks.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use romaine_commands::{Command, Executor, FromValue, ToArgs};
use romaine_proto::{FailureKind, NodeAddress, SubscriptionKind};
use tokio::sync::watch;

use crate::call::{Call, Place, Target};
use crate::circuit::Patience;
use crate::clock;
use crate::common::Common;
use crate::config::IntoConfig;
use crate::config_topology::Topology;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::{EventStream, NodeRole, TopologyNode};
use crate::exclusive::{self, Exclusive};
use crate::fleet::Fleet;
use crate::health::{Health, Status};
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::on_nodes::OnNodes;
use crate::pipeline::{Pipeline, Replies};
use crate::reliable::ReliablePop;
use crate::scan;
use crate::script::Script;
use crate::server::{Part, Role, Server};
use crate::subscription::Subscription;
use crate::transaction::Transaction;

/// A client of one Redis or Valkey server, of a primary and its replicas, or of a Cluster: the URL says which.
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

/// The servers of a client.
#[derive(Debug)]
enum Servers {
    /// There is one.
    One(Arc<Server>),
    /// There are several, with parts to play.
    Fleet(Arc<Fleet>),
    /// One of several, asked for by name; the client that it is of lives as long.
    Node { server: Arc<Server>, _of: Client },
}

/// Ends everything with the last clone.
#[derive(Debug)]
struct Handle {
    common: Arc<Common>,
    servers: Servers,
}

impl Handle {
    fn end(&self) {
        self.common.close();
        match &self.servers {
            Servers::One(server) => server.end(),
            Servers::Fleet(fleet) => fleet.end(),
            Servers::Node { .. } => return,
        }
        self.common.tell_closed();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        match &self.servers {
            Servers::Node { server, .. } => {
                server.retire();
                // Nobody hears anything there any more, and should know.
                server.hub.close(&Error::without_reply(FailureKind::Closed, Delivery::NotSent));
            }
            Servers::One(_) | Servers::Fleet(_) if self.common.is_closed() => {}
            Servers::One(_) | Servers::Fleet(_) => self.end(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.common().health.borrow().status;
        let mut shown = f.debug_struct("Client");
        match &self.handle.servers {
            Servers::One(server) | Servers::Node { server, .. } => shown.field("node", &server.node),
            Servers::Fleet(fleet) => shown.field("topology", &fleet.common.config.topology),
        };
        shown.field("status", &status).finish_non_exhaustive()
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
        let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
        let servers = if let Topology::Single = common.config.topology {
            let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
            server.start_commands();
            Servers::One(server)
        } else {
            let fleet = Fleet::new(common.clone());
            fleet.start();
            Servers::Fleet(fleet)
        };
        let client = Self { handle: Arc::new(Handle { common, servers }) };
        if !lazy {
            client.first_attempt().await?;
        }
        Ok(client)
    }

    async fn first_attempt(&self) -> Result<()> {
        let mut health = self.common().health.subscribe();
        let first = health.wait_for(|health| self.first_outcome(health).is_some()).await;
        let failed = match first {
            Ok(health) if self.first_outcome(&health) == Some(true) => return Ok(()),
            Ok(health) => health.last_error.clone(),
            Err(_closed) => None,
        };
        Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed")))
    }

    /// Whether there is a connection; nothing while that is to be seen.
    fn first_outcome(&self, health: &Health) -> Option<bool> {
        match &self.handle.servers {
            Servers::Fleet(fleet) if fleet.is_cluster() && !fleet.map().shards.is_empty() => fleet.first_attempts(),
            _ if health.is_connected() => Some(true),
            _ => health.last_error.is_some().then_some(false),
        }
    }

    #[inline]
    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.handle.common
    }

    #[inline]
    pub(crate) fn place(&self) -> Place<'_> {
        match &self.handle.servers {
            Servers::One(server) | Servers::Node { server, .. } => Place::At(Target::of(server, &server.commands)),
            Servers::Fleet(fleet) => Place::Fleet(fleet),
        }
    }

    /// The server of what has one connection: the only one, the node asked for, or the primary.
    async fn one_server(&self) -> Result<Arc<Server>> {
        match &self.handle.servers {
            Servers::One(server) | Servers::Node { server, .. } => Ok(server.clone()),
            Servers::Fleet(fleet) if fleet.is_cluster() => Err(Error::usage(
                "in a Cluster this is a matter of one node: use client.exclusive_for(key), or client.on(node) with a node of \
                 client.nodes()",
            )),
            Servers::Fleet(fleet) => fleet.primary_in_time(None, fleet.deadline(Patience::Default)).await,
        }
    }

    /// The nodes of the topology as it is known now; one without a topology is a primary.
    #[must_use]
    pub fn nodes(&self) -> Arc<[TopologyNode]> {
        match &self.handle.servers {
            Servers::One(server) | Servers::Node { server, .. } => {
                [TopologyNode { node: server.node.clone(), role: NodeRole::Primary, slots: 0 }].into()
            }
            Servers::Fleet(fleet) => fleet.map().describe(),
        }
    }

    /// A client of one node of the topology, as `host:port`: commands go to it whatever their keys are, over connections
    /// of their own, which end with the last clone. What the node is must be known to whoever asks for it: nothing is
    /// redirected, and nothing moves when the topology does.
    ///
    /// # Errors
    /// When `node` is no address.
    pub fn on(&self, node: &str) -> Result<Self> {
        let Servers::Fleet(fleet) = &self.handle.servers else { return Ok(self.clone()) };
        let address = NodeAddress::from_str(node)
            .map_err(|error| Error::config(format!("{node:?} is no node; expected host:port")).with_source(error))?;
        // Not those of the topology, which are left when the node loses its role.
        let server = fleet.guest(&address);
        server.start_commands();
        let servers = Servers::Node { server, _of: self.clone() };
        Ok(Self { handle: Arc::new(Handle { common: self.common().clone(), servers }) })
    }

    /// Every primary of the topology: what is issued on it goes to each of them, and each has a result of its own. For
    /// what one reply cannot say (`INFO`, `LATENCY`, a module's commands), and for whoever wants to know which node said
    /// what. A client of one server, or of one node, asks that.
    ///
    /// ```no_run
    /// # async fn example(client: romaine::Client) -> romaine::Result<()> {
    /// use romaine::commands::*;
    ///
    /// for (node, latest) in client.on_all_primaries().latency_latest().await? {
    ///     println!("{node}: {latest:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn on_all_primaries(&self) -> OnNodes<'_> {
        OnNodes::new(self, false)
    }

    /// Every node of the topology, replicas too; else as [`on_all_primaries`](Self::on_all_primaries). A replica that the
    /// client does not read from is connected to for this call.
    #[must_use]
    pub const fn on_all_nodes(&self) -> OnNodes<'_> {
        OnNodes::new(self, true)
    }

    /// Waits until commands flow: at once, or when the connection is (back) up.
    ///
    /// # Errors
    /// When the client is closed.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn connected(&self) -> Result<()> {
        let mut health = self.common().health.subscribe();
        let reached = health.wait_for(|health| health.is_connected() || health.status == Status::Closed).await;
        match reached {
            Ok(health) if health.is_connected() => Ok(()),
            _ => Err(Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed")),
        }
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.common().events.listen()
    }

    /// How the server connection is, now and on every change.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.common().health.subscribe()
    }

    /// Counters and latencies.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = match &self.handle.servers {
            Servers::One(server) | Servers::Node { server, .. } => server.metrics(),
            Servers::Fleet(fleet) => fleet.metrics(),
        };
        metrics.blocking = self.common().blocking.load(Ordering::Relaxed);
        metrics
    }

    /// Many commands in one round trip.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline::new(self.place())
    }

    /// Commands that the server executes together: MULTI … EXEC.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.place())
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
        exclusive::watch(self.place(), keys, body).await
    }

    /// A connection of one's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn exclusive(&self) -> Result<Exclusive> {
        Exclusive::open(&self.one_server().await?).await
    }

    /// A connection of one's own to the server that holds `key`: in a Cluster the primary of its slot, with redirects
    /// followed until a node says that the slot is its own; anywhere else the primary, as with
    /// [`exclusive`](Self::exclusive). For what must go over the same connection as the write, as WAIT and WAITAOF must.
    ///
    /// The slot may move later: MOVED and READONLY are then errors of the calls on this connection, and another one is to
    /// be asked for.
    ///
    /// ```no_run
    /// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
    /// use romaine::commands::*;
    ///
    /// let connection = client.exclusive_for("order:7").await?;
    /// connection.set("order:7", "paid").await?;
    /// let copies = connection.wait(1, 500).await?;
    /// # let _ = copies;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it cannot be made within the client's time-out.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn exclusive_for(&self, key: impl AsRef<[u8]>) -> Result<Exclusive> {
        match &self.handle.servers {
            Servers::Fleet(fleet) if fleet.is_cluster() => Exclusive::open_for(fleet, key.as_ref()).await,
            Servers::One(_) | Servers::Fleet(_) | Servers::Node { .. } => self.exclusive().await,
        }
    }

    /// Runs a Lua script by its digest, sending its text only when the server does not have it.
    ///
    /// # Errors
    /// As any command.
    pub async fn script<R: FromValue>(&self, script: &Script, keys: impl ToArgs, args: impl ToArgs) -> Result<R> {
        script.run(self.place(), keys, args).await
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
        Subscription::open(self.place(), kind, topics).await
    }

    /// The loss-free way to take elements from the list `source`: see [`ReliablePop`]. `processing` is a list that
    /// belongs to this consumer alone. Nothing is sent yet.
    #[must_use]
    pub fn reliable_pop<V: FromValue>(&self, source: impl Into<Bytes>, processing: impl Into<Bytes>) -> ReliablePop<V> {
        ReliablePop::new(self.clone(), source.into(), processing.into())
    }

    /// All keys that match the glob `pattern` (all, where there is none), as one stream over all primaries. SCAN's
    /// guarantee holds for each: a key that is there from beginning to end comes at least once. A failover begins its
    /// shard anew; keys of a slot that moves meanwhile may come twice, or, moved to a shard that is done, not at all.
    ///
    /// ```no_run
    /// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let keys: Vec<String> = client.scan_all(Some("session:*")).try_collect().await?;
    /// # let _ = keys;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The stream ends with the first error.
    pub fn scan_all<K: FromValue + Send>(
        &self,
        pattern: Option<&str>,
    ) -> impl Stream<Item = Result<K>> + Send + use<K> {
        scan::scan_all(self.clone(), pattern.map(str::to_owned))
    }

    /// Every command the server executes, as a stream. Expensive for the server: for incidents, not for production.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn monitor(&self) -> Result<Monitor> {
        Monitor::open(&self.one_server().await?).await
    }

    /// Closes the client: new calls are refused, calls in flight may end within
    /// [`Config::close_timeout`](crate::Config::close_timeout), then the connections are closed and every task of the
    /// client has ended.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the client closing; calling it again finishes the work.
    pub async fn close(&self) {
        let common = self.common();
        let deadline = clock::after(common.config.close_timeout);
        match &self.handle.servers {
            // The client of a node shares the other's connections: they are the other's to close.
            Servers::Node { .. } => return,
            Servers::One(server) => {
                common.close();
                server.drain();
                // The supervisor of ordinary commands ends when nothing is queued or in flight.
                let mut health = common.health.subscribe();
                let drained = async {
                    // What it returns holds the snapshot's lock: dropped here, before the snapshot changes again.
                    health.wait_for(|health| health.status == Status::Closed).await.is_ok()
                };
                let _drained_or_not: std::result::Result<bool, _> =
                    tokio::time::timeout_at(deadline.into(), drained).await;
            }
            Servers::Fleet(fleet) => {
                common.close();
                fleet.drain();
                let drained = async {
                    while !fleet.is_drained() {
                        tokio::time::sleep(DRAINING).await;
                    }
                };
                let _drained_or_not: std::result::Result<(), _> =
                    tokio::time::timeout_at(deadline.into(), drained).await;
            }
        }
        self.handle.end();
        common.join(LAST_TURN).await;
    }
}

/// How often it is looked whether everything in flight has ended.
const DRAINING: Duration = Duration::from_millis(5);

/// What the tasks of a client get to end by themselves once everything is closed.
const LAST_TURN: Duration = Duration::from_millis(500);

impl<'a> Executor for &'a Client {
    type Issued<R: FromValue> = Call<'a, R>;

    #[inline]
    fn issue<C: Command>(self, command: C) -> Call<'a, C::Reply> {
        Call::at(self.place(), command.into_request(), Patience::Default)
    }
}
