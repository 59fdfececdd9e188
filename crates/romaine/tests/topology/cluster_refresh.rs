//! When a Cluster is asked who serves what, whom, and what becomes of the answers.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, ErrorKind, Event, NodeRole, Status};
use romaine_faultlab::{Cluster, FailoverKind, FaultProxy, Server, ServerBuilder, eventually, slot_of};

use crate::cluster_lab::{
    Crowd, FakeCluster, calls, connect_with, connections, key_between, key_of_each, named, other_primary,
    wait_for_connections,
};
use crate::support::{PATIENCE, PROMISE, background, config, connect, event, now, within};

fn no_full_coverage() -> ServerBuilder {
    Server::builder().config_line("cluster-require-full-coverage no")
}

// Case 78
#[tokio::test]
async fn a_change_that_nothing_tells_of_is_found_by_the_periodic_refresh() {
    let lab = FakeCluster::start(2, |_, _, _| None).await;
    let client = connect_with(config(&lab.url()).refresh_every(Duration::from_millis(200))).await;
    let mut events = client.events();
    lab.fake.set_owners(&[(0, 16_383, 1)]);
    let after = event(&mut events, "the change", |event| match event {
        Event::TopologyChanged { after, .. } => Some(after.clone()),
        _ => None,
    })
    .await;
    assert_eq!(after.len(), 1);
    assert_eq!((after[0].role, after[0].slots), (NodeRole::Primary, 16_384));
    assert_eq!(client.get::<String>(key_between(0, 8_000)).await.unwrap().as_deref(), Some("1"));
    assert_eq!(client.metrics().redirects, 0);
    client.close().await;
}

// Case 79
#[tokio::test]
async fn a_connection_that_is_back_at_once_is_no_reason_to_ask() {
    let lab = FakeCluster::start(1, |_, _, _| None).await;
    let proxy = FaultProxy::start(lab.nodes[0].address()).await.unwrap();
    lab.fake.announce(0, proxy.port());
    let client = connect_with(config(&format!("redis-cluster://{}", proxy.address()))).await;
    let mut events = client.events();
    let before = lab.received(0, "CLUSTER").len();
    proxy.cut_all().await.unwrap();
    event(&mut events, "the connection", |event| matches!(event, Event::Activated { .. }).then_some(())).await;
    for n in 0..200 {
        client.set(format!("key:{n}"), n).await.unwrap();
    }
    assert_eq!(lab.received(0, "CLUSTER").len(), before);
    client.close().await;
}

// Case 79: one that stays away is a reason, and so is silence.
#[tokio::test]
async fn reconnecting_again_and_again_is_a_reason_to_ask() {
    let lab = FakeCluster::start(2, |_, _, words| (words[0] == "CRASH").then(String::new)).await;
    let client = connect_with(config(&lab.url())).await;
    let asked = |lab: &FakeCluster| (0..2).map(|node| lab.received(node, "CLUSTER").len()).sum::<usize>();
    let before = asked(&lab);
    let mut events = client.events();
    let dead = lab.nodes[0].address().to_string();
    // Silence that nobody breaks: the watchdog ends it, and suspicion is a reason by itself.
    let silent = client.issue(romaine::cmd::<()>("CRASH").arg(key_between(0, 8_000)));
    let error = within(PATIENCE, "the end", silent.timeout(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    event(&mut events, "the suspicion", |event| matches!(event, Event::Suspect { .. }).then_some(())).await;
    eventually(PATIENCE, "a question", async || asked(&lab) > before).await.unwrap();
    // Gone for good.
    let FakeCluster { mut nodes, .. } = lab;
    let other = nodes.pop().unwrap();
    drop(nodes);
    event(&mut events, "failed attempts", |event| match event {
        Event::ReconnectFailed { attempt, cause, .. } => (*attempt >= 2 && cause.node() == Some(&*dead)).then_some(()),
        _ => None,
    })
    .await;
    let count =
        || (0..other.connections()).flat_map(|one| other.transcript(one)).filter(|it| it == "CLUSTER SLOTS").count();
    let so_far = count();
    eventually(PATIENCE, "another question", async || count() > so_far).await.unwrap();
    client.close().await;
}

// Case 80: a storm of reasons is a handful of questions, and the last reason is not forgotten.
#[tokio::test]
async fn many_reasons_are_few_questions_and_the_last_one_is_heard() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        let is_moved = words[0] == "INCR" && me == 0;
        is_moved.then(|| format!("-MOVED {} 127.0.0.1:{}\r\n", slot_of(&words[1]), fake.port(1)))
    })
    .await;
    let client = connect_with(config(&lab.url()).refresh_every(Duration::from_secs(600))).await;
    let asked = || lab.received(0, "CLUSTER").len() + lab.received(1, "CLUSTER").len();
    let (before, began) = (asked(), now());
    let mut redirected = 0;
    for n in 0..20_000 {
        let key = format!("key:{n}");
        if slot_of(&key) < 8_000 {
            client.issue(romaine::cmd::<String>("INCR").arg(key)).await.unwrap();
            redirected += 1;
        }
        if redirected == 300 {
            break;
        }
    }
    // Two nodes with two questions each, ten times a second at the most.
    let limit = 4 * (3 + usize::try_from((now() - began).as_millis()).unwrap() / 100);
    assert!(asked() - before <= limit, "{} questions for {redirected} redirects", asked() - before);
    // What the nodes say changes later: the last reason is followed up for a while.
    let mut events = client.events();
    lab.fake.set_owners(&[(0, 16_383, 1)]);
    event(&mut events, "the change", |event| matches!(event, Event::TopologyChanged { .. }).then_some(())).await;
    client.close().await;
}

