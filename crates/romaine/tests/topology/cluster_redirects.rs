//! What nodes say of other nodes, in every form that real ones are seldom brought to say.

use std::sync::atomic::Ordering;
use std::time::Duration;

use romaine::commands::*;
use romaine::{ConnectionLimits, Delivery, ErrorKind, Event, Lane, Liveness, ReadFrom};
use romaine_faultlab::{Cluster, FaultProxy, Port, Server, eventually, slot_of};

use crate::cluster_lab::{Fake, FakeCluster, NAME, connect_with, key_between, named, other_primary};
use crate::support::{PATIENCE, config, event, now, within};

fn moved(slot: u16, to: &str) -> Option<String> {
    Some(format!("-MOVED {slot} {to}\r\n"))
}

// Case 81
#[tokio::test]
async fn moved_corrects_the_slot_at_once_and_the_map_soon() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        let is_wrong = words[0] == "GET" && me == 0;
        is_wrong.then(|| format!("-MOVED {} 127.0.0.1:{}\r\n", slot_of(&words[1]), fake.port(1)))
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let mut events = client.events();
    let key = key_between(0, 8_000);
    let slot = slot_of(&key);
    // The nodes know it already; the client does not.
    lab.fake.set_owners(&[(0, slot - 1, 0), (slot, 16_383, 1)]);
    assert_eq!(client.get::<String>(&*key).await.unwrap().as_deref(), Some("1"));
    assert_eq!(client.get::<String>(&*key).await.unwrap().as_deref(), Some("1"));
    assert_eq!(client.metrics().redirects, 1, "the second one knew the way");
    event(&mut events, "the topology", |event| matches!(event, Event::TopologyChanged { .. }).then_some(())).await;
    let count = event(&mut events, "the redirect", |event| match event {
        Event::Redirected { count } => Some(*count),
        _ => None,
    })
    .await;
    assert_eq!(count, 1);
    client.close().await;
}

// Case 81: a host that is left out, and one in brackets' absence. The node itself is reached by IPv6 only where there is one.
#[tokio::test]
async fn a_redirect_without_a_host_leads_to_the_host_that_answered() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        (words[0] == "GET" && me == 0).then(|| format!("-MOVED {} :{}\r\n", slot_of(&words[1]), fake.port(1)))
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    assert_eq!(client.get::<String>(key_between(0, 8_000)).await.unwrap().as_deref(), Some("1"));
    client.close().await;
}

// Case 81
#[tokio::test]
async fn a_redirect_to_ipv6_is_dialled_as_such() {
    let lab =
        FakeCluster::start(1, |_, _, words| (words[0] == "GET").then(|| moved(slot_of(&words[1]), "::1:1")).flatten())
            .await;
    let client = connect_with(config(&lab.url())).await;
    let mut events = client.events();
    let call = client.get::<String>("key").timeout(Duration::from_millis(500));
    let error = within(PATIENCE, "the error", call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    event(&mut events, "the attempt", |event| match event {
        Event::ConnectAttempt { node, .. } => (&**node == "[::1]:1").then_some(()),
        _ => None,
    })
    .await;
    client.close().await;
}

// Case 81, #3910 and what a node says that does not know the other's name.
#[tokio::test]
async fn a_redirect_to_nobody_waits_for_a_new_view() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        if words[0] != "GET" || me != 0 {
            return None;
        }
        fake.set_owners(&[(0, 16_383, 1)]);
        moved(slot_of(&words[1]), "?:7000")
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let value = within(PATIENCE, "the value", client.get::<String>(key_between(0, 8_000))).await.unwrap();
    assert_eq!(value.as_deref(), Some("1"));
    client.close().await;
}

// Case 81
#[tokio::test]
async fn ask_is_followed_with_asking_in_the_same_write_and_only_once() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        (words[0] == "GET" && me == 0).then(|| format!("-ASK {} 127.0.0.1:{}\r\n", slot_of(&words[1]), fake.port(1)))
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let key = key_between(0, 8_000);
    for _ in 0..2 {
        assert_eq!(client.get::<String>(&*key).await.unwrap().as_deref(), Some("1"));
    }
    assert_eq!(lab.received(0, "GET").len(), 2, "the slot is not moved yet");
    let server = &lab.nodes[1];
    let all: Vec<String> = (0..server.connections()).flat_map(|connection| server.transcript(connection)).collect();
    let asked: Vec<_> = all.iter().enumerate().filter(|(_, line)| line.starts_with("GET")).collect();
    assert!(asked.iter().all(|(at, _)| all[at - 1] == "ASKING"), "{all:?}");
    client.close().await;
}

