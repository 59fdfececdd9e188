//! A request that several servers must answer: its parts, their replies, and the one reply that they make.

use std::cmp::Reverse;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use romaine_commands::{Flags, Request, Spec};
use romaine_proto::retry::{self, Decision, RetryPolicy};
use romaine_proto::{Gathering, NodeAddress, Route, Shortfall, merge, split};

use super::Fleet;
use super::ask::next_of;
use super::map::Shard;
use crate::call::{Place, RawCall, Target, refusal};
use crate::cells::ReplyBytes;
use crate::circuit::Patience;
use crate::clock;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::NodeRole;
use crate::server::Server;

/// Asks them all at once and merges what they answer, as the command's table says.
///
/// # Errors
/// The first part's that failed. If others were executed, and the command writes, [`Delivery::Unknown`]: it was executed
/// in part. Before the first view it waits for that, within its deadline. Where one success is enough and there is none, the failure that says most.
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
        return merged(spec, &Gathering::new(spec), Some(&keys), replies);
    }
    let deadline = fleet.deadline(patience);
    let patience = Patience::Until(deadline);
    // Before the first view there is nobody to be asked, and nobody's answer is none.
    fleet.primary_in_time(None, deadline).await?;
    let visited = visit(&fleet, matches!(route, Route::AllNodes));
    let mut gathering = Gathering::new(spec);
    let calls = visited.iter().map(async |visited| of_one(&fleet, visited, &request, patience, policy).await.1);
    let replies = gather(&mut gathering, calls).await;
    merged(spec, &gathering, None, replies)
}

/// Asks them all at once; each has a result of its own, with the name of who gave it.
///
/// # Errors
/// When no view came before the deadline.
pub(crate) async fn each(
    fleet: &Arc<Fleet>,
    request: &Request,
    replicas_too: bool,
    patience: Patience,
    policy: RetryPolicy,
) -> Result<Vec<(Arc<str>, Result<ReplyBytes>)>> {
    let deadline = fleet.deadline(patience);
    fleet.primary_in_time(None, deadline).await?;
    let visited = visit(fleet, replicas_too);
    let calls = visited.iter().map(|visited| of_one(fleet, visited, request, Patience::Until(deadline), policy));
    Ok(join_all(calls).await)
}

/// The replies that are worth waiting for, in the order of those that were asked.
async fn gather(
    gathering: &mut Gathering,
    calls: impl Iterator<Item = impl Future<Output = Result<ReplyBytes>>>,
) -> Vec<Result<ReplyBytes>> {
    let mut asked: FuturesUnordered<_> =
        calls.enumerate().map(|(place, call)| async move { (place, call.await) }).collect();
    let mut replies = Vec::with_capacity(asked.len());
    while let Some((place, reply)) = next_of(&mut asked, gathering.until()).await {
        if let Ok(bytes) = &reply {
            gathering.answered(clock::now(), bytes.as_slice());
        }
        replies.push((place, reply));
    }
    replies.sort_unstable_by_key(|(place, _)| *place);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

/// One node's reply and its name; when it was left for another meanwhile, that one's.
async fn of_one(
    fleet: &Arc<Fleet>,
    visited: &Visited,
    request: &Request,
    patience: Patience,
    policy: RetryPolicy,
) -> (Arc<str>, Result<ReplyBytes>) {
    let mut server = visited.server.clone();
    loop {
        let target = Target::of(&server, &server.commands);
        let reply = RawCall::new(Place::At(target), request.clone(), patience).retry(policy).await;
        let (Err(error), Follows::Shard(slot)) = (&reply, visited.follows) else { return (server.node.clone(), reply) };
        let was_left = error.kind() == ErrorKind::Closed && server.is_retired() && !fleet.common.is_closed();
        if !was_left || retry::without_reply(policy, error.delivery(), request.spec()) == Decision::GiveUp {
            return (server.node.clone(), reply);
        }
        server = match fleet.primary_in_time(slot, fleet.deadline(patience)).await {
            Ok(server) => server,
            Err(error) => return (server.node.clone(), Err(error)),
        };
    }
}

/// One to be asked. Who is there only for this once is left afterwards, also when the call was dropped.
struct Visited {
    server: Arc<Server>,
    follows: Follows,
    is_guest: bool,
}

/// Who is asked in its place when it is left.
#[derive(Debug, Clone, Copy)]
enum Follows {
    /// The next primary of its shard, of which this is a slot; `None` where there are no slots.
    Shard(Option<u16>),
    /// Nobody: it is this node that is asked.
    Nobody,
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
    let visited =
        |shard: &Shard, slot| Visited { server: shard.primary.clone(), follows: Follows::Shard(slot), is_guest: false };
    let mut servers: Vec<_> = if fleet.is_cluster() {
        map.one_slot_of_each().filter_map(|slot| Some(visited(map.shard_of(slot)?, Some(slot)))).collect()
    } else {
        map.shards.first().map(|shard| visited(shard, None)).into_iter().collect()
    };
    if !replicas_too {
        return servers;
    }
    for node in map.all.iter().filter(|node| node.role == NodeRole::Replica) {
        let Ok(address) = node.node.parse::<NodeAddress>() else { continue };
        let (server, is_guest) = fleet.visit(&address);
        server.start_commands();
        servers.push(Visited { server, follows: Follows::Nobody, is_guest });
    }
    servers
}

fn merged(
    spec: &'static Spec,
    gathering: &Gathering,
    keys: Option<&[Vec<usize>]>,
    replies: Vec<Result<ReplyBytes>>,
) -> Result<ReplyBytes> {
    let (mut frames, mut failures) = (Vec::with_capacity(replies.len()), Vec::new());
    for reply in replies {
        let reply = reply.and_then(|bytes| match refusal(&bytes) {
            Some(error) => Err(Error::server_error(error)),
            None => Ok(bytes),
        });
        match reply {
            Ok(bytes) => frames.push(bytes),
            Err(error) => failures.push(error),
        }
    }
    if gathering.is_one_enough() {
        // Nothing is half done: what could be ended was, or there was nothing.
        let telling = failures.into_iter().min_by_key(|error| Reverse(Shortfall::of(error.server())));
        if let Some(error) = telling.filter(|_| !gathering.is_decided()) {
            return Err(error);
        }
    } else if !failures.is_empty() {
        let is_unknown = |error: &Error| matches!(error.delivery(), Delivery::Unknown | Delivery::Executed);
        let in_part = failures.iter().any(is_unknown) || !frames.is_empty();
        let error = failures.swap_remove(0);
        let is_half_done = in_part && !spec.flags.has(Flags::READ_ONLY);
        return Err(if is_half_done { error.with_delivery(Delivery::Unknown) } else { error });
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
