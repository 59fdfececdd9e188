//! When is a connection suspect, when is it dead?
//!
//! Three layers, none redundant (measured: `TCP_USER_TIMEOUT` alone never fires on an idle subscriber; keepalive alone
//! never fires while a written PING is unacknowledged; neither sees a frozen process, whose kernel goes on
//! acknowledging):
//!
//! 1. kernel keepalive, for idle peers;
//! 2. `TCP_USER_TIMEOUT`, for unacknowledged data;
//! 3. this watchdog, on *received bytes*: the only one that sees a frozen process or a proxy whose upstream died.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Kernel keepalive of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes until the kernel gives up (`TCP_KEEPCNT`).
    pub count: u32,
}

/// How soon a dead peer is noticed, and what that costs.
///
/// Any received byte is proof of life, so a busy connection is never probed. With [`Liveness::default`] every kind of
/// connection (idle, busy, subscribed, blocked) whose peer is gone is declared dead within 10 s, with
/// [`Liveness::fast`] within 2 s, with [`Liveness::frugal`] within 60 s.
///
/// The price of a short deadline is patience with a server that is alive but stalled. Writes that a server holds back
/// (`CLIENT PAUSE … WRITE`, a manual failover) are waited for where it may be asked whose they are (`CLIENT LIST`);
/// elsewhere the default survives 8 s of that, and `fast()` 1.4 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// Kernel keepalive, applied anew to every socket. Default 5 s, 2 s, 2 probes.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long written data may stay unacknowledged. Default 9 s. Linux only; elsewhere ignored.
    pub user_timeout: Option<Duration>,
    /// Silence of an idle or subscribed connection after which a PING is sent. `None`: never. Default 1 s.
    pub heartbeat: Option<Duration>,
    /// Silence with something unanswered after which the connection is *suspect*: an event, a second opinion is asked
    /// for, nothing is closed. Default 2 s.
    pub suspect_after: Duration,
    /// Silence with something unanswered after which the connection is *dead*: closed, and dialled again. `None`:
    /// never. Default 8.5 s.
    pub dead_after: Option<Duration>,
    /// How long a blocked connection (`BRPOP key 0`) may be silent before it is probed. `None`: never. Default 5 s.
    pub probe_after: Option<Duration>,
    /// How long the echo of a probe may take to arrive on the blocked connection once the server has answered the
    /// probe itself. Default 3.5 s.
    pub probe_grace: Duration,
    /// The longest single wait asked of the server where probing is not permitted. Default 5 s.
    pub slice: Duration,
    /// How much longer than its slice or time-out the server may take before a blocked connection is dead.
    /// Default 4 s.
    pub slice_grace: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            keepalive: Some(Keepalive { idle: Duration::from_secs(5), interval: Duration::from_secs(2), count: 2 }),
            user_timeout: Some(Duration::from_secs(9)),
            heartbeat: Some(Duration::from_secs(1)),
            suspect_after: Duration::from_secs(2),
            dead_after: Some(Duration::from_millis(8_500)),
            probe_after: Some(Duration::from_secs(5)),
            probe_grace: Duration::from_millis(3_500),
            slice: Duration::from_secs(5),
            slice_grace: Duration::from_secs(4),
        }
    }
}

