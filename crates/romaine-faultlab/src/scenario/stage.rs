//! One client under test at work: its observations, what is produced for it, and what must be true at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::mini::Mini;
use super::moment::Moment;
use super::producer::{Goods, Outlet, Produced, Producer};
use super::protocol::{COUNTER, Calls, Control, JOBS, Load, Observation, Order, Seen};
use super::record::Record;
use super::subject::{Driver, Subject, watch_memory};
use crate::Server;
use crate::deadline::{look_again, until, within};

/// How long a client may take to do its first work, and to end its last.
const START: Duration = Duration::from_secs(20);

/// What everything waits for that is expected much sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's side, as the lab sees it.
#[derive(Debug, Clone)]
pub(crate) enum Host {
    Real(Arc<Server>),
    Mini(Arc<Mini>),
}

impl Host {
    async fn counter(&self) -> anyhow::Result<u64> {
        let value = match self {
            Self::Real(server) => server.command(&["GET", COUNTER]).await?.as_int().unwrap_or(0),
            Self::Mini(mini) => mini.counter(),
        };
        Ok(u64::try_from(value).unwrap_or(0))
    }

    async fn queued(&self) -> anyhow::Result<u64> {
        match self {
            Self::Real(server) => {
                let length = server.command(&["LLEN", JOBS]).await?.as_int().unwrap_or(0);
                Ok(u64::try_from(length).unwrap_or(0))
            }
            Self::Mini(mini) => Ok(mini.queued() as u64),
        }
    }
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) subject: Subject,
    pub(crate) record: Record,
    pub(crate) producer: Producer,
    pub(crate) loads: Vec<Load>,
    peak: Arc<AtomicU64>,
    base: u64,
    _tasks: JoinSet<()>,
}

/// What is left when a client has ended.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) produced: Produced,
    pub(crate) calls: Calls,
    pub(crate) counter: u64,
    /// Elements that were still queued although the consumer had its time.
    pub(crate) undelivered: u64,
    /// The most memory that the driver's process had, and what it had at the beginning.
    pub(crate) peak: Option<u64>,
    pub(crate) base: u64,
}

impl Stage {
    /// Starts the client, then what is produced for it, and waits until all its loads work. Every observation is also sent
    /// to `onlooker`.
    pub(crate) async fn set(
        driver: &Driver,
        order: Order,
        host: Host,
        onlooker: Option<mpsc::Sender<Seen>>,
    ) -> anyhow::Result<Self> {
        let loads = order.loads.clone();
        let reads = order.consume;
        let (subject, seen) = Subject::start(driver, order).await?;
        let record = Record::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(note(seen, record.clone(), onlooker));
        let started = until(START, "the client to connect", || {
            record.has(|what| matches!(what, Observation::Ready | Observation::Trouble(_)))
        });
        started.await?;
        if !record.has(|what| *what == Observation::Ready) {
            bail!("the client did not start: {}", record.troubles(Moment::default(), Moment::MAX).join("; "));
        }
        let outlet = match &host {
            Host::Real(server) => Outlet::Socket(server.unix_path()),
            Host::Mini(mini) => Outlet::Mini(mini.clone()),
        };
        let goods =
            Goods { elements: loads.contains(&Load::Blocked), messages: loads.contains(&Load::Subscribed) && reads };
        let producer = Producer::start(outlet, goods);
        let peak = Arc::<AtomicU64>::default();
        let base = subject.pid().and_then(super::subject::resident).unwrap_or(0);
        if let Some(pid) = subject.pid() {
            tasks.spawn(watch_memory(pid, peak.clone()));
        }
        let stage = Self { host, subject, record, producer, loads, peak, base, _tasks: tasks };
        if reads && !stage.loads.contains(&Load::Fetch) {
            let began = stage.probe(Moment::default()).await?;
            stage.all_work(began, START).await.context("the load did not begin to work")?;
        }
        Ok(stage)
    }

    /// Has an idle client do something, so that it shows whether it works.
    pub(crate) async fn probe(&self, since: Moment) -> anyhow::Result<Moment> {
        if self.loads.contains(&Load::Idle) {
            self.subject.tell(Control::Probe).await?;
        }
        Ok(since)
    }

    /// Waits until every load has done something that began after `healed`.
    pub(crate) async fn all_work(&self, healed: Moment, patience: Duration) -> anyhow::Result<()> {
        until(patience, "all loads to work", || {
            self.producer.read(|produced| self.record.working(produced, &self.loads, healed)).len() == self.loads.len()
        })
        .await
    }

    /// Ends the production, lets the consumer take what is left, ends the client.
    pub(crate) async fn strike(mut self) -> anyhow::Result<(Record, Remains)> {
        self.producer.stop().await?;
        let mut undelivered = 0;
        if self.loads.contains(&Load::Blocked) {
            undelivered = self.drain().await?;
        }
        self.deliveries_end().await;
        self.subject.tell(Control::Stop).await?;
        let finished = until(PATIENCE, "the client to end", || self.record.has(|what| *what == Observation::Finished));
        finished.await.with_context(|| {
            format!("its troubles: {}", self.record.troubles(Moment::default(), Moment::MAX).join("; "))
        })?;
        let counter = within(PATIENCE, "the counter", self.host.counter()).await??;
        let peak = self.peak.load(Ordering::Relaxed);
        let remains = Remains {
            produced: self.producer.read(Clone::clone),
            calls: self.record.calls(),
            counter,
            undelivered,
            peak: (peak > 0).then_some(peak),
            base: self.base,
        };
        Ok((self.record, remains))
    }

    /// Waits until the consumer has emptied the queue; how many elements are left when it does not.
    async fn drain(&self) -> anyhow::Result<u64> {
        let emptied = async {
            while !self.host.queued().await.is_ok_and(|queued| queued == 0) {
                look_again().await;
            }
        };
        match within(Duration::from_secs(15), "an empty queue", emptied).await {
            Ok(()) => Ok(0),
            Err(_) => self.host.queued().await,
        }
    }

    /// What is on its way arrives: until nothing has come for a while.
    async fn deliveries_end(&self) {
        let quiet = Duration::from_millis(500);
        let mut before = 0;
        for _ in 0..20 {
            let count = self.record.count(Moment::default(), Moment::MAX, |what| {
                matches!(what, Observation::Element(_) | Observation::Message(_))
            });
            if count == before {
                return;
            }
            before = count;
            tokio::time::sleep(quiet).await;
        }
    }
}

async fn note(mut seen: mpsc::Receiver<Seen>, record: Record, onlooker: Option<mpsc::Sender<Seen>>) {
    while let Some(seen) = seen.recv().await {
        if let Some(onlooker) = &onlooker {
            // Someone who looks away misses something; the record does not.
            let _ = onlooker.try_send(seen.clone());
        }
        record.add(seen);
    }
}
