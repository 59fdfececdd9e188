//! Counts what becomes of calls.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::Effect;
use crate::protocol::{Calls, Moment};

/// How often at most a working call is told.
const WORKED_EVERY: Duration = Duration::from_millis(5);

/// A call that ends so much later than its deadline is late.
const LATE: Duration = Duration::from_secs(1);

/// The counters.
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
    told: Mutex<Moment>,
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

    pub(crate) fn begin(&self) -> Moment {
        add(&self.begun);
        Moment::now()
    }

    /// The caller left before the call had ended.
    pub(crate) fn abandoned(&self) {
        add(&self.unknown);
    }

    /// A reply was not the caller's own.
    pub(crate) fn foreign(&self) {
        add(&self.foreign);
    }

    /// Counts an ended call; true when it is time to tell that calls work.
    pub(crate) fn ended(&self, since: Moment, limit: Option<Duration>, outcome: Result<(), Effect>) -> bool {
        let now = Moment::now();
        let took = now.since(since);
        self.slowest_ms.fetch_max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if limit.is_some_and(|limit| took > limit + LATE) {
            add(&self.late);
        }
        match outcome {
            Ok(()) => add(&self.acked),
            Err(Effect::None) => add(&self.refused),
            Err(Effect::Unknown) => add(&self.unknown),
        }
        if outcome.is_err() {
            return false;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.since(*told) >= WORKED_EVERY;
        if due {
            *told = now;
        }
        due
    }
}