impl Liveness {
    /// Dead peers are noticed within 2 s. For links without pauses: a server that stalls for longer than 1.4 s, other
    /// than by holding writes back, is dialled again.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            keepalive: Some(Keepalive { idle: Duration::from_secs(1), interval: Duration::from_secs(1), count: 1 }),
            user_timeout: Some(Duration::from_millis(1_800)),
            // 300 ms and 1.4 s and a tick: a quarter of a second of the 2 s is left for a loaded machine to be late.
            heartbeat: Some(Duration::from_millis(300)),
            suspect_after: Duration::from_millis(500),
            dead_after: Some(Duration::from_millis(1_400)),
            probe_after: Some(Duration::from_millis(900)),
            probe_grace: Duration::from_millis(800),
            slice: Duration::from_millis(1_000),
            slice_grace: Duration::from_millis(800),
        }
    }

    /// Dead peers are noticed within 60 s, for fleets of 100,000 mostly idle connections: three PINGs a minute each.
    #[must_use]
    pub fn frugal() -> Self {
        Self {
            keepalive: Some(Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(10), count: 2 }),
            user_timeout: Some(Duration::from_secs(50)),
            heartbeat: Some(Duration::from_secs(20)),
            suspect_after: Duration::from_secs(10),
            dead_after: Some(Duration::from_secs(35)),
            probe_after: Some(Duration::from_secs(30)),
            probe_grace: Duration::from_secs(20),
            slice: Duration::from_secs(30),
            slice_grace: Duration::from_secs(20),
        }
    }

    /// Nothing is watched: the operating system's two hours. For tests and for those who know better.
    #[must_use]
    pub fn off() -> Self {
        Self {
            keepalive: None,
            user_timeout: None,
            heartbeat: None,
            suspect_after: Duration::from_secs(3_600),
            dead_after: None,
            probe_after: None,
            probe_grace: Duration::from_secs(3_600),
            slice: Duration::from_secs(3_600),
            slice_grace: Duration::from_secs(3_600),
        }
    }

    /// That of the connection that probes the blocked ones. Where nobody probes, it is only there for the ghosts of lost
    /// connections: a PING goes before each of its questions anyway, so that its silence in between is nobody's loss, and
    /// an idle fleet is spared the heartbeats.
    #[must_use]
    pub fn for_control(&self) -> Self {
        let heartbeat = self.heartbeat.filter(|_| self.probe_after.is_some());
        Self { heartbeat, ..self.clone() }
    }

    /// How long to wait before a server is asked again about a connection that is suspect. Shorter than what makes one
    /// suspect: who was excused is excused again before that.
    #[must_use]
    pub fn second_opinion_every(&self) -> Duration {
        (self.suspect_after / 2).min(Duration::from_secs(1))
    }

    /// How often a waiting connection looks at the clock, so that a pause of our own process is told apart from the
    /// peer's silence: a tenth of the verdict, half a second at most.
    fn tick(&self) -> Duration {
        let verdict = self.dead_after.unwrap_or(self.suspect_after).min(self.suspect_after * 4);
        (verdict / 10).clamp(Duration::from_millis(20), Duration::from_millis(500))
    }
}

/// What the watchdog wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send a PING.
    Ping,
    /// Tell the world, ask for a second opinion.
    Suspect {
        /// How long nothing was received.
        silent_for: Duration,
    },
    /// Close the connection.
    Dead {
        /// How long nothing was received.
        silent_for: Duration,
    },
    /// Our own process was paused or overloaded for so long; the peer gets that time back.
    Stalled {
        /// How late the tick was.
        late_by: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is unanswered.
    Idle { since: Instant },
    /// Something is unanswered, and nothing was received since. `asked`: the second opinion on this silence was asked for.
    Waiting { since: Instant, suspected: bool, asked: bool },
    /// A blocking command holds the connection: its own machine ([`Wait`](crate::Wait)) watches.
    Blocked,
}

/// Watches one connection. Fed by [`Connection`](crate::Connection).
///
/// Silence counts from the moment something unanswered was handed to the transport, or from the last received byte,
/// whichever is later; never from the last *write*, or steady writers would keep a dead connection alive for ever.
#[derive(Debug)]
pub struct Watchdog {
    settings: Arc<Liveness>,
    state: State,
    tick_at: Option<Instant>,
}

impl Watchdog {
    /// Starts watching an idle connection at `now`.
    #[must_use]
    pub fn new(settings: impl Into<Arc<Liveness>>, now: Instant) -> Self {
        let settings = settings.into();
        let mut watchdog = Self { settings, state: State::Idle { since: now }, tick_at: None };
        watchdog.rearm(now);
        watchdog
    }

    /// The settings it follows.
    #[must_use]
    pub fn settings(&self) -> &Liveness {
        &self.settings
    }

