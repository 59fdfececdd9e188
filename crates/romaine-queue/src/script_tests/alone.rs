//! Each script by itself.

use std::time::Duration;

use crate::keys::Key;
use crate::look::JobInfo;
use crate::new_job::NewJob;
use crate::script_tests::{Bench, LEASE, Turn, Turned, elements, words};
use crate::scripts;
use crate::status::Status;

fn job(id: &str) -> NewJob {
    NewJob::new("k", "p").id(id).attempts(2)
}

#[tokio::test]
async fn enqueue_rings_one_bell_however_many_jobs_come() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b")]).await;
    bench.enqueue(vec![job("c")]).await;
    assert_eq!(bench.number(&["LLEN", bench.key(Key::Bell)]).await, 1);
}

#[tokio::test]
async fn enqueue_rings_for_a_delayed_job_only_if_it_is_the_first_to_be_due() {
    let bench = Bench::new().await;
    let rung = async |seconds: u64, id: &str| {
        bench.server.command(&["DEL", bench.key(Key::Bell)]).await.unwrap();
        bench.enqueue(vec![job(id).delay(Duration::from_secs(seconds))]).await;
        bench.number(&["LLEN", bench.key(Key::Bell)]).await == 1
    };
    assert!(rung(10, "a").await);
    assert!(!rung(20, "b").await);
    assert!(rung(5, "c").await);
}

#[tokio::test]
async fn enqueue_writes_something_even_when_it_accepts_nothing() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a")]).await;
    let before = bench.server.command(&["INFO", "persistence"]).await.unwrap().text();
    bench.enqueue(vec![job("a")]).await;
    let after = bench.server.command(&["INFO", "persistence"]).await.unwrap().text();
    let changes = |info: &str| {
        let line = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save:")).unwrap();
        line.split(':').nth(1).unwrap().trim().parse::<u64>().unwrap()
    };
    assert!(changes(&after) > changes(&before), "WAIT would count nothing");
}

#[tokio::test]
async fn a_turn_says_when_something_is_due() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.turn(Turn::default()).await, Turned { next_in: -1, flags: 0, lost: vec![], claims: vec![] });
    bench.enqueue(vec![job("a").delay(Duration::from_millis(700)), job("b")]).await;
    assert_eq!(bench.turn(Turn::default()).await.next_in, 700);
    bench.pass(100).await;
    // The lease of b ends at 1000, a is due at 700.
    assert_eq!(bench.turn(Turn::default()).await.next_in, 600);
    bench.pass(600).await;
    assert_eq!(bench.turn(Turn::default()).await.claims[0].0, "a");
    assert_eq!(bench.turn(Turn::default()).await.next_in, 300);
}

#[tokio::test]
async fn a_turn_that_leaves_work_behind_passes_the_bell_on() {
    let bench = Bench::new().await;
    bench.enqueue((0..5).map(|n| job(&n.to_string())).collect()).await;
    bench.server.command(&["DEL", bench.key(Key::Bell)]).await.unwrap();
    assert_eq!(bench.turn(Turn { want: 2, ..Turn::default() }).await.flags, 8);
    assert_eq!(bench.number(&["LLEN", bench.key(Key::Bell)]).await, 1);
    bench.server.command(&["DEL", bench.key(Key::Bell)]).await.unwrap();
    assert_eq!(bench.turn(Turn { want: 10, ..Turn::default() }).await.flags, 0);
    assert_eq!(bench.number(&["LLEN", bench.key(Key::Bell)]).await, 0);
}

