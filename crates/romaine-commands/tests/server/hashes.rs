use std::collections::{BTreeMap, HashMap};

use romaine_commands::{Executor, HashCommands, commands};

use super::*;

#[test]
fn fields_are_set_and_got() {
    in_both_protocols(|link| {
        assert_eq!(link.hset("h", [("a", 1), ("b", 2)]), Ok(2));
        assert_eq!(link.hset("h", BTreeMap::from([("c", 3)])), Ok(1));
        assert_eq!(link.hget("h", "a"), Ok(Some(1)));
        assert_eq!(link.hget::<i64>("h", "none"), Ok(None));
        assert_eq!(link.hmget::<i64>("h", ["a", "none"]), Ok(vec![Some(1), None]));
        assert_eq!(
            link.hgetall::<BTreeMap<String, i64>>("h"),
            Ok(BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]))
        );
        assert_eq!(link.hgetall::<Vec<(String, i64)>>("h").unwrap().len(), 3);
        assert_eq!(link.hgetall::<HashMap<String, i64>>("none"), Ok(HashMap::new()));
        assert_eq!(link.hkeys::<String>("h").unwrap().len(), 3);
        assert_eq!(link.hvals::<i64>("h").unwrap().len(), 3);
        assert_eq!(link.hlen("h"), Ok(3));
        assert_eq!(link.hexists("h", "a"), Ok(true));
        assert_eq!(link.hstrlen("h", "a"), Ok(1));
        assert_eq!(link.hsetnx("h", "a", 5), Ok(false));
        assert_eq!(link.hincrby("h", "a", 4), Ok(5));
        assert_eq!(link.hincrbyfloat("h", "a", 0.25), Ok(5.25));
        assert_eq!(link.hdel("h", ["a", "none"]), Ok(1));
        link.hmset("h", ("z", 1)).unwrap();
    });
}

#[test]
fn random_fields_and_scans_have_the_same_shape_in_both_protocols() {
    in_both_protocols(|link| {
        link.hset("h", [("a", 1), ("b", 2)]).unwrap();
        assert!(link.hrandfield::<String>("h").unwrap().is_some());
        assert_eq!(link.hrandfield::<String>("none"), Ok(None));
        assert_eq!(link.hrandfield_count::<String>("h", 5).unwrap().len(), 2);
        let mut pairs = link.hrandfield_withvalues::<String, i64>("h", 5).unwrap();
        pairs.sort();
        assert_eq!(pairs, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(link.hrandfield_withvalues::<String, i64>("none", 5), Ok(vec![]));
        let page = link.hscan::<String, i64>("h", 0).unwrap();
        assert!(page.is_last());
        assert_eq!(page.items.len(), 2);
        let page = link.issue(commands::hscan::<String, i64>("h", 0).match_("a*").count(10)).unwrap();
        assert_eq!(page.items, [("a".to_owned(), 1)]);
        assert_eq!(link.hscan::<String, i64>("none", 0).unwrap().items, []);
        if link.is_at_least(7, 4) {
            assert_eq!(link.hscan_novalues::<String>("h", 0).unwrap().items.len(), 2);
        }
    });
}

#[test]
fn fields_expire_where_the_server_can() {
    in_both_protocols(|link| {
        if !link.has("HEXPIRE") {
            return;
        }
        link.hset("h", [("a", 1), ("b", 2), ("c", 3)]).unwrap();
        assert_eq!(link.hexpire("h", 100, ["a", "none"]), Ok(vec![1, -2]));
        assert_eq!(link.issue(commands::hexpire("h", 50, "a").gt()), Ok(vec![0]));
        assert_eq!(link.hpexpire("h", 100_000, "a"), Ok(vec![1]));
        assert_eq!(link.hexpireat("h", 99_999_999, "a").map(|codes| codes.len()), Ok(1));
        assert_eq!(link.hpexpireat("h", 99_999_999_000, "b").map(|codes| codes.len()), Ok(1));
        assert_eq!(link.httl("h", "c"), Ok(vec![-1]));
        assert_eq!(link.hpttl("h", "c"), Ok(vec![-1]));
        assert_eq!(link.hexpiretime("h", "c"), Ok(vec![-1]));
        assert_eq!(link.hpexpiretime("h", "c"), Ok(vec![-1]));
        assert_eq!(link.hpersist("h", "c"), Ok(vec![-1]));
        if link.has("HGETEX") {
            assert_eq!(link.issue(commands::hgetex::<i64>("h", "c").ex(100)), Ok(vec![Some(3)]));
            assert_eq!(link.issue(commands::hsetex("h", [("d", 4)]).ex(100)), Ok(true));
            assert_eq!(link.hgetdel::<i64>("h", ["c", "none"]), Ok(vec![Some(3), None]));
        }
    });
}
