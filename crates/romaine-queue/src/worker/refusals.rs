//! Jobs that handlers gave back one after the other, and when a worker rests because of it. No clock: time is an argument.

use std::time::{Duration, Instant};

use romaine::Backoff;

/// A job that its handler gave back is put off by so much at most: another worker may be able to do it.
const PUT_OFF: Duration = Duration::from_secs(1);

/// And by so much at least.
const PUT_OFF_MIN: Duration = Duration::from_millis(100);

/// What is wrong is wrong with the worker: it is the worker that waits, longer each time, and not what it would claim.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Since a job ended otherwise.
    in_a_row: usize,
    /// Nothing is claimed until then.
    until: Option<Instant>,
}

impl Refusals {
    /// A job was given back, `most` is what the worker runs at a time. Answers after what time the job may be claimed again.
    pub(crate) fn refused(
        &mut self,
        most: usize,
        asked: Option<Duration>,
        backoff: &Backoff,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Duration {
        self.in_a_row += 1;
        if let Some(earlier) = self.in_a_row.checked_sub(most) {
            let earlier = u64::try_from(earlier).unwrap_or(u64::MAX);
            let rest = backoff.delay(earlier, Duration::ZERO, random);
            self.until = self.until.max(now.checked_add(rest));
        }
        let put_off = asked.unwrap_or_else(|| backoff.delay(0, Duration::ZERO, random).min(PUT_OFF));
        put_off.max(PUT_OFF_MIN)
    }

    /// A job ended otherwise: the worker is well.
    pub(crate) fn over(&mut self) {
        *self = Self::default();
    }

    /// Whether it rests, and until when.
    pub(crate) const fn resting(&self) -> Option<Instant> {
        self.until
    }

    /// The rest is over at `now`. Answers whether it ended just now.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let is_over = self.until.is_some_and(|until| now >= until);
        if is_over {
            self.until = None;
        }
        is_over
    }

    /// How many of `most` jobs may run: after a rest one is tried, and the others wait for what becomes of it.
    pub(crate) fn room(&self, most: usize) -> usize {
        if self.until.is_some() {
            0
        } else if self.in_a_row >= most {
            1
        } else {
            most
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_gives_back_all_it_runs_rests_longer_each_time_until_a_job_ends_otherwise() {
        let (mut refusals, mut random) = (Refusals::default(), fastrand::Rng::with_seed(1));
        let ten = Duration::from_secs(10);
        let backoff = Backoff::Linear { base: ten, step: ten, max: 3 * ten };
        let mut now = crate::clock::now();
        for _ in 0..2 {
            for _ in 0..2 {
                assert_eq!(refusals.refused(3, None, &backoff, &mut random, now), PUT_OFF);
                assert_eq!((refusals.resting(), refusals.room(3)), (None, 3));
            }
            for rest in [1, 2, 3, 3] {
                refusals.refused(3, None, &backoff, &mut random, now);
                assert_eq!((refusals.resting(), refusals.room(3)), (Some(now + rest * ten), 0));
                assert!(!refusals.look(now + rest * ten - Duration::from_millis(1)));
                now += rest * ten;
                assert!(refusals.look(now) && !refusals.look(now));
                assert_eq!(refusals.room(3), 1, "one is tried");
            }
            refusals.over();
            assert_eq!((refusals.resting(), refusals.room(3)), (None, 3));
        }
    }

    #[test]
    fn a_job_is_put_off_as_long_as_was_asked_and_otherwise_for_a_moment() {
        let (mut refusals, mut random) = (Refusals::default(), fastrand::Rng::with_seed(1));
        let minute = Duration::from_secs(60);
        let (long, short) = (Backoff::Constant { delay: minute }, Backoff::Constant { delay: Duration::ZERO });
        let now = crate::clock::now();
        assert_eq!(refusals.refused(9, Some(minute), &short, &mut random, now), minute);
        assert_eq!(refusals.refused(9, Some(Duration::ZERO), &long, &mut random, now), PUT_OFF_MIN);
        assert_eq!(refusals.refused(9, None, &long, &mut random, now), PUT_OFF);
        assert_eq!(refusals.refused(9, None, &short, &mut random, now), PUT_OFF_MIN);
    }
}