// Case 83
#[tokio::test]
async fn without_any_reachable_node_connecting_fails_clearly_and_soon() {
    let connecting = Client::connect("redis-cluster://127.0.0.1:1,127.0.0.1:2");
    let error = within(PATIENCE, "the error", connecting).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:"), "{error}");
}

// Case 83: seeds, one of them wrong, one of them down.
#[tokio::test]
async fn one_seed_that_answers_is_enough_and_a_cluster_that_is_down_in_part_is_of_use() {
    let lab = Cluster::builder().replicas(0).server(no_full_coverage()).start().await.unwrap();
    let keys = key_of_each(&lab, "part").await;
    let (dead, dead_key) = keys[0].clone();
    dead.kill();
    let url = format!("redis-cluster://127.0.0.1:1,{},{}", dead.address(), keys[1].0.address());
    let client = connect(&url).await;
    for (_, key) in &keys[1..] {
        client.set(&**key, "value").await.unwrap();
    }
    for _ in 0..20 {
        let echoed: String = within(PROMISE, "a keyless command", client.echo("hello")).await.unwrap();
        assert_eq!(echoed, "hello");
        within(PROMISE, "a message", client.publish("news", "hello")).await.unwrap();
    }
    assert_eq!(client.health().borrow().status, Status::Disconnected, "not everything flows");
    let error = client.set(&*dead_key, "value").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    // It comes back, with nobody's help.
    dead.restart().await.unwrap();
    within(PATIENCE, "the shard", client.connected()).await.unwrap();
    within(PATIENCE, "a write", async { while client.set(&*dead_key, "value").await.is_err() {} }).await;
    client.close().await;
}

// Case 83: everybody has another address; only the seeds lead to them.
#[tokio::test]
async fn seeds_are_asked_when_nobody_known_is_there_any_more() {
    let old = FakeCluster::start(2, |_, _, _| None).await;
    let proxy = FaultProxy::start(old.nodes[0].address()).await.unwrap();
    let client = connect_with(config(&format!("redis-cluster://{}", proxy.address()))).await;
    assert_eq!(client.get::<String>(key_between(0, 8_000)).await.unwrap().as_deref(), Some("0"));
    let new = FakeCluster::start(1, |_, _, words| (words[0] == "GET").then(|| "+new\r\n".to_owned())).await;
    proxy.set_upstream(new.nodes[0].address());
    drop(old);
    proxy.cut_all().await.unwrap();
    let value = within(PATIENCE, "the value", client.get::<String>(key_between(0, 8_000))).await.unwrap();
    assert_eq!(value.as_deref(), Some("new"));
    client.close().await;
}

// Case 84
#[tokio::test]
async fn a_slot_without_an_owner_is_waited_for_and_asked_about() {
    let lab = FakeCluster::start(2, |_, _, _| None).await;
    lab.fake.set_owners(&[(0, 8_000, 0)]);
    let client = connect_with(config(&lab.url())).await;
    let key = key_between(8_001, 16_383);
    let error = client.get::<String>(&*key).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, romaine::Delivery::NotSent), "{error:?}");
    let waiting = background({
        let (client, key) = (client.clone(), key.clone());
        async move { client.get::<String>(key).await }
    });
    lab.fake.set_owners(&[(0, 8_000, 0), (8_001, 16_383, 1)]);
    let value = within(PATIENCE, "the value", waiting).await.unwrap().unwrap();
    assert_eq!(value.as_deref(), Some("1"));
    client.close().await;
    let client = connect_with(config(&lab.url()).offline(romaine::Offline::Fail)).await;
    assert!(client.get::<String>(&*key).await.is_ok());
    client.close().await;
}

