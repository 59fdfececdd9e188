//! One server, and all our connections to it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use romaine_proto::{
    Candidate, CloseReason, Connection, ConnectionLimits, Greeting, HandshakeError, Lane as WireLane, Link, Liveness,
    Newcomer, NodeAddress, Trigger,
};

use tokio::sync::Notify;

use crate::circuit::{Circuit, WhileDown};
use crate::clock;
use crate::common::Common;
use crate::config::{Address, Config, Offline};
use crate::config_topology::Topology;
use crate::dedicated::{Dedicated, Pool};
use crate::dialler::Dialler;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::{Event, Lane};
use crate::fleet::Fleet;
use crate::health::Health;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::supervisor;

/// What a server is to its client.
#[derive(Debug)]
pub(crate) enum Part {
    /// The only one: the client's health is its health.
    Only,
    /// One of several, which hear of what befalls it.
    Member(Weak<Fleet>),
    /// Not a data node: asked who is.
    Sentinel(Weak<Fleet>),
}

/// What a server is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whatever it is.
    Any,
    /// The handshake fails where it is none.
    Primary,
    /// It is read from.
    Replica,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) common: Arc<Common>,
    pub(crate) part: Part,
    /// The client's settings, with this server's own address.
    pub(crate) config: Arc<Config>,
    /// The same as in `config`, shared by every connection's watchdog.
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) node: Arc<str>,
    pub(crate) address: NodeAddress,
    /// For as long as there is it: whose role changes is a server anew.
    role: Role,
    /// It said once that it is a primary: READONLY then means that it was demoted.
    was_primary: AtomicBool,
    /// It was demoted, and its name leads to no primary yet.
    is_misled: AtomicBool,
    /// A smoothed round trip in microseconds; 0: not measured.
    latency: AtomicU64,
    /// Where it stands, where it says so.
    pub(crate) zone: OnceLock<Arc<str>>,
    pub(crate) commands: Arc<Circuit>,
    pub(crate) control: Later,
    pub(crate) subscriptions: Later,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pool: Pool,
    /// What is known of the permission to probe.
    pub(crate) probes: crate::probe::Permission,
    commands_started: AtomicBool,
    control_started: AtomicBool,
    subscriptions_started: AtomicBool,
    /// ASK named it, and no view has it.
    newcomer: Mutex<Option<Newcomer>>,
    /// It is no part of the client any more.
    retired: AtomicBool,
    /// Told when it is left.
    leaving: Notify,
    pub(crate) dialler: Dialler,
    /// Who may yet have a ghost to fence here.
    courses: AtomicUsize,
    /// The circuits of dedicated connections, so that closing the client ends them.
    dedicated: Mutex<Vec<Weak<Circuit>>>,
}

/// A circuit that many clients never use: made when it is first looked at, a kilobyte each.
pub(crate) type Later = LazyLock<Arc<Circuit>, Box<dyn FnOnce() -> Arc<Circuit> + Send>>;

/// What a circuit of a server is made of.
struct New {
    lane: Lane,
    limits: ConnectionLimits,
    liveness: Arc<Liveness>,
    offline: WhileDown,
}

impl New {
    fn circuit(self, hub: Option<Arc<Hub>>) -> Arc<Circuit> {
        let Self { lane, mut limits, liveness, offline } = self;
        let mut wire = WireLane::Requests;
        let liveness = if lane == Lane::Control { Arc::new(liveness.for_control()) } else { liveness };
        if hub.is_some() {
            wire = WireLane::Subscriber;
            // What is wanted bounds what is asked for; a limit would leave a subscription out in silence.
            limits.queued_requests_max = usize::MAX;
            limits.queued_bytes_max = usize::MAX;
            limits.in_flight_max = usize::MAX;
        }
        let now = clock::now();
        let connection = Connection::new(wire, limits, liveness, now);
        Arc::new(Circuit::new(lane, connection, hub, offline, lane == Lane::Commands, now))
    }
}

