//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime};

/// The monotonic time; under a paused tokio clock, tokio's.
#[inline]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall-clock time of a past `instant`: for people and databases, never for decisions.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall_clock(instant: Instant) -> SystemTime {
    SystemTime::now().checked_sub(now().saturating_duration_since(instant)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// As good as never, and yet a time that can be told.
const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// So much later than `now`. A user may say `Duration::MAX` for "no limit", which no clock can tell.
#[inline]
pub(crate) fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + LONG)
}

/// So much later than now.
#[inline]
pub(crate) fn after(by: Duration) -> Instant {
    later(now(), by)
}
