//! Runs without a hub.

use serde_json::json;

use super::*;
use crate::agent::Remembered;
use crate::agent::agent_tests::{PATIENCE, runs, settings};
use crate::agent::ledger::Ledger;
use crate::record::DEPLOY;

fn shared(dir: &std::path::Path, handler: &str) -> Arc<Shared> {
    let settings = settings(dir, handler);
    let ledger = Ledger::open(&settings.ledger).unwrap();
    Arc::new(Shared::new(settings, ledger, Remembered::default()))
}

fn begin(shared: &Arc<Shared>, kind: &str, payload: &serde_json::Value) -> Run {
    let facts = Facts::new("j", kind, &payload.to_string().into(), shared.settings.repeat).unwrap();
    let entry = Entry { job: "j@1".into(), kind: kind.into(), token: 1, attempt: 1 };
    shared.begin(entry, facts, 0, Vec::new())
}

async fn end_of(run: &Run) -> Ended {
    let mut end = run.end.clone();
    tokio::time::timeout(PATIENCE, wait(&mut end)).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_agent_ends_although_the_end_of_a_run_cannot_be_written_down_and_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path(), "echo x >> runs; while ! [ -e go ]; do sleep 0.1; done");
    let run = begin(&shared, "k", &json!({}));
    runs(dir.path(), 1).await;
    // As on a disk that is full.
    shared.ledger.with(|db| db.pragma_update(None, "query_only", true)).await.unwrap();
    std::fs::write(dir.path().join("go"), "").unwrap();
    let mut end = run.end.clone();
    let tried = tokio::time::timeout(LEDGER_AGAIN * 3, wait(&mut end)).await;
    assert!(tried.is_err(), "it is tried for as long as the agent is there: {tried:?}");
    tokio::time::timeout(crate::agent::STOP_LIMIT, shared.stop_all()).await.unwrap();
    let Ended::As(outcome) = end_of(&run).await else { panic!("it is told what it came to") };
    assert_eq!(outcome.verdict, Verdict::Done);
    assert!(matches!(shared.ledger.past("j@1").await.unwrap(), Past::Begun { .. }));
}

#[tokio::test]
async fn a_deployment_that_is_cancelled_while_it_waits_its_turn_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path(), "echo x >> runs");
    let turn = shared.deploying.lock().await;
    let image = format!("registry/app@sha256:{}", "1".repeat(64));
    let deploy = json!({ "generation": 1, "image": image, "rollout": "r", "reason": "rollout", "retries": 0 });
    let run = begin(&shared, DEPLOY, &deploy);
    run.cancel.cancel();
    let Ended::As(outcome) = end_of(&run).await else { panic!("it has an end") };
    assert_eq!(outcome.verdict, Verdict::Cancelled);
    drop(turn);
    shared.stop_all().await;
    assert!(!dir.path().join("runs").exists());
    assert!(matches!(shared.ledger.past("j@1").await.unwrap(), Past::Ended { .. }));
}
