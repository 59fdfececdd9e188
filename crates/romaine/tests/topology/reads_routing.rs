//! Which node reads: counted at the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Delivery, ErrorKind, ReadFrom};
use romaine_faultlab::{Direction, Fault, FaultProxy, Replicated, Server, eventually};

use crate::reads::{all_connected, counted, lab_of_three, reset};
use crate::support::{PATIENCE, background, config, within};

async fn client_of(lab: &Replicated, from: ReadFrom) -> Client {
    let config = config(&lab.url()).client_name("subject").unwrap().read_from(from);
    within(PATIENCE, "the connection", Client::connect(config)).await.unwrap()
}

/// How many of 90 reads each server answers, the primary first.
async fn spread(client: &Client, servers: &[Arc<Server>]) -> Vec<u64> {
    reset(servers).await;
    for _ in 0..90 {
        let value: Option<String> = client.get("key").await.unwrap();
        assert_eq!(value.as_deref(), Some("value"));
    }
    let mut counts = Vec::new();
    for server in servers {
        counts.push(counted(server, "get").await);
    }
    counts
}

#[tokio::test]
async fn each_preference_reads_where_its_name_says_and_writes_go_to_the_primary_always() {
    let lab = lab_of_three().await;
    let servers = lab.nodes().to_vec();
    let some = |count: u64| count >= 15;
    for (from, expected) in [
        (ReadFrom::Primary, [true, false, false]),
        (ReadFrom::PrimaryPreferred, [true, false, false]),
        (ReadFrom::Replica, [false, true, true]),
        (ReadFrom::ReplicaPreferred, [false, true, true]),
        (ReadFrom::Any, [true, true, true]),
        // Redis servers say no zone: all of them are elsewhere, and a replica is read from.
        (ReadFrom::Zone("here".into()), [false, true, true]),
    ] {
        let client = client_of(&lab, from.clone()).await;
        all_connected(&client, &lab, from != ReadFrom::Primary).await;
        let counts = spread(&client, &servers).await;
        assert_eq!(counts.iter().sum::<u64>(), 90, "{from:?} {counts:?}");
        for (count, expected) in counts.iter().zip(expected) {
            assert_eq!(*count > 0, expected, "{from:?} {counts:?}");
            assert!(!expected || some(*count), "the share is fair: {from:?} {counts:?}");
        }
        reset(&servers).await;
        for _ in 0..10 {
            client.incr("counter").await.unwrap();
        }
        assert_eq!(counted(&servers[0], "incr").await, 10, "{from:?}");
        client.close().await;
    }
}

// What only reads goes to replicas by the command's own flags: many kinds of command, not a list of names.
#[tokio::test]
async fn what_the_servers_flags_call_reading_goes_to_replicas_and_what_writes_does_not() {
    let lab = lab_of_three().await;
    let client = client_of(&lab, ReadFrom::Replica).await;
    all_connected(&client, &lab, true).await;
    reset(lab.nodes()).await;
    client.exists(["key"]).await.unwrap();
    client.mget::<String>(["key", "other"]).await.unwrap();
    client.hgetall::<std::collections::HashMap<String, String>>("hash").await.unwrap();
    client.llen("list").await.unwrap();
    client.rpush("list", ["one"]).await.unwrap();
    client.getdel::<String>("gone").await.unwrap();
    for (name, is_read) in
        [("exists", true), ("mget", true), ("hgetall", true), ("llen", true), ("rpush", false), ("getdel", false)]
    {
        assert_eq!(counted(&lab.nodes()[0], name).await, u64::from(!is_read), "{name}");
    }
}

#[tokio::test]
async fn the_nearest_is_the_one_that_answers_fastest_and_that_is_measured_again() {
    let lab = lab_of_three().await;
    let mut names = Vec::new();
    for node in lab.nodes() {
        names.push(FaultProxy::start(node.address()).await.unwrap());
    }
    let delays = |millis: [u64; 3]| {
        for (name, millis) in names.iter().zip(millis) {
            name.set(Direction::ToClient, Fault::Delay(Duration::from_millis(millis)));
        }
    };
    delays([40, 20, 1]);
    let hosts: Vec<_> = names.iter().map(|name| ("127.0.0.1", name.port())).collect();
    let config = Config::discover(hosts)
        .unwrap()
        .client_name("subject")
        .unwrap()
        .read_from(ReadFrom::Nearest)
        .refresh_every(Duration::from_millis(200));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    let all_at = async |index: usize| {
        eventually(PATIENCE, "the reads at the nearest", async || {
            reset(lab.nodes()).await;
            for _ in 0..10 {
                let _value: Option<String> = client.get("key").await.unwrap();
            }
            counted(&lab.nodes()[index], "get").await == 10
        })
        .await
        .unwrap();
    };
    all_at(2).await;
    delays([1, 20, 40]);
    all_at(0).await;
    client.incr("counter").await.unwrap();
}

#[tokio::test]
async fn the_zone_comes_first() {
    // Only Valkey 8 says in HELLO where it is.
    let program = std::env::var("ROMAINE_REDIS_SERVER").unwrap_or_default();
    if !program.contains("valkey") {
        println!("skipped: needs valkey-server 8.1 in ROMAINE_REDIS_SERVER");
        return;
    }
    let zone = |name: &str| Server::builder().config_line(format!("availability-zone {name}"));
    let primary = Arc::new(zone("there").start().await.unwrap());
    let follows = format!("replicaof 127.0.0.1 {}", primary.port());
    let here = Arc::new(zone("here").config_line(follows.clone()).start().await.unwrap());
    let there = Arc::new(zone("there").config_line(follows).start().await.unwrap());
    let lab = Replicated::of(vec![primary, here, there]);
    lab.wait_until_linked().await.unwrap();
    lab.nodes()[0].command(&["SET", "key", "value"]).await.unwrap();
    lab.nodes()[0].command(&["WAIT", "2", "5000"]).await.unwrap();
    let client = client_of(&lab, ReadFrom::Zone("here".into())).await;
    all_connected(&client, &lab, true).await;
    assert_eq!(spread(&client, lab.nodes()).await, [0, 90, 0]);
}

#[tokio::test]
async fn whom_the_user_chooses_reads_and_where_none_will_do_the_read_waits_or_fails() {
    let lab = lab_of_three().await;
    let last = lab.nodes()[2].clone();
    let (wanted, name) = (Arc::new(AtomicBool::new(true)), last.address().to_string());
    let is_wanted = wanted.clone();
    let config = config(&lab.url()).client_name("subject").unwrap().read_with(move |candidates| {
        assert!(candidates[0].is_primary && !candidates[1].is_primary);
        let of_choice = candidates.iter().position(|candidate| *candidate.node == *name)?;
        is_wanted.load(Ordering::SeqCst).then_some(of_choice)
    });
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    let all_know = async || client.nodes().len() == 3;
    eventually(PATIENCE, "all nodes to be known", all_know).await.unwrap();
    assert_eq!(spread(&client, lab.nodes()).await, [0, 0, 90]);
    wanted.store(false, Ordering::SeqCst);
    let nobody = client.get::<String>("key").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((nobody.kind(), nobody.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{nobody:?}");
    // Whoever is chosen in time is asked.
    let waiting = background({
        let client = client.clone();
        async move { client.get::<String>("key").await }
    });
    wanted.store(true, Ordering::SeqCst);
    assert_eq!(within(PATIENCE, "the read", waiting).await.unwrap().unwrap().as_deref(), Some("value"));
}
