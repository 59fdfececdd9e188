//! A test for each subcommand.

use romaine_faultlab::{Port, eventually};
use romaine_queue::{Failure, Job, NewJob, Place};
use serde_json::json;

use crate::support::{self, PATIENCE, fed, queue, run};

/// The id of each job at a place, in order.
async fn ids(queue: &romaine_queue::Queue, place: Place) -> Vec<String> {
    queue.peek(place, 0, 100).await.unwrap().into_iter().map(|job| job.id).collect()
}

/// Dead letters of these ids, in this order.
async fn kill(queue: &romaine_queue::Queue, ids: &[&str]) {
    let worker = queue.worker(async |job: Job| Err::<(), _>(Failure::dead(format!("no room for {}", job.id()))));
    let worker = worker.concurrency(1).start().unwrap();
    for id in ids {
        queue.producer().enqueue(NewJob::new("k", "x").id(*id)).await.unwrap();
    }
    let died = eventually(PATIENCE, "them to die", async || queue.status().await.unwrap().dead == ids.len() as u64);
    died.await.unwrap();
    worker.shutdown().await.unwrap();
}

#[tokio::test]
async fn push_takes_a_payload_a_file_or_lines_and_says_what_became_of_each() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    assert_eq!(run(&url, &["push", "q", "hello", "--id", "a"]).await, (Some(0), "a accepted\n".into()));
    let (code, text) = run(&url, &["push", "q", "hello", "--id", "a"]).await;
    assert!(code == Some(0) && text.contains("a job of this id is in the queue"), "nothing is left to be done: {text}");
    assert_eq!(fed(&url, &["push", "q", "-", "--id", "b", "--delay", "2h55m"], "from stdin").await.0, Some(0));
    assert_eq!(queue.job("b").await.unwrap().unwrap().payload, "from stdin");
    let (code, answer) =
        support::json(&url, &["push", "q", "x", "--id", "c", "--unique", "u", "--priority", "high"]).await;
    assert_eq!((code, answer), (Some(0), json!({ "id": "c", "outcome": "accepted" })));
    let (code, answer) = support::json(&url, &["push", "q", "x", "--id", "d", "--unique", "u"]).await;
    assert_eq!((code, answer), (Some(1), json!({ "id": "d", "outcome": "held", "by": "c" })));
    assert_eq!(fed(&url, &["push", "q", "--lines", "--json"], "1\n2\n3\n").await.1, "{\"accepted\":3,\"refused\":0}\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    assert_eq!(run(&url, &["push", "q", "--file", file.path().to_str().unwrap(), "--id", "f"]).await.0, Some(0));
    assert_eq!(queue.job("f").await.unwrap().unwrap().payload, "from a file");
    assert_eq!(queue.status().await.unwrap().waiting, 6);
    for wrong in [&["push", "q"][..], &["push", "q", "x", "--delay", "soon"], &["push", "q", "x", "--generation", "7"]]
    {
        assert_eq!(run(&url, wrong).await.0, Some(2), "{wrong:?}");
    }
}

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

#[tokio::test]
async fn peek_and_dead_show_jobs_where_they_are() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    kill(&queue, &["d"]).await;
    queue.producer().enqueue_all(["a", "b", "c"].map(|id| NewJob::new("mail", "hi").id(id))).await.unwrap();
    let (code, jobs) = support::json(&url, &["peek", "q", "--from", "1", "-n", "1"]).await;
    assert_eq!(
        (code, &jobs[0]["id"], &jobs[0]["payload"], jobs.as_array().unwrap().len()),
        (Some(0), &json!("b"), &json!("hi"), 1)
    );
    let (_, text) = run(&url, &["peek", "q"]).await;
    assert!(["a", "mail", "hi"].iter().all(|part| text.contains(part)), "{text}");
    let (code, text) = run(&url, &["dead", "q"]).await;
    assert!(code == Some(0) && text.contains("no room for d"), "{text}");
    let (_, jobs) = support::json(&url, &["dead", "q"]).await;
    assert_eq!((&jobs[0]["place"], &jobs[0]["error"]), (&json!("dead"), &json!("no room for d")));
    let (code, text) = run(&url, &["peek", "q", "--place", "leased"]).await;
    assert!(code == Some(0) && text.contains("no job is leased"), "{text}");
}

