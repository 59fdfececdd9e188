//! How long to wait before dialling again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A delay of the user's own making.
pub trait Delay: Send + Sync {
    /// The delay before attempt `attempt` (the first reconnect is 0), given the previous one. A panic is caught and
    /// counts as the cap of 30 s; reconnection goes on.
    fn delay(&self, attempt: u64, previous: Duration) -> Duration;
}

impl<F: Fn(u64, Duration) -> Duration + Send + Sync> Delay for F {
    fn delay(&self, attempt: u64, previous: Duration) -> Duration {
        self(attempt, previous)
    }
}

/// The delay between attempts, under the names that have become usual (AWS Architecture Blog, "Exponential Backoff And
/// Jitter", 2015). `attempt` counts from 0; every result is at most `max`, and at least `min` where there is one.
#[derive(Clone)]
#[non_exhaustive]
pub enum Backoff {
    /// Always `delay`.
    Constant {
        /// The delay.
        delay: Duration,
    },
    /// `min(max, base + step · attempt)`.
    Linear {
        /// The first delay.
        base: Duration,
        /// Added for each further attempt.
        step: Duration,
        /// The cap.
        max: Duration,
    },
    /// `min(max, base · 2^attempt)`: no jitter, so a fleet that lost its server together comes back together.
    Exponential {
        /// The first delay.
        base: Duration,
        /// The cap.
        max: Duration,
    },
    /// `random(0, min(max, base · 2^attempt))`: spreads a fleet best. The default: 50 ms to 1 s.
    FullJitter {
        /// The first delay's upper end.
        base: Duration,
        /// The cap.
        max: Duration,
    },
    /// `t/2 + random(0, t/2)` with `t = min(max, base · 2^attempt)`: never less than half.
    EqualJitter {
        /// The first delay's upper end.
        base: Duration,
        /// The cap.
        max: Duration,
    },
    /// `min(max, random(base, 3 · previous))`, `previous` being `base` at first.
    DecorrelatedJitter {
        /// The lower end. Zero counts as 1 ms: a loop without a delay helps nobody.
        base: Duration,
        /// The cap.
        max: Duration,
    },
    /// The user's own.
    Custom(Arc<dyn Delay>),
}

