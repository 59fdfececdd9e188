//! One logical connection: what survives its sockets. The machine that decides, the cells where callers wait, and the
//! waker of the driver, behind one short lock.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use romaine_commands::Request;
use romaine_proto::{CloseReason, Connection, Deadlines, FailureKind, Greeting, Link, RequestId, RequestOptions};

use crate::cells::{Cells, Ended, Line};
use crate::clock;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::events::Lane;
use crate::hub::{Asking, Hub, ping_token};
use crate::inbox::{After, Inbox};
use crate::metrics::{Counters, Latencies};
use crate::monitor::MonitorLine;

/// How a call waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// As the client is set.
    Default,
    /// From now on; `None`: for ever.
    For(Option<Duration>),
    /// Until the deadline that was fixed when the call was first issued.
    Until(Option<Instant>),
}

/// How a request is issued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issue {
    pub(crate) patience: Patience,
    pub(crate) replies: u32,
    pub(crate) batch: bool,
    pub(crate) blocking: bool,
}

/// How long a greeting may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GreetingLimits {
    pub(crate) most: Duration,
    /// When another connection shows after so long that the server is there.
    pub(crate) lost: Option<Duration>,
    /// Once a call waits that found none waiting before it.
    pub(crate) hurried: Option<Duration>,
}

/// A place in a circuit's line: the cell and the machine's name for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticketed {
    pub(crate) cell: u32,
    pub(crate) id: RequestId,
    pub(crate) deadline: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) cells: Cells,
    pub(crate) driver: Option<Waker>,
    /// The time, as read by the caller that woke the driver; gone when the driver runs. So it is never older than the
    /// driver's own delay; reading the clock for every call costs a tenth of a call (42 ns of 400).
    stamp: Option<Instant>,
    pub(crate) counters: Counters,
    pub(crate) latencies: Option<Box<Latencies>>,
    pub(crate) client_id: Option<u64>,
    pub(crate) run_id: Option<Arc<str>>,
    pub(crate) local_address: Option<SocketAddr>,
    pub(crate) last_received: Instant,
    pub(crate) last_error: Option<Error>,
    /// No new requests; the driver ends when nothing is left.
    pub(crate) draining: bool,
    /// The driver ends now.
    pub(crate) ending: bool,
    /// The present socket is given up, at the latest then: nothing more is written to it, what it owes may still come.
    pub(crate) leaving: Option<Instant>,
    /// Since when there is this socket.
    pub(crate) opened: Instant,
    /// A task asks for second opinions about this connection.
    pub(crate) asked_about: bool,
    /// Whether the last socket ended with the peer's end of stream: everything it had sent has arrived.
    pub(crate) orderly_end: bool,
    /// Whether what was not acknowledged is discarded when we close the socket: it must not arrive later.
    pub(crate) aborting: bool,
    fail_offline: bool,
    /// Whether an attempt to connect has ended, or would not be waited for anyway. A server of several is dialled when it
    /// is first needed: that there is no connection yet is no outage.
    was_tried: bool,
    /// Whether it was told that the queue is full: once per outage, or a flood of calls would be one of events.
    pub(crate) told_full: bool,
}

/// What a socket that is left gets to answer what it was sent.
const LAST_REPLIES: Duration = Duration::from_millis(500);

/// See [`Circuit::is_fresh`].
const FRESH: Duration = Duration::from_millis(100);

/// What becomes of requests while there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WhileDown {
    /// They fail.
    pub(crate) fails: bool,
    /// But wait for the outcome of the first attempt to connect.
    pub(crate) waits_at_first: bool,
}

impl WhileDown {
    /// They wait.
    pub(crate) const WAIT: Self = Self { fails: false, waits_at_first: false };
}

/// See the module.
pub(crate) struct Circuit {
    pub(crate) lane: Lane,
    pub(crate) hub: Option<Arc<Hub>>,
    state: Mutex<State>,
}

impl fmt::Debug for Circuit {
    /// Shows neither requests nor replies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit")
            .field("lane", &self.lane)
            .field("connection", &self.lock().connection)
            .finish_non_exhaustive()
    }
}

