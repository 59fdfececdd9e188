//! How long an attempt to connect may take, and which addresses it tries when.

use std::time::{Duration, Instant};

/// No attempt gets less: the kernel repeats a lost SYN after one second.
const LEAST: Duration = Duration::from_secs(1);

/// How long an address is given before the next one is tried beside it (RFC 8305 section 5), and the least before it is
/// tried a second time.
const STAGGER: Duration = Duration::from_millis(250);

/// The longest that an attempt may take: no server is waited for as long.
const LONG: Duration = Duration::from_secs(24 * 3_600);

/// An attempt gets this many times what connections usually take to come about.
const MARGIN: u32 = 20;

/// After so many short attempts in a row one gets the whole time: the server, or the path, may have become slow.
const SHORT_IN_A_ROW: u64 = 15;

/// Nothing is hurried within so much of the time before: callers who come and go must not keep a server that has become
/// slow from ever being met.
const BETWEEN_HURRIES: Duration = Duration::from_secs(5);

/// Remembers how long connections to one server take to come about, and says how long the next attempt may take.
///
/// An attempt that meets a silent peer ends by its limit only, and a peer that is back meanwhile answers the next one. So
/// where connections come about in milliseconds none is waited for as long as a user with a slow path would want.
#[derive(Debug, Clone, Default)]
pub struct Openings {
    usual: Option<Duration>,
    /// Attempts that came to nothing since the last that had the whole time.
    short: u64,
    /// When an attempt was last cut off for a call.
    hurried: Option<Instant>,
}

/// One attempt to connect, from the dial to the end of the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    has_whole_time: bool,
}

impl Openings {
    /// An attempt begins. Of several at the same time one has the whole time when it is due.
    pub const fn begin(&mut self) -> Attempt {
        let has_whole_time = self.short >= SHORT_IN_A_ROW;
        if has_whole_time {
            self.short = 0;
        }
        Attempt { has_whole_time }
    }

    /// How long each step of an attempt may take, at most `most`; all of it as long as nothing is known.
    #[must_use]
    pub fn limit(&self, attempt: Attempt, most: Duration) -> Duration {
        match self.usual {
            Some(usual) if !attempt.has_whole_time => usual.saturating_mul(MARGIN).max(LEAST).min(most),
            _ => most,
        }
    }

    /// How long it may take once a call waits for it that found none waiting; `None`: as long as it may without. An idle
    /// client's attempt had nobody who missed it.
    #[must_use]
    pub fn hurried_limit(&self, attempt: Attempt, now: Instant) -> Option<Duration> {
        let is_soon = self.hurried.is_some_and(|before| now.saturating_duration_since(before) < BETWEEN_HURRIES);
        self.again_after().filter(|_| !is_soon && !attempt.has_whole_time)
    }

    /// An attempt was cut off for a call.
    pub const fn hurried(&mut self, now: Instant) {
        self.hurried = Some(now);
    }

    /// After how long without an answer an address is dialled a second time, beside the first: by then a SYN was lost, and
    /// the kernel repeats it after a second only, when a server that is back has long been able to answer. `None` as long
    /// as nothing is known.
    #[must_use]
    pub fn again_after(&self) -> Option<Duration> {
        self.usual.map(|usual| usual.saturating_mul(MARGIN).max(STAGGER))
    }

    /// Whether what was sent at `began`, and is not answered by `now`, is to be sent anew when another connection shows
    /// that the server is back. Never as long as nothing is known.
    #[must_use]
    pub fn is_lost(&self, began: Instant, now: Instant) -> bool {
        self.again_after().is_some_and(|after| now.saturating_duration_since(began) >= after)
    }

    /// A connection became usable, so long after its attempt had begun.
    pub fn opened(&mut self, took: Duration) {
        self.short = 0;
        self.usual = Some(match self.usual {
            // Slower is believed at once.
            Some(usual) if usual > took => (usual * 3 + took) / 4,
            _ => took,
        });
    }

