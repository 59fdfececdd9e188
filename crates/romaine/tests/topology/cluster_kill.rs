//! SCRIPT KILL and FUNCTION KILL, which go to every primary and succeed where one had something to kill.

use std::sync::Arc;
use std::time::Duration;

use romaine::Client;
use romaine::commands::*;
use romaine_faultlab::{Cluster, Server, eventually};
use tokio::task::JoinHandle;

use crate::cluster_lab::{connect_with, named};
use crate::support::{PATIENCE, background, within};

const ENDLESS: &str = "#!lua name=endless\nredis.register_function('endless', function() while true do end end)";

/// Scripts can be killed soon after they began, and a node that is away is not missed by the others.
async fn setup() -> (Cluster, Client) {
    let server = Server::builder().config_line("busy-reply-threshold 50");
    let builder = Cluster::builder().replicas(0).node_timeout(Duration::from_secs(60)).server(server);
    let lab = builder.start().await.unwrap();
    // Longer than anything here is waited for: who waits for a dead node's deadline fails.
    let client = connect_with(named(&lab.url()).timeout(PATIENCE * 10)).await;
    (lab, client)
}

/// A node that is busy until it is told to stop, with what it says then.
async fn keep_busy(node: &Arc<Server>, words: &'static [&'static str]) -> JoinHandle<Option<String>> {
    let busy = background({
        let node = node.clone();
        async move { node.command(words).await.err().map(|error| format!("{error:#}")) }
    });
    eventually(PATIENCE, "a busy script", async || {
        node.command(&["GET", "x"]).await.is_err_and(|error| format!("{error:#}").contains("BUSY"))
    })
    .await
    .unwrap();
    busy
}

async fn was_killed(busy: JoinHandle<Option<String>>) {
    let ended = within(PATIENCE, "the script's end", busy).await.unwrap();
    assert!(ended.as_ref().is_some_and(|error| error.contains("killed")), "{ended:?}");
}

const SCRIPT: &[&str] = &["EVAL", "while true do end", "0"];

#[tokio::test]
async fn a_busy_script_is_killed_although_another_node_is_dead() {
    let (lab, client) = setup().await;
    lab.nodes()[1].kill();
    let busy = keep_busy(&lab.nodes()[0], SCRIPT).await;
    within(PATIENCE, "the kill", client.script_kill()).await.unwrap();
    was_killed(busy).await;
    let node = &lab.nodes()[2];
    node.command(&["FUNCTION", "LOAD", ENDLESS]).await.unwrap();
    let busy = keep_busy(node, &["FCALL", "endless", "0"]).await;
    within(PATIENCE, "the kill", client.function_kill()).await.unwrap();
    was_killed(busy).await;
    client.close().await;
}

#[tokio::test]
async fn a_busy_script_is_killed_although_another_node_is_frozen() {
    let (lab, client) = setup().await;
    lab.nodes()[1].freeze().await.unwrap();
    let busy = keep_busy(&lab.nodes()[0], SCRIPT).await;
    within(PATIENCE, "the kill", client.script_kill()).await.unwrap();
    was_killed(busy).await;
    lab.nodes()[1].thaw().unwrap();
    client.close().await;
}

#[tokio::test]
async fn two_busy_scripts_are_both_killed() {
    let (lab, client) = setup().await;
    let busy = [keep_busy(&lab.nodes()[0], SCRIPT).await, keep_busy(&lab.nodes()[2], SCRIPT).await];
    within(PATIENCE, "the kill", client.script_kill()).await.unwrap();
    for busy in busy {
        was_killed(busy).await;
    }
    client.close().await;
}

// Nobody can say that nothing runs at the node that does not answer.
#[tokio::test]
async fn where_nothing_was_killed_the_node_that_could_not_be_asked_is_the_error() {
    let (lab, client) = setup().await;
    let error = client.script_kill().await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "NOTBUSY", "{error:?}");
    lab.nodes()[1].kill();
    let call = client.script_kill().timeout(Duration::from_millis(500));
    let error = within(PATIENCE, "the error", call).await.unwrap_err();
    assert!(error.server().is_none(), "{error:?}");
    assert_eq!(error.node(), Some(&*lab.nodes()[1].address().to_string()), "{error:?}");
    client.close().await;
}
