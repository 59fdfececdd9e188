use romaine_resp::{DecodeError, DecodeErrorKind, Framer, Limits, Reader, Scan};

/// Bytes that are no RESP, why, and where.
pub(crate) fn malformed() -> Vec<(&'static [u8], DecodeErrorKind, usize)> {
    use DecodeErrorKind::{BadForm, BadNumber, MissingTerminator, ReplyTooLarge, TooManyElements, UnknownType};
    vec![
        (b"HTTP/1.1 400 Bad Request\r\n", UnknownType(b'H'), 0),
        (b"\r\n", UnknownType(b'\r'), 0),
        (b"\0", UnknownType(0), 0),
        (b"\x15\x03\x01", UnknownType(0x15), 0),
        (b"*2\r\n:1\r\n?", UnknownType(b'?'), 8),
        (b"|1\r\n+a\r\n+b\r\n?", UnknownType(b'?'), 12),
        // Streamed types of the RESP3 text, which no server sends.
        (b"$?\r\n;4\r\nHell\r\n", BadNumber, 0),
        (b"*?\r\n", BadNumber, 0),
        (b"*1\r\n.\r\n", UnknownType(b'.'), 4),
        (b":\r\n", BadNumber, 0),
        (b":-\r\n", BadNumber, 0),
        (b":abc\r\n", BadNumber, 0),
        (b":1 \r\n", BadNumber, 0),
        (b":9223372036854775808\r\n", BadNumber, 0),
        (b":-9223372036854775809\r\n", BadNumber, 0),
        (b":99999999999999999999\r\n", BadNumber, 0),
        (b",x\r\n", BadNumber, 0),
        (b",\r\n", BadNumber, 0),
        (b"(1.5\r\n", BadNumber, 0),
        (b"(-\r\n", BadNumber, 0),
        (b"(\r\n", BadNumber, 0),
        (b"_x\r\n", BadForm, 0),
        (b"#x\r\n", BadForm, 0),
        (b"#tt\r\n", BadForm, 0),
        (b"#\r\n", BadForm, 0),
        (b"$\r\n", BadNumber, 0),
        (b"$-2\r\n", BadNumber, 0),
        (b"$-0\r\n", BadNumber, 0),
        (b"$+1\r\nx\r\n", BadNumber, 0),
        (b"$1:\r\n", BadNumber, 0),
        (b"$1x\r\n", BadNumber, 0),
        (b"!-1\r\n", BadNumber, 0),
        (b"=-1\r\n", BadNumber, 0),
        (b"=3\r\ntxt\r\n", BadForm, 0),
        (b"=5\r\ntext!\r\n", BadForm, 0),
        (b"*-2\r\n", BadNumber, 0),
        (b"%-1\r\n", BadNumber, 0),
        (b"~-1\r\n", BadNumber, 0),
        (b">-1\r\n", BadNumber, 0),
        (b"|-1\r\n", BadNumber, 0),
        (b"*+1\r\n", BadNumber, 0),
        (b"*1\r\n$-3\r\n", BadNumber, 4),
        (b"+a\rb\r\n", MissingTerminator, 0),
        (b"$1\rx", MissingTerminator, 0),
        (b"$1\r\nabc\r\n", MissingTerminator, 0),
        (b"$1\r\na\r\r", MissingTerminator, 0),
        (b"*1\r\n$16\r\n0123456789abcdefgh", MissingTerminator, 4),
        // Lengths that no reply can have, up to what no integer can hold.
        (b"$536870913\r\n", ReplyTooLarge, 0),
        (b"$9223372036854775807\r\n", ReplyTooLarge, 0),
        (b"$9999999999999999999\r\n", ReplyTooLarge, 0),
        (b"$18446744073709551615\r\n", BadNumber, 0),
        (b"!9223372036854775807\r\n", ReplyTooLarge, 0),
        (b"*1\r\n=9223372036854775807\r\n", ReplyTooLarge, 4),
        (b"*16777217\r\n", TooManyElements, 0),
        (b"*9223372036854775807\r\n", TooManyElements, 0),
        (b"%9223372036854775807\r\n", TooManyElements, 0),
        (b"%9999999999999999999\r\n", TooManyElements, 0),
        (b"~9223372036854775807\r\n", TooManyElements, 0),
        (b">9223372036854775807\r\n", TooManyElements, 0),
        (b"|9223372036854775807\r\n", TooManyElements, 0),
        (b"*2\r\n:1\r\n%9223372036854775807\r\n", TooManyElements, 8),
    ]
}

fn scan(wire: &[u8], limits: Limits) -> Result<Scan, DecodeError> {
    Framer::new(limits).scan(wire)
}