    /// An attempt came to nothing.
    pub const fn failed(&mut self) {
        self.short = self.short.saturating_add(1);
    }
}

/// One attempt to connect: which of a name's addresses are dialled when. Those that do not answer delay the others little,
/// and a lost SYN is no lost second.
#[derive(Debug)]
pub struct Dialling {
    addresses: usize,
    /// Dials begun. Those after the first round are second ones.
    begun: usize,
    failed: usize,
    /// When the next one begins.
    next: Option<Instant>,
    again_after: Option<Duration>,
    end: Instant,
}

impl Dialling {
    /// An attempt that begins `now`. Each address has `limit` to answer, the last of them, too.
    #[must_use]
    pub fn new(now: Instant, addresses: usize, limit: Duration, again_after: Option<Duration>) -> Self {
        let others = u32::try_from(addresses.saturating_sub(1)).unwrap_or(u32::MAX);
        // A limit that no clock can tell is none.
        let limit = limit.min(LONG);
        let end = now + limit + STAGGER.saturating_mul(others);
        Self { addresses, begun: 0, failed: 0, next: (addresses > 0).then_some(now), again_after, end }
    }

    /// The place of an address to dial now, if there is one.
    pub fn poll(&mut self, now: Instant) -> Option<usize> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let place = self.begun % self.addresses;
        self.begun += 1;
        let pause = match self.begun {
            // The end of the first round.
            begun if begun == self.addresses => self.again_after,
            begun if begun < self.addresses * 2 => Some(STAGGER),
            _ => None,
        };
        self.next = pause.map(|pause| now + pause);
        Some(place)
    }

    /// When to call [`poll`](Self::poll) again, at the latest; at [`end`](Self::end) all is over.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        self.next.map_or(self.end, |next| next.min(self.end))
    }

    /// When what has not answered is given up.
    #[must_use]
    pub const fn end(&self) -> Instant {
        self.end
    }

    /// A dial was refused: the next address is tried at once, and after them none a second time. Whether any may still
    /// answer.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failed += 1;
        self.again_after = None;
        self.next = (self.begun < self.addresses).then_some(now);
        self.next.is_some() || self.failed < self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When which address is dialled while nobody answers.
    fn dials(addresses: usize, again_after: Option<Duration>) -> Vec<(usize, u128)> {
        let start = Instant::now();
        let mut dialling = Dialling::new(start, addresses, SECOND, again_after);
        let (mut now, mut dials) = (start, Vec::new());
        while now < dialling.end() {
            assert_eq!(dialling.poll(now - Duration::from_nanos(1)), None, "none begins early");
            dials.extend(dialling.poll(now).map(|place| (place, (now - start).as_millis())));
            now = dialling.next_timeout();
        }
        dials
    }

    #[test]
    fn addresses_that_do_not_answer_delay_the_others_little() {
        assert_eq!(dials(0, None), []);
        assert_eq!(dials(1, None), [(0, 0)], "nothing is known of the path: no second SYN");
        assert_eq!(dials(3, None), [(0, 0), (1, 250), (2, 500)]);
    }

    #[test]
    fn where_a_connection_takes_no_time_a_lost_syn_is_repeated_once_and_soon() {
        let mut openings = Openings::default();
        assert_eq!(openings.again_after(), None);
        openings.opened(Duration::from_millis(2));
        assert_eq!(openings.again_after(), Some(STAGGER));
        let now = Instant::now();
        assert_eq!(
            [STAGGER, STAGGER - Duration::from_nanos(1)].map(|ago| openings.is_lost(now, now + ago)),
            [true, false]
        );
        assert_eq!(dials(1, openings.again_after()), [(0, 0), (0, 250)]);
        assert_eq!(dials(2, openings.again_after()), [(0, 0), (1, 250), (0, 500), (1, 750)]);
        openings.opened(Duration::from_millis(100));
        assert_eq!(
            dials(1, openings.again_after()),
            [(0, 0)],
            "a path this slow has not lost anything within its limit"
        );
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let now = Instant::now();
        let mut dialling = Dialling::new(now, 2, SECOND, Some(STAGGER));
        assert_eq!(dialling.poll(now), Some(0));
        assert!(dialling.failed(now), "the other is left");
        assert_eq!((dialling.poll(now), dialling.poll(now)), (Some(1), None), "at once");
        assert!(!dialling.failed(now), "nobody is asked again");
    }

    #[test]
    fn one_that_is_silent_is_waited_for_when_another_has_refused() {
        let now = Instant::now();
        let mut dialling = Dialling::new(now, 2, SECOND, None);
        assert_eq!((dialling.poll(now), dialling.poll(now + STAGGER)), (Some(0), Some(1)));
        assert!(dialling.failed(now + STAGGER));
        assert_eq!(dialling.next_timeout(), now + SECOND + STAGGER);
    }

    const MOST: Duration = Duration::from_secs(5);

    /// How long the next attempt may take.
    fn next(openings: &mut Openings, most: Duration) -> Duration {
        let attempt = openings.begin();
        openings.limit(attempt, most)
    }

    #[test]
    fn while_nothing_is_known_an_attempt_has_the_whole_time() {
        let mut openings = Openings::default();
        for _ in 0..40 {
            assert_eq!(next(&mut openings, MOST), MOST);
            openings.failed();
        }
    }

    #[test]
    fn where_connections_come_about_at_once_no_attempt_is_waited_for_long() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        assert_eq!(next(&mut openings, MOST), LEAST);
        assert_eq!(
            next(&mut openings, Duration::from_millis(300)),
            Duration::from_millis(300),
            "never more than is given"
        );
    }

    #[test]
    fn a_slow_path_has_its_time() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        openings.opened(Duration::from_millis(120));
        assert_eq!(next(&mut openings, MOST), Duration::from_millis(2_400));
        openings.opened(Duration::from_secs(3));
        assert_eq!(next(&mut openings, MOST), MOST);
        (0..40).for_each(|_| openings.opened(Duration::from_millis(2)));
        assert_eq!(next(&mut openings, MOST), LEAST, "and may become fast again");
    }

    #[test]
    fn callers_who_come_and_go_do_not_keep_a_slow_server_from_being_met() {
        let (mut openings, start) = (Openings::default(), Instant::now());
        let attempt = openings.begin();
        assert_eq!(openings.hurried_limit(attempt, start), None, "nothing is known");
        openings.opened(Duration::from_millis(2));
        assert_eq!(openings.hurried_limit(attempt, start), Some(STAGGER));
        openings.hurried(start);
        assert_eq!(openings.hurried_limit(attempt, start + BETWEEN_HURRIES - Duration::from_nanos(1)), None);
        assert_eq!(openings.hurried_limit(attempt, start + BETWEEN_HURRIES), Some(STAGGER));
        (0..SHORT_IN_A_ROW).for_each(|_| openings.failed());
        let attempt = openings.begin();
        assert_eq!(openings.hurried_limit(attempt, start + BETWEEN_HURRIES), None, "this one has the whole time");
    }

    // Fault lab, F05 with defaults: two connections to a silent server both waited for the whole time.
    #[test]
    fn of_several_connections_one_has_the_whole_time() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        (0..SHORT_IN_A_ROW).for_each(|_| openings.failed());
        assert_eq!([next(&mut openings, MOST), next(&mut openings, MOST)], [MOST, LEAST]);
    }

    #[test]
    fn a_server_that_became_slow_is_met_in_the_end() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        let limits: Vec<_> = (0..32)
            .map(|_| {
                let limit = next(&mut openings, MOST);
                openings.failed();
                limit
            })
            .collect();
        assert_eq!(limits.iter().filter(|limit| **limit == MOST).count(), 2);
        openings.opened(Duration::from_millis(2));
        assert_eq!(next(&mut openings, MOST), LEAST);
    }
}
