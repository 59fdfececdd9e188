use romaine_commands::commands::{Place, Side};
use romaine_commands::{Executor, ListCommands, commands};

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn elements_are_pushed_and_popped() {
    in_both_protocols(|link| {
        assert_eq!(link.rpush("l", ["a", "b", "c"]), Ok(3));
        assert_eq!(link.lpush("l", "z"), Ok(4));
        assert_eq!(link.lpushx("none", "z"), Ok(0));
        assert_eq!(link.rpushx("l", "d"), Ok(5));
        assert_eq!(link.llen("l"), Ok(5));
        assert_eq!(link.lrange::<String>("l", 0, -1), Ok(words(&["z", "a", "b", "c", "d"])));
        assert_eq!(link.lindex::<String>("l", 1), Ok(Some("a".to_owned())));
        assert_eq!(link.lindex::<String>("l", 9), Ok(None));
        assert_eq!(link.linsert("l", Place::Before, "a", "y"), Ok(6));
        assert_eq!(link.lpos("l", "b"), Ok(Some(3)));
        assert_eq!(link.lpos("l", "none"), Ok(None));
        assert_eq!(link.lpos_count("l", "b", 0), Ok(vec![3]));
        link.lset("l", 0, "zz").unwrap();
        assert_eq!(link.lrem("l", 0, "zz"), Ok(1));
        link.ltrim("l", 0, 3).unwrap();
        assert_eq!(link.lpop::<String>("l"), Ok(Some("y".to_owned())));
        assert_eq!(link.rpop::<String>("l"), Ok(Some("c".to_owned())));
        assert_eq!(link.lpop_count::<String>("l", 9), Ok(words(&["a", "b"])));
        assert_eq!(link.rpop_count::<String>("l", 9), Ok(vec![]));
        assert_eq!(link.lpop::<String>("l"), Ok(None));
    });
}

#[test]
fn elements_move_between_lists() {
    in_both_protocols(|link| {
        link.rpush("l", ["a", "b", "c"]).unwrap();
        assert_eq!(link.lmove::<String>("l", "m", Side::Left, Side::Right), Ok(Some("a".to_owned())));
        assert_eq!(link.rpoplpush::<String>("l", "m"), Ok(Some("c".to_owned())));
        assert_eq!(link.rpoplpush::<String>("none", "m"), Ok(None));
        let popped = link.issue(commands::lmpop::<String, String>(["none", "m"], Side::Left).count(5)).unwrap();
        assert_eq!(popped, Some(("m".to_owned(), words(&["c", "a"]))));
        assert_eq!(link.lmpop::<String, String>("none", Side::Right), Ok(None));
    });
}

#[test]
fn blocking_commands_answer_at_once_or_after_their_time() {
    in_both_protocols(|link| {
        link.rpush("l", ["a", "b", "c", "d", "e"]).unwrap();
        assert_eq!(link.blpop(["none", "l"], 1.0), Ok(Some(("l".to_owned(), "a".to_owned()))));
        assert_eq!(link.brpop("l", 1.0), Ok(Some(("l".to_owned(), "e".to_owned()))));
        assert_eq!(link.blmove::<String>("l", "m", Side::Left, Side::Left, 1.0), Ok(Some("b".to_owned())));
        assert_eq!(link.brpoplpush::<String>("l", "m", 1.0), Ok(Some("d".to_owned())));
        assert_eq!(link.blmpop(1.0, "l", Side::Left), Ok(Some(("l".to_owned(), words(&["c"])))));
        assert_eq!(link.blpop::<String, String>("none", 0.01), Ok(None));
        assert_eq!(link.brpop::<String, String>("none", 0.01), Ok(None));
        assert_eq!(link.blmove::<String>("none", "m", Side::Left, Side::Left, 0.01), Ok(None));
        assert_eq!(link.blmpop::<String, String>(0.01, "none", Side::Left), Ok(None));
        assert_eq!(link.brpoplpush::<String>("none", "m", 0.01), Ok(None));
    });
}
