//! The only place that reads a clock. It measures what passes *here*: leases left, back-offs. What the queue says about
//! time it says by the server's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time; under a paused tokio clock, tokio's.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock in milliseconds: for the age of what never reached the server.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "only the outbox asks"))]
pub(crate) fn wall_clock_ms() -> i64 {
    unix_ms(SystemTime::now())
}

/// Milliseconds since 1970; 0 before.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
