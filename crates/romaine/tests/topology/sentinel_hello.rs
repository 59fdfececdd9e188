//! What Sentinels tell each other over the data nodes is heard there.

use std::sync::Arc;

use romaine::Client;
use romaine::commands::*;
use romaine_faultlab::{Accept, Fault, SentinelSetup, Sentinels, Server, eventually};

use crate::support::{PATIENCE, Writer, config, connect, within, written};

/// Sentinels whose links to the client can be cut.
async fn lab() -> Sentinels {
    SentinelSetup::new().behind_proxies().start().await.unwrap()
}

/// From now on no Sentinel can be reached, and nothing says so.
async fn silence(lab: &Sentinels) {
    for proxy in lab.proxies() {
        proxy.set_both(Fault::Stall);
        proxy.accept(Accept::Silent).await.unwrap();
    }
}

/// Who listens to `__sentinel__:hello` there, besides the Sentinels themselves.
async fn listeners(node: &Server) -> usize {
    let clients = node.command(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await.unwrap().text();
    clients.lines().filter(|client| client.contains("name=subject")).count()
}

async fn subject(url: &str, listens: bool) -> Client {
    let config = config(url).client_name("subject").unwrap().sentinel_hello(listens);
    within(PATIENCE, "the connection", Client::connect(config)).await.unwrap()
}

/// Waits until writes arrive at `new`.
async fn writes_arrive(new: &Arc<Server>) {
    let written = async || new.command(&["GET", "key:0"]).await.ok().and_then(|count| count.text().parse::<u64>().ok());
    let before = written().await;
    eventually(PATIENCE, "writes at the new primary", async || written().await > before).await.unwrap();
}

// F12: what the client needs to know is said while it hears no Sentinel, and the old primary acknowledges on.
#[tokio::test]
async fn a_failover_is_heard_of_although_no_sentinel_can_be_reached() {
    let lab = lab().await;
    let client = subject(&lab.url(), true).await;
    let old = lab.primary().await.unwrap();
    eventually(PATIENCE, "a listener", async || listeners(&old).await == 1).await.unwrap();
    let writer = Writer::start(&client, 1);
    writer.works().await;
    silence(&lab).await;
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    writes_arrive(&new).await;
    let role = old.command(&["ROLE"]).await.unwrap().text();
    assert!(role.starts_with("master"), "the old one is left before it refuses writes: {role}");
    // The Sentinels are back, and say the same.
    for proxy in lab.proxies() {
        proxy.reset_all().await.unwrap();
        proxy.heal().await.unwrap();
    }
    lab.wait_until_settled().await.unwrap();
    let (acknowledged, errors) = writer.stop().await;
    let there = written(&client, 1).await;
    // Three hundred writes a second, for which Sentinels leave the old one in its role for ten seconds.
    assert!(acknowledged - there.min(acknowledged) < 600, "{there} of {acknowledged} acknowledged, {errors:?}");
}

#[tokio::test]
async fn the_replicas_tell_of_the_new_primary_when_the_old_one_is_dead_and_no_sentinel_can_be_reached() {
    let lab = lab().await;
    let client = subject(&lab.url(), true).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    silence(&lab).await;
    let old = lab.primary().await.unwrap();
    old.kill();
    // Their own votes go by the same links, so one is told to do it.
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    writes_arrive(&new).await;
    writer.stop().await;
    // They are listened to as long as there is need.
    for proxy in lab.proxies() {
        proxy.reset_all().await.unwrap();
        proxy.heal().await.unwrap();
    }
    let others = lab.data().nodes().iter().filter(|node| node.is_up() && node.address() != new.address());
    for node in others {
        let ends = eventually(PATIENCE, "one listener only", async || listeners(node).await == 0).await;
        ends.unwrap_or_else(|error| panic!("{error:#}: {}", node.address()));
    }
    assert_eq!(listeners(&new).await, 1);
}

#[tokio::test]
async fn who_does_not_want_to_listen_has_one_connection_less() {
    let lab = lab().await;
    let client = subject(&lab.url(), false).await;
    client.set("key", "value").await.unwrap();
    let primary = lab.primary().await.unwrap();
    let listens = subject(&lab.url(), true).await;
    eventually(PATIENCE, "a listener", async || listeners(&primary).await == 1).await.unwrap();
    listens.close().await;
    eventually(PATIENCE, "none", async || listeners(&primary).await == 0).await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_listen_follows_the_sentinels_themselves() {
    let lab = lab().await;
    for node in lab.data().nodes() {
        let user = ["ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "resetchannels"];
        node.command(&user).await.unwrap();
    }
    let client = connect(&lab.url().replace("redis-sentinel://", "redis-sentinel://limited:secret@")).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    writes_arrive(&new).await;
    writer.stop().await;
    // It is not asked for again and again: each refusal is an entry in the server's log.
    let stats = old.command(&["INFO", "commandstats"]).await.unwrap().text();
    let subscribe = stats.lines().find(|line| line.starts_with("cmdstat_subscribe:")).unwrap();
    assert!(subscribe.contains("rejected_calls=1,"), "{subscribe}");
}
