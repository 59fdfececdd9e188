//! When to dial again. There is no last attempt.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// What is usable for less is no success, however short the delay before it was. A peer that closes each connection after
/// as long is dialled twice a second, as one that is down is by default.
const STABLE_LEAST: Duration = Duration::from_millis(500);

/// A connection that was usable for so many times the longest delay before it was worth the wait.
const STABLE_FACTOR: u32 = 10;

/// Delays of at most this are cut short by a call; longer ones protect somebody, and are kept.
const SHORT: Duration = Duration::from_secs(1);

/// No delay is cut short within so much of the one before.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// Counts attempts and says when the next one is due.
///
/// The back-off starts anew only after a connection that was stable: a peer that completes the handshake and closes at
/// once is not a success. What is stable grows with the delays, up to the period that is given: after a long outage a
/// connection must prove itself for all of it, while one that somebody closes once a second was a success each time, and
/// who hears messages by it does not wait longer each time.
#[derive(Debug)]
pub struct Reconnect {
    backoff: Backoff,
    stable_after: Duration,
    random: fastrand::Rng,
    attempt: u64,
    previous: Duration,
    /// Since the last stable connection.
    longest: Duration,
    ready_since: Option<Instant>,
    /// Whether the delay is the first after a connection.
    is_first: bool,
    /// When a delay was last cut short.
    cut: Option<Instant>,
}

impl Reconnect {
    /// A machine at its first attempt. No connection must be usable for longer than `stable_after` to count as stable.
    #[must_use]
    pub const fn new(backoff: Backoff, stable_after: Duration, random: fastrand::Rng) -> Self {
        let (previous, longest) = (Duration::ZERO, Duration::ZERO);
        Self {
            backoff,
            stable_after,
            random,
            attempt: 0,
            previous,
            longest,
            ready_since: None,
            is_first: true,
            cut: None,
        }
    }

    /// The number of the attempt that comes next, counted from 1 since the last stable connection.
    #[must_use]
    pub const fn attempt(&self) -> u64 {
        self.attempt.saturating_add(1)
    }

    /// A connection became usable.
    pub fn ready(&mut self, now: Instant) {
        self.ready_since = Some(now);
    }