/// A Cluster whose first node sends everything of its own to another, this once.
async fn on_its_way(to: impl Fn(&Fake) -> u16 + Send + Sync + 'static) -> FakeCluster {
    FakeCluster::start(2, move |fake, me, words| match (words[0].as_str(), me) {
        ("SET" | "INCR", 0) => Some(format!("-ASK {} 127.0.0.1:{}\r\n", slot_of(&words[1]), to(fake))),
        ("SET" | "INCR", _) => Some(String::new()),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_write_that_is_not_answered_where_its_slot_goes_ends_by_its_deadline() {
    let lab = on_its_way(|fake| fake.port(1)).await;
    let client = connect_with(config(&lab.url()).liveness(Liveness::default())).await;
    let call = client.incr(key_between(0, 8_000)).timeout(Duration::from_millis(200));
    let error = within(PATIENCE, "the deadline", call).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown), "{error:?}");
    client.close().await;
}

#[tokio::test]
async fn a_queue_that_is_full_where_a_slot_goes_is_told_at_once() {
    let nobody = Port::claim().unwrap();
    let port = nobody.number();
    let lab = on_its_way(move |_| port).await;
    let limits = ConnectionLimits { queued_requests_max: 1, ..ConnectionLimits::default() };
    let client = connect_with(config(&lab.url()).limits(limits)).await;
    let key = key_between(0, 8_000);
    let mut first = std::pin::pin!(client.set(&*key, "value"));
    let asked =
        async |count| eventually(PATIENCE, "ASK", async || lab.received(0, "SET").len() == count).await.unwrap();
    tokio::select! {
        answered = &mut first => panic!("by whom? {answered:?}"),
        () = asked(1) => {}
    }
    let mut second = std::pin::pin!(client.set(&*key, "value"));
    let error = tokio::select! {
        answered = &mut first => panic!("by whom? {answered:?}"),
        answered = within(PATIENCE, "the limit", &mut second) => answered.unwrap_err(),
    };
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Overloaded, Delivery::NotSent), "{error:?}");
    asked(2).await;
}

/// A primary of all slots and its replica; from its first write on it says nothing but that the replica has them.
async fn has_just_promoted_its_replica() -> FakeCluster {
    FakeCluster::start(2, |fake, me, words| {
        let (primary, replica) = (fake.port(0), fake.port(1));
        match (words[0].as_str(), me) {
            ("CLUSTER", _) if fake.count.load(Ordering::SeqCst) > 0 => Some(String::new()),
            ("CLUSTER", _) if words[1] == "SLOTS" => {
                let node = |port: u16, id: u8| format!("*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{id:040x}\r\n");
                Some(format!("*1\r\n*4\r\n:0\r\n:16383\r\n{}{}", node(primary, 0), node(replica, 1)))
            }
            ("CLUSTER", _) if words[1] == "NODES" => {
                let flags = |node| if node == me { "myself," } else { "" };
                let text = format!(
                    "{0:040x} 127.0.0.1:{primary}@1{primary} {2}master - 0 0 1 connected 0-16383\n\
                     {1:040x} 127.0.0.1:{replica}@1{replica} {3}slave {0:040x} 0 0 1 connected\n",
                    0,
                    1,
                    flags(0),
                    flags(1),
                );
                Some(format!("${}\r\n{text}\r\n", text.len()))
            }
            ("SET", 0) => {
                fake.next();
                moved(slot_of(&words[1]), &format!("127.0.0.1:{replica}"))
            }
            _ => None,
        }
    })
    .await
}

// Its connection for reading has never asked whether it is a primary.
#[tokio::test]
async fn a_replica_that_a_redirect_names_says_itself_that_it_is_a_primary_before_it_is_written_to() {
    let lab = has_just_promoted_its_replica().await;
    let replica = lab.nodes[1].address().to_string();
    let client = connect_with(config(&lab.url()).read_from(ReadFrom::Replica)).await;
    eventually(PATIENCE, "reads at the replica", async || {
        client.get::<String>("key").await.unwrap().as_deref() == Some("1")
    })
    .await
    .unwrap();
    let mut events = client.events();
    within(PATIENCE, "the write", client.set("key", "value")).await.unwrap();
    let mut told = std::iter::from_fn(|| events.try_next());
    assert!(told.any(|event| matches!(event, Event::RoleVerified { node } if *node == *replica)));
    client.close().await;
}

// Case 82
#[tokio::test]
async fn a_redirect_without_end_becomes_the_callers_error() {
    let lab = FakeCluster::start(2, |fake, me, words| {
        let other = fake.port(1 - me);
        (words[0] == "GET").then(|| format!("-MOVED {} 127.0.0.1:{other}\r\n", slot_of(&words[1])))
    })
    .await;
    let client = connect_with(config(&lab.url()).redirects_max(7)).await;
    let error = within(PATIENCE, "the error", client.get::<String>("key")).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "MOVED", "{error:?}");
    assert_eq!(error.delivery(), Delivery::Refused);
    let sent = lab.received(0, "GET").len() + lab.received(1, "GET").len();
    assert_eq!(sent, 8, "the first, and seven redirects");
    client.close().await;
}

