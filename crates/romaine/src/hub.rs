//! Routes messages to subscriptions: who wants what, and a bounded backlog for each. The socket is read whether or not
//! anybody keeps up, so that we never are the slow reader.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use romaine_commands::Request;
use romaine_proto::{Delivered, Refused, SubscriptionKind, Subscriptions, subscription_request};
use romaine_resp::{Reader, ServerError, Token};
use tokio::sync::Notify;

use crate::backlog::Queue;
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::inbox::After;
use crate::notice::Notice;

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How the subscription matched.
    pub kind: SubscriptionKind,
    /// What was subscribed: the channel or the pattern.
    pub topic: Bytes,
    /// Where it was published.
    pub channel: Bytes,
    /// What was published.
    pub payload: Bytes,
}

/// What a [`Subscription`](crate::Subscription) yields.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// The subscription was interrupted: what was published between `since` and `until` is missing here. Fetch the
    /// present state from where it is kept.
    Gap {
        /// The channel or pattern.
        topic: Bytes,
        /// The last moment at which the subscription was known to be in force.
        since: SystemTime,
        /// When the server confirmed it again.
        until: SystemTime,
        /// Why it was interrupted.
        cause: Error,
    },
    /// The subscription is in force again; follows every [`Incoming::Gap`].
    Resumed {
        /// The channel or pattern.
        topic: Bytes,
    },
    /// The server refuses to resume the subscription (an ACL was changed). It is asked for again every few seconds, and
    /// with every new connection; once it is in force, [`Incoming::Gap`] follows.
    Refused {
        /// The channel or pattern.
        topic: Bytes,
        /// The server's words.
        cause: Error,
    },
    /// The application did not keep up: so many of the oldest messages were dropped here.
    Dropped(u64),
}

/// Who gets messages of a topic.
#[derive(Debug)]
struct Route {
    queue: Arc<Queue>,
    /// Whether the subscription has been in force for this subscriber: else an interruption is none to it.
    in_force: bool,
}

/// A request to be sent, and the token by which its refusal is known.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) request: Request,
    pub(crate) token: u32,
}

/// The token of the PING behind the request of token `token`.
pub(crate) const fn ping_token(token: u32) -> u32 {
    token | 1
}

/// The token of requests whose refusal means nothing.
const UNSUBSCRIBE: u32 = 0;

#[derive(Debug, Default)]
struct HubState {
    subscriptions: Subscriptions,
    /// Per kind: who gets messages of a topic.
    routes: [HashMap<Bytes, Vec<Route>>; 3],
    cause: Option<Error>,
    /// What was asked for on the present connection and may yet be refused. Tokens are even; the odd one is the PING's.
    asked: HashMap<u32, (SubscriptionKind, Vec<Bytes>)>,
    last_token: u32,
    /// Topics that are asked for again later, because they were refused.
    later: HashSet<(SubscriptionKind, Bytes)>,
    /// The end: nothing will be confirmed any more.
    closed: bool,
    /// The PING behind the last request of a restoration: when it is answered, so is everything before it.
    restored_at: Option<u32>,
}