#[tokio::test]
async fn a_turn_that_met_only_ids_of_cancelled_jobs_comes_again_at_once_whatever_the_limits() {
    for (limit, flag) in [(["cap", "1"], 4), (["rate", "1"], 2)] {
        let bench = Bench::new().await;
        bench.run(&scripts::CHANGE_SETTINGS, &words(&limit)).await;
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        bench.enqueue(ids.iter().map(|id| job(id)).collect()).await;
        let cancelled: Vec<&str> = ids.iter().map(String::as_str).collect();
        bench.run(&scripts::CANCEL, &words(&cancelled)).await;
        bench.enqueue(vec![job("wanted"), job("next")]).await;
        let mut turns = 0;
        let turned = loop {
            let turned = bench.turn(Turn::default()).await;
            turns += 1;
            if !turned.claims.is_empty() {
                break turned;
            }
            assert_eq!(turned.flags, 8 + flag, "in turn {turns}, {limit:?}");
        };
        assert!(turns > 2 && turned.claims[0].0 == "wanted", "{limit:?}");
        // As many as it may: nobody comes again for what waits.
        assert_eq!(turned.flags, flag, "{limit:?}");
        assert_eq!(bench.turn(Turn::default()).await.flags, flag, "{limit:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_put_back_tells_its_next_attempt_why_it_died() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a")]).await;
    let claim = bench.turn(Turn::default()).await.claims.remove(0);
    bench.turn(Turn { reports: &[("X", "a", &claim.1, "", 0)], ..Turn::default() }).await;
    bench.run(&scripts::REVIVE, &words(&["0", "a"])).await;
    assert_eq!(bench.text(&["HVALS", bench.key(Key::Errors)]).await, ["because"]);
    let claim = bench.turn(Turn::default()).await.claims.remove(0);
    bench.turn(Turn { reports: &[("A", "a", &claim.1, "", 0)], ..Turn::default() }).await;
    assert_eq!(bench.number(&["EXISTS", bench.key(Key::Errors)]).await, 0);
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let mut bench = Bench::new().await;
    bench.run(&scripts::CHANGE_SETTINGS, &words(&["rate", "10", "burst", "2"])).await;
    bench.enqueue((0..5).map(|n| job(&n.to_string())).collect()).await;
    let turned = bench.turn(Turn::default()).await;
    assert_eq!((turned.claims.len(), turned.flags), (2, 2));
    let turned = bench.turn(Turn::default()).await;
    assert_eq!((turned.claims.len(), turned.flags, turned.next_in), (0, 2, 100));
    bench.pass(100).await;
    assert_eq!(bench.turn(Turn::default()).await.claims.len(), 1);
}

#[tokio::test]
async fn an_id_that_was_cancelled_forgotten_and_enqueued_again_is_claimed_once() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b")]).await;
    bench.run(&scripts::CANCEL, &words(&["a"])).await;
    bench.server.command(&["DEL", bench.key(Key::Seen0)]).await.unwrap();
    bench.enqueue(vec![job("a")]).await;
    let claims = bench.turn(Turn::default()).await.claims;
    let ids: Vec<&str> = claims.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    let status = Status::decode("q", &bench.run(&scripts::STATUS, &[]).await).unwrap();
    assert_eq!((status.waiting, status.leased), (0, 2));
}

#[tokio::test]
async fn a_forgotten_id_with_a_newer_generation_does_not_give_way_to_itself() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a").generation("g", 1)]).await;
    let claim = bench.turn(Turn::default()).await.claims.remove(0);
    bench.turn(Turn { acks: &[(&claim.0, &claim.1)], ..Turn::default() }).await;
    bench.server.command(&["DEL", bench.key(Key::Seen0)]).await.unwrap();
    bench.enqueue(vec![job("a").generation("g", 2)]).await;
    assert_eq!(bench.turn(Turn::default()).await.claims[0].0, "a");
}

#[tokio::test]
async fn nobody_comes_back_for_a_token_while_nothing_waits() {
    let bench = Bench::new().await;
    bench.run(&scripts::CHANGE_SETTINGS, &words(&["rate", "1000", "burst", "1"])).await;
    assert_eq!(bench.turn(Turn::default()).await.next_in, -1);
    bench.enqueue(vec![job("a")]).await;
    let turned = bench.turn(Turn::default()).await;
    assert_eq!((turned.claims.len(), turned.next_in), (1, -1));
    bench.enqueue(vec![job("b")]).await;
    let turned = bench.turn(Turn::default()).await;
    assert_eq!((turned.claims.len(), turned.next_in), (0, 1), "it waits for its token");
}

