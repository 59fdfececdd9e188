use std::collections::HashMap;

use bytes::Bytes;
use romaine_commands::{Executor, KeyCommands, StringCommands, commands};

use super::*;

#[test]
fn strings_are_set_and_got() {
    in_both_protocols(|link| {
        link.set("k", "v").unwrap();
        assert_eq!(link.get("k"), Ok(Some("v".to_owned())));
        assert_eq!(link.get::<String>("none"), Ok(None));
        assert_eq!(link.get::<Bytes>(b"k"), Ok(Some(Bytes::from("v"))));
        assert_eq!(link.append("k", "w"), Ok(2));
        assert_eq!(link.strlen("k"), Ok(2));
        assert_eq!(link.getrange::<String>("k", 0, 0), Ok("v".to_owned()));
        assert_eq!(link.substr::<String>("k", 1, 1), Ok("w".to_owned()));
        assert_eq!(link.setrange("k", 1, "xyz"), Ok(4));
        assert_eq!(link.getset::<String>("k", "new"), Ok(Some("vxyz".to_owned())));
        assert_eq!(link.getdel::<String>("k"), Ok(Some("new".to_owned())));
        assert_eq!(link.getdel::<String>("k"), Ok(None));
        link.set("binary", b"\0\r\n\xff").unwrap();
        assert_eq!(link.get::<Vec<u8>>("binary"), Ok(Some(b"\0\r\n\xff".to_vec())));
    });
}

#[test]
fn options_of_set_decide_its_reply() {
    in_both_protocols(|link| {
        assert_eq!(link.issue(commands::set("k", 1).nx()), Ok(true));
        assert_eq!(link.issue(commands::set("k", 2).ex(10).nx()), Ok(false));
        assert_eq!(link.issue(commands::set("k", 3).xx().get::<i64>()), Ok(Some(1)));
        assert_eq!(link.issue(commands::set("none", 3).xx().get::<i64>()), Ok(None));
        assert_eq!(link.issue(commands::set("k", 4).ex(100)), Ok(()));
        assert_eq!(link.issue(commands::set("k", 5).keep_ttl()), Ok(()));
        assert!(link.ttl("k").unwrap() > 90);
        assert_eq!(link.issue(commands::set("k", 5).px(100_000)), Ok(()));
        assert_eq!(link.issue(commands::set("k", 5).exat(99_999_999_999)), Ok(()));
        assert_eq!(link.issue(commands::set("k", 5).pxat(99_999_999_999_000)), Ok(()));
        assert_eq!(link.set_nx("k", 1), Ok(false));
        assert_eq!(link.set_xx("k", 1), Ok(true));
        assert_eq!(link.set_ex("k", 1, 100), Ok(()));
        assert_eq!(link.set_px("k", 1, 100_000), Ok(()));
        assert_eq!(link.set_get::<i64>("k", 9), Ok(Some(1)));
        assert_eq!(link.setex("k", 100, "v"), Ok(()));
        assert_eq!(link.psetex("k", 100_000, "v"), Ok(()));
        assert_eq!(link.setnx("k", "v"), Ok(false));
        assert_eq!(link.setnx("k2", "v"), Ok(true));
        assert_eq!(link.getex::<String>("k"), Ok(Some("v".to_owned())));
        assert_eq!(link.issue(commands::getex::<String>("k").persist()), Ok(Some("v".to_owned())));
        assert_eq!(link.ttl("k"), Ok(-1));
    });
}

#[test]
fn numbers_count() {
    in_both_protocols(|link| {
        assert_eq!(link.incr("n"), Ok(1));
        assert_eq!(link.incrby("n", 10), Ok(11));
        assert_eq!(link.decr("n"), Ok(10));
        assert_eq!(link.decrby("n", 3), Ok(7));
        assert_eq!(link.incrbyfloat("n", 0.5), Ok(7.5));
        link.set("text", "x").unwrap();
        assert!(link.incr("text").unwrap_err().contains("not an integer"));
    });
}

#[test]
fn many_keys_go_in_one_command() {
    in_both_protocols(|link| {
        link.mset([("a", 1), ("b", 2)]).unwrap();
        let map = HashMap::from([("c", "3")]);
        link.mset(&map).unwrap();
        assert_eq!(map.len(), 1);
        assert_eq!(link.mget::<i64>(["a", "none", "c"]), Ok(vec![Some(1), None, Some(3)]));
        assert_eq!(link.mget::<i64>("a"), Ok(vec![Some(1)]));
        assert_eq!(link.msetnx([("a", 1), ("z", 2)]), Ok(false));
        assert_eq!(link.msetnx(("y", 1)), Ok(true));
    });
}

#[test]
fn common_subsequences_are_found() {
    in_both_protocols(|link| {
        link.mset([("one", "ohmytext"), ("two", "mynewtext")]).unwrap();
        assert_eq!(link.lcs::<String>("one", "two"), Ok("mytext".to_owned()));
        assert_eq!(link.lcs_len("one", "two"), Ok(6));
        let lcs = link.lcs_idx("one", "two").unwrap();
        assert_eq!((lcs.len, lcs.matches.len()), (6, 2));
        assert_eq!((lcs.matches[0].first, lcs.matches[0].second, lcs.matches[0].len), ((4, 7), (5, 8), 4));
    });
}
