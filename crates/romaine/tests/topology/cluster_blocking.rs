//! Blocking commands, transactions and WATCH in a Cluster that moves under them.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Delivery, Event};
use romaine_faultlab::{Cluster, FailoverKind, Server, eventually, slot_of};

use crate::cluster_lab::{
    FakeCluster, connect_with, key_between, key_of_each, named, other_primary, wait_for_connections,
};
use crate::support::{PATIENCE, background, config, connect, event, now, within};

/// How many clients are blocked at a node.
async fn blocked(node: &Server) -> usize {
    let list = node.command(&["CLIENT", "LIST"]).await.unwrap().text();
    list.lines().filter(|line| line.contains(" flags=b ")).count()
}

async fn wait_until_blocked(node: &Server) {
    eventually(PATIENCE, "the blocked call", async || blocked(node).await == 1).await.unwrap();
}

fn consumer(client: &romaine::Client) -> tokio::task::JoinHandle<romaine::Result<Option<(String, String)>>> {
    let client = client.clone();
    background(async move { client.brpop::<String, String>(["jobs"], 0.0).await })
}

async fn gets(consumer: tokio::task::JoinHandle<romaine::Result<Option<(String, String)>>>, element: &str) {
    let got = within(PATIENCE, element, consumer).await.unwrap().unwrap().unwrap();
    assert_eq!(got, ("jobs".to_owned(), element.to_owned()));
}

#[tokio::test]
async fn a_consumer_follows_its_list_through_a_migration_and_failovers() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    // A migration.
    let waiting = consumer(&client);
    let owner = lab.primary_of("jobs").await.unwrap();
    wait_until_blocked(&owner).await;
    let other = other_primary(&lab, "jobs").await;
    lab.migrate_slot(slot_of("jobs"), &other).await.unwrap();
    wait_until_blocked(&other).await;
    assert_eq!(blocked(&owner).await, 0);
    client.lpush("jobs", ["moved"]).await.unwrap();
    gets(waiting, "moved").await;
    // A failover, orderly and not.
    for kind in [FailoverKind::Manual, FailoverKind::Takeover] {
        lab.wait_until_settled().await.unwrap();
        let waiting = consumer(&client);
        let old = lab.primary_of("jobs").await.unwrap();
        wait_until_blocked(&old).await;
        let replica = lab.replica_of("jobs").await.unwrap();
        lab.failover(&replica, kind).await.unwrap();
        wait_until_blocked(&replica).await;
        replica.command(&["LPUSH", "jobs", "failed over"]).await.unwrap();
        gets(waiting, "failed over").await;
        eventually(PATIENCE, "nobody at the old one", async || blocked(&old).await == 0).await.unwrap();
    }
    client.close().await;
}

// In a Cluster of its own: a replica that won an election a moment ago, and was demoted since, takes the votes of then for
// new ones when its primary dies, and becomes a primary whom nobody believes (Redis #8752, seen in 7.0).
#[tokio::test]
async fn a_consumer_follows_its_list_when_its_primary_dies() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let waiting = consumer(&client);
    let old = lab.primary_of("jobs").await.unwrap();
    wait_until_blocked(&old).await;
    old.kill();
    let new = lab.wait_for_new_primary("jobs", old.address()).await.unwrap();
    wait_until_blocked(&new).await;
    new.command(&["LPUSH", "jobs", "after death"]).await.unwrap();
    gets(waiting, "after death").await;
    client.close().await;
}

// The old primary is frozen, its ghost still blocked in it: ended as soon as it can be asked.
#[tokio::test]
async fn the_ghost_on_a_frozen_primary_is_fenced_when_it_thaws() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let mut events = client.events();
    let waiting = consumer(&client);
    let old = lab.primary_of("jobs").await.unwrap();
    wait_until_blocked(&old).await;
    old.freeze().await.unwrap();
    let new = lab.wait_for_new_primary("jobs", old.address()).await.unwrap();
    wait_until_blocked(&new).await;
    new.command(&["LPUSH", "jobs", "element"]).await.unwrap();
    gets(waiting, "element").await;
    old.thaw().unwrap();
    event(&mut events, "the verdict", |event| matches!(event, Event::GhostFenced { .. }).then_some(())).await;
    lab.wait_until_settled().await.unwrap();
    eventually(PATIENCE, "no ghost", async || blocked(&old).await == 0).await.unwrap();
    wait_for_connections(&old, 0).await;
    client.close().await;
}

