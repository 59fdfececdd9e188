//! Connections of one's own to the node that has a key.

use std::time::Duration;

use romaine::commands::*;
use romaine_faultlab::{Cluster, Server, eventually, slot_of};

use crate::cluster_lab::{connect_with, key_of_each, named, other_primary};
use crate::support::{PATIENCE, config};

// WAIT counts what its own connection wrote: so a connection of one's own to where the key is.
#[tokio::test]
async fn a_connection_of_ones_own_leads_to_the_node_that_has_the_key_also_after_it_moved() {
    let lab = Cluster::start().await.unwrap();
    let config = named(&lab.url()).refresh_every(Duration::from_secs(3_600));
    let client = connect_with(config).await;
    for (node, key) in key_of_each(&lab, "own:").await {
        let own = client.exclusive_for(&key).await.unwrap();
        own.set(&*key, "v").await.unwrap();
        assert_eq!(own.wait(1, 20_000).await.unwrap(), 1, "{key}");
        assert_eq!(node.command(&["GET", &key]).await.unwrap().text(), "v");
    }
    // Moved, and the client has not been told.
    let to = other_primary(&lab, "key").await;
    let before = client.exclusive_for("key").await.unwrap();
    lab.migrate_slot(slot_of("key"), &to).await.unwrap();
    let redirects = client.metrics().redirects;
    let own = client.exclusive_for("key").await.unwrap();
    own.set("key", "there").await.unwrap();
    assert_eq!(own.wait(1, 20_000).await.unwrap(), 1);
    assert_eq!(to.command(&["GET", "key"]).await.unwrap().text(), "there");
    assert!(client.metrics().redirects > redirects);
    let error = before.set("key", "elsewhere").await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "MOVED", "what was opened before says so");
    // The primary is killed: another one is found as soon as there is one.
    to.kill();
    let own = eventually(PATIENCE, "a connection to the new primary", async || {
        let own = client.exclusive_for("key").await.ok()?;
        own.set("key", "again").await.ok().map(|()| own)
    });
    assert_eq!(own.await.unwrap().get::<String>("key").await.unwrap().as_deref(), Some("again"));
    client.close().await;
}

#[tokio::test]
async fn a_connection_of_ones_own_is_open_to_a_user_who_may_not_ask_for_the_key_and_to_a_slot_on_its_way() {
    let server = Server::builder().acl("writer on >pw ~* &* +@all -exists");
    let lab = Cluster::builder().server(server).start().await.unwrap();
    let client = connect_with(config(&lab.url()).user("writer", "pw")).await;
    let own = client.exclusive_for("key").await.unwrap();
    own.set("key", "v").await.unwrap();
    let to = other_primary(&lab, "moving").await;
    let migration = lab.begin_migration(slot_of("moving"), &to).await.unwrap();
    let client = connect_with(config(&lab.url())).await;
    let own = client.exclusive_for("moving").await.unwrap();
    let error = own.set("moving", "v").await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "ASK", "nothing is redirected on it");
    migration.finish().await.unwrap();
    client.exclusive_for("moving").await.unwrap().set("moving", "v").await.unwrap();
    client.close().await;
}