impl HubState {
    fn ask(&mut self, kind: SubscriptionKind, topics: Vec<Bytes>) -> Asking {
        // Even, and never that of the unsubscribing requests.
        self.last_token = if self.last_token >= u32::MAX - 3 { 2 } else { self.last_token + 2 };
        let request = subscription_request(kind.subscribe_command(), &topics);
        self.asked.insert(self.last_token, (kind, topics));
        Asking { request, token: self.last_token }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<HubState>,
    /// Told on every confirmation and refusal.
    changed: Notify,
    /// Whether topics go elsewhere when the topology moves: what it refuses for now is then no refusal.
    moves: bool,
}

const fn index(kind: SubscriptionKind) -> usize {
    match kind {
        SubscriptionKind::Channel => 0,
        SubscriptionKind::Pattern => 1,
        SubscriptionKind::Shard => 2,
    }
}

impl Hub {
    pub(crate) fn new(moves: bool) -> Self {
        Self { moves, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers `queue` for topics; returns what the server must be asked.
    pub(crate) fn add(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) -> Option<Asking> {
        let mut state = self.lock();
        let mut ask = Vec::new();
        for topic in topics {
            if state.subscriptions.want(kind, topic.clone()) {
                ask.push(topic.clone());
            }
            let in_force = state.subscriptions.is_confirmed(kind, topic);
            let route = Route { queue: queue.clone(), in_force };
            state.routes[index(kind)].entry(topic.clone()).or_default().push(route);
        }
        (!ask.is_empty()).then(|| state.ask(kind, ask))
    }

    /// A refused topic is to be asked for again later. `false`: somebody is about to already.
    pub(crate) fn is_first_to_ask_later(&self, kind: SubscriptionKind, topic: &Bytes) -> bool {
        self.lock().later.insert((kind, topic.clone()))
    }

    /// What to ask the server for `topic` once more; `None` when nobody wants it any more, or it is in force.
    pub(crate) fn ask_again(&self, kind: SubscriptionKind, topic: Bytes) -> Option<Asking> {
        let mut state = self.lock();
        state.later.remove(&(kind, topic.clone()));
        state.subscriptions.is_missing(kind, &topic).then(|| state.ask(kind, vec![topic]))
    }

    /// A request was not sent: there is no connection. The next one restores everything.
    pub(crate) fn not_sent(&self, token: u32) {
        self.lock().asked.remove(&token);
    }

    /// The reverse of [`add`](Self::add); returns what the server must be told.
    pub(crate) fn remove(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) -> Option<Asking> {
        let mut state = self.lock();
        let mut tell = Vec::new();
        for topic in topics {
            if let Some(queues) = state.routes[index(kind)].get_mut(topic) {
                let before = queues.len();
                if let Some(at) = queues.iter().position(|known| Arc::ptr_eq(&known.queue, queue)) {
                    queues.swap_remove(at);
                }
                if queues.is_empty() {
                    state.routes[index(kind)].remove(topic);
                }
                if before == 0 {
                    continue;
                }
            }
            if state.subscriptions.unwant(kind, topic) {
                tell.push(topic.clone());
            }
        }
        let request = || subscription_request(kind.unsubscribe_command(), &tell);
        (!tell.is_empty()).then(|| Asking { request: request(), token: UNSUBSCRIBE })
    }

    /// A subscriber leaves for another server. `Some` when the subscription was in force for it: since when it has not
    /// been, if so.
    pub(crate) fn evict(
        &self,
        kind: SubscriptionKind,
        topic: &Bytes,
        queue: &Arc<Queue>,
    ) -> (Option<Option<Instant>>, Option<Asking>) {
        let was_in_force = {
            let state = self.lock();
            let routes = state.routes[index(kind)].get(topic).into_iter().flatten();
            let in_force = routes.filter(|route| Arc::ptr_eq(&route.queue, queue)).any(|route| route.in_force);
            in_force.then(|| state.subscriptions.interrupted_since(kind, topic))
        };
        (was_in_force, self.remove(kind, std::slice::from_ref(topic), queue))
    }

    /// A subscriber comes from another server, where the subscription was in force until `since`; returns what this
    /// server must be asked.
    pub(crate) fn adopt(
        &self,
        kind: SubscriptionKind,
        topic: &Bytes,
        queue: &Arc<Queue>,
        since: Instant,
        cause: Error,
    ) -> Option<Asking> {
        let mut state = self.lock();
        let is_first = state.subscriptions.want(kind, topic.clone());
        let route = Route { queue: queue.clone(), in_force: true };
        state.routes[index(kind)].entry(topic.clone()).or_default().push(route);
        if state.subscriptions.is_confirmed(kind, topic) {
            let now = clock::now();
            let (since, until) = (clock::wall_clock(since), clock::wall_clock(now));
            let mut wakers = Vec::new();
            queue.push(Incoming::Gap { topic: topic.clone(), since, until, cause }, &mut wakers);
            queue.push(Incoming::Resumed { topic: topic.clone() }, &mut wakers);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            return None;
        }
        state.subscriptions.interrupted(kind, topic, since);
        state.cause.get_or_insert(cause);
        is_first.then(|| state.ask(kind, vec![topic.clone()]))
    }

    /// Whether the server has confirmed the topic on its present connection.
    pub(crate) fn is_confirmed(&self, kind: SubscriptionKind, topic: &Bytes) -> bool {
        self.lock().subscriptions.is_confirmed(kind, topic)
    }

    /// Waits until the server has confirmed all topics, or refused.
    pub(crate) async fn confirmed(&self, kind: SubscriptionKind, topics: &[Bytes]) -> Result<(), ServerError> {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if topics.iter().all(|topic| state.subscriptions.is_confirmed(kind, topic)) {
                    return Ok(());
                }
                if let Some(error) = topics.iter().find_map(|topic| state.subscriptions.refusal(kind, topic)) {
                    return Err(error.clone());
                }
                if state.closed {
                    return Err(ServerError::new(b"ERR the connection was closed by this client"));
                }
            }
            changed.await;
        }
    }

