//! Asks a server something about the topology, in one write and within a short time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use romaine_commands::Request;
use romaine_proto::{FailureKind, Lane as WireLane};

use crate::batch::{Batch, Replies};
use crate::circuit::Patience;
use crate::dedicated::Dedicated;
use crate::error::{Delivery, Error, Result};
use crate::events::Lane;
use crate::server::Server;

/// How long one server's answer is waited for. Short: others are asked at the same time.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

/// Asks over the connection that is there; without one, over one made for it.
pub(super) async fn ask(server: &Arc<Server>, requests: &[Request]) -> Result<Replies> {
    let mut batch = Batch::default();
    for request in requests {
        batch.push(request);
    }
    let asked = async {
        if server.commands.is_ready() {
            return over(&batch, &server.commands).await;
        }
        let dedicated = Box::pin(Dedicated::open(server, Lane::Topology, WireLane::Requests)).await?;
        over(&batch, &dedicated.circuit).await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.with_node(&server.node)),
        Err(_elapsed) => Err(Error::without_reply(FailureKind::Expired, Delivery::Unknown).with_node(&server.node)),
    }
}

async fn over(batch: &Batch, circuit: &crate::circuit::Circuit) -> Result<Replies> {
    let ticketed = batch.issue(circuit, Patience::For(Some(PATIENCE)))?;
    batch.collect(circuit, ticketed).await.map_err(|(kind, delivery)| {
        match (kind, circuit.lock().last_error.clone()) {
            // The connection was made for this question: what ended it is the answer.
            (FailureKind::Closed, Some(cause)) => cause.with_delivery(delivery),
            (_, Some(cause)) => Error::without_reply(kind, delivery).with_source(cause),
            (_, None) => Error::without_reply(kind, delivery),
        }
    })
}

/// The next answer of several, if it comes before `until`.
pub(super) async fn next_of<F: Future>(asked: &mut FuturesUnordered<F>, until: Option<Instant>) -> Option<F::Output> {
    match until {
        Some(until) => tokio::time::timeout_at(until.into(), asked.next()).await.ok().flatten(),
        None => asked.next().await,
    }
}
