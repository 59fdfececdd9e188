//! What is to be done with a job, given what the ledger knows of it. Decisions only.

use bytes::Bytes;
use romaine_queue::{Done, Failure};
use serde_json::{Value, json};

use crate::agent::ledger::{Outcome, Past, Verdict};
use crate::agent::process::{How, Ran};
use crate::record::{DEPLOY, Deploy};

/// The exit code by which a handler asks to be run again later (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;

/// What becomes of a job whose handler cannot be started.
const KEPT: &str = "the job is kept, and this attempt does not count";

/// The most of a handler's output that goes into a reason, in bytes.
const REASON_TAIL: usize = 600;

/// Which jobs may run again after a run whose end is unknown, or that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// None.
    Never,
    /// Those that say `"idempotent": true` in their payload, and deployments.
    #[default]
    Idempotent,
    /// All.
    Always,
}

/// A job as the decisions need it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) attempt: u32,
    pub(crate) token: i64,
    /// What its last attempt left at the hub.
    pub(crate) last_error: Option<String>,
    pub(crate) may_repeat: bool,
    /// What is to be deployed, if that is what it is about.
    pub(crate) deploy: Option<Deploy>,
    pub(crate) body: Body,
}

/// The payload as the handler sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Json(Value),
    Text(String),
    Bytes(Bytes),
}

impl Body {
    pub(crate) fn of(payload: &Bytes) -> Self {
        match (serde_json::from_slice(payload), std::str::from_utf8(payload)) {
            (Ok(json), _) => Self::Json(json),
            (Err(_), Ok(text)) => Self::Text(text.to_owned()),
            (Err(_), Err(_)) => Self::Bytes(payload.clone()),
        }
    }

    fn field(&self) -> (&'static str, Value) {
        match self {
            Self::Json(json) => ("payload", json.clone()),
            Self::Text(text) => ("payload", Value::from(text.as_str())),
            Self::Bytes(bytes) => ("payload_base64", Value::from(base64(bytes))),
        }
    }
}

