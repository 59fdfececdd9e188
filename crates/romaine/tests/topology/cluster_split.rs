//! Commands for several slots, several nodes, or a node by name.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use romaine::commands::*;
use romaine::{Client, Delivery, ErrorKind, NodeRole, ReadFrom, Script, Value, cmd};
use romaine_faultlab::{Cluster, FailoverKind, Port, Server, eventually, slot_of};

use crate::cluster_lab::{
    FakeCluster, calls, connect_with, connections, key_between, key_of_each, named, wait_for_connections,
};
use crate::support::{PATIENCE, background, config, connect, within};

/// Servers do not list a replica before it has received something.
async fn connect_knowing_replicas(lab: &Cluster) -> Client {
    let client = connect_with(named(&lab.url()).refresh_every(Duration::from_millis(200))).await;
    know_replicas(lab, &client, 3).await;
    client
}

async fn know_replicas(lab: &Cluster, client: &Client, count: usize) {
    eventually(PATIENCE, "the replicas", async || {
        for (_, key) in key_of_each(lab, "k").await {
            client.set(key, 0).await.unwrap();
        }
        client.nodes().iter().filter(|node| node.role == NodeRole::Replica).count() == count
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn commands_of_many_keys_are_split_by_slot_and_their_replies_merged() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let keys: Vec<String> = (0..50).map(|n| format!("key:{n}")).collect();
    client.mset(keys.iter().map(|key| (key.clone(), key.clone())).collect::<Vec<_>>()).await.unwrap();
    let mut asked = keys.clone();
    asked.insert(7, "nothing".into());
    asked.insert(20, keys[3].clone());
    let values: Vec<Option<String>> = client.mget(asked.clone()).await.unwrap();
    let expected: Vec<_> = asked.iter().map(|key| (key != "nothing").then(|| key.clone())).collect();
    assert_eq!(values, expected, "in the order of the keys");
    assert_eq!(client.exists(asked.clone()).await.unwrap(), 51, "a key named twice counts twice");
    assert_eq!(client.touch(keys.clone()).await.unwrap(), 50);
    assert_eq!(client.dbsize().await.unwrap(), 50);
    let mut all: Vec<String> = client.keys("*").await.unwrap();
    all.sort();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(all, sorted);
    assert!(client.randomkey::<String>().await.unwrap().is_some());
    assert_eq!(client.unlink(keys[..10].to_vec()).await.unwrap(), 10);
    assert_eq!(client.del(asked).await.unwrap(), 40);
    client.mset([("a", 1), ("b", 2)]).await.unwrap();
    client.flushall().await.unwrap();
    assert_eq!(client.dbsize().await.unwrap(), 0);
    assert_eq!(client.randomkey::<String>().await.unwrap(), None);
    // Keys of one slot are one command, whatever their number.
    let before = calls(&lab.primary_of("{a}").await.unwrap(), "mset").await;
    client.mset([("{a}1", 1), ("{a}2", 2)]).await.unwrap();
    assert_eq!(calls(&lab.primary_of("{a}").await.unwrap(), "mset").await, before + 1);
    client.close().await;
}

#[tokio::test]
async fn scripts_are_loaded_everywhere_and_found_missing_by_each_node_for_itself() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_knowing_replicas(&lab).await;
    let digest = client.script_load("return 1").await.unwrap();
    for server in lab.nodes() {
        let known = server.command(&["SCRIPT", "EXISTS", &digest]).await.unwrap();
        assert_eq!(format!("{known:?}"), "Array([Int(1)])", "{}", server.address());
        // Replicas are visited, not kept.
        eventually(PATIENCE, "the visit's end", async || connections(server).await <= 1).await.unwrap();
    }
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for (_, key) in key_of_each(&lab, "k").await {
        for n in 1..=2 {
            assert_eq!(client.script::<i64>(&script, [&*key], [5]).await.unwrap(), 5 * n);
        }
    }
    // The promoted one does not have it.
    let replica = lab.replica_of("k").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    let sum = within(PATIENCE, "the script", client.script::<i64>(&script, ["k"], [5])).await;
    assert_eq!(sum.unwrap(), 5);
    let error = client.script::<i64>(&script, ["a", "b"], [5]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    client.close().await;
}

// Over all slots, with slots on their way, errors of single commands, and nothing counted twice or not at all.
#[tokio::test]
async fn pipelines_over_all_slots_lose_and_repeat_nothing_while_slots_move() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let keys: Vec<String> = (0..200).map(|n| format!("counter:{n}")).collect();
    client.set("text", "no number").await.unwrap();
    let piping = background({
        let (client, keys) = (client.clone(), keys.clone());
        async move {
            for round in 1..=30_i64 {
                let mut pipeline = client.pipeline();
                let wrong = pipeline.incr("text");
                let tickets: Vec<_> = keys.iter().map(|key| (pipeline.incr(&**key), pipeline.incr(&**key))).collect();
                let mut replies = pipeline.execute().await.unwrap();
                assert_eq!(replies.take(wrong).unwrap_err().kind(), ErrorKind::Server);
                for (one, two) in tickets {
                    assert_eq!((replies.take(one).unwrap(), replies.take(two).unwrap()), (2 * round - 1, 2 * round));
                }
            }
        }
    });
    for key in keys.iter().take(15) {
        let other = crate::cluster_lab::other_primary(&lab, key).await;
        lab.migrate_slot(slot_of(key), &other).await.unwrap();
    }
    within(PATIENCE, "the pipelines", piping).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_visit_that_is_given_up_leaves_no_connection() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_knowing_replicas(&lab).await;
    let replica = lab.replica_of("key").await.unwrap();
    replica.freeze().await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(300), client.script_load("return 2").no_timeout()).await;
    assert!(given_up.is_err());
    replica.thaw().unwrap();
    for server in lab.nodes() {
        let primary = lab.primaries().await.iter().any(|primary| primary.address() == server.address());
        wait_for_connections(server, usize::from(primary)).await;
    }
    client.close().await;
}