/// Whatever ends jobs keeps to the worker's memory, here of an hour.
#[tokio::test]
async fn what_ends_jobs_without_a_worker_forgets_nothing_earlier_than_the_worker_would() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("done")]).await;
    let claim = bench.turn(Turn::default()).await.claims.remove(0);
    bench.turn(Turn { acks: &[(&claim.0, &claim.1)], ..Turn::default() }).await;
    for round in 0..2_u64 {
        bench.pass(61_000).await;
        let first = format!("cancelled-{round}");
        bench.enqueue(vec![job(&first)]).await;
        bench.run(&scripts::CANCEL, &words(&[&first])).await;
        bench.pass(61_000).await;
        bench.enqueue(vec![job(&format!("purged-{round}"))]).await;
        bench.run(&scripts::PURGE, &words(&["waiting", "1000"])).await;
        bench.pass(61_000).await;
        bench.enqueue(vec![job(&format!("old-{round}")).generation("g", 2 * round + 1)]).await;
        bench.enqueue(vec![job(&format!("new-{round}")).generation("g", 2 * round + 2)]).await;
        bench.turn(Turn::default()).await;
    }
    let again = bench.enqueue(vec![job("done")]).await;
    assert_eq!(again[1].as_integer(), Some(1), "it is known");
    assert!(bench.number(&["PTTL", bench.key(Key::Seen0)]).await > 7_200_000, "three hours, less what the test takes");
}

#[tokio::test]
async fn a_memory_begun_by_a_worker_that_forgets_sooner_lasts_as_long_as_this_one_needs() {
    let bench = Bench::new().await;
    let finish = async |id: &str| {
        bench.enqueue(vec![job(id)]).await;
        let claim = bench.turn(Turn::default()).await.claims.remove(0);
        bench.turn(Turn { acks: &[(&claim.0, &claim.1)], ..Turn::default() }).await;
    };
    finish("a").await;
    bench.server.command(&["PEXPIRE", bench.key(Key::Seen0), "180000"]).await.unwrap();
    finish("b").await;
    assert!(bench.number(&["PTTL", bench.key(Key::Seen0)]).await > 7_200_000);
    bench.server.command(&["PEXPIRE", bench.key(Key::Seen0), "99000000"]).await.unwrap();
    finish("c").await;
    assert!(bench.number(&["PTTL", bench.key(Key::Seen0)]).await > 90_000_000, "and is never shortened");
}

#[tokio::test]
async fn dead_letters_beyond_their_number_are_dropped_oldest_first() {
    let mut bench = Bench::new().await;
    for id in ["a", "b", "c"] {
        bench.enqueue(vec![job(id)]).await;
        let claim = bench.turn(Turn::default()).await.claims.remove(0);
        let report = [("X", claim.0.as_str(), claim.1.as_str(), "", 0)];
        bench.turn(Turn { want: 0, dead_max: 2, reports: &report, ..Turn::default() }).await;
        bench.pass(1).await;
    }
    assert_eq!(bench.text(&["ZRANGE", bench.key(Key::Dead), "0", "-1"]).await, ["b", "c"]);
    assert_eq!(bench.text(&["HKEYS", bench.key(Key::Jobs)]).await.len(), 2);
}

/// Fails everything that waits for good, at the bench's time; `unique` is a job's key by its id.
async fn bury(bench: &Bench, unique: impl Fn(&str) -> String) {
    loop {
        let claims = bench.turn(Turn { want: 100, ..Turn::default() }).await.claims;
        if claims.is_empty() {
            return;
        }
        let keys: Vec<String> = claims.iter().map(|(id, _)| unique(id)).collect();
        let reports: Vec<_> = claims
            .iter()
            .zip(&keys)
            .map(|((id, state), key)| ("X", id.as_str(), state.as_str(), key.as_str(), 0))
            .collect();
        bench.turn(Turn { want: 0, reports: &reports, ..Turn::default() }).await;
    }
}

async fn bury_all(bench: &Bench) {
    bury(bench, |_| String::new()).await;
}

#[tokio::test]
async fn what_dies_again_while_all_are_revived_stays_dead() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b")]).await;
    bury_all(&bench).await;
    let revive = async |bench: &Bench, most: &str, began: &str, passed: &str| {
        let answer = elements(bench.run(&scripts::REVIVE, &words(&[most, began, passed])).await);
        answer.iter().map(|count| count.as_integer().unwrap()).collect::<Vec<_>>()
    };
    let began = bench.now;
    assert_eq!(revive(&bench, "10", "", "0").await, [2, 0, 2, began]);
    // In the same millisecond and later.
    for _ in 0..2 {
        bury_all(&bench).await;
        assert_eq!(revive(&bench, "10", &began.to_string(), "0").await[..3], [0, 0, 0]);
        bench.pass(1).await;
        assert_eq!(revive(&bench, "10", "", "0").await[..3], [2, 0, 2]);
    }
}

