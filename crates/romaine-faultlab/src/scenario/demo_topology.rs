//! The demo with several servers: failovers one after the other under a consumer, a subscriber and 64 callers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::change::{demoted, move_slots};
use super::demo::{Progress, Report, Row, onlooker};
use super::host::Host;
use super::moment::Moment;
use super::producer::EVERY;
use super::promises::{BACK_WITHIN, Balance, check_delay, check_flow};
use super::protocol::{JOBS, Load, Observation, Order, Pace};
use super::record::Record;
use super::stage::{Eyes, Remains, Stage};
use super::subject::Driver;
use crate::{Cluster, FailoverKind, Sentinels, Server};

/// Between a recovery and the next fault.
const CALM: Duration = Duration::from_secs(3);

/// How long the client is waited for after a failover, far beyond what is promised.
const BACK_AT_LAST: Duration = Duration::from_secs(20);

/// Which servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A primary, two replicas, three Sentinels.
    Sentinel,
    /// Three primaries with a replica each.
    Cluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
    Ordered,
    Moving,
}

impl Kind {
    const fn faults(self) -> &'static [Fault] {
        match self {
            Self::Sentinel => &[Fault::Ordered, Fault::Killed, Fault::Frozen],
            Self::Cluster => &[Fault::Ordered, Fault::Moving, Fault::Killed, Fault::Frozen],
        }
    }

    /// How many faults there are.
    #[must_use]
    pub const fn fault_count(self) -> usize {
        self.faults().len()
    }

    /// What the calls of the 64 callers are.
    const fn loads(self) -> [Load; 3] {
        let callers = match self {
            Self::Sentinel => Load::Callers,
            Self::Cluster => Load::Spread,
        };
        [Load::Blocked, Load::Subscribed, callers]
    }
}

impl Fault {
    const fn title(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Killed, _) => "primary killed (kill -9), a replica promoted",
            (Self::Frozen, _) => "primary frozen (SIGSTOP), a replica promoted",
            (Self::Ordered, Kind::Sentinel) => "SENTINEL FAILOVER, the old primary alive",
            (Self::Ordered, Kind::Cluster) => "CLUSTER FAILOVER, the old primary alive",
            (Self::Moving, _) => "40 slots moved key by key, that of jobs among them",
        }
    }

    /// Whether the servers themselves lose what they had acknowledged and not replicated.
    const fn servers_may_lose(self) -> bool {
        matches!(self, Self::Killed | Self::Frozen)
    }
}

