//! Routes messages to subscriptions: who wants what, and a bounded backlog for each. The socket is read whether or not
//! anybody keeps up, so that we never are the slow reader.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use romaine_commands::Request;
use romaine_proto::{Delivered, SubscriptionKind, Subscriptions};
use romaine_resp::{Reader, ServerError, Token};
use tokio::sync::Notify;

use crate::circuit::{After, Notice};
use crate::clock;
use crate::config::Overflow;
use crate::error::{Error, ErrorKind};

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
    /// The application did not keep up: so many of the oldest messages were dropped here.
    Dropped(u64),
}

/// The backlog of one subscription.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    capacity: usize,
    overflow: Overflow,
}

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<Incoming>,
    dropped: u64,
    waker: Option<Waker>,
    closed: Option<Error>,
}

/// How many items a consumer takes at once: the lock is then rare for both sides.
const HANDFUL: usize = 512;

impl Queue {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self { state: Mutex::default(), capacity, overflow }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends; true when something had to be dropped for it.
    fn push(&self, item: Incoming, wakers: &mut Vec<Waker>) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        let full = state.items.len() >= self.capacity;
        if full {
            match self.overflow {
                Overflow::DropOldest => {
                    state.items.pop_front();
                    state.dropped += 1;
                }
                Overflow::Close => {
                    state.closed = Some(Error::new(
                        ErrorKind::Overloaded,
                        crate::Delivery::Executed,
                        "the subscription was closed: its backlog is full (limit subscription_backlog)",
                    ));
                }
            }
        }
        if state.closed.is_none() {
            state.items.push_back(item);
        }
        if let Some(waker) = state.waker.take() {
            wakers.push(waker);
        }
        full
    }

    /// Moves items to the consumer's hand. `Err` when the subscription has ended.
    pub(crate) fn take(&self, hand: &mut VecDeque<Incoming>, waker: &Waker) -> Result<bool, Option<Error>> {
        let mut state = self.lock();
        if state.dropped > 0 {
            hand.push_back(Incoming::Dropped(std::mem::take(&mut state.dropped)));
        }
        let count = state.items.len().min(HANDFUL);
        hand.extend(state.items.drain(..count));
        if !hand.is_empty() {
            return Ok(true);
        }
        if let Some(error) = &state.closed {
            return Err(Some(error.clone()));
        }
        state.waker = Some(waker.clone());
        Ok(false)
    }

    pub(crate) fn close(&self, error: Error) {
        let waker = {
            let mut state = self.lock();
            state.closed.get_or_insert(error);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug, Default)]
struct HubState {
    subscriptions: Subscriptions,
    /// Per kind: who gets messages of a topic.
    routes: [HashMap<Bytes, Vec<Arc<Queue>>>; 3],
    cause: Option<Error>,
    /// Topics to be confirmed until the subscriptions are in force again.
    restoring: usize,
    refusals: u64,
    last_refusal: Option<ServerError>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<HubState>,
    /// Told on every confirmation and refusal.
    changed: Notify,
}

