//! May a failed call be sent again? A pure function of what failed, what is known of its effect, and the command.

use std::time::Duration;

use romaine_commands::Spec;
use romaine_resp::ServerError;

use crate::connection::Delivery;

/// The caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryPolicy {
    /// What the command's flags allow: anything that was not executed, and reads and idempotent commands whose fate is
    /// unknown. The default.
    #[default]
    Derived,
    /// Only what never left this process.
    Unsent,
    /// Never.
    Never,
    /// Everything that may not have been executed: the caller vouches that a repetition does no harm.
    Idempotent,
}

/// What to do with a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Send it again; it waits in the queue for the connection.
    Again,
    /// Send it again after this time.
    After(Duration),
    /// Tell the caller.
    GiveUp,
}

/// What an error reply says of the request's effect.
#[must_use]
pub fn delivery_of(error: &ServerError) -> Delivery {
    match error.code() {
        "LOADING" | "BUSY" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "CROSSSLOT"
        | "NOAUTH" | "NOPERM" | "WRONGPASS" | "DENIED" | "NOREPLICAS" | "MISCONF" | "OOM" | "EXECABORT"
        | "NOSCRIPT" | "NOPROTO" | "NOGOODSLAVE" | "INPROG" => Delivery::Refused,
        _ => Delivery::Executed,
    }
}

/// Whether the server's refusal passes by itself: worth waiting for within the call's deadline.
#[must_use]
pub fn is_passing(error: &ServerError) -> bool {
    match error.code() {
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => true,
        _ => error.as_str().starts_with("ERR max number of clients"),
    }
}

/// What is known of a call's effect after several attempts: one that did nothing does not undo an earlier one that may
/// have done something.
#[must_use]
pub const fn over_attempts(earlier: Delivery, latest: Delivery) -> Delivery {
    match (earlier, latest) {
        (Delivery::Unknown, Delivery::NotSent | Delivery::Refused) => Delivery::Unknown,
        (_, latest) => latest,
    }
}

/// Decides for a call that failed without an error reply.
#[must_use]
pub fn without_reply(policy: RetryPolicy, delivery: Delivery, spec: &Spec) -> Decision {
    let again = match (policy, delivery) {
        (RetryPolicy::Never, _) | (_, Delivery::Executed) => false,
        (_, Delivery::NotSent) => true,
        (RetryPolicy::Unsent, Delivery::Refused | Delivery::Unknown) => false,
        (RetryPolicy::Derived | RetryPolicy::Idempotent, Delivery::Refused)
        | (RetryPolicy::Idempotent, Delivery::Unknown) => true,
        (RetryPolicy::Derived, Delivery::Unknown) => spec.is_repeatable(),
    };
    if again { Decision::Again } else { Decision::GiveUp }
}

/// Decides for a call that the server answered with an error; `attempt` counts from 0.
#[must_use]
pub fn refused(policy: RetryPolicy, error: &ServerError, attempt: u32, random: &mut fastrand::Rng) -> Decision {
    if matches!(policy, RetryPolicy::Never | RetryPolicy::Unsent) || !is_passing(error) {
        return Decision::GiveUp;
    }
    Decision::After(pause(attempt, random))
}

/// How long to wait before asking again what cannot be served now; `attempt` counts from 0.
///
/// 10 ms doubling to half a second, full jitter over the upper half: a server that loads for minutes is asked twice a
/// second by each caller, not more.
#[must_use]
pub fn pause(attempt: u32, random: &mut fastrand::Rng) -> Duration {
    let ceiling = Duration::from_millis(10).saturating_mul(1 << attempt.min(6)).min(Duration::from_millis(500));
    let half = ceiling / 2;
    half + Duration::from_micros(random.u64(0..=u64::try_from(half.as_micros()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use romaine_commands::Flags;

    const READ: Spec = Spec { flags: Flags::READ_ONLY, ..Spec::UNLISTED };
    const WRITE: Spec = Spec { flags: Flags::WRITE, ..Spec::UNLISTED };

    #[test]
    fn only_what_cannot_do_harm_is_sent_twice() {
        use Decision::{Again, GiveUp};
        use Delivery::{Executed, NotSent, Unknown};
        use RetryPolicy::{Derived, Idempotent, Never, Unsent};
        for (policy, delivery, spec, expected) in [
            (Derived, NotSent, &WRITE, Again),
            (Derived, Unknown, &WRITE, GiveUp),
            (Derived, Unknown, &READ, Again),
            (Derived, Executed, &READ, GiveUp),
            (Idempotent, Unknown, &WRITE, Again),
            (Unsent, Unknown, &READ, GiveUp),
            (Unsent, NotSent, &WRITE, Again),
            (Never, NotSent, &READ, GiveUp),
        ] {
            assert_eq!(without_reply(policy, delivery, spec), expected, "{policy:?} {delivery:?} {spec:?}");
        }
    }

    #[test]
    fn what_may_have_been_executed_once_stays_so_over_all_attempts() {
        use Delivery::{Executed, NotSent, Refused, Unknown};
        for (earlier, latest, both) in [
            (Unknown, NotSent, Unknown),
            (Unknown, Refused, Unknown),
            (Unknown, Executed, Executed),
            (NotSent, Refused, Refused),
            (NotSent, Unknown, Unknown),
            (Refused, NotSent, NotSent),
        ] {
            assert_eq!(over_attempts(earlier, latest), both, "{earlier:?} {latest:?}");
        }
    }

    #[test]
    fn passing_refusals_are_waited_for_and_others_told() {
        let mut random = fastrand::Rng::with_seed(3);
        let loading = ServerError::new(b"LOADING Redis is loading the dataset in memory");
        for attempt in 0..40 {
            let Decision::After(delay) = refused(RetryPolicy::Derived, &loading, attempt, &mut random) else {
                panic!("LOADING passes");
            };
            assert!(delay >= Duration::from_millis(5) && delay <= Duration::from_millis(500), "{delay:?}");
        }
        let wrong = ServerError::new(b"WRONGTYPE Operation against a key");
        assert_eq!(refused(RetryPolicy::Derived, &wrong, 0, &mut random), Decision::GiveUp);
        assert_eq!(refused(RetryPolicy::Never, &loading, 0, &mut random), Decision::GiveUp);
    }

    #[test]
    fn error_replies_say_whether_the_command_ran() {
        assert_eq!(delivery_of(&ServerError::new(b"OOM command not allowed")), Delivery::Refused);
        assert_eq!(delivery_of(&ServerError::new(b"WRONGTYPE x")), Delivery::Executed);
    }
}
