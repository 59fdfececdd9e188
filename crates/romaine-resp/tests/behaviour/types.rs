use bytes::Bytes;
use romaine_resp::{FrameKind, Framer, Limits, Reader, Scan, ServerError, Token, Value};

use crate::properties::reads_to_its_end;

/// One of everything: its wire form and the value it is. The other tests cut these up.
pub(crate) fn samples() -> Vec<(&'static [u8], Value)> {
    let simple = |text: &'static str| Value::Simple(Bytes::from_static(text.as_bytes()));
    let bulk = |text: &'static str| Value::Bulk(Bytes::from_static(text.as_bytes()));
    let big = |text: &'static str| Value::BigNumber(Bytes::from_static(text.as_bytes()));
    let error = |text: &str| Value::Error(ServerError::new(text.as_bytes()));
    let array = Value::Array;
    vec![
        (b"+OK\r\n", simple("OK")),
        (b"+\r\n", simple("")),
        (b"+QUEUED\r\n", simple("QUEUED")),
        (b"+a status line of more than thirty-two bytes\r\n", simple("a status line of more than thirty-two bytes")),
        (b"-ERR no\r\n", error("ERR no")),
        (b":0\r\n", Value::Integer(0)),
        (b":1\r\n", Value::Integer(1)),
        (b":+7\r\n", Value::Integer(7)),
        (b":-2\r\n", Value::Integer(-2)),
        (b":0000000000000000012\r\n", Value::Integer(12)),
        (b":9223372036854775807\r\n", Value::Integer(i64::MAX)),
        (b":-9223372036854775808\r\n", Value::Integer(i64::MIN)),
        (b"$0\r\n\r\n", bulk("")),
        (b"$1\r\na\r\n", bulk("a")),
        (b"$2\r\n\r\n\r\n", bulk("\r\n")),
        (b"$16\r\n0123456789abcdef\r\n", bulk("0123456789abcdef")),
        (b"$003\r\nabc\r\n", bulk("abc")),
        (b"$0000003\r\nabc\r\n", bulk("abc")),
        (b"$-1\r\n", Value::Null),
        (b"*-1\r\n", Value::Null),
        (b"_\r\n", Value::Null),
        (b"#t\r\n", Value::Boolean(true)),
        (b"#f\r\n", Value::Boolean(false)),
        (b",3.25\r\n", Value::Double(3.25)),
        (b",-1e-3\r\n", Value::Double(-0.001)),
        (b",10\r\n", Value::Double(10.0)),
        (b",inf\r\n", Value::Double(f64::INFINITY)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (b"(3492890328409238509324850943850943825024385\r\n", big("3492890328409238509324850943850943825024385")),
        (b"(-12\r\n", big("-12")),
        (b"(+12\r\n", big("+12")),
        (b"!21\r\nSYNTAX invalid syntax\r\n", error("SYNTAX invalid syntax")),
        (b"=15\r\ntxt:Some string\r\n", bulk("Some string")),
        (b"=4\r\nmkd:\r\n", bulk("")),
        (b"*0\r\n", array(vec![])),
        (b"~0\r\n", Value::Set(vec![])),
        (b"%0\r\n", Value::Map(vec![])),
        (b">0\r\n", Value::Push(vec![])),
        (b"*1\r\n*0\r\n", array(vec![array(vec![])])),
        (b"*3\r\n$-1\r\n*-1\r\n_\r\n", array(vec![Value::Null, Value::Null, Value::Null])),
        (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", array(vec![bulk("GET"), bulk("")])),
        (
            b"*3\r\n*2\r\n:1\r\n:2\r\n*1\r\n*1\r\n+x\r\n-ERR y\r\n",
            array(vec![
                array(vec![Value::Integer(1), Value::Integer(2)]),
                array(vec![array(vec![simple("x")])]),
                error("ERR y"),
            ]),
        ),
        (b"~2\r\n:1\r\n#t\r\n", Value::Set(vec![Value::Integer(1), Value::Boolean(true)])),
        (
            b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n_\r\n",
            Value::Map(vec![(simple("a"), Value::Integer(1)), (bulk("b"), array(vec![Value::Null]))]),
        ),
        (b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", Value::Push(vec![bulk("message"), bulk("c"), bulk("hi")])),
        (b"|0\r\n+OK\r\n", simple("OK")),
        (b"|1\r\n+ttl\r\n:3600\r\n+OK\r\n", simple("OK")),
        (b"|1\r\n+a\r\n*2\r\n:1\r\n:2\r\n|1\r\n+b\r\n+c\r\n*1\r\n:7\r\n", array(vec![Value::Integer(7)])),
        (b"|1\r\n|1\r\n+deep\r\n+er\r\n+k\r\n+v\r\n:1\r\n", Value::Integer(1)),
        (b"|1\r\n+a\r\n+b\r\n>1\r\n+p\r\n", Value::Push(vec![simple("p")])),
        (b"|1\r\n>1\r\n+p\r\n+b\r\n+OK\r\n", simple("OK")),
        (
            b"*3\r\n:1\r\n|1\r\n+ttl\r\n:3600\r\n:2\r\n|0\r\n:3\r\n",
            array(vec![Value::Integer(1), Value::Integer(2), Value::Integer(3)]),
        ),
        (
            b"%1\r\n|1\r\n+k\r\n+v\r\n+a\r\n|1\r\n+k\r\n+v\r\n*1\r\n|1\r\n+k\r\n+v\r\n:1\r\n",
            Value::Map(vec![(simple("a"), array(vec![Value::Integer(1)]))]),
        ),
    ]
}

fn is_push(value: &Value) -> bool {
    matches!(value, Value::Push(_))
}

#[test]
fn every_type_frames_and_reads_as_the_value_it_is() {
    for (wire, value) in samples() {
        let shown = wire.escape_ascii();
        let kind = if is_push(&value) { FrameKind::Push } else { FrameKind::Reply };
        let mut framer = Framer::new(Limits::default());
        assert_eq!(framer.scan(wire), Ok(Scan::Complete { length: wire.len(), kind }), "{shown}");
        assert_eq!(Reader::new(wire).value(), Ok(value.clone()), "{shown}");
        assert_eq!(Reader::shared(&Bytes::from_static(wire)).value(), Ok(value), "{shown}");
        reads_to_its_end(wire, kind);
    }
}

#[test]
fn bytes_after_a_frame_are_not_touched() {
    for (wire, value) in samples() {
        for after in [&b"+OK\r\n"[..], b"?", b"\r\n\r\n\r\n\r\n", b"$"] {
            let both = [wire, after].concat();
            let kind = if is_push(&value) { FrameKind::Push } else { FrameKind::Reply };
            let scan = Framer::new(Limits::default()).scan(&both);
            assert_eq!(scan, Ok(Scan::Complete { length: wire.len(), kind }), "{}", both.escape_ascii());
            let mut reader = Reader::new(&both);
            assert_eq!(reader.value(), Ok(value.clone()), "{}", both.escape_ascii());
            assert_eq!(reader.position(), wire.len(), "{}", both.escape_ascii());
        }
    }
}

#[test]
fn bulk_strings_of_every_number_of_digits_are_found() {
    for length in [0, 1, 9, 10, 16, 99, 100, 999, 1_000, 9_999, 10_000, 99_999, 100_000, 1_000_000] {
        let data = vec![b'x'; length];
        let mut wire = format!("${length}\r\n").into_bytes();
        wire.extend_from_slice(&data);
        wire.extend_from_slice(b"\r\n");
        let whole = Ok(Scan::Complete { length: wire.len(), kind: FrameKind::Reply });
        assert_eq!(Framer::new(Limits::default()).scan(&wire), whole, "{length}");
        assert_eq!(Reader::new(&wire).token(), Ok(Token::Bulk(&data[..])), "{length}");
        // The same between other elements, where the loop for runs of them finds it.
        let many = [b"*3\r\n", &wire[..], &wire[..], &wire[..]].concat();
        let whole = Ok(Scan::Complete { length: many.len(), kind: FrameKind::Reply });
        assert_eq!(Framer::new(Limits::default()).scan(&many), whole, "{length}");
    }
}

#[test]
fn a_double_that_is_no_number_reads_as_nan() {
    for wire in [&b",nan\r\n"[..], b",-nan\r\n"] {
        assert!(matches!(Reader::new(wire).token(), Ok(Token::Double(n)) if n.is_nan()), "{}", wire.escape_ascii());
    }
}

#[test]
fn tokens_are_told_apart_and_named() {
    let cases: [(&[u8], Token<'_>, &str); 12] = [
        (b"+a\r\n", Token::Simple(b"a"), "status"),
        (b"-a\r\n", Token::Error(b"a"), "error"),
        (b":1\r\n", Token::Integer(1), "integer"),
        (b"$1\r\na\r\n", Token::Bulk(b"a"), "string"),
        (b",1\r\n", Token::Double(1.0), "double"),
        (b"#t\r\n", Token::Boolean(true), "boolean"),
        (b"(1\r\n", Token::BigNumber(b"1"), "big number"),
        (b"_\r\n", Token::Null, "nil"),
        (b"*2\r\n", Token::Array(2), "array"),
        (b"~2\r\n", Token::Set(2), "set"),
        (b">2\r\n", Token::Push(2), "push"),
        (b"%2\r\n", Token::Map(2), "map"),
    ];
    for (wire, token, name) in cases {
        let mut reader = Reader::new(wire);
        assert_eq!(reader.peek(), Ok(token));
        assert_eq!(reader.position(), 0, "peek consumes nothing");
        assert_eq!(reader.token(), Ok(token));
        assert_eq!(token.type_name(), name);
        assert!(reader.is_at_end());
    }
}

#[test]
fn large_parts_of_a_shared_frame_are_slices_of_it_and_small_ones_are_copies() {
    let origin = Bytes::from([b"*2\r\n$100\r\n", &[b'x'; 100][..], b"\r\n$1\r\ny\r\n"].concat());
    let Ok(Value::Array(values)) = Reader::shared(&origin).value() else {
        panic!("an array");
    };
    let within = |part: &Bytes| origin.as_ptr_range().contains(&part.as_ptr());
    assert_eq!(values.iter().filter_map(Value::as_bytes).map(within).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_value_gives_what_it_is_and_nothing_else() {
    let text = Value::Bulk(Bytes::from_static(b"x"));
    assert_eq!(text.as_str(), Some("x"));
    assert_eq!(text.as_integer(), None);
    assert_eq!(Value::Bulk(Bytes::from_static(b"\xff")).as_str(), None);
    assert_eq!(Value::Integer(4).as_integer(), Some(4));
    assert_eq!(Value::Integer(4).as_bytes(), None);
    assert_eq!(Value::Set(vec![Value::Null]).as_elements(), Some(&[Value::Null][..]));
    assert_eq!(Value::Map(vec![]).as_elements(), None);
    assert!(Value::Null.is_null() && !text.is_null());
}

#[test]
fn a_server_error_has_a_code_and_a_message() {
    let error = ServerError::new(b"WRONGTYPE Operation against \xff");
    assert_eq!((error.code(), error.message()), ("WRONGTYPE", "Operation against \u{fffd}"));
    assert_eq!(ServerError::new(b"LOADING").code(), "LOADING");
    assert_eq!(ServerError::new(b"LOADING").message(), "");
    assert_eq!(ServerError::new(b"ERR a").to_string(), "ERR a");
}
