//! What every constructor sends, for the fewest and the most arguments.

mod requests;

use std::fmt::Write;

use expect_test::expect_file;
use romaine_resp::{Framer, Limits, Scan};

fn text(arg: &[u8]) -> String {
    String::from_utf8_lossy(arg).into_owned()
}

#[test]
fn every_constructor_sends_what_is_on_record() {
    let mut record = String::new();
    for (name, request) in requests::all() {
        let words: Vec<_> = request.args().map(text).collect();
        let keys: Vec<_> = request.keys().into_iter().map(text).collect();
        let keys = if keys.is_empty() { String::new() } else { format!("  (keys: {})", keys.join(" ")) };
        writeln!(record, "{name}: {}{keys}", words.join(" ")).unwrap();
    }
    // `UPDATE_EXPECT=1 cargo test -p romaine-commands --test wire` after a deliberate change.
    expect_file!["requests.txt"].assert_eq(&record);
}

#[test]
fn every_request_has_as_many_arguments_as_its_row_says() {
    for (name, request) in requests::all() {
        if name == "client_kill" {
            // At least one filter, whichever: the server says so when there is none.
            continue;
        }
        let (arity, count) = (i64::from(request.spec().arity), i64::from(request.arg_count()));
        assert_eq!(count, request.args().count() as i64, "{name}");
        assert!(if arity < 0 { count >= -arity } else { count == arity }, "{name} sends {count}, the row says {arity}");
    }
}

#[test]
fn what_is_written_is_an_array_of_bulk_strings_of_the_promised_length() {
    for (name, request) in requests::all() {
        let mut wire = bytes::BytesMut::new();
        request.write_to(&mut wire);
        assert_eq!(wire.len(), request.wire_len(), "{name}");
        let scan = Framer::new(Limits::default()).scan(&wire);
        assert!(matches!(scan, Ok(Scan::Complete { length, .. }) if length == wire.len()), "{name}: {scan:?}");
    }
}
