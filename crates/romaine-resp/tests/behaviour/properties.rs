//! What holds for any bytes at all. The tests here and the fuzz targets in `/fuzz` both include this file, so that a
//! corpus found by fuzzing is run by `cargo test` for ever.

use romaine_resp::{DecodeError, DecodeErrorKind, FrameKind, Framer, Limits, Reader, Scan, Token};

/// What a stream of bytes is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// The whole frames, in order.
    pub(crate) frames: Vec<(usize, FrameKind)>,
    /// What comes after them: how many bytes the open frame needs, or why it is none.
    pub(crate) end: Result<usize, DecodeError>,
}

/// Feeds `wire` to a framer in parts that end at each of `cuts` (ascending) and at its end. Checks what every answer
/// must keep.
pub(crate) fn frame(wire: &[u8], cuts: impl IntoIterator<Item = usize>, limits: Limits) -> Framing {
    let mut framer = Framer::new(limits);
    let mut frames = Vec::new();
    let mut start = 0;
    let mut needed = 0;
    for cut in cuts.into_iter().chain([wire.len()]) {
        loop {
            let buf = &wire[start..cut];
            match framer.scan(buf) {
                Ok(Scan::Complete { length, kind }) => {
                    assert!(length <= buf.len(), "a frame of {length} bytes in {}", buf.len());
                    assert!(length <= limits.reply_bytes_max, "a frame of {length} bytes past the limit");
                    assert!(needed <= length, "{needed} bytes were needed for a frame of {length}");
                    frames.push((length, kind));
                    start += length;
                    needed = 0;
                }
                Ok(Scan::Incomplete { needed: now }) => {
                    assert!(now > buf.len(), "{now} bytes needed, and {} are there", buf.len());
                    assert!(now >= needed, "{needed} bytes were needed, and then only {now}");
                    assert!(now <= limits.reply_bytes_max, "{now} bytes needed past the limit");
                    needed = now;
                    break;
                }
                Err(error) => {
                    assert!(error.offset() <= buf.len(), "{error} of {}", buf.len());
                    return Framing { frames, end: Err(error) };
                }
            }
        }
    }
    Framing { frames, end: Ok(needed) }
}

/// However the bytes are cut, the frames and the error are the same; and every frame reads to its end.
pub(crate) fn cuts_change_nothing(wire: &[u8], cuts: impl IntoIterator<Item = usize>, limits: Limits) {
    let whole = frame(wire, [], limits);
    let cut = frame(wire, cuts, limits);
    assert_eq!(whole, cut, "{}", wire.escape_ascii());
    let mut rest = wire;
    for (length, kind) in whole.frames {
        let (frame, after) = rest.split_at(length);
        reads_to_its_end(frame, kind);
        rest = after;
    }
}

/// A frame holds exactly one value, whichever way the reader takes.
pub(crate) fn reads_to_its_end(frame: &[u8], kind: FrameKind) {
    let shown = frame.escape_ascii();
    let mut reader = Reader::new(frame);
    assert_eq!(reader.skip(), Ok(()), "{shown}");
    assert!(reader.is_at_end(), "skip leaves some of {shown}");

    let first = Reader::new(frame).peek();
    assert!(first.is_ok(), "{first:?} of {shown}");
    assert_eq!(matches!(first, Ok(Token::Push(_))), kind == FrameKind::Push, "{shown}");

    let mut reader = Reader::new(frame);
    let value = reader.value();
    assert!(value.is_ok(), "{value:?} of {shown}");
    assert!(reader.is_at_end(), "value leaves some of {shown}");

    let mut reader = Reader::new(frame);
    while !reader.is_at_end() {
        let token = reader.token();
        assert!(token.is_ok(), "{token:?} of {shown}");
    }
}

/// Over any bytes, a reader and a framer without limits say the same of the first value: its length, or why it is none.
pub(crate) fn reader_and_framer_agree(wire: &[u8]) {
    let none = Limits {
        reply_bytes_max: usize::MAX,
        depth_max: usize::MAX,
        elements_max: u64::MAX,
        line_bytes_max: usize::MAX,
    };
    let framed = Framer::new(none).scan(wire);
    let mut reader = Reader::new(wire);
    let skipped = reader.skip();
    match (framed, skipped) {
        (Ok(Scan::Complete { length, kind }), Ok(())) => {
            assert_eq!(length, reader.position(), "{}", wire.escape_ascii());
            reads_to_its_end(&wire[..length], kind);
        }
        (Ok(Scan::Incomplete { .. }), Err(error)) => {
            assert_eq!(error.kind(), DecodeErrorKind::Truncated, "{}", wire.escape_ascii());
        }
        // Stepping over does not nest, so only the framer has to look at the depth.
        (Err(error), _) if error.kind() == DecodeErrorKind::TooDeep => {}
        (Err(framed), Err(skipped)) => assert_eq!(framed, skipped, "{}", wire.escape_ascii()),
        (framed, skipped) => {
            unreachable!("framer: {framed:?}, reader: {skipped:?}, of {}", wire.escape_ascii());
        }
    }
    // Neither a tree nor a walk by tokens panics, whatever the bytes.
    let mut reader = Reader::new(wire);
    while !reader.is_at_end() && reader.value().is_ok() {}
    let mut reader = Reader::new(wire);
    while reader.token().is_ok() {}
}

/// Takes a fuzzer's input apart: which limits, how many cuts and where, and the bytes. Then everything above.
pub(crate) fn frame_input(input: &[u8]) {
    let [setting, cuts, rest @ ..] = input else {
        return;
    };
    let Some((steps, wire)) = rest.split_at_checked(usize::from(cuts % 8)) else {
        return;
    };
    let limits = if setting % 2 == 0 {
        Limits::default()
    } else {
        Limits { reply_bytes_max: 64, depth_max: 3, elements_max: 8, line_bytes_max: 40 }
    };
    let mut cut = 0;
    let cuts = steps.iter().map(|step| {
        cut = wire.len().min(cut + usize::from(*step));
        cut
    });
    cuts_change_nothing(wire, cuts, limits);
    cuts_change_nothing(wire, 0..wire.len(), limits);
}

/// The same for the target that reads without framing first.
pub(crate) fn reader_input(input: &[u8]) {
    reader_and_framer_agree(input);
}
