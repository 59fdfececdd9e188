//! Where replies wait for their callers: cells that are reused, so that a call allocates nothing.
//!
//! A cell belongs to its call from the moment it is taken until the call collects the outcome or is dropped. The
//! machine's line names cells by index only while their caller waits (a dropped call makes its place `Abandoned`), so a
//! freed cell can never be reached by an old reply, and no generation count is needed.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;
use romaine_proto::{Delivery, FailureKind};

/// Replies up to this length are copied into the cell: no allocation, and no 64 KiB read buffer kept alive by five
/// bytes. Longer ones get a buffer of their own.
const INLINE: usize = 62;

/// The bytes of one reply.
#[derive(Debug)]
pub(crate) enum ReplyBytes {
    Inline { length: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl ReplyBytes {
    #[inline]
    pub(crate) fn copy(frame: &[u8]) -> Self {
        if frame.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..frame.len()].copy_from_slice(frame);
            #[expect(clippy::cast_possible_truncation, reason = "at most INLINE")]
            let length = frame.len() as u8;
            return Self::Inline { length, bytes };
        }
        Self::Shared(Bytes::copy_from_slice(frame))
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Shared(bytes) => bytes,
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Reply(ReplyBytes),
    /// All replies of a pipeline, one after the other.
    Batch(Vec<u8>),
    Failed(FailureKind, Delivery),
}

/// The bytes of a short reply stay with the cell: written where they are read from, never moved on the driver's side.
#[derive(Debug)]
struct Cell {
    state: CellState,
    length: u8,
    bytes: [u8; INLINE],
}

impl Cell {
    const fn new(state: CellState) -> Self {
        Self { state, length: 0, bytes: [0; INLINE] }
    }
}

#[derive(Debug)]
enum CellState {
    Free {
        next: Option<u32>,
    },
    Waiting {
        waker: Option<Waker>,
        batch: Option<Vec<u8>>,
    },
    /// A reply of `length` bytes in `bytes`.
    Short,
    Ended(Ended),
    /// MONITOR: lines without end. Always the first cell of its circuit.
    Stream(Box<Lines>),
}

#[derive(Debug)]
struct Lines {
    waker: Option<Waker>,
    lines: VecDeque<Vec<u8>>,
    dropped: u64,
    backlog: usize,
    over: bool,
}

/// What a stream cell yields.
#[derive(Debug)]
pub(crate) enum Line {
    Text(Vec<u8>),
    Dropped(u64),
    Over,
}

/// The cells of one circuit.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    cells: Vec<Cell>,
    free: Option<u32>,
}

impl Cells {
    /// Takes a cell. `batch` for the replies of a pipeline.
    #[inline]
    pub(crate) fn take(&mut self, waker: Waker, batch: bool) -> u32 {
        let state = CellState::Waiting { waker: Some(waker), batch: batch.then(Vec::new) };
        if let Some(index) = self.free
            && let Some(cell) = self.cells.get_mut(index as usize)
            && let CellState::Free { next } = cell.state
        {
            self.free = next;
            cell.state = state;
            return index;
        }
        if self.cells.is_empty() {
            // Most dedicated connections never have a second call.
            self.cells.reserve_exact(1);
        }
        self.cells.push(Cell::new(state));
        u32::try_from(self.cells.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives a cell back.
    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        if let Some(cell) = self.cells.get_mut(index as usize) {
            cell.state = CellState::Free { next: self.free };
            self.free = Some(index);
        }
    }

    /// The outcome, if it is there (the cell is free then); else `waker` is remembered.
    #[inline]
    pub(crate) fn collect(&mut self, index: u32, waker: &Waker) -> Option<Ended> {
        let cell = self.cells.get_mut(index as usize)?;
        match &mut cell.state {
            CellState::Short => {
                cell.state = CellState::Free { next: self.free };
                self.free = Some(index);
                Some(Ended::Reply(ReplyBytes::Inline { length: cell.length, bytes: cell.bytes }))
            }
            CellState::Ended(_) => {
                let free = CellState::Free { next: self.free };
                let CellState::Ended(ended) = std::mem::replace(&mut cell.state, free) else { return None };
                self.free = Some(index);
                Some(ended)
            }
            CellState::Waiting { waker: known, .. } => {
                if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    *known = Some(waker.clone());
                }
                None
            }
            CellState::Free { .. } | CellState::Stream(_) => None,
        }
    }