impl Server {
    pub(crate) fn new(common: Arc<Common>, config: Arc<Config>, part: Part, role: Role) -> Arc<Self> {
        let liveness = Arc::new(config.liveness.clone());
        let hub = Arc::new(Hub::new(matches!(part, Part::Member(_)) && role != Role::Any));
        let chosen =
            WhileDown { fails: config.offline == Offline::Fail, waits_at_first: matches!(part, Part::Member(_)) };
        let new = |lane, offline| New { lane, limits: config.limits, liveness: liveness.clone(), offline };
        let (control, subscriptions, hub_of_all) =
            (new(Lane::Control, WhileDown::WAIT), new(Lane::Subscriptions, WhileDown::WAIT), hub.clone());
        Arc::new(Self {
            node: config.address.to_string().into(),
            address: match &config.address {
                Address::Tcp { host, port } => NodeAddress::new(host.as_str(), *port),
                Address::Unix(path) => NodeAddress::new(path.display().to_string(), 0),
            },
            role,
            was_primary: AtomicBool::new(false),
            is_misled: AtomicBool::new(false),
            latency: AtomicU64::new(0),
            zone: OnceLock::new(),
            commands: new(Lane::Commands, chosen).circuit(None),
            control: LazyLock::new(Box::new(move || control.circuit(None))),
            subscriptions: LazyLock::new(Box::new(move || subscriptions.circuit(Some(hub_of_all)))),
            hub,
            pool: Pool::default(),
            probes: crate::probe::Permission::default(),
            commands_started: AtomicBool::new(false),
            control_started: AtomicBool::new(false),
            subscriptions_started: AtomicBool::new(false),
            newcomer: Mutex::default(),
            retired: AtomicBool::new(false),
            leaving: Notify::new(),
            dialler: Dialler::new(config.clone()),
            courses: AtomicUsize::new(0),
            dedicated: Mutex::default(),
            liveness,
            config,
            part,
            common,
        })
    }

    /// Tells an event of this server's.
    pub(crate) fn tell(&self, event: Event) {
        self.common.events.tell(event);
    }

    fn is_expected_to_be(&self, role: Role) -> bool {
        self.role == role
    }

    /// Whether its connections insist on a primary.
    pub(crate) fn verifies_role(&self) -> bool {
        self.is_expected_to_be(Role::Primary)
    }

    /// A slot is on its way to it, as ASK says, or no more, as a view says that has it.
    pub(crate) fn set_importing(&self, is_importing: bool) {
        let mut newcomer = self.newcomer();
        if is_importing {
            newcomer.get_or_insert_default();
        } else {
            *newcomer = None;
        }
    }

    fn newcomer(&self) -> MutexGuard<'_, Option<Newcomer>> {
        self.newcomer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stays although a new view does not have it.
    pub(crate) fn outlives_views(&self) -> bool {
        let mut newcomer = self.newcomer();
        let Some(newcomer) = newcomer.as_mut() else { return false };
        // Who blocks there has made the one, who asks there has made the other.
        let circuits = [&*self.control, &self.commands];
        let is_well = |circuit: &&Arc<Circuit>| circuit.is_ready() && !circuit.lock().connection.is_suspect();
        let is_well = circuits.iter().any(is_well);
        let asking = {
            let state = self.commands.lock();
            state.connection.in_flight() + state.connection.queued()
        };
        newcomer.outlives_view(clock::now(), self.courses.load(Ordering::Acquire) + asking, is_well)
    }

    /// It said what it is.
    pub(crate) fn identified(&self, lane: Lane, role: Option<&str>, zone: Option<&str>) {
        if role == Some("master") {
            self.was_primary.store(true, Ordering::Relaxed);
            // The name leads to another server now, and subscriptions were made at the one before.
            if lane == Lane::Commands && self.is_misled.swap(false, Ordering::Relaxed) {
                self.subscriptions.leave();
            }
        }
        if let Some(zone) = zone {
            let _known_already = self.zone.set(zone.into());
        }
    }

    /// It answered a write with READONLY. Whether that is a demotion: then it is left, and dialled again by its name.
    pub(crate) fn demoted(&self) -> bool {
        let is_news = self.is_expected_to_be(Role::Primary) || self.was_primary.load(Ordering::Relaxed);
        if is_news {
            self.is_misled.store(true, Ordering::Relaxed);
            self.misled();
            self.trigger(Trigger::ReadOnly);
        }
        is_news
    }

    /// A connection ended. When its handshake found another role than the topology has, that is to be asked anew.
    pub(crate) fn ended_by(&self, reason: &CloseReason, node: &Arc<str>) {
        if let CloseReason::Handshake(HandshakeError::WrongRole { found }) = reason {
            self.tell(Event::RoleRefused { node: node.clone(), found: found.clone() });
            self.trigger(Trigger::ReadOnly);
        }
    }

