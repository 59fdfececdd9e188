use romaine_commands::{Executor, HashCommands, KeyCommands, ListCommands, StringCommands, commands};

use super::*;

#[test]
fn keys_come_go_and_move() {
    in_both_protocols(|link| {
        link.mset([("a", 1), ("b", 2), ("c", 3)]).unwrap();
        assert_eq!(link.exists(["a", "a", "none"]), Ok(2));
        assert_eq!(link.touch(["a", "b"]), Ok(2));
        assert_eq!(link.copy("a", "a2"), Ok(true));
        assert_eq!(link.copy("a", "a2"), Ok(false));
        assert_eq!(link.issue(commands::copy("a", "a2").replace()), Ok(true));
        link.rename("a2", "a3").unwrap();
        assert_eq!(link.renamenx("a3", "b"), Ok(false));
        assert_eq!(link.move_("a3", 1), Ok(true));
        assert_eq!(link.type_("a"), Ok("string".to_owned()));
        assert_eq!(link.type_("none"), Ok("none".to_owned()));
        let mut keys: Vec<String> = link.keys("*").unwrap();
        keys.sort();
        assert_eq!(keys, ["a", "b", "c"]);
        assert!(link.randomkey::<String>().unwrap().is_some());
        assert_eq!(link.unlink("c"), Ok(1));
        assert_eq!(link.del(vec!["a", "b"]), Ok(2));
        assert_eq!(link.randomkey::<String>(), Ok(None));
    });
}

#[test]
fn expiries_are_set_and_asked() {
    in_both_protocols(|link| {
        link.set("k", "v").unwrap();
        assert_eq!(link.ttl("none"), Ok(-2));
        assert_eq!(link.ttl("k"), Ok(-1));
        assert_eq!(link.expire("k", 100), Ok(true));
        assert_eq!(link.issue(commands::expire("k", 50).gt()), Ok(false));
        assert_eq!(link.pexpire("k", 100_000), Ok(true));
        assert!(link.pttl("k").unwrap() > 90_000);
        assert_eq!(link.expireat("k", 99_999_999_999), Ok(true));
        assert_eq!(link.expiretime("k"), Ok(99_999_999_999));
        assert_eq!(link.pexpireat("k", 99_999_999_999_000), Ok(true));
        assert_eq!(link.pexpiretime("k"), Ok(99_999_999_999_000));
        assert_eq!(link.persist("k"), Ok(true));
        assert_eq!(link.persist("k"), Ok(false));
    });
}

#[test]
fn a_dump_is_restored() {
    in_both_protocols(|link| {
        link.set("k", "v").unwrap();
        let dump = link.dump("k").unwrap().unwrap();
        assert_eq!(link.dump("none"), Ok(None));
        assert!(link.restore("k", 0, &dump).unwrap_err().starts_with("BUSYKEY"));
        link.issue(commands::restore("k", 1000, &dump).replace()).unwrap();
        assert_eq!(link.object_encoding("k"), Ok(Some("embstr".to_owned())));
        assert_eq!(link.object_refcount("k"), Ok(Some(1)));
        assert!(link.object_idletime("k").unwrap().is_some());
        assert!(link.object_freq("k").unwrap_err().contains("LFU"));
    });
}

#[test]
fn a_scan_sees_every_key() {
    in_both_protocols(|link| {
        for n in 0..100 {
            link.set(format!("key:{n}"), n).unwrap();
        }
        link.hset("hash", ("f", "v")).unwrap();
        let (mut cursor, mut seen) = (0, 0);
        loop {
            let page = link.issue(commands::scan::<String>(cursor).match_("key:*").count(20).type_("string")).unwrap();
            seen += page.items.len();
            if page.is_last() {
                break;
            }
            cursor = page.cursor;
        }
        assert_eq!(seen, 100);
        assert!(!link.scan::<String>(0).unwrap().items.is_empty());
    });
}

#[test]
fn a_list_is_sorted() {
    in_both_protocols(|link| {
        link.rpush("l", [3, 1, 2]).unwrap();
        link.mset([("w_1", 30), ("w_2", 20), ("w_3", 10)]).unwrap();
        assert_eq!(link.sort::<i64>("l"), Ok(vec![1, 2, 3]));
        assert_eq!(link.sort_ro::<i64>("l"), Ok(vec![1, 2, 3]));
        assert_eq!(link.issue(commands::sort::<i64>("l").desc().limit(0, 2)), Ok(vec![3, 2]));
        assert_eq!(link.issue(commands::sort::<i64>("l").by("w_*")), Ok(vec![3, 2, 1]));
        let pairs: Vec<Option<i64>> = link.issue(commands::sort("l").get("w_*").get("none_*")).unwrap();
        assert_eq!(pairs, [Some(30), None, Some(20), None, Some(10), None]);
        assert_eq!(link.sort_store("l", "sorted"), Ok(3));
        link.rpush("t", ["b", "a"]).unwrap();
        assert_eq!(link.issue(commands::sort::<String>("t").alpha()), Ok(vec!["a".to_owned(), "b".to_owned()]));
    });
}
