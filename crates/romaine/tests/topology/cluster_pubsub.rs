//! Subscriptions in a Cluster: at the node where their messages are, and told when they were not.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, ErrorKind, Incoming, Subscription};
use romaine_faultlab::{Cluster, FailoverKind, Server, slot_of};

use crate::cluster_lab::{
    connect_with, connections, key_between, key_of_each, named, other_primary, wait_for_connections,
};
use crate::support::{PATIENCE, background, config, connect, within};

/// Gap, then Resumed; messages before are stepped over.
async fn interrupted(subscription: &mut Subscription) {
    let waiting = async {
        let mut gap = false;
        loop {
            match subscription.next().await.expect("it goes on") {
                Incoming::Gap { since, until, .. } => {
                    assert!(since <= until);
                    gap = true;
                }
                Incoming::Resumed { .. } => {
                    assert!(gap, "no gap was told before");
                    return;
                }
                Incoming::Message(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    within(PATIENCE, "the gap's end", waiting).await;
}

/// Has a node publish until one arrives: what nodes forward to each other is lost where a link of theirs is made anew.
async fn hears(subscription: &mut Subscription, node: &Server, payload: &str) {
    let hearing = async {
        loop {
            node.command(&["PUBLISH", "news", payload]).await.unwrap();
            let next = tokio::time::timeout(Duration::from_millis(50), subscription.next_message()).await;
            if next.is_ok_and(|message| message.is_some_and(|message| message.payload == payload.as_bytes())) {
                return;
            }
        }
    };
    within(PATIENCE, payload, hearing).await;
}

async fn receives(subscription: &mut Subscription, payload: &str) {
    let waiting = async {
        loop {
            match subscription.next().await.expect("it goes on") {
                Incoming::Message(message) if message.payload == payload.as_bytes() => return,
                Incoming::Message(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    within(PATIENCE, payload, waiting).await;
}

/// Publishes until one arrives: a replica confirms a shard channel too, so that it may move once more.
async fn flows(client: &Client, subscription: &mut Subscription, channel: &str) {
    let flowing = async {
        loop {
            client.spublish(channel, "flows").no_timeout().await.unwrap();
            let next = tokio::time::timeout(Duration::from_millis(50), subscription.next_message()).await;
            if next.is_ok_and(|message| message.is_some_and(|message| &message.payload[..] == b"flows")) {
                return;
            }
        }
    };
    within(PATIENCE, "a message", flowing).await;
}

// Case 101, Lettuce #3213
#[tokio::test]
async fn a_shard_channel_follows_its_slot_and_tells_the_gap() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut subscription = client.ssubscribe(["orders"]).await.unwrap();
    // One of another slot stays where it is, undisturbed.
    let quiet = key_between(0, 5_000);
    assert_ne!(slot_of(&quiet), slot_of("orders"));
    assert_eq!(client.spublish("orders", "one").await.unwrap(), 1);
    receives(&mut subscription, "one").await;
    let other = other_primary(&lab, "orders").await;
    lab.migrate_slot(slot_of("orders"), &other).await.unwrap();
    interrupted(&mut subscription).await;
    assert_eq!(client.spublish("orders", "two").await.unwrap(), 1);
    receives(&mut subscription, "two").await;
    for kind in [FailoverKind::Manual, FailoverKind::Takeover] {
        lab.wait_until_settled().await.unwrap();
        let replica = lab.replica_of("orders").await.unwrap();
        lab.failover(&replica, kind).await.unwrap();
        interrupted(&mut subscription).await;
        flows(&client, &mut subscription, "orders").await;
    }
    client.close().await;
}

// In a Cluster of its own: see the consumer whose primary dies, in `cluster_blocking`.
#[tokio::test]
async fn a_shard_channel_follows_its_slot_when_its_primary_dies() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut subscription = client.ssubscribe(["orders"]).await.unwrap();
    let primary = lab.primary_of("orders").await.unwrap();
    primary.kill();
    lab.wait_for_new_primary("orders", primary.address()).await.unwrap();
    interrupted(&mut subscription).await;
    flows(&client, &mut subscription, "orders").await;
    client.close().await;
}

#[tokio::test]
async fn shard_channels_of_several_slots_are_one_subscription() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let channels: Vec<String> = key_of_each(&lab, "channel").await.into_iter().map(|(_, key)| key).collect();
    let mut subscription = client.ssubscribe(channels.clone()).await.unwrap();
    for channel in &channels {
        assert_eq!(client.spublish(&**channel, channel.as_str()).await.unwrap(), 1);
        receives(&mut subscription, channel).await;
    }
    drop(subscription);
    let none = async {
        for channel in &channels {
            while client.spublish(&**channel, "x").await.unwrap() > 0 {}
        }
    };
    within(PATIENCE, "the end of the subscription", none).await;
    client.close().await;
}

// A slot that nobody serves for a while: what was missed then was missed.
#[tokio::test]
async fn a_shard_channel_whose_slot_had_no_owner_for_a_while_tells_the_gap() {
    let lab = Cluster::builder()
        .replicas(0)
        .server(Server::builder().config_line("cluster-require-full-coverage no"))
        .start()
        .await
        .unwrap();
    let settings = config(&lab.url()).refresh_every(Duration::from_millis(100));
    let client = connect_with(settings).await;
    let mut subscription = client.ssubscribe(["orders"]).await.unwrap();
    let owner = lab.primary_of("orders").await.unwrap();
    let other = other_primary(&lab, "orders").await;
    let slot = slot_of("orders").to_string();
    for node in lab.nodes() {
        node.command(&["CLUSTER", "DELSLOTS", &slot]).await.unwrap();
    }
    let nobody = async {
        while client.nodes().iter().map(|node| node.slots).sum::<usize>() == 16_384 {
            tokio::task::yield_now().await;
        }
    };
    within(PATIENCE, "the loss", nobody).await;
    assert!(owner.is_up());
    for node in lab.nodes() {
        let id = lab.id_of(&other).await.unwrap();
        if node.address() == other.address() {
            node.command(&["CLUSTER", "ADDSLOTS", &slot]).await.unwrap();
            node.command(&["CLUSTER", "BUMPEPOCH"]).await.unwrap();
        } else {
            node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await.unwrap();
        }
    }
    interrupted(&mut subscription).await;
    other.command(&["SPUBLISH", "orders", "hello"]).await.unwrap();
    receives(&mut subscription, "hello").await;
    client.close().await;
}

// Lettuce #1317: the node of the ordinary subscriptions dies, and nobody takes its place.
#[tokio::test]
async fn ordinary_channels_and_patterns_survive_their_node() {
    let lab = Cluster::builder()
        .replicas(0)
        .server(Server::builder().config_line("cluster-require-full-coverage no"))
        .start()
        .await
        .unwrap();
    let client = connect_with(named(&lab.url())).await;
    let mut channel = client.subscribe(["news"]).await.unwrap();
    let home = home_of(&lab, &["PUBSUB", "NUMSUB", "news"]).await;
    let mut pattern = client.psubscribe(["new*"]).await.unwrap();
    let pattern_home = home_of(&lab, &["PUBSUB", "NUMPAT"]).await;
    for node in lab.primaries().await {
        let from = format!("from {}", node.address());
        hears(&mut channel, &node, &from).await;
        hears(&mut pattern, &node, &from).await;
    }
    home.kill();
    interrupted(&mut channel).await;
    if pattern_home.address() == home.address() {
        interrupted(&mut pattern).await;
    }
    let alive = lab.primaries().await.remove(0);
    hears(&mut channel, &alive, "after").await;
    hears(&mut pattern, &alive, "after").await;
    // A new one goes where somebody is.
    for _ in 0..6 {
        drop(within(Duration::from_secs(3), "a subscription", client.subscribe(["other"])).await.unwrap());
    }
    client.close().await;
}

/// The node whose answer has a count.
async fn home_of(lab: &Cluster, question: &[&str]) -> std::sync::Arc<Server> {
    for node in lab.primaries().await {
        if format!("{:?}", node.command(question).await.unwrap()).contains("Int(1)") {
            return node;
        }
    }
    panic!("nobody has it");
}

async fn notify_everywhere(lab: &Cluster) {
    for node in lab.nodes() {
        node.command(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]).await.unwrap();
    }
}

// Lettuce #385
#[tokio::test]
async fn events_of_keys_come_from_every_primary_also_from_one_that_is_promoted_or_joins() {
    let lab = Cluster::start().await.unwrap();
    notify_everywhere(&lab).await;
    let client = connect(&lab.url()).await;
    let mut events = client.psubscribe(["__keyevent@0__:set"]).await.unwrap();
    let keys = key_of_each(&lab, "k").await;
    for (_, key) in &keys {
        client.set(&**key, 1).await.unwrap();
        receives(&mut events, key).await;
    }
    let (old, key) = keys[0].clone();
    old.kill();
    lab.wait_for_new_primary(&key, old.address()).await.unwrap();
    interrupted(&mut events).await;
    for (_, key) in &keys {
        client.set(&**key, 2).await.unwrap();
        receives(&mut events, key).await;
    }
    // One that had no slots gets one.
    old.restart().await.unwrap();
    notify_everywhere(&lab).await;
    lab.wait_until_settled().await.unwrap();
    for server in lab.primaries().await {
        let replicas = lab.replicas_of(&server).await.unwrap();
        for replica in replicas.iter().filter(|replica| replica.address() == old.address()) {
            replica.command(&["CLUSTER", "RESET", "SOFT"]).await.unwrap();
        }
    }
    let meet = |node: &Server| {
        let (ip, port) = (node.address().ip().to_string(), node.port().to_string());
        let bus = node.bus_port().unwrap().to_string();
        (ip, port, bus)
    };
    let (ip, port, bus) = meet(&keys[1].0);
    old.command(&["CLUSTER", "MEET", &ip, &port, &bus]).await.unwrap();
    let joined = async {
        while lab.view_of(&old).await.unwrap().iter().filter(|node| !node.is("handshake")).count() < 6 {}
        while lab.view_of(&keys[2].0).await.unwrap().iter().all(|node| node.address != Some(old.address())) {}
        while !old.command(&["CLUSTER", "INFO"]).await.unwrap().text().contains("cluster_state:ok") {}
    };
    within(PATIENCE, "the node's joining", joined).await;
    lab.migrate_slot(slot_of(&keys[1].1), &old).await.unwrap();
    let mut had_gap = false;
    let heard = async {
        loop {
            client.set(&*keys[1].1, 3).await.unwrap();
            match tokio::time::timeout(Duration::from_millis(100), events.next()).await {
                Ok(Some(Incoming::Gap { .. })) => had_gap = true,
                Ok(Some(Incoming::Message(message))) if message.payload == keys[1].1.as_bytes() => return,
                _ => {}
            }
        }
    };
    within(PATIENCE, "an event of the new primary", heard).await;
    assert!(had_gap, "what it did before it was known to have a slot was not heard");
    client.close().await;
}

// The connections are those that are needed, and no more.
#[tokio::test]
async fn subscriptions_share_one_connection_for_each_node() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let keys = key_of_each(&lab, "k").await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        for (_, key) in &keys {
            kept.push(client.ssubscribe([&**key]).await.unwrap());
        }
        kept.push(client.psubscribe(["__keyspace@0__:*"]).await.unwrap());
        kept.push(client.subscribe(["news"]).await.unwrap());
    }
    for (node, _) in &keys {
        wait_for_connections(node, 2).await;
    }
    client.close().await;
    for node in lab.nodes() {
        wait_for_connections(node, 0).await;
    }
}

// A client that starts while nobody is there.
#[tokio::test]
async fn a_subscription_that_is_asked_for_before_the_cluster_is_known_waits_for_it() {
    let lab = Cluster::start().await.unwrap();
    for node in lab.nodes() {
        node.freeze().await.unwrap();
    }
    let client = Client::connect(named(&lab.url()).lazy()).await.unwrap();
    let asked = background({
        let client = client.clone();
        async move { client.ssubscribe(["orders"]).await }
    });
    let error = client.get::<String>("key").timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    for node in lab.nodes() {
        node.thaw().unwrap();
    }
    let mut subscription = within(PATIENCE, "the subscription", asked).await.unwrap().unwrap();
    within(PATIENCE, "a message", async {
        while client.spublish("orders", "hello").await.unwrap_or(0) == 0 {}
        receives(&mut subscription, "hello").await;
    })
    .await;
    assert!(connections(&lab.primary_of("orders").await.unwrap()).await >= 2);
    client.close().await;
}
