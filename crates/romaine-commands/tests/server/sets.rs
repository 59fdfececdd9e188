use std::collections::BTreeSet;

use romaine_commands::{Executor, SetCommands, commands};

use super::*;

#[test]
fn members_are_added_asked_and_taken() {
    in_both_protocols(|link| {
        assert_eq!(link.sadd("s", ["a", "b", "c"]), Ok(3));
        assert_eq!(link.sadd("s", BTreeSet::from(["c", "d"])), Ok(1));
        assert_eq!(link.scard("s"), Ok(4));
        assert_eq!(link.sismember("s", "a"), Ok(true));
        assert_eq!(link.smismember("s", ["a", "none"]), Ok(vec![true, false]));
        assert_eq!(link.smembers::<String>("s").unwrap().len(), 4);
        assert_eq!(link.smove("s", "t", "d"), Ok(true));
        assert_eq!(link.srem("s", ["c", "none"]), Ok(1));
        assert!(link.srandmember::<String>("s").unwrap().is_some());
        assert_eq!(link.srandmember::<String>("none"), Ok(None));
        assert_eq!(link.srandmember_count::<String>("s", -5).unwrap().len(), 5);
        assert_eq!(link.spop::<String>("t"), Ok(Some("d".to_owned())));
        assert_eq!(link.spop::<String>("t"), Ok(None));
        assert_eq!(link.spop_count::<String>("s", 9).unwrap().len(), 2);
        assert_eq!(link.spop_count::<String>("s", 9), Ok(vec![]));
    });
}

#[test]
fn sets_are_combined() {
    in_both_protocols(|link| {
        link.sadd("s", [1, 2, 3]).unwrap();
        link.sadd("t", [2, 3, 4]).unwrap();
        assert_eq!(link.sdiff(["s", "t"]), Ok(vec![1]));
        assert_eq!(link.sinter::<i64>(["s", "t"]).unwrap().len(), 2);
        assert_eq!(link.sunion::<i64>(["s", "t"]).unwrap().len(), 4);
        assert_eq!(link.sintercard(["s", "t"]), Ok(2));
        assert_eq!(link.issue(commands::sintercard(["s", "t"]).limit(1)), Ok(1));
        assert_eq!(link.sdiffstore("d", ["s", "t"]), Ok(1));
        assert_eq!(link.sinterstore("d", ["s", "t"]), Ok(2));
        assert_eq!(link.sunionstore("d", ["s", "t"]), Ok(4));
        let page = link.sscan::<i64>("d", 0).unwrap();
        assert!(page.is_last());
        assert_eq!(page.items.len(), 4);
    });
}