// A part that fails says so, and what is known of the rest.
#[tokio::test]
async fn a_command_that_was_executed_in_part_says_that_it_may_have_been() {
    let lab = FakeCluster::start(3, |_, me, words| match (words[0].as_str(), me) {
        ("MSET" | "DEL", 0) => Some("-OOM command not allowed\r\n".into()),
        ("MSET", 2) => Some(String::new()),
        ("DEL", _) => Some(":1\r\n".into()),
        _ => None,
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let (first, second, third) = (key_between(0, 5_000), key_between(5_500, 10_000), key_between(12_000, 16_000));
    // One refused, one executed.
    let error = client.mset([(&*first, 1), (&*second, 2)]).await.unwrap_err();
    assert_eq!((error.server().unwrap().code(), error.delivery()), ("OOM", Delivery::Unknown), "{error:?}");
    // One refused, of one nothing is known.
    let limit = Duration::from_millis(300);
    let error = client.mset([(&*first, 1), (&*third, 2)]).timeout(limit).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Unknown, "{error:?}");
    // All refused.
    let error = client.mset([(&*first, 1), (&*format!("{{{first}}}b"), 2)]).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Refused, "{error:?}");
    client.close().await;
}

#[tokio::test]
async fn what_cannot_be_split_is_refused_before_anything_is_sent() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let usage = |error: romaine::Error| {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Usage, Delivery::NotSent), "{error:?}");
        assert!(error.to_string().contains("slot"), "{error}");
    };
    usage(client.msetnx([("a", 1), ("b", 2)]).await.unwrap_err());
    usage(client.rename("a", "b").await.unwrap_err());
    usage(client.sunion::<String>(["a", "b"]).await.unwrap_err());
    usage(client.eval::<i64>("return 1", ["a", "b"], ()).await.unwrap_err());
    usage(client.blpop::<String, String>(["a", "b"], 0.0).await.unwrap_err());
    let watched = client.watch(["a", "b"], async |_, _| Ok(())).await;
    usage(watched.map(|_| ()).unwrap_err());
    let mut transaction = client.transaction();
    let _tickets = (transaction.incr("a"), transaction.incr("b"));
    usage(transaction.execute().await.map(|_| ()).unwrap_err());
    let mut pipeline = client.pipeline();
    let (right, wrong) = (pipeline.incr("c"), pipeline.rename("a", "b"));
    let mut replies = pipeline.execute().await.unwrap();
    assert_eq!(replies.take(right).unwrap(), 1);
    usage(replies.take(wrong).unwrap_err());
    for server in lab.nodes() {
        for command in ["msetnx", "rename", "sunion", "eval", "blpop", "watch", "multi", "exec"] {
            assert_eq!(calls(server, command).await, 0, "{command}");
        }
    }
    let error = client.exclusive().await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("client.on"), "{error}");
    client.close().await;
}

