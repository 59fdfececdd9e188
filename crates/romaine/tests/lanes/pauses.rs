//! P1: a server that takes its time is not dead.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Event, EventStream, cmd};
use romaine_faultlab::{Server, eventually};

use crate::support::{ask, background, blocked, calls, connect, ended, fast, plain, told};

fn no_verdict(events: &mut EventStream) {
    let verdicts: Vec<_> = told(events)
        .into_iter()
        .filter(|event| {
            matches!(event, Event::Disconnected { .. } | Event::GhostFenced { .. } | Event::ElementMayBeLost { .. })
        })
        .collect();
    assert!(verdicts.is_empty(), "{verdicts:?}");
}

#[tokio::test]
async fn a_pause_of_eight_seconds_is_no_death_and_desyncs_nothing() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address()).timeout(Duration::from_secs(15))).await;
    let mut events = client.events();
    let consumer = client.clone();
    let popping = background(async move {
        let mut popped = Vec::new();
        while popped.len() < 20 {
            let element: Option<(String, String)> = consumer.brpop("q", 0.0).await.unwrap();
            popped.push(element.unwrap().1);
        }
        popped
    });
    blocked(&server, 1).await;
    // So that probes fall into the pause.
    ask(&server, &["CLIENT", "PAUSE", "8000", "WRITE"]).await;
    let pushes: Vec<_> = (0..20)
        .map(|n| {
            background({
                let client = client.clone();
                async move { client.lpush("q", n).await }
            })
        })
        .collect();
    let reads = connect(plain(server.address())).await;
    assert!(reads.get::<String>("k").await.unwrap().is_none(), "reads go on");
    let popped = ended(popping).await;
    assert_eq!(popped, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    for push in pushes {
        ended(push).await.unwrap();
    }
    no_verdict(&mut events);
    client.set("in", "sync").await.unwrap();
    assert_eq!(client.get::<String>("in").await.unwrap().unwrap(), "sync");
}

// Fault lab, F16: the control connection is held back as well, with the probe that it has sent.
#[tokio::test]
async fn a_pause_of_writes_is_no_death_for_the_impatient_either() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).timeout(Duration::from_secs(15))).await;
    let mut events = client.events();
    let consumer = client.clone();
    let popping = background(async move { consumer.brpop::<String, String>("q", 0.0).await });
    blocked(&server, 1).await;
    ask(&server, &["CLIENT", "PAUSE", "6000", "WRITE"]).await;
    // Executed once, when the pause is over.
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    no_verdict(&mut events);
    client.lpush("q", "job").await.unwrap();
    assert_eq!(ended(popping).await.unwrap().unwrap().1, "job");
    no_verdict(&mut events);
}

#[tokio::test]
async fn a_long_script_is_no_death_of_a_blocked_connection() {
    let server = Server::builder().config_line("busy-reply-threshold 100").start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let consumer = client.clone();
    let call = background(async move { consumer.brpop::<String, String>("q", 0.0).await });
    blocked(&server, 1).await;
    let other = connect(plain(server.address())).await;
    let script = "local t = redis.call('TIME') local till = t[1] * 1000 + t[2] / 1000 + 4000 \
                  repeat t = redis.call('TIME') until t[1] * 1000 + t[2] / 1000 > till return 1";
    let four_seconds = cmd::<i64>("EVAL").arg(script).arg(0);
    assert_eq!(other.issue(four_seconds).await.unwrap(), 1);
    let before = calls(&server, "client|unblock").await;
    eventually(Duration::from_secs(5), "a probe afterwards", async || calls(&server, "client|unblock").await > before)
        .await
        .unwrap();
    blocked(&server, 1).await;
    no_verdict(&mut events);
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
}