#[tokio::test]
async fn those_that_have_to_stay_dead_do_not_keep_the_others() {
    let mut bench = Bench::new().await;
    // All dead with a unique key that another job has by now; then some that are free.
    let keyed = |n: usize, id: &str| job(&format!("{id}{n}")).unique(format!("u{n}"));
    for from in (0..600).step_by(100) {
        bench.enqueue((from..from + 100).map(|n| keyed(n, "held")).collect()).await;
    }
    bury(&bench, |id| id.replace("held", "u")).await;
    for from in (0..600).step_by(100) {
        bench.enqueue((from..from + 100).map(|n| keyed(n, "new").delay(Duration::from_secs(60))).collect()).await;
    }
    bench.pass(1).await;
    bench.enqueue((0..20).map(|n| job(&format!("free{n}"))).collect()).await;
    bury_all(&bench).await;
    let queue = crate::Queue::new(&bench.client, "q").unwrap();
    let revived = queue.revive_oldest(5).await.unwrap();
    assert_eq!((revived.revived, revived.held), (5, 600));
    let revived = queue.revive_oldest(usize::MAX).await.unwrap();
    assert_eq!((revived.revived, revived.held), (15, 600));
    assert_eq!(bench.number(&["ZCARD", bench.key(Key::Dead)]).await, 600);
}

#[tokio::test]
async fn a_purge_takes_as_many_as_it_may_whatever_was_cancelled_among_them() {
    let bench = Bench::new().await;
    bench.enqueue((0..700).map(|n| job(&n.to_string())).collect()).await;
    bench.run(&scripts::CANCEL, &words(&["3", "650"])).await;
    let queue = crate::Queue::new(&bench.client, "q").unwrap();
    assert_eq!(queue.purge(crate::Purge::Waiting, 600).await.unwrap(), 600);
    assert_eq!(queue.purge(crate::Purge::Waiting, 600).await.unwrap(), 98);
    assert_eq!(queue.purge(crate::Purge::Waiting, 600).await.unwrap(), 0);
}

#[tokio::test]
async fn extend_tells_lost_renewed_and_cancelled_apart() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b")]).await;
    let claims = bench.turn(Turn::default()).await.claims;
    bench.run(&scripts::CANCEL, &words(&["b"])).await;
    bench.pass(LEASE - 1).await;
    let pulse = async |bench: &Bench| {
        let mut arguments = words(&["1000"]);
        arguments.extend(words(&[&claims[0].0, &claims[0].1, &claims[1].0, &claims[1].1, "x", "1:1:1:9-n:c"]));
        let answers = elements(bench.run(&scripts::EXTEND_LEASES, &arguments).await);
        answers.iter().map(|answer| answer.as_integer().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(pulse(&bench).await, [1, 2, 0]);
    bench.pass(LEASE - 1).await;
    bench.turn(Turn { want: 0, ..Turn::default() }).await;
    assert_eq!(pulse(&bench).await, [1, 2, 0], "renewed in time");
    bench.pass(LEASE).await;
    bench.turn(Turn { want: 0, ..Turn::default() }).await;
    assert_eq!(pulse(&bench).await, [0, 0, 0], "too late");
}

#[tokio::test]
async fn recover_finds_the_jobs_of_a_lost_answer_and_no_others() {
    let bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b"), job("c")]).await;
    let lost = bench.turn(Turn { nonce: "x.1", want: 2, ..Turn::default() }).await.claims;
    bench.turn(Turn { nonce: "x.11", want: 1, ..Turn::default() }).await;
    let found = elements(bench.run(&scripts::RECOVER_CLAIMS, &words(&["1000", "x.1"])).await);
    let ids: Vec<&str> = found.chunks(4).map(|job| job[0].as_str().unwrap()).collect();
    assert_eq!(ids, [lost[0].0.as_str(), lost[1].0.as_str()]);
    assert_eq!(found[1].as_str(), Some(lost[0].1.as_str()));
    let none = elements(bench.run(&scripts::RECOVER_CLAIMS, &words(&["1000", "x.2"])).await);
    assert!(none.is_empty());
}

#[tokio::test]
async fn tidy_forgets_old_results_dead_letters_and_consumers() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a").unique("u"), job("b")]).await;
    let claims = bench.turn(Turn::default()).await.claims;
    let reports = [
        ("X", claims[0].0.as_str(), claims[0].1.as_str(), "u", 0),
        ("S", claims[1].0.as_str(), claims[1].1.as_str(), "", 0),
    ];
    bench.turn(Turn { reports: &reports, ..Turn::default() }).await;
    let tidy = async |bench: &Bench| {
        let answer = elements(bench.run(&scripts::TIDY, &words(&["100000", "90000"])).await);
        answer.iter().map(|count| count.as_integer().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tidy(&bench).await, [0, 0, 0]);
    bench.pass(60_000).await;
    assert_eq!(tidy(&bench).await, [2, 0, 0], "results are kept for a minute");
    bench.pass(40_000).await;
    assert_eq!(tidy(&bench).await, [0, 1, 1]);
    let mut left = bench.text(&["KEYS", "rq:*"]).await;
    left.sort();
    assert_eq!(left, ["rq:{q}:b", "rq:{q}:f0", "rq:{q}:m"].map(str::to_owned));
}

#[tokio::test]
async fn a_result_is_given_for_as_long_as_it_is_kept_and_no_longer_although_nobody_has_tidied() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a")]).await;
    let claims = bench.turn(Turn::default()).await.claims;
    let reports = [("S", claims[0].0.as_str(), claims[0].1.as_str(), "", 0)];
    bench.turn(Turn { reports: &reports, ..Turn::default() }).await;
    assert!(bench.run(&scripts::RESULT, &words(&["a"])).await.as_bytes().is_some());
    assert_eq!(bench.run(&scripts::RESULT, &words(&["b"])).await, romaine::Value::Null);
    bench.pass(60_000).await;
    assert_eq!(bench.run(&scripts::RESULT, &words(&["a"])).await, romaine::Value::Null);
}

