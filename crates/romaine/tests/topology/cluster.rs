//! A Cluster: slots, redirects, failovers.

use romaine::commands::*;
use romaine_faultlab::{Cluster, FailoverKind, slot_of};

use crate::support::{PATIENCE, PROMISE, Writer, connect, now, within, written};

#[tokio::test]
async fn commands_go_to_the_primary_of_their_slot() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    for n in 0..100 {
        client.set(format!("key:{n}"), n).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(client.get::<i64>(format!("key:{n}")).await.unwrap(), Some(n));
    }
    assert_eq!(client.metrics().redirects, 0, "the map was right from the start");
    let keys: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
    let values: Vec<Option<i64>> = client.mget(keys.clone()).await.unwrap();
    assert_eq!(values, (0..100).map(Some).collect::<Vec<_>>());
    assert_eq!(client.del(keys).await.unwrap(), 100);
    client.close().await;
}

// F14, case 86
#[tokio::test]
async fn writes_go_on_when_a_primary_is_killed() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 50);
    writer.works().await;
    let old = lab.primary_of("key:0").await.unwrap();
    old.kill();
    lab.wait_for_new_primary("key:0", old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", client.incr("key:0")).await.unwrap();
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    writer.stop().await;
}

// Lettuce #1976, F14
#[tokio::test]
async fn a_frozen_primary_is_left_as_soon_as_the_cluster_promoted_another() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 50);
    writer.works().await;
    let old = lab.primary_of("key:0").await.unwrap();
    old.freeze().await.unwrap();
    lab.wait_for_new_primary("key:0", old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", client.incr("key:0")).await.unwrap();
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    old.thaw().unwrap();
    writer.stop().await;
}

// Cases 81, 85, 88
#[tokio::test]
async fn slots_move_and_roles_change_under_load_without_a_wrong_reply() {
    let lab = Cluster::start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 50);
    writer.works().await;
    let owner = lab.primary_of("key:0").await.unwrap();
    let others = lab.primaries().await;
    let other = others.iter().find(|other| other.address() != owner.address()).unwrap();
    lab.migrate_slot(slot_of("key:0"), other).await.unwrap();
    let replica = lab.replica_of("key:1").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    within(PATIENCE, "a write", writer.works()).await;
    let (acknowledged, errors) = writer.stop().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(written(&client, 50).await, acknowledged);
}
