use bytes::Bytes;
use romaine_commands::replies::StreamId;
use romaine_commands::{Executor, StreamCommands, commands};

use super::*;

#[test]
fn entries_are_added_and_read() {
    in_both_protocols(|link| {
        let first = link.xadd("s", "*", [("f", "1"), ("g", "2")]).unwrap();
        let second = link.xadd("s", first.next().unwrap(), ("f", "3")).unwrap();
        assert!(second > first);
        assert_eq!(link.issue(commands::xadd("none", "*", ("f", 1)).nomkstream()), Ok(None));
        let trimmed = commands::xadd("s", "*", ("f", 4)).nomkstream().maxlen_approx(1000).limit(10);
        assert!(link.issue(trimmed).unwrap().is_some());
        assert_eq!(link.xlen("s"), Ok(3));
        let entries = link.xrange("s", "-", "+").unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].id, first);
        assert_eq!(entries[0].field("g"), Some(&Bytes::from("2")));
        assert_eq!(link.issue(commands::xrevrange("s", "+", "-").count(1)).unwrap().len(), 1);
        let read = link.xread::<String>([("s", StreamId::ZERO)]).unwrap();
        assert_eq!((read[0].0.as_str(), read[0].1.len()), ("s", 3));
        assert_eq!(link.xread::<String>([("s", "$")]), Ok(vec![]));
        let waited = commands::xread::<String>([("s", "$"), ("none", "0")]).count(2).block(10);
        assert_eq!(link.issue(waited), Ok(vec![]));
        assert_eq!(link.xdel("s", [first, second]), Ok(2));
        link.xsetid("s", StreamId::new(u64::MAX, 1)).unwrap();
    });
}

#[test]
fn streams_are_trimmed() {
    in_both_protocols(|link| {
        for n in 1..=10 {
            link.xadd("s", StreamId::new(n, 0), ("n", n)).unwrap();
        }
        assert_eq!(link.xtrim_maxlen("s", 8), Ok(2));
        assert_eq!(link.xtrim_minid("s", StreamId::new(5, 0)), Ok(2));
        assert_eq!(link.xtrim_maxlen_approx("s", 1), Ok(0));
        assert_eq!(link.issue(commands::xtrim_minid_approx("s", "9").limit(100)), Ok(0));
        assert_eq!(link.xtrim_minid_approx("s", "9"), Ok(0));
        if link.has("XDELEX") {
            assert_eq!(link.issue(commands::xdelex("s", ["9-0", "99-0"]).delref()), Ok(vec![1, -1]));
        }
    });
}

#[test]
fn groups_deliver_acknowledge_and_hand_over() {
    in_both_protocols(|link| {
        link.issue(commands::xgroup_create("s", "g", "0").mkstream()).unwrap();
        assert!(link.xgroup_create("s", "g", "0").unwrap_err().starts_with("BUSYGROUP"));
        assert_eq!(link.xgroup_createconsumer("s", "g", "idle"), Ok(true));
        assert_eq!(link.xpending("s", "g").unwrap().range, None);
        for n in 1..=4 {
            link.xadd("s", StreamId::new(n, 0), ("n", n)).unwrap();
        }
        let read = link.issue(commands::xreadgroup::<String>("g", "one", [("s", ">")]).count(3)).unwrap();
        assert_eq!(read[0].1.len(), 3);
        let waited = commands::xreadgroup::<String>("g", "two", ("s", ">")).block(10).noack();
        assert_eq!(link.issue(waited).unwrap()[0].1.len(), 1);
        assert_eq!(link.issue(commands::xreadgroup::<String>("g", "two", ("s", ">")).block(10)), Ok(vec![]));
        let summary = link.xpending("s", "g").unwrap();
        assert_eq!((summary.count, summary.range), (3, Some((StreamId::new(1, 0), StreamId::new(3, 0)))));
        assert_eq!(summary.consumers, [(Bytes::from("one"), 3)]);
        let pending = link.issue(commands::xpending_range("s", "g", "-", "+", 10).idle(0)).unwrap();
        assert_eq!((pending.len(), pending[0].deliveries), (3, 1));
        assert_eq!(link.xpending_consumer("s", "g", "-", "+", 10, "idle"), Ok(vec![]));
        assert_eq!(link.xack("s", "g", "1-0"), Ok(1));
        assert_eq!(link.xclaim("s", "g", "three", 0, "2-0").unwrap()[0].id, StreamId::new(2, 0));
        let forced = commands::xclaim("s", "g", "three", 0, "2-0").retrycount(7).justid();
        assert_eq!(link.issue(forced), Ok(vec![StreamId::new(2, 0)]));
        link.xdel("s", "3-0").unwrap();
        let claimed = link.issue(commands::xautoclaim("s", "g", "four", 0, "0").count(10)).unwrap();
        assert_eq!((claimed.cursor, claimed.claimed.len()), (StreamId::ZERO, 1));
        assert_eq!(claimed.deleted, [StreamId::new(3, 0)]);
        let ids = link.xautoclaim_justid("s", "g", "four", 0, "0").unwrap();
        assert_eq!(ids.claimed, [StreamId::new(2, 0)]);
        link.xdel("s", "2-0").unwrap();
        let history = link.xreadgroup::<String>("g", "four", ("s", "0")).unwrap();
        assert!(history[0].1[0].is_deleted());
        if link.has("XACKDEL") {
            assert_eq!(link.xackdel("s", "g", "4-0"), Ok(vec![1]));
        }
        assert_eq!(link.xgroup_delconsumer("s", "g", "four"), Ok(1));
        link.xgroup_setid("s", "g", "$").unwrap();
        assert_eq!(link.xgroup_destroy("s", "g"), Ok(true));
        assert_eq!(link.xgroup_destroy("s", "g"), Ok(false));
    });
}

#[test]
fn a_stream_tells_of_itself() {
    in_both_protocols(|link| {
        for n in 1..=3 {
            link.xadd("s", StreamId::new(n, 0), ("n", n)).unwrap();
        }
        link.xgroup_create("s", "g", "0").unwrap();
        link.issue(commands::xreadgroup::<String>("g", "one", ("s", ">")).count(2)).unwrap();
        let stream = link.xinfo_stream("s").unwrap();
        assert_eq!((stream.length, stream.groups, stream.last_generated_id), (3, 1, StreamId::new(3, 0)));
        assert_eq!(stream.first_entry.unwrap().id, StreamId::new(1, 0));
        assert_eq!(stream.entries_added, 3);
        let groups = link.xinfo_groups("s").unwrap();
        assert_eq!((groups[0].name.as_ref(), groups[0].pending, groups[0].lag), (&b"g"[..], 2, Some(1)));
        assert_eq!(groups[0].last_delivered_id, StreamId::new(2, 0));
        let consumers = link.xinfo_consumers("s", "g").unwrap();
        assert_eq!((consumers[0].name.as_ref(), consumers[0].pending), (&b"one"[..], 2));
        link.issue(commands::xinfo_stream_full("s").count(1)).unwrap();
    });
}
