//! Driving a rollout: looking, stepping, writing down, telling the edges.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use romaine::{Client, Event, EventStream};
use romaine_queue::{NewJob, Queue};

use crate::agent::presence::DEPLOY_ATTEMPTS;
use crate::error::{Error, ErrorKind, Result};
use crate::hub;
use crate::id::EdgeId;
use crate::image::Image;
use crate::record::{DEPLOY, Deploy, Reason};
use crate::rollout::engine::{Engine, Line, Seen};
use crate::rollout::plan::{Order, Phase, Stage};
use crate::rollout::store::{self, Lead};

/// How long a driver leads without a sign of life.
const LEASE: Duration = Duration::from_secs(10);

/// Between two looks.
const TICK: Duration = Duration::from_millis(500);

/// Edges that are asked or told at the same time.
const AT_ONCE: usize = 64;

/// What somebody who watches is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// Something happened.
    Line(Line),
    /// Another process drives it; it is watched from here.
    Following(String),
    /// This process drives it from now on.
    Leading,
    /// The hub is away; it is waited for.
    Waiting(String),
}

/// A driver's memory between two looks.
#[derive(Debug, Default)]
struct Memory {
    engine: Option<Engine>,
    /// How many steps of it were written down.
    steps: u64,
    /// What edges were told may be lost: they are told again.
    tell_again: bool,
    told_until: Option<String>,
    following: Option<String>,
    is_waiting: bool,
}

