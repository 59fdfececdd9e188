//! Sentinels: who is the primary, and what a client does while that changes.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, ErrorKind, Event};
use romaine_faultlab::{SentinelSetup, Sentinels};

use crate::support::{PATIENCE, PROMISE, Writer, background, config, connect, event, node, now, within, written};

async fn setup() -> Sentinels {
    SentinelSetup::new().start().await.unwrap()
}

#[tokio::test]
async fn commands_go_to_the_primary_that_the_sentinels_name() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    client.set("key", "value").await.unwrap();
    assert_eq!(client.get::<String>("key").await.unwrap().as_deref(), Some("value"));
    let port: Vec<String> = client.config_get(["port"]).await.unwrap().into_values().collect();
    assert_eq!(port, [lab.primary().await.unwrap().port().to_string()]);
    client.close().await;
}

// S0, F11
#[tokio::test]
async fn writes_go_on_at_the_new_primary_when_the_old_one_is_killed() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    let mut events = client.events();
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    old.kill();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", writer.works()).await;
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    let (from, to) = event(&mut events, "the failover", |event| match event {
        Event::Failover { from, to } => Some((from.clone(), to.clone())),
        _ => None,
    })
    .await;
    assert_eq!((&*from, &*to), (&*node(&old), &*node(&new)));
    writer.stop().await;
}

// Lettuce #872, #1293
#[tokio::test]
async fn a_frozen_primary_is_left_as_soon_as_another_was_promoted() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    old.freeze().await.unwrap();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", writer.works()).await;
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    old.thaw().unwrap();
    within(PATIENCE, "a write", writer.works()).await;
    writer.stop().await;
}

// The old primary accepts writes for ten seconds more, and loses them.
#[tokio::test]
async fn acknowledged_writes_survive_a_failover_with_the_old_primary_alive() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PATIENCE, "a write", writer.works()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (acknowledged, errors) = writer.stop().await;
    let kept = written(&client, 1).await;
    assert!(kept + 3 >= acknowledged, "{acknowledged} acknowledged, {kept} kept, errors: {errors:?}");
}

// Case 66
#[tokio::test]
async fn without_any_sentinel_and_with_an_unknown_name_connecting_fails_in_bounded_time() {
    let error = within(PATIENCE, "the error", Client::connect("redis-sentinel://127.0.0.1:1,127.0.0.1:2/mymaster"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    let lab = setup().await;
    let url = lab.url().replace("/mymaster", "/nobody");
    let error = within(PATIENCE, "the error", Client::connect(config(&url))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(format!("{error}").contains("nobody"), "{error}");
}

// S1, F11
#[tokio::test]
async fn a_consumer_moves_to_the_new_primary() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    let consumer = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let old = lab.primary().await.unwrap();
    old.kill();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    let element = within(PATIENCE, "the element", consumer).await.unwrap().unwrap().unwrap();
    assert_eq!(element.1, "one");
}

// S0: the events were missed while the watch was down.
#[tokio::test]
async fn a_subscriber_moves_to_the_new_primary_and_is_told_of_the_gap() {
    let lab = setup().await;
    let client = connect(&lab.url()).await;
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    let old = lab.primary().await.unwrap();
    old.freeze().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let gap = async {
        loop {
            if let romaine::Incoming::Resumed { topic } = subscription.next().await.unwrap() {
                return topic;
            }
        }
    };
    assert_eq!(&within(PATIENCE, "the gap", gap).await[..], b"news");
    new.command(&["PUBLISH", "news", "hello"]).await.unwrap();
    let message = within(PATIENCE, "the message", subscription.next_message()).await.unwrap();
    assert_eq!(&message.payload[..], b"hello");
}

// The same with many callers, two threads, and reads at the replicas, of which the old primary is one at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_back_during_a_failover_is_never_given_to_the_old_primary() {
    let lab = setup().await;
    let reading = config(&lab.url()).read_from(romaine::ReadFrom::ReplicaPreferred);
    let client = within(PATIENCE, "the connection", Client::connect(reading)).await.unwrap();
    let writers: Vec<_> = (0..10).map(|_| Writer::start(&client, 1)).collect();
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    for writer in &writers {
        within(PATIENCE, "a write", writer.works()).await;
    }
    // Until the old one is demoted, ten seconds later, it would take writes.
    romaine_faultlab::eventually(PATIENCE, "the demotion", async || {
        old.command(&["ROLE"]).await.is_ok_and(|role| role.text().starts_with("slave"))
    })
    .await
    .unwrap();
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += writer.stop().await.0;
    }
    let kept: u64 = new.command(&["GET", "key:0"]).await.unwrap().text().parse().unwrap();
    assert!(kept + 3 >= acknowledged, "{acknowledged} acknowledged, {kept} kept");
}