#[tokio::test]
async fn status_counts_by_place_and_looks_past_cancelled_jobs() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b"), job("c").delay(Duration::from_secs(5))]).await;
    bench.pass(250).await;
    bench.enqueue(vec![job("d")]).await;
    bench.run(&scripts::CANCEL, &words(&["a"])).await;
    bench.turn(Turn { want: 1, consumer: "web-1", ..Turn::default() }).await;
    bench.pass(50).await;
    let status = Status::decode("q", &bench.run(&scripts::STATUS, &[]).await).unwrap();
    assert_eq!((status.waiting, status.delayed, status.leased, status.dead), (1, 1, 1, 0));
    assert_eq!(status.oldest_waiting, Some(Duration::from_millis(50)));
    assert_eq!(status.next_due, Some(Duration::from_millis(4_700)));
    let consumer = &status.consumers[0];
    assert_eq!((consumer.name.as_str(), consumer.held, consumer.last_claim.as_millis()), ("web-1", 1, 50));
    assert_eq!(consumer.promised, Duration::from_millis(100), "it is busy");
}

#[tokio::test]
async fn a_job_that_was_delayed_waits_since_it_was_due_and_not_since_it_was_enqueued() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a").delay(Duration::from_secs(5))]).await;
    bench.pass(5_200).await;
    bench.turn(Turn { want: 0, ..Turn::default() }).await;
    let status = Status::decode("q", &bench.run(&scripts::STATUS, &[]).await).unwrap();
    assert_eq!(status.oldest_waiting, Some(Duration::from_millis(200)));
}

#[tokio::test]
async fn peek_pages_through_every_place() {
    let bench = Bench::new().await;
    bench.enqueue((0..250).map(|n| job(&format!("j{n}"))).collect()).await;
    let ids = async |from: usize| {
        let arguments = words(&["waiting", &from.to_string(), "100"]);
        let answer = elements(bench.run(&scripts::PEEK, &arguments).await);
        let bytes: Vec<bytes::Bytes> = answer
            .iter()
            .map(|value| value.as_bytes().cloned().unwrap_or_else(|| value.as_integer().unwrap().to_string().into()))
            .collect();
        JobInfo::decode_all(&bytes).unwrap().into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    let (first, last) = (ids(0).await, ids(200).await);
    assert_eq!((first.len(), first[0].as_str(), first[99].as_str()), (100, "j0", "j99"));
    assert_eq!((last.len(), last[0].as_str()), (50, "j200"));
}
