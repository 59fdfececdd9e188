//! Clusters whose nodes announce host names, and Clusters that speak TLS.

use romaine::Event;
use romaine::commands::*;
use romaine_faultlab::{Cluster, FailoverKind, Server, ServerBuilder, TlsFiles, slot_of};

use crate::cluster_lab::{connect_with, key_of_each, named, other_primary};
use crate::support::{PATIENCE, event, within};

/// Nodes that are called `localhost` in MOVED, ASK and CLUSTER SLOTS.
fn by_name(server: ServerBuilder) -> ServerBuilder {
    server.config_line("cluster-announce-hostname localhost").config_line("cluster-preferred-endpoint-type hostname")
}

// A MOVED at a name leads to the node of that name, which is no second one beside that of the address.
#[tokio::test]
async fn nodes_are_reached_by_the_names_they_announce() {
    let lab = Cluster::builder().server(by_name(Server::builder())).start().await.unwrap();
    let client = connect_with(named(&lab.url())).await;
    let nodes = client.nodes();
    assert!(!nodes.is_empty() && nodes.iter().all(|node| node.node.starts_with("localhost:")), "{nodes:?}");
    for (owner, key) in key_of_each(&lab, "key").await {
        client.set(&key, "value").await.unwrap();
        assert_eq!(owner.command(&["GET", &key]).await.unwrap().text(), "value");
    }
    // Redirected by name.
    let other = other_primary(&lab, "jobs").await;
    lab.migrate_slot(slot_of("jobs"), &other).await.unwrap();
    client.set("jobs", "moved").await.unwrap();
    assert_eq!(other.command(&["GET", "jobs"]).await.unwrap().text(), "moved");
    assert!(client.metrics().redirects >= 1, "{:?}", client.metrics().redirects);
    // And failed over by name.
    let mut events = client.events();
    let replica = lab.replica_of("jobs").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    let name = format!("localhost:{}", replica.port());
    within(PATIENCE, "a write", client.set("jobs", "failed over")).await.unwrap();
    event(&mut events, "the failover", |event| match event {
        Event::Failover { to, .. } if **to == *name => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(replica.command(&["GET", "jobs"]).await.unwrap().text(), "failed over");
}

// The addresses that CLUSTER SLOTS, MOVED and ASK name are those of the TLS ports where the question came by TLS.
#[tokio::test]
async fn every_node_is_reached_by_tls() {
    let files = TlsFiles::generate().unwrap();
    let encrypted =
        by_name(Server::builder().tls(&files)).config_line("tls-cluster yes").config_line("tls-replication yes");
    let lab = Cluster::builder().replicas(0).server(encrypted).start().await.unwrap();
    let seed = lab.nodes()[0].tls_address().unwrap().port();
    let url = format!("rediss-cluster://localhost:{seed}?ca={}", files.ca_cert().display());
    let client = connect_with(named(&url)).await;
    for (owner, key) in key_of_each(&lab, "key").await {
        client.set(&key, "value").await.unwrap();
        assert_eq!(owner.command(&["GET", &key]).await.unwrap().text(), "value");
        let list = owner.command(&["CLIENT", "LIST"]).await.unwrap().text();
        let port = format!(":{} ", owner.tls_address().unwrap().port());
        let ours: Vec<_> = list.lines().filter(|line| line.contains("name=under-test")).collect();
        assert!(!ours.is_empty() && ours.iter().all(|line| line.contains(&port)), "{ours:?}");
    }
    let other = other_primary(&lab, "jobs").await;
    lab.migrate_slot(slot_of("jobs"), &other).await.unwrap();
    client.set("jobs", "moved").await.unwrap();
    assert_eq!(other.command(&["GET", "jobs"]).await.unwrap().text(), "moved");
}