/// The servers.
enum Scene {
    Sentinels(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Scene {
    async fn set(kind: Kind) -> anyhow::Result<Self> {
        Ok(match kind {
            Kind::Sentinel => Self::Sentinels(Arc::new(Sentinels::start().await?)),
            Kind::Cluster => Self::Cluster(Arc::new(Cluster::start().await?)),
        })
    }

    fn url(&self) -> String {
        match self {
            Self::Sentinels(setup) => setup.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    fn host(&self) -> Host {
        match self {
            Self::Sentinels(setup) => Host::Sentinels(setup.clone()),
            Self::Cluster(cluster) => Host::Cluster(cluster.clone()),
        }
    }

    /// Inflicts it, and waits until the servers have made another node the primary; the old one.
    async fn inflict(&self, fault: Fault) -> anyhow::Result<Arc<Server>> {
        match self {
            Self::Sentinels(setup) => {
                let old = setup.primary().await?;
                match fault {
                    Fault::Killed => old.kill(),
                    Fault::Frozen => old.freeze().await?,
                    Fault::Ordered | Fault::Moving => setup.failover().await?,
                }
                setup.wait_for_new_primary(old.address()).await?;
                Ok(old)
            }
            Self::Cluster(cluster) => {
                let old = cluster.primary_of(JOBS).await?;
                match fault {
                    Fault::Killed => old.kill(),
                    Fault::Frozen => old.freeze().await?,
                    Fault::Ordered => {
                        let replica = cluster.replica_of(JOBS).await?;
                        cluster.failover(&replica, FailoverKind::Manual).await?;
                    }
                    Fault::Moving => move_slots(cluster, JOBS, &old).await?,
                }
                cluster.wait_for_new_primary(JOBS, old.address()).await?;
                Ok(old)
            }
        }
    }

    /// Brings the old primary back, as a replica.
    async fn mend(&self, fault: Fault, old: &Server) -> anyhow::Result<()> {
        match fault {
            Fault::Killed => old.restart().await?,
            Fault::Frozen => old.thaw()?,
            Fault::Ordered | Fault::Moving => {}
        }
        match self {
            Self::Sentinels(setup) => {
                demoted(old).await?;
                setup.wait_until_settled().await
            }
            Self::Cluster(cluster) => cluster.wait_until_settled().await,
        }
    }
}

/// One fault's time, and that of what follows it until the next.
struct Window {
    fault: Fault,
    begin: Moment,
    /// When the servers had finished.
    healed: Moment,
    /// When the old primary was back.
    mended: Moment,
}

/// Runs the demo. What happens meanwhile goes to `progress`.
///
/// # Errors
///
/// When the lab itself fails. A broken promise is no error, but in the report.
pub async fn run(kind: Kind, progress: mpsc::Sender<Progress>) -> anyhow::Result<Report> {
    let began = Moment::now();
    let note = async |text: String| drop(progress.send(Progress::Note(text)).await);
    note("starting the servers".into()).await;
    let scene = Scene::set(kind).await?;
    note(scene.url()).await;
    let loads = kind.loads();
    let order = Order::new(scene.url(), Pace::Default, &loads);
    let mut forwarding = tokio::task::JoinSet::new();
    let tell = onlooker(&progress, &mut forwarding);
    let eyes = Eyes { onlooker: Some(tell), ..Eyes::default() };
    let stage = Stage::set(&Driver::Here, order, scene.host(), EVERY, eyes).await?;
    note("one client: a consumer in BRPOP jobs 0, a subscriber, 64 callers of INCR".into()).await;
    let mut windows = Vec::new();
    for (number, fault) in (1..).zip(kind.faults().iter().copied()) {
        let _ = progress.send(Progress::Fault(number, fault.title(kind))).await;
        let begin = Moment::now();
        let old = scene.inflict(fault).await?;
        let healed = Moment::now();
        let _ = progress.send(Progress::Healed).await;
        match stage.all_work(healed, BACK_AT_LAST).await {
            Ok(()) => drop(progress.send(Progress::Working(Moment::now().since(healed))).await),
            Err(error) => note(format!("{error:#}")).await,
        }
        note("the old primary comes back as a replica".into()).await;
        scene.mend(fault, &old).await?;
        windows.push(Window { fault, begin, healed, mended: Moment::now() });
        tokio::time::sleep(CALM).await;
    }
    note("no more failovers: the rest is delivered, and everything ends".into()).await;
    let (record, remains) = stage.strike().await?;
    Ok(report(kind, began, &windows, &record, &remains))
}

fn report(kind: Kind, began: Moment, windows: &[Window], record: &Record, remains: &Remains) -> Report {
    let rows = windows.iter().enumerate().map(|(index, window)| {
        let until = windows.get(index + 1).map_or(Moment::MAX, |next| next.begin);
        row(kind, window, until, record, remains)
    });
    let rows: Vec<_> = rows.collect();
    let elements = record.elements(&remains.produced, Moment::default(), Moment::MAX).to_the_word();
    let messages = record.messages(&remains.produced, Moment::default(), Moment::MAX).to_the_word();
    let calls = Balance::new(remains.calls, remains.counter);
    let mut broken = record.troubles(Moment::default(), Moment::MAX);
    check_flow(&mut broken, "elements", elements);
    check_flow(&mut broken, "messages", messages);
    calls.check_calls(&mut broken);
    if !windows.iter().any(|window| window.fault.servers_may_lose()) {
        calls.check_counter(&mut broken);
    }
    if remains.undelivered > 0 {
        broken.push(format!("{} elements were left in the queue", remains.undelivered));
    }
    broken.dedup();
    let took_s = Moment::now().since(began).as_secs_f64();
    let path = match kind {
        Kind::Sentinel => "a primary, two replicas, three Sentinels; loopback",
        Kind::Cluster => "a Cluster of three primaries with a replica each; loopback",
    };
    Report { client: "romaine", path, took_s, rows, elements, messages, calls, broken }
}

fn row(kind: Kind, window: &Window, until: Moment, record: &Record, remains: &Remains) -> Row {
    let Window { fault, begin, healed, mended } = *window;
    let loads = kind.loads();
    let noticed = record.noticed(&loads, begin, mended);
    let working = record.working(&remains.produced, &loads, healed);
    let limit = BACK_WITHIN + record.backoff(healed, until).min(Duration::from_secs(2));
    let mut broken = Vec::new();
    for load in loads {
        let after = working.get(&load).filter(|at| **at < until).map(|at| at.since(healed));
        check_delay(&mut broken, &format!("{}: working again", load.link()), after, limit);
    }
    let elements = record.elements(&remains.produced, begin, until).to_the_word();
    let messages = record.messages(&remains.produced, begin, until).to_the_word();
    check_flow(&mut broken, "elements", elements);
    check_flow(&mut broken, "messages", messages);
    let since = |times: BTreeMap<Load, Moment>, start: Moment| {
        times.into_iter().map(|(load, at)| (load, at.since(start).as_secs_f64())).collect()
    };
    Row {
        fault: fault.title(kind),
        lasted_s: healed.since(begin).as_secs_f64(),
        noticed_s: since(noticed, begin),
        working_s: since(working, healed),
        working_limit_s: limit.as_secs_f64(),
        elements,
        messages,
        ghosts_fenced: record.count(begin, until, |what| matches!(what, Observation::Fenced { .. })),
        broken,
    }
}
