//! The hub as agents and operators use it: its keys and scripts.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Script, Value};

use crate::error::{Error, Result};
use crate::id::EdgeId;
use crate::record::{Deploy, Reported};

/// Events of an edge that the hub keeps, about.
const EVENTS_KEPT: u32 = 1_000;

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../scripts/beat.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../scripts/leave.lua")));
static REPORT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../scripts/report.lua")));
static WANT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../scripts/want.lua")));

/// Who speaks for an edge.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    pub(crate) nonce: String,
    /// The nonce of the process before this one, from the ledger: its session is ours to take over.
    pub(crate) before: String,
    pub(crate) host: String,
    pub(crate) lease: Duration,
}

/// What a sign of life is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// We speak for the edge.
    Ours,
    /// Somebody else does.
    Taken(Holder),
}

/// The other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) nonce: String,
    pub(crate) host: String,
    pub(crate) since_ms: i64,
    pub(crate) renewed_ms: i64,
    pub(crate) now_ms: i64,
    pub(crate) left: Duration,
}

pub(crate) async fn beat(client: &Client, id: &EdgeId, speaker: &Speaker, reported: &Reported) -> Result<Answer> {
    let keys = [id.session_key(), id.state_key()];
    let lease = speaker.lease.as_millis().to_string();
    let mut arguments = vec![speaker.nonce.clone(), speaker.before.clone(), lease, speaker.host.clone()];
    for (name, value) in reported.fields() {
        arguments.push(name.to_owned());
        arguments.push(value);
    }
    let answer = client.script::<Value>(&BEAT, &keys[..], &arguments[..]).await?;
    let nonsense = || Error::record("the hub's answer to a heartbeat makes no sense");
    Ok(read_beat(&answer).ok_or_else(nonsense)?.map_or(Answer::Ours, Answer::Taken))
}

/// Who speaks for the edge, if it is not we.
fn read_beat(answer: &Value) -> Option<Option<Holder>> {
    let parts = answer.as_elements()?;
    let now_ms = parts.get(1)?.as_integer()?;
    let text = |index: usize| parts.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
    if parts.first()?.as_integer()? == 1 {
        return Some(None);
    }
    let left = parts.get(6)?.as_integer()?;
    Some(Some(Holder {
        nonce: text(2),
        host: text(3),
        since_ms: text(4).parse().unwrap_or(0),
        renewed_ms: text(5).parse().unwrap_or(0),
        now_ms,
        left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
    }))
}

/// Gives the session up.
pub(crate) async fn leave(client: &Client, id: &EdgeId, nonce: &str) -> Result<()> {
    let keys = [id.session_key(), id.state_key()];
    let _deleted: i64 = client.script(&LEAVE, &keys[..], [nonce]).await?;
    Ok(())
}

/// Brings events; answers the number of the last that has arrived.
pub(crate) async fn report(client: &Client, id: &EdgeId, ledger: &str, events: &[(i64, String)]) -> Result<i64> {
    let keys = [id.log_key(), id.sent_key()];
    let mut arguments = vec![ledger.to_owned(), EVENTS_KEPT.to_string()];
    for (number, text) in events {
        arguments.push(number.to_string());
        arguments.push(text.clone());
    }
    Ok(client.script(&REPORT, &keys[..], &arguments[..]).await?)
}

/// Says what is wanted of an edge; answers the generation that is wanted now: a higher one than `deploy`'s stays.
pub(crate) async fn want(client: &Client, id: &EdgeId, deploy: &Deploy) -> Result<u64> {
    let text = serde_json::to_string(deploy)
        .map_err(|error| Error::caused(crate::ErrorKind::Usage, "the deployment has no form in JSON", error))?;
    let arguments = [deploy.generation.to_string(), text];
    let wanted: u64 = client.script(&WANT, [id.desired_key()], &arguments[..]).await?;
    Ok(wanted)
}

/// What an edge says of itself.
pub(crate) async fn reported(client: &Client, id: &EdgeId) -> Result<Reported> {
    let fields: BTreeMap<String, String> = client.hgetall(id.state_key()).await?;
    Ok(Reported::read(&fields))
}

/// What is wanted of an edge.
pub(crate) async fn wanted(client: &Client, id: &EdgeId) -> Result<Option<Deploy>> {
    let fields: BTreeMap<String, String> = client.hgetall(id.desired_key()).await?;
    Deploy::wanted(&fields)
}

/// The hub's clock, in milliseconds since 1970.
pub(crate) async fn time_ms(client: &Client) -> Result<i64> {
    let (seconds, micros): (i64, i64) = client.issue(romaine::cmd("TIME")).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}
