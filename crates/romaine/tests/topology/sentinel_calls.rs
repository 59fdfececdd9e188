//! What callers see while the primary's role moves: pipelines, transactions, scripts, WATCH, blocked calls, health.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Delivery, Event, ReadFrom, Script, Status};
use romaine_faultlab::{SentinelSetup, Sentinels, Server, eventually};
use std::sync::Arc;

use crate::support::{PATIENCE, PROMISE, background, config, connect, event, node, now, within};

/// The role moves, the old primary lives on: a `SENTINEL FAILOVER`.
async fn failover(lab: &Sentinels) -> (Arc<Server>, Arc<Server>) {
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    (old, new)
}

async fn port_of(client: &Client) -> String {
    client.config_get(["port"]).await.unwrap().into_values().next().unwrap()
}

async fn arrived(client: &Client, at: &Server) {
    eventually(PATIENCE, "the client at the new primary", async || port_of(client).await == at.port().to_string())
        .await
        .unwrap();
}

// Case 106: a transaction is executed as a whole or not at all, whatever happens under it.
#[tokio::test]
async fn pipelines_transactions_scripts_and_watch_go_on_over_a_failover_and_nothing_is_half_done() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    client.set("watched", 0).await.unwrap();
    let mut events = client.events();
    let working = background({
        let client = client.clone();
        async move {
            let script = Script::new("return redis.call('INCR', KEYS[1])");
            let (mut errors, mut rounds) = (Vec::new(), 0_u64);
            let began = now();
            while now() - began < Duration::from_secs(16) {
                let mut pipeline = client.pipeline();
                let (one, two) = (pipeline.incr("piped"), pipeline.incr("piped"));
                match pipeline.execute().await {
                    Ok(mut replies) => {
                        errors.extend(replies.take(one).err());
                        errors.extend(replies.take(two).err());
                    }
                    Err(error) => errors.push(error),
                }
                let mut transaction = client.transaction();
                let (one, two) = (transaction.incr("left"), transaction.incr("right"));
                match transaction.execute().await {
                    Ok(mut replies) => {
                        errors.extend(replies.take(one).err());
                        errors.extend(replies.take(two).err());
                    }
                    Err(error) => errors.push(error),
                }
                errors.extend(client.script::<i64>(&script, ["scripted"], [0; 0]).await.err());
                let watched = client.watch(["watched"], async |connection, transaction| {
                    let value: Option<i64> = connection.get("watched").await?;
                    let _ticket = transaction.issue(romaine::command::set("watched", value.unwrap_or(0) + 1));
                    Ok(())
                });
                errors.extend(watched.await.err());
                rounds += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (rounds, errors)
        }
    });
    tokio::task::yield_now().await;
    let (old, new) = failover(&lab).await;
    event(&mut events, "the failover", |event| matches!(event, Event::Failover { .. }).then_some(())).await;
    // Until the old one is demoted too: ten seconds later.
    eventually(PATIENCE, "the demotion", async || {
        old.command(&["ROLE"]).await.is_ok_and(|role| role.text().starts_with("slave"))
    })
    .await
    .unwrap();
    let (rounds, errors) = within(PATIENCE, "the end of the work", working).await.unwrap();
    let value = async |key: &str| new.command(&["GET", key]).await.unwrap().text().parse::<u64>().unwrap_or(0);
    assert_eq!(value("left").await, value("right").await, "half a transaction");
    // What was unanswered at the moment of the move is told as unknown; nothing else goes wrong.
    assert!(errors.iter().all(|error| error.delivery() == Delivery::Unknown), "{errors:?}");
    assert!(errors.len() <= 4, "{errors:?}");
    for key in ["piped", "left", "scripted", "watched"] {
        let each = if key == "piped" { 2 } else { 1 };
        assert!(value(key).await + 3 * each + 4 >= rounds * each, "{key}: {} of {rounds}", value(key).await);
    }
}

#[tokio::test]
async fn an_exclusive_connection_ends_with_the_role_and_says_so() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let exclusive = client.exclusive().await.unwrap();
    exclusive.set("key", "value").await.unwrap();
    let (_, new) = failover(&lab).await;
    arrived(&client, &new).await;
    let error = exclusive.set("key", "value").await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (romaine::ErrorKind::Closed, Delivery::NotSent), "{error:?}");
    let another = client.exclusive().await.unwrap();
    another.set("key", "another").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "another");
}