impl Circuit {
    pub(crate) fn new(
        lane: Lane,
        connection: Connection,
        hub: Option<Arc<Hub>>,
        offline: WhileDown,
        latencies: bool,
        now: Instant,
    ) -> Self {
        Self {
            lane,
            hub,
            state: Mutex::new(State {
                connection,
                cells: Cells::default(),
                driver: None,
                stamp: None,
                counters: Counters::default(),
                latencies: latencies.then(Box::default),
                client_id: None,
                run_id: None,
                local_address: None,
                last_received: now,
                last_error: None,
                draining: false,
                ending: false,
                leaving: None,
                opened: now,
                asked_about: false,
                orderly_end: false,
                aborting: false,
                fail_offline: offline.fails,
                was_tried: !offline.waits_at_first,
                told_full: false,
            }),
        }
    }

    /// The lock is held for pushing or popping a queue, never across anything that waits.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a request: encodes it into the outgoing buffer on the caller's own thread.
    #[inline]
    pub(crate) fn issue(&self, request: &Request, issue: Issue, waker: &Waker) -> Result<Ticketed> {
        let length = request.wire_len();
        self.issue_bytes(request.spec(), issue, length, waker, |out| request.write_to(out))
    }

    /// Accepts what `write` appends as one request.
    #[inline]
    pub(crate) fn issue_bytes(
        &self,
        spec: &'static romaine_commands::Spec,
        issue: Issue,
        length: usize,
        waker: &Waker,
        write: impl FnOnce(&mut bytes::BytesMut),
    ) -> Result<Ticketed> {
        Self::issue_under(self.lock(), spec, issue, length, waker, write)
    }

    /// The same under a lock that is held already: for requests that depend on what the lock protects.
    #[inline]
    pub(crate) fn issue_under(
        mut guard: MutexGuard<'_, State>,
        spec: &'static romaine_commands::Spec,
        issue: Issue,
        length: usize,
        waker: &Waker,
        write: impl FnOnce(&mut bytes::BytesMut),
    ) -> Result<Ticketed> {
        let state = &mut *guard;
        if state.draining {
            return Err(Error::without_reply(FailureKind::Closed, Delivery::NotSent));
        }
        if state.fail_offline && state.was_tried && state.connection.link() != Link::Ready {
            return Err(state.unavailable());
        }
        let now = state.stamp.unwrap_or_else(clock::now);
        let deadline = match issue.patience {
            Patience::For(limit) => limit.map(|limit| clock::later(now, limit)),
            // Resolved by the call; a circuit knows no settings.
            Patience::Default => None,
            Patience::Until(deadline) => deadline,
        };
        let cell = state.cells.take(waker.clone(), issue.batch);
        let options = RequestOptions {
            token: cell,
            deadline,
            replies: issue.replies,
            blocking: issue.blocking,
            refusal_only: false,
        };
        match state.connection.request(now, spec, options, length, write) {
            Ok((id, wake)) => {
                state.counters.requests += u64::from(issue.replies);
                let driver = if wake { state.driver.clone() } else { None };
                if wake {
                    state.stamp = Some(now);
                }
                drop(guard);
                if let Some(driver) = driver {
                    driver.wake();
                }
                Ok(Ticketed { cell, id, deadline })
            }
            Err(refusal) => {
                state.cells.release(cell);
                state.counters.refused_by_limit += 1;
                Err(Error::refusal(refusal))
            }
        }
    }

    /// Sends something whose answer comes as pushes (SUBSCRIBE), and a PING behind it.
    ///
    /// Nothing is sent without a connection: the next one restores everything that is wanted.
    pub(crate) fn issue_subscription(&self, asking: &Asking) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.connection.link() != Link::Ready {
            drop(guard);
            if let Some(hub) = &self.hub {
                hub.not_sent(asking.token);
            }
            return;
        }
        let now = clock::now();
        let request = &asking.request;
        // Refusals and the PING's answer go to the hub, which knows the tokens.
        let options = |refusal_only| RequestOptions {
            token: if refusal_only { asking.token } else { ping_token(asking.token) },
            deadline: None,
            replies: 1,
            blocking: false,
            refusal_only,
        };
        let length = request.wire_len();
        let sent = state.connection.request(now, request.spec(), options(true), length, |out| request.write_to(out));
        let ping = state.connection.request(now, request.spec(), options(false), 14, |out| {
            out.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        });
        let wake = sent.is_ok_and(|(_, wake)| wake) | ping.is_ok_and(|(_, wake)| wake);
        let driver = if wake { state.driver.clone() } else { None };
        drop(guard);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// The outcome of a request, if it is there.
    #[inline]
    pub(crate) fn collect(&self, ticketed: Ticketed, waker: &Waker) -> Option<Ended> {
        self.lock().cells.collect(ticketed.cell, waker)
    }

