//! One client under test at work: its observations, what is produced for it, and what must be true at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cell_log::CellLog;
use super::host::Host;
use super::moment::Moment;
use super::producer::{Goods, Produced, Producer};
use super::protocol::{CALLS_END_WITHIN, Calls, Control, Load, Observation, Order, Seen};
use super::record::Record;
use super::subject::{CRASHED, Driver, Subject, watch_memory};
use crate::deadline::{look_again, until, within};

/// How long a client may take to do its first work. Some need a good part of that beside fifteen others.
const START: Duration = Duration::from_secs(40);

/// How long a driver may take to end: it waits for its open calls, and then ends its client.
const END: Duration = CALLS_END_WITHIN.saturating_add(Duration::from_secs(20));

/// The driver says that its client, or itself, has no such thing: no failure, but nothing to measure either.
#[derive(Debug)]
pub(crate) struct NotSupported(String);

impl std::fmt::Display for NotSupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the driver says: {}", self.0)
    }
}

impl std::error::Error for NotSupported {}

/// The client does not come to work, and nothing is wrong but what was wrong from its start on.
#[derive(Debug)]
pub(crate) struct NotAtWork(String);

impl std::fmt::Display for NotAtWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAtWork {}

/// Who looks on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Eyes {
    /// Gets every observation that it has the time for.
    pub(crate) onlooker: Option<mpsc::Sender<Seen>>,
    /// Gets them all.
    pub(crate) log: CellLog,
}

/// A client at work.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) subject: Subject,
    pub(crate) record: Record,
    pub(crate) producer: Producer,
    pub(crate) loads: Vec<Load>,
    pub(crate) log: CellLog,
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
    /// Starts the client, then what is produced for it, and waits until all its loads work.
    /// `every` is the time between two elements, and between two messages.
    pub(crate) async fn set(
        driver: &Driver,
        order: Order,
        host: Host,
        every: Duration,
        eyes: Eyes,
    ) -> anyhow::Result<Self> {
        let loads = order.loads.clone();
        let (reads, shard) = (order.consume, order.shard);
        let callers = u64::try_from(order.callers * order.clients).unwrap_or(u64::MAX);
        // Many clients connect one after the other, some of them slowly.
        let start = START + Duration::from_millis(50) * u32::try_from(order.clients).unwrap_or(u32::MAX);
        let (subject, seen) = Subject::start(driver, order).await?;
        let record = Record::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(note(seen, record.clone(), eyes.clone()));
        let started = until(start, "the client to connect", || {
            record.has(|what| matches!(what, Observation::Ready | Observation::Trouble(_)))
        });
        if let Err(error) = started.await {
            bail!(NotAtWork(format!("its last words: {}: {error:#}", subject.murmurs().join("; "))));
        }
        if !record.has(|what| *what == Observation::Ready) {
            let mut words = record.troubles(Moment::default(), Moment::MAX);
            if let Some(word) = words.iter().find(|word| word.contains("not supported")) {
                bail!(NotSupported(word.clone()));
            }
            words.extend(subject.murmurs());
            bail!(NotAtWork(format!("the client did not start: {}", words.join("; "))));
        }
        let outlet = host.outlet(Host::goes_to(&loads), &mut tasks).await?;
        let goods = Goods {
            elements: loads.contains(&Load::Blocked),
            messages: loads.contains(&Load::Subscribed) && reads,
            shard,
            replicas: host.replicas(),
        };
        let producer = Producer::start(outlet, goods, every);
        let peak = Arc::<AtomicU64>::default();
        let base = subject.pid().and_then(super::subject::resident).unwrap_or(0);
        if let Some(pid) = subject.pid() {
            tasks.spawn(watch_memory(pid, peak.clone()));
        }
        let stage = Self { host, subject, record, producer, loads, log: eyes.log, peak, base, _tasks: tasks };
        if reads && !stage.loads.contains(&Load::Fetch) {
            let began = stage.probe(Moment::default()).await?;
            let works = async {
                stage.all_work(began, START).await?;
                stage.callers_work(callers, start).await
            };
            if let Err(error) = works.await {
                bail!(NotAtWork(format!("{}: {error:#}", stage.not_working(began))));
            }
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

    /// Waits until most callers have been answered. A client that connects for each of them is else caught while it still
    /// does, and callers that never began lose nothing.
    async fn callers_work(&self, callers: u64, patience: Duration) -> anyhow::Result<()> {
        if !self.loads.iter().any(|load| matches!(load, Load::Callers | Load::Spread)) {
            return Ok(());
        }
        until(patience, "most callers to be answered", || {
            let calls = self.record.calls();
            calls.acked >= callers && calls.open <= callers / 2
        })
        .await
    }

    fn not_working(&self, began: Moment) -> String {
        let working = self.producer.read(|produced| self.record.working(produced, &self.loads, began));
        let idle: Vec<_> = self.loads.iter().filter(|load| !working.contains_key(load)).collect();
        let mut words = self.record.troubles(Moment::default(), Moment::MAX);
        words.truncate(5);
        words.extend(self.subject.murmurs());
        format!("the load did not begin to work ({idle:?}): {}", words.join("; "))
    }

    /// Ends the production, lets the consumer take what is left, ends the client.
    pub(crate) async fn strike(mut self) -> anyhow::Result<(Record, Remains)> {
        self.producer.stop().await?;
        let mut undelivered = 0;
        if self.loads.contains(&Load::Blocked) {
            undelivered = self.drain().await?;
        }
        self.deliveries_end().await;
        // A driver that has crashed is told nothing; its last words are in the record.
        let _ = self.subject.tell(Control::Stop).await;
        let over = |what: &Observation| match what {
            Observation::Finished => true,
            Observation::Trouble(text) => text.starts_with(CRASHED),
            _ => false,
        };
        let mut calls_left = 0;
        if until(END, "the client to end", || self.record.has(over)).await.is_err() {
            // Its calls still hang, and so does its end.
            calls_left = self.record.calls().open;
            self.subject.kill().await;
            let text = format!("the client did not end within {} s, and was killed", END.as_secs());
            self.record.add(Seen::now(Observation::Trouble(text)));
        }
        let counter = self.host.counter(&self.loads).await?;
        let mut calls = self.record.calls();
        calls.never_returned = calls.never_returned.max(calls_left);
        let peak = self.peak.load(Ordering::Relaxed);
        let remains = Remains {
            produced: self.producer.read(Clone::clone),
            calls,
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

async fn note(mut seen: mpsc::Receiver<Seen>, record: Record, eyes: Eyes) {
    while let Some(seen) = seen.recv().await {
        eyes.log.note(&seen);
        if let Some(onlooker) = &eyes.onlooker {
            // Someone who looks away misses something; the record does not.
            let _ = onlooker.try_send(seen.clone());
        }
        record.add(seen);
    }
}