// Cases 74 and 106: the transaction is the primary's even when reads are not.
#[tokio::test]
async fn transactions_and_scripts_that_write_go_to_the_primary_when_reads_go_to_replicas() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = within(PATIENCE, "the connection", Client::connect(config(&lab.url()).read_from(ReadFrom::Replica)));
    let client = client.await.unwrap();
    let primary = lab.primary().await.unwrap();
    for n in 0..20 {
        let mut transaction = client.transaction();
        let (set, get) = (transaction.set("key", n), transaction.get::<i64>("key"));
        let mut replies = transaction.execute().await.unwrap();
        replies.take(set).unwrap();
        assert_eq!(replies.take(get).unwrap(), Some(n));
        let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])");
        assert_eq!(client.script::<i64>(&script, ["scripted"], [n]).await.unwrap(), n);
        let mut pipeline = client.pipeline();
        let (set, get) = (pipeline.set("piped", n), pipeline.get::<i64>("piped"));
        let mut replies = pipeline.execute().await.unwrap();
        replies.take(set).unwrap();
        assert_eq!(replies.take(get).unwrap(), Some(n));
        let (_, seen) = client
            .watch(["key"], async |connection, transaction| {
                let seen: Option<i64> = connection.get("key").await?;
                let _ticket = transaction.issue(romaine::command::set("watched", n));
                Ok(seen)
            })
            .await
            .unwrap();
        assert_eq!(seen, Some(n), "what is watched is read where it is watched");
    }
    assert_eq!(primary.command(&["GET", "watched"]).await.unwrap().text(), "19");
}

// The old primary is demoted under a blocked call, which it unblocks or whose connection Sentinel closes.
#[tokio::test]
async fn a_consumer_goes_on_at_the_new_primary_and_its_ghost_on_the_old_one_is_fenced() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut events = client.events();
    let consumer = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let old = lab.primary().await.unwrap();
    blocked_at(&old, 1).await;
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    let verdict = event(&mut events, "the ghost's end", |event| match event {
        Event::GhostFenced { verdict, .. } => Some(*verdict),
        _ => None,
    })
    .await;
    assert!(!verdict.may_have_lost(), "it was asked while the connection lived: {verdict:?}");
    blocked_at(&new, 1).await;
    assert!(now() - failed_over < Duration::from_secs(4), "{:?}", now() - failed_over);
    blocked_at(&old, 0).await;
    let role = old.command(&["ROLE"]).await.unwrap().text();
    assert!(role.starts_with("master"), "the ghost could still have taken something: {role}");
    new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    let element = within(PROMISE, "the element", consumer).await.unwrap().unwrap().unwrap();
    assert_eq!(element.1, "one");
}

// UNBLOCKED: roles are swapped by hand, and nobody closes anything.
#[tokio::test]
async fn a_consumer_that_is_unblocked_by_a_change_of_role_goes_on_at_the_new_primary() {
    let lab = romaine_faultlab::Replicated::builder().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let consumer = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let (old, new) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap().remove(0));
    blocked_at(&old, 1).await;
    lab.promote(&new).await.unwrap();
    let promoted = now();
    blocked_at(&new, 1).await;
    assert!(now() - promoted < Duration::from_secs(4), "{:?}", now() - promoted);
    new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    let element = within(PROMISE, "the element", consumer).await.unwrap().unwrap().unwrap();
    assert_eq!(element.1, "one");
}

// The old primary cannot be asked what became of the ghost: the consumer goes on, and it is told what may be lost.
#[tokio::test]
async fn a_consumer_leaves_a_frozen_primary_within_seconds_and_is_told_what_may_be_lost() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut events = client.events();
    let consumer = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let old = lab.primary().await.unwrap();
    blocked_at(&old, 1).await;
    old.freeze().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    blocked_at(&new, 1).await;
    assert!(now() - failed_over < Duration::from_secs(6), "{:?}", now() - failed_over);
    event(&mut events, "the warning", |event| matches!(event, Event::ElementMayBeLost { .. }).then_some(())).await;
    new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    let element = within(PROMISE, "the element", consumer).await.unwrap().unwrap().unwrap();
    assert_eq!(element.1, "one");
    // The ghost is ended as soon as the old one can be reached again.
    old.thaw().unwrap();
    event(&mut events, "the ghost's end", |event| matches!(event, Event::GhostFenced { .. }).then_some(())).await;
}

