//! Pushes numbered elements and publishes numbered messages, over a way that the faults do not reach.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::line::Line;
use super::moment::Moment;
use super::protocol::{JOBS, NEWS};

/// The usual time between two elements, and between two messages.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// How long to wait before the server is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// One element or message. Its number is its place in the list, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    /// Just before it was sent.
    pub(crate) at: Moment,
    /// Whether the server has acknowledged it. If not, it may be there or not.
    pub(crate) is_sure: bool,
}

/// What was produced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Produced {
    pub(crate) elements: Vec<Item>,
    pub(crate) messages: Vec<Item>,
}

impl Produced {
    /// An item by its number.
    pub(crate) fn item(items: &[Item], number: u64) -> Option<Item> {
        usize::try_from(number.checked_sub(1)?).ok().and_then(|index| items.get(index)).copied()
    }
}

/// Where it goes: a server's Unix socket, that of the primary, whoever it is.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(pub(crate) watch::Receiver<PathBuf>);

/// What to produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goods {
    pub(crate) elements: bool,
    pub(crate) messages: bool,
    /// Whether the messages go to a shard channel.
    pub(crate) shard: bool,
    /// How many replicas follow the first primary: an element counts only when all of them have it too, because what a
    /// primary loses when it dies or is demoted is not the client's loss. A later primary is without the first, and
    /// on a busy machine its Sentinels may leave it as well.
    pub(crate) replicas: usize,
}

/// Produces until it is stopped.
#[derive(Debug)]
pub(crate) struct Producer {
    produced: Arc<Mutex<Produced>>,
    kill: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

fn lock(produced: &Mutex<Produced>) -> MutexGuard<'_, Produced> {
    produced.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Producer {
    pub(crate) fn start(outlet: Outlet, goods: Goods, every: Duration) -> Self {
        let produced = Arc::<Mutex<Produced>>::default();
        let kill = Arc::<AtomicBool>::default();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let work = Work { goods, produced: produced.clone(), kill: kill.clone(), first: OnceLock::new() };
        if goods.elements || goods.messages {
            tasks.spawn(produce(outlet, work, every, stopped));
        }
        Self { produced, kill, stop, tasks }
    }

    /// The next element is pushed, and its consumer killed, in one write: the server has served the consumer, and ends it
    /// before it sends the reply.
    pub(crate) fn kill_with_next(&self) {
        self.kill.store(true, Ordering::Relaxed);
    }

    /// What was produced so far.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Produced) -> T) -> T {
        look(&lock(&self.produced))
    }

    /// Ends after the element and the message under way.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        crate::deadline::within(Duration::from_secs(10), "the producer to end", ended).await
    }
}

/// What a producer's task works with.
struct Work {
    goods: Goods,
    produced: Arc<Mutex<Produced>>,
    kill: Arc<AtomicBool>,
    /// Where the first element went.
    first: OnceLock<PathBuf>,
}

async fn produce(outlet: Outlet, work: Work, every: Duration, stopped: watch::Receiver<bool>) {
    let mut line = None;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        ticks.tick().await;
        if work.round_at(&mut line, outlet.0.clone()).await.is_err() {
            line = None;
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Work {
    /// One round, given up when the primary changes: the old one may be frozen.
    async fn round_at(&self, line: &mut Option<Line>, mut path: watch::Receiver<PathBuf>) -> anyhow::Result<()> {
        let now = path.borrow_and_update().clone();
        if line.as_ref().is_some_and(|line| line.path() != now) {
            *line = None;
        }
        tokio::select! {
            made = self.round(line, &now) => made,
            Ok(()) = path.changed() => anyhow::bail!("another primary"),
        }
    }

    async fn round(&self, line: &mut Option<Line>, path: &std::path::Path) -> anyhow::Result<()> {
        if line.is_none() {
            *line = Some(Line::connect(path).await?);
        }
        let Some(line) = line else { return Ok(()) };
        if self.goods.elements {
            let number = begin(&mut lock(&self.produced).elements).to_string();
            line.put(&["LPUSH", JOBS, &number]);
            let kills = self.kill.swap(false, Ordering::Relaxed);
            if kills {
                line.put(&["CLIENT", "KILL", "TYPE", "normal", "USER", "default"]);
            }
            line.send().await?;
            line.answer().await?;
            if self.is_safe(line).await? {
                done(&mut lock(&self.produced).elements);
            }
            if kills {
                line.answer().await?;
            }
        }
        if self.goods.messages {
            let number = begin(&mut lock(&self.produced).messages).to_string();
            let word = if self.goods.shard { "SPUBLISH" } else { "PUBLISH" };
            line.ask(&[word, NEWS, &number]).await?;
            done(&mut lock(&self.produced).messages);
        }
        Ok(())
    }

    /// Whether what was just written survives the primary that it was written to.
    async fn is_safe(&self, line: &mut Line) -> anyhow::Result<bool> {
        let is_first = self.first.get_or_init(|| line.path().to_owned()) == line.path();
        // A new primary's replicas come one after the other: it is not held up by those that do not follow it yet.
        let (wanted, patience) =
            if is_first { (self.goods.replicas, "200") } else { (self.goods.replicas.saturating_sub(1), "20") };
        if wanted == 0 {
            return Ok(true);
        }
        let has = line.ask(&["WAIT", &wanted.to_string(), patience]).await?.as_int();
        Ok(has.and_then(|has| usize::try_from(has).ok()).is_some_and(|has| has >= wanted))
    }
}

/// Notes an item that is about to be sent, and gives its number.
fn begin(items: &mut Vec<Item>) -> u64 {
    items.push(Item { at: Moment::now(), is_sure: false });
    items.len() as u64
}

fn done(items: &mut [Item]) {
    if let Some(last) = items.last_mut() {
        last.is_sure = true;
    }
}
