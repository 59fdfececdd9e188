use std::collections::BTreeMap;

use proptest::prelude::*;
use romaine_commands::{Command, Spec, cmd, table};

use super::*;
use crate::topology::{Route, slot_of};

fn request(words: &[&str]) -> Request {
    cmd::<()>(words[0]).args(words[1..].to_vec()).into_request()
}

fn line(request: &Request) -> String {
    request.args().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
}

fn merged(command: &str, frames: &[&str]) -> Result<String, MergeError> {
    let frames: Vec<_> = frames.iter().map(|frame| frame.as_bytes()).collect();
    merge(table::find(command).unwrap(), None, &frames).map(|frame| String::from_utf8(frame.to_vec()).unwrap())
}

#[test]
fn a_request_becomes_one_for_each_slot_with_the_values_beside_their_keys() {
    let parts = split(&request(&["MSET", "a{x}", "1", "b", "2", "c{x}", "3", "b", "4"])).unwrap();
    let lines: Vec<_> = parts.iter().map(|part| line(&part.request)).collect();
    assert_eq!(lines, ["MSET a{x} 1 c{x} 3", "MSET b 2 b 4"]);
    assert_eq!(parts.iter().map(|part| &part.keys[..]).collect::<Vec<_>>(), [&[0, 2][..], &[1, 3]]);
    assert_eq!(parts[0].slot, slot_of(b"x"));
    assert_eq!(parts[0].request.arg_count(), 5);
}

#[test]
fn a_value_that_is_missing_is_missing_in_its_part_so_that_the_server_can_say_so() {
    let parts = split(&request(&["MSET", "a", "1", "b"])).unwrap();
    assert_eq!(parts.iter().map(|part| line(&part.request)).collect::<Vec<_>>(), ["MSET a 1", "MSET b"]);
}

#[test]
fn what_cannot_be_split_is_not() {
    for words in [&["MSETNX", "a", "1", "b", "2"][..], &["SUNION", "a", "b"], &["GET", "a"], &["DBSIZE"], &["DEL"]] {
        assert!(split(&request(words)).is_none(), "{words:?}");
    }
}

#[test]
fn numbers_are_aggregated_as_the_policy_says() {
    for (command, frames, expected) in [
        ("DBSIZE", &[":3\r\n", ":4\r\n"][..], ":7\r\n"),
        ("DEL", &[":9223372036854775807\r\n", ":4\r\n"], ":9223372036854775807\r\n"),
        ("WAIT", &[":2\r\n", ":1\r\n", ":3\r\n"], ":1\r\n"),
        ("WAITAOF", &["*2\r\n:1\r\n:2\r\n", "*2\r\n:0\r\n:3\r\n"], "*2\r\n:0\r\n:2\r\n"),
        ("SCRIPT EXISTS", &["*3\r\n:1\r\n:1\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:0\r\n"], "*3\r\n:1\r\n:0\r\n:0\r\n"),
        ("SLOWLOG LEN", &[":0\r\n"], ":0\r\n"),
    ] {
        assert_eq!(merged(command, frames).as_deref(), Ok(expected), "{command}");
    }
    for (policy, expected) in [("agg_max", ":2\r\n"), ("agg_logical_or", ":1\r\n"), ("agg_logical_and", ":0\r\n")] {
        let spec = Spec { response_policy: policy, ..Spec::UNLISTED };
        assert_eq!(&merge(&spec, None, &[b":0\r\n", b":2\r\n"]).unwrap()[..], expected.as_bytes(), "{policy}");
    }
}

#[test]
fn replies_that_do_not_fit_together_are_an_error_not_a_guess() {
    for (command, frames) in [
        ("DBSIZE", &[":3\r\n", "+OK\r\n"][..]),
        ("DBSIZE", &[":3\r\n", "*1\r\n:1\r\n"]),
        ("SCRIPT EXISTS", &["*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n"]),
        ("KEYS", &["*1\r\n$1\r\na\r\n", "~1\r\n$1\r\nb\r\n"]),
        ("INFO", &["$1\r\na\r\n", "$1\r\nb\r\n"]),
    ] {
        assert!(matches!(merged(command, frames), Err(MergeError::Form(_))), "{command} {frames:?}");
    }
    assert_eq!(merged("DBSIZE", &[]), Err(MergeError::Nothing));
    assert!(matches!(merged("DBSIZE", &[":x\r\n"]), Err(MergeError::Undecodable(_))));
    let mget = table::find("MGET").unwrap();
    let keys = [vec![0, 1]];
    assert!(matches!(merge(mget, Some(&keys), &[b"*1\r\n$-1\r\n"]), Err(MergeError::Form(_))));
    assert!(matches!(merge(mget, Some(&keys), &[b"*1\r\n$-1\r\n", b"*0\r\n"]), Err(MergeError::Form(_))));
    assert!(matches!(merge(mget, Some(&[vec![7]]), &[b"*1\r\n$-1\r\n"]), Err(MergeError::Form(_))));
}