// Case 89
#[tokio::test]
async fn connections_for_asking_are_closed_again() {
    let lab = Cluster::start().await.unwrap();
    let settings = named(&lab.url()).refresh_every(Duration::from_millis(20));
    let client = connect_with(settings).await;
    let primaries: Vec<_> = lab.primaries().await.iter().map(|node| node.address()).collect();
    let asked = async |count: u64| {
        for server in lab.primaries().await {
            let before = calls(&server, "cluster|slots").await;
            eventually(PATIENCE, "questions", async || calls(&server, "cluster|slots").await >= before + count)
                .await
                .unwrap();
        }
    };
    asked(10).await;
    for server in lab.nodes() {
        wait_for_connections(server, usize::from(primaries.contains(&server.address()))).await;
    }
    // One hangs: others are asked in its place, over connections that are made for it.
    lab.nodes()[0].freeze().await.unwrap();
    lab.wait_for_new_primary(&key_between(0, 5_000), lab.nodes()[0].address()).await.unwrap();
    lab.nodes()[0].thaw().unwrap();
    lab.wait_until_settled().await.unwrap();
    asked(10).await;
    let primaries: Vec<_> = lab.primaries().await.iter().map(|node| node.address()).collect();
    for server in lab.nodes() {
        wait_for_connections(server, usize::from(primaries.contains(&server.address()))).await;
    }
    client.close().await;
    for server in lab.nodes() {
        wait_for_connections(server, 0).await;
    }
}

// Peer-measurements, finding 10: rustis fails for ever on the empty shard that CLUSTER SHARDS and NODES then list.
#[tokio::test]
async fn a_former_primary_that_is_dead_or_comes_back_without_slots_upsets_nobody() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let crowd = Crowd::start(&client, 4);
    crowd.goes_on(20).await;
    let key = key_between(0, 5_000);
    let old = lab.primary_of(&key).await.unwrap();
    old.kill();
    lab.wait_for_new_primary(&key, old.address()).await.unwrap();
    within(PATIENCE, "a write", client.incr("n")).await.unwrap();
    // A client that starts while the dead one is still listed.
    let late = connect(&lab.url()).await;
    late.set(&*key, "late").await.unwrap();
    old.restart().await.unwrap();
    lab.wait_until_settled().await.unwrap();
    let new = connect(&lab.url()).await;
    assert_eq!(new.get::<String>(&*key).await.unwrap().as_deref(), Some("late"));
    let nodes = new.nodes();
    assert_eq!(nodes.iter().filter(|node| node.role == NodeRole::Primary).count(), 3, "{nodes:?}");
    assert_eq!(nodes.iter().map(|node| node.slots).sum::<usize>(), 16_384);
    let findings = crowd.stop().await;
    assert_eq!(findings.wrong, Vec::<String>::new());
    for client in [client, late, new] {
        client.close().await;
    }
}

// Lettuce #1970: the address is another one than before.
#[tokio::test]
async fn a_node_that_announces_another_address_is_found_there() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let key = key_between(0, 5_000);
    client.set(&*key, "value").await.unwrap();
    let primary = lab.primary_of(&key).await.unwrap();
    let proxy = FaultProxy::start(primary.address()).await.unwrap();
    primary.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port().to_string()]).await.unwrap();
    let other = other_primary(&lab, &key).await;
    eventually(PATIENCE, "the news at the others", async || {
        let view = lab.view_of(&other).await.unwrap();
        view.iter().any(|node| node.address == Some(proxy.address()))
    })
    .await
    .unwrap();
    let mut events = client.events();
    primary.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    let there = proxy.address().to_string();
    event(&mut events, "the new address", |event| match event {
        Event::TopologyChanged { after, .. } => after.iter().any(|node| *node.node == *there).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(client.get::<String>(&*key).await.unwrap().as_deref(), Some("value"));
    assert!(proxy.connections() > 0);
    wait_for_connections(&primary, 1).await;
    client.close().await;
}

// Cases 86, 87
#[tokio::test]
async fn what_waits_for_a_node_that_leaves_goes_elsewhere_and_its_connections_are_closed() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let key = key_between(0, 5_000);
    client.set(&*key, "value").await.unwrap();
    let mut subscription = client.ssubscribe([&*key]).await.unwrap();
    let primary = lab.primary_of(&key).await.unwrap();
    assert!(connections(&primary).await >= 2);
    let replica = lab.replica_of(&key).await.unwrap();
    primary.command(&["CLIENT", "PAUSE", "60000", "WRITE"]).await.unwrap();
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let (client, key) = (client.clone(), key.clone());
            background(async move { client.set(format!("{{{key}}}{n}"), n).await })
        })
        .collect();
    lab.failover(&replica, FailoverKind::Takeover).await.unwrap();
    for call in waiting {
        let reply = within(PATIENCE, "a reply", call).await.unwrap();
        // What was at the paused node may have been executed; everything else has been.
        assert!(
            reply.as_ref().map_err(romaine::Error::delivery).err().is_none_or(|it| it == romaine::Delivery::Unknown)
        );
    }
    primary.command(&["CLIENT", "UNPAUSE"]).await.unwrap();
    wait_for_connections(&primary, 0).await;
    within(PATIENCE, "the message", async {
        while client.spublish(&*key, "hello").await.unwrap() == 0 {}
        subscription.next_message().await.unwrap()
    })
    .await;
    lab.wait_until_settled().await.unwrap();
    lab.remove(&primary).await.unwrap();
    assert_eq!(client.set(&*key, "other").await.ok(), Some(()));
    client.close().await;
}
