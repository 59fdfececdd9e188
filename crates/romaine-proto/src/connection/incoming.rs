//! What arrives: bytes to frames, frames to whom they are for.

use std::ops::Range;
use std::time::Instant;

use bytes::BytesMut;
use romaine_resp::{FrameKind, Reader, Scan, Token};

use super::Connection;
use super::options::{Lane, Link};
use super::outcome::{CloseReason, Outcomes};
use crate::handshake::Protocol;

impl Connection {
    /// Bytes arrived. Consumes whole frames from the start of `buffer`; says how many bytes were consumed and how long
    /// the next frame is at least. Without a socket they are of one that is gone, and ignored.
    ///
    /// # Errors
    /// When the connection cannot go on; the driver closes it with that reason.
    pub fn received(
        &mut self,
        now: Instant,
        buffer: &[u8],
        out: &mut impl Outcomes,
    ) -> Result<(usize, usize), CloseReason> {
        if matches!(self.link, Link::Down | Link::Closed) {
            return Ok((buffer.len(), 0));
        }
        if self.watchdog.received(now) && self.link == Link::Ready {
            out.recovered();
        }
        let mut position = 0;
        let needed = loop {
            let rest = &buffer[position..];
            if rest.is_empty() {
                break 0;
            }
            match self.framer.scan(rest).map_err(CloseReason::Malformed)? {
                Scan::Complete { length, kind } => {
                    let frame = position..position + length;
                    position += length;
                    self.frame(now, kind, buffer, frame, out)?;
                }
                Scan::Incomplete { needed } => break needed,
            }
        };
        self.watch(now);
        Ok((position, needed))
    }

    #[inline]
    fn frame(
        &mut self,
        now: Instant,
        kind: FrameKind,
        buffer: &[u8],
        frame: Range<usize>,
        out: &mut impl Outcomes,
    ) -> Result<(), CloseReason> {
        if self.link != Link::Ready {
            return self.greeting_frame(now, kind, &buffer[frame], out);
        }
        if kind == FrameKind::Push {
            out.push(&buffer[frame]);
            return Ok(());
        }
        let is_ours = match self.lane {
            Lane::Requests => self.line.answer(buffer, frame, out),
            Lane::Subscriber => self.subscriber_frame(buffer, frame, out),
            Lane::Monitor => {
                self.line.answer_among_lines(&buffer[frame.clone()]) || self.line.answer(buffer, frame, out)
            }
        };
        if is_ours { Ok(()) } else { Err(CloseReason::Unsolicited) }
    }

    #[inline(never)]
    fn greeting_frame(
        &mut self,
        now: Instant,
        kind: FrameKind,
        frame: &[u8],
        out: &mut impl Outcomes,
    ) -> Result<(), CloseReason> {
        if kind == FrameKind::Push {
            return Ok(());
        }
        let Some(handshake) = self.handshake.as_mut() else {
            return Err(CloseReason::Unsolicited);
        };
        if !self.handshake_out.is_empty() {
            // The next step was not even sent: were this taken for its reply, every later reply would be shifted. But
            // a server that is full says so before it is asked anything.
            let unasked = handshake.unasked(frame);
            return Err(unasked.map_or(CloseReason::Unsolicited, CloseReason::Handshake));
        }
        match handshake.reply(frame, &mut self.handshake_out) {
            None => Ok(()),
            Some(Err(error)) => Err(CloseReason::Handshake(error)),
            Some(Ok(identity)) => {
                self.handshake = None;
                self.handshake_out = BytesMut::new();
                self.deadlines = None;
                self.wanted = false;
                self.resp2 = identity.protocol == Protocol::Resp2;
                self.link = Link::Ready;
                self.watch(now);
                out.ready(&identity);
                Ok(())
            }
        }
    }

    /// On a RESP2 subscriber connection messages are told from replies by their first element.
    fn subscriber_frame(&mut self, buffer: &[u8], frame: Range<usize>, out: &mut impl Outcomes) -> bool {
        let mut reader = Reader::new(&buffer[frame.clone()]);
        if self.resp2
            && let Ok(Token::Array(3..)) = reader.token()
            && let Ok(Token::Bulk(kind)) = reader.token()
            && kind != b"pong"
        {
            out.push(&buffer[frame]);
            return true;
        }
        self.line.answer(buffer, frame, out)
    }
}