#[test]
fn what_is_no_resp_is_refused_with_the_reason_and_the_place() {
    for (wire, kind, offset) in malformed() {
        let error = scan(wire, Limits::default()).expect_err("malformed");
        assert_eq!((error.kind(), error.offset()), (kind, offset), "{}", wire.escape_ascii());
        assert!(error.to_string().ends_with(&format!("(at byte {offset})")), "{error}");
    }
}

#[test]
fn a_reader_refuses_what_a_framer_refuses() {
    for (wire, kind, offset) in malformed() {
        let shown = wire.escape_ascii();
        let skipped = Reader::new(wire).skip().expect_err("malformed");
        let built = Reader::new(wire).value().expect_err("malformed");
        match kind {
            // A reader has no limits, but it finds the end; on 32 bits also that such a length cannot be.
            DecodeErrorKind::ReplyTooLarge | DecodeErrorKind::TooManyElements => {
                for error in [skipped, built] {
                    assert!([kind, DecodeErrorKind::Truncated].contains(&error.kind()), "{error}, {shown}");
                }
            }
            _ => {
                assert_eq!((skipped.kind(), skipped.offset()), (kind, offset), "{shown}");
                assert_eq!((built.kind(), built.offset()), (kind, offset), "{shown}");
            }
        }
    }
}

#[test]
fn lengths_near_the_end_of_the_numbers_do_not_overflow_without_limits() {
    let limits = Limits {
        reply_bytes_max: usize::MAX,
        depth_max: usize::MAX,
        elements_max: u64::MAX,
        line_bytes_max: usize::MAX,
    };
    for wire in [
        &b"$9223372036854775807\r\n"[..],
        b"$9999999999999999999\r\n",
        b"!9999999999999999999\r\n",
        b"*9999999999999999999\r\n",
        b"%9999999999999999999\r\n",
        b"%9999999999999999999\r\n%9999999999999999999\r\n%9999999999999999999\r\n:1\r\n",
        b"|9999999999999999999\r\n|9999999999999999999\r\n:1\r\n",
        b"*9999999999999999999\r\n|9999999999999999999\r\n|9999999999999999999\r\n",
    ] {
        // On 32 bits such a bulk string is too large at once; nowhere does it end.
        assert!(!matches!(scan(wire, limits), Ok(Scan::Complete { .. })), "{}", wire.escape_ascii());
        assert!(Reader::new(wire).skip().is_err(), "{}", wire.escape_ascii());
        assert!(Reader::new(wire).value().is_err(), "{}", wire.escape_ascii());
    }
}

#[test]
fn a_reply_may_have_as_many_bytes_as_the_limit_and_no_more() {
    for wire in [
        &b"+0123456789\r\n"[..],
        b"+OK\r\n",
        b":12\r\n",
        b"_\r\n",
        b"#t\r\n",
        b"$10\r\n0123456789\r\n",
        b"$-1\r\n",
        b"=6\r\ntxt:ab\r\n",
        b"*0\r\n",
        b"*3\r\n:1\r\n$2\r\nab\r\n+OK\r\n",
    ] {
        let within = Limits { reply_bytes_max: wire.len(), ..Limits::default() };
        assert!(matches!(scan(wire, within), Ok(Scan::Complete { .. })), "{}", wire.escape_ascii());
        let past = Limits { reply_bytes_max: wire.len() - 1, ..Limits::default() };
        let error = scan(wire, past).expect_err("one byte too many");
        assert_eq!(error.kind(), DecodeErrorKind::ReplyTooLarge, "{}", wire.escape_ascii());
    }
}

#[test]
fn a_reply_that_will_be_too_large_is_refused_before_it_has_come() {
    let limits = Limits { reply_bytes_max: 1_000, ..Limits::default() };
    let refused = |offset| Err(DecodeError::new(DecodeErrorKind::ReplyTooLarge, offset));
    assert_eq!(scan(b"$993\r\n", limits), refused(0));
    assert_eq!(scan(b"$992\r\n", limits), Ok(Scan::Incomplete { needed: 1_000 }));
    assert_eq!(scan(b"*2\r\n:1\r\n$990\r\n", limits), refused(8));
    let full = [b"*2\r\n+", &[b'x'; 992][..], b"\r\n"].concat();
    assert_eq!(scan(&full, limits), refused(999), "not even the shortest element fits");
}

#[test]
fn a_line_may_have_as_many_bytes_as_the_limit_and_no_more() {
    let limits = Limits { line_bytes_max: 100, ..Limits::default() };
    for kind in [b'+', b'-', b'('] {
        let line = |length: usize| [&[kind][..], &vec![b'1'; length], b"\r\n"].concat();
        assert!(matches!(scan(&line(100), limits), Ok(Scan::Complete { .. })));
        let refused = Err(DecodeError::new(DecodeErrorKind::LineTooLong, 0));
        assert_eq!(scan(&line(101), limits), refused);
        assert_eq!(scan(&line(101)[..102], limits), refused, "before its end has come");
        assert!(matches!(scan(&line(101)[..101], limits), Ok(Scan::Incomplete { .. })));
    }
    let inside = [b"*2\r\n:1\r\n+", &[b'x'; 101][..]].concat();
    assert_eq!(scan(&inside, limits), Err(DecodeError::new(DecodeErrorKind::LineTooLong, 8)));
}

