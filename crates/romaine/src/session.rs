//! Drives one socket until it ends. Reads and writes both make progress in every turn: a blocked write never stops
//! reads. Decides nothing: bytes, time and the end of the stream go to the machine.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use romaine_proto::CloseReason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::RuntimeFlavor;
use tokio::time::Sleep;

use crate::circuit::Circuit;
use crate::clock;
use crate::events::Lane;
use crate::inbox::After;
use crate::notice::Notice;
use crate::socket::Socket;

/// What one read can bring. Shared by all connections of a thread: an idle connection holds no buffer.
const SCRATCH_BYTES: usize = 64 << 10;

/// A buffer that grew past this is given back when it is empty; a blocked connection's always is.
const KEEP_BYTES: usize = 256 << 10;

/// How much is reserved ahead of the bytes of a large reply: a lying length costs no more than this.
const AHEAD_BYTES: usize = 8 << 20;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    /// Bytes that the machine handed over and the transport did not accept.
    pub(crate) unwritten: usize,
    /// Whether it ended in the middle of a frame.
    pub(crate) cut: bool,
}

/// A future that ends with its socket. `notice` is called outside the lock.
pub(crate) struct Session<'a, F> {
    circuit: &'a Circuit,
    socket: Socket,
    /// The start of a frame whose end has not arrived.
    incoming: BytesMut,
    needed: usize,
    sending: BytesMut,
    /// How long `sending` was when it was taken: what is written is no longer part of its capacity.
    batch: usize,
    flushing: bool,
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    after: After,
    notice: F,
    /// Callers woken since the last write: as many requests may be about to come.
    woken: usize,
    /// Turns given up since then, to let them.
    yields: u8,
    /// See [`HALVED_FROM`].
    halved_from: usize,
    /// Whether the server is one of several that the callers ask in turn. See [`Session::is_worth_gathering`].
    gathers: bool,
    /// Half turns given up since the last write, to gather.
    gathered: u8,
}

/// How often a turn is given up at most for callers that were just woken. Matters on multi-thread runtimes, where a
/// woken driver runs next, ahead of the callers it has just woken: without it most writes carry one request.
const YIELDS: u8 = 4;

/// From this many callers on, on a runtime of one thread, the second half is woken when the first has asked and its
/// requests are sent: the server works on these meanwhile. All at once, they and the server would take turns at waiting
/// for each other: with 64 callers of GET a third more calls a second, with 256 two thirds, for a quarter and a fifth more
/// processor time each (two writes instead of one; `docs/results/README.md`). On several threads the callers run beside the driver anyway.
const HALVED_FROM: usize = 24;

/// How many half turns are given up at most for callers of the other servers. More of them gained nothing.
const GATHERS: u8 = 4;

