//! How long an attempt to connect may take.

use std::time::Duration;

/// No attempt gets less: the kernel repeats a lost SYN after one second.
const LEAST: Duration = Duration::from_secs(1);

/// An attempt gets this many times what connections usually take to come about.
const MARGIN: u32 = 20;

/// After so many short attempts in a row one gets the whole time: the server, or the path, may have become slow.
const SHORT_IN_A_ROW: u64 = 15;

/// Remembers how long connections to one server take to come about, and says how long the next attempt may take.
///
/// An attempt that meets a silent peer ends by its limit only, and a peer that is back meanwhile answers the next one. So
/// where connections come about in milliseconds none is waited for as long as a user with a slow path would want.
#[derive(Debug, Clone, Default)]
pub struct Openings {
    usual: Option<Duration>,
    failures: u64,
}

impl Openings {
    /// How long the next attempt may take, at most `most`; all of it as long as nothing is known.
    #[must_use]
    pub fn limit(&self, most: Duration) -> Duration {
        let Some(usual) = self.usual else { return most };
        if self.failures % (SHORT_IN_A_ROW + 1) == SHORT_IN_A_ROW {
            return most;
        }
        usual.saturating_mul(MARGIN).max(LEAST).min(most)
    }

    /// A connection became usable, so long after its attempt had begun.
    pub fn opened(&mut self, took: Duration) {
        self.failures = 0;
        self.usual = Some(match self.usual {
            // Slower is believed at once.
            Some(usual) if usual > took => (usual * 3 + took) / 4,
            _ => took,
        });
    }

    /// An attempt came to nothing.
    pub const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(5);

    #[test]
    fn while_nothing_is_known_an_attempt_has_the_whole_time() {
        let mut openings = Openings::default();
        for _ in 0..40 {
            assert_eq!(openings.limit(MOST), MOST);
            openings.failed();
        }
    }

    #[test]
    fn where_connections_come_about_at_once_no_attempt_is_waited_for_long() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        assert_eq!(openings.limit(MOST), LEAST);
        assert_eq!(openings.limit(Duration::from_millis(300)), Duration::from_millis(300), "never more than is given");
    }

    #[test]
    fn a_slow_path_has_its_time() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        openings.opened(Duration::from_millis(120));
        assert_eq!(openings.limit(MOST), Duration::from_millis(2_400));
        openings.opened(Duration::from_secs(3));
        assert_eq!(openings.limit(MOST), MOST);
        (0..40).for_each(|_| openings.opened(Duration::from_millis(2)));
        assert_eq!(openings.limit(MOST), LEAST, "and may become fast again");
    }

    #[test]
    fn a_server_that_became_slow_is_met_in_the_end() {
        let mut openings = Openings::default();
        openings.opened(Duration::from_millis(2));
        let limits: Vec<_> = (0..32)
            .map(|_| {
                let limit = openings.limit(MOST);
                openings.failed();
                limit
            })
            .collect();
        assert_eq!(limits.iter().filter(|limit| **limit == MOST).count(), 2);
        openings.opened(Duration::from_millis(2));
        assert_eq!(openings.limit(MOST), LEAST);
    }
}