// Case 97, Lettuce #3910: the name is right, what answers at it is not.
#[tokio::test]
async fn moved_to_its_own_address_drops_that_connection_once_however_many_were_told() {
    let lab = FakeCluster::start(1, |fake, me, words| {
        let known = usize::try_from(fake.count.load(Ordering::SeqCst)).unwrap();
        let stale = words[0] == "INCR" && fake.connection() < known;
        stale.then(|| moved(slot_of(&words[1]), &format!("127.0.0.1:{}", fake.port(me)))).flatten()
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let before = lab.nodes[0].connections();
    lab.fake.count.store(u64::try_from(before).unwrap(), Ordering::SeqCst);
    let calls = (0..20).map(|n| {
        let client = client.clone();
        async move { client.issue(romaine::cmd::<String>("INCR").arg(format!("key:{n}"))).await }
    });
    for reply in within(PATIENCE, "the replies", futures_util::future::join_all(calls)).await {
        assert_eq!(reply.unwrap(), "OK");
    }
    let dialled = lab.nodes[0].connections() - before;
    assert!((1..=4).contains(&dialled), "{dialled} connections for one change");
    client.close().await;
}

/// Has clients told that they reach the node at this port, and waits until every node says so.
async fn announce(lab: &Cluster, node: &Server, port: u16) {
    node.command(&["CONFIG", "SET", "cluster-announce-port", &port.to_string()]).await.unwrap();
    let id = lab.id_of(node).await.unwrap();
    for other in lab.nodes() {
        let what = format!("{} to call {} {port}", other.address(), node.address());
        eventually(PATIENCE, &what, async || {
            let view = lab.view_of(other).await.unwrap();
            view.iter().any(|it| it.id == id && it.address.is_some_and(|address| address.port() == port))
        })
        .await
        .unwrap();
    }
}

// Case 97 with real nodes: the address is another one's by now, and what was connected by it stays where it was.
#[tokio::test]
async fn an_address_that_another_node_has_by_now_is_dialled_again_at_the_first_moved() {
    let lab = Cluster::builder().replicas(0).start().await.unwrap();
    let (old, new) = (lab.primary_of("jobs").await.unwrap(), other_primary(&lab, "jobs").await);
    let proxy = FaultProxy::start(old.address()).await.unwrap();
    announce(&lab, &old, proxy.port()).await;
    let client = connect_with(named(&lab.url()).refresh_every(Duration::from_secs(600))).await;
    let mut events = client.events();
    client.lpush("jobs", ["before"]).await.unwrap();
    assert!(client.brpop::<String, String>(["jobs"], 0.0).await.unwrap().is_some());
    let kept = event(&mut events, "a connection that is kept for the next one", |event| match event {
        Event::Activated { lane: Lane::Blocking, client_id, .. } => *client_id,
        _ => None,
    })
    .await;
    let idle = async || {
        let list = old.command(&["CLIENT", "LIST", "ID", &kept.to_string()]).await.unwrap().text();
        list.contains(&format!("name={NAME} "))
    };
    assert!(idle().await);
    lab.migrate_slot(slot_of("jobs"), &new).await.unwrap();
    proxy.set_upstream(new.address());
    announce(&lab, &old, old.port()).await;
    announce(&lab, &new, proxy.port()).await;
    assert_eq!(client.lpush("jobs", ["after"]).await.unwrap(), 1);
    assert_eq!(new.command(&["LLEN", "jobs"]).await.unwrap().text(), "1");
    assert!(client.metrics().redirects > 0, "nothing else told");
    eventually(PATIENCE, "the idle connection's end", async || !idle().await).await.unwrap();
    client.close().await;
}

// Case 107
#[tokio::test]
async fn what_cannot_be_served_yet_is_waited_for_within_the_deadline() {
    for refusal in [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN Hash slot not served",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        let lab = FakeCluster::start(1, move |fake, _, words| {
            (words[0] == "INCR" && fake.next() < 5).then(|| format!("-{refusal}\r\n"))
        })
        .await;
        let client = connect_with(config(&lab.url())).await;
        let reply = client.issue(romaine::cmd::<String>("INCR").arg("key"));
        assert_eq!(within(PATIENCE, refusal, reply).await.unwrap(), "OK");
        lab.fake.count.store(0, Ordering::SeqCst);
        let began = now();
        let limit = Duration::from_millis(60);
        let error = client.issue(romaine::cmd::<String>("INCR").arg("key")).timeout(limit).await.unwrap_err();
        assert!(matches!(error.delivery(), Delivery::Refused | Delivery::NotSent), "{error:?}");
        assert!(now() - began < Duration::from_secs(2), "{refusal}: {:?}", now() - began);
        client.close().await;
    }
}

// The guide: a pipeline keeps its order within a slot.
#[tokio::test]
async fn commands_of_a_pipeline_keep_their_order_within_a_slot_when_they_are_refused_for_now() {
    let lab = FakeCluster::start(1, |fake, _, words| {
        (words[0] == "SET" && fake.next() < 60).then(|| "-CLUSTERDOWN The cluster is down\r\n".to_owned())
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let mut pipeline = client.pipeline();
    let tickets: Vec<_> = (0..40).map(|n| pipeline.set("{a}key", n)).collect();
    let mut replies = within(PATIENCE, "the replies", pipeline.execute()).await.unwrap();
    for ticket in tickets {
        replies.take(ticket).unwrap();
    }
    let sent = lab.received(0, "SET");
    let served: Vec<u64> = sent[60..].iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    let mut sorted = served.clone();
    sorted.sort_unstable();
    assert_eq!(served, sorted);
    client.close().await;
}
