//! One command at every primary or every node, each of which answers for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Delivery, ErrorKind, NodeReplies, NodeRole, cmd};
use romaine_faultlab::{Cluster, Port, Replicated, SentinelSetup, Server, eventually};

use crate::cluster_lab::named;
use crate::support::{PATIENCE, connect, node, within};

type Ports = NodeReplies<std::collections::HashMap<String, String>>;

/// Everyone who answered, by the port that it says it has, which must be that of its name.
fn answered(replies: Ports) -> BTreeSet<String> {
    let each = replies.into_iter().map(|(node, reply)| {
        let port = &reply.unwrap_or_else(|error| panic!("{node}: {error}"))["port"];
        assert!(node.ends_with(&format!(":{port}")), "{node} says that it is at {port}");
        node.to_string()
    });
    each.collect()
}

fn names<'a>(servers: impl IntoIterator<Item = &'a std::sync::Arc<Server>>) -> BTreeSet<String> {
    servers.into_iter().map(|server| node(server)).collect()
}

/// Servers do not list a replica before it has received something.
async fn knows(client: &Client, replicas: usize) {
    eventually(PATIENCE, "the replicas", async || {
        client.nodes().iter().filter(|node| node.role == NodeRole::Replica).count() == replicas
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_node_of_a_cluster_answers_for_itself_and_one_that_is_down_keeps_nobody_waiting() {
    let lab = Cluster::builder().replicas(1).start().await.unwrap();
    let client = Client::connect(named(&lab.url()).refresh_every(Duration::from_millis(200))).await.unwrap();
    knows(&client, 3).await;
    let everybody = names(lab.nodes());
    assert_eq!(answered(client.on_all_nodes().config_get(["port"]).await.unwrap()), everybody);
    let primaries = names(&lab.primaries().await);
    assert_eq!(answered(client.on_all_primaries().config_get(["port"]).await.unwrap()), primaries);
    // Each its own answer, to a command that has one reply elsewhere, and to one that no table knows.
    client.set("key", "value").await.unwrap();
    let sizes = client.on_all_primaries().dbsize().await.unwrap();
    assert_eq!(sizes.iter().map(|(_, size)| *size.as_ref().unwrap()).sum::<i64>(), 1);
    let errors = client.on_all_primaries().issue(cmd::<()>("NOSUCH.COMMAND").arg("x")).await.unwrap();
    assert_eq!(errors.len(), 3);
    for (node, error) in errors {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.node()), (ErrorKind::Server, Some(&*node)), "{error}");
    }
    let replica = lab.nodes().iter().find(|server| !primaries.contains(&node(server))).unwrap();
    replica.freeze().await.unwrap();
    let replies = client.on_all_nodes().config_get(["port"]).timeout(Duration::from_millis(300));
    let (well, ill): (Vec<_>, Vec<_>) = within(PATIENCE, "those who are there", replies)
        .await
        .unwrap()
        .into_iter()
        .partition(|(_, reply)| reply.is_ok());
    assert_eq!((well.len(), ill.len()), (5, 1));
    assert_eq!(*ill[0].0, *node(replica));
    assert_eq!(ill[0].1.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    replica.thaw().unwrap();
    client.close().await;
}

#[tokio::test]
async fn behind_sentinels_the_primary_is_one_and_its_replicas_are_nodes() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = connect(&lab.url()).await;
    knows(&client, lab.data().nodes().len() - 1).await;
    assert_eq!(answered(client.on_all_nodes().config_get(["port"]).await.unwrap()), names(lab.data().nodes()));
    let old = lab.primary().await.unwrap();
    let primaries = async || answered(client.on_all_primaries().config_get(["port"]).await.unwrap());
    assert_eq!(primaries().await, names([&old]));
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    eventually(PATIENCE, "the next primary", async || primaries().await == names([&new])).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn one_server_is_all_nodes_and_all_primaries_and_a_node_is_itself() {
    let lab = Replicated::builder().start().await.unwrap();
    let (primary, replica) = (&lab.nodes()[0], &lab.nodes()[1]);
    let client = connect(&format!("redis://{}", node(primary))).await;
    for on in [client.on_all_nodes(), client.on_all_primaries()] {
        assert_eq!(answered(on.config_get(["port"]).await.unwrap()), names([primary]));
    }
    let client = connect(&lab.url()).await;
    let on_replica = client.on(&node(replica)).unwrap();
    assert_eq!(answered(on_replica.on_all_nodes().config_get(["port"]).await.unwrap()), names([replica]));
}

#[tokio::test]
async fn what_cannot_be_asked_of_all_is_refused_and_without_a_view_nobody_is() {
    let server = Server::start().await.unwrap();
    let client = connect(&format!("redis://{}", node(&server))).await;
    for misuse in [cmd::<()>("SELECT").arg(1), cmd::<()>("BRPOP").arg("key").arg(0)] {
        let error = client.on_all_nodes().issue(misuse).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Usage, Delivery::NotSent), "{error}");
    }
    let nobody = Port::claim().unwrap();
    let lazy = named(&format!("redis-cluster://{}", nobody.address())).lazy();
    let client = Client::connect(lazy).await.unwrap();
    let call = client.on_all_primaries().dbsize().timeout(Duration::from_millis(300));
    let error = within(PATIENCE, "the error", call).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::NotSent, "{error:?}");
    client.close().await;
}
