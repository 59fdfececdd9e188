use romaine_resp::{FrameKind, Framer, Limits, Scan, Value};

use crate::limits::malformed;
use crate::properties::{Framing, cuts_change_nothing, frame};
use crate::types::samples;

#[test]
fn a_frame_cut_in_two_anywhere_is_the_same_frame() {
    for (wire, value) in samples() {
        let kind = if matches!(value, Value::Push(_)) { FrameKind::Push } else { FrameKind::Reply };
        for cut in 0..=wire.len() {
            let framing = frame(wire, [cut], Limits::default());
            let expected = Framing { frames: vec![(wire.len(), kind)], end: framing.end };
            assert_eq!(framing, expected, "{} cut at {cut}", wire.escape_ascii());
        }
    }
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_the_same_frame() {
    for (wire, _) in samples() {
        cuts_change_nothing(wire, 0..wire.len(), Limits::default());
    }
}

#[test]
fn a_frame_cut_in_three_anywhere_is_the_same_frame() {
    for (wire, _) in samples() {
        for first in 0..wire.len() {
            for second in first..wire.len() {
                cuts_change_nothing(wire, [first, second], Limits::default());
            }
        }
    }
}

#[test]
fn a_stream_of_frames_is_the_same_however_it_is_cut() {
    let stream: Vec<u8> = samples().iter().flat_map(|(wire, _)| wire.iter().copied()).collect();
    let lengths: Vec<usize> = samples().iter().map(|(wire, _)| wire.len()).collect();
    let whole = frame(&stream, [], Limits::default());
    assert_eq!(whole.frames.iter().map(|(length, _)| *length).collect::<Vec<_>>(), lengths);
    for cut in 0..stream.len() {
        assert_eq!(frame(&stream, [cut], Limits::default()), whole, "cut at {cut}");
    }
    for step in [1, 2, 3, 5, 7, 16, 64] {
        assert_eq!(frame(&stream, (0..stream.len()).step_by(step), Limits::default()), whole, "parts of {step}");
    }
}

#[test]
fn what_is_wrong_is_wrong_in_the_same_way_however_it_is_cut() {
    for (wire, _, _) in malformed() {
        for cut in 0..=wire.len() {
            cuts_change_nothing(wire, [cut], Limits::default());
        }
        cuts_change_nothing(wire, 0..wire.len(), Limits::default());
    }
}

#[test]
fn limits_hold_in_the_same_way_however_the_bytes_are_cut() {
    // Every limit so small that most samples hit one, in all combinations of sizes that matter.
    for (wire, _) in samples() {
        for reply_bytes_max in 0..=wire.len() {
            let limits = Limits { reply_bytes_max, ..Limits::default() };
            cuts_change_nothing(wire, 0..wire.len(), limits);
            assert_eq!(frame(wire, [], limits).frames.len(), usize::from(reply_bytes_max == wire.len()));
        }
        for small in 0..8 {
            let limits = Limits { depth_max: small, ..Limits::default() };
            cuts_change_nothing(wire, 0..wire.len(), limits);
            let limits = Limits { elements_max: small as u64, ..Limits::default() };
            cuts_change_nothing(wire, 0..wire.len(), limits);
        }
        for line_bytes_max in 32..48 {
            cuts_change_nothing(wire, 0..wire.len(), Limits { line_bytes_max, ..Limits::default() });
        }
    }
}

#[test]
fn needed_is_known_exactly_once_the_length_of_a_bulk_string_is() {
    let scan = |wire: &[u8]| Framer::new(Limits::default()).scan(wire);
    assert_eq!(scan(b""), Ok(Scan::Incomplete { needed: 3 }));
    assert_eq!(scan(b"$"), Ok(Scan::Incomplete { needed: 3 }));
    assert_eq!(scan(b"$10"), Ok(Scan::Incomplete { needed: 5 }));
    assert_eq!(scan(b"$10\r"), Ok(Scan::Incomplete { needed: 5 }));
    assert_eq!(scan(b"$10\r\n"), Ok(Scan::Incomplete { needed: 17 }));
    assert_eq!(scan(b"$10\r\nabc"), Ok(Scan::Incomplete { needed: 17 }));
    assert_eq!(scan(b"*2\r\n:1\r\n"), Ok(Scan::Incomplete { needed: 11 }));
}

#[test]
fn a_reset_framer_begins_a_new_frame() {
    for (wire, _) in samples() {
        for cut in 0..wire.len() {
            let mut framer = Framer::new(Limits::default());
            assert!(matches!(framer.scan(&wire[..cut]), Ok(Scan::Incomplete { .. })), "{}", wire.escape_ascii());
            framer.reset();
            assert_eq!(framer.scan(b"+PONG\r\n"), Ok(Scan::Complete { length: 7, kind: FrameKind::Reply }));
        }
    }
}

#[test]
fn a_push_between_replies_is_told_from_them_and_from_what_it_holds() {
    let stream = b"+OK\r\n>1\r\n+invalidate\r\n*1\r\n+message\r\n|1\r\n+a\r\n+b\r\n>1\r\n+x\r\n:1\r\n";
    let kinds = |framing: Framing| framing.frames.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>();
    let expected = [FrameKind::Reply, FrameKind::Push, FrameKind::Reply, FrameKind::Push, FrameKind::Reply];
    assert_eq!(kinds(frame(stream, [], Limits::default())), expected);
    assert_eq!(kinds(frame(stream, 0..stream.len(), Limits::default())), expected);
}
