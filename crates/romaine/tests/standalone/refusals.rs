//! 107: refusals that pass by themselves are waited for, within the call's deadline.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Delivery, ErrorKind, RetryPolicy};
use romaine_faultlab::{Port, ScriptedServer, Server, eventually};

use crate::support::{PATIENCE, connect, connections, down, executions, fast, issued, kill_script, now, within};

// 107
#[tokio::test]
async fn a_command_waits_until_the_server_has_loaded_its_data() {
    let server = Server::builder()
        .config_line("key-load-delay 1000")
        .config_line("loading-process-events-interval-bytes 1024")
        .start()
        .await
        .unwrap();
    server.command(&["DEBUG", "POPULATE", "2000", "key", "100"]).await.unwrap();
    server.command(&["SAVE"]).await.unwrap();
    let client = connect(fast(server.address()).timeout(PATIENCE)).await;
    server.kill();
    down(&client).await;
    server.start_again().unwrap();
    // It accepts connections while it loads, and answers them all with LOADING.
    let refused = eventually(PATIENCE, "a refusal", async || {
        client.get::<String>("key:1").retry(RetryPolicy::Never).await.err().filter(|error| error.server().is_some())
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.server().unwrap().code(), "LOADING");
    assert_eq!((refused.kind(), refused.delivery()), (ErrorKind::Unavailable, Delivery::Refused));
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(executions(&server, "incr").await, 1);
    assert_eq!(connections(&client), 2, "a server that loads is alive");
    assert!(client.metrics().commands.retries > 0);
}

// 107
#[tokio::test]
async fn a_command_waits_until_a_stale_replica_serves_again() {
    let nobody = Port::claim().unwrap();
    let server = Server::builder().config_line("replica-serve-stale-data no").start().await.unwrap();
    let client = connect(fast(server.address())).await;
    server.command(&["REPLICAOF", "127.0.0.1", &nobody.number().to_string()]).await.unwrap();
    let error = client.get::<String>("key").retry(RetryPolicy::Never).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "MASTERDOWN");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Refused));
    let waiting = issued(client.get::<String>("key")).await;
    let retries = client.metrics().commands.retries;
    let promoted = async {
        eventually(PATIENCE, "a repetition", async || client.metrics().commands.retries > retries + 1).await.unwrap();
        server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    };
    let (reply, ()) = tokio::join!(waiting, promoted);
    assert_eq!(reply.unwrap(), None);
}

// 107
#[tokio::test]
async fn a_command_waits_until_a_script_has_ended() {
    let server = Server::builder().config_line("lua-time-limit 50").start().await.unwrap();
    let scripting = connect(fast(server.address())).await;
    let client = connect(fast(server.address())).await;
    let nothing: [&str; 0] = [];
    let script = issued(scripting.eval::<()>("while true do end", nothing, nothing).no_timeout()).await;
    eventually(PATIENCE, "the script to run", async || {
        client.ping().retry(RetryPolicy::Never).await.is_err_and(|error| error.server().unwrap().code() == "BUSY")
    })
    .await
    .unwrap();
    let waiting = client.incr("counter");
    let killed = async {
        eventually(PATIENCE, "some repetitions", async || client.metrics().commands.retries > 2).await.unwrap();
        kill_script(&server).await;
    };
    let (reply, script, ()) = tokio::join!(waiting, script, killed);
    assert_eq!(reply.unwrap(), 1);
    assert!(script.is_err());
    assert_eq!(executions(&server, "incr").await, 1);
}

// 107
#[tokio::test]
async fn each_refusal_that_passes_is_waited_for() {
    for refusal in ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"] {
        let server = ScriptedServer::start(move |mut conn| async move {
            conn.greet_resp3().await?;
            for _ in 0..3 {
                conn.expect("INCR").await?;
                conn.send(format!("-{refusal} not now\r\n").as_bytes()).await?;
            }
            conn.expect("INCR").await?;
            conn.send(b":1\r\n").await?;
            conn.silence().await
        })
        .await
        .unwrap();
        let client = connect(fast(server.address()).library_info(false)).await;
        assert_eq!(client.incr("counter").await.unwrap(), 1, "{refusal}");
        assert_eq!(client.metrics().commands.retries, 3);
    }
}

// 107
#[tokio::test]
async fn a_refusal_that_does_not_pass_is_told_at_the_deadline_and_one_of_another_kind_at_once() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        loop {
            let command = conn.next_command().await?;
            let reply = if command[0] == "INCR" { "-LOADING for ever\r\n" } else { "-OOM no memory\r\n" };
            conn.send(reply.as_bytes()).await?;
        }
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false).timeout(Duration::from_millis(700))).await;
    let before = now();
    let error = within(PATIENCE, "the verdict", client.incr("counter")).await.unwrap_err();
    // The last attempt may be on its way at the deadline: then its reply was not seen.
    let told = (error.kind(), error.delivery());
    let allowed = [(ErrorKind::Unavailable, Delivery::Refused), (ErrorKind::Timeout, Delivery::Unknown)];
    assert!(allowed.contains(&told), "{error:?}");
    assert!(now() - before <= Duration::from_secs(2));
    // A caller that waits half a minute asks twice a second, not a thousand times.
    assert!(client.metrics().commands.requests < 20, "{:?}", client.metrics().commands);
    let before = client.metrics().commands.requests;
    let error = client.set("key", "value").await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Server, Delivery::Refused));
    assert_eq!(client.metrics().commands.requests, before + 1);
}

// A replica stays one until somebody decides otherwise: that is for whoever knows the topology.
#[tokio::test]
async fn a_write_to_what_always_was_a_replica_is_refused_at_once() {
    let nobody = Port::claim().unwrap();
    let server = Server::start().await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", &nobody.number().to_string()]).await.unwrap();
    let client = connect(fast(server.address())).await;
    let error = client.set("key", "value").await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "READONLY");
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Refused));
    assert_eq!(client.metrics().commands.retries, 0);
}

// Lettuce #1365, spring #3431: a managed service's name moves to another server, and the old one lives on as a replica.
#[tokio::test]
async fn a_primary_that_was_demoted_is_left_and_dialled_again_until_the_name_leads_to_one() {
    let nobody = Port::claim().unwrap();
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    client.set("key", "before").await.unwrap();
    let before = client.metrics().commands.connections;
    server.command(&["REPLICAOF", "127.0.0.1", &nobody.number().to_string()]).await.unwrap();
    let error = client.set("key", "value").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Refused, "{error:?}");
    let dialled_again = async || client.metrics().commands.connections > before;
    eventually(PATIENCE, "another connection", dialled_again).await.unwrap();
    let again = async { server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap() };
    let (written, _) = within(PATIENCE, "the write", async { tokio::join!(client.set("key", "after"), again) }).await;
    written.unwrap();
}

// 107
#[tokio::test]
async fn a_server_that_is_full_is_waited_for() {
    let server = Server::builder().config_line("maxclients 10").start().await.unwrap();
    let mut crowd = Vec::new();
    while let Ok(client) = romaine::Client::connect(fast(server.address())).await {
        crowd.push(client);
    }
    assert!(crowd.len() >= 8, "{}", crowd.len());
    let client = connect(fast(server.address()).lazy()).await;
    let mut health = client.health();
    let refused = health.wait_for(|health| health.last_error.is_some());
    let cause = within(PATIENCE, "a refusal", refused).await.unwrap().last_error.clone().unwrap();
    assert!(format!("{cause:?}").contains("max number of clients"), "{cause:?}");
    crowd.clear();
    client.ping().await.unwrap();
}
