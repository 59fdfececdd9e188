//! Reading from replicas while they come, go and change their roles.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use romaine::commands::*;
use romaine::{Client, ErrorKind, Event, ReadFrom};
use romaine_faultlab::{Replicated, SentinelSetup, Server, eventually};

use crate::support::{PATIENCE, PROMISE, background, config, event, node, now, within};

/// A primary and two replicas that have `key`.
pub(crate) async fn lab_of_three() -> Replicated {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let primary = &lab.nodes()[0];
    primary.command(&["SET", "key", "value"]).await.unwrap();
    assert_eq!(primary.command(&["WAIT", "2", "5000"]).await.unwrap().as_int(), Some(2));
    lab
}

/// Forgets what was counted.
pub(crate) async fn reset(servers: &[Arc<Server>]) {
    for server in servers.iter().filter(|server| server.is_up()) {
        server.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    }
}

/// How many commands of that name a server was sent.
pub(crate) async fn counted(server: &Server, name: &str) -> u64 {
    let info = server.command(&["INFO", "commandstats"]).await.unwrap().text();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(name)?.strip_prefix(":calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Waits until the client can read from every node, or only from the primary.
pub(crate) async fn all_connected(client: &Client, lab: &Replicated, replicas: bool) {
    let wanted = if replicas { lab.nodes().len() } else { 1 };
    eventually(PATIENCE, "connections to all", async || {
        let mut connected = 0;
        for node in lab.nodes() {
            let list = node.command(&["CLIENT", "LIST"]).await.unwrap().text();
            connected += usize::from(list.lines().any(|line| line.contains("name=subject")));
        }
        connected >= wanted
    })
    .await
    .unwrap();
    // What the server has seen is ours a round trip later; a read of each shows it.
    for node in client.nodes().iter().take(wanted) {
        let _value: Option<String> = client.on(&node.node).unwrap().get("key").await.unwrap();
    }
}

async fn client_of(url: &str, from: ReadFrom) -> Client {
    let config = config(url).client_name("subject").unwrap().read_from(from);
    within(PATIENCE, "the connection", Client::connect(config)).await.unwrap()
}

async fn value(client: &Client) -> romaine::Result<Option<String>> {
    client.get("key").await
}

#[tokio::test]
async fn when_a_replica_dies_the_others_take_over_without_an_error() {
    let lab = lab_of_three().await;
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    all_connected(&client, &lab, true).await;
    reset(lab.nodes()).await;
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            background(async move {
                let began = now();
                while now() - began < Duration::from_secs(2) {
                    value(&client).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, romaine::Error>(())
            })
        })
        .collect();
    eventually(PATIENCE, "reads at the replica", async || counted(&lab.nodes()[1], "get").await > 10).await.unwrap();
    lab.nodes()[1].kill();
    for reader in readers {
        within(PATIENCE, "the reader", reader).await.unwrap().expect("a read is repeated at another replica");
    }
    assert_eq!(counted(&lab.nodes()[0], "get").await, 0);
    // And it is read from again when it is back.
    lab.nodes()[1].restart().await.unwrap();
    eventually(PATIENCE, "reads at the replica", async || {
        // It may still load what it missed.
        let _value = value(&client).await.unwrap();
        counted(&lab.nodes()[1], "get").await > 0
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_frozen_replica_holds_a_read_up_for_no_longer_than_its_detection() {
    let lab = lab_of_three().await;
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    all_connected(&client, &lab, true).await;
    lab.nodes()[1].freeze().await.unwrap();
    for _ in 0..50 {
        let began = now();
        value(&client).await.unwrap();
        assert!(now() - began < Duration::from_millis(2_500), "{:?}", now() - began);
    }
    lab.nodes()[1].thaw().unwrap();
}

// Case 75, without Sentinel.
#[tokio::test]
async fn without_a_replica_reading_from_one_is_a_clear_error_and_works_again_when_there_is_one() {
    let lab = Replicated::builder().start().await.unwrap();
    let (primary, replica) = (lab.nodes()[0].clone(), lab.nodes()[1].clone());
    primary.command(&["SET", "key", "value"]).await.unwrap();
    primary.command(&["WAIT", "1", "5000"]).await.unwrap();
    replica.kill();
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    let error = client.get::<String>("key").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(format!("{error}").contains("replica"), "{error}");
    // Writes do not need one.
    client.set("other", 1).await.unwrap();
    replica.restart().await.unwrap();
    lab.wait_until_linked().await.unwrap();
    let back = now();
    assert_eq!(client.get::<String>("key").timeout(PATIENCE).await.unwrap().as_deref(), Some("value"));
    assert!(now() - back < Duration::from_secs(4), "{:?}", now() - back);
}

// Case 75, with Sentinel, whose event tells that it is back.
#[tokio::test]
async fn with_sentinels_a_replica_that_is_back_is_read_from_again() {
    let lab = SentinelSetup::new().replicas(1).start().await.unwrap();
    let (primary, replica) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap().remove(0));
    primary.command(&["SET", "key", "value"]).await.unwrap();
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    replica.kill();
    eventually(PATIENCE, "the view without it", async || client.nodes().len() == 1).await.unwrap();
    let error = client.get::<String>("key").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert!(format!("{error}").contains("replica"), "{error}");
    let reading = background({
        let client = client.clone();
        async move { client.get::<String>("key").timeout(PATIENCE).await }
    });
    replica.restart().await.unwrap();
    assert_eq!(within(PATIENCE, "the read", reading).await.unwrap().unwrap().as_deref(), Some("value"));
    assert_eq!(counted(&primary, "get").await, 0);
}

#[tokio::test]
async fn preferences_fall_back_where_the_preferred_nodes_are_all_dead() {
    let lab = lab_of_three().await;
    let (primary, replicas) = (&lab.nodes()[0], &lab.nodes()[1..]);
    let prefers_replicas = client_of(&lab.url(), ReadFrom::ReplicaPreferred).await;
    let prefers_primary = client_of(&lab.url(), ReadFrom::PrimaryPreferred).await;
    for client in [&prefers_replicas, &prefers_primary] {
        all_connected(client, &lab, true).await;
    }
    replicas.iter().for_each(|replica| replica.kill());
    for client in [&prefers_replicas, &prefers_primary] {
        within(PROMISE, "the value", value(client)).await.unwrap();
    }
    for replica in replicas {
        replica.restart().await.unwrap();
    }
    lab.wait_until_linked().await.unwrap();
    eventually(PATIENCE, "reads at a replica", async || {
        value(&prefers_replicas).await.unwrap();
        value(&prefers_primary).await.unwrap();
        counted(&replicas[0], "get").await > 0
    })
    .await
    .unwrap();
    // The connections of the other client may need another moment; the primary's end moves its reads once they are there.
    primary.kill();
    for client in [&prefers_replicas, &prefers_primary] {
        within(Duration::from_secs(4), "the value", value(client)).await.unwrap();
    }
}

// Roles change: who is read from changes with them.
#[tokio::test]
async fn reads_and_writes_change_places_when_roles_are_swapped() {
    let lab = lab_of_three().await;
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    all_connected(&client, &lab, true).await;
    let new = lab.nodes()[1].clone();
    let mut events = client.events();
    lab.promote(&new).await.unwrap();
    client.set("key", "written").await.unwrap();
    event(&mut events, "the failover", |event| matches!(event, Event::Failover { .. }).then_some(())).await;
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "written");
    lab.wait_until_linked().await.unwrap();
    eventually(PATIENCE, "reads at the old primary", async || {
        let _value = value(&client).await.unwrap();
        counted(&lab.nodes()[0], "get").await > 0
    })
    .await
    .unwrap();
    reset(lab.nodes()).await;
    for _ in 0..40 {
        assert_eq!(value(&client).await.unwrap().as_deref(), Some("written"));
    }
    assert_eq!(counted(&new, "get").await, 0);
    assert!(counted(&lab.nodes()[0], "get").await > 0 && counted(&lab.nodes()[2], "get").await > 0);
}

// A cursor means something to the server that gave it only.
#[tokio::test]
async fn a_scan_stays_with_one_server_wherever_else_is_read_from() {
    let lab = lab_of_three().await;
    let primary = &lab.nodes()[0];
    primary.command(&["DEBUG", "POPULATE", "5000", "scanned"]).await.unwrap();
    assert_eq!(primary.command(&["WAIT", "2", "5000"]).await.unwrap().as_int(), Some(2));
    let client = client_of(&lab.url(), ReadFrom::Any).await;
    all_connected(&client, &lab, true).await;
    let mut found: Vec<String> = client.scan_all(Some("scanned:*")).try_collect().await.unwrap();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 5_000);
    for replica in &lab.nodes()[1..] {
        assert_eq!(counted(replica, "scan").await, 0);
    }
}

#[tokio::test]
async fn a_subscription_at_a_node_that_is_not_asked_for_any_more_ends() {
    let lab = lab_of_three().await;
    let client = client_of(&lab.url(), ReadFrom::Primary).await;
    let replica = lab.nodes()[1].address().to_string();
    let mut subscription = client.on(&replica).unwrap().subscribe(["news"]).await.unwrap();
    let end = within(PATIENCE, "the end", subscription.next()).await;
    assert!(end.is_none(), "{end:?}");
}

// Its connection for reading has never asked whether it is one.
#[tokio::test]
async fn a_replica_that_is_promoted_says_so_itself_before_it_is_written_to() {
    // By hand: a Sentinel closes the connections of those that it promotes.
    let lab = lab_of_three().await;
    let client = client_of(&lab.url(), ReadFrom::Replica).await;
    all_connected(&client, &lab, true).await;
    let mut events = client.events();
    let new = lab.replicas().await.unwrap().remove(0);
    lab.promote(&new).await.unwrap();
    event(&mut events, "its own word", |event| match event {
        Event::RoleVerified { node: verified } if **verified == node(&new) => Some(()),
        _ => None,
    })
    .await;
    client.set("key", "value").await.unwrap();
}
