//! Who is there, and how they are.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use romaine::Client;
use romaine_queue::Queue;
use serde::Serialize;

use crate::error::Result;
use crate::hub;
use crate::id::EdgeId;
use crate::labels::Selector;
use crate::record::{Deploy, Reported};

/// Edges that are asked about at the same time.
const AT_ONCE: usize = 64;

/// An edge as the hub knows it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// Its id.
    pub id: String,
    /// Whether it kept its promise of a sign of life.
    pub online: bool,
    /// How long it has not been heard of, in milliseconds.
    pub silent_ms: u64,
    /// What it says of itself.
    pub reported: Reported,
    /// What is wanted of it.
    pub desired: Option<Deploy>,
    /// Its queue.
    pub queue: Depth,
}

/// What is in an edge's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Depth {
    /// Jobs that could be taken.
    pub waiting: u64,
    /// Jobs whose time has not come.
    pub delayed: u64,
    /// Jobs that it has.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the oldest waits, in milliseconds.
    pub oldest_ms: Option<u64>,
}

impl Edge {
    /// Whether it runs something else than what is wanted.
    #[must_use]
    pub fn is_drifting(&self) -> bool {
        self.desired.as_ref().is_some_and(|desired| self.reported.image.as_ref() != Some(&desired.image))
    }
}

/// The ids of all edges that were ever heard of.
///
/// The keyspace is scanned (in steps; nobody waits for it): a list of all edges would have to be writable by each of
/// them.
///
/// # Errors
/// When the hub cannot be reached, or refuses.
pub async fn ids(client: &Client) -> Result<Vec<EdgeId>> {
    let keys: Vec<String> = client.scan_all(Some(EdgeId::STATES)).try_collect().await?;
    let mut ids: Vec<EdgeId> = keys.iter().filter_map(|key| EdgeId::of_state_key(key)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The chosen edges, by id.
///
/// # Errors
/// When the hub cannot be reached, or refuses.
pub async fn list(client: &Client, selector: &Selector) -> Result<Vec<Edge>> {
    let now_ms = hub::time_ms(client).await?;
    let found = stream::iter(ids(client).await?).map(async |id| {
        let reported = hub::reported(client, &id).await?;
        if !selector.matches(id.as_str(), &reported.labels) {
            return Ok(None);
        }
        edge(client, id, reported, now_ms).await.map(Some)
    });
    let edges: Vec<Option<Edge>> = found.buffered(AT_ONCE).try_collect().await?;
    Ok(edges.into_iter().flatten().collect())
}

/// Forgets an edge that is gone for good: what it said of itself and what is wanted of it. Its queue stays.
///
/// # Errors
/// When the hub cannot be reached, or refuses.
pub async fn forget(client: &Client, id: &EdgeId) -> Result<bool> {
    use romaine::commands::*;
    let keys = [id.state_key(), id.session_key(), id.desired_key(), id.log_key(), id.sent_key()];
    let gone: i64 = client.del(&keys[..]).await?;
    Ok(gone > 0)
}

async fn edge(client: &Client, id: EdgeId, reported: Reported, now_ms: i64) -> Result<Edge> {
    let desired = hub::wanted(client, &id).await?;
    let status = Queue::new(client, &id.queue())?.status().await?;
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Ok(Edge {
        online: reported.is_online(now_ms),
        silent_ms: millis(reported.silent_for(now_ms)),
        id: id.to_string(),
        reported,
        desired,
        queue: Depth {
            waiting: status.waiting,
            delayed: status.delayed,
            leased: status.leased,
            dead: status.dead,
            oldest_ms: status.oldest_waiting.map(millis),
        },
    })
}