#[tokio::test]
async fn a_node_by_its_name_is_asked_itself_whatever_it_is() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_knowing_replicas(&lab).await;
    let nodes = client.nodes();
    assert_eq!(nodes.iter().filter(|node| node.role == NodeRole::Primary).count(), 3);
    assert_eq!(nodes.iter().filter(|node| node.role == NodeRole::Replica).count(), 3);
    for known in nodes.iter() {
        let there = client.on(&known.node).unwrap();
        let port: Vec<String> = there.config_get(["port"]).await.unwrap().into_values().collect();
        assert!(known.node.ends_with(&format!(":{}", port[0])));
        let exclusive = there.exclusive().await.unwrap();
        exclusive.issue(cmd::<()>("READONLY")).await.unwrap();
    }
    // Nothing is redirected: whoever asks a node wants its own answer.
    let wrong = key_between(0, 5_000);
    let owner = lab.primary_of(&wrong).await.unwrap();
    let other = lab.primaries().await.into_iter().find(|it| it.address() != owner.address()).unwrap();
    let error = client.on(&other.address().to_string()).unwrap().get::<String>(&*wrong).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "MOVED", "{error:?}");
    assert_eq!(client.on("nowhere").unwrap_err().kind(), ErrorKind::Config);
    for server in lab.nodes() {
        let primary = lab.primaries().await.iter().any(|primary| primary.address() == server.address());
        wait_for_connections(server, usize::from(primary)).await;
    }
    client.close().await;
}

// A node that nobody has needed yet is dialled with the first call for it; to fail at once is for outages.
#[tokio::test]
async fn who_fails_without_a_connection_still_waits_for_a_nodes_first_one() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url()).offline(romaine::Offline::Fail)).await;
    let replica = lab.replica_of("key").await.unwrap();
    let there = client.on(&replica.address().to_string()).unwrap();
    there.ping().await.unwrap();
    replica.kill();
    let refused = async || matches!(there.ping().await, Err(error) if error.kind() == ErrorKind::Unavailable);
    eventually(PATIENCE, "calls to fail at once", refused).await.unwrap();
    // Its first connection is no promise, and whoever waits for it is told.
    let nobody = Port::claim().unwrap();
    let error = client.on(&nobody.address().to_string()).unwrap().ping().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::NotSent), "{error:?}");
    client.close().await;
}

// A handle of a node is the node's, not the role's.
#[tokio::test]
async fn a_node_by_its_name_stays_reachable_when_it_has_lost_its_role() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let old = lab.primary_of("key").await.unwrap();
    let there = client.on(&old.address().to_string()).unwrap();
    there.ping().await.unwrap();
    let replica = lab.replica_of("key").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    let name = replica.address().to_string();
    eventually(PATIENCE, "the new map", async || {
        client.nodes().iter().any(|node| *node.node == *name && node.role == NodeRole::Primary)
    })
    .await
    .unwrap();
    let role: Value = within(PATIENCE, "its role", there.issue(cmd::<Value>("ROLE"))).await.unwrap();
    assert_eq!(role.as_elements().unwrap()[0].as_str(), Some("slave"));
    drop(there);
    wait_for_connections(&old, 0).await;
    client.close().await;
}