impl Default for Backoff {
    fn default() -> Self {
        Self::FullJitter { base: Duration::from_millis(50), max: Duration::from_secs(1) }
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { delay } => write!(f, "Constant({delay:?})"),
            Self::Linear { base, step, max } => write!(f, "Linear({base:?} + {step:?}·n ≤ {max:?})"),
            Self::Exponential { base, max } => write!(f, "Exponential({base:?}·2ⁿ ≤ {max:?})"),
            Self::FullJitter { base, max } => write!(f, "FullJitter({base:?}·2ⁿ ≤ {max:?})"),
            Self::EqualJitter { base, max } => write!(f, "EqualJitter({base:?}·2ⁿ ≤ {max:?})"),
            Self::DecorrelatedJitter { base, max } => write!(f, "DecorrelatedJitter({base:?} … {max:?})"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// What a panicking [`Delay`] counts as.
const CUSTOM_FALLBACK: Duration = Duration::from_secs(30);

impl Backoff {
    /// The delay before attempt `attempt` (0 is the first), given the previous delay.
    #[must_use]
    pub fn delay(&self, attempt: u64, previous: Duration, random: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Constant { delay } => *delay,
            Self::Linear { base, step, max } => {
                let factor = u32::try_from(attempt).unwrap_or(u32::MAX);
                base.saturating_add(step.saturating_mul(factor)).min(*max)
            }
            Self::Exponential { base, max } => doubled(*base, attempt, *max),
            Self::FullJitter { base, max } => between(Duration::ZERO, doubled(*base, attempt, *max), random),
            Self::EqualJitter { base, max } => {
                let half = doubled(*base, attempt, *max) / 2;
                half + between(Duration::ZERO, half, random)
            }
            Self::DecorrelatedJitter { base, max } => {
                let base = (*base).max(Duration::from_millis(1)).min(*max);
                let upper = previous.max(base).saturating_mul(3).min(*max);
                between(base, upper.max(base), random)
            }
            Self::Custom(delay) => {
                let delay = std::panic::AssertUnwindSafe(|| delay.delay(attempt, previous));
                std::panic::catch_unwind(delay).unwrap_or(CUSTOM_FALLBACK)
            }
        }
    }
}

/// `min(max, base · 2^attempt)` for every attempt, u64::MAX too.
fn doubled(base: Duration, attempt: u64, max: Duration) -> Duration {
    if base.is_zero() {
        return Duration::ZERO;
    }
    match u32::try_from(attempt).ok().and_then(|attempt| 1_u32.checked_shl(attempt)) {
        Some(factor) => base.saturating_mul(factor).min(max),
        // 2^32 times anything of a nanosecond or more is past every sensible cap; multiply in steps to be exact.
        None => {
            let mut delay = base;
            for _ in 0..attempt.min(128) {
                delay = delay.saturating_mul(2);
                if delay >= max {
                    break;
                }
            }
            delay.min(max)
        }
    }
}

fn between(low: Duration, high: Duration, random: &mut fastrand::Rng) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
    low + Duration::from_nanos(random.u64(0..=span))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);
    const ATTEMPTS: [u64; 8] = [0, 1, 2, 31, 32, 63, 64, u64::MAX];

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(7)
    }

    #[test]
    fn exponential_doubles_up_to_the_cap_for_every_attempt() {
        let backoff = Backoff::Exponential { base: BASE, max: MAX };
        let expected = [50, 100, 200, 2_000, 2_000, 2_000, 2_000, 2_000].map(Duration::from_millis);
        for (attempt, expected) in ATTEMPTS.into_iter().zip(expected) {
            assert_eq!(backoff.delay(attempt, Duration::ZERO, &mut rng()), expected, "attempt {attempt}");
        }
    }

    #[test]
    fn a_nanosecond_base_reaches_a_cap_of_years() {
        let year = Duration::from_secs(365 * 86_400);
        let backoff = Backoff::Exponential { base: Duration::from_nanos(1), max: year };
        assert_eq!(backoff.delay(40, Duration::ZERO, &mut rng()), Duration::from_nanos(1 << 40));
        assert_eq!(backoff.delay(u64::MAX, Duration::ZERO, &mut rng()), year);
    }

    #[test]
    fn constant_and_linear_follow_their_formulas() {
        let constant = Backoff::Constant { delay: BASE };
        let linear = Backoff::Linear { base: BASE, step: Duration::from_millis(10), max: MAX };
        for attempt in ATTEMPTS {
            assert_eq!(constant.delay(attempt, MAX, &mut rng()), BASE);
        }
        assert_eq!(linear.delay(0, MAX, &mut rng()), BASE);
        assert_eq!(linear.delay(3, MAX, &mut rng()), Duration::from_millis(80));
        assert_eq!(linear.delay(63, MAX, &mut rng()), Duration::from_millis(680));
        assert_eq!(linear.delay(u64::MAX, MAX, &mut rng()), MAX);
    }

    #[test]
    fn jitter_stays_in_its_range_and_uses_all_of_it() {
        let mut random = rng();
        for attempt in ATTEMPTS {
            let top = doubled(BASE, attempt, MAX);
            let mut low = Duration::MAX;
            let mut high = Duration::ZERO;
            for _ in 0..2_000 {
                let full = Backoff::FullJitter { base: BASE, max: MAX }.delay(attempt, Duration::ZERO, &mut random);
                assert!(full <= top);
                low = low.min(full);
                high = high.max(full);
                let equal = Backoff::EqualJitter { base: BASE, max: MAX }.delay(attempt, Duration::ZERO, &mut random);
                assert!(equal >= top / 2 && equal <= top, "attempt {attempt}: {equal:?}");
            }
            assert!(low < top / 20 && high > top / 20 * 19, "attempt {attempt}: {low:?} … {high:?}");
        }
    }

    #[test]
    fn decorrelated_jitter_never_collapses_to_nothing() {
        let mut random = rng();
        let backoff = Backoff::DecorrelatedJitter { base: Duration::ZERO, max: MAX };
        let mut previous = Duration::ZERO;
        for attempt in 0..1_000 {
            previous = backoff.delay(attempt, previous, &mut random);
            assert!(previous >= Duration::from_millis(1) && previous <= MAX, "{previous:?}");
        }
        let backoff = Backoff::DecorrelatedJitter { base: BASE, max: MAX };
        for attempt in ATTEMPTS {
            let delay = backoff.delay(attempt, MAX, &mut random);
            assert!(delay >= BASE && delay <= MAX);
        }
    }

    #[test]
    fn a_delay_of_the_users_own_is_asked_and_its_panic_contained() {
        let backoff = Backoff::Custom(Arc::new(|attempt: u64, _previous: Duration| {
            assert!(attempt != 1, "the user's bug");
            Duration::from_secs(attempt)
        }));
        assert_eq!(backoff.delay(3, Duration::ZERO, &mut rng()), Duration::from_secs(3));
        assert_eq!(backoff.delay(1, Duration::ZERO, &mut rng()), CUSTOM_FALLBACK);
    }
}