    /// The connection is gone; it was alive at `since`.
    pub(crate) fn disconnected(&self, since: Instant, cause: &Error) {
        let mut state = self.lock();
        state.subscriptions.disconnected(since);
        state.cause = Some(cause.clone());
        state.asked.clear();
        state.restored_at = None;
    }

    /// The connection is usable: what to ask for.
    pub(crate) fn restore(&self) -> Vec<Asking> {
        let mut state = self.lock();
        state.asked.clear();
        let chunks = state.subscriptions.restore(512);
        let asking: Vec<Asking> = chunks.into_iter().map(|(kind, topics)| state.ask(kind, topics)).collect();
        // The first connection restores nothing.
        let is_another = state.cause.is_some();
        state.restored_at = asking.last().filter(|_| is_another).map(|last| ping_token(last.token));
        asking
    }

    /// The client is closed.
    pub(crate) fn close(&self, error: &Error) {
        let mut state = self.lock();
        state.closed = true;
        for routes in &mut state.routes {
            for route in routes.values().flatten() {
                route.queue.close(error.clone());
            }
            routes.clear();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The server answered a PING behind a request, or refused the request.
    pub(crate) fn answered(&self, token: u32, frame: &[u8], after: &mut After) {
        let mut state = self.lock();
        if state.restored_at == Some(token) {
            state.restored_at = None;
            after.notices.push(Notice::Resubscribed(state.subscriptions.confirmed()));
        }
        if token == ping_token(token) {
            state.asked.remove(&(token - 1));
            return;
        }
        let Ok(Token::Error(text)) = Reader::new(frame).token() else { return };
        let Some((kind, topics)) = state.asked.remove(&token) else { return };
        let error = ServerError::new(text);
        if self.moves && matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN") {
            // It stays wanted; once it is known who has the slot, it moves there, or is asked for here again.
            after.notices.push(Notice::Misplaced { kind, topics });
            return;
        }
        match state.subscriptions.refused(kind, topics, error.clone()) {
            Refused::OneByOne(topics) => {
                after.notices.extend(topics.into_iter().map(|topic| Notice::Apart { kind, topic }));
            }
            Refused::Topic { topic, anew } => {
                let cause = Error::server_error(error).with_command(kind.subscribe_command());
                if anew && let Some(routes) = state.routes[index(kind)].get(&topic) {
                    let item = Incoming::Refused { topic: topic.clone(), cause: cause.clone() };
                    deliver(routes.iter().filter(|route| route.in_force), &topic, item, after);
                }
                after.notices.push(Notice::Refused { kind, topic, cause });
            }
            Refused::Unwanted => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A push arrived.
    pub(crate) fn push(&self, frame: &[u8], now: Instant, after: &mut After) {
        let mut state = self.lock();
        if let Some((kind, topic, channel, payload)) = message(frame) {
            // The topic's bytes are shared with the table: one allocation per message, its payload.
            if let Some((topic, routes)) = state.routes[index(kind)].get_key_value(topic) {
                let channel = if channel == &topic[..] { topic.clone() } else { Bytes::copy_from_slice(channel) };
                let message = Message { kind, topic: topic.clone(), channel, payload: Bytes::copy_from_slice(payload) };
                deliver(routes.iter(), topic, Incoming::Message(message), after);
            }
            return;
        }
        match state.subscriptions.push(frame, now) {
            Delivered::Confirmed { kind, topic, interrupted_since } => {
                if let Some(since) = interrupted_since {
                    let cause = state.cause.clone().unwrap_or_else(|| {
                        Error::new(ErrorKind::Closed, crate::Delivery::Unknown, "the server ended the subscription")
                    });
                    if let Some(routes) = state.routes[index(kind)].get(&topic) {
                        let interrupted = || routes.iter().filter(|route| route.in_force);
                        let gap = Incoming::Gap {
                            topic: topic.clone(),
                            since: clock::wall_clock(since),
                            until: clock::wall_clock(now),
                            cause,
                        };
                        deliver(interrupted(), &topic, gap, after);
                        deliver(interrupted(), &topic, Incoming::Resumed { topic: topic.clone() }, after);
                    }
                    let duration = now.saturating_duration_since(since);
                    after.notices.push(Notice::Gap { topic: topic.clone(), duration });
                }
                for route in state.routes[index(kind)].get_mut(&topic).into_iter().flatten() {
                    route.in_force = true;
                }
                drop(state);
                self.changed.notify_waiters();
            }
            Delivered::Revoked { kind, topic } => after.notices.push(Notice::Revoked { kind, topic }),
            Delivered::Message { .. } | Delivered::Other => {}
        }
    }
}

fn deliver<'a>(routes: impl Iterator<Item = &'a Route>, topic: &Bytes, item: Incoming, after: &mut After) {
    let mut routes = routes.peekable();
    let mut item = Some(item);
    let mut dropped = false;
    while let Some(route) = routes.next() {
        // The last one gets the item itself.
        let own = if routes.peek().is_some() { item.clone() } else { item.take() };
        if let Some(own) = own {
            dropped |= route.queue.push(own, &mut after.wakers);
        }
    }
    if dropped {
        after.dropped(topic);
    }
}

/// Kind, topic, channel and payload.
type Parts<'a> = (SubscriptionKind, &'a [u8], &'a [u8], &'a [u8]);

/// The parts of a message frame; `None` for everything else.
fn message(frame: &[u8]) -> Option<Parts<'_>> {
    let mut reader = Reader::new(frame);
    let (Token::Push(count) | Token::Array(count)) = reader.token().ok()? else { return None };
    let mut bulk = || match reader.token() {
        Ok(Token::Bulk(bytes)) => Some(bytes),
        _ => None,
    };
    match (bulk()?, count) {
        (b"message", 3) => {
            let channel = bulk()?;
            Some((SubscriptionKind::Channel, channel, channel, bulk()?))
        }
        (b"smessage", 3) => {
            let channel = bulk()?;
            Some((SubscriptionKind::Shard, channel, channel, bulk()?))
        }
        (b"pmessage", 4) => Some((SubscriptionKind::Pattern, bulk()?, bulk()?, bulk()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every connection that is made anew asks for it, and is refused: each would else start one more to ask later.
    #[test]
    fn a_refused_topic_is_asked_for_later_by_one_however_often_it_is_refused() {
        let (hub, topic) = (Hub::default(), Bytes::from_static(b"news"));
        let kind = SubscriptionKind::Channel;
        for _ in 0..2 {
            assert!(hub.is_first_to_ask_later(kind, &topic));
            for _ in 0..3 {
                assert!(!hub.is_first_to_ask_later(kind, &topic));
            }
            assert!(hub.is_first_to_ask_later(SubscriptionKind::Shard, &topic), "another kind is another topic");
            for kind in [kind, SubscriptionKind::Shard] {
                assert!(hub.ask_again(kind, topic.clone()).is_none(), "nobody wants it any more");
            }
        }
    }
}
