//! When enough of those that were asked have answered.

use std::time::{Duration, Instant};

use romaine_commands::Spec;
use romaine_resp::{Reader, ServerError, Token};

/// How long the others are waited for once the outcome is known: long enough for each that can be reached to be handed
/// the request. Who withdraws it sooner would have SCRIPT KILL end one of two busy scripts.
const STRAGGLERS: Duration = Duration::from_millis(200);

/// Which answers of several nodes are waited for.
#[derive(Debug)]
pub struct Gathering {
    one_is_enough: bool,
    until: Option<Instant>,
}

impl Gathering {
    /// For a request of this command.
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        // SCRIPT KILL, FUNCTION KILL: most nodes have nothing to kill, and one that cannot be reached does not undo what
        // another did.
        Self { one_is_enough: spec.response_policy == "one_succeeded", until: None }
    }

    /// Whether the others' failures are no failure of the whole once one has succeeded.
    #[must_use]
    pub const fn is_one_enough(&self) -> bool {
        self.one_is_enough
    }

    /// A node has answered with this frame.
    pub fn answered(&mut self, now: Instant, frame: &[u8]) {
        let is_success = !matches!(Reader::new(frame).peek(), Ok(Token::Error(_)));
        if self.one_is_enough && is_success {
            self.until.get_or_insert(now + STRAGGLERS);
        }
    }

    /// Whether the outcome is known, whatever becomes of the rest.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        self.until.is_some()
    }

    /// Until when the rest is waited for; `None`: until each has answered or failed.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// What a node's failure says where one success would have been enough. The greatest is the one to tell: nobody can say
/// that nothing runs at a node that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortfall {
    /// There was nothing to do.
    Idle,
    /// It did not answer.
    Silent,
    /// It could not do it.
    Refused,
}

impl Shortfall {
    /// Of a node that answered with this error, or with nothing.
    #[must_use]
    pub fn of(error: Option<&ServerError>) -> Self {
        match error {
            None => Self::Silent,
            Some(error) if error.code() == "NOTBUSY" => Self::Idle,
            Some(_) => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use romaine_commands::table;

    #[test]
    fn one_success_decides_where_the_policy_says_so_and_errors_decide_nothing() {
        let now = Instant::now();
        for command in ["SCRIPT KILL", "FUNCTION KILL"] {
            let mut gathering = Gathering::new(table::find(command).unwrap());
            gathering.answered(now, b"-NOTBUSY No scripts in execution right now.\r\n");
            assert!(!gathering.is_decided() && gathering.until().is_none());
            gathering.answered(now, b"+OK\r\n");
            gathering.answered(now + STRAGGLERS / 2, b"+OK\r\n");
            assert!(gathering.is_decided());
            assert_eq!(gathering.until(), Some(now + STRAGGLERS), "the first counts");
        }
    }

    #[test]
    fn what_says_most_is_told() {
        let of = |text: &str| Shortfall::of(Some(&ServerError::new(text.as_bytes())));
        let (idle, refused) = (of("NOTBUSY No scripts in execution right now."), of("UNKILLABLE Sorry"));
        assert!(idle < Shortfall::of(None) && Shortfall::of(None) < refused);
    }

    #[test]
    fn all_are_waited_for_where_all_count() {
        for command in ["FLUSHALL", "DBSIZE", "KEYS", "SCRIPT LOAD"] {
            let mut gathering = Gathering::new(table::find(command).unwrap());
            gathering.answered(Instant::now(), b"+OK\r\n");
            assert!(!gathering.is_decided() && gathering.until().is_none(), "{command}");
        }
    }
}