#[test]
fn success_is_all_or_one_as_the_policy_says() {
    assert_eq!(merged("FLUSHALL", &["+OK\r\n", "+OK\r\n"]).as_deref(), Ok("+OK\r\n"));
    let (busy, idle, ok) = ("-UNKILLABLE Sorry\r\n", "-NOTBUSY No scripts in execution right now.\r\n", "+OK\r\n");
    assert_eq!(merged("FLUSHALL", &[ok, busy]).as_deref(), Ok(busy));
    assert_eq!(merged("SCRIPT KILL", &[idle, ok, idle]).as_deref(), Ok(ok));
    assert_eq!(merged("SCRIPT KILL", &[idle, busy]).as_deref(), Ok(busy));
    assert_eq!(merged("SCRIPT KILL", &[idle, idle]).as_deref(), Ok(idle));
}

#[test]
fn keyless_collections_are_joined_and_an_empty_node_adds_nothing() {
    for (frames, expected) in [
        (
            &["*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"][..],
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
        ),
        (&["~1\r\n+a\r\n", "~1\r\n+b\r\n"], "~2\r\n+a\r\n+b\r\n"),
        (&["%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n"], "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"),
    ] {
        assert_eq!(merged("KEYS", frames).as_deref(), Ok(expected));
    }
}

#[test]
fn a_random_key_is_nil_only_if_every_node_is_empty_and_comes_from_all_of_them() {
    assert_eq!(merged("RANDOMKEY", &["$-1\r\n", "$1\r\na\r\n", "_\r\n"]).as_deref(), Ok("$1\r\na\r\n"));
    assert_eq!(merged("RANDOMKEY", &["$-1\r\n", "$-1\r\n"]).as_deref(), Ok("$-1\r\n"));
    let mut firsts = 0;
    for n in 0..1_000 {
        let first = format!("$4\r\na{n:03}\r\n");
        let second = format!("$4\r\nb{:03}\r\n", n * 7 % 1_000);
        firsts += usize::from(merged("RANDOMKEY", &[&first, &second]).unwrap() == first);
    }
    assert!((300..700).contains(&firsts), "{firsts}");
}

/// One server that holds everything.
fn one_server(request: &Request, data: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let args: Vec<Vec<u8>> = request.args().skip(1).map(<[u8]>::to_vec).collect();
    let number = |n: usize| format!(":{n}\r\n").into_bytes();
    match request.spec().name {
        "MGET" => {
            let mut out = format!("*{}\r\n", args.len()).into_bytes();
            for key in args {
                match data.get(&key) {
                    None => out.extend(b"$-1\r\n"),
                    Some(value) => {
                        out.extend(format!("${}\r\n", value.len()).bytes());
                        out.extend(value);
                        out.extend(b"\r\n");
                    }
                }
            }
            out
        }
        "MSET" => {
            for pair in args.chunks(2) {
                data.insert(pair[0].clone(), pair[1].clone());
            }
            b"+OK\r\n".to_vec()
        }
        "DEL" | "UNLINK" => number(args.iter().filter(|key| data.remove(*key).is_some()).count()),
        "EXISTS" | "TOUCH" => number(args.iter().filter(|key| data.contains_key(*key)).count()),
        other => panic!("{other}"),
    }
}

fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Few different ones, so that they repeat and share slots.
    let key = prop_oneof!["[a-f]", "\\{[ab]\\}[a-c]", ".{0,3}"];
    prop::collection::vec(key.prop_map(String::into_bytes), 1..24)
}

proptest! {
    #[test]
    fn what_was_split_and_merged_is_what_one_server_says_and_does(asked in keys(), there in keys(), command in 0..6_usize) {
        let command = ["MGET", "MSET", "DEL", "UNLINK", "EXISTS", "TOUCH"][command];
        let mut whole = Request::by_name(command);
        for (n, key) in asked.iter().enumerate() {
            whole.push(key);
            if command == "MSET" {
                whole.push(n);
            }
        }
        let mut expected: BTreeMap<_, _> = there.iter().map(|key| (key.clone(), key.repeat(2))).collect();
        let mut data = expected.clone();
        let reply = one_server(&whole, &mut expected);

        let parts = split(&whole).unwrap();
        let frames: Vec<_> = parts.iter().map(|part| one_server(&part.request, &mut data)).collect();
        let frames: Vec<_> = frames.iter().map(Vec::as_slice).collect();
        let keys: Vec<_> = parts.iter().map(|part| part.keys.clone()).collect();
        let merged = merge(whole.spec(), Some(&keys), &frames).unwrap();
        prop_assert_eq!(&merged[..], &reply[..]);
        prop_assert_eq!(data, expected);

        let mut slots: Vec<_> = parts.iter().map(|part| part.slot).collect();
        for part in &parts {
            prop_assert_eq!(Route::of(&part.request), Route::Slot(part.slot));
        }
        slots.sort_unstable();
        slots.dedup();
        prop_assert_eq!(slots.len(), parts.len());
        prop_assert_eq!(Route::of(&whole) == Route::Split, parts.len() > 1);
    }
}
