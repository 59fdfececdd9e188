//! Failovers and migrations under load: no wrong reply, no error that need not be, and the right node soon.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Config, Delivery, ErrorKind, Event, Status};
use romaine_faultlab::{Cluster, FailoverKind, Server, eventually, slot_of};

use crate::cluster_lab::{Crowd, connect_with, key_between, key_of_each, named, wait_for_connections};
use crate::support::{PATIENCE, PROMISE, background, connect, event, node, now, within};

// Cases 85, 88: nobody is gone, so nobody need be told anything.
#[tokio::test]
async fn an_orderly_failover_under_the_load_of_many_callers_is_seen_by_none_of_them() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let mut events = client.events();
    let crowd = Crowd::start(&client, 24);
    crowd.goes_on(100).await;
    for _ in 0..2 {
        let old = lab.primary_of("key").await.unwrap();
        let replica = lab.replica_of("key").await.unwrap();
        lab.failover(&replica, FailoverKind::Manual).await.unwrap();
        let (from, to) = event(&mut events, "the failover", |event| match event {
            Event::Failover { from, to } => Some((from.clone(), to.clone())),
            _ => None,
        })
        .await;
        assert_eq!((&*from, &*to), (&*node(&old), &*node(&replica)));
        crowd.goes_on(100).await;
        lab.wait_until_settled().await.unwrap();
    }
    let findings = crowd.stop().await;
    assert!(findings.wrong.is_empty() && findings.errors.is_empty(), "{findings:?}");
    assert_eq!(client.health().borrow().status, Status::Connected);
    client.close().await;
}

// Case 88
#[tokio::test]
async fn force_and_takeover_under_load_give_no_wrong_reply_and_only_honest_errors() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let crowd = Crowd::start(&client, 12);
    crowd.goes_on(100).await;
    for kind in [FailoverKind::Force, FailoverKind::Takeover] {
        let replica = lab.replica_of("key").await.unwrap();
        lab.failover(&replica, kind).await.unwrap();
        let failed_over = now();
        within(PATIENCE, "a write", client.incr("key")).await.unwrap();
        assert!(now() - failed_over < PROMISE, "{kind:?}: {:?}", now() - failed_over);
        crowd.goes_on(100).await;
        lab.wait_until_settled().await.unwrap();
    }
    let findings = crowd.stop().await;
    assert_eq!(findings.wrong, Vec::<String>::new());
    for error in &findings.errors {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error:?}");
    }
    client.close().await;
}

// Case 85
#[tokio::test]
async fn slots_that_move_under_load_are_followed_without_an_error() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let crowd = Crowd::start(&client, 16);
    crowd.goes_on(100).await;
    let from = lab.primary_of("crowd:0:0").await.unwrap();
    let to = lab.primaries().await.into_iter().find(|other| other.address() != from.address()).unwrap();
    let owners = lab.owners().await;
    let is_there = |slot: &u16| owners.get(slot).is_some_and(|owner| owner.address() == from.address());
    let counters = (0..16).flat_map(|caller| (0..40).map(move |n| slot_of(&format!("count:{caller}:{n}"))));
    let mut slots: Vec<u16> = counters.filter(is_there).collect();
    slots.sort_unstable();
    slots.dedup();
    slots.truncate(25);
    let moved = slots.len();
    for slot in slots {
        lab.migrate_slot(slot, &to).await.unwrap();
    }
    assert!(moved > 5);
    crowd.goes_on(100).await;
    let findings = crowd.stop().await;
    assert!(findings.wrong.is_empty() && findings.errors.is_empty(), "{findings:?}");
    assert!(client.metrics().redirects > 0);
    client.close().await;
}