    /// Waits for the outcome.
    pub(crate) async fn outcome(&self, ticketed: Ticketed) -> Ended {
        std::future::poll_fn(|cx| self.collect(ticketed, cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Starts MONITOR: its lines gather in a bounded backlog.
    pub(crate) fn monitor(&self, request: &Request, backlog: usize) -> Result<()> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let cell = state.cells.take_stream(backlog);
        let options =
            RequestOptions { token: cell, deadline: None, replies: u32::MAX, blocking: false, refusal_only: false };
        let length = request.wire_len();
        state
            .connection
            .request(clock::now(), request.spec(), options, length, |out| request.write_to(out))
            .map_err(Error::refusal)?;
        drop(guard);
        self.wake_driver();
        Ok(())
    }

    /// The next line of MONITOR.
    pub(crate) fn poll_monitor(&self, cx: &Context<'_>) -> Poll<Option<Result<MonitorLine>>> {
        let mut state = self.lock();
        match state.cells.next_line(cx.waker()) {
            None => Poll::Pending,
            Some(Line::Dropped(count)) => Poll::Ready(Some(Ok(MonitorLine::Dropped(count)))),
            Some(Line::Text(frame)) => Poll::Ready(Some(crate::monitor::line(&frame))),
            Some(Line::Over) => {
                let error = state.last_error.clone();
                Poll::Ready(Some(Err(
                    error.unwrap_or_else(|| Error::without_reply(FailureKind::Disconnected, Delivery::Unknown))
                )))
            }
        }
    }

    /// Whether this is the first refusal by a limit since the connection was last ready.
    pub(crate) fn is_first_refusal(&self) -> bool {
        !std::mem::replace(&mut self.lock().told_full, true)
    }

    /// Nobody waits for this request any more. Its reply, if one comes, keeps its place in the line.
    pub(crate) fn abandon(&self, ticketed: Ticketed) {
        let mut state = self.lock();
        state.connection.abandon(ticketed.id);
        state.cells.release(ticketed.cell);
    }

    /// Runs the driver once more.
    pub(crate) fn wake_driver(&self) {
        let driver = self.lock().driver.clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// No new requests; what is under way may end.
    pub(crate) fn drain(&self) {
        self.lock().draining = true;
        self.wake_driver();
    }

    /// The end.
    pub(crate) fn end(&self) {
        {
            let mut state = self.lock();
            state.draining = true;
            state.ending = true;
        }
        self.wake_driver();
    }

    /// Gives up the present socket, if there is one. What was sent gets a moment to be answered: a server that is no
    /// primary any more says so to each. What is queued waits for the next socket.
    pub(crate) fn leave(&self) {
        {
            let mut state = self.lock();
            if state.connection.link() == Link::Down {
                return;
            }
            state.leaving.get_or_insert(clock::now() + LAST_REPLIES);
        }
        self.wake_driver();
    }

    /// As [`leave`](Self::leave), for good: what is queued is told that it was not sent.
    pub(crate) fn retire(&self) {
        {
            let mut state = self.lock();
            state.draining = true;
            state.leaving.get_or_insert(clock::now() + LAST_REPLIES);
        }
        self.wake_driver();
    }

    /// Whether the socket has only just been made: what many calls were told of the one before is no reason to leave it.
    pub(crate) fn is_fresh(&self) -> bool {
        clock::now().saturating_duration_since(self.lock().opened) < FRESH
    }

    /// Nothing more is handed to the server until `until`, or until [`release`](Self::release): requests queue.
    pub(crate) fn hold(&self, until: Instant) {
        self.lock().connection.hold(until);
        self.wake_driver();
    }

    /// The end of [`hold`](Self::hold).
    pub(crate) fn release(&self) {
        if self.lock().connection.release() {
            self.wake_driver();
        }
    }

    /// Another connection shows that the server is back.
    pub(crate) fn back(&self) {
        if self.lock().connection.back(clock::now()) {
            self.wake_driver();
        }
    }

    /// A dial begins.
    pub(crate) fn dialling(&self) {
        self.lock().connection.dialling();
    }

    /// Whether a call waits that no dial has been made for. Whoever asks from within [`tend`](Self::tend)'s task is run
    /// when that changes.
    pub(crate) fn is_wanted(&self) -> bool {
        self.lock().connection.is_wanted()
    }

    /// Whether requests flow.
    pub(crate) fn is_ready(&self) -> bool {
        self.lock().connection.link() == Link::Ready
    }

    /// A socket is open: the handshake starts.
    pub(crate) fn opened(&self, greeting: Greeting, local_address: Option<SocketAddr>, limits: GreetingLimits) {
        let now = clock::now();
        let GreetingLimits { most, lost, hurried } = limits;
        let after = |limit| clock::later(now, limit);
        let deadlines = Deadlines { end: after(most), lost: lost.map(after), hurried: hurried.map(after) };
        let mut state = self.lock();
        state.connection.opened(now, greeting, deadlines);
        state.local_address = local_address;
        state.last_received = now;
        state.client_id = None;
        state.opened = now;
        if !state.draining {
            state.leaving = None;
        }
    }

    /// Bytes arrived. Wakers and notices are for after the lock.
    pub(crate) fn received(
        &self,
        buffer: &[u8],
        origin: Option<&Bytes>,
        after: &mut After,
    ) -> Result<(usize, usize), CloseReason> {
        let now = clock::now();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.stamp = None;
        state.last_received = now;
        state.counters.bytes_in += buffer.len() as u64;
        let mut inbox = Inbox {
            cells: &mut state.cells,
            counters: &mut state.counters,
            latencies: state.latencies.as_deref_mut(),
            hub: self.hub.as_deref(),
            origin,
            now,
            after,
        };
        state.connection.received(now, buffer, &mut inbox)
    }

    /// Time has passed.
    pub(crate) fn timeout(&self, after: &mut After) -> Result<(), CloseReason> {
        let now = clock::now();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.stamp = None;
        let mut inbox = Inbox {
            cells: &mut state.cells,
            counters: &mut state.counters,
            latencies: state.latencies.as_deref_mut(),
            hub: self.hub.as_deref(),
            origin: None,
            now,
            after,
        };
        state.connection.timeout(now, &mut inbox)
    }

    /// The socket is gone: everything unanswered is told to its callers.
    pub(crate) fn closed(&self, unwritten: usize, for_good: bool, error: &Error) {
        let mut after = After::default();
        {
            let now = clock::now();
            let mut guard = self.lock();
            let state = &mut *guard;
            state.stamp = None;
            state.last_error = Some(error.clone());
            state.was_tried = true;
            if !for_good {
                // Of a connection that is not made anew it stays known: its ghost is fenced by it.
                state.client_id = None;
            }
            let fail_queued = state.fail_offline;
            let mut inbox = Inbox {
                cells: &mut state.cells,
                counters: &mut state.counters,
                latencies: None,
                hub: None,
                origin: None,
                now,
                after: &mut after,
            };
            state.connection.closed(unwritten, for_good, &mut inbox);
            if fail_queued && !for_good {
                state.connection.fail_queued(&mut inbox);
            }
            let in_use = state.connection.queued() + state.connection.in_flight();
            state.cells.shrink(in_use);
        }
        after.wake_all();
    }

    /// Expires queued requests while there is no socket, and says when to look again. Registers `cx`.
    pub(crate) fn tend(&self, cx: &Context<'_>) -> (Option<Instant>, bool) {
        let mut after = After::default();
        // A connection that is down can only expire requests; it cannot die again.
        let _down = self.timeout(&mut after);
        after.wake_all();
        let mut state = self.lock();
        state.stamp = None;
        state.register(cx);
        let is_over = state.ending || (state.draining && (state.is_empty() || state.leaving.is_some()));
        (state.connection.next_timeout(), is_over)
    }
}

impl State {
    pub(crate) fn register(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// Forgets the batch's time: the next caller reads the clock.
    pub(crate) fn unstamp(&mut self) {
        self.stamp = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connection.queued() == 0 && self.connection.in_flight() == 0
    }

    /// Whether the socket is given up, and owes nothing any more or has had its time.
    pub(crate) fn is_left(&self) -> bool {
        self.leaving.is_some_and(|until| {
            self.connection.link() != Link::Ready || self.connection.in_flight() == 0 || until <= clock::now()
        })
    }

    fn unavailable(&self) -> Error {
        let error = Error::new(
            ErrorKind::Unavailable,
            Delivery::NotSent,
            "there is no connection, and the setting is to fail at once (offline)",
        );
        match &self.last_error {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        }
    }
}
