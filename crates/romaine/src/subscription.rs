//! Subscriptions: streams of messages that say when something may be missing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use romaine_proto::SubscriptionKind;

use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::hub::{Incoming, Queue};
use crate::shared::Shared;

/// Messages of some channels or patterns, until it is dropped.
///
/// It is restored by itself after every interruption; the stream then yields [`Incoming::Gap`] and
/// [`Incoming::Resumed`] where messages may be missing.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    kind: SubscriptionKind,
    topics: Vec<Bytes>,
    /// Taken from the queue, not yet given out.
    hand: VecDeque<Incoming>,
}

impl Subscription {
    /// Subscribes and waits for the server's confirmation.
    pub(crate) async fn open(shared: &Arc<Shared>, kind: SubscriptionKind, mut topics: Vec<Bytes>) -> Result<Self> {
        let command = kind.subscribe_command();
        // A topic named twice is one subscription: each message comes once.
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Err(Error::usage("no channel was given").with_command(command));
        }
        if shared.is_closed() {
            return Err(
                Error::without_reply(romaine_proto::FailureKind::Closed, Delivery::NotSent).with_command(command)
            );
        }
        let config = &shared.config;
        let queue = Arc::new(Queue::new(config.subscription_backlog, config.subscription_overflow));
        let ask = shared.hub.add(kind, &topics, &queue);
        // From here on dropping it undoes it.
        let subscription = Self { shared: shared.clone(), queue, kind, topics, hand: VecDeque::new() };
        shared.start_subscriptions();
        if let Some(asking) = ask {
            shared.subscriptions.issue_subscription(&asking);
        }
        let confirmed = shared.hub.confirmed(kind, &subscription.topics);
        let confirmed = match config.timeout {
            Some(limit) => tokio::time::timeout(limit, confirmed).await,
            None => Ok(confirmed.await),
        };
        match confirmed {
            Ok(Ok(())) => Ok(subscription),
            Ok(Err(refusal)) => Err(Error::server_error(refusal).with_command(command).with_node(&shared.node)),
            Err(_elapsed) => {
                let error = Error::new(ErrorKind::Timeout, Delivery::Unknown, "the server did not confirm in time")
                    .with_command(command)
                    .with_node(&shared.node);
                let cause = shared.subscriptions.lock().last_error.clone();
                Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                })
            }
        }
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
        let mut hand = VecDeque::new();
        match self.queue.take(&mut hand, std::task::Waker::noop()) {
            Err(error) => error,
            Ok(_) => None,
        }
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
        let tell = self.shared.hub.remove(self.kind, &self.topics, &self.queue);
        if let Some(telling) = tell
            && !self.shared.is_closed()
        {
            self.shared.subscriptions.issue_subscription(&telling);
        }
    }
}
