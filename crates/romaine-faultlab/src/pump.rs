//! One direction of a proxied connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fault::{Direction, Fault, Outburst};
use crate::sockets;

/// How much a direction holds at most before it stops reading.
const QUEUED_MAX: usize = 1024 * 1024;

const READ_SIZE: usize = 64 * 1024;

/// Under a bandwidth, this much time's worth of bytes goes out at once.
const SLICES_PER_SECOND: u32 = 50;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Close,
    Reset,
}

impl Ending {
    pub(crate) fn apply(self, stream: &TcpStream) {
        match self {
            Self::Close => sockets::close(stream),
            Self::Reset => sockets::prepare_reset(stream),
        }
    }
}

/// What is left to do once the queue is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More may come.
    Open,
    /// The sender has ended its stream; the receiver is to see that.
    Ended,
    /// The sender was reset; the receiver is to see that.
    WasReset,
    /// The receiver has seen the end, or is gone: read on for the sender's sake, and pass nothing on.
    Deaf,
}

/// Moves the bytes of one direction, under a fault that changes at any time.
pub(crate) struct Pump<'a> {
    direction: Direction,
    faults: watch::Receiver<Fault>,
    fault: Fault,
    outbursts: watch::Receiver<(u64, Option<(Direction, Outburst)>)>,
    /// The connection ends when everything has gone out.
    closes: bool,
    /// Bytes let through (or, under `Corrupt`, seen) since the fault was set.
    passed: u64,
    queue: VecDeque<(Instant, Bytes)>,
    queued: usize,
    /// Under a bandwidth: no write before this.
    next_write: Instant,
    stage: Stage,
    counter: &'a AtomicU64,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(
        direction: Direction,
        mut faults: watch::Receiver<Fault>,
        outbursts: watch::Receiver<(u64, Option<(Direction, Outburst)>)>,
        counter: &'a AtomicU64,
    ) -> Self {
        let fault = *faults.borrow_and_update();
        Self {
            direction,
            faults,
            fault,
            outbursts,
            closes: false,
            passed: 0,
            queue: VecDeque::new(),
            queued: 0,
            next_write: now(),
            stage: Stage::Open,
            counter,
        }
    }

    /// Runs until the direction has ended on both sides. An `Err` ends the whole connection.
    pub(crate) async fn run(mut self, mut reader: ReadHalf<'_>, mut writer: WriteHalf<'_>) -> Result<(), Ending> {
        let mut buffer = BytesMut::new();
        let mut has_reader_ended = false;
        loop {
            if self.queue.is_empty() {
                if let Some(ending) = self.planned_ending() {
                    return Err(ending);
                }
                if self.is_end_due() {
                    let _ = writer.shutdown().await;
                    self.stage = Stage::Deaf;
                }
                if has_reader_ended && self.stage == Stage::Deaf {
                    return Ok(());
                }
            }
            buffer.reserve(READ_SIZE);
            let may_read = self.fault != Fault::Stall && !has_reader_ended && self.queued < QUEUED_MAX;
            let due = self.write_due();
            let chunk = self.next_chunk();
            tokio::select! {
                // In this order, so that no byte slips past a fault set before it was sent.
                biased;
                changed = self.faults.changed() => {
                    if changed.is_err() {
                        return Err(Ending::Close);
                    }
                    self.take_fault();
                }
                Ok(()) = self.outbursts.changed() => self.take_outburst(),
                written = write_at(due, &mut writer, chunk) => match written {
                    Ok(count) => self.wrote(count),
                    // The receiver is gone. The other direction reads that from the same socket, and says so if *its*
                    // fault lets it.
                    Err(_) => self.go_deaf(),
                },
                read = reader.read_buf(&mut buffer), if may_read => {
                    if self.faults.has_changed().unwrap_or(false) {
                        self.take_fault();
                    }
                    match read {
                        Ok(0) => has_reader_ended = true,
                        Ok(_) => self.admit(buffer.split().freeze()),
                        Err(_) => {
                            has_reader_ended = true;
                            self.end_of_reading(Stage::WasReset);
                        }
                    }
                    if has_reader_ended {
                        self.end_of_reading(Stage::Ended);
                    }
                }
            }
        }
    }

    fn end_of_reading(&mut self, stage: Stage) {
        if self.stage == Stage::Open {
            self.stage = stage;
        }
    }

    fn take_fault(&mut self) {
        self.fault = *self.faults.borrow_and_update();
        self.passed = 0;
        self.next_write = now();
        if self.fault == Fault::Swallow {
            self.clear_queue();
        }
        // What waited for a delay or a stall to end waits no longer.
        for (due, _) in &mut self.queue {
            *due = (*due).min(self.next_write);
        }
    }

    fn take_outburst(&mut self) {
        let Some((direction, outburst)) = self.outbursts.borrow_and_update().1.clone() else { return };
        if direction == self.direction && self.stage != Stage::Deaf {
            self.queued += outburst.bytes.len();
            self.queue.push_back((now(), outburst.bytes));
            self.closes |= outburst.closes;
        }
    }

    fn clear_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    fn go_deaf(&mut self) {
        self.clear_queue();
        self.stage = Stage::Deaf;
    }

    /// Takes in what was read, as far as the fault lets it through.
    fn admit(&mut self, bytes: Bytes) {
        if self.stage == Stage::Deaf {
            return;
        }
        let bytes = match self.fault {
            Fault::Swallow | Fault::HalfClose => return,
            Fault::SwallowAfter(limit) | Fault::CloseAfter(limit) | Fault::ResetAfter(limit) => {
                let left = usize::try_from(limit.saturating_sub(self.passed)).unwrap_or(usize::MAX);
                bytes.slice(..left.min(bytes.len()))
            }
            Fault::Corrupt { every } => self.corrupted(&bytes, every),
            Fault::Pass | Fault::Stall | Fault::Delay(_) | Fault::Bandwidth(_) => bytes,
        };
        if bytes.is_empty() {
            return;
        }
        self.passed += bytes.len() as u64;
        self.queued += bytes.len();
        let delay = if let Fault::Delay(delay) = self.fault { delay } else { Duration::ZERO };
        self.queue.push_back((now() + delay, bytes));
    }

    fn corrupted(&self, bytes: &Bytes, every: u64) -> Bytes {
        let positions = self.passed + 1..;
        bytes
            .iter()
            .zip(positions)
            .map(|(byte, at)| if at.is_multiple_of(every.max(1)) { !byte } else { *byte })
            .collect()
    }

    /// What goes out next, in full or in part.
    fn next_chunk(&self) -> Bytes {
        let Some((_, chunk)) = self.queue.front() else { return Bytes::new() };
        match self.fault {
            Fault::Bandwidth(rate) => {
                let slice = usize::try_from(rate / SLICES_PER_SECOND).unwrap_or(usize::MAX).max(1);
                chunk.slice(..slice.min(chunk.len()))
            }
            Fault::Pass
            | Fault::Stall
            | Fault::Swallow
            | Fault::SwallowAfter(_)
            | Fault::Delay(_)
            | Fault::Corrupt { .. }
            | Fault::CloseAfter(_)
            | Fault::ResetAfter(_)
            | Fault::HalfClose => chunk.clone(),
        }
    }

    /// When it goes out; never, while there is nothing or the direction is stalled.
    fn write_due(&self) -> Option<Instant> {
        let (due, _) = self.queue.front()?;
        (self.fault != Fault::Stall).then(|| (*due).max(self.next_write))
    }

    fn wrote(&mut self, count: usize) {
        self.counter.fetch_add(count as u64, Ordering::SeqCst);
        self.queued -= count;
        if let Some((_, chunk)) = self.queue.front_mut() {
            chunk.advance(count);
            if chunk.is_empty() {
                self.queue.pop_front();
            }
        }
        if let Fault::Bandwidth(rate) = self.fault {
            // From the time it was due and not from now, so that late wake-ups do not lower the rate.
            let share = count as f64 / f64::from(rate.max(1));
            self.next_write = self.next_write.max(now() - Duration::from_millis(100)) + Duration::from_secs_f64(share);
        }
    }

    /// How the connection is to end now that everything let through has gone out.
    fn planned_ending(&self) -> Option<Ending> {
        match self.fault {
            _ if self.closes => Some(Ending::Close),
            Fault::CloseAfter(limit) => (self.passed >= limit).then_some(Ending::Close),
            Fault::ResetAfter(limit) => (self.passed >= limit).then_some(Ending::Reset),
            // A reset on one side is passed on as a reset, unless the fault hides it.
            Fault::Pass
            | Fault::Stall
            | Fault::Swallow
            | Fault::SwallowAfter(_)
            | Fault::Delay(_)
            | Fault::Bandwidth(_)
            | Fault::Corrupt { .. }
            | Fault::HalfClose => (self.stage == Stage::WasReset && !self.is_end_hidden()).then_some(Ending::Reset),
        }
    }

    fn is_end_due(&self) -> bool {
        match self.stage {
            Stage::Open => self.fault == Fault::HalfClose,
            Stage::Ended => !self.is_end_hidden(),
            Stage::WasReset | Stage::Deaf => false,
        }
    }

    fn is_end_hidden(&self) -> bool {
        match self.fault {
            Fault::Swallow | Fault::Stall => true,
            Fault::SwallowAfter(limit) => self.passed >= limit,
            Fault::Pass
            | Fault::Delay(_)
            | Fault::Bandwidth(_)
            | Fault::Corrupt { .. }
            | Fault::CloseAfter(_)
            | Fault::ResetAfter(_)
            | Fault::HalfClose => false,
        }
    }
}

/// Writes a part of `chunk` when it is due. Cancelled, it has written nothing.
async fn write_at(due: Option<Instant>, writer: &mut WriteHalf<'_>, chunk: Bytes) -> std::io::Result<usize> {
    let Some(due) = due else { return std::future::pending().await };
    tokio::time::sleep_until(due).await;
    writer.write(&chunk).await
}

#[expect(clippy::disallowed_methods, reason = "the proxy delays real bytes in real time")]
fn now() -> Instant {
    Instant::now()
}
