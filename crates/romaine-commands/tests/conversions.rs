//! Replies as old and new servers send them, in RESP2 and RESP3.

use std::collections::BTreeMap;
use std::fmt::Debug;

use romaine_commands::replies::{
    AclUser, AutoClaim, CommandInfo, GeoMatch, Hello, Lcs, Library, MemoryStats, Page, Role, SlowlogEntry, StreamEntry,
    StreamId, TrackingInfo,
};
use romaine_commands::{ConversionError, FromValue};
use romaine_resp::Reader;

/// Reads a frame that is written with spaces for line ends.
fn read<T: FromValue>(frame: &str) -> Result<T, ConversionError> {
    let wire = frame.split(' ').fold(String::new(), |wire, line| wire + line + "\r\n");
    let mut reader = Reader::new(wire.as_bytes());
    let value = T::from_value(&mut reader)?;
    assert!(reader.is_at_end(), "part of {frame} was not read");
    Ok(value)
}

/// All of these frames mean `expected`.
#[track_caller]
fn check<T: FromValue + PartialEq + Debug>(frames: &[&str], expected: &T) {
    for frame in frames {
        assert_eq!(read::<T>(frame).as_ref(), Ok(expected), "{frame}");
    }
}

#[test]
fn numbers_and_truth_come_as_such_or_as_text() {
    check(&[":1", "#t", "+OK"], &true);
    check(&[":0", "#f", "_", "$-1"], &false);
    check(&[",2.5", "$3 2.5", "+2.5"], &2.5);
    check(&[",inf", "$3 inf"], &f64::INFINITY);
    check(&[":7", "$1 7", "(7"], &7_i64);
    assert!(read::<i64>("$1 x").is_err());
    assert!(read::<u8>(":256").is_err());
}

#[test]
fn nothing_is_none_an_empty_list_or_an_error() {
    check(&["_", "$-1", "*-1"], &None::<String>);
    check(&["_", "*-1", "*0", "~0"], &Vec::<String>::new());
    check(&["*0", "*-1", "_"], &None::<(String, f64)>);
    assert!(read::<String>("_").is_err());
    assert!(read::<i64>("$-1").is_err());
}

#[test]
fn pairs_come_flat_wrapped_or_as_a_map() {
    let pairs = vec![("a".to_owned(), 1.0), ("b".to_owned(), 2.0)];
    check(&["*4 $1 a $1 1 $1 b $1 2", "*2 *2 $1 a ,1 *2 $1 b ,2", "%2 $1 a ,1 $1 b ,2", "*4 $1 a ,1 $1 b ,2"], &pairs);
    check(
        &["*4 $1 a $1 1 $1 b $1 2", "%2 $1 a ,1 $1 b ,2", "*2 *2 $1 a ,1 *2 $1 b ,2"],
        &pairs.into_iter().collect::<BTreeMap<_, _>>(),
    );
}

#[test]
fn a_page_has_a_cursor_and_items() {
    check(
        &["*2 $2 17 *2 $1 a $1 b", "*2 $2 17 ~2 $1 a $1 b"],
        &Page { cursor: 17, items: vec!["a".to_owned(), "b".to_owned()] },
    );
    check(&["*2 $20 18446744073709551615 *0"], &Page::<String> { cursor: u64::MAX, items: vec![] });
}

#[test]
fn stream_entries_may_be_gone() {
    let entries = read::<Vec<StreamEntry>>("*3 *2 $3 1-0 *2 $1 f $1 v *-1 *2 $3 2-0 *-1").unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].field("f").map(|value| &value[..]), Some(&b"v"[..]));
    assert!(entries[1].is_deleted());
    let claim = AutoClaim { cursor: StreamId::ZERO, claimed: vec![StreamId::new(1, 0)], deleted: vec![] };
    check(&["*2 $3 0-0 *1 $3 1-0", "*3 $3 0-0 *1 $3 1-0 *0"], &claim);
    type Streams = Vec<(String, Vec<StreamEntry>)>;
    let one = read::<Streams>("*1 *2 $1 s *1 *2 $3 1-0 *2 $1 f $1 v").unwrap();
    check(&["%1 $1 s *1 *2 $3 1-0 *2 $1 f $1 v"], &one);
    assert_eq!(one[0].1[0].id, StreamId::new(1, 0));
    check(&["*-1", "_"], &Streams::new());
}

