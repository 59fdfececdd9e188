//! A test for each subcommand.

use romaine_queue::NewJob;
use serde_json::json;

use crate::support::{self, queue, run};

#[tokio::test]
async fn status_is_1_when_a_queue_is_in_trouble() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    let (code, text) = run(&url, &["status", "q"]).await;
    assert!(code == Some(0) && text.contains("ok"), "{text}");
    queue.producer().enqueue(NewJob::new("k", "x")).await.unwrap();
    let (code, text) = run(&url, &["status", "q"]).await;
    assert!(code == Some(1) && text.contains("NOBODY WORKS"), "{text}");
    let (code, answer) = support::json(&url, &["status", "empty", "q"]).await;
    assert_eq!((code, &answer[0]["trouble"], &answer[1]["trouble"]), (Some(1), &json!(null), &json!("NOBODY WORKS")));
    queue.pause("maintenance").await.unwrap();
    assert_eq!(run(&url, &["status", "q"]).await.0, Some(0), "somebody knows");
    queue.resume().await.unwrap();
    // One that was killed: it promised to be heard of again, long ago.
    let now = queue.status().await.unwrap().time_ms;
    let killed = format!("{}:30000:1", now - 60_000);
    server.command(&["HSET", "rq:{q}:k", "killed", &killed]).await.unwrap();
    let (code, text) = run(&url, &["status", "q"]).await;
    assert!(code == Some(1) && text.contains("1 SILENT") && text.contains("SILENT for"), "{text}");
}
