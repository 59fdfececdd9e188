//! Loads of ordinary commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Delivery, Error};
use tokio::task::JoinSet;

use super::{CALL_TIMEOUT, Ground, Witness};
use crate::scenario::moment::Moment;
use crate::scenario::protocol::{BIG, COUNTER, Calls, Observation, SPREAD_KEYS};

/// How often at most a working call is told.
const WORKED_EVERY: Duration = Duration::from_millis(5);

/// Counts what becomes of calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    begun: AtomicU64,
    acked: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
    late: AtomicU64,
    foreign: AtomicU64,
    never_returned: AtomicU64,
    slowest_ms: AtomicU64,
    /// When a working call was last told, as microseconds.
    told: std::sync::Mutex<Moment>,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    /// The totals so far.
    pub(crate) fn read(&self) -> Calls {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // The ended ones first, so that none is counted as open that has begun after.
        let (acked, refused, unknown) = (of(&self.acked), of(&self.refused), of(&self.unknown));
        let open = of(&self.begun).saturating_sub(acked + refused + unknown);
        let (late, foreign) = (of(&self.late), of(&self.foreign));
        let (never_returned, slowest_ms) = (of(&self.never_returned), of(&self.slowest_ms));
        Calls { acked, refused, unknown, open, late, foreign, never_returned, slowest_ms }
    }

    /// Those that have not ended yet never will.
    pub(crate) fn give_up(&self) {
        self.never_returned.store(self.read().open, Ordering::Relaxed);
    }

    fn begin(&self) -> Moment {
        add(&self.begun);
        Moment::now()
    }

    /// Counts an ended call; true when it is time to tell that calls work.
    fn ended(&self, since: Moment, limit: Duration, outcome: Result<(), &Error>) -> bool {
        let now = Moment::now();
        let took = now.since(since);
        self.slowest_ms.fetch_max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if took > limit + Duration::from_secs(1) {
            add(&self.late);
        }
        match outcome.map_err(Error::delivery) {
            Ok(()) | Err(Delivery::Executed) => add(&self.acked),
            Err(Delivery::NotSent | Delivery::Refused) => add(&self.refused),
            Err(Delivery::Unknown) => add(&self.unknown),
        }
        if outcome.is_err() {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = now.since(*told) >= WORKED_EVERY;
        if due {
            *told = now;
        }
        due
    }
}

impl Ground {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn ended(&self, since: Moment, limit: Duration, outcome: Result<(), &Error>) {
        if self.tally.ended(since, limit, outcome) {
            self.witness.tell(Observation::Worked { since }).await;
        }
    }
}

/// Tells the totals until it is aborted.
pub(super) async fn tell_totals(tally: Arc<Tally>, witness: Witness, every: Duration) {
    let mut before = Calls::default();
    loop {
        tokio::time::sleep(every).await;
        let now = tally.read();
        if now != before {
            witness.tell(Observation::Calls(now)).await;
            before = now;
        }
    }
}

/// The callers of INCR.
pub(super) fn start_callers(tasks: &mut JoinSet<()>, ground: &Ground) {
    for _ in 0..ground.order.callers {
        tasks.spawn(increment(ground.clone()));
    }
}

async fn increment(ground: Ground) {
    let mut last = 0;
    while !ground.is_stopped() {
        let since = ground.tally.begin();
        let reply = ground.client.incr(COUNTER).await;
        ground.ended(since, CALL_TIMEOUT, reply.as_ref().map(drop)).await;
        if let Ok(value) = reply {
            // Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
            if value <= last {
                add(&ground.tally.foreign);
            }
            last = value;
        }
        // Spread, so that the callers do not march in step.
        tokio::time::sleep(ground.order.pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// The callers of INCR on many keys.
pub(super) fn start_spread(tasks: &mut JoinSet<()>, ground: &Ground) {
    for _ in 0..ground.order.callers {
        tasks.spawn(increment_many(ground.clone()));
    }
}

async fn increment_many(ground: Ground) {
    while !ground.is_stopped() {
        let number = fastrand::usize(..SPREAD_KEYS);
        let since = ground.tally.begin();
        let reply = ground.client.incr(format!("{COUNTER}:{number}")).await;
        ground.ended(since, CALL_TIMEOUT, reply.as_ref().map(drop)).await;
        tokio::time::sleep(ground.order.pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Callers whose every call asks for something unique, and most of which do not wait for it.
pub(super) fn start_droppers(tasks: &mut JoinSet<()>, ground: &Ground) {
    for caller in 0..ground.order.callers {
        tasks.spawn(drop_calls(ground.clone(), caller));
    }
}

async fn drop_calls(ground: Ground, caller: usize) {
    let mut serial = 0u64;
    while !ground.is_stopped() {
        serial += 1;
        let word = format!("{caller}:{serial}");
        let since = ground.tally.begin();
        let impatience = Duration::from_micros(fastrand::u64(0..3_000));
        let call = ground.client.echo::<String>(&word);
        let reply = match fastrand::u8(0..3) {
            0 => match tokio::time::timeout(impatience, call).await {
                Ok(reply) => reply,
                Err(_dropped) => {
                    add(&ground.tally.unknown);
                    continue;
                }
            },
            1 => call.timeout(impatience).await,
            _ => call.await,
        };
        ground.ended(since, CALL_TIMEOUT, reply.as_ref().map(drop)).await;
        if reply.is_ok_and(|reply| reply != word) {
            add(&ground.tally.foreign);
        }
        tokio::task::yield_now().await;
    }
}

/// One caller that reads the large value, without impatience.
pub(super) async fn fetch(ground: Ground) {
    let limit = Duration::from_secs(600);
    while !ground.is_stopped() {
        let since = ground.tally.begin();
        let reply = ground.client.get::<Vec<u8>>(BIG).timeout(limit).await;
        ground.ended(since, limit, reply.as_ref().map(drop)).await;
        tokio::time::sleep(ground.order.pause).await;
    }
}

/// Calls at a fixed rate, whatever becomes of those before.
pub(super) async fn torrent(ground: Ground) {
    const TICK: Duration = Duration::from_millis(5);
    let batch = ground.order.rate / 200;
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while !ground.is_stopped() {
        ticks.tick().await;
        for _ in 0..batch {
            let ground = ground.clone();
            calls.spawn(async move {
                let since = ground.tally.begin();
                let reply = ground.client.incr(COUNTER).await;
                ground.ended(since, CALL_TIMEOUT, reply.as_ref().map(drop)).await;
            });
        }
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}