    /// A connection ended, or an attempt failed: how long to wait before the next one.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let ready_since = self.ready_since.take();
        self.is_first = ready_since.is_some() || self.attempt == 0;
        if let Some(since) = ready_since
            && now.saturating_duration_since(since) >= self.stable()
        {
            self.attempt = 0;
            self.previous = Duration::ZERO;
            self.longest = Duration::ZERO;
        }
        let delay = self.backoff.delay(self.attempt, self.previous, &mut self.random);
        self.attempt = self.attempt.saturating_add(1);
        self.previous = delay;
        self.longest = self.longest.max(delay);
        delay
    }

    /// A call waits that found none waiting before it: whether to dial for it now, though the delay is not over. The
    /// delays of a client that was idle have grown while nobody missed the connection.
    ///
    /// Never the first delay after a connection, which keeps a fleet that lost its server together apart; never one of
    /// more than a second; and at most one in a second, so that callers who come and go add one dial to the others'.
    pub fn cut_short(&mut self, now: Instant) -> bool {
        let is_soon = self.cut.is_some_and(|cut| now.saturating_duration_since(cut) < BETWEEN_CUTS);
        let cuts = !self.is_first && self.previous <= SHORT && !is_soon;
        if cuts {
            self.cut = Some(now);
        }
        cuts
    }

    /// How long a connection must be usable to count as stable.
    fn stable(&self) -> Duration {
        self.longest.saturating_mul(STABLE_FACTOR).max(STABLE_LEAST).min(self.stable_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Reconnect {
        let backoff = Backoff::Exponential { base: Duration::from_millis(100), max: Duration::from_secs(5) };
        Reconnect::new(backoff, Duration::from_secs(10), fastrand::Rng::with_seed(1))
    }

    #[test]
    fn the_delay_grows_to_its_cap_and_stays_there_for_ever() {
        let mut reconnect = machine();
        let now = Instant::now();
        let delays: Vec<_> = (0..8).map(|_| reconnect.failed(now).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(reconnect.attempt(), 9);
    }

    #[test]
    fn a_peer_that_greets_and_closes_does_not_reset_the_delay() {
        let mut reconnect = machine();
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            reconnect.ready(now);
            now += Duration::from_millis(50);
            let delay = reconnect.failed(now);
            assert!(delay > last, "{delay:?} after {last:?}");
            last = delay;
            now += delay;
        }
    }

    #[test]
    fn a_stable_connection_resets_the_delay() {
        let mut reconnect = machine();
        let now = Instant::now();
        for _ in 0..5 {
            reconnect.failed(now);
        }
        reconnect.ready(now);
        assert_eq!(reconnect.failed(now + Duration::from_secs(10)), Duration::from_millis(100));
        assert_eq!(reconnect.attempt(), 2);
    }

    const STABLE_AFTER: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    /// With the default delays.
    fn usual(seed: u64) -> Reconnect {
        Reconnect::new(Backoff::default(), STABLE_AFTER, fastrand::Rng::with_seed(seed))
    }

    /// A connection is there, and ends after `usable_for`: the moment, and the delay.
    fn ends_after(reconnect: &mut Reconnect, now: &mut Instant, usable_for: Duration) -> Duration {
        reconnect.ready(*now);
        *now += usable_for;
        let delay = reconnect.failed(*now);
        *now += delay;
        delay
    }

    #[test]
    fn a_call_that_finds_an_idle_client_dialling_is_dialled_for_at_once() {
        let (mut reconnect, now) = (machine(), Instant::now());
        reconnect.ready(now);
        reconnect.failed(now);
        assert!(!reconnect.cut_short(now), "the first delay spreads a fleet");
        reconnect.failed(now);
        assert!(reconnect.cut_short(now));
        reconnect.failed(now);
        assert!(!reconnect.cut_short(now + SECOND - Duration::from_nanos(1)), "one in a second");
        assert!(reconnect.cut_short(now + SECOND));
    }

    // A server that is killed again while it starts loses a whole fleet each time.
    #[test]
    fn the_first_delay_after_a_connection_is_kept_however_short_that_was_there() {
        let (mut reconnect, now) = (machine(), Instant::now());
        for _ in 0..3 {
            reconnect.failed(now);
        }
        reconnect.ready(now);
        reconnect.failed(now + SECOND / 10);
        assert!(!reconnect.cut_short(now + SECOND));
        reconnect.failed(now + SECOND);
        assert!(!reconnect.cut_short(now + SECOND), "longer than a second by now");
    }

    #[test]
    fn a_long_delay_is_kept_whoever_calls() {
        let (mut reconnect, now) = (machine(), Instant::now());
        let delays: Vec<_> = (0..8).map(|_| reconnect.failed(now)).collect();
        assert!(delays.last().is_some_and(|last| *last > SECOND), "{delays:?}");
        assert!(!reconnect.cut_short(now + 60 * SECOND));
    }

    // Fault lab, F07: CLIENT KILL once a second.
    #[test]
    fn a_connection_that_is_closed_once_a_second_is_back_at_once_each_time() {
        for seed in 0..100 {
            let (mut reconnect, mut now, mut delay) = (usual(seed), Instant::now(), Duration::ZERO);
            for kill in 0..100 {
                delay = ends_after(&mut reconnect, &mut now, SECOND - delay);
                assert!(delay <= Duration::from_millis(50), "kill {kill}: {delay:?}");
            }
        }
    }

    #[test]
    fn after_a_long_outage_a_connection_proves_itself_for_all_of_the_stable_period() {
        let (mut reconnect, mut now) = (machine(), Instant::now());
        for _ in 0..20 {
            now += reconnect.failed(now);
        }
        assert_eq!(ends_after(&mut reconnect, &mut now, Duration::from_millis(9_999)), 5 * SECOND);
        assert_eq!(ends_after(&mut reconnect, &mut now, 10 * SECOND), SECOND / 10);
    }

    #[test]
    fn a_peer_that_closes_whatever_counts_as_stable_is_dialled_no_more_often_than_one_that_is_down() {
        let dials = |seed, usable_for: Option<Duration>| {
            let (mut reconnect, mut now) = (usual(seed), Instant::now());
            let end = now + 600 * SECOND;
            let mut dials = 0;
            while now < end {
                match usable_for {
                    Some(usable_for) => {
                        ends_after(&mut reconnect, &mut now, usable_for);
                    }
                    None => now += reconnect.failed(now),
                }
                dials += 1;
            }
            dials
        };
        let down = dials(1, None);
        for millis in [0, 10, 100, 300, 499, 500, 700, 1_000, 4_999, 5_000] {
            let unstable = dials(2, Some(Duration::from_millis(millis)));
            assert!(unstable <= down * 11 / 10, "{millis} ms: {unstable} dials, {down} to one that is down");
        }
    }

    #[test]
    fn a_thousand_that_lose_their_server_at_once_again_and_again_dial_spread_out() {
        let mut fleet: Vec<_> = (0..1_000).map(|seed| (usual(seed), Duration::ZERO)).collect();
        for round in 0..10 {
            let mut per_millisecond = [0; 51];
            for (reconnect, delay) in &mut fleet {
                let mut now = Instant::now();
                *delay = ends_after(reconnect, &mut now, SECOND - *delay);
                per_millisecond[usize::try_from(delay.as_millis()).unwrap()] += 1;
            }
            let most = per_millisecond.into_iter().max().unwrap();
            assert!(most < 60, "round {round}: {per_millisecond:?}");
        }
    }
}