#[test]
fn a_role_is_read_whatever_it_is() {
    check(&["*3 $6 master :5 *0"], &Role::Primary { offset: 5, replicas: vec![] });
    let replica = Role::Replica { host: "h".to_owned(), port: 6379, state: "connected".to_owned(), offset: 7 };
    check(&["*5 $5 slave $1 h :6379 $9 connected :7"], &replica);
    check(&["*2 $8 sentinel *1 $2 m1"], &Role::Sentinel { primaries: vec!["m1".to_owned()] });
    check(&["*2 $5 other :1"], &Role::Other("other".to_owned()));
    let primary = read::<Role>("*3 $6 master :5 *1 *3 $1 h $4 6380 $1 4").unwrap();
    assert!(matches!(primary, Role::Primary { replicas, .. } if replicas[0].port == 6380));
}

#[test]
fn named_fields_come_as_a_map_or_flat_and_unknown_ones_are_stepped_over() {
    let flat = "*8 $6 server $5 redis $5 proto :2 $2 id :9 $3 new *2 :1 %1 $1 a :1";
    let map = "%4 $6 server $5 redis $5 proto :2 $2 id :9 $3 new *2 :1 %1 $1 a :1";
    let hello = read::<Hello>(flat).unwrap();
    assert_eq!((hello.server.as_str(), hello.proto, hello.id), ("redis", 2, 9));
    check(&[map], &hello);
    let tracking = read::<TrackingInfo>("%3 $5 flags ~1 $2 on $8 redirect :0 $8 prefixes *0").unwrap();
    check(&["*6 $5 flags *1 $2 on $8 redirect :0 $8 prefixes *0"], &tracking);
    let lcs = read::<Lcs>("%2 $7 matches *1 *3 *2 :1 :2 *2 :3 :4 :2 $3 len :2").unwrap();
    assert_eq!((lcs.matches[0].first, lcs.matches[0].second, lcs.len), ((1, 2), (3, 4), 2));
    let library =
        read::<Library>("*4 $12 library_name $1 l $9 functions *1 *6 $4 name $1 f $11 description $-1 $5 flags ~0");
    assert_eq!(library.unwrap().functions[0].description, None);
    let stats = read::<MemoryStats>("*4 $13 fragmentation $3 1.5 $4 db.0 *2 $1 x :1").unwrap();
    assert!((stats.fragmentation - 1.5).abs() < f64::EPSILON && stats.extra.contains_key("db.0"));
}

#[test]
fn lists_in_a_fixed_order_may_be_shorter_or_longer_than_known() {
    let old = read::<SlowlogEntry>("*4 :1 :2 :3 *1 $3 GET").unwrap();
    assert_eq!((old.microseconds, old.addr.as_str()), (3, ""));
    let new = read::<SlowlogEntry>("*7 :1 :2 :3 *1 $3 GET $1 a $1 n :9").unwrap();
    assert_eq!((new.addr.as_str(), new.client_name.as_str()), ("a", "n"));
    let old = read::<CommandInfo>("*6 $3 get :2 *1 +readonly :1 :1 :1").unwrap();
    assert_eq!((old.flags.len(), old.acl_categories.len()), (1, 0));
    let found = read::<GeoMatch<String>>("*4 $1 m $3 1.5 :7 *2 $1 1 $1 2").unwrap();
    assert_eq!((found.distance, found.hash, found.position), (Some(1.5), Some(7), Some((1.0, 2.0))));
}

#[test]
fn patterns_of_a_user_are_a_list_before_version_7() {
    let old = read::<AclUser>("*4 $5 flags *1 $2 on $4 keys *2 $1 a $1 b").unwrap();
    check(&["%2 $5 flags ~1 $2 on $4 keys *2 $1 a $1 b"], &old);
    let keys = "~a";
    assert_eq!(read::<AclUser>(&format!("%1 $4 keys ${} {keys}", keys.len())).unwrap().keys.0, ["~a"]);
}

#[test]
fn an_error_in_a_list_is_told_apart_from_a_wrong_type() {
    assert!(matches!(read::<Vec<String>>("*1 -ERR"), Err(ConversionError::Server(_))));
    assert!(matches!(read::<Vec<String>>("*1 *0"), Err(ConversionError::Mismatch { .. })));
    let each = read::<Vec<Result<i64, romaine_resp::ServerError>>>("*2 :1 -ERR").unwrap();
    assert!(each[0].is_ok() && each[1].is_err());
}
