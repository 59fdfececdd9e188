//! What romaine says of its connections.

use romaine::{Event, EventStream, Lane};

use super::Witness;
use crate::scenario::protocol::{Link, Observation};

/// Tells every event until the client is gone.
pub(super) async fn watch(mut events: EventStream, witness: Witness) {
    while let Some(event) = events.next().await {
        if let Some(what) = observation(event) {
            witness.tell(what).await;
        }
    }
}

fn observation(event: Event) -> Option<Observation> {
    Some(match event {
        Event::Suspect { lane, silent_for } => Observation::Suspect { link: link(lane), silent_for },
        Event::Recovered { lane } => Observation::Recovered { link: link(lane) },
        Event::Disconnected { lane, cause, .. } => {
            Observation::Disconnected { link: link(lane), cause: cause.to_string() }
        }
        Event::ReconnectFailed { lane, cause, next_in, .. } => {
            Observation::ReconnectFailed { link: link(lane), cause: cause.to_string(), next_in }
        }
        Event::ConnectAttempt { lane, after, .. } => Observation::Attempt { link: link(lane), after },
        Event::Activated { lane, .. } => Observation::Activated { link: link(lane) },
        Event::ElementMayBeLost { .. } => Observation::ElementMayBeLost,
        Event::GhostFenced { verdict, .. } => Observation::Fenced { verdict: format!("{verdict:?}") },
        Event::Stalled { lane, late_by } => Observation::Stalled { link: link(lane), late_by },
        Event::Failover { from, to } => Observation::Failover { from: from.to_string(), to: to.to_string() },
        Event::Lagged(missed) => Observation::Trouble(format!("{missed} events were missed")),
        _ => return None,
    })
}

const fn link(lane: Lane) -> Link {
    match lane {
        Lane::Commands => Link::Commands,
        Lane::Control => Link::Control,
        Lane::Subscriptions => Link::Subscriptions,
        Lane::Blocking => Link::Blocking,
        _ => Link::Other,
    }
}
