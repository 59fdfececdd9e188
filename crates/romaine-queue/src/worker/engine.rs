//! The loop of a worker: one task that waits for everything at once and decides what is next.
//!
//! At any time at most one turn, one heartbeat and one wait for the bell are under way. Nothing here is answered by
//! polling: a turn follows a bell, a finished job, a due time or a heartbeat.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use romaine::commands::*;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Key;
use crate::producer::nonce;
use crate::queue::Queue;
use crate::retry::{Fate, Pauses, fate};
use crate::worker::handler::{AnyHandler, Done, Failure};
use crate::worker::ledger::{Ledger, Patience};
use crate::worker::rate::Bucket;
use crate::worker::refusals::Refusals;
use crate::worker::running::Beat;
use crate::worker::settings::Settings;
use crate::worker::stats::{Stats, add};
use crate::worker::turn::Report;
use crate::worker::turns::Turned;

/// What the worker's owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orders {
    pub(crate) paused: bool,
    pub(crate) stop: bool,
}

/// Something on its way.
pub(crate) type UnderWay<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// How a handler ended.
pub(crate) type Ended = std::result::Result<(Id, std::result::Result<Done, Failure>), JoinError>;

/// How a shutdown proceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Working,
    /// Nothing is claimed any more; what runs may end until then.
    Draining {
        until: Instant,
    },
    /// What still runs was told to stop; reports are sent until then.
    Leaving {
        until: Instant,
    },
}

pub(crate) struct Engine {
    pub(crate) queue: Queue,
    pub(crate) settings: Arc<Settings>,
    pub(crate) handler: Arc<dyn AnyHandler>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) nonce: String,
    pub(crate) turns: u64,
    pub(crate) random: fastrand::Rng,
    /// Handlers that run.
    pub(crate) tasks: JoinSet<std::result::Result<Done, Failure>>,
    pub(crate) ledger: Ledger,
    /// What is to be reported.
    pub(crate) reports: Vec<Report>,
    /// Turns whose answers were lost: they may have claimed jobs.
    pub(crate) lost_turns: Vec<String>,
    pub(crate) turn: UnderWay<Turned>,
    pub(crate) beat: UnderWay<Beat>,
    pub(crate) bell: UnderWay<romaine::Result<bool>>,
    pub(crate) tidying: UnderWay<bool>,
    /// Whether there may be something to claim.
    pub(crate) hungry: bool,
    /// Whether a bell was heard with no room for a job: the next one must hear it.
    pub(crate) pass_on: bool,
    pub(crate) due_at: Option<Instant>,
    pub(crate) last_turn: Instant,
    pub(crate) beat_at: Instant,
    pub(crate) tidy_at: Instant,
    /// Nothing is asked of the server until then.
    pub(crate) quiet_until: Option<Instant>,
    pub(crate) pauses: Pauses,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) refusals: Refusals,
    pub(crate) phase: Phase,
}

impl Engine {
    pub(crate) fn new(
        queue: Queue,
        settings: Settings,
        handler: Arc<dyn AnyHandler>,
        stats: Arc<Stats>,
        orders: watch::Receiver<Orders>,
    ) -> Self {
        let now = clock::now();
        let mut random = fastrand::Rng::new();
        let tidy_in = settings.tidy_every.mul_f64(random.f64());
        Self {
            bucket: settings.rate.map(|rate| Bucket::new(rate, now)),
            beat_at: now + settings.heartbeat,
            tidy_at: now + tidy_in,
            queue,
            settings: Arc::new(settings),
            handler,
            stats,
            orders,
            nonce: nonce(),
            turns: 0,
            random,
            tasks: JoinSet::new(),
            ledger: Ledger::default(),
            reports: Vec::new(),
            lost_turns: Vec::new(),
            turn: None,
            beat: None,
            bell: None,
            tidying: None,
            hungry: true,
            pass_on: false,
            due_at: None,
            last_turn: now,
            quiet_until: None,
            pauses: Pauses::new(),
            refusals: Refusals::default(),
            phase: Phase::Working,
        }
    }

