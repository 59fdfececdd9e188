//! `romaine queue watch` without a terminal.

use romaine_queue::NewJob;
use serde_json::Value;

use crate::support::{Running, queue};

#[tokio::test]
async fn watch_goes_on_through_an_outage_and_says_that_it_is_not_up_to_date() {
    let (server, queue) = queue("q").await;
    queue.producer().enqueue(NewJob::new("k", "x")).await.unwrap();
    // A look ends soon.
    let url = format!("{}?timeout=500ms", server.url());
    let mut table = Running::start(&url, &["watch", "q", "--every", "50ms"]);
    let mut lines = Running::start(&url, &["watch", "q", "--every", "50ms", "--json"]);
    table.says("NOBODY WORKS").await;
    let seen: Value = serde_json::from_str(&lines.says("waiting").await).unwrap();
    assert_eq!(seen[0]["waiting"], 1);
    server.stop().await.unwrap();
    table.says("not up to date").await;
    let seen: Value = serde_json::from_str(&lines.says("error").await).unwrap();
    assert!(seen["error"].is_string(), "{seen}");
    server.restart().await.unwrap();
    table.says("workers").await;
    lines.says("waiting").await;
}