#[tokio::test]
async fn retry_puts_dead_letters_back_by_id_or_all_of_them() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    kill(&queue, &["a", "b", "c"]).await;
    let (code, answer) = support::json(&url, &["retry", "q", "b", "never"]).await;
    assert_eq!((code, answer), (Some(1), json!({ "revived": 1, "held": 0, "unknown": 1 })));
    assert_eq!(ids(&queue, Place::Waiting).await, ["b"]);
    assert_eq!(run(&url, &["retry", "q", "--all"]).await, (Some(0), "2 wait again\n".into()));
    assert_eq!((ids(&queue, Place::Waiting).await.len(), ids(&queue, Place::Dead).await.len()), (3, 0));
    assert_eq!(run(&url, &["retry", "q"]).await.0, Some(2), "which?");
}

#[tokio::test]
async fn cancel_takes_what_waits_away() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    queue.producer().enqueue_all(["a", "b"].map(|id| NewJob::new("k", "x").id(id))).await.unwrap();
    let (code, answer) = support::json(&url, &["cancel", "q", "a", "never"]).await;
    let expected = json!([{ "id": "a", "outcome": "removed" }, { "id": "never", "outcome": "unknown" }]);
    assert_eq!((code, answer), (Some(1), expected));
    assert_eq!(run(&url, &["cancel", "q", "b"]).await, (Some(0), "b removed\n".into()));
    assert!(queue.status().await.unwrap().is_empty());
}

#[tokio::test]
async fn forget_ends_the_trouble_about_a_worker_that_was_killed() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    let killed = format!("{}:30000:1", queue.status().await.unwrap().time_ms - 60_000);
    server.command(&["HSET", "rq:{q}:k", "killed", &killed]).await.unwrap();
    assert_eq!(run(&url, &["status", "q"]).await.0, Some(1));
    assert_eq!(run(&url, &["forget", "q", "killed"]).await, (Some(0), "killed is forgotten\n".into()));
    assert_eq!(run(&url, &["status", "q"]).await.0, Some(0));
    let (code, answer) = support::json(&url, &["forget", "q", "killed"]).await;
    assert_eq!((code, answer), (Some(1), json!([{ "worker": "killed", "forgotten": false }])));
}

#[tokio::test]
async fn a_pause_lasts_until_resume() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    assert_eq!(run(&url, &["pause", "q", "--reason", "database"]).await.0, Some(0));
    assert_eq!(queue.status().await.unwrap().paused.as_deref(), Some("database"));
    assert!(run(&url, &["status", "q"]).await.1.contains("paused: database"));
    let (code, answer) = support::json(&url, &["resume", "q"]).await;
    assert_eq!((code, answer), (Some(0), json!({ "queue": "q", "paused": null })));
    assert_eq!(queue.status().await.unwrap().paused, None);
}

#[tokio::test]
async fn drain_takes_away_only_what_it_is_told_to_and_only_after_a_yes() {
    let (server, queue) = queue("q").await;
    let url = server.url();
    kill(&queue, &["d"]).await;
    queue.producer().enqueue_all((0..2_500).map(|n| NewJob::new("k", "x").id(format!("j{n}")))).await.unwrap();
    let (code, text) = run(&url, &["drain", "q"]).await;
    assert!(code == Some(2) && text.contains("this loses 2500 jobs"), "{text}");
    let (code, answer) = support::json(&url, &["drain", "q", "--yes"]).await;
    assert_eq!((code, answer), (Some(0), json!({ "taken_away": 2_500 })));
    assert_eq!((queue.status().await.unwrap().waiting, queue.status().await.unwrap().dead), (0, 1));
    assert_eq!(run(&url, &["drain", "q", "--what", "dead", "--yes"]).await.0, Some(0));
    assert!(queue.status().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_status_3_and_a_foreign_key_4() {
    let port = Port::claim().unwrap();
    let url = format!("redis://127.0.0.1:{}?connect_timeout=1s", port.number());
    assert_eq!(run(&url, &["status", "q"]).await.0, Some(3));
    let (server, _queue) = queue("q").await;
    server.command(&["SET", "rq:{q}:w1", "foreign"]).await.unwrap();
    assert_eq!(run(&server.url(), &["status", "q"]).await.0, Some(4));
    assert_eq!(run(&server.url(), &["status", "a{b}"]).await.0, Some(2));
}
