//! Points in time that two processes of one machine can compare.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970 by the machine's clock, because a driver's process and ours have no other
/// clock in common. A step of that clock during a measurement spoils it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// Later than every other.
    pub const MAX: Self = Self(u64::MAX);

    /// This moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "real faults are measured in real time")]
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    /// The same point in time.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The time since `earlier`; zero when that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// So much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}
