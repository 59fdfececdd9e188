//! When to ask about the topology again.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// When the topology is asked for again.
#[derive(Debug, Clone)]
pub struct RefreshSettings {
    /// The time between refreshes while nothing happens, up to a quarter more or less by lot. `Duration::MAX`: never
    /// without a reason.
    pub every: Duration,
    /// The least time between the beginnings of two refreshes, and how far the first after a quiet time is spread by
    /// lot, so that a thousand clients do not ask in the same instant.
    pub gap: Duration,
    /// The pauses after refreshes that gained no view. There is no last one.
    pub retry: Backoff,
    /// For how long after a reason to doubt the view a refresh that confirms it is repeated: whoever asks before the
    /// servers have failed over sees what was.
    pub settle: Duration,
    /// The longest pause between these repetitions. They begin with `gap` and double.
    pub settle_pause: Duration,
    /// From which attempt on a reconnecting node is a reason to ask.
    pub reconnect_attempts: u64,
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            gap: Duration::from_millis(100),
            retry: Backoff::EqualJitter { base: Duration::from_millis(100), max: Duration::from_secs(2) },
            settle: Duration::from_secs(30),
            settle_pause: Duration::from_secs(1),
            reconnect_attempts: 2,
        }
    }
}

/// Why the topology is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Nothing is known yet. Not spread: a caller waits.
    Start,
    /// MOVED, or ASK.
    Redirected,
    /// A server took a shard channel from its subscribers: its slot moves. The first view with the slot's new owner is
    /// no end of it: a primary that has lost its last slot follows the new owner by itself, confirms the channel again
    /// as its replica, and may be taken out of the cluster then, without another word.
    Revoked,
    /// A redirect to a node that the view does not name.
    UnknownNode,
    /// A request for a slot without an owner, or with no primary known.
    Uncovered,
    /// A node is dialled again.
    Reconnecting {
        /// Which attempt it is since the connection was lost, from 1.
        attempts: u64,
    },
    /// A node is suspect or declared dead.
    Silent,
    /// A node refuses writes, or unblocked its clients: it is no primary any more.
    ReadOnly,
    /// What tells of changes was out of order and works again: whatever happened meanwhile was not told.
    WatchRestored,
    /// Sentinels told of a change.
    Event,
    /// A node is not what the view says: another role, another cluster.
    Failed,
}

impl Trigger {
    /// Whether the view will turn out to be wrong, if not now then soon: a refresh that confirms it came too early.
    const fn is_doubt(self) -> bool {
        match self {
            Self::Redirected
            | Self::Revoked
            | Self::UnknownNode
            | Self::Uncovered
            | Self::Reconnecting { .. }
            | Self::Silent
            | Self::ReadOnly
            | Self::Event
            | Self::Failed => true,
            Self::Start | Self::WatchRestored => false,
        }
    }

    /// Whether a view that has changed may change once more.
    const fn outlives_a_change(self) -> bool {
        matches!(self, Self::Revoked)
    }

    /// Whether it shows that someone can be asked: a pause after failures is cut short.
    const fn is_hope(self) -> bool {
        match self {
            Self::Start | Self::WatchRestored | Self::Event | Self::Redirected | Self::Revoked | Self::ReadOnly => true,
            Self::UnknownNode | Self::Uncovered | Self::Reconnecting { .. } | Self::Silent | Self::Failed => false,
        }
    }
}

/// Says when to ask about the topology: at once when there is a reason, again while it seems too early, from time to
/// time without one. One refresh at a time; reasons that come during one are not lost but make another.
///
/// The driver calls [`trigger`](Self::trigger) whenever there is a reason, sleeps until [`next`](Self::next), asks the
/// nodes when [`poll`](Self::poll) says so, and reports with [`done`](Self::done), which it must in every case.
#[derive(Debug)]
pub struct Refresh {
    settings: RefreshSettings,
    random: fastrand::Rng,
    /// When the next one is due; meaningless while one is in flight.
    due: Option<Instant>,
    in_flight: bool,
    /// When the last one began.
    begun: Option<Instant>,
    /// A reason came during the one in flight.
    trailing: bool,
    /// Until when a confirmation of the view is doubted.
    doubted_until: Option<Instant>,
    /// Until when a changed view is doubted, too.
    unsettled_until: Option<Instant>,
    /// The last pause between repetitions.
    pause: Duration,
    failures: u64,
    /// The last pause after a failure.
    previous: Duration,
}

impl Refresh {
    /// A machine that waits for its first [`trigger`](Self::trigger).
    #[must_use]
    pub const fn new(settings: RefreshSettings, random: fastrand::Rng) -> Self {
        Self {
            settings,
            random,
            due: None,
            in_flight: false,
            begun: None,
            trailing: false,
            doubted_until: None,
            unsettled_until: None,
            pause: Duration::ZERO,
            failures: 0,
            previous: Duration::ZERO,
        }
    }