// Cases 81, 85: a slot in between, for as long as one likes.
#[tokio::test]
async fn keys_of_a_slot_on_its_way_are_found_at_either_end() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let key = |n: u32| format!("{{moving}}{n}");
    for n in 0..20 {
        client.set(key(n), n).await.unwrap();
    }
    let to = crate::cluster_lab::other_primary(&lab, "{moving}").await;
    let migration = lab.begin_migration(slot_of("{moving}"), &to).await.unwrap();
    migration.move_keys(10).await.unwrap();
    for n in 0..20 {
        assert_eq!(client.get::<u32>(key(n)).await.unwrap(), Some(n));
    }
    client.set(key(20), 20).await.unwrap();
    // Some here, some there: TRYAGAIN until they are together.
    let both = background({
        let (client, keys) = (client.clone(), (0..21).map(key).collect::<Vec<_>>());
        async move { client.mget::<u32>(keys).await }
    });
    let mut pipeline = client.pipeline();
    let tickets: Vec<_> = (0..21).map(|n| pipeline.get::<u32>(key(n))).collect();
    let wrong = pipeline.lpush(key(0), ["not a list"]);
    let mut replies = pipeline.execute().await.unwrap();
    for (n, ticket) in (0..).zip(tickets) {
        assert_eq!(replies.take(ticket).unwrap(), Some(n));
    }
    assert_eq!(replies.take(wrong).unwrap_err().server().unwrap().code(), "WRONGTYPE");
    while migration.move_keys(100).await.unwrap() > 0 {}
    migration.finish().await.unwrap();
    let values = within(PATIENCE, "all of them", both).await.unwrap().unwrap();
    assert_eq!(values, (0..21).map(Some).collect::<Vec<_>>());
    client.close().await;
}

// Case 94, Lettuce #1976
#[tokio::test]
async fn calls_in_flight_at_a_frozen_primary_end_by_their_deadline_and_the_others_flow() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let keys = key_of_each(&lab, "k").await;
    let (frozen, key) = keys[0].clone();
    frozen.freeze().await.unwrap();
    let began = now();
    let limit = Duration::from_millis(400);
    let write = client.incr(format!("{{{key}}}n")).timeout(limit);
    let error = within(PATIENCE, "the deadline", write).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown), "{error:?}");
    assert!(now() - began < Duration::from_secs(2));
    let read = background({
        let (client, key) = (client.clone(), key.clone());
        async move { client.get::<String>(key).no_timeout().await }
    });
    // The others, meanwhile: thousands of calls, none of which waits for the frozen one.
    let (mut slow, mut count) = (0, 0);
    let mut outage_was_seen = false;
    while lab.node_of_slot(slot_of(&key)).await.is_none_or(|owner| owner.address() == frozen.address()) {
        outage_was_seen |= client.health().borrow().status == Status::Disconnected;
        for (_, other) in &keys[1..] {
            for _ in 0..20 {
                let began = now();
                client.incr(&**other).await.unwrap();
                slow += u32::from(now() - began > Duration::from_millis(500));
                count += 1;
            }
        }
    }
    assert!(count > 500, "{count} calls");
    assert!(slow * 100 <= count, "{slow} of {count} took more than half a second");
    assert!(outage_was_seen);
    let failed_over = now();
    within(PATIENCE, "a write", client.incr(format!("{{{key}}}n"))).await.unwrap();
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    within(PATIENCE, "the read", read).await.unwrap().unwrap();
    within(PROMISE, "health", client.connected()).await.unwrap();
    frozen.thaw().unwrap();
    lab.wait_until_settled().await.unwrap();
    within(PATIENCE, "a write", client.incr(format!("{{{key}}}n"))).await.unwrap();
    wait_for_connections(&frozen, 0).await;
    client.close().await;
}

// Case 94, with the patience that is default: the frozen one need not be declared dead to be left.
#[tokio::test]
async fn a_frozen_primary_is_left_with_default_settings_too() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(Config::from_url(&lab.url()).unwrap()).await;
    let key = key_between(0, 5_000);
    client.incr(&*key).await.unwrap();
    let old = lab.primary_of(&key).await.unwrap();
    old.freeze().await.unwrap();
    let began = now();
    let reading = background({
        let (client, key) = (client.clone(), key.clone());
        async move { client.get::<i64>(key).no_timeout().await }
    });
    lab.wait_for_new_primary(&key, old.address()).await.unwrap();
    let failed_over = now();
    let works = async { while client.incr(&*key).timeout(Duration::from_millis(300)).await.is_err() {} };
    within(PATIENCE, "a write", works).await;
    assert!(now() - failed_over < PROMISE, "{:?} after {:?}", now() - failed_over, failed_over - began);
    within(PATIENCE, "the read", reading).await.unwrap().unwrap();
    old.thaw().unwrap();
    client.close().await;
}