impl Facts {
    /// Why it cannot be run at all, if it cannot.
    pub(crate) fn new(id: &str, kind: &str, payload: &Bytes, repeat: Repeat) -> Result<Self, String> {
        let body = Body::of(payload);
        let deploy = if kind == DEPLOY { Some(read_deploy(payload)?) } else { None };
        let says_so =
            matches!(&body, Body::Json(json) if json.get("idempotent").and_then(Value::as_bool) == Some(true));
        let may_repeat = match repeat {
            Repeat::Never => false,
            Repeat::Idempotent => says_so || deploy.is_some(),
            Repeat::Always => true,
        };
        Ok(Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            attempt: 0,
            token: 0,
            last_error: None,
            may_repeat,
            deploy,
            body,
        })
    }

    /// What the handler reads.
    pub(crate) fn input(&self, edge: &str, nonce: &str, attempts_max: u32, enqueued_ms: i64) -> Vec<u8> {
        let mut input = json!({
            "id": self.id,
            "kind": self.kind,
            "edge": edge,
            "attempt": self.attempt,
            "attempts_max": attempts_max,
            "enqueued_ms": enqueued_ms,
            "token": { "number": self.token, "nonce": nonce },
        });
        let (name, payload) = self.body.field();
        if let Value::Object(fields) = &mut input {
            fields.insert(name.to_owned(), payload);
        }
        let mut bytes = input.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

fn read_deploy(payload: &Bytes) -> Result<Deploy, String> {
    serde_json::from_slice(payload).map_err(|error| {
        // serde's own message may quote the payload.
        let (line, column) = (error.line(), error.column());
        format!(
            "a {DEPLOY} job has another form (line {line}, column {column}): it is made by `romaine rollout start`, with \
             generation, image by digest, rollout and reason"
        )
    })
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run the handler.
    Run,
    /// Tell how it ended: it did already.
    Tell(Outcome),
    /// It was begun, its end is unknown, and it may not be repeated.
    GiveUp { begun_ms: i64, attempt: u32 },
}

/// Decides.
pub(crate) fn next(past: Past, facts: &Facts) -> Next {
    match past {
        Past::Unknown | Past::Received { .. } => Next::Run,
        Past::Begun { .. } if facts.may_repeat => Next::Run,
        Past::Begun { at_ms, attempt, .. } => Next::GiveUp { begun_ms: at_ms, attempt },
        Past::Ended { outcome, token, .. } => match outcome.verdict {
            Verdict::Done | Verdict::Superseded => Next::Tell(outcome),
            Verdict::Retry | Verdict::Later | Verdict::Unable => Next::Run,
            Verdict::Failed | Verdict::Interrupted | Verdict::Cancelled if was_put_back(&outcome, token, facts) => {
                Next::Run
            }
            Verdict::Failed | Verdict::Interrupted | Verdict::Cancelled => Next::Tell(outcome),
        },
    }
}

/// What the queue is told.
pub(crate) fn answer(outcome: &Outcome) -> Result<Done, Failure> {
    let why = || {
        let error = outcome.error.as_deref().unwrap_or("it failed");
        // Which run it was: with that the reason is one of a kind, and proves that the hub had it. See `was_put_back`.
        with_tail(&format!("{error} (run {})", outcome.token), &outcome.tail)
    };
    match outcome.verdict {
        Verdict::Done | Verdict::Superseded => {
            Done::json(outcome).map_err(|error| Failure::dead(format!("done, but its result cannot be told: {error}")))
        }
        Verdict::Retry | Verdict::Later => Err(Failure::retry(why())),
        Verdict::Unable => Err(Failure::give_back(why())),
        Verdict::Failed | Verdict::Interrupted | Verdict::Cancelled => Err(Failure::dead(why())),
    }
}

pub(crate) fn with_tail(why: &str, tail: &str) -> String {
    let tail = tail.trim_end();
    if tail.is_empty() {
        return why.to_owned();
    }
    let mut from = tail.len().saturating_sub(REASON_TAIL);
    while !tail.is_char_boundary(from) {
        from += 1;
    }
    format!("{why}: {}", tail.get(from..).unwrap_or_default())
}

/// Whether somebody put back the dead letter that this outcome made of the job. Its attempts are counted anew then, the
/// claim is a later one, and what is left of its death is the reason that we gave: then the hub has had it. Without that it
/// may as well be a claim that a failover lost, or a run whose end nobody was told, given back with its attempt: those are
/// told, not run.
fn was_put_back(outcome: &Outcome, token: i64, facts: &Facts) -> bool {
    let is_later = facts.attempt <= outcome.attempt && facts.token > token;
    is_later && (facts.may_repeat || answer(outcome).is_err_and(|told| facts.last_error.as_deref() == Some(told.why())))
}

/// What a run came to, and why. `failures`: runs of this job that failed before.
pub(crate) fn judge(
    ran: &Ran,
    facts: &Facts,
    failures: u32,
    limit: std::time::Duration,
) -> (Verdict, Option<i32>, Option<String>) {
    let again = match &facts.deploy {
        Some(deploy) if failures < deploy.retries => Verdict::Retry,
        Some(_) => Verdict::Failed,
        None if facts.may_repeat => Verdict::Retry,
        None => Verdict::Failed,
    };
    match ran.how {
        How::Exited(0) => (Verdict::Done, Some(0), None),
        How::Exited(TRY_AGAIN) => {
            (Verdict::Later, Some(TRY_AGAIN), Some("the handler asks to be run again (exit code 75)".into()))
        }
        // Nothing of the job was done, and it is not the job's fault.
        How::Missing(code) => {
            let what = if code == 127 { "not found" } else { "not executable" };
            let why = format!("the handler is {what} (exit code {code}): correct --exec; {KEPT}");
            (Verdict::Unable, Some(code), Some(why))
        }
        How::NotStarted => (Verdict::Unable, None, Some(format!("the handler could not be started; {KEPT}"))),
        How::Exited(code) => (again, Some(code), Some(format!("exit code {code}"))),
        How::Unknown => (again, None, Some("the handler was started, and nobody knows how it ended".into())),
        How::Signalled(signal) => (again, None, Some(format!("the handler was ended by signal {signal}"))),
        How::TimedOut => {
            (again, None, Some(format!("the handler did not end within {limit:?} (--timeout) and was ended")))
        }
        How::Stopped => (Verdict::Cancelled, None, Some("it was cancelled".into())),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4_usize {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(if place <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn facts(payload: &str, repeat: Repeat) -> Facts {
        Facts {
            attempt: 2,
            token: 9,
            ..Facts::new("a", "k", &Bytes::copy_from_slice(payload.as_bytes()), repeat).unwrap()
        }
    }

    fn ended(verdict: Verdict, attempt: u32) -> Past {
        let outcome = Outcome {
            verdict,
            exit: None,
            error: None,
            tail: String::new(),
            begun_ms: 0,
            ended_ms: 0,
            attempt,
            token: 5,
        };
        Past::Ended { outcome, failures: 0, token: 5 }
    }

    #[test]
    fn what_was_begun_runs_again_only_if_it_may() {
        let begun = Past::Begun { at_ms: 1, attempt: 1, failures: 0 };
        let given_up = Next::GiveUp { begun_ms: 1, attempt: 1 };
        assert_eq!(next(begun.clone(), &facts("{}", Repeat::Idempotent)), given_up);
        assert_eq!(next(begun.clone(), &facts(r#"{"idempotent":true}"#, Repeat::Never)), given_up);
        assert_eq!(next(begun.clone(), &facts(r#"{"idempotent":true}"#, Repeat::Idempotent)), Next::Run);
        assert_eq!(next(begun, &facts("text", Repeat::Always)), Next::Run);
        assert_eq!(next(Past::Received { failures: 0, token: 9 }, &facts("{}", Repeat::Never)), Next::Run);
    }

    #[test]
    fn what_has_ended_is_told_again_and_not_run_again() {
        let facts = facts("{}", Repeat::Always);
        for verdict in [Verdict::Done, Verdict::Superseded, Verdict::Failed, Verdict::Interrupted, Verdict::Cancelled] {
            assert!(matches!(next(ended(verdict, 1), &facts), Next::Tell(_)), "{verdict:?}");
        }
        assert_eq!(next(ended(Verdict::Retry, 1), &facts), Next::Run);
        assert_eq!(next(ended(Verdict::Later, 1), &facts), Next::Run);
        assert_eq!(next(ended(Verdict::Unable, 1), &facts), Next::Run);
    }

    #[test]
    fn a_dead_letter_that_was_put_back_runs_again_once_the_hub_has_had_its_reason() {
        let told = Some("it failed (run 5)".to_owned());
        let facts = Facts { attempt: 1, token: 9, last_error: told, ..facts("{}", Repeat::Never) };
        assert_eq!(next(ended(Verdict::Failed, 1), &facts), Next::Run);
        assert!(matches!(next(ended(Verdict::Done, 1), &facts), Next::Tell(_)));
        // A failover that lost the claim: not a later one.
        let old = Facts { token: 5, ..facts.clone() };
        assert!(matches!(next(ended(Verdict::Failed, 1), &old), Next::Tell(_)));
        // Given back with its attempt before its end was told: by a worker that ended, or by a failover.
        for last_error in [None, Some("it failed (run 4)".to_owned()), Some("the agent ended while it ran".to_owned())]
        {
            let untold = Facts { last_error, ..facts.clone() };
            assert!(matches!(next(ended(Verdict::Failed, 1), &untold), Next::Tell(_)), "{untold:?}");
            let may = Facts { may_repeat: true, ..untold };
            assert_eq!(next(ended(Verdict::Failed, 1), &may), Next::Run);
        }
    }

    #[test]
    fn exit_codes_say_what_becomes_of_a_job() {
        let verdict = |how, payload: &str| {
            let ran = Ran { how, tail: String::new() };
            judge(&ran, &facts(payload, Repeat::Idempotent), 0, Duration::from_secs(1)).0
        };
        assert_eq!(verdict(How::Exited(0), "{}"), Verdict::Done);
        assert_eq!(verdict(How::Exited(75), "{}"), Verdict::Later);
        assert_eq!(verdict(How::Missing(127), "{}"), Verdict::Unable);
        // Of a command of its own.
        assert_eq!(verdict(How::Exited(127), "{}"), Verdict::Failed);
        assert_eq!(verdict(How::Exited(126), r#"{"idempotent":true}"#), Verdict::Retry);
        assert_eq!(verdict(How::NotStarted, "{}"), Verdict::Unable);
        assert_eq!(verdict(How::Exited(1), "{}"), Verdict::Failed);
        assert_eq!(verdict(How::Unknown, "{}"), Verdict::Failed);
        assert_eq!(verdict(How::Unknown, r#"{"idempotent":true}"#), Verdict::Retry);
        assert_eq!(verdict(How::TimedOut, r#"{"idempotent":true}"#), Verdict::Retry);
    }

    #[test]
    fn a_handler_reads_any_payload() {
        let read = |payload: &[u8]| {
            let facts = Facts::new("a", "k", &Bytes::copy_from_slice(payload), Repeat::Never).unwrap();
            serde_json::from_slice::<Value>(&facts.input("e", "n", 5, 7)).unwrap()
        };
        assert_eq!(read(b"{\"x\":1}")["payload"]["x"], 1);
        assert_eq!(read(b"hello")["payload"], "hello");
        assert_eq!(read(b"\xff\x00\x01\x02")["payload_base64"], "/wABAg==");
        assert!(Facts::new("a", DEPLOY, &Bytes::from_static(b"{\"generation\":1}"), Repeat::Never).is_err());
    }
}