const fn index(kind: SubscriptionKind) -> usize {
    match kind {
        SubscriptionKind::Channel => 0,
        SubscriptionKind::Pattern => 1,
        SubscriptionKind::Shard => 2,
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers `queue` for topics; returns those the server must be asked for.
    pub(crate) fn add(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) -> Vec<Bytes> {
        let mut state = self.lock();
        let mut ask = Vec::new();
        for topic in topics {
            if state.subscriptions.want(kind, topic.clone()) {
                ask.push(topic.clone());
            }
            state.routes[index(kind)].entry(topic.clone()).or_default().push(queue.clone());
        }
        ask
    }

    /// The reverse; returns those the server must be told of.
    pub(crate) fn remove(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) -> Vec<Bytes> {
        let mut state = self.lock();
        let mut tell = Vec::new();
        for topic in topics {
            if let Some(queues) = state.routes[index(kind)].get_mut(topic) {
                let before = queues.len();
                if let Some(at) = queues.iter().position(|known| Arc::ptr_eq(known, queue)) {
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
        tell
    }

    /// Waits until the server has confirmed all topics, or refused.
    pub(crate) async fn confirmed(&self, kind: SubscriptionKind, topics: &[Bytes]) -> Result<(), ServerError> {
        let refusals = self.lock().refusals;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if topics.iter().all(|topic| state.subscriptions.is_confirmed(kind, topic)) {
                    return Ok(());
                }
                if state.refusals != refusals
                    && let Some(error) = &state.last_refusal
                {
                    return Err(error.clone());
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
        state.restoring = 0;
    }

    /// The connection is usable: what to ask for.
    pub(crate) fn restore(&self) -> Vec<Request> {
        let mut state = self.lock();
        state.restoring = state.subscriptions.len();
        state.subscriptions.restore(512)
    }

    /// The client is closed.
    pub(crate) fn close(&self, error: &Error) {
        let mut state = self.lock();
        for routes in &mut state.routes {
            for queue in routes.values().flatten() {
                queue.close(error.clone());
            }
            routes.clear();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The server refused a subscription.
    pub(crate) fn refused(&self, frame: &[u8]) {
        if let Ok(Token::Error(text)) = Reader::new(frame).token() {
            let mut state = self.lock();
            state.refusals += 1;
            state.last_refusal = Some(ServerError::new(text));
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// A push arrived.
    pub(crate) fn push(&self, frame: &[u8], now: Instant, after: &mut After) {
        let mut state = self.lock();
        if let Some((kind, topic, channel, payload)) = message(frame) {
            // The topic's bytes are shared with the table: one allocation per message, its payload.
            if let Some((topic, queues)) = state.routes[index(kind)].get_key_value(topic) {
                let channel = if channel == &topic[..] { topic.clone() } else { Bytes::copy_from_slice(channel) };
                let message = Message { kind, topic: topic.clone(), channel, payload: Bytes::copy_from_slice(payload) };
                deliver(queues, topic, Incoming::Message(message), after);
            }
            return;
        }
        match state.subscriptions.push(frame, now) {
            Delivered::Confirmed { kind, topic, interrupted_since } => {
                let restored = state.restoring == 1;
                state.restoring = state.restoring.saturating_sub(1);
                if let Some(since) = interrupted_since {
                    let cause = state.cause.clone().unwrap_or_else(|| {
                        Error::new(ErrorKind::Closed, crate::Delivery::Unknown, "the server ended the subscription")
                    });
                    if let Some(queues) = state.routes[index(kind)].get(&topic) {
                        let gap = Incoming::Gap {
                            topic: topic.clone(),
                            since: clock::wall_clock(since),
                            until: clock::wall_clock(now),
                            cause,
                        };
                        deliver(queues, &topic, gap, after);
                        deliver(queues, &topic, Incoming::Resumed { topic: topic.clone() }, after);
                    }
                    after.notices.push(Notice::Gap { topic, duration: now.saturating_duration_since(since) });
                }
                if restored {
                    after.notices.push(Notice::Resubscribed(state.subscriptions.len()));
                }
                drop(state);
                self.changed.notify_waiters();
            }
            Delivered::Revoked { kind, topic } => after.notices.push(Notice::Revoked { kind, topic }),
            Delivered::Message { .. } | Delivered::Other => {}
        }
    }
}

fn deliver(queues: &[Arc<Queue>], topic: &Bytes, item: Incoming, after: &mut After) {
    let Some((last, others)) = queues.split_last() else { return };
    let mut dropped = false;
    for queue in others {
        dropped |= queue.push(item.clone(), &mut after.wakers);
    }
    dropped |= last.push(item, &mut after.wakers);
    if dropped {
        after.dropped(topic);
    }
}

/// The parts of a message frame; `None` for everything else.
fn message(frame: &[u8]) -> Option<(SubscriptionKind, &[u8], &[u8], &[u8])> {
    let mut reader = Reader::new(frame);
    let count = match reader.token().ok()? {
        Token::Push(count) | Token::Array(count) => count,
        _ => return None,
    };
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
