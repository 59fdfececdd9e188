//! Real topologies, disturbed.

use std::net::Ipv4Addr;
use std::time::Duration;

use romaine_faultlab::{
    Cluster, FailoverKind, Fault, Replicated, SLOTS, SentinelSetup, Sentinels, Server, eventually, slot_of,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(20);

async fn says(server: &Server, words: &[&str]) -> String {
    match server.command(words).await {
        Ok(reply) => reply.text(),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn replicas_follow_the_primary_and_a_promoted_one_leads() {
    let nodes = Replicated::builder().replicas(2).server(Server::builder().password("secret")).start().await.unwrap();
    let old = nodes.primary().await.unwrap();
    assert_eq!(old.address(), nodes.nodes()[0].address());
    let replicas = nodes.replicas().await.unwrap();
    assert_eq!(replicas.len(), 2);
    old.command(&["SET", "key", "value"]).await.unwrap();
    for replica in &replicas {
        eventually(SOON, "the value", async || says(replica, &["GET", "key"]).await == "value").await.unwrap();
    }
    nodes.promote(&replicas[1]).await.unwrap();
    nodes.wait_until_linked().await.unwrap();
    assert_eq!(nodes.primary().await.unwrap().address(), replicas[1].address());
    // The old one lives on, and refuses.
    assert!(says(&old, &["SET", "key", "other"]).await.contains("READONLY"));
    let addresses: Vec<_> = nodes.nodes().iter().map(|node| node.address().to_string()).collect();
    assert_eq!(nodes.url(), format!("redis://{}?role=discover", addresses.join(",")));
}

#[tokio::test]
async fn two_servers_share_a_port_on_different_addresses_of_the_loopback() {
    let one = Server::start().await.unwrap();
    let other = Server::builder().ip(Ipv4Addr::new(127, 0, 0, 2)).port(one.port()).start().await.unwrap();
    one.command(&["SET", "who", "one"]).await.unwrap();
    assert_eq!(one.port(), other.port());
    let mut client = TcpStream::connect(other.address()).await.unwrap();
    client.write_all(b"EXISTS who\r\n").await.unwrap();
    let mut reply = [0; 4];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b":0\r\n");
}

#[tokio::test]
async fn sentinels_replace_a_primary_that_was_killed_and_demote_it_when_it_returns() {
    let setup = Sentinels::start().await.unwrap();
    let url = setup.url();
    assert!(url.starts_with("redis-sentinel://127.0.0.1:") && url.ends_with("/mymaster"), "{url}");
    assert_eq!(url.matches("127.0.0.1:").count(), 3);
    let old = setup.primary().await.unwrap();
    assert_eq!(setup.replicas().await.unwrap().len(), 2);
    old.kill();
    let new = setup.wait_for_new_primary(old.address()).await.unwrap();
    assert_eq!(says(&new, &["SET", "key", "value"]).await, "OK");
    old.restart().await.unwrap();
    eventually(SOON, "the demotion", async || says(&old, &["SET", "key", "other"]).await.contains("READONLY"))
        .await
        .unwrap();
}

#[tokio::test]
async fn sentinels_replace_a_primary_that_is_frozen() {
    let setup = SentinelSetup::new().replicas(1).down_after(Duration::from_millis(500)).start().await.unwrap();
    let old = setup.primary().await.unwrap();
    old.freeze().await.unwrap();
    let new = setup.wait_for_new_primary(old.address()).await.unwrap();
    assert_ne!(new.address(), old.address());
    old.thaw().unwrap();
    eventually(SOON, "the demotion", async || says(&old, &["SET", "key", "other"]).await.contains("READONLY"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_failover_that_was_asked_for_demotes_a_living_primary() {
    let setup = SentinelSetup::new()
        .name("other")
        .server(Server::builder().password("data"))
        .sentinel_auth("watcher", "sesame")
        .start()
        .await
        .unwrap();
    assert!(setup.url().starts_with("redis-sentinel://watcher:sesame@127.0.0.1:"), "{}", setup.url());
    assert!(setup.url().ends_with("/other"), "{}", setup.url());
    let old = setup.primary().await.unwrap();
    setup.failover().await.unwrap();
    let new = setup.wait_for_new_primary(old.address()).await.unwrap();
    assert!(old.is_up() && new.address() != old.address());
    eventually(SOON, "the demotion", async || says(&old, &["SET", "key", "other"]).await.contains("READONLY"))
        .await
        .unwrap();
    // The Sentinels ask everybody who they are.
    let mut client = TcpStream::connect(setup.sentinels()[0].address()).await.unwrap();
    client.write_all(b"SENTINEL MASTERS\r\n").await.unwrap();
    let mut reply = [0; 7];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"-NOAUTH");
}

#[tokio::test]
async fn clients_of_the_sentinels_are_cut_off_while_the_sentinels_stay_together() {
    let setup = Sentinels::start().await.unwrap();
    let mut client = TcpStream::connect(setup.sentinels()[1].address()).await.unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    client.read_exact(&mut [0; 7]).await.unwrap();
    assert_eq!(setup.kill_clients().await.unwrap(), 1);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(setup.kill_clients().await.unwrap(), 0);
    setup.wait_until_settled().await.unwrap();
}

#[tokio::test]
async fn a_failover_happens_behind_stalled_proxies_of_the_sentinels() {
    let setup = SentinelSetup::new().behind_proxies().start().await.unwrap();
    assert_eq!(setup.proxies().count(), 3);
    let old = setup.primary().await.unwrap();
    for proxy in setup.proxies() {
        proxy.set_both(Fault::Stall);
    }
    setup.failover().await.unwrap();
    let new = setup.wait_for_new_primary(old.address()).await.unwrap();
    assert_ne!(new.address(), old.address());
    for proxy in setup.proxies() {
        proxy.heal().await.unwrap();
    }
    setup.wait_until_settled().await.unwrap();
}

#[tokio::test]
async fn a_blind_sentinel_names_the_first_primary_for_ever() {
    let setup = SentinelSetup::new().with_blind_sentinel().start().await.unwrap();
    let old = setup.primary().await.unwrap();
    setup.failover().await.unwrap();
    let new = setup.wait_for_new_primary(old.address()).await.unwrap();
    eventually(SOON, "the demotion", async || says(&old, &["SET", "key", "other"]).await.contains("READONLY"))
        .await
        .unwrap();
    assert_eq!(setup.addresses().len(), 4);
    let mut client = TcpStream::connect(setup.addresses()[0]).await.unwrap();
    client.write_all(b"SENTINEL GET-MASTER-ADDR-BY-NAME mymaster\r\n").await.unwrap();
    let mut reply = [0; 64];
    let count = client.read(&mut reply).await.unwrap();
    let reply = String::from_utf8_lossy(&reply[..count]).into_owned();
    assert!(reply.contains(&old.port().to_string()) && !reply.contains(&new.port().to_string()), "{reply}");
}

#[tokio::test]
async fn a_cluster_of_six_covers_all_slots_and_fails_over_in_every_way() {
    let cluster = Cluster::start().await.unwrap();
    assert_eq!((cluster.nodes().len(), cluster.primaries().await.len()), (6, 3));
    assert_eq!(cluster.url().matches("127.0.0.1:").count(), 6);
    for slot in [0, 5460, 5461, 10922, 10923, SLOTS - 1] {
        assert!(cluster.node_of_slot(slot).await.is_some(), "{slot}");
    }
    let old = cluster.primary_of("key").await.unwrap();
    assert_eq!(says(&old, &["SET", "key", "value"]).await, "OK");
    let replica = cluster.replica_of("key").await.unwrap();
    assert!(says(&replica, &["SET", "key", "value"]).await.contains("MOVED"));

    cluster.failover(&replica, FailoverKind::Manual).await.unwrap();
    cluster.wait_until_settled().await.unwrap();
    assert_eq!(cluster.primary_of("key").await.unwrap().address(), replica.address());
    assert_eq!(says(&replica, &["GET", "key"]).await, "value");

    replica.kill();
    let back = cluster.wait_for_new_primary("key", replica.address()).await.unwrap();
    assert_eq!(back.address(), old.address());
    replica.restart().await.unwrap();
    cluster.wait_until_settled().await.unwrap();

    old.freeze().await.unwrap();
    let again = cluster.wait_for_new_primary("key", old.address()).await.unwrap();
    assert_eq!(again.address(), replica.address());
    old.thaw().unwrap();
    cluster.wait_until_settled().await.unwrap();
}

#[tokio::test]
async fn a_slot_moves_step_by_step_with_ask_and_tryagain_between() {
    let cluster = Cluster::builder().replicas(0).server(Server::builder().password("secret")).start().await.unwrap();
    let (one, two, slot) = ("{tag}1", "{tag}2", slot_of("tag"));
    let from = cluster.primary_of(one).await.unwrap();
    let to = cluster.primaries().await.into_iter().find(|node| node.address() != from.address()).unwrap();
    for key in [one, two] {
        from.command(&["SET", key, key]).await.unwrap();
    }
    let migration = cluster.begin_migration(slot, &to).await.unwrap();
    assert_eq!(says(&from, &["GET", one]).await, one);
    migration.move_key(one).await.unwrap();
    let ask = format!("ASK {slot} {}", to.address());
    assert!(says(&from, &["GET", one]).await.contains(&ask));
    assert!(says(&from, &["MGET", one, two]).await.contains("TRYAGAIN"));
    assert_eq!(migration.move_keys(10).await.unwrap(), 1);
    migration.finish().await.unwrap();
    assert!(says(&from, &["GET", one]).await.contains(&format!("MOVED {slot}")));
    assert_eq!(says(&to, &["MGET", one, two]).await, format!("{one}\n{two}"));
    cluster.wait_until_settled().await.unwrap();

    // Back again, and half of the way given up.
    let migration = cluster.begin_migration(slot, &from).await.unwrap();
    migration.move_key(two).await.unwrap();
    migration.abandon().await.unwrap();
    assert_eq!(says(&to, &["MGET", one, two]).await, format!("{one}\n{two}"));
    cluster.migrate_slot(slot, &from).await.unwrap();
    assert_eq!(cluster.node_of_slot(slot).await.unwrap().address(), from.address());
}

#[tokio::test]
async fn a_node_that_was_taken_out_is_forgotten_and_its_slots_are_served() {
    let cluster = Cluster::start().await.unwrap();
    let old = cluster.primary_of("key").await.unwrap();
    old.command(&["SET", "key", "value"]).await.unwrap();
    cluster.remove(&old).await.unwrap();
    cluster.wait_until_settled().await.unwrap();
    let new = cluster.primary_of("key").await.unwrap();
    assert_ne!(new.address(), old.address());
    assert_eq!(says(&new, &["GET", "key"]).await, "value");
    assert_eq!(cluster.view_of(&new).await.unwrap().len(), 5);
    assert_eq!(cluster.view_of(&old).await.unwrap().len(), 1);
    assert!(says(&old, &["GET", "key"]).await.contains("CLUSTERDOWN"));
}
