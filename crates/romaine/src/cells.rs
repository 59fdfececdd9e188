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

#[derive(Debug)]
enum Cell {
    Free {
        next: Option<u32>,
    },
    Waiting {
        waker: Option<Waker>,
        batch: Option<Vec<u8>>,
    },
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
        let cell = Cell::Waiting { waker: Some(waker), batch: batch.then(Vec::new) };
        if let Some(index) = self.free
            && let Some(slot) = self.cells.get_mut(index as usize)
            && let Cell::Free { next } = *slot
        {
            self.free = next;
            *slot = cell;
            return index;
        }
        self.cells.push(cell);
        u32::try_from(self.cells.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives a cell back.
    #[inline]
    pub(crate) fn release(&mut self, index: u32) {
        if let Some(slot) = self.cells.get_mut(index as usize) {
            *slot = Cell::Free { next: self.free };
            self.free = Some(index);
        }
    }

    /// The outcome, if it is there (the cell is free then); else `waker` is remembered.
    #[inline]
    pub(crate) fn collect(&mut self, index: u32, waker: &Waker) -> Option<Ended> {
        let slot = self.cells.get_mut(index as usize)?;
        match slot {
            Cell::Ended(_) => {
                let Cell::Ended(ended) = std::mem::replace(slot, Cell::Free { next: self.free }) else { return None };
                self.free = Some(index);
                Some(ended)
            }
            Cell::Waiting { waker: known, .. } => {
                if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    *known = Some(waker.clone());
                }
                None
            }
            Cell::Free { .. } | Cell::Stream(_) => None,
        }
    }

    /// One reply for this cell; `left` more follow. The waker of a call that has all it waited for.
    #[inline]
    pub(crate) fn reply(&mut self, index: u32, frame: &[u8], shared: Option<Bytes>, left: u32) -> Option<Waker> {
        let slot = self.cells.get_mut(index as usize)?;
        let (waker, batch) = match slot {
            Cell::Waiting { waker, batch } => (waker, batch),
            Cell::Stream(lines) => return lines.push(frame),
            Cell::Free { .. } | Cell::Ended(_) => return None,
        };
        if let Some(batch) = batch {
            batch.extend_from_slice(frame);
            if left > 0 {
                return None;
            }
            let (waker, batch) = (waker.take(), std::mem::take(batch));
            *slot = Cell::Ended(Ended::Batch(batch));
            return waker;
        }
        let waker = waker.take();
        *slot = Cell::Ended(Ended::Reply(shared.map_or_else(|| ReplyBytes::copy(frame), ReplyBytes::Shared)));
        waker
    }

    /// The call of this cell ends without a reply.
    pub(crate) fn fail(&mut self, index: u32, kind: FailureKind, delivery: Delivery) -> Option<Waker> {
        let slot = self.cells.get_mut(index as usize)?;
        let waker = match slot {
            Cell::Waiting { waker, .. } => waker.take(),
            Cell::Stream(lines) => {
                lines.over = true;
                return lines.waker.take();
            }
            Cell::Free { .. } | Cell::Ended(_) => return None,
        };
        *slot = Cell::Ended(Ended::Failed(kind, delivery));
        waker
    }

    /// Takes the cell of a stream: of a circuit that has no other requests.
    pub(crate) fn take_stream(&mut self, backlog: usize) -> u32 {
        let lines = Lines { waker: None, lines: VecDeque::new(), dropped: 0, backlog, over: false };
        self.cells.insert(0, Cell::Stream(Box::new(lines)));
        0
    }

    /// The next line of the stream.
    pub(crate) fn next_line(&mut self, waker: &Waker) -> Option<Line> {
        let Some(Cell::Stream(lines)) = self.cells.first_mut() else { return Some(Line::Over) };
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
        if in_use == 0 && self.cells.len() > 4_096 && self.cells.iter().all(|cell| matches!(cell, Cell::Free { .. })) {
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
