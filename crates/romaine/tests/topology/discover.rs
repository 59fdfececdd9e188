//! A primary and its replicas without Sentinel.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Event, ReadFrom};
use romaine_faultlab::{Replicated, Server, eventually};

use crate::support::{PATIENCE, PROMISE, Writer, background, config, connect, event, node, now, within};

fn url_of(servers: &[&Server]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    format!("redis://{}?role=discover", addresses.join(","))
}

async fn port_of(client: &Client) -> String {
    client.config_get(["port"]).await.unwrap().into_values().next().unwrap()
}

// Case 77, hole 29 (Lettuce #338): roles are swapped, nobody tells.
#[tokio::test]
async fn the_primary_is_found_and_found_again_when_roles_are_swapped() {
    let lab = Replicated::builder().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let replica = lab.replicas().await.unwrap().remove(0);
    lab.promote(&replica).await.unwrap();
    within(PATIENCE, "a write", writer.works()).await;
    let value: Option<u64> = client.get("key:0").await.unwrap();
    assert!(value.is_some());
    let (_, errors) = writer.stop().await;
    assert!(errors.is_empty(), "{errors:?}");
}

// Case 77: there and back again, and each time a write works within the promise.
#[tokio::test]
async fn roles_that_are_swapped_again_and_again_are_followed() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    for turn in 0..6 {
        let new = lab.replicas().await.unwrap().remove(turn % 2);
        lab.promote(&new).await.unwrap();
        let promoted = now();
        eventually(PATIENCE, "the client there", async || port_of(&client).await == new.port().to_string())
            .await
            .unwrap();
        within(PATIENCE, "a write", writer.works()).await;
        assert!(now() - promoted < PROMISE, "turn {turn}: {:?}", now() - promoted);
        lab.wait_until_linked().await.unwrap();
    }
    let (_, errors) = writer.stop().await;
    assert!(errors.is_empty(), "{errors:?}");
}

// Case 77: only the primary is named.
#[tokio::test]
async fn a_primary_alone_is_served_and_a_list_of_replicas_is_read_from() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let primary = lab.primary().await.unwrap();
    let client = connect(&url_of(&[&primary])).await;
    client.set("key", "value").await.unwrap();
    lab.wait_until_linked().await.unwrap();
    let replicas = lab.replicas().await.unwrap();
    eventually(PATIENCE, "the replication", async || {
        replicas[0].command(&["GET", "key"]).await.unwrap().text() == "value"
    })
    .await
    .unwrap();
    let error = Client::connect(config(&url_of(&[&replicas[0], &replicas[1]]))).await.unwrap_err();
    assert_eq!(error.kind(), romaine::ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("primary"), "{error}");
}

// Case 76
#[tokio::test]
async fn a_dead_replica_is_no_obstacle_at_the_start() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    lab.replicas().await.unwrap()[0].kill();
    lab.replicas().await.unwrap()[1].freeze().await.unwrap();
    let client = connect(&lab.url()).await;
    client.set("key", "value").await.unwrap();
}

// Case 76: the replicas name their primary; it is dead, and they can be read all the same.
#[tokio::test]
async fn with_the_primary_dead_at_the_start_the_replicas_are_read_and_writes_wait_for_a_primary() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let (primary, replicas) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap());
    primary.command(&["SET", "key", "value"]).await.unwrap();
    primary.command(&["WAIT", "2", "5000"]).await.unwrap();
    primary.kill();
    let client = Client::connect(config(&lab.url()).read_from(ReadFrom::ReplicaPreferred).lazy()).await.unwrap();
    let value: Option<String> = within(PATIENCE, "the value", client.get("key")).await.unwrap();
    assert_eq!(value.as_deref(), Some("value"));
    let writing = background({
        let client = client.clone();
        async move { client.set("key", "another").timeout(PATIENCE).await }
    });
    lab.promote(&replicas[0]).await.unwrap();
    within(PATIENCE, "the write", writing).await.unwrap().unwrap();
    assert_eq!(replicas[0].command(&["GET", "key"]).await.unwrap().text(), "another");
}

// Hole 22's kin without Sentinel: an operator promotes while the old primary is frozen.
#[tokio::test]
async fn a_frozen_primary_is_left_when_another_is_promoted_by_hand() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let (old, replicas) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap());
    old.freeze().await.unwrap();
    // It goes on answering nothing for a while before somebody acts: the client is looking already.
    let mut events = client.events();
    event(&mut events, "the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    replicas[0].command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let promoted = now();
    within(PATIENCE, "a write", writer.works()).await;
    // Each question waits for the frozen one, a second and a half.
    assert!(now() - promoted < Duration::from_secs(4), "{:?}", now() - promoted);
    writer.stop().await;
}

// Two that say they are it: the old one came back alone.
#[tokio::test]
async fn of_two_primaries_the_one_that_is_followed_is_believed() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let (old, replicas) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap());
    let client = connect(&lab.url()).await;
    let mut events = client.events();
    old.kill();
    lab.promote(&replicas[0]).await.unwrap();
    eventually(PATIENCE, "the client at the new one", async || {
        let port = client.config_get(["port"]).await;
        port.is_ok_and(|port| port.into_values().any(|port| port == replicas[0].port().to_string()))
    })
    .await
    .unwrap();
    event(&mut events, "the failover", |event| matches!(event, Event::Failover { .. }).then_some(())).await;
    old.restart().await.unwrap();
    let client = connect(&lab.url()).await;
    assert_eq!(port_of(&client).await, replicas[0].port().to_string());
    assert_eq!(client.nodes()[0].node, node(&replicas[0]).into());
}

// Case 95 without Sentinel: demoted, and nobody is promoted for a while.
#[tokio::test]
async fn without_any_primary_nobody_is_stormed_and_writes_go_on_when_there_is_one() {
    let lab = Replicated::builder().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let (old, other) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap().remove(0));
    // A circle: both are replicas.
    old.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await.unwrap();
    let made = async || {
        let info = old.command(&["INFO", "stats"]).await.unwrap().text();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    let mut events = client.events();
    let before = made().await;
    let began = now();
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            background(async move { client.incr(format!("key:{n}")).timeout(PATIENCE).await })
        })
        .collect();
    while now() - began < Duration::from_secs(3) {
        event(&mut events, "an event", |_| Some(())).await;
    }
    // The client's own attempts, its questions about roles, and the other's attempts to follow in a circle.
    let connections = made().await - before;
    assert!(connections <= 60, "{connections} connections in three seconds");
    lab.promote(&other).await.unwrap();
    let promoted = now();
    for writer in writers {
        within(PATIENCE, "the write", writer).await.unwrap().unwrap();
    }
    assert!(now() - promoted < Duration::from_secs(4), "{:?}", now() - promoted);
}
