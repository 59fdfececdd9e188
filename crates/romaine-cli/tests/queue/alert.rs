//! `romaine queue alert`: what happened in story S4, from a shell.

use std::time::Duration;

use romaine_faultlab::Port;
use romaine_queue::{Failure, Job, NewJob, Queue};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, Running, queue, run};

async fn backlog(queue: &Queue, jobs: usize) {
    queue.producer().enqueue_all((0..jobs).map(|_| NewJob::new("push", "x"))).await.unwrap();
}

/// The body of the next POST, which is answered with this status.
async fn posted(listener: &TcpListener, status: &str) -> Value {
    let posted = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut text, mut chunk) = (String::new(), [0; 4096]);
        while !text.ends_with('}') {
            let size = socket.read(&mut chunk).await.unwrap();
            text.push_str(&String::from_utf8_lossy(&chunk[..size]));
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        socket.write_all(answer.as_bytes()).await.unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    tokio::time::timeout(PATIENCE, posted).await.expect("a post")
}

async fn metrics(address: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn work_that_piles_up_is_told_here_to_a_webhook_and_to_prometheus_and_so_is_its_end() {
    let (server, queue) = queue("push").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/s3cret", listener.local_addr().unwrap());
    backlog(&queue, 60).await;
    let arguments = ["alert", "push", "--every", "50ms", "--no-progress", "500ms", "--webhook", &hook];
    let mut alert = Running::start(&server.url(), &[&arguments[..], &["--metrics", "127.0.0.1:0"]].concat());
    let said = alert.errors.next_line().await.unwrap().unwrap();
    let address = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let line = alert.says("ALERT no_progress").await;
    assert!(line.contains("queue push: 60 jobs are waiting"), "{line}");
    // Whoever is told is away at first.
    for status in ["503 Service Unavailable", "204 No Content"] {
        let body = posted(&listener, status).await;
        assert_eq!((&body["alert"], &body["state"]), (&"no_progress".into(), &"firing".into()));
    }
    let text = metrics(&address).await;
    assert!(text.contains("rq_waiting{queue=\"push\"} 60"), "{text}");
    assert!(text.contains("rq_alert{queue=\"push\",alert=\"no_progress\"} 1"), "{text}");
    let worker = queue.worker(async |_: Job| Ok::<_, Failure>(())).start().unwrap();
    alert.says("resolved no_progress").await;
    assert_eq!(posted(&listener, "204 No Content").await["state"], "resolved");
    assert!(!metrics(&address).await.contains("rq_alert{"));
    worker.shutdown().await.unwrap();
    assert_eq!(alert.end().await, Some(0));
}

#[tokio::test]
async fn a_server_that_is_away_is_a_trouble_and_not_the_end() {
    let (server, _queue) = queue("push").await;
    server.stop().await.unwrap();
    let arguments = ["alert", "push", "--every", "50ms", "--unreachable", "300ms", "--json"];
    let mut alert = Running::start(&server.url(), &arguments);
    let told: Value = serde_json::from_str(&alert.says("firing").await).unwrap();
    assert_eq!((&told["queue"], &told["alert"]), (&"push".into(), &"unreachable".into()));
    server.restart().await.unwrap();
    alert.says("resolved").await;
    assert_eq!(alert.end().await, Some(0));
}

#[tokio::test]
async fn once_ends_with_what_is_wrong_in_its_status() {
    let (server, queue) = queue("push").await;
    let once = ["alert", "push", "--once", "--every", "100ms", "--no-progress", "300ms", "--unreachable", "300ms"];
    assert_eq!(run(&server.url(), &once).await, (Some(0), String::new()));
    backlog(&queue, 3).await;
    let (code, text) = run(&server.url(), &once).await;
    assert!(code == Some(1) && text.contains("ALERT no_progress"), "{text}");
    let (code, _) = run(&server.url(), &[&once[..], &["--no-progress", "off"]].concat()).await;
    assert_eq!(code, Some(2), "given twice");
    let off = ["alert", "push", "--once", "--every", "100ms", "--no-progress", "off", "--unreachable", "300ms"];
    assert_eq!(run(&server.url(), &off).await.0, Some(0));
    let port = Port::claim().unwrap();
    let (code, text) = run(&format!("redis://127.0.0.1:{}", port.number()), &once).await;
    assert!(code == Some(3) && text.contains("ALERT unreachable"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_watched_is_said_at_once() {
    let port = Port::claim().unwrap();
    let url = format!("redis://127.0.0.1:{}", port.number());
    for wrong in [
        &["alert", "a{b}"][..],
        &["alert", "q", "--webhook", "ftp://x"],
        &["alert", "q", "--waiting", "many"],
        &["alert", "q", "--metrics", "here"],
        &["alert"],
    ] {
        let ended = tokio::time::timeout(Duration::from_secs(20), run(&url, wrong)).await.unwrap();
        assert_eq!(ended.0, Some(2), "{wrong:?}: {}", ended.1);
    }
}
