//! Outages of more than a primary, and more than one client.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Delivery, ErrorKind, Offline};
use romaine_faultlab::{SentinelSetup, eventually};

use crate::support::{PATIENCE, PROMISE, Writer, background, config, connect, now, within};

async fn port_of(client: &Client) -> romaine::Result<Option<String>> {
    Ok(client.config_get(["port"]).await?.into_values().next())
}

// Hole 24 (Lettuce #2366): everything was down, and the roles are others than before.
#[tokio::test]
async fn after_an_outage_of_everything_the_roles_are_asked_for_again() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    // Until the roles are written down everywhere.
    eventually(PATIENCE, "the demotion", async || {
        old.command(&["ROLE"]).await.is_ok_and(|role| role.text().starts_with("slave"))
    })
    .await
    .unwrap();
    let all: Vec<_> = lab.data().nodes().iter().chain(lab.sentinels()).collect();
    all.iter().for_each(|server| server.kill());
    let writing = background({
        let client = client.clone();
        async move { client.set("key", "value").timeout(Duration::from_secs(120)).await }
    });
    for server in &all {
        server.restart().await.unwrap();
    }
    let primary = lab.primary().await.unwrap();
    assert_eq!(primary.address(), new.address(), "the roles are written down");
    let back = now();
    within(PATIENCE, "the write", writing).await.unwrap().unwrap();
    assert!(now() - back < Duration::from_secs(4), "{:?}", now() - back);
    assert_eq!(primary.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// Hole 25 (Lettuce #1296): one of many identical clients missed it.
#[tokio::test]
async fn every_one_of_many_clients_moves() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(connect(&lab.url()).await);
    }
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    for client in &clients {
        eventually(PATIENCE, "the move", async || {
            port_of(client).await.is_ok_and(|port| port == Some(new.port().to_string()))
        })
        .await
        .unwrap();
    }
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn a_frozen_sentinel_does_not_hold_a_failover_up() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    lab.sentinels()[0].freeze().await.unwrap();
    let old = lab.primary().await.unwrap();
    old.kill();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", writer.works()).await;
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    writer.stop().await;
    lab.sentinels()[0].thaw().unwrap();
}

#[tokio::test]
async fn the_database_of_the_url_is_the_data_nodes_and_stays_over_a_failover() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&format!("{}/3", lab.url())).await;
    client.set("before", "value").await.unwrap();
    let old = lab.primary().await.unwrap();
    old.kill();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PROMISE, "a write", client.set("after", "value")).await.unwrap();
    let keyspace = new.command(&["INFO", "keyspace"]).await.unwrap().text();
    assert!(keyspace.contains("db3:keys=2") && !keyspace.contains("db0:"), "{keyspace}");
}

// F10 and F11 one after the other, again and again: nothing wears out.
#[tokio::test]
async fn failovers_one_after_the_other_are_all_followed_and_leave_nothing_behind() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let counted: Config = config(&lab.url()).client_name("subject").unwrap();
    let client = within(PATIENCE, "the connection", Client::connect(counted)).await.unwrap();
    let writer = Writer::start(&client, 1);
    for turn in 0..3 {
        writer.works().await;
        let old = lab.primary().await.unwrap();
        old.kill();
        lab.wait_for_new_primary(old.address()).await.unwrap();
        let failed_over = now();
        within(PATIENCE, "a write", writer.works()).await;
        assert!(now() - failed_over < PROMISE, "turn {turn}: {:?}", now() - failed_over);
        old.restart().await.unwrap();
        lab.wait_until_settled().await.unwrap();
        lab.data().wait_until_linked().await.unwrap();
    }
    writer.stop().await;
    eventually(PATIENCE, "two connections in all, for commands and to listen to Sentinels", async || {
        let mut count = 0;
        for node in lab.data().nodes() {
            let list = node.command(&["CLIENT", "LIST"]).await.unwrap().text();
            count += list.lines().filter(|line| line.contains("name=subject")).count();
        }
        count == 2
    })
    .await
    .unwrap();
}

// Hole 22, P6: the default settings take ten seconds to call a silent peer dead; a promotion is no matter of that.
#[tokio::test]
async fn a_frozen_primary_is_left_at_its_successors_promotion_whatever_the_liveness() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = within(PATIENCE, "the connection", Client::connect(lab.url())).await.unwrap();
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    old.freeze().await.unwrap();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    within(PATIENCE, "a write", writer.works()).await;
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    let (_, errors) = writer.stop().await;
    // The one that the frozen server was sent: nobody knows.
    assert!(errors.len() <= 1 && errors.iter().all(|error| error.delivery() == Delivery::Unknown), "{errors:?}");
}

#[tokio::test]
async fn who_does_not_want_to_wait_is_told_at_once_that_there_is_no_primary() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = within(PATIENCE, "the connection", Client::connect(config(&lab.url()).offline(Offline::Fail)));
    let client = client.await.unwrap();
    let old = lab.primary().await.unwrap();
    let mut health = client.health();
    old.kill();
    within(PATIENCE, "the loss", health.wait_for(|health| !health.is_connected())).await.unwrap();
    let error = within(Duration::from_millis(500), "the error", client.set("key", "value")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::NotSent), "{error:?}");
    lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PROMISE, "the connection", client.connected()).await.unwrap();
    client.set("key", "value").await.unwrap();
}
