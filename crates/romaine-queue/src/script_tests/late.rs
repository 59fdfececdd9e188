//! What is told after a lease has run out, and what is given back.

use crate::keys::Key;
use crate::new_job::NewJob;
use crate::script_tests::{Bench, LEASE, Turn, elements, words};
use crate::scripts;
use crate::status::Status;

fn job(id: &str) -> NewJob {
    NewJob::new("k", "p").id(id).attempts(2)
}

/// One claimed job, `a`, with so many attempts and a unique key, whose lease ran out and was swept.
async fn left_behind(attempts: u16) -> (Bench, (String, String)) {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![NewJob::new("k", "p").id("a").attempts(attempts).unique("u")]).await;
    let claim = bench.turn(Turn::default()).await.claims.remove(0);
    bench.pass(LEASE).await;
    bench.turn(Turn { want: 0, ..Turn::default() }).await;
    (bench, claim)
}

/// Reports it; whether that was believed.
async fn report(bench: &Bench, op: &str, (id, state): &(String, String)) -> bool {
    let reports = [(op, id.as_str(), state.as_str(), "u", 0)];
    bench.turn(Turn { want: 0, reports: &reports, ..Turn::default() }).await.lost.is_empty()
}

async fn status(bench: &Bench) -> Status {
    Status::decode("q", &bench.run(&scripts::STATUS, &[]).await).unwrap()
}

#[tokio::test]
async fn a_dead_letter_whose_lease_ran_out_is_done_after_all_when_its_worker_says_so() {
    let (bench, claim) = left_behind(1).await;
    assert_eq!(status(&bench).await.dead, 1);
    assert!(report(&bench, "S", &claim).await);
    let after = status(&bench).await;
    assert_eq!((after.dead, after.waiting, after.totals.done, after.totals.fenced), (0, 0, 1, 0));
    assert_eq!((after.totals.dead, after.totals.redeemed), (1, 1));
    assert_eq!(bench.text(&["HVALS", bench.key(Key::Results)]).await, ["kbecause"]);
    for key in [Key::Jobs, Key::States, Key::Errors, Key::Unique, Key::Dead] {
        assert_eq!(bench.number(&["EXISTS", bench.key(key)]).await, 0, "{key:?} stays");
    }
    assert_eq!(bench.enqueue(vec![job("a")]).await[1].as_integer(), Some(1), "it is known");
    assert!(!report(&bench, "S", &claim).await, "only once");

    // Without a result nothing may go on saying that it died.
    let (bench, (id, state)) = left_behind(1).await;
    let turned = bench.turn(Turn { want: 0, acks: &[(&id, &state)], ..Turn::default() }).await;
    assert!(turned.lost.is_empty());
    assert_eq!(bench.number(&["EXISTS", bench.key(Key::Results), bench.key(Key::ResultsUntil)]).await, 0);
}

#[tokio::test]
async fn a_job_that_waits_because_its_lease_ran_out_is_done_when_its_worker_says_so_and_not_run_again() {
    let (bench, claim) = left_behind(2).await;
    assert_eq!(status(&bench).await.waiting, 1);
    assert!(report(&bench, "A", &claim).await);
    let after = status(&bench).await;
    assert_eq!((after.waiting, after.totals.done, after.totals.redeemed), (0, 1, 0));
    assert!(bench.turn(Turn::default()).await.claims.is_empty());
    assert_eq!(status(&bench).await.waiting, 0);
}

#[tokio::test]
async fn a_late_report_is_refused_once_another_had_the_job_or_somebody_put_it_back_or_cancelled_it() {
    let (bench, claim) = left_behind(2).await;
    let newer = bench.turn(Turn { nonce: "m", ..Turn::default() }).await.claims.remove(0);
    assert!(!report(&bench, "A", &claim).await, "another has it");
    let dead = [("X", "a", newer.1.as_str(), "u", 0)];
    bench.turn(Turn { want: 0, reports: &dead, ..Turn::default() }).await;
    assert!(!report(&bench, "A", &claim).await && !report(&bench, "A", &newer).await, "another's verdict stands");

    let (bench, claim) = left_behind(1).await;
    bench.run(&scripts::REVIVE, &words(&["0", "a"])).await;
    assert!(!report(&bench, "A", &claim).await, "somebody wants it run again");
    assert_eq!(bench.turn(Turn::default()).await.claims.len(), 1);

    for attempts in [1, 2] {
        let (bench, claim) = left_behind(attempts).await;
        bench.run(&scripts::CANCEL, &words(&["a"])).await;
        assert!(!report(&bench, "A", &claim).await, "it was cancelled");
        assert_eq!(status(&bench).await.totals.done, 0);
    }
}