async fn blocked_at(server: &Server, count: usize) {
    eventually(PATIENCE, "the blocked client", async || {
        let info = server.command(&["INFO", "clients"]).await.unwrap().text();
        info.contains(&format!("blocked_clients:{count}\r"))
    })
    .await
    .unwrap();
}

// P10: what happens is told in its order, and health and `connected` do not lag behind it.
#[tokio::test]
async fn events_health_and_connected_tell_of_a_failover() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    assert!(client.health().borrow().is_connected());
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    old.kill();
    let mut health = client.health();
    within(PATIENCE, "the loss", health.wait_for(|health| health.status == Status::Disconnected)).await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PROMISE, "the connection", client.connected()).await.unwrap();
    assert_eq!(client.health().borrow().node.as_deref(), Some(&*node(&new)));
    let mut told = Vec::new();
    while !told.contains(&"verified") {
        let what = event(&mut events, "the events of a failover", |event| match event {
            Event::Failover { from, to } => {
                assert_eq!((&**from, &**to), (&*node(&old), &*node(&new)));
                Some("failover")
            }
            Event::TopologyChanged { before, after } => {
                let primary = |nodes: &[romaine::TopologyNode]| {
                    nodes.iter().find(|node| node.role == romaine::NodeRole::Primary).map(|node| node.node.clone())
                };
                // Before it comes one for the replicas that Sentinel counts out.
                (primary(before) != primary(after)).then_some("changed")
            }
            Event::RoleVerified { node: at } if **at == *node(&new) => Some("verified"),
            _ => None,
        })
        .await;
        told.push(what);
    }
    assert_eq!(told, ["failover", "changed", "verified"]);
}

// A replica that was read from is connected already when it becomes the primary: nothing but the map changes.
#[tokio::test]
async fn health_is_right_when_the_new_primary_was_read_from_before() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let reading = config(&lab.url()).read_from(ReadFrom::ReplicaPreferred);
    let client = within(PATIENCE, "the connection", Client::connect(reading)).await.unwrap();
    client.set("key", "value").await.unwrap();
    for _ in 0..20 {
        let _read: Option<String> = client.get("key").await.unwrap();
    }
    let old = lab.primary().await.unwrap();
    old.kill();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
    within(PROMISE, "the connection", client.connected()).await.unwrap();
    let health = client.health().borrow().clone();
    assert_eq!((health.status, health.node.as_deref()), (Status::Connected, Some(&*node(&new))));
}

// P4: patterns move as channels do, and a subscriber of the old primary that lives is not left there.
#[tokio::test]
async fn subscriptions_leave_an_old_primary_that_lives_and_are_told_of_the_gap() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut channel = client.subscribe(["news"]).await.unwrap();
    let mut pattern = client.psubscribe(["new?"]).await.unwrap();
    let (old, new) = failover(&lab).await;
    for subscription in [&mut channel, &mut pattern] {
        let resumed = async {
            let mut gaps = 0;
            loop {
                match subscription.next().await.unwrap() {
                    romaine::Incoming::Gap { .. } => gaps += 1,
                    romaine::Incoming::Resumed { .. } => return gaps,
                    _ => {}
                }
            }
        };
        assert_eq!(within(PATIENCE, "the resumption", resumed).await, 1);
    }
    new.command(&["PUBLISH", "news", "hello"]).await.unwrap();
    for subscription in [&mut channel, &mut pattern] {
        let message = within(PATIENCE, "the message", subscription.next_message()).await.unwrap();
        assert_eq!(&message.payload[..], b"hello");
    }
    let left = old.command(&["PUBSUB", "NUMSUB", "news"]).await.unwrap().text();
    assert_eq!(left, "news\n0");
}
