//! Whose answers are waited for when several nodes are asked the same.

use std::time::{Duration, Instant};

/// How long the last of those that were asked is waited for when the others have answered.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// Counts the answers to one question. One node may be stale, or on the wrong side of a partition; of two that differ the
/// newest epoch counts; and one that hangs must not hold up the others: it may be the very one that was replaced.
#[derive(Debug, Default)]
pub struct Opinions {
    answers: usize,
    until: Option<Instant>,
}

impl Opinions {
    /// How many are asked at the same time. Who answers with a failure has another asked in its place.
    pub const WANTED: usize = 3;

    /// One more has answered.
    pub fn answered(&mut self, now: Instant) {
        self.answers += 1;
        if self.answers + 1 >= Self::WANTED {
            self.until.get_or_insert(now + STRAGGLERS);
        }
    }

    /// Until when the rest is waited for; `None`: as long as it takes.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_three_is_not_waited_for_longer_than_a_moment() {
        let (mut opinions, now) = (Opinions::default(), Instant::now());
        assert_eq!(opinions.until(), None);
        opinions.answered(now);
        assert_eq!(opinions.until(), None, "one alone may be wrong");
        opinions.answered(now + STRAGGLERS);
        assert_eq!(opinions.until(), Some(now + STRAGGLERS * 2));
        opinions.answered(now + STRAGGLERS * 2);
        assert_eq!(opinions.until(), Some(now + STRAGGLERS * 2), "whoever comes late changes nothing");
    }
}