    /// Works until it is told to stop, or the client is closed. By reference: a future that owned it would hold it twice.
    pub(crate) async fn run(&mut self) -> Result<()> {
        loop {
            let now = clock::now();
            self.look_around(now);
            if self.is_over(now) {
                break;
            }
            self.start_turn(now);
            self.start_beat(now);
            self.start_bell(now);
            self.start_tidying(now);
            let wake = self.next_timer();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.on_ended(ended).await,
                turned = wait_for(&mut self.turn) => { self.turn = None; self.on_turned(turned)?; }
                beat = wait_for(&mut self.beat) => { self.beat = None; self.on_beat(beat)?; }
                rung = wait_for(&mut self.bell) => { self.bell = None; self.on_bell(rung)?; }
                is_more = wait_for(&mut self.tidying) => self.on_tidied(is_more),
                changed = self.orders.changed() => self.on_orders(changed.is_err()),
                () = sleep_until(wake) => {}
            }
        }
        self.leave().await;
        Ok(())
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            margin: self.settings.fence_margin(),
            grace: self.settings.cancel_grace,
            lost_lease: self.settings.lost_lease,
        }
    }

    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// Jobs it has room for.
    pub(crate) fn room(&self) -> usize {
        if self.phase != Phase::Working || self.orders.borrow().paused {
            return 0;
        }
        self.refusals.room(self.settings.concurrency).saturating_sub(self.ledger.len())
    }

    fn look_around(&mut self, now: Instant) {
        let fenced = self.ledger.look(now, self.patience());
        if fenced > 0 {
            self.stats.lease_lost.fetch_add(fenced, Ordering::Relaxed);
            tracing::warn!(
                queue = self.queue.name(),
                fenced,
                "leases could not be renewed in time; their jobs are stopped"
            );
        }
        // What waits meanwhile rang for others.
        self.hungry |= self.refusals.look(now);
        if self.due_at.is_some_and(|at| now >= at) {
            self.due_at = None;
            self.hungry = true;
            self.pass_on = true;
        }
        if self.quiet_until.is_some_and(|until| now >= until) {
            self.quiet_until = None;
        }
        if let Phase::Draining { until } = self.phase
            && (now >= until || self.ledger.is_empty())
        {
            self.ledger.stop_all(now, self.settings.cancel_grace);
            self.phase = Phase::Leaving { until: now + self.settings.cancel_grace + LEAVING };
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let Phase::Leaving { until } = self.phase else { return false };
        let idle = self.ledger.is_empty() && self.tasks.is_empty() && self.turn.is_none();
        now >= until || (idle && self.reports.is_empty() && self.lost_turns.is_empty())
    }

    fn next_timer(&self) -> Option<Instant> {
        let leaving = match self.phase {
            Phase::Working => None,
            Phase::Draining { until } | Phase::Leaving { until } => Some(until),
        };
        let beat = if self.ledger.is_empty() || self.beat.is_some() { None } else { Some(self.beat_at) };
        let rate = self.bucket.as_ref().filter(|_| self.hungry && self.turn.is_none()).map(Bucket::next_at);
        let rate = rate.filter(|at| *at > clock::now());
        let tidy = if self.tidying.is_some() { None } else { Some(self.tidy_at) };
        let rest = self.refusals.resting().map(|until| until.min(self.sign_of_life_at()));
        let rest = rest.filter(|_| self.phase == Phase::Working && self.turn.is_none() && self.quiet_until.is_none());
        [self.ledger.look_at(), self.due_at, self.quiet_until, leaving, beat, rate, tidy, rest]
            .into_iter()
            .flatten()
            .min()
    }

    /// When a worker that rests is heard of all the same: it has promised to be.
    pub(crate) fn sign_of_life_at(&self) -> Instant {
        self.last_turn + self.settings.block
    }

    fn start_bell(&mut self, now: Instant) {
        if self.bell.is_some() || self.turn.is_some() || self.hungry || self.room() == 0 || self.is_quiet(now) {
            return;
        }
        self.stats.waits.fetch_add(1, Ordering::Relaxed);
        // Spread over a fifth: a fleet that was woken together does not ask together for ever.
        let limit = self.settings.block.mul_f64(0.8 + 0.4 * self.random.f64());
        let (client, key) = (self.queue.client.clone(), self.queue.keys.key(Key::Bell).to_owned());
        self.bell = Some(Box::pin(async move {
            let rung: Option<(Bytes, Bytes)> = client.blpop(key, limit.as_secs_f64()).await?;
            Ok(rung.is_some())
        }));
    }

    /// The bell, its time-out or an error: in any case somebody has to look.
    fn on_bell(&mut self, rung: romaine::Result<bool>) -> Result<()> {
        self.hungry = true;
        self.pass_on = true;
        match rung {
            Ok(_rung_or_not) => Ok(()),
            // A bell that was lost is a wake-up that was lost, never a job.
            Err(error) => self.interrupted(&error, "waiting for the bell"),
        }
    }

    fn on_orders(&mut self, owner_gone: bool) {
        let orders = *self.orders.borrow_and_update();
        if (orders.stop || owner_gone) && self.phase == Phase::Working {
            self.phase = Phase::Draining { until: clock::now() + self.settings.shutdown_grace };
            self.bell = None;
        }
        if !orders.paused {
            self.hungry = true;
        }
    }

    /// Waits an interruption out. Only the end of the client ends the worker.
    pub(crate) fn interrupted(&mut self, error: &romaine::Error, doing: &'static str) -> Result<()> {
        let fate = fate(error, &self.queue.client);
        if fate == Fate::Closed {
            return Err(
                Error::new(ErrorKind::Closed, "the client was closed under the worker").with_source(error.clone())
            );
        }
        self.stats.interrupted(error);
        let pause = self.pauses.next();
        self.quiet_until = Some(clock::now() + pause);
        let queue = self.queue.name();
        match fate {
            Fate::Stays => tracing::error!(queue, %error, doing, "the server refuses; asking again"),
            Fate::Passes | Fate::Closed => tracing::debug!(queue, %error, doing, "interrupted; asking again"),
        }
        Ok(())
    }

    /// The last words: this consumer is not to be missed.
    async fn leave(&mut self) {
        add(&self.stats.given_back, self.ledger.len());
        self.tasks.shutdown().await;
        let (client, keys, name) = (&self.queue.client, &self.queue.keys, self.settings.name.as_str());
        let forget = client.hdel(keys.key(Key::Consumers), name).timeout(LEAVING);
        if let Err(error) = forget.await {
            tracing::debug!(%error, "the consumer's entry stays until it is tidied away");
        }
    }
}

/// What a shutdown gets to send its reports once nothing runs any more.
const LEAVING: Duration = Duration::from_secs(2);

async fn wait_for<T>(under_way: &mut UnderWay<T>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
