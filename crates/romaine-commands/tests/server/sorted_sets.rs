use romaine_commands::commands::{Aggregate, Extreme};
use romaine_commands::{Executor, SortedSetCommands, commands};

use super::*;

fn scored(pairs: &[(&str, f64)]) -> Vec<(String, f64)> {
    pairs.iter().map(|(member, score)| ((*member).to_owned(), *score)).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn members_have_scores() {
    in_both_protocols(|link| {
        assert_eq!(link.zadd("z", [(1.0, "a"), (2.5, "b"), (f64::INFINITY, "c")]), Ok(3));
        assert_eq!(link.issue(commands::zadd("z", (3, "b")).gt().ch()), Ok(1));
        assert_eq!(link.issue(commands::zadd("z", (3, "b")).nx()), Ok(0));
        assert_eq!(link.zadd_incr("z", 0.5, "b"), Ok(Some(3.5)));
        assert_eq!(link.issue(commands::zadd_incr("z", 1.0, "none").xx()), Ok(None));
        assert_eq!(link.zcard("z"), Ok(3));
        assert_eq!(link.zscore("z", "b"), Ok(Some(3.5)));
        assert_eq!(link.zscore("z", "c"), Ok(Some(f64::INFINITY)));
        assert_eq!(link.zscore("z", "none"), Ok(None));
        assert_eq!(link.zmscore("z", ["a", "none"]), Ok(vec![Some(1.0), None]));
        assert_eq!(link.zincrby("z", 1.5, "a"), Ok(2.5));
        assert_eq!(link.zrank("z", "b"), Ok(Some(1)));
        assert_eq!(link.zrevrank("z", "none"), Ok(None));
        if link.is_at_least(7, 2) {
            assert_eq!(link.zrank_withscore("z", "b"), Ok(Some((1, 3.5))));
            assert_eq!(link.zrevrank_withscore("z", "none"), Ok(None));
        }
        assert_eq!(link.zcount("z", "(2.5", "+inf"), Ok(2));
        assert_eq!(link.zcount("z", 2.5, 4), Ok(2));
        assert_eq!(link.zrem("z", ["a", "none"]), Ok(1));
        let page = link.zscan::<String>("z", 0).unwrap();
        assert_eq!(page.items, scored(&[("b", 3.5), ("c", f64::INFINITY)]));
    });
}

#[test]
fn ranges_come_with_and_without_scores() {
    in_both_protocols(|link| {
        link.zadd("z", [(1, "a"), (2, "b"), (3, "c")]).unwrap();
        assert_eq!(link.zrange::<String>("z", 0, -1), Ok(words(&["a", "b", "c"])));
        assert_eq!(link.zrange_withscores::<String>("z", 0, 0), Ok(scored(&[("a", 1.0)])));
        assert_eq!(link.zrange_withscores::<String>("none", 0, 0), Ok(vec![]));
        let reversed = commands::zrange::<String>("z", "+inf", "(1").byscore().rev().limit(0, 1).withscores();
        assert_eq!(link.issue(reversed), Ok(scored(&[("c", 3.0)])));
        assert_eq!(link.issue(commands::zrange::<String>("z", "-", "[b").bylex()), Ok(words(&["a", "b"])));
        assert_eq!(link.zrangestore("y", "z", 0, 1), Ok(2));
        assert_eq!(link.zrangebyscore::<String>("z", 2, "inf"), Ok(words(&["b", "c"])));
        assert_eq!(
            link.issue(commands::zrangebyscore::<String>("z", 2, 3).withscores().limit(1, 1)),
            Ok(scored(&[("c", 3.0)]))
        );
        assert_eq!(link.zrevrangebyscore::<String>("z", 2, 1), Ok(words(&["b", "a"])));
        assert_eq!(link.zrangebylex::<String>("z", "-", "+").unwrap().len(), 3);
        assert_eq!(link.zrevrangebylex::<String>("z", "+", "-").unwrap().len(), 3);
        assert_eq!(link.zlexcount("z", "-", "+"), Ok(3));
        assert_eq!(link.issue(commands::zrevrange::<String>("z", 0, 0).withscores()), Ok(scored(&[("c", 3.0)])));
        assert_eq!(link.zrevrange::<String>("z", 0, 0), Ok(words(&["c"])));
        assert!(link.zrandmember::<String>("z").unwrap().is_some());
        assert_eq!(link.zrandmember_count::<String>("z", 9).unwrap().len(), 3);
        assert_eq!(link.zrandmember_withscores::<String>("z", 9).unwrap().len(), 3);
        assert_eq!(link.zremrangebyrank("z", 0, 0), Ok(1));
        assert_eq!(link.zremrangebyscore("z", "-inf", 2), Ok(1));
        assert_eq!(link.zremrangebylex("z", "-", "+"), Ok(1));
    });
}

#[test]
fn the_ends_are_popped() {
    in_both_protocols(|link| {
        link.zadd("z", [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f"), (7, "g")]).unwrap();
        assert_eq!(link.zpopmin("z"), Ok(Some(("a".to_owned(), 1.0))));
        assert_eq!(link.zpopmax("z"), Ok(Some(("g".to_owned(), 7.0))));
        assert_eq!(link.zpopmin::<String>("none"), Ok(None));
        assert_eq!(link.zpopmin_count("z", 1), Ok(scored(&[("b", 2.0)])));
        assert_eq!(link.zpopmax_count("z", 1), Ok(scored(&[("f", 6.0)])));
        assert_eq!(link.zmpop(["none", "z"], Extreme::Min), Ok(Some(("z".to_owned(), scored(&[("c", 3.0)])))));
        assert_eq!(link.bzpopmin("z", 1.0), Ok(Some(("z".to_owned(), "d".to_owned(), 4.0))));
        assert_eq!(link.bzpopmax("z", 1.0), Ok(Some(("z".to_owned(), "e".to_owned(), 5.0))));
        assert_eq!(link.bzpopmin::<String, String>("z", 0.01), Ok(None));
        assert_eq!(link.bzpopmax::<String, String>("z", 0.01), Ok(None));
        assert_eq!(link.bzmpop::<String, String>(0.01, "z", Extreme::Max), Ok(None));
        link.zadd("z", [(1, "a"), (2, "b")]).unwrap();
        let popped = link.issue(commands::bzmpop(1.0, "z", Extreme::Max).count(2)).unwrap();
        assert_eq!(popped, Some(("z".to_owned(), scored(&[("b", 2.0), ("a", 1.0)]))));
        assert_eq!(link.zmpop::<String, String>("z", Extreme::Min), Ok(None));
    });
}

#[test]
fn sorted_sets_are_combined() {
    in_both_protocols(|link| {
        link.zadd("y", [(1, "a"), (2, "b")]).unwrap();
        link.zadd("z", [(10, "b"), (20, "c")]).unwrap();
        assert_eq!(link.zdiff::<String>(["y", "z"]), Ok(words(&["a"])));
        assert_eq!(link.zdiff_withscores::<String>(["y", "z"]), Ok(scored(&[("a", 1.0)])));
        assert_eq!(link.zinter::<String>(["y", "z"]), Ok(words(&["b"])));
        let weighted = commands::zinter::<String>(["y", "z"]).weights([2, 3]).aggregate(Aggregate::Max).withscores();
        assert_eq!(link.issue(weighted), Ok(scored(&[("b", 30.0)])));
        assert_eq!(link.zunion::<String>(["y", "z"]).unwrap().len(), 3);
        assert_eq!(
            link.issue(commands::zunion::<String>(["y", "z"]).withscores()),
            Ok(scored(&[("a", 1.0), ("b", 12.0), ("c", 20.0)]))
        );
        assert_eq!(link.zintercard(["y", "z"]), Ok(1));
        assert_eq!(link.zdiffstore("d", ["y", "z"]), Ok(1));
        assert_eq!(link.zinterstore("d", ["y", "z"]), Ok(1));
        assert_eq!(link.issue(commands::zunionstore("d", ["y", "z"]).weights([1.5, 1.0])), Ok(3));
    });
}