    /// One reply for this cell; `left` more follow. The waker of a call that has all it waited for.
    #[inline]
    pub(crate) fn reply(&mut self, index: u32, frame: &[u8], shared: Option<Bytes>, left: u32) -> Option<Waker> {
        let cell = self.cells.get_mut(index as usize)?;
        let (waker, batch) = match &mut cell.state {
            CellState::Waiting { waker, batch } => (waker, batch),
            CellState::Stream(lines) => return lines.push(frame),
            CellState::Free { .. } | CellState::Short | CellState::Ended(_) => return None,
        };
        if let Some(batch) = batch {
            batch.extend_from_slice(frame);
            if left > 0 {
                return None;
            }
            let (waker, batch) = (waker.take(), std::mem::take(batch));
            cell.state = CellState::Ended(Ended::Batch(batch));
            return waker;
        }
        let waker = waker.take();
        if let Some(room) = cell.bytes.get_mut(..frame.len()) {
            room.copy_from_slice(frame);
            #[expect(clippy::cast_possible_truncation, reason = "at most INLINE")]
            {
                cell.length = frame.len() as u8;
            }
            cell.state = CellState::Short;
        } else {
            let bytes = shared.unwrap_or_else(|| Bytes::copy_from_slice(frame));
            cell.state = CellState::Ended(Ended::Reply(ReplyBytes::Shared(bytes)));
        }
        waker
    }

    /// The call of this cell ends without a reply.
    pub(crate) fn fail(&mut self, index: u32, kind: FailureKind, delivery: Delivery) -> Option<Waker> {
        let cell = self.cells.get_mut(index as usize)?;
        let waker = match &mut cell.state {
            CellState::Waiting { waker, .. } => waker.take(),
            CellState::Stream(lines) => {
                lines.over = true;
                return lines.waker.take();
            }
            CellState::Free { .. } | CellState::Short | CellState::Ended(_) => return None,
        };
        cell.state = CellState::Ended(Ended::Failed(kind, delivery));
        waker
    }

    /// Takes the cell of a stream: of a circuit that has no other requests.
    pub(crate) fn take_stream(&mut self, backlog: usize) -> u32 {
        let lines = Lines { waker: None, lines: VecDeque::new(), dropped: 0, backlog, over: false };
        self.cells.insert(0, Cell::new(CellState::Stream(Box::new(lines))));
        0
    }

    /// The next line of the stream.
    pub(crate) fn next_line(&mut self, waker: &Waker) -> Option<Line> {
        let Some(Cell { state: CellState::Stream(lines), .. }) = self.cells.first_mut() else {
            return Some(Line::Over);
        };
        if lines.dropped > 0 {
            return Some(Line::Dropped(std::mem::take(&mut lines.dropped)));
        }
        if let Some(line) = lines.lines.pop_front() {
            return Some(Line::Text(line));
        }
        if lines.over {
            return Some(Line::Over);
        }
        lines.waker = Some(waker.clone());
        None
    }

    /// Gives memory back after a burst: when every cell is free and there are many.
    pub(crate) fn shrink(&mut self, in_use: usize) {
        if in_use == 0
            && self.cells.len() > 4_096
            && self.cells.iter().all(|cell| matches!(cell.state, CellState::Free { .. }))
        {
            *self = Self::default();
        }
    }
}

impl Lines {
    fn push(&mut self, line: &[u8]) -> Option<Waker> {
        if self.lines.len() >= self.backlog {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(line.to_vec());
        self.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_reused_only_after_its_call_has_let_go() {
        let mut cells = Cells::default();
        let first = cells.take(Waker::noop().clone(), false);
        let second = cells.take(Waker::noop().clone(), false);
        assert_ne!(first, second);
        assert!(cells.reply(first, b"+OK\r\n", None, 0).is_some());
        let third = cells.take(Waker::noop().clone(), false);
        assert_ne!(third, first, "its outcome has not been collected");
        assert!(cells.collect(first, Waker::noop()).is_some());
        assert_eq!(cells.take(Waker::noop().clone(), false), first);
    }

    #[test]
    fn a_pipeline_is_woken_once_with_all_its_replies() {
        let mut cells = Cells::default();
        let cell = cells.take(Waker::noop().clone(), true);
        assert!(cells.reply(cell, b":1\r\n", None, 1).is_none());
        assert!(cells.reply(cell, b":2\r\n", None, 0).is_some());
        let Some(Ended::Batch(replies)) = cells.collect(cell, Waker::noop()) else { panic!("a batch") };
        assert_eq!(replies, b":1\r\n:2\r\n");
    }
}
