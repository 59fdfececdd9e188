//! What one subscription holds for an application that does not keep up: bounded in messages and in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::config::Overflow;
use crate::error::{Error, ErrorKind};
use crate::hub::Incoming;

/// The backlog of one subscription.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    messages_max: usize,
    bytes_max: usize,
    overflow: Overflow,
}

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<Incoming>,
    /// Of the payloads of `items`.
    bytes: usize,
    dropped: u64,
    waker: Option<Waker>,
    closed: Option<Error>,
}

/// How many items a consumer takes at once: the lock is then rare for both sides.
const HANDFUL: usize = 512;

impl Queue {
    pub(crate) fn new(messages_max: usize, bytes_max: usize, overflow: Overflow) -> Self {
        Self { state: Mutex::default(), messages_max, bytes_max, overflow }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends; true when something had to be dropped for it.
    pub(crate) fn push(&self, item: Incoming, wakers: &mut Vec<Waker>) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        let size = payload_len(&item);
        let mut is_full = false;
        while let Some(limit) = self.limit_reached(&state, size) {
            is_full = true;
            match self.overflow {
                Overflow::DropOldest => {
                    if let Some(oldest) = state.items.pop_front() {
                        state.bytes -= payload_len(&oldest);
                        state.dropped += 1;
                    }
                }
                Overflow::Close => {
                    state.closed = Some(Error::new(
                        ErrorKind::Overloaded,
                        crate::Delivery::Executed,
                        format!("the subscription was closed: its backlog is full (limit {limit})"),
                    ));
                    break;
                }
            }
        }
        if state.closed.is_none() {
            state.bytes += size;
            state.items.push_back(item);
        }
        if let Some(waker) = state.waker.take() {
            wakers.push(waker);
        }
        is_full
    }

    /// The name of the limit that one more item of `size` bytes would pass. An empty backlog takes any item.
    fn limit_reached(&self, state: &QueueState, size: usize) -> Option<&'static str> {
        if state.items.is_empty() {
            None
        } else if state.items.len() >= self.messages_max {
            Some("subscription_backlog")
        } else if state.bytes.saturating_add(size) > self.bytes_max {
            Some("subscription_backlog_bytes")
        } else {
            None
        }
    }

    /// Moves items to the consumer's hand. `Err` when the subscription has ended.
    pub(crate) fn take(&self, hand: &mut VecDeque<Incoming>, waker: &Waker) -> Result<bool, Option<Error>> {
        let mut state = self.lock();
        if state.dropped > 0 {
            hand.push_back(Incoming::Dropped(std::mem::take(&mut state.dropped)));
        }
        let count = state.items.len().min(HANDFUL);
        let before = hand.len();
        hand.extend(state.items.drain(..count));
        state.bytes -= hand.iter().skip(before).map(payload_len).sum::<usize>();
        if !hand.is_empty() {
            return Ok(true);
        }
        if let Some(error) = &state.closed {
            return Err(Some(error.clone()));
        }
        state.waker = Some(waker.clone());
        Ok(false)
    }

    /// Why it has ended: once nothing is left in it.
    pub(crate) fn ended_by(&self) -> Option<Error> {
        let state = self.lock();
        if state.items.is_empty() { state.closed.clone() } else { None }
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

/// The bytes that an item holds for the application.
fn payload_len(item: &Incoming) -> usize {
    match item {
        Incoming::Message(message) => message.payload.len(),
        Incoming::Gap { .. } | Incoming::Resumed { .. } | Incoming::Refused { .. } | Incoming::Dropped(_) => 0,
    }
}