    /// There is a reason to ask.
    pub fn trigger(&mut self, now: Instant, why: Trigger) {
        if let Trigger::Reconnecting { attempts } = why
            && attempts < self.settings.reconnect_attempts
        {
            return;
        }
        if why.is_doubt() {
            if self.doubted_until.is_none_or(|until| until <= now) {
                self.pause = Duration::ZERO;
            }
            self.doubted_until = now.checked_add(self.settings.settle);
        }
        if why.outlives_a_change() {
            self.pause = Duration::ZERO;
            self.unsettled_until = self.doubted_until;
        }
        if self.in_flight {
            self.trailing = true;
            return;
        }
        if self.failures > 0 && !why.is_hope() {
            return;
        }
        let at = match why {
            Trigger::Start => now,
            Trigger::Redirected
            | Trigger::Revoked
            | Trigger::UnknownNode
            | Trigger::Uncovered
            | Trigger::Reconnecting { .. }
            | Trigger::Silent
            | Trigger::ReadOnly
            | Trigger::WatchRestored
            | Trigger::Event
            | Trigger::Failed => self.soon(now),
        };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When the next refresh is due. Nothing while one is in flight, and before the first reason.
    #[must_use]
    pub const fn next(&self) -> Option<Instant> {
        if self.in_flight { None } else { self.due }
    }

    /// Whether to begin a refresh now. If so, it is in flight until [`done`](Self::done).
    pub fn poll(&mut self, now: Instant) -> bool {
        if self.in_flight || self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.in_flight = true;
        self.begun = Some(now);
        self.due = None;
        self.trailing = false;
        true
    }

    /// The refresh ended. `ok`: a view was gained, be it the old one; `changed`: it differs from the one before.
    pub fn done(&mut self, now: Instant, ok: bool, changed: bool) {
        if !self.in_flight {
            return;
        }
        self.in_flight = false;
        if !ok {
            let pause = self.settings.retry.delay(self.failures, self.previous, &mut self.random);
            self.failures = self.failures.saturating_add(1);
            self.previous = pause;
            self.due = self.earliest(now).checked_add(pause);
            return;
        }
        self.failures = 0;
        self.previous = Duration::ZERO;
        let periodic = self.quiet().and_then(|quiet| now.checked_add(quiet));
        let again = if self.trailing {
            // What was gained is from before the reason, at least in part.
            Some(self.soon(now))
        } else {
            if changed {
                self.doubted_until = None;
            }
            self.repetition(now)
        };
        self.due = match (periodic, again) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Whether a refresh is in flight.
    #[must_use]
    pub const fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// How many refreshes in a row gained no view.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// When to look again after a view was gained, if there is reason to doubt it. While it is only unsettled the pauses
    /// grow without a limit: what follows is noticed after twice the time that it took to come, and few are asked in vain.
    fn repetition(&mut self, now: Instant) -> Option<Instant> {
        self.doubted_until = self.doubted_until.filter(|until| *until > now);
        self.unsettled_until = self.unsettled_until.filter(|until| *until > now);
        let longest = match (self.doubted_until, self.unsettled_until) {
            (Some(_), _) => self.settings.settle_pause,
            (None, Some(_)) => Duration::MAX,
            (None, None) => return None,
        };
        let pause = if self.pause.is_zero() { self.settings.gap } else { self.pause.saturating_mul(2) };
        self.pause = pause.min(longest).max(Duration::from_millis(1));
        let pause = self.jittered(self.pause);
        Some(self.earliest(now).max(now.checked_add(pause)?))
    }

    /// At once, but with the gap, and spread.
    fn soon(&mut self, now: Instant) -> Instant {
        let spread = self.between(Duration::ZERO, self.settings.gap);
        let earliest = self.earliest(now);
        earliest.checked_add(spread).unwrap_or(earliest)
    }

    /// Not before this.
    fn earliest(&self, now: Instant) -> Instant {
        self.begun.and_then(|begun| begun.checked_add(self.settings.gap)).map_or(now, |earliest| earliest.max(now))
    }

    fn quiet(&mut self) -> Option<Duration> {
        (self.settings.every < Duration::MAX).then(|| self.jittered(self.settings.every))
    }

    /// A quarter more or less.
    fn jittered(&mut self, pause: Duration) -> Duration {
        let quarter = pause / 4;
        (pause - quarter).saturating_add(self.between(Duration::ZERO, quarter.saturating_mul(2)))
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_nanos()).unwrap_or(u64::MAX);
        low + Duration::from_nanos(self.random.u64(0..=span))
    }
}