#[tokio::test]
async fn a_transaction_goes_where_its_keys_are_also_when_they_have_moved() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    for (_, key) in key_of_each(&lab, "k").await {
        let mut transaction = client.transaction();
        let (one, two) = (transaction.incr(&*key), transaction.incrby(format!("{{{key}}}b"), 5));
        let mut replies = transaction.execute().await.unwrap();
        assert_eq!((replies.take(one).unwrap(), replies.take(two).unwrap()), (1, 5));
    }
    let other = other_primary(&lab, "{t}").await;
    lab.migrate_slot(slot_of("{t}"), &other).await.unwrap();
    let mut transaction = client.transaction();
    let (one, two) = (transaction.incr("{t}1"), transaction.incr("{t}2"));
    let mut replies = within(PATIENCE, "the transaction", transaction.execute()).await.unwrap();
    assert_eq!((replies.take(one).unwrap(), replies.take(two).unwrap()), (1, 1), "once, and not twice");
    // On its way: the transaction waits for the end of it.
    let back = other_primary(&lab, "{t}").await;
    let migration = lab.begin_migration(slot_of("{t}"), &back).await.unwrap();
    migration.move_key("{t}1").await.unwrap();
    let waiting = background({
        let client = client.clone();
        async move {
            let mut transaction = client.transaction();
            let (one, two) = (transaction.incr("{t}1"), transaction.incr("{t}2"));
            let mut replies = transaction.execute().await?;
            Ok::<_, romaine::Error>((replies.take(one)?, replies.take(two)?))
        }
    });
    while migration.move_keys(10).await.unwrap() > 0 {}
    migration.finish().await.unwrap();
    let counted = within(PATIENCE, "the transaction", waiting).await.unwrap().unwrap();
    assert_eq!(counted, (2, 2));
    client.close().await;
}

// Nothing of a transaction that met MOVED was executed: it runs again, elsewhere, as a whole.
#[tokio::test]
async fn moved_within_a_transaction_moves_all_of_it() {
    let lab = FakeCluster::start(2, |fake, me, words| match (words[0].as_str(), me) {
        ("INCR", 0) => Some(format!("-MOVED {} 127.0.0.1:{}\r\n", slot_of(&words[1]), fake.port(1))),
        ("EXEC", 0) => Some("-EXECABORT Transaction discarded because of previous errors.\r\n".into()),
        ("INCR", _) => Some("+QUEUED\r\n".into()),
        ("EXEC", _) => Some("*1\r\n:1\r\n".into()),
        _ => None,
    })
    .await;
    let client = connect_with(config(&lab.url())).await;
    let mut transaction = client.transaction();
    let ticket = transaction.incr(key_between(0, 8_000));
    let mut replies = within(PATIENCE, "the transaction", transaction.execute()).await.unwrap();
    assert_eq!(replies.take(ticket).unwrap(), 1);
    assert_eq!((lab.received(0, "EXEC").len(), lab.received(1, "EXEC").len()), (1, 1));
    client.close().await;
}

#[tokio::test]
async fn watched_keys_are_watched_at_their_own_node_also_when_they_have_moved() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let add = async |client: &romaine::Client, key: &str| {
        client
            .watch([key], async |connection, transaction| {
                let value: Option<i64> = connection.get(key).await?;
                let _ticket = transaction.set(key, value.unwrap_or(0) + 1);
                Ok(())
            })
            .await
            .map(|_| ())
    };
    for (_, key) in key_of_each(&lab, "k").await {
        let adding = (0..5).map(|_| add(&client, &key));
        for added in futures_util::future::join_all(adding).await {
            added.unwrap();
        }
        assert_eq!(client.get::<i64>(&*key).await.unwrap(), Some(5));
    }
    let other = other_primary(&lab, "w").await;
    lab.migrate_slot(slot_of("w"), &other).await.unwrap();
    within(PATIENCE, "the transaction", add(&client, "w")).await.unwrap();
    lab.wait_until_settled().await.unwrap();
    let replica = lab.replica_of("w").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    within(PATIENCE, "the transaction", add(&client, "w")).await.unwrap();
    assert_eq!(client.get::<i64>("w").await.unwrap(), Some(2));
    client.close().await;
}

// A client that was idle while roles changed: only its new connection finds out.
#[tokio::test]
async fn a_connection_of_its_own_that_finds_a_replica_makes_the_client_look_for_the_primary() {
    let lab = Cluster::start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    for kind in [FailoverKind::Manual, FailoverKind::Takeover] {
        let replica = lab.replica_of("jobs").await.unwrap();
        lab.failover(&replica, kind).await.unwrap();
        lab.wait_until_settled().await.unwrap();
        let waiting = consumer(&client);
        // Long before the periodic refresh.
        within(Duration::from_secs(5), "the consumer's arrival", wait_until_blocked(&replica)).await;
        client.lpush("jobs", ["element"]).await.unwrap();
        gets(waiting, "element").await;
    }
    client.close().await;
}

// F14 for what is not repeated: a transaction whose fate is unknown is not run twice.
#[tokio::test]
async fn a_transaction_at_a_primary_that_dies_is_executed_once_or_its_fate_is_told() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let old = lab.primary_of("tx").await.unwrap();
    old.freeze().await.unwrap();
    let began = now();
    let mut transaction = client.transaction();
    let _ticket = transaction.incr("tx");
    let outcome = within(PATIENCE, "the end", transaction.execute()).await;
    match outcome {
        Ok(_) => {}
        Err(error) => assert!(matches!(error.delivery(), Delivery::Unknown | Delivery::NotSent), "{error:?}"),
    }
    assert!(now() - began < PATIENCE);
    let new = lab.wait_for_new_primary("tx", old.address()).await.unwrap();
    let mut transaction = client.transaction();
    let ticket = transaction.incr("tx");
    let mut replies = within(PATIENCE, "the transaction", transaction.execute()).await.unwrap();
    assert_eq!(replies.take(ticket).unwrap().to_string(), new.command(&["GET", "tx"]).await.unwrap().text());
    old.thaw().unwrap();
    client.close().await;
}