impl<'a, F: FnMut(Notice) + Unpin> Session<'a, F> {
    pub(crate) fn new(circuit: &'a Arc<Circuit>, socket: Socket, gathers: bool, notice: F) -> Self {
        Self {
            circuit,
            socket,
            incoming: BytesMut::new(),
            needed: 0,
            sending: BytesMut::new(),
            batch: 0,
            flushing: false,
            timer: None,
            armed: None,
            after: After::default(),
            notice,
            woken: 0,
            yields: 0,
            gathers,
            gathered: 0,
            halved_from: match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
                Ok(RuntimeFlavor::CurrentThread) => HALVED_FROM,
                _ => usize::MAX,
            },
        }
    }

    /// Wakes those whose replies are there; of many the first half, the others with the next turn.
    fn settle(&mut self, cx: &Context<'_>) {
        let all = self.after.wakers.len();
        let first = if all < self.halved_from { all } else { all / 2 };
        self.after.wake(first);
        self.woken += first;
        if first < all {
            cx.waker().wake_by_ref();
        }
        if self.circuit.lane == Lane::Blocking && self.after.wakers.is_empty() {
            self.after.wakers = Vec::new();
        }
        // Rare, and not kept: thousands of idle connections would each keep the room for one.
        for notice in std::mem::take(&mut self.after.notices) {
            (self.notice)(notice);
        }
    }

    /// Reads once. True when bytes were read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if self.incoming.is_empty() { self.read_frames(cx) } else { self.read_more(cx) }
    }

    /// The usual read: whole frames, handled where they lie.
    fn read_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(CloseReason::Transport(Arc::new(error))),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Err(CloseReason::PeerClosed);
            }
            let result = self.circuit.received(bytes, None, &mut self.after);
            // Callers are woken even when the bytes end in garbage.
            let (consumed, needed) = result.inspect_err(|_| self.after.wake_all())?;
            if consumed < bytes.len() {
                let rest = &bytes[consumed..];
                self.needed = needed;
                self.incoming.reserve(needed.min(AHEAD_BYTES).max(rest.len()));
                self.incoming.extend_from_slice(rest);
            }
            Ok(true)
        })
    }

    /// The rest of a frame that a read cut.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let missing = self.needed.saturating_sub(self.incoming.len());
        self.incoming.reserve(missing.clamp(4_096, AHEAD_BYTES));
        match pin!(self.socket.read_buf(&mut self.incoming)).poll(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(error)) => return Err(CloseReason::Transport(Arc::new(error))),
            Poll::Ready(Ok(0)) => return Err(CloseReason::PeerClosed),
            Poll::Ready(Ok(_)) => {}
        }
        // The machine sees every read: any byte is proof of life, also of a frame that is not complete.
        let bytes: Bytes = std::mem::take(&mut self.incoming).freeze();
        let result = self.circuit.received(&bytes, Some(&bytes), &mut self.after);
        let (consumed, needed) = result.inspect_err(|_| self.after.wake_all())?;
        let mut rest = bytes;
        rest.advance(consumed);
        self.needed = needed;
        if !rest.is_empty() {
            // Nothing was sliced off an incomplete frame, so this is the same buffer again.
            self.incoming = rest.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        }
        Ok(true)
    }

    /// Whether most of the callers that were just woken have not had their turn yet.
    fn is_worth_waiting(&mut self) -> bool {
        if self.woken < 2 || self.yields >= YIELDS || !self.sending.is_empty() {
            return false;
        }
        let queued = self.circuit.lock().connection.queued();
        if queued == 0 || queued * 2 >= self.woken {
            return false;
        }
        self.yields += 1;
        true
    }

    /// Whether to let the runtime look at its other sockets first: the replies of one node of a Cluster make requests for
    /// all of them, and each write costs several times what a request does. With three nodes and 64 callers that is a
    /// twentieth more calls a second on one thread and a third on two, and the median call takes no longer for it
    /// (`docs/results/README.md`).
    ///
    /// It never waits: what is there already is read (one half turn), then whoever was woken by it has a turn (the other).
    /// Only while more replies are owed here than requests would be written: who is alone writes at once.
    fn is_worth_gathering(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.gathers || !self.sending.is_empty() {
            return false;
        }
        if self.gathered.is_multiple_of(2) {
            let state = self.circuit.lock();
            let (queued, owed) = (state.connection.queued(), state.connection.in_flight());
            if queued == 0 || queued > owed || self.gathered >= GATHERS {
                return false;
            }
            drop(state);
            // Its waker is called when the sockets have been looked at; dropping the future takes nothing back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        } else {
            cx.waker().wake_by_ref();
        }
        self.gathered += 1;
        true
    }

    /// Writes what has gathered. True when bytes were written.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let mut progress = false;
        loop {
            if self.sending.is_empty() {
                let now = clock::now();
                let mut state = self.circuit.lock();
                state.unstamp();
                if !state.connection.has_outgoing() || state.leaving.is_some() {
                    break;
                }
                state.connection.take(now, &mut self.sending);
                self.batch = self.sending.len();
                self.woken = 0;
                self.yields = 0;
                self.gathered = 0;
                if self.sending.is_empty() {
                    break;
                }
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.sending) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(Err(error)) => return Err(CloseReason::Transport(Arc::new(error))),
                Poll::Ready(Ok(0)) => return Err(CloseReason::PeerClosed),
                Poll::Ready(Ok(written)) => {
                    self.sending.advance(written);
                    self.flushing |= self.sending.is_empty();
                    let is_kept = self.batch <= KEEP_BYTES && self.circuit.lane != Lane::Blocking;
                    if self.sending.is_empty() && !is_kept {
                        self.sending = BytesMut::new();
                    }
                    let mut state = self.circuit.lock();
                    state.counters.bytes_out += written as u64;
                    state.connection.give_back(&mut self.sending);
                    progress = true;
                }
            }
        }
        if self.flushing {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => return Err(CloseReason::Transport(Arc::new(error))),
                Poll::Ready(Ok(())) => self.flushing = false,
            }
        }
        Ok(progress)
    }

    /// Arms the timer; true when it has fired and the machine was told.
    fn tick(&mut self, cx: &mut Context<'_>, next: Option<Instant>) -> Result<bool, CloseReason> {
        let Some(next) = next else {
            // A blocked connection is watched by its own machine; thousands of them need no timer here.
            self.armed = None;
            self.timer = None;
            return Ok(false);
        };
        match (&mut self.timer, self.armed) {
            // Armed early is good enough: it fires, nothing is due, and it is armed anew. A busy connection re-arms
            // twice a second rather than once per reply.
            (Some(_), Some(armed)) if armed <= next => {}
            (Some(timer), _) => timer.as_mut().reset(next.into()),
            (timer @ None, _) => *timer = Some(Box::pin(tokio::time::sleep_until(next.into()))),
        }
        if self.armed.is_none_or(|armed| armed > next) {
            self.armed = Some(next);
        }
        let Some(timer) = &mut self.timer else { return Ok(false) };
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(false);
        }
        self.armed = None;
        self.circuit.timeout(&mut self.after)?;
        Ok(true)
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let second = self.after.wakers.len();
        if second > 0 {
            if self.is_worth_waiting() {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            self.write(cx)?;
            self.after.wake(second);
            self.woken += second;
        }
        loop {
            // Reading comes first: what has arrived is proof of life before any clock is looked at.
            while self.read(cx)? {
                self.settle(cx);
            }
            if self.is_worth_waiting() {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            if self.is_worth_gathering(cx) {
                return Ok(());
            }
            self.write(cx)?;
            let (next, again) = {
                let mut state = self.circuit.lock();
                if state.ending || (state.draining && state.is_empty()) {
                    return Err(CloseReason::Ours);
                }
                if state.is_left() {
                    return Err(if state.draining { CloseReason::Ours } else { CloseReason::Left });
                }
                state.register(cx);
                state.unstamp();
                let next = state.connection.next_timeout().into_iter().chain(state.leaving).min();
                let has_more = state.leaving.is_none() && state.connection.has_outgoing();
                (next, self.sending.is_empty() && has_more)
            };
            let ticked = self.tick(cx, next)?;
            self.settle(cx);
            if !again && !ticked {
                return Ok(());
            }
        }
    }
}

impl<F> Drop for Session<'_, F> {
    /// Their replies are there; nobody else knows of them.
    fn drop(&mut self) {
        self.after.wake_all();
    }
}

impl<F: FnMut(Notice) + Unpin> Future for Session<'_, F> {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        let this = self.get_mut();
        match this.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(reason) => {
                this.after.wake_all();
                this.settle(cx);
                let is_dead = matches!(reason, CloseReason::Silent(_) | CloseReason::HandshakeTimeout(_));
                if is_dead || this.circuit.lock().aborting {
                    this.socket.abort_on_close();
                }
                Poll::Ready(Ending { reason, unwritten: this.sending.len(), cut: !this.incoming.is_empty() })
            }
        }
    }
}
