//! Rollouts as they stand in Redis.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use romaine::commands::*;
use romaine::replies::StreamEntry;
use romaine::{Client, Script, Value};
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::rollout::engine::{Engine, Line};
use crate::rollout::plan::{Order, Plan, Progress, Target};

/// All rollouts by when they were started.
const INDEX: &str = "rollouts";

/// The last generation that was given.
const GENERATION: &str = "rollouts:generation";

/// Lines of a story that one look brings.
const LINES: i64 = 1_000;

static NEXT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../scripts/generation.lua")));
static CREATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../scripts/create.lua")));
static LEAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../scripts/lead.lua")));
static UNLEAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../scripts/unlead.lua")));
static SAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../../scripts/save.lua")));

fn keys(id: &str) -> [String; 3] {
    [format!("rollout:{{{id}}}:plan"), format!("rollout:{{{id}}}:edges"), format!("rollout:{{{id}}}:story")]
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::caused(ErrorKind::Record, "a record has no form in JSON", error))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::caused(ErrorKind::Record, "the rollout was written by another version", error))
}

/// Two generations, higher than all that were given and than `known`.
pub(crate) async fn generations(client: &Client, known: u64) -> Result<(u64, u64)> {
    let last: u64 = client.script(&NEXT, [GENERATION], [known]).await?;
    Ok((last - 1, last))
}

/// False when there is a rollout of this name.
pub(crate) async fn create(client: &Client, engine: &Engine, line: &Line) -> Result<bool> {
    let id = &engine.plan.id;
    let mut arguments = vec![json(&engine.plan)?, json(&engine.progress)?, json(line)?];
    for (edge, target) in &engine.targets {
        arguments.push(edge.clone());
        arguments.push(json(target)?);
    }
    let created: i64 = client.script(&CREATE, &keys(id)[..], &arguments[..]).await?;
    if created == 1 {
        let _new: i64 =
            client.issue(romaine::cmd("ZADD").arg(INDEX).arg(engine.plan.created_ms).arg(id.as_str())).await?;
    }
    Ok(created == 1)
}

/// The names of rollouts, the newest first: so many, after the newest `from`.
pub(crate) async fn names(client: &Client, from: usize, count: usize) -> Result<Vec<String>> {
    let last = (from + count).saturating_sub(1);
    Ok(client.issue(romaine::cmd("ZREVRANGE").arg(INDEX).arg(from).arg(last)).await?)
}

/// Takes all of a rollout away; false when there was nothing. The index last: what is interrupted is seen, and forgotten
/// again.
pub(crate) async fn forget(client: &Client, id: &str) -> Result<bool> {
    let gone: i64 = client.unlink(&keys(id)[..]).await?;
    let listed: i64 = client.issue(romaine::cmd("ZREM").arg(INDEX).arg(id)).await?;
    Ok(gone + listed > 0)
}

/// Who drives it, until when, also of one that cannot be read.
pub(crate) async fn driver_until(client: &Client, id: &str) -> Result<i64> {
    let [plan, ..] = keys(id);
    let until: Option<String> = client.hget(plan, "driver_until").await?;
    Ok(until.and_then(|until| until.parse().ok()).unwrap_or(0))
}

/// A rollout and who drives it, until when.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    /// How many steps were written down.
    pub(crate) steps: u64,
    pub(crate) order: Option<Order>,
    pub(crate) driver: Option<(String, i64)>,
}

pub(crate) async fn load(client: &Client, id: &str) -> Result<Option<Loaded>> {
    let [plan, edges, _] = keys(id);
    let fields: BTreeMap<String, String> = client.hgetall(plan).await?;
    let Some(plan) = fields.get("plan") else { return Ok(None) };
    let progress: Progress = read(fields.get("progress").map(String::as_str).unwrap_or_default())?;
    let edges: BTreeMap<String, String> = client.hgetall(edges).await?;
    let targets = edges.iter().map(|(id, text)| Ok((id.clone(), read::<Target>(text)?)));
    let targets = targets.collect::<Result<BTreeMap<_, _>>>()?;
    let until = fields.get("driver_until").and_then(|until| until.parse().ok()).unwrap_or(0);
    Ok(Some(Loaded {
        engine: Engine { plan: read::<Plan>(plan)?, progress, targets },
        steps: fields.get("steps").and_then(|steps| steps.parse().ok()).unwrap_or(0),
        order: fields.get("order").and_then(|order| order_of(order)),
        driver: fields.get("driver").map(|driver| (driver.clone(), until)),
    }))
}