    /// A reply shows that the connection leads to another server than it should. Many replies may, of one connection.
    pub(crate) fn misled(&self) {
        if !self.commands.is_fresh() {
            self.leave();
        }
    }

    /// For choosing whom to read from.
    pub(crate) fn candidate(&self) -> Candidate {
        let latency = self.latency.load(Ordering::Relaxed);
        Candidate {
            node: self.node.clone(),
            is_primary: self.is_expected_to_be(Role::Primary),
            is_connected: self.commands.is_ready(),
            latency: (latency > 0).then(|| Duration::from_micros(latency)),
            zone: self.zone.get().cloned(),
        }
    }

    /// A round trip was measured.
    pub(crate) fn measured(&self, round_trip: Duration) {
        let new = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.latency.load(Ordering::Relaxed);
        self.latency.store(if before == 0 { new } else { (before * 3 + new) / 4 }, Ordering::Relaxed);
    }

    /// Counters and latencies of this server's connections.
    pub(crate) fn metrics(&self) -> Metrics {
        let subscriptions = self.subscriptions.lock().counters;
        let commands = self.commands.lock();
        Metrics {
            commands: commands.counters,
            subscriptions,
            queued: commands.connection.queued(),
            queued_bytes: commands.connection.queued_bytes(),
            in_flight: commands.connection.in_flight(),
            blocking: 0,
            redirects: 0,
            latencies: commands.latencies.as_ref().map(|latencies| latencies.snapshot()).unwrap_or_default(),
        }
    }

    /// Where its name led last.
    pub(crate) fn reached(&self) -> Option<Arc<str>> {
        self.dialler.reached()
    }

    /// Whether its name led to `address` last.
    pub(crate) fn has_reached(&self, address: &NodeAddress) -> bool {
        self.reached().is_some_and(|reached| *reached == *address.to_string())
    }

    /// Under which name a connection is told of.
    pub(crate) fn lane(&self, lane: Lane) -> Lane {
        match self.part {
            Part::Only | Part::Member(_) => lane,
            Part::Sentinel(_) => Lane::Sentinel,
        }
    }

    /// The servers of which it is one.
    pub(crate) fn fleet(&self) -> Option<Arc<Fleet>> {
        match &self.part {
            Part::Only => None,
            Part::Member(fleet) | Part::Sentinel(fleet) => fleet.upgrade(),
        }
    }

    /// Something happened that may mean another server is the right one now.
    pub(crate) fn trigger(&self, why: Trigger) {
        // A Sentinel that is away says nothing of the primary: the others tell, and its return is a reason to ask. Else
        // one that is dead for good would have the others asked once a second, by every client.
        let is_of_watch = matches!(self.part, Part::Sentinel(_));
        if is_of_watch && matches!(why, Trigger::Reconnecting { .. } | Trigger::Silent) {
            return;
        }
        if let Some(fleet) = self.fleet() {
            fleet.trigger(why);
        }
    }

    /// A connection to it became usable whose dial had begun then: whoever else dials or greets it need not wait for what
    /// was lost.
    pub(crate) fn opened(&self, began: Instant) {
        self.dialler.opened(began);
        let supervised = [
            Some(&self.commands),
            self.control_started.load(Ordering::Relaxed).then(|| &*self.control),
            self.subscriptions_started.load(Ordering::Relaxed).then(|| &*self.subscriptions),
        ];
        supervised.into_iter().flatten().for_each(|circuit| circuit.back());
    }

    /// Commands flow: calls may have waited for that.
    pub(crate) fn connected(&self) {
        if let Part::Member(fleet) = &self.part
            && let Some(fleet) = fleet.upgrade()
        {
            fleet.connected();
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.common.spawn(task);
    }

    /// The connection of ordinary commands: made when the client starts, or with the first command for this server.
    #[inline]
    pub(crate) fn start_commands(self: &Arc<Self>) {
        if !self.commands_started.load(Ordering::Relaxed) {
            self.start(&self.commands_started, &self.commands);
        }
    }

    #[cold]
    fn start(self: &Arc<Self>, started: &AtomicBool, circuit: &Arc<Circuit>) {
        if !started.swap(true, Ordering::AcqRel) && !self.common.is_closed() {
            self.spawn(supervisor::supervise(self.clone(), circuit.clone()));
        }
    }

    /// The connection that probes and fences others: made with the first blocking command or suspicion.
    pub(crate) fn start_control(self: &Arc<Self>) {
        self.start(&self.control_started, &self.control);
    }

    pub(crate) fn start_subscriptions(self: &Arc<Self>) {
        self.start(&self.subscriptions_started, &self.subscriptions);
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

    /// Whether nothing more is to be started here: the client is closed, or the server no part of it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.retired.load(Ordering::Acquire) || self.common.is_closed()
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
            // Fencing a ghost is right whatever the server is now.
            primary: self.is_expected_to_be(Role::Primary) && !matches!(lane, Lane::Control | Lane::Topology),
            read_only: self.is_expected_to_be(Role::Replica)
                && matches!(self.config.topology, Topology::Cluster { .. })
                && !matches!(lane, Lane::Control | Lane::Topology),
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
            self.tell(Event::QueueFull { lane: self.lane(circuit.lane) });
        }
    }