/// Drives a rollout to its end, or follows whoever does and takes over when that one dies. With `stop_when_paused` it
/// returns when the rollout is paused: a pause may last for days.
///
/// # Errors
/// When there is no such rollout, or the hub refuses. A hub that is away is waited for.
///
/// # Cancel safety
/// Yes: anybody goes on from what was written down.
pub async fn drive(
    client: &Client,
    id: &str,
    stop_when_paused: bool,
    tell: &mut (dyn FnMut(Watched) + Send),
) -> Result<Stage> {
    let name = format!("{:016x}", fastrand::u64(..));
    let mut events = client.events();
    let mut memory = Memory::default();
    loop {
        if failed_over(&mut events) {
            // What was written to a primary last may be lost with it.
            memory.engine = None;
            memory.tell_again = true;
        }
        match turn(client, id, &name, &mut memory, stop_when_paused, tell).await {
            Ok(Some(stage)) => return Ok(stage),
            Ok(None) => memory.is_waiting = false,
            Err(error) if error.kind() == ErrorKind::Unreachable => {
                // What of the last step was written down is not known: it is read again.
                memory.engine = None;
                memory.tell_again = true;
                if !memory.is_waiting {
                    tell(Watched::Waiting(error.full()));
                    memory.is_waiting = true;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Whether a server of the hub was replaced by another since the last look.
fn failed_over(events: &mut EventStream) -> bool {
    let mut seen = false;
    while let Some(event) = events.try_next() {
        seen |= matches!(event, Event::Failover { .. });
    }
    seen
}

/// A tick, and the end if it was the last one.
async fn turn(
    client: &Client,
    id: &str,
    name: &str,
    memory: &mut Memory,
    stop_when_paused: bool,
    tell: &mut (dyn FnMut(Watched) + Send),
) -> Result<Option<Stage>> {
    let stage = tick(client, id, name, memory, tell).await?;
    let is_last = stage.is_over() || (stop_when_paused && stage == Stage::Paused);
    if !is_last {
        return Ok(None);
    }
    store::unlead(client, id, name).await?;
    tell_story(client, id, memory, tell).await?;
    Ok(Some(stage))
}

async fn tick(
    client: &Client,
    id: &str,
    name: &str,
    memory: &mut Memory,
    tell: &mut (dyn FnMut(Watched) + Send),
) -> Result<Stage> {
    tell_story(client, id, memory, tell).await?;
    let unknown = || Error::usage(format!("there is no rollout {id}: `romaine rollout status` lists them"));
    if memory.engine.is_none() {
        let loaded = store::load(client, id).await?.ok_or_else(unknown)?;
        if loaded.engine.progress.stage.is_over() {
            return Ok(loaded.engine.progress.stage);
        }
        memory.steps = loaded.steps;
        memory.engine = Some(loaded.engine);
    }
    match store::lead(client, id, name, LEASE).await? {
        Lead::Other { driver } => {
            if memory.following.as_ref() != Some(&driver) {
                tell(Watched::Following(driver.clone()));
                memory.following = Some(driver);
            }
            let loaded = store::load(client, id).await?.ok_or_else(unknown)?;
            memory.engine = None;
            // What was asked for may end a pause.
            Ok(if loaded.order.is_some() { Stage::Running } else { loaded.engine.progress.stage })
        }
        Lead::Ours { now_ms, order, is_new } => {
            if is_new {
                // Another driver may have got further than what was read before the lead was ours.
                let loaded = store::load(client, id).await?.ok_or_else(unknown)?;
                memory.steps = loaded.steps;
                memory.engine = Some(loaded.engine);
                // The hub may have lost what the driver before told them last.
                memory.tell_again = true;
                if memory.following.take().is_some() {
                    tell(Watched::Leading);
                }
            }
            let Some(engine) = memory.engine.as_mut() else { return Ok(Stage::Running) };
            if std::mem::take(&mut memory.tell_again) {
                engine.tell_again();
            }
            if !step(client, (name, &mut memory.steps), engine, order, now_ms).await? {
                memory.engine = None;
                memory.tell_again = true;
                return Ok(Stage::Running);
            }
            Ok(engine.progress.stage)
        }
    }
}

/// Looks, decides, writes down, tells the edges, writes that down. False when somebody else leads by now, or the hub has
/// lost a step.
async fn step(
    client: &Client,
    (name, steps): (&str, &mut u64),
    engine: &mut Engine,
    order: Option<Order>,
    now_ms: i64,
) -> Result<bool> {
    let watched: Vec<String> = engine.watched().cloned().collect();
    let seen = look(client, watched, now_ms).await?;
    let before = engine.clone();
    let story = engine.step(&seen, order, now_ms);
    if *engine != before || order.is_some() {
        let changed = changed(&before, engine);
        if !store::save(client, (name, *steps), engine, &changed, order, &story).await? {
            return Ok(false);
        }
        *steps += 1;
    }
    let undelivered = engine.undelivered();
    if undelivered.is_empty() {
        return Ok(true);
    }
    let before = engine.clone();
    let story = deliver(client, engine, undelivered, now_ms).await?;
    let changed = changed(&before, engine);
    let saved = store::save(client, (name, *steps), engine, &changed, None, &story).await?;
    *steps += u64::from(saved);
    Ok(saved)
}

fn changed(before: &Engine, after: &Engine) -> Vec<String> {
    after
        .targets
        .iter()
        .filter(|(id, target)| before.targets.get(*id) != Some(target))
        .map(|(id, _)| id.clone())
        .collect()
}

async fn look(client: &Client, edges: Vec<String>, now_ms: i64) -> Result<BTreeMap<String, Seen>> {
    let looks = stream::iter(edges).map(async |id| {
        let edge: EdgeId = id.parse()?;
        let reported = hub::reported(client, &edge).await?;
        let seen = Seen {
            // The reports are younger than `now_ms`, if anything.
            online: reported.is_online(now_ms),
            image: reported.image,
            generation: reported.generation,
            tried: reported.tried,
            health: reported.health,
        };
        Ok::<_, Error>((id, seen))
    });
    looks.buffered(AT_ONCE).try_collect().await
}

/// What is wanted goes into each edge's record first, its job second: an edge that finds the one without the other makes
/// the job itself.
async fn deliver(
    client: &Client,
    engine: &mut Engine,
    undelivered: Vec<(String, Image, u64, Reason)>,
    now_ms: i64,
) -> Result<Vec<Line>> {
    let (rollout, retries) = (engine.plan.id.clone(), engine.plan.retries);
    let previous = |id: &String| engine.targets.get(id).and_then(|target| target.previous.clone());
    let wishes: Vec<(String, Deploy)> = undelivered
        .into_iter()
        .map(|(id, image, generation, reason)| {
            let previous = previous(&id);
            (id, Deploy { generation, image, rollout: rollout.clone(), reason, previous, retries })
        })
        .collect();
    let told = stream::iter(wishes).map(async |(id, deploy)| {
        let edge: EdgeId = id.parse()?;
        let wanted = hub::want(client, &edge, &deploy).await?;
        if wanted == deploy.generation {
            let queue = Queue::new(client, &edge.queue())?;
            let job = NewJob::json(DEPLOY, &deploy)?
                .id(deploy.job_id())
                .generation(DEPLOY, deploy.generation)
                .attempts(DEPLOY_ATTEMPTS);
            queue.producer().enqueue(job).await?;
        }
        Ok::<_, Error>((id, wanted > deploy.generation))
    });
    let told: Vec<(String, bool)> = told.buffered(AT_ONCE).try_collect().await?;
    let mut story = Vec::new();
    for (id, superseded) in told {
        let Some(target) = engine.targets.get_mut(&id) else { continue };
        target.delivered = true;
        if superseded && target.phase != Phase::Done {
            target.phase = Phase::Superseded;
            target.since_ms = now_ms;
            target.note = Some("something newer is wanted of it".to_owned());
            story.push(Line {
                at_ms: now_ms,
                edge: Some(id),
                text: "superseded: something newer is wanted of it".to_owned(),
            });
        }
    }
    Ok(story)
}

async fn tell_story(
    client: &Client,
    id: &str,
    memory: &mut Memory,
    tell: &mut (dyn FnMut(Watched) + Send),
) -> Result<()> {
    let (lines, end) = store::story(client, id, memory.told_until.as_deref()).await?;
    memory.told_until = end;
    for line in lines {
        tell(Watched::Line(line));
    }
    Ok(())
}