    /// Bytes arrived. Returns true when they ended a suspicion.
    pub fn received(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Idle { since } => {
                *since = now;
                false
            }
            State::Waiting { since, suspected, asked } => {
                *since = now;
                *asked = false;
                std::mem::take(suspected)
            }
            State::Blocked => false,
        }
    }

    /// What is unanswered has changed: `Some(blocking)` when something handed to the transport waits for its reply.
    pub fn unanswered(&mut self, now: Instant, waiting: Option<bool>) {
        match (waiting, self.state) {
            (None, State::Idle { .. }) | (Some(false), State::Waiting { .. }) | (Some(true), State::Blocked) => {}
            (None, _) => {
                self.state = State::Idle { since: now };
                self.rearm(now);
            }
            (Some(false), _) => {
                self.state = State::Waiting { since: now, suspected: false, asked: false };
                self.rearm(now);
            }
            (Some(true), _) => {
                self.state = State::Blocked;
                self.tick_at = None;
            }
        }
    }

    /// A second opinion says that the server is alive and busy (`-BUSY`, `-LOADING` on another connection), or holds the
    /// request back: the silence so far is forgiven. It stays suspect until bytes arrive; another silence asks for another
    /// opinion, or a script of a minute would be taken for death.
    pub fn excuse(&mut self, now: Instant) {
        if let State::Waiting { since, asked, .. } = &mut self.state {
            *since = now;
            *asked = false;
        }
    }

    /// Whether the connection is suspect now.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        matches!(self.state, State::Waiting { suspected: true, .. })
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.tick_at
    }

    /// Time has passed. Early calls do nothing.
    pub fn timeout(&mut self, now: Instant) -> Option<Verdict> {
        let due = self.tick_at?;
        if now < due {
            return None;
        }
        let late_by = now - due;
        let tick = self.settings.tick();
        let verdict = match &mut self.state {
            State::Blocked => None,
            State::Idle { since } => {
                let silent_for = now - *since;
                match self.settings.heartbeat {
                    Some(heartbeat) if silent_for >= heartbeat => Some(Verdict::Ping),
                    _ => None,
                }
            }
            State::Waiting { since, suspected, asked } => {
                if late_by > tick / 2 {
                    // We were not looking: the peer may have answered long ago and the bytes lie unread.
                    *since = (*since + late_by + tick).min(now);
                    self.tick_at = Some(now + tick);
                    return Some(Verdict::Stalled { late_by });
                }
                let silent_for = now - *since;
                if self.settings.dead_after.is_some_and(|limit| silent_for >= limit) {
                    Some(Verdict::Dead { silent_for })
                } else if silent_for >= self.settings.suspect_after && !*asked {
                    *suspected = true;
                    *asked = true;
                    Some(Verdict::Suspect { silent_for })
                } else {
                    None
                }
            }
        };
        self.rearm(now);
        verdict
    }

    fn rearm(&mut self, now: Instant) {
        self.tick_at = match self.state {
            State::Idle { since } => self.settings.heartbeat.map(|heartbeat| (since + heartbeat).max(now)),
            State::Waiting { since, asked, .. } => {
                let tick = now + self.settings.tick();
                let mut next = tick;
                if !asked {
                    next = next.min(since + self.settings.suspect_after);
                }
                if let Some(limit) = self.settings.dead_after {
                    next = next.min(since + limit);
                }
                Some(next.max(now + Duration::from_millis(1)))
            }
            State::Blocked => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    // Fault lab, F16: who is held back for a minute was suspected twice a second.
    #[test]
    fn who_is_excused_as_often_as_the_server_is_asked_is_suspected_once() {
        for settings in [Liveness::default(), Liveness::fast(), Liveness::frugal()] {
            let start = Instant::now();
            let every = settings.second_opinion_every();
            let suspect_at = start + settings.suspect_after;
            let mut watchdog = Watchdog::new(settings, start);
            watchdog.unanswered(start, Some(false));
            assert!(matches!(run(&mut watchdog, suspect_at)[..], [(_, Verdict::Suspect { .. })]));
            for round in 0..120 {
                let asked = suspect_at + every * round;
                assert_eq!(run(&mut watchdog, asked), [], "round {round}");
                watchdog.excuse(asked);
            }
            assert!(watchdog.is_suspect(), "until it answers");
        }
    }

    /// Runs the watchdog to `until`, calling it exactly when it asks.
    fn run(watchdog: &mut Watchdog, until: Instant) -> Vec<(Instant, Verdict)> {
        let mut verdicts = Vec::new();
        while let Some(at) = watchdog.next_timeout().filter(|at| *at <= until) {
            if let Some(verdict) = watchdog.timeout(at) {
                verdicts.push((at, verdict));
                if verdict == Verdict::Ping {
                    watchdog.unanswered(at, Some(false));
                }
                if matches!(verdict, Verdict::Dead { .. }) {
                    break;
                }
            }
        }
        verdicts
    }

    #[test]
    fn the_control_connection_is_watched_like_any_other_where_it_probes_and_else_only_while_something_is_asked() {
        for settings in [Liveness::default(), Liveness::fast(), Liveness::frugal()] {
            assert_eq!(settings.for_control(), settings);
            let start = Instant::now();
            let silent = Liveness { probe_after: None, ..settings.clone() }.for_control();
            let mut watchdog = Watchdog::new(Arc::new(silent), start);
            let promise = settings.dead_after.unwrap() * 2;
            assert_eq!(run(&mut watchdog, start + promise), [], "nobody asks for anything");
            watchdog.unanswered(start + promise, Some(false));
            let verdicts = run(&mut watchdog, start + promise * 2);
            assert!(matches!(verdicts.last(), Some((_, Verdict::Dead { .. }))), "{verdicts:?}");
        }
    }

    #[test]
    fn an_idle_peer_that_is_gone_is_dead_within_the_promise() {
        for (settings, promise) in
            [(Liveness::default(), 10_000), (Liveness::fast(), 2_000), (Liveness::frugal(), 60_000)]
        {
            let start = Instant::now();
            let mut watchdog = Watchdog::new(settings, start);
            let verdicts = run(&mut watchdog, start + ms(120_000));
            assert_eq!(verdicts[0].1, Verdict::Ping);
            assert!(matches!(verdicts[1].1, Verdict::Suspect { .. }), "{verdicts:?}");
            let (dead_at, Verdict::Dead { .. }) = verdicts[2] else { panic!("{verdicts:?}") };
            assert!(dead_at - start <= ms(promise), "{:?}", dead_at - start);
        }
    }

    #[test]
    fn a_busy_peer_that_is_gone_is_dead_even_under_steady_writes() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::default(), start);
        let mut now = start;
        let mut dead = None;
        while dead.is_none() && now < start + ms(20_000) {
            watchdog.unanswered(now, Some(false));
            if let Some(Verdict::Dead { .. }) = watchdog.timeout(now) {
                dead = Some(now - start);
            }
            now += ms(10);
        }
        assert!(dead.is_some_and(|after| after <= ms(8_600)), "{dead:?}");
    }

    #[test]
    fn a_reply_that_trickles_in_is_life() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::default(), start);
        watchdog.unanswered(start, Some(false));
        let mut now = start;
        for _ in 0..60 {
            now += ms(1_000);
            let verdicts = run(&mut watchdog, now);
            assert_eq!(verdicts, [], "no verdict while bytes arrive");
            watchdog.received(now);
        }
    }

    #[test]
    fn a_pause_of_writes_of_eight_seconds_is_survived() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::default(), start);
        watchdog.unanswered(start, Some(false));
        let verdicts = run(&mut watchdog, start + ms(8_000));
        assert!(matches!(verdicts[..], [(_, Verdict::Suspect { .. })]), "{verdicts:?}");
        assert!(watchdog.received(start + ms(8_010)), "the suspicion ends");
    }

    #[test]
    fn a_late_tick_is_our_own_stall_and_never_the_peers_silence() {
        let start = Instant::now();
        for stall in [ms(1_000), ms(8_000), ms(30_000), ms(3_600_000)] {
            let mut watchdog = Watchdog::new(Liveness::default(), start);
            watchdog.unanswered(start, Some(false));
            let resumed = start + stall;
            assert!(matches!(watchdog.timeout(resumed), Some(Verdict::Stalled { .. })), "{stall:?}");
            // From here on the peer has nearly its whole time again.
            let verdicts = run(&mut watchdog, resumed + ms(7_900));
            assert!(!verdicts.iter().any(|(_, v)| matches!(v, Verdict::Dead { .. })), "{stall:?} {verdicts:?}");
            let verdicts = run(&mut watchdog, resumed + ms(9_000));
            assert!(verdicts.iter().any(|(_, v)| matches!(v, Verdict::Dead { .. })), "a dead peer is still found");
        }
    }

    #[test]
    fn a_server_known_to_be_busy_is_excused() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::default(), start);
        watchdog.unanswered(start, Some(false));
        for second in 1..30 {
            let now = start + ms(second * 1_000);
            assert!(!run(&mut watchdog, now).iter().any(|(_, v)| matches!(v, Verdict::Dead { .. })));
            watchdog.excuse(now);
        }
    }

    #[test]
    fn a_blocked_connection_is_left_to_its_own_machine() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::default(), start);
        watchdog.unanswered(start, Some(true));
        assert_eq!(watchdog.next_timeout(), None);
        watchdog.unanswered(start + ms(60_000), None);
        assert!(watchdog.next_timeout().is_some(), "the heartbeat returns with the idle connection");
    }

    #[test]
    fn off_never_says_anything() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Liveness::off(), start);
        watchdog.unanswered(start, Some(false));
        assert_eq!(run(&mut watchdog, start + ms(3_000_000)), []);
    }
}