    /// Changes the client's health, where it is this server's.
    pub(crate) fn update_health(&self, change: impl FnOnce(&mut Health)) {
        match &self.part {
            Part::Only => self.common.update_health(change),
            Part::Member(fleet) => {
                if let Some(fleet) = fleet.upgrade() {
                    fleet.update_health(self, change);
                }
            }
            Part::Sentinel(_) => {}
        }
    }

    /// No new calls; what is in flight may end.
    pub(crate) fn drain(&self) {
        for circuit in [&self.commands, &*self.control, &*self.subscriptions] {
            circuit.drain();
        }
    }

    /// The end of all connections.
    pub(crate) fn end(&self) {
        for circuit in [&self.commands, &*self.control, &*self.subscriptions] {
            circuit.end();
        }
        self.end_dedicated();
        self.hub.close(&Error::new(ErrorKind::Closed, Delivery::NotSent, "the client was closed"));
    }

    fn end_dedicated(&self) {
        self.pool.clear();
        let dedicated = std::mem::take(&mut *self.dedicated.lock().unwrap_or_else(PoisonError::into_inner));
        for circuit in dedicated.iter().filter_map(Weak::upgrade) {
            circuit.end();
        }
    }

    /// Its role or its address is another's now: the present connections are left, and made anew where calls want them.
    pub(crate) fn leave(&self) {
        self.commands.leave();
        self.leave_dedicated();
    }

    /// Blocked connections stay open until their courses have fenced them: closed first, they might take with them what
    /// the server was just handing out.
    fn leave_dedicated(&self) {
        self.pool.clear();
        let mut dedicated = self.dedicated.lock().unwrap_or_else(PoisonError::into_inner);
        dedicated.retain(|known| {
            let Some(circuit) = known.upgrade() else { return false };
            if circuit.lane != Lane::Blocking {
                circuit.leave();
            }
            true
        });
        drop(dedicated);
        self.leaving.notify_waiters();
    }

    /// Ends when the server is left, now or later.
    pub(crate) async fn left(self: Arc<Self>) {
        let mut leaving = std::pin::pin!(self.leaving.notified());
        leaving.as_mut().enable();
        if !self.is_retired() {
            leaving.await;
        }
    }

    /// It is no part of the client any more. What was queued goes elsewhere; the control connection stays for as long as
    /// a course has a ghost to fence here.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.commands.retire();
        self.subscriptions.end();
        self.leave_dedicated();
        self.end_idle_control();
    }

    /// Keeps a dedicated connection for the next blocking command, unless there will be none here.
    pub(crate) fn keep(&self, dedicated: Dedicated) {
        self.pool.give(dedicated, self.config.blocking_idle_max);
        if self.is_retired() {
            self.pool.clear();
        }
    }

    fn end_idle_control(&self) {
        if self.retired.load(Ordering::Acquire) && self.courses.load(Ordering::Acquire) == 0 {
            self.control.end();
        }
    }

    /// A course of a blocking command begins here: before there is a connection for it, which may take its time.
    pub(crate) fn course(self: &Arc<Self>) -> Course {
        self.courses.fetch_add(1, Ordering::AcqRel);
        Course(self.clone())
    }

    /// Whether it was left for another server.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

/// Keeps the control connection of a server for as long as there may be a ghost to fence.
#[derive(Debug)]
pub(crate) struct Course(Arc<Server>);

impl Course {
    pub(crate) const fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.0.courses.fetch_sub(1, Ordering::AcqRel);
        self.0.end_idle_control();
    }
}

fn no_credentials(message: &'static str) -> Error {
    Error::new(ErrorKind::Auth, Delivery::NotSent, message)
}
