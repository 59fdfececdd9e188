//! The only place that reads a clock.

use std::time::{Instant, SystemTime};

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
