//! A request that several servers must answer: its parts, their replies, and the one reply that they make.

use std::sync::Arc;

use futures_util::future::join_all;
use romaine_commands::{Flags, Request, Spec};
use romaine_proto::retry::{self, Decision, RetryPolicy};
use romaine_proto::{NodeAddress, Route, merge, split};

use super::Fleet;
use crate::call::{Place, RawCall, Target, refusal};
use crate::cells::ReplyBytes;
use crate::circuit::Patience;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::NodeRole;
use crate::server::Server;

/// Asks them all at once and merges what they answer, as the command's table says.
///
/// # Errors
/// The first part's that failed. If others were executed, and the command writes, [`Delivery::Unknown`]: it was executed
/// in part.
pub(crate) async fn scatter(
    fleet: Arc<Fleet>,
    request: Box<Request>,
    route: Route,
    patience: Patience,
    policy: RetryPolicy,
) -> Result<ReplyBytes> {
    let spec = request.spec();
    if let Route::Split = route {
        let Some(parts) = split(&request) else {
            return Err(Error::usage("it cannot be split over the slots of its keys"));
        };
        let calls =
            parts.iter().map(|part| RawCall::new(Place::Fleet(&fleet), part.request.clone(), patience).retry(policy));
        let replies = join_all(calls).await;
        let keys: Vec<Vec<usize>> = parts.into_iter().map(|part| part.keys).collect();
        return merged(spec, Some(&keys), replies);
    }
    let visited = visit(&fleet, matches!(route, Route::AllNodes));
    let patience = Patience::Until(fleet.deadline(patience));
    let calls = visited.iter().map(|visited| of_one(&fleet, visited, &request, patience, policy));
    merged(spec, None, join_all(calls).await)
}

/// One node's reply; when it was left for another meanwhile, that one's.
async fn of_one(
    fleet: &Arc<Fleet>,
    visited: &Visited,
    request: &Request,
    patience: Patience,
    policy: RetryPolicy,
) -> Result<ReplyBytes> {
    let mut server = visited.server.clone();
    loop {
        let target = Target::of(&server, &server.commands);
        let reply = RawCall::new(Place::At(target), request.clone(), patience).retry(policy).await;
        let (Err(error), Some(slot)) = (&reply, visited.slot) else { return reply };
        let was_left = error.kind() == ErrorKind::Closed && server.is_retired() && !fleet.common.is_closed();
        if !was_left || retry::without_reply(policy, error.delivery(), request.spec()) == Decision::GiveUp {
            return reply;
        }
        server = fleet.primary_in_time(Some(slot), fleet.deadline(patience)).await?;
    }
}

/// One to be asked. Who is there only for this once is left afterwards, also when the call was dropped.
struct Visited {
    server: Arc<Server>,
    /// One of those that it serves: another primary may take its place.
    slot: Option<u16>,
    is_guest: bool,
}

impl Drop for Visited {
    fn drop(&mut self) {
        if self.is_guest {
            self.server.retire();
        }
    }
}

/// Everyone to be asked.
fn visit(fleet: &Arc<Fleet>, replicas_too: bool) -> Vec<Visited> {
    let map = fleet.map();
    let primaries = map.one_slot_of_each().filter_map(|slot| {
        let server = map.shard_of(slot)?.primary.clone();
        Some(Visited { server, slot: Some(slot), is_guest: false })
    });
    let mut servers: Vec<_> = primaries.collect();
    if !replicas_too {
        return servers;
    }
    for node in map.all.iter().filter(|node| node.role == NodeRole::Replica) {
        let Ok(address) = node.node.parse::<NodeAddress>() else { continue };
        let (server, is_guest) = fleet.visit(&address);
        server.start_commands();
        servers.push(Visited { server, slot: None, is_guest });
    }
    servers
}

fn merged(spec: &'static Spec, keys: Option<&[Vec<usize>]>, replies: Vec<Result<ReplyBytes>>) -> Result<ReplyBytes> {
    let mut frames = Vec::with_capacity(replies.len());
    let mut failed = None;
    let mut is_unknown = false;
    // SCRIPT KILL: most servers have nothing to kill.
    let one_is_enough = spec.response_policy == "one_succeeded";
    for reply in replies {
        match reply {
            Ok(bytes) => match refusal(&bytes) {
                Some(error) if !one_is_enough => failed = failed.or(Some(Error::server_error(error))),
                Some(_) => frames.push(bytes),
                None => frames.push(bytes),
            },
            Err(error) => {
                is_unknown |= matches!(error.delivery(), Delivery::Unknown | Delivery::Executed);
                failed = failed.or(Some(error));
            }
        }
    }
    if let Some(error) = failed {
        let in_part = (is_unknown || !frames.is_empty()) && !spec.flags.has(Flags::READ_ONLY);
        return Err(if in_part { error.with_delivery(Delivery::Unknown) } else { error });
    }
    let frames: Vec<&[u8]> = frames.iter().map(ReplyBytes::as_slice).collect();
    match merge(spec, keys, &frames) {
        Ok(bytes) => Ok(ReplyBytes::copy(&bytes)),
        Err(error) => {
            let message = "the servers' replies do not make one reply";
            Err(Error::new(ErrorKind::Protocol, Delivery::Executed, message).with_source(error))
        }
    }
}
