//! How a command that may wait for ever follows redirects.

use std::time::{Duration, Instant};

use romaine_resp::ServerError;

use crate::retry;

/// Redirects that are followed without a pause.
pub const REDIRECTS_AT_ONCE: u32 = 5;

/// A server that has kept a command for so long has not merely sent it on: what comes after is counted anew.
const STAYED: Duration = Duration::from_secs(1);

/// Where an error reply sends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// To another server.
    Elsewhere,
    /// Nowhere yet: it is to be asked again where the map says by then.
    Later,
}

impl Lead {
    /// Where MOVED sends it. To the very server that said so: our connection leads to another one than its name does, and
    /// so may the next one for a while.
    #[must_use]
    pub const fn moved(to_itself: bool) -> Self {
        if to_itself { Self::Later } else { Self::Elsewhere }
    }
}

/// How soon a blocking command goes where it was sent. It has no number of redirects after which they are its error, as
/// an ordinary call has: it may well be blocked for longer than a slot takes to move. So two servers that send it to
/// each other (the one with ASK, the other with TRYAGAIN, until all keys of the slot have moved) are asked less and less
/// often.
#[derive(Debug, Default)]
pub struct Detours {
    count: u32,
}

impl Detours {
    /// A server that got the command at `since` has sent it away at `now`: how long to wait before it is issued again.
    pub fn next(&mut self, since: Instant, now: Instant, lead: Lead, random: &mut fastrand::Rng) -> Duration {
        if now.saturating_duration_since(since) >= STAYED {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if lead == Lead::Elsewhere && self.count <= REDIRECTS_AT_ONCE {
            return Duration::ZERO;
        }
        retry::pause(self.count - 1, random)
    }

    /// The server that got it last has had it wait there: that was no detour.
    pub const fn waited(&mut self) {
        self.count = 0;
    }
}

/// A server's answers to ASKING and to the command behind it are both errors: whether the first is the one to tell. Where
/// ASKING is refused for good the command is sent back with MOVED, and from there with ASK again, without an end.
#[must_use]
pub fn is_barred(asking: &ServerError, command: &ServerError) -> bool {
    command.code() == "MOVED" && !retry::is_passing(asking)
}

/// For how long a newcomer may be silent: as long as a Cluster waits by default until it declares a node failed.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// A server that ASK named and that no view has: a node without slots is no shard, and its first one is on its way.
#[derive(Debug, Default)]
pub struct Newcomer {
    unwell_since: Option<Instant>,
}

impl Newcomer {
    /// Whether to stay with it although a view leaves it out: as long as somebody waits there. Not only while it is well:
    /// a ghost at a node that stalls is to be fenced, not forsaken. But not for ever: of one that is gone for good no view
    /// will tell, and who waits for its word on a ghost may be served by the old owner.
    pub fn outlives_view(&mut self, now: Instant, waiting: usize, is_well: bool) -> bool {
        if is_well {
            self.unwell_since = None;
            return waiting > 0;
        }
        let unwell_since = *self.unwell_since.get_or_insert(now);
        waiting > 0 && now < unwell_since + SILENT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_at_once_and_a_refusal_after_a_pause() {
        let (mut detours, mut random, now) = (Detours::default(), fastrand::Rng::with_seed(5), Instant::now());
        assert_eq!(detours.next(now, now, Lead::Elsewhere, &mut random), Duration::ZERO);
        assert!(detours.next(now, now, Lead::Later, &mut random) >= Duration::from_millis(10));
    }

    #[test]
    fn servers_that_send_it_to_each_other_are_asked_less_and_less_often() {
        let (mut detours, mut random, now) = (Detours::default(), fastrand::Rng::with_seed(5), Instant::now());
        for _ in 0..REDIRECTS_AT_ONCE {
            assert_eq!(detours.next(now, now, Lead::Elsewhere, &mut random), Duration::ZERO);
        }
        for _ in 0..100 {
            let delay = detours.next(now, now, Lead::Elsewhere, &mut random);
            assert!(delay >= Duration::from_millis(160) && delay <= Duration::from_millis(500), "{delay:?}");
        }
    }

    #[test]
    fn a_server_without_slots_stays_for_those_who_wait_at_it() {
        let (mut newcomer, now) = (Newcomer::default(), Instant::now());
        assert!(newcomer.outlives_view(now, 1, true));
        assert!(newcomer.outlives_view(now, 1, false));
        assert!(!newcomer.outlives_view(now, 0, true) && !newcomer.outlives_view(now, 0, false));
    }

    #[test]
    fn a_server_without_slots_that_stalls_stays_and_one_that_is_gone_does_not() {
        let (mut newcomer, start) = (Newcomer::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(newcomer.outlives_view(at(0), 1, false));
        assert!(newcomer.outlives_view(at(14), 1, false));
        assert!(newcomer.outlives_view(at(16), 1, true), "it was back in between");
        assert!(newcomer.outlives_view(at(20), 1, false));
        assert!(newcomer.outlives_view(at(34), 1, false));
        assert!(!newcomer.outlives_view(at(35), 1, false));
    }

    #[test]
    fn who_is_sent_to_where_it_is_makes_no_connection_without_a_pause() {
        let (mut detours, mut random, now) = (Detours::default(), fastrand::Rng::with_seed(5), Instant::now());
        assert_eq!(detours.next(now, now, Lead::moved(false), &mut random), Duration::ZERO);
        assert!(detours.next(now, now, Lead::moved(true), &mut random) >= Duration::from_millis(10));
    }

    #[test]
    fn who_is_told_to_have_waited_begins_anew() {
        let (mut detours, mut random, now) = (Detours::default(), fastrand::Rng::with_seed(5), Instant::now());
        for _ in 0..100 {
            assert_eq!(detours.next(now, now, Lead::Elsewhere, &mut random), Duration::ZERO);
            detours.waited();
        }
    }

    #[test]
    fn who_may_not_say_asking_is_told_so_and_who_is_served_all_the_same_is_served() {
        let (moved, other) = (ServerError::new(b"MOVED 1 127.0.0.1:1"), ServerError::new(b"WRONGTYPE"));
        let refused = ServerError::new(b"NOPERM no permissions to run the 'asking' command");
        assert!(is_barred(&refused, &moved));
        assert!(!is_barred(&refused, &other));
        assert!(!is_barred(&ServerError::new(b"LOADING"), &moved));
    }

    #[test]
    fn where_it_has_waited_it_was_no_detour() {
        let (mut detours, mut random, since) = (Detours::default(), fastrand::Rng::with_seed(5), Instant::now());
        for _ in 0..100 {
            assert_eq!(detours.next(since, since + STAYED, Lead::Elsewhere, &mut random), Duration::ZERO);
        }
    }
}
