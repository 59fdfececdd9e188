//! Bringing an image to many edges, in waves.
//!
//! Everything a rollout knows is in Redis; whoever drives it holds only a lease on the lead. When a driver dies, anyone
//! goes on from there ([`drive`]). What an edge is to run stands in its own record with a generation, so a step that is
//! taken twice does nothing twice.

mod driver;
mod engine;
mod plan;
mod shelf;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use romaine::Client;
use serde::Serialize;

pub use driver::{Watched, drive};
pub use engine::Line;
pub use plan::{Away, Budget, Order, Phase, Plan, Progress, Stage, Target, Waves, parse_percent};
pub use shelf::{Listed, ROLLOUTS_MAX, forget, list};

use crate::error::{Error, Result};
use crate::image::Image;
use crate::labels::Selector;
use crate::{fleet, hub};
use engine::Engine;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its name; a new one where there is none.
    pub id: Option<String>,
    /// What is to run.
    pub image: Image,
    /// On which edges.
    pub targets: Selector,
    /// The same, as it was written.
    pub targets_text: String,
    /// In which waves.
    pub waves: Waves,
    /// How many failures are too many.
    pub budget: Budget,
    /// How long an edge may take.
    pub timeout: Duration,
    /// What to do about edges that are away.
    pub offline: Away,
    /// How long a wave is watched before the next.
    pub soak: Duration,
    /// How often an edge runs a handler that failed again.
    pub retries: u32,
    /// Whether an abort brings edges back.
    pub rollback: bool,
}

/// A rollout as it stands.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct View {
    /// What was asked for.
    pub plan: Plan,
    /// How far it is.
    pub progress: Progress,
    /// How far each edge is.
    pub targets: BTreeMap<String, Target>,
    /// Who drives it; nobody when it is over, or when its driver has died.
    pub driver: Option<String>,
    /// The order that waits to be carried out.
    pub order: Option<Order>,
    /// The hub's time.
    pub now_ms: i64,
    /// What happened so far; empty in the list of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<Line>,
}

/// Writes a rollout down; nothing is sent before somebody drives it. Answers its name. The oldest of those that are over
/// are forgotten when there are more than [`ROLLOUTS_MAX`].
///
/// # Errors
/// When no edge is chosen, the name is taken, or the hub cannot be reached or refuses.
pub async fn create(client: &Client, wish: &Wish) -> Result<String> {
    let mut edges = fleet::list(client, &wish.targets).await?;
    if edges.is_empty() {
        return Err(Error::usage(format!(
            "no edge is chosen by '{}': see `romaine fleet` for ids and labels",
            wish.targets_text
        )));
    }
    let now_ms = hub::time_ms(client).await?;
    let known = edges.iter().map(|edge| {
        let tried = edge.reported.tried.as_ref().map_or(0, |tried| tried.generation);
        let wanted = edge.desired.as_ref().map_or(0, |desired| desired.generation);
        edge.reported.generation.max(tried).max(wanted)
    });
    let (generation, back) = store::generations(client, known.max().unwrap_or(0)).await?;
    let id = wish.id.clone().unwrap_or_else(|| format!("r{generation}"));
    // Those who are there go first: a first wave teaches nothing about edges that are away.
    fastrand::Rng::with_seed(generation).shuffle(&mut edges);
    edges.sort_by_key(|edge| !edge.online);
    let count = u32::try_from(edges.len()).map_err(|_many| Error::usage("too many edges"))?;
    let waves = wish.waves.sizes(count);
    let of_wave = waves.iter().zip(0_u32..).flat_map(|(size, wave)| (0..*size).map(move |_| wave));
    let targets = edges.iter().zip(of_wave).map(|(edge, wave)| (edge.id.clone(), Target::new(wave, now_ms))).collect();
    let plan = Plan {
        id: id.clone(),
        image: wish.image.clone(),
        generation,
        back,
        targets: wish.targets_text.clone(),
        waves,
        budget: wish.budget,
        timeout_ms: millis(wish.timeout),
        offline: wish.offline,
        soak_ms: millis(wish.soak),
        retries: wish.retries,
        rollback: wish.rollback,
        created_ms: now_ms,
    };
    let progress =
        Progress { stage: Stage::Running, wave: 0, settled_ms: None, reason: None, forgiven: 0, ended_ms: None };
    let text =
        format!("{} to {count} edges in {} waves, generation {generation}", plan.image.short(), plan.waves.len());
    let line = Line { at_ms: now_ms, edge: None, text };
    if !store::create(client, &Engine { plan, progress, targets }, &line).await? {
        return Err(Error::usage(format!("there is a rollout {id} already: give this one another --name")));
    }
    if let Err(error) = shelf::tidy(client).await {
        tracing::warn!(error = error.full(), "old rollouts are forgotten with the next one");
    }
    Ok(id)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The names of rollouts, the newest first, a hundred at most.
///
/// # Errors
/// When the hub cannot be reached, or refuses.
pub async fn names(client: &Client) -> Result<Vec<String>> {
    store::names(client, 0, ROLLOUTS_MAX).await
}

/// A rollout by its name.
///
/// # Errors
/// When there is none, or the hub cannot be reached or refuses.
pub async fn view(client: &Client, id: &str) -> Result<View> {
    let loaded = store::load(client, id).await?.ok_or_else(|| unknown(id))?;
    let now_ms = hub::time_ms(client).await?;
    let (mut story, mut last) = store::story(client, id, None).await?;
    loop {
        let (more, end) = store::story(client, id, last.as_deref()).await?;
        if more.is_empty() {
            break;
        }
        story.extend(more);
        last = end;
    }
    Ok(view_of(loaded, now_ms, story))
}

fn view_of(loaded: store::Loaded, now_ms: i64, story: Vec<Line>) -> View {
    let Engine { plan, progress, targets } = loaded.engine;
    let driver = loaded.driver.filter(|(_, until)| *until > now_ms && !progress.stage.is_over()).map(|(name, _)| name);
    View { plan, progress, targets, driver, order: loaded.order, now_ms, story }
}

/// Asks something of a rollout; whoever drives it carries it out.
///
/// # Errors
/// When there is none, it is over, or the hub cannot be reached or refuses.
pub async fn order(client: &Client, id: &str, order: Order) -> Result<()> {
    let loaded = store::load(client, id).await?.ok_or_else(|| unknown(id))?;
    let stage = loaded.engine.progress.stage;
    let fits = match order {
        Order::Pause => stage == Stage::Running,
        Order::Resume => stage == Stage::Paused || loaded.order == Some(Order::Pause),
        Order::Abort => matches!(stage, Stage::Running | Stage::Paused),
    };
    if !fits {
        return Err(Error::usage(format!("rollout {id} is {stage}: it cannot {} now", store::order_name(order))));
    }
    store::order(client, id, order).await
}

fn unknown(id: &str) -> Error {
    Error::usage(format!("there is no rollout {id}: `romaine rollout status` lists them"))
}
