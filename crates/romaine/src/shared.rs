//! What all parts of one client share, and the tasks it owns.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use romaine_proto::{Connection, Greeting, Lane as WireLane, Link, Liveness};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::circuit::Circuit;
use crate::clock;
use crate::config::{Config, Offline};
use crate::dedicated::Pool;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::{Event, EventBus, Lane};
use crate::health::{Health, Status};
use crate::hub::Hub;
use crate::supervisor;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The same as in `config`, shared by every connection's watchdog.
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) node: Arc<str>,
    pub(crate) events: EventBus,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) commands: Arc<Circuit>,
    pub(crate) control: Arc<Circuit>,
    pub(crate) subscriptions: Arc<Circuit>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pool: Pool,
    /// Blocking commands under way.
    pub(crate) blocking: AtomicUsize,
    /// What is known of the permission to probe.
    pub(crate) probes: crate::probe::Permission,
    control_started: AtomicBool,
    subscriptions_started: AtomicBool,
    closed: AtomicBool,
    /// The circuits of dedicated connections, so that closing the client ends them.
    dedicated: Mutex<Vec<Weak<Circuit>>>,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
}

impl Shared {
    pub(crate) fn new(config: Config, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let now = clock::now();
        let liveness = Arc::new(config.liveness.clone());
        let hub = Arc::new(Hub::default());
        let circuit = |lane, wire, hub: Option<Arc<Hub>>, fail_offline, latencies| {
            let mut limits = config.limits;
            if hub.is_some() {
                // What is wanted bounds what is asked for; a limit would leave a subscription out in silence.
                limits.queued_requests_max = usize::MAX;
                limits.queued_bytes_max = usize::MAX;
                limits.in_flight_max = usize::MAX;
            }
            let connection = Connection::new(wire, limits, config.liveness.clone(), now);
            Arc::new(Circuit::new(lane, connection, hub, fail_offline, latencies, now))
        };
        let fail = config.offline == Offline::Fail;
        Arc::new(Self {
            node: config.address.to_string().into(),
            events: EventBus::new(config.events_backlog),
            health: watch::Sender::new(Health::new(now)),
            commands: circuit(Lane::Commands, WireLane::Requests, None, fail, true),
            control: circuit(Lane::Control, WireLane::Requests, None, false, false),
            subscriptions: circuit(Lane::Subscriptions, WireLane::Subscriber, Some(hub.clone()), false, false),
            hub,
            pool: Pool::default(),
            blocking: AtomicUsize::new(0),
            probes: crate::probe::Permission::default(),
            control_started: AtomicBool::new(false),
            subscriptions_started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            dedicated: Mutex::default(),
            tasks: Mutex::default(),
            runtime,
            liveness,
            config,
        })
    }

    /// Spawns a task that [`join`](Self::join) awaits.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }

    pub(crate) fn start_commands(self: &Arc<Self>) {
        self.spawn(supervisor::supervise(self.clone(), self.commands.clone()));
    }

    /// The connection that probes and fences others: made with the first blocking command or suspicion.
    pub(crate) fn start_control(self: &Arc<Self>) {
        if !self.control_started.swap(true, Ordering::AcqRel) && !self.is_closed() {
            self.spawn(supervisor::supervise(self.clone(), self.control.clone()));
        }
    }

    pub(crate) fn start_subscriptions(self: &Arc<Self>) {
        if !self.subscriptions_started.swap(true, Ordering::AcqRel) && !self.is_closed() {
            self.spawn(supervisor::supervise(self.clone(), self.subscriptions.clone()));
        }
    }

    /// Remembers a dedicated connection's circuit; refused when the client is closed already.
    pub(crate) fn register(&self, circuit: &Arc<Circuit>) -> Result<()> {
        let mut dedicated = self.dedicated.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed"));
        }
        if dedicated.len() == dedicated.capacity() {
            dedicated.retain(|known| known.strong_count() > 0);
        }
        dedicated.push(Arc::downgrade(circuit));
        Ok(())
    }

    /// Whether the server tells connections their number. Taken as true while there is no connection to ask.
    pub(crate) fn names_its_clients(&self) -> bool {
        let state = self.commands.lock();
        state.connection.link() != Link::Ready || state.client_id.is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What a connection of `lane` says first.
    pub(crate) async fn greeting(&self, lane: Lane) -> Result<Greeting> {
        let config = &self.config;
        let mut greeting = Greeting {
            protocol: config.protocol,
            name: config.client_name.clone(),
            // Control commands name no key, and subscriptions have no database.
            database: if matches!(lane, Lane::Control | Lane::Subscriptions) { 0 } else { config.database },
            // Said once per client: a thousand blocked connections need not repeat it.
            library: (config.library_info && lane != Lane::Blocking).then_some(("romaine", env!("CARGO_PKG_VERSION"))),
            // A ghost is fenced only in the process that named it; only the connection itself knows for sure which it was.
            run_id: matches!(lane, Lane::Control | Lane::Blocking),
            ..Greeting::default()
        };
        if let Some(provider) = &config.credentials {
            let asked = crate::panics::catch(provider.credentials());
            let credentials = match tokio::time::timeout(config.handshake_timeout, asked).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(())) => return Err(no_credentials("the credentials provider panicked")),
                Err(_elapsed) => return Err(no_credentials("the credentials provider did not answer in time")),
            };
            greeting.username = credentials.username;
            greeting.password = Some(credentials.password);
        }
        Ok(greeting)
    }

    /// A call was not accepted: when a limit refused it, that is told.
    pub(crate) fn refused(&self, circuit: &Circuit, error: &Error) {
        if error.kind() == ErrorKind::Overloaded && circuit.is_first_refusal() {
            self.events.tell(Event::QueueFull { lane: circuit.lane });
        }
    }

    /// Changes the health snapshot.
    pub(crate) fn update_health(&self, change: impl FnOnce(&mut Health)) {
        let now = clock::now();
        self.health.send_modify(|health| {
            let before = health.status;
            change(health);
            if health.status != before {
                health.since = now;
            }
        });
    }

    /// No new calls; what is in flight may end.
    pub(crate) fn drain(&self) {
        self.closed.store(true, Ordering::Release);
        for circuit in [&self.commands, &self.control, &self.subscriptions] {
            circuit.drain();
        }
    }

    /// The end of everything.
    pub(crate) fn end(&self) {
        self.closed.store(true, Ordering::Release);
        for circuit in [&self.commands, &self.control, &self.subscriptions] {
            circuit.end();
        }
        self.pool.clear();
        let dedicated = std::mem::take(&mut *self.dedicated.lock().unwrap_or_else(PoisonError::into_inner));
        for circuit in dedicated.iter().filter_map(Weak::upgrade) {
            circuit.end();
        }
        self.hub.close(&Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed"));
        self.update_health(|health| health.status = Status::Closed);
        self.events.tell(Event::Closed);
    }

    /// Awaits the client's tasks, for at most `limit`; those that have not ended then are aborted.
    pub(crate) async fn join(&self, limit: Duration) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tasks.shutdown().await;
        }
    }
}

fn no_credentials(message: &'static str) -> Error {
    Error::new(ErrorKind::Auth, Delivery::NotSent, message)
}
