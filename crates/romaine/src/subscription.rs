//! Subscriptions: streams of messages that say when something may be missing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use romaine_proto::SubscriptionKind;
use romaine_resp::ServerError;

use crate::backlog::Queue;
use crate::call::Place;
use crate::common::Common;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::fleet::Fleet;
use crate::hub::Incoming;
use crate::server::Server;

/// Messages of some channels or patterns, until it is dropped.
///
/// It is restored by itself after every interruption; the stream then yields [`Incoming::Gap`] and
/// [`Incoming::Resumed`] where messages may be missing.
#[derive(Debug)]
pub struct Subscription {
    home: Home,
    queue: Arc<Queue>,
    kind: SubscriptionKind,
    topics: Vec<Bytes>,
    /// Taken from the queue, not yet given out.
    hand: VecDeque<Incoming>,
}

/// Where a subscription lives.
#[derive(Debug)]
enum Home {
    /// At this server.
    At(Arc<Server>),
    /// Wherever the topology says.
    Fleet(Arc<Fleet>),
}

impl Home {
    fn common(&self) -> &Arc<Common> {
        match self {
            Self::At(server) => &server.common,
            Self::Fleet(fleet) => &fleet.common,
        }
    }

    fn add(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) {
        match self {
            Self::At(server) => {
                let ask = server.hub.add(kind, topics, queue);
                server.start_subscriptions();
                if let Some(asking) = ask {
                    server.subscriptions.issue_subscription(&asking);
                }
            }
            Self::Fleet(fleet) => fleet.homes.add(fleet, kind, topics, queue),
        }
    }

    fn remove(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) {
        match self {
            Self::At(server) => {
                if let Some(asking) = server.hub.remove(kind, topics, queue) {
                    server.subscriptions.issue_subscription(&asking);
                }
            }
            Self::Fleet(fleet) => fleet.homes.remove(kind, topics, queue),
        }
    }

    async fn confirmed(&self, kind: SubscriptionKind, topics: &[Bytes], queue: &Arc<Queue>) -> Result<(), ServerError> {
        match self {
            Self::At(server) => server.hub.confirmed(kind, topics).await,
            Self::Fleet(fleet) => fleet.homes.confirmed(fleet, kind, queue).await,
        }
    }

    fn last_error(&self, queue: &Arc<Queue>) -> Option<Error> {
        match self {
            Self::At(server) => server.subscriptions.lock().last_error.clone(),
            Self::Fleet(fleet) => fleet.homes.last_error(queue),
        }
    }
}

impl Subscription {
    /// Subscribes and waits for the server's confirmation.
    pub(crate) async fn open(place: Place<'_>, kind: SubscriptionKind, topics: Vec<Bytes>) -> Result<Self> {
        let home = match place {
            Place::At(target) => Home::At(target.server.clone()),
            Place::Fleet(fleet) => Home::Fleet(fleet.clone()),
        };
        Self::open_in(home, kind, topics).await
    }

    /// The same at one server, whatever it is to the client.
    pub(crate) async fn open_at(server: &Arc<Server>, kind: SubscriptionKind, topics: Vec<Bytes>) -> Result<Self> {
        Self::open_in(Home::At(server.clone()), kind, topics).await
    }

    async fn open_in(home: Home, kind: SubscriptionKind, mut topics: Vec<Bytes>) -> Result<Self> {
        let command = kind.subscribe_command();
        // A topic named twice is one subscription: each message comes once.
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Err(Error::usage("no channel was given").with_command(command));
        }
        let common = home.common().clone();
        if common.is_closed() {
            return Err(
                Error::without_reply(romaine_proto::FailureKind::Closed, Delivery::NotSent).with_command(command)
            );
        }
        let config = &common.config;
        let queue = Arc::new(Queue::new(
            config.subscription_backlog,
            config.subscription_backlog_bytes,
            config.subscription_overflow,
        ));
        home.add(kind, &topics, &queue);
        // From here on dropping it undoes it.
        let subscription = Self { home, queue, kind, topics, hand: VecDeque::new() };
        let confirmed = subscription.home.confirmed(kind, &subscription.topics, &subscription.queue);
        let confirmed = match config.timeout {
            Some(limit) => tokio::time::timeout(limit, confirmed).await,
            None => Ok(confirmed.await),
        };
        let with_node = |error: Error| match &subscription.home {
            Home::At(server) => error.with_node(&server.node),
            Home::Fleet(_) => error,
        };
        let error = match confirmed {
            Ok(Ok(())) => return Ok(subscription),
            Ok(Err(_)) if common.is_closed() => {
                Error::without_reply(romaine_proto::FailureKind::Closed, Delivery::Unknown).with_command(command)
            }
            Ok(Err(refusal)) => with_node(Error::server_error(refusal).with_command(command)),
            Err(_elapsed) => {
                let error = Error::new(ErrorKind::Timeout, Delivery::Unknown, "the server did not confirm in time");
                let error = with_node(error.with_command(command));
                match subscription.home.last_error(&subscription.queue) {
                    Some(cause) => error.with_source(cause),
                    None => error,
                }
            }
        };
        Err(error)
    }

    /// The channels or patterns.
    #[must_use]
    pub fn topics(&self) -> &[Bytes] {
        &self.topics
    }

    /// The next message or marker; `None` when the subscription has ended: the client was closed, or the backlog was
    /// full and the policy is to close (see [`ended_by`](Self::ended_by)).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Incoming> {
        std::future::poll_fn(|cx| self.poll_incoming(cx)).await
    }

    /// The next message, markers left out. Only for applications that have another way to notice what they missed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_message(&mut self) -> Option<crate::Message> {
        loop {
            if let Incoming::Message(message) = self.next().await? {
                return Some(message);
            }
        }
    }

    /// Why the stream has ended, once it has.
    #[must_use]
    pub fn ended_by(&self) -> Option<Error> {
        if self.hand.is_empty() { self.queue.ended_by() } else { None }
    }

    fn poll_incoming(&mut self, cx: &Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            if let Some(item) = self.hand.pop_front() {
                return Poll::Ready(Some(item));
            }
            match self.queue.take(&mut self.hand, cx.waker()) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(_ended) => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.get_mut().poll_incoming(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.home.remove(self.kind, &self.topics, &self.queue);
    }
}
