//! One call of `turn.lua`: what it is asked and what it answers.

use std::time::Duration;

use bytes::Bytes;
use romaine::{Client, Cmd, Value};

use crate::error::Error;
use crate::keys::Keys;
use crate::record::{Mark, Record, State};
use crate::scripts::{On, RECOVER_CLAIMS, TURN};
use crate::worker::settings::Settings;

/// What became of a job, for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: String,
    /// With its id what tells it from another job of that id.
    pub(crate) enqueued_ms: i64,
    /// The token: the state that the claim wrote.
    pub(crate) state: String,
    pub(crate) unique: String,
    /// Whether a failed attempt left its reason at the server.
    pub(crate) has_error: bool,
    pub(crate) end: End,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum End {
    Done(Option<Bytes>),
    Again {
        after: Duration,
        why: String,
    },
    Dead(String),
    /// The attempt does not count. At a shutdown at once and without a reason.
    GivenBack {
        after: Duration,
        why: String,
    },
}

impl End {
    /// The job is unharmed, and anybody may have it at once.
    pub(crate) const fn unharmed() -> Self {
        Self::GivenBack { after: Duration::ZERO, why: String::new() }
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Again { .. } => "Again",
            Self::Dead(_) => "Dead",
            Self::GivenBack { .. } => "GivenBack",
        })
    }
}

impl Report {
    /// Nothing but the id has to go: many of these are done in a few commands.
    fn is_plain(&self) -> bool {
        self.end == End::Done(None) && self.unique.is_empty() && !self.has_error
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) nonce: &'a str,
    pub(crate) want: usize,
    pub(crate) held: usize,
    pub(crate) reports: &'a [Report],
    /// Ids and tokens of jobs that run on without their leases, or that have ended and are reported with a later turn.
    pub(crate) holds: &'a [(String, String)],
}

/// A job that was claimed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) attempt: u32,
    pub(crate) attempts_max: u32,
    pub(crate) token: u64,
    pub(crate) record: Record,
    pub(crate) last_error: Option<String>,
}

/// What is answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// When something is due at the latest.
    pub(crate) next_in: Option<Duration>,
    /// More waits than was asked for.
    pub(crate) more: bool,
    /// Ids whose reports came too late.
    pub(crate) lost: Vec<String>,
    pub(crate) claims: Vec<Claim>,
    /// Ids whose record this version cannot read; with their states.
    pub(crate) unreadable: Vec<(String, String)>,
}

const MORE: i64 = 8;

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn arguments(command: Cmd<Value>, ask: &Ask<'_>) -> Cmd<Value> {
    let settings = ask.settings;
    let (plain, others): (Vec<&Report>, Vec<&Report>) = ask.reports.iter().partition(|report| report.is_plain());
    let command = command
        .arg(&settings.name)
        .arg(ask.nonce)
        .arg(millis(settings.lease))
        .arg(ask.want)
        .arg(millis(settings.idle_promise()))
        .arg(millis(settings.busy_promise()))
        .arg(millis(settings.remember_for))
        .arg(settings.remember_max)
        .arg(settings.dead_max)
        .arg(millis(settings.results_for))
        .arg(settings.results_max)
        .arg(ask.held)
        .arg(plain.len());
    let command = plain.iter().fold(command, |command, report| command.arg(&report.id).arg(&report.state));
    let nothing: &[u8] = b"";
    let command = others.iter().fold(command, |command, report| {
        let (op, a, b) = match &report.end {
            End::Done(None) => ("A", 0, nothing),
            End::Done(Some(result)) => ("S", 0, &**result),
            End::Again { after, why } => ("R", millis(*after), why.as_bytes()),
            End::Dead(why) => ("X", 0, why.as_bytes()),
            End::GivenBack { after, why } => ("G", millis(*after), why.as_bytes()),
        };
        command.arg(op).arg(&report.id).arg(&report.state).arg(&report.unique).arg(a).arg(b)
    });
    ask.holds
        .iter()
        .fold(command, |command, (id, state)| command.arg("H").arg(id).arg(state).arg(nothing).arg(0).arg(nothing))
}

/// Takes a turn. Nothing is repeated here: a lost answer may have claimed jobs.
pub(crate) async fn take(client: &Client, keys: &Keys, ask: &Ask<'_>) -> romaine::Result<Option<Answer>> {
    let value = TURN.run(On::Shared(client), keys, None, |command| arguments(command, ask)).await?;
    Ok(Answer::decode(&value))
}

/// Finds what turns with these nonces claimed, and renews it.
pub(crate) async fn recover(
    client: &Client,
    keys: &Keys,
    lease: Duration,
    nonces: &[String],
) -> romaine::Result<Option<Answer>> {
    let value: Value = RECOVER_CLAIMS
        .run_again(client, keys, |command| {
            nonces.iter().fold(command.arg(millis(lease)), |command, nonce| command.arg(nonce))
        })
        .await?;
    let mut answer = Answer::default();
    Ok(value.as_elements().and_then(|values| answer.add_claims(values)).map(|()| answer))
}

/// An answer that makes no sense: another version's, or not a queue's.
pub(crate) fn nonsense() -> Error {
    Error::answer("turn")
}

impl Answer {
    fn decode(value: &Value) -> Option<Self> {
        let fields = value.as_elements()?;
        let next_in = fields.get(1)?.as_integer()?;
        let flags = fields.get(2)?.as_integer()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut answer = Self {
            next_in: u64::try_from(next_in).ok().map(Duration::from_millis),
            more: flags & MORE != 0,
            lost: fields.get(3)?.as_elements()?.iter().map(text).collect::<Option<_>>()?,
            ..Self::default()
        };
        answer.add_claims(fields.get(4)?.as_elements()?)?;
        Some(answer)
    }

    fn add_claims(&mut self, values: &[Value]) -> Option<()> {
        let (claims, rest) = values.as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        for [id, state, record, error] in claims {
            let (id, state) = (id.as_str()?.to_owned(), state.as_str()?.to_owned());
            let parsed = State::parse(&state)?;
            let Mark::Leased { token, .. } = parsed.mark else { return None };
            let (attempt, attempts_max) = (parsed.attempts, parsed.attempts_max);
            let Some(record) = Record::decode(record.as_bytes()?) else {
                self.unreadable.push((id, state));
                continue;
            };
            let error = error.as_str().unwrap_or_default();
            let last_error = if error.is_empty() { None } else { Some(error.to_owned()) };
            self.claims.push(Claim { id, state, attempt, attempts_max, token, record, last_error });
        }
        Some(())
    }
}