fn order_of(text: &str) -> Option<Order> {
    match text {
        "pause" => Some(Order::Pause),
        "resume" => Some(Order::Resume),
        "abort" => Some(Order::Abort),
        _ => None,
    }
}

pub(crate) const fn order_name(order: Order) -> &'static str {
    match order {
        Order::Pause => "pause",
        Order::Resume => "resume",
        Order::Abort => "abort",
    }
}

pub(crate) async fn order(client: &Client, id: &str, order: Order) -> Result<()> {
    let [plan, ..] = keys(id);
    let _new: i64 = client.issue(romaine::cmd("HSET").arg(plan).arg("order").arg(order_name(order))).await?;
    Ok(())
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lead {
    Ours { now_ms: i64, order: Option<Order>, is_new: bool },
    Other { driver: String },
}

pub(crate) async fn lead(client: &Client, id: &str, name: &str, lease: Duration) -> Result<Lead> {
    let [plan, ..] = keys(id);
    let arguments = [name.to_owned(), lease.as_millis().to_string()];
    let answer: Value = client.script(&LEAD, [plan], &arguments[..]).await?;
    let parts = answer.as_elements().unwrap_or_default();
    let number = |index: usize| parts.get(index).and_then(Value::as_integer);
    let text = parts.get(2).and_then(Value::as_str).unwrap_or_default();
    match (number(0), number(1), number(3)) {
        (Some(1), Some(now_ms), Some(new)) => Ok(Lead::Ours { now_ms, order: order_of(text), is_new: new == 1 }),
        (Some(0), Some(_), Some(_)) => Ok(Lead::Other { driver: text.to_owned() }),
        _ => Err(Error::record("the hub's answer about who leads a rollout makes no sense")),
    }
}

/// Gives the lead up: whoever comes next need not wait for it to lapse.
pub(crate) async fn unlead(client: &Client, id: &str, name: &str) -> Result<()> {
    let [plan, ..] = keys(id);
    let _fields: i64 = client.script(&UNLEAD, [plan], [name]).await?;
    Ok(())
}

/// Writes a step down after `steps` others; false when somebody else leads by now, or the hub lost one of those.
pub(crate) async fn save(
    client: &Client,
    (name, steps): (&str, u64),
    engine: &Engine,
    changed: &[String],
    carried_out: Option<Order>,
    story: &[Line],
) -> Result<bool> {
    let mut arguments = vec![
        name.to_owned(),
        steps.to_string(),
        json(&engine.progress)?,
        carried_out.map_or("", order_name).to_owned(),
        changed.len().to_string(),
    ];
    for id in changed {
        let target = engine.targets.get(id).ok_or_else(|| Error::record("a target that is none was changed"))?;
        arguments.push(id.clone());
        arguments.push(json(target)?);
    }
    for line in story {
        arguments.push(json(line)?);
    }
    let saved: i64 = client.script(&SAVE, &keys(&engine.plan.id)[..], &arguments[..]).await?;
    Ok(saved == 1)
}

/// The story from after `last` on, with where it ends.
pub(crate) async fn story(client: &Client, id: &str, last: Option<&str>) -> Result<(Vec<Line>, Option<String>)> {
    let [_, _, story] = keys(id);
    let from = last.map_or_else(|| "-".to_owned(), |last| format!("({last}"));
    let command = romaine::cmd::<Vec<StreamEntry>>("XRANGE").arg(story).arg(from).arg("+").arg("COUNT").arg(LINES);
    let entries = client.issue(command).await?;
    let end = entries.last().map(|entry| entry.id.to_string()).or_else(|| last.map(str::to_owned));
    let lines =
        entries.iter().filter_map(|entry| entry.fields.first().and_then(|(_, text)| serde_json::from_slice(text).ok()));
    Ok((lines.collect(), end))
}