// Health is the whole's: also where the promoted node was known before the map had it.
#[tokio::test]
async fn health_tells_of_one_shard_and_is_well_again_after_its_failover() {
    let lab = Cluster::start().await.unwrap();
    for reads in [romaine::ReadFrom::Primary, romaine::ReadFrom::Any] {
        let client = connect_with(named(&lab.url()).read_from(reads)).await;
        let mut health = client.health();
        let key = key_between(0, 5_000);
        let old = lab.primary_of(&key).await.unwrap();
        old.kill();
        let seen =
            within(PATIENCE, "the outage", health.wait_for(|health| health.status == Status::Disconnected)).await;
        assert!(seen.unwrap().last_error.is_some());
        lab.wait_for_new_primary(&key, old.address()).await.unwrap();
        within(PATIENCE, "a write", client.incr(&*key)).await.unwrap();
        within(PROMISE, "health", client.connected()).await.unwrap();
        old.restart().await.unwrap();
        lab.wait_until_settled().await.unwrap();
        client.close().await;
    }
}

// What goes to every primary goes to those that there are in the end.
#[tokio::test]
async fn commands_for_all_primaries_wait_for_the_one_that_is_being_replaced() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    for n in 0..30 {
        client.set(format!("key:{n}"), n).await.unwrap();
    }
    lab.wait_until_settled().await.unwrap();
    let old = lab.primary_of("key:0").await.unwrap();
    old.kill();
    let limit = Duration::from_secs(30);
    let size = background({
        let client = client.clone();
        async move { client.dbsize().timeout(limit).await }
    });
    let values = background({
        let client = client.clone();
        async move { client.mget::<u32>((0..30).map(|n| format!("key:{n}")).collect::<Vec<_>>()).timeout(limit).await }
    });
    client.flushall().retry(romaine::RetryPolicy::Never).timeout(limit).await.unwrap_err();
    assert!(within(PATIENCE, "the size", size).await.unwrap().unwrap() <= 30);
    assert_eq!(within(PATIENCE, "the values", values).await.unwrap().unwrap().len(), 30);
    client.flushall().timeout(limit).await.unwrap();
    assert_eq!(client.dbsize().await.unwrap(), 0);
    client.close().await;
}

// Nobody is there for a while, and then everybody.
#[tokio::test]
async fn a_cluster_that_was_down_as_a_whole_is_found_again() {
    let lab = Cluster::builder().server(Server::builder().password("a secret")).start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let crowd = Crowd::start(&client, 4);
    crowd.goes_on(20).await;
    for server in lab.nodes() {
        server.kill();
    }
    let mut health = client.health();
    within(PATIENCE, "the outage", health.wait_for(|health| !health.is_connected())).await.unwrap();
    for server in lab.nodes() {
        server.start_again().unwrap();
    }
    lab.wait_until_settled().await.unwrap();
    within(PATIENCE, "a write", client.incr("key").timeout(PATIENCE)).await.unwrap();
    within(PATIENCE, "health", client.connected()).await.unwrap();
    crowd.goes_on(50).await;
    assert_eq!(crowd.stop().await.wrong, Vec::<String>::new());
    drop(client);
    for server in lab.nodes() {
        wait_for_connections(server, 0).await;
    }
    let wrong = lab.url().replace("a secret", "another");
    let error = within(PATIENCE, "the refusal", romaine::Client::connect(named(&wrong))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
}

// Close does not wait for the dead.
#[tokio::test]
async fn close_ends_in_time_with_a_frozen_shard_and_calls_under_way() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let subscription = client.subscribe(["news"]).await.unwrap();
    let keys = key_of_each(&lab, "k").await;
    keys[0].0.freeze().await.unwrap();
    let calls: Vec<_> = keys
        .iter()
        .cloned()
        .map(|(_, key)| {
            let client = client.clone();
            background(async move { client.blpop::<String, String>([format!("list:{{{key}}}")], 0.0).await })
        })
        .collect();
    for (server, _) in &keys[1..] {
        eventually(PATIENCE, "the blocked call", async || crate::cluster_lab::connections(server).await >= 2)
            .await
            .unwrap();
    }
    let began = now();
    within(PATIENCE, "the end", client.close()).await;
    assert!(now() - began < Duration::from_secs(4), "{:?}", now() - began);
    for call in calls {
        assert!(within(PATIENCE, "the call's end", call).await.unwrap().is_err());
    }
    drop(subscription);
    keys[0].0.thaw().unwrap();
    for server in lab.nodes() {
        wait_for_connections(server, 0).await;
    }
}