#[tokio::test]
async fn every_key_is_scanned_also_while_a_primary_is_replaced() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let keys: Vec<String> = (0..6_000).map(|n| format!("scan:{n}")).collect();
    for chunk in keys.chunks(500) {
        client.mset(chunk.iter().map(|key| (key.clone(), 1)).collect::<Vec<_>>()).await.unwrap();
    }
    client.set("other", 1).await.unwrap();
    let mut found: Vec<String> = client.scan_all(Some("scan:*")).try_collect().await.unwrap();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), keys.len());
    lab.wait_until_settled().await.unwrap();
    let victim = lab.primary_of("scan:0").await.unwrap();
    let mut scan = Box::pin(client.scan_all::<String>(Some("scan:*")));
    let mut found = vec![scan.try_next().await.unwrap().unwrap()];
    victim.kill();
    let rest = async {
        while let Some(key) = scan.try_next().await.unwrap() {
            found.push(key);
        }
    };
    within(PATIENCE, "the rest", rest).await;
    found.sort();
    found.dedup();
    assert_eq!(found.len(), keys.len(), "all replicas were up to date");
    client.close().await;
}

// Case 90
#[tokio::test]
async fn reads_go_to_replicas_that_are_there_and_writes_never_do() {
    let lab = Cluster::builder().replicas(2).start().await.unwrap();
    let settings = named(&lab.url()).read_from(ReadFrom::Replica).refresh_every(Duration::from_millis(200));
    let client = connect_with(settings).await;
    know_replicas(&lab, &client, 6).await;
    let key = key_between(0, 5_000);
    let primary = lab.primary_of(&key).await.unwrap();
    client.set(&*key, "value").await.unwrap();
    let replicas = lab.replicas_of(&primary).await.unwrap();
    for replica in &replicas {
        eventually(PATIENCE, "the copy", async || {
            let size = client.on(&replica.address().to_string()).unwrap().dbsize().await.unwrap();
            size > 0 && size == client.on(&primary.address().to_string()).unwrap().dbsize().await.unwrap()
        })
        .await
        .unwrap();
    }
    let reads = async |server: &Server| calls(server, "get").await;
    for _ in 0..40 {
        assert_eq!(client.get::<String>(&*key).await.unwrap().as_deref(), Some("value"));
    }
    assert_eq!(reads(&primary).await, 0);
    assert_eq!(client.metrics().redirects, 0, "READONLY was said");
    // One may have been connected a little later.
    for replica in &replicas {
        eventually(PATIENCE, "reads at either", async || {
            client.get::<String>(&*key).await.unwrap();
            reads(replica).await > 0
        })
        .await
        .unwrap();
    }
    replicas[0].kill();
    for _ in 0..20 {
        let read = within(Duration::from_secs(5), "a read", client.get::<String>(&*key)).await;
        assert_eq!(read.unwrap().as_deref(), Some("value"));
    }
    assert_eq!(reads(&primary).await, 0);
    replicas[0].restart().await.unwrap();
    let before = reads(&replicas[0]).await;
    eventually(PATIENCE, "reads at the one that is back", async || {
        client.get::<String>(&*key).await.unwrap();
        reads(&replicas[0]).await > before
    })
    .await
    .unwrap();
    assert_eq!(slot_of(&key), slot_of(&format!("{{{key}}}")));
    client.close().await;
}

// Everyone is asked, and a client that is not connected yet knows nobody.
#[tokio::test]
async fn what_goes_to_every_node_waits_for_the_first_view() {
    let lab = Cluster::builder().replicas(0).start().await.unwrap();
    let client = Client::connect(named(&lab.url()).lazy()).await.unwrap();
    assert_eq!(within(PATIENCE, "the sum", client.dbsize()).await.unwrap(), 0);
    client.set("key", "value").await.unwrap();
    client.close().await;
    let client = Client::connect(named(&lab.url()).lazy()).await.unwrap();
    let keys: Vec<String> = within(PATIENCE, "the keys", client.scan_all(None).try_collect()).await.unwrap();
    assert_eq!(keys, ["key"]);
    client.close().await;
    let nobody = Port::claim().unwrap();
    let config = named(&format!("redis-cluster://{}", nobody.address())).timeout(Duration::from_millis(300));
    let client = Client::connect(config.lazy()).await.unwrap();
    let flushed = within(PATIENCE, "the error", client.flushall()).await.unwrap_err();
    let scan = client.scan_all::<String>(None).try_collect::<Vec<String>>();
    let scanned = within(PATIENCE, "the error", scan).await.unwrap_err();
    for error in [flushed, scanned] {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{error:?}");
        assert!(std::error::Error::source(&error).is_some(), "why nobody is known: {error:?}");
    }
    client.close().await;
}