#[test]
fn a_number_fits_in_a_line_however_small_the_limit() {
    let limits = Limits { line_bytes_max: 0, ..Limits::default() };
    assert!(matches!(scan(b":-9223372036854775808\r\n", limits), Ok(Scan::Complete { .. })));
    assert_eq!(scan(&[b'+'; 34], limits), Err(DecodeError::new(DecodeErrorKind::LineTooLong, 0)));
}

#[test]
fn aggregates_may_nest_as_deep_as_the_limit_and_no_deeper() {
    for header in ["*1\r\n", "%1\r\n+k\r\n", "~1\r\n", ">1\r\n", "|1\r\n+k\r\n"] {
        let limits = Limits { depth_max: 3, ..Limits::default() };
        let nested = |depth: usize| [header.repeat(depth), "*0\r\n".to_owned()].concat().into_bytes();
        let deepest = scan(&nested(3), limits).expect("within the limit");
        // The value that an attribute describes is still to come.
        assert_eq!(matches!(deepest, Scan::Complete { .. }), !header.starts_with('|'), "{header}");
        let too_deep = Err(DecodeError::new(DecodeErrorKind::TooDeep, 3 * header.len()));
        assert_eq!(scan(&nested(4), limits), too_deep, "{header}");
    }
    let flat = Limits { depth_max: 0, ..Limits::default() };
    assert!(matches!(scan(b"*0\r\n", flat), Ok(Scan::Complete { .. })));
    assert_eq!(scan(b"*1\r\n", flat), Err(DecodeError::new(DecodeErrorKind::TooDeep, 0)));
}

#[test]
fn no_setting_lets_nesting_end_the_stack() {
    let limits = Limits { depth_max: usize::MAX, ..Limits::default() };
    let nested = |depth: usize| ["*1\r\n".repeat(depth), "*0\r\n".to_owned()].concat().into_bytes();
    let deepest = nested(Limits::DEPTH_CEILING);
    assert!(matches!(scan(&deepest, limits), Ok(Scan::Complete { .. })));
    assert!(Reader::new(&deepest).value().is_ok());
    let too_deep = Err(DecodeErrorKind::TooDeep);
    let deeper = nested(Limits::DEPTH_CEILING + 1);
    assert_eq!(scan(&deeper, limits).map_err(|error| error.kind()), too_deep);
    assert_eq!(Reader::new(&deeper).value().map(drop).map_err(|error| error.kind()), Err(DecodeErrorKind::TooDeep));
    // Stepping over does not recurse.
    for header in ["*1\r\n", "%1\r\n", "|1\r\n"] {
        let deepest = header.repeat(1_000_000).into_bytes();
        assert!(Reader::new(&deepest).skip().is_err());
        assert!(Reader::new(&deepest).value().is_err());
        assert!(Reader::new(&deepest).peek().is_ok() || header.starts_with('|'));
    }
}

#[test]
fn a_reply_may_have_as_many_elements_as_the_limit_at_all_levels_together() {
    let limits = Limits { elements_max: 6, ..Limits::default() };
    let within = b"*2\r\n*2\r\n:1\r\n:2\r\n%1\r\n:1\r\n:2\r\n";
    assert!(matches!(scan(within, limits), Ok(Scan::Complete { .. })));
    let refused = |offset| Err(DecodeError::new(DecodeErrorKind::TooManyElements, offset));
    assert_eq!(scan(b"*7\r\n", limits), refused(0));
    assert_eq!(scan(b"%4\r\n", limits), refused(0));
    assert_eq!(scan(b"*2\r\n*2\r\n:1\r\n:2\r\n*3\r\n", limits), refused(16));
    assert_eq!(scan(b"|1\r\n+k\r\n+v\r\n*5\r\n", limits), refused(12), "attributes count");
    // The next frame begins from nothing.
    let mut framer = Framer::new(limits);
    for _ in 0..10 {
        assert!(matches!(framer.scan(within), Ok(Scan::Complete { .. })));
    }
}

#[test]
fn a_claimed_count_reserves_no_more_than_the_bytes_can_hold() {
    let wire = b"*1000000\r\n:1\r\n:2\r\n";
    let mut reader = Reader::new(wire);
    assert!(reader.token().is_ok());
    assert_eq!(reader.remaining(), (wire.len() - 10) / 3);
    assert!(Reader::new(b"%9223372036854775807\r\n").value().is_err());
}