#[tokio::test]
async fn what_still_runs_is_renewed_by_the_turn_that_would_have_put_it_back() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a"), job("b")]).await;
    let claims = bench.turn(Turn::default()).await.claims;
    bench.pass(2 * LEASE).await;
    let (id, state) = &claims[0];
    let holds = [("H", id.as_str(), state.as_str(), "", 0), ("H", "x", state.as_str(), "", 0)];
    let turned = bench.turn(Turn { nonce: "m", reports: &holds, ..Turn::default() }).await;
    assert!(turned.lost.is_empty() && turned.claims.len() == 1, "{turned:?}");
    let until = bench.server.command(&["ZSCORE", bench.key(Key::Leases), id]).await.unwrap().text();
    assert_eq!(until, (bench.now + LEASE).to_string());
    assert!(report(&bench, "A", &claims[0]).await);
}

#[tokio::test]
async fn a_late_report_of_a_failure_ends_what_waits_and_tells_why_it_is_dead() {
    for (attempts, op) in [(1, "X"), (1, "R"), (2, "X")] {
        let (bench, claim) = left_behind(attempts).await;
        assert!(report(&bench, op, &claim).await, "{op}");
        let after = status(&bench).await;
        assert_eq!((after.dead, after.waiting, after.totals.dead), (1, 0, 1), "{op}");
        assert_eq!(bench.text(&["HVALS", bench.key(Key::Errors)]).await, ["because"]);
        assert_eq!(bench.text(&["HVALS", bench.key(Key::Results)]).await, ["xbecause"]);
    }
    // It waits already.
    let (bench, claim) = left_behind(2).await;
    assert!(!report(&bench, "R", &claim).await);
    assert_eq!(bench.turn(Turn::default()).await.claims.len(), 1);
}

#[tokio::test]
async fn an_attempt_that_is_given_back_when_its_lease_has_run_out_is_not_counted_either() {
    for (attempts, places) in [(1, (1, 0)), (2, (0, 1))] {
        let (bench, claim) = left_behind(attempts).await;
        let before = status(&bench).await;
        assert_eq!((before.dead, before.waiting), places);
        assert!(report(&bench, "G", &claim).await, "{attempts}");
        let after = status(&bench).await;
        assert_eq!((after.dead, after.waiting, after.totals.given_back), (0, 1, 1), "{attempts}");
        assert_eq!(bench.text(&["HVALS", bench.key(Key::Errors)]).await, ["because"]);
        assert_eq!(bench.number(&["EXISTS", bench.key(Key::Results), bench.key(Key::ResultsUntil)]).await, 0);
        assert!(!report(&bench, "G", &claim).await, "only once");
        let again = bench.turn(Turn { nonce: "m", ..Turn::default() }).await.claims.remove(0);
        assert!(again.1.starts_with(&format!("1:1:{attempts}:")), "{again:?}");
        assert_eq!(bench.text(&["HGETALL", bench.key(Key::Unique)]).await, ["u", "a"], "it has its key");
    }
    // Another has its key.
    let (bench, claim) = left_behind(1).await;
    bench.enqueue(vec![job("b").unique("u")]).await;
    assert!(!report(&bench, "G", &claim).await);
    assert_eq!(status(&bench).await.dead, 1);
}

#[tokio::test]
async fn a_job_that_is_given_back_has_its_attempt_again_and_says_why_it_waits() {
    let mut bench = Bench::new().await;
    bench.enqueue(vec![job("a").attempts(1)]).await;
    for _ in 0..3 {
        let claim = bench.turn(Turn::default()).await.claims.remove(0);
        let back = [("G", "a", claim.1.as_str(), "", 500)];
        assert!(bench.turn(Turn { reports: &back, ..Turn::default() }).await.claims.is_empty(), "not at once");
        let after = status(&bench).await;
        assert_eq!((after.delayed, after.totals.dead, after.totals.retried), (1, 0, 0));
        assert_eq!(bench.text(&["HVALS", bench.key(Key::Errors)]).await, ["because"]);
        assert_eq!(bench.text(&["HVALS", bench.key(Key::States)]).await, ["1:0:1:d"]);
        bench.pass(500).await;
    }
    assert_eq!(status(&bench).await.totals.given_back, 3);
    let answer = elements(bench.run(&scripts::TURN, &turn_arguments()).await);
    let claims = elements(answer[4].clone());
    assert_eq!(claims[3].as_str(), Some("because"), "the next attempt is told, and leaves nothing of it behind");
}

fn turn_arguments() -> Vec<bytes::Bytes> {
    words(&["c", "n", "1000", "1", "1000", "100", "3600000", "100000", "5", "60000", "100", "0", "0"])
}
