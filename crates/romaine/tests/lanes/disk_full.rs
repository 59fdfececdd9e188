//! A server that cannot write its disk (`-MISCONF`): it refuses writes and PING, and is alive.

use std::time::Duration;

use romaine::{Event, Executor as _, Liveness, Protocol, cmd};
use romaine_faultlab::{Server, eventually};

use crate::support::{PATIENCE, ask, background, connect, ended, fast, info, message, stat, told};

/// With a directory where its dump should be.
async fn server() -> Server {
    let server = Server::builder().config_line("save 3600 1").start().await.unwrap();
    std::fs::create_dir(server.dir().join("dump.rdb")).unwrap();
    saved(&server, "err").await;
    server
}

async fn saved(server: &Server, status: &str) {
    ask(server, &["SET", "key", "value"]).await;
    ask(server, &["BGSAVE"]).await;
    eventually(PATIENCE, "the dump's end", async || {
        info(server, "persistence", "rdb_last_bgsave_status").await.as_deref() == Some(status)
    })
    .await
    .unwrap();
}

/// Waits for heartbeats that were refused. More of them than a watchdog would have waited for.
async fn refused_heartbeats(server: &Server) {
    let before = stat(server, "ping", "rejected_calls").await;
    eventually(PATIENCE, "heartbeats", async || stat(server, "ping", "rejected_calls").await >= before + 12)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_subscription_is_in_force_and_its_connection_lives() {
    let server = server().await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let client = connect(fast(server.address()).protocol(protocol)).await;
        let mut events = client.events();
        let mut subscription = client.subscribe(["news"]).await.unwrap();
        refused_heartbeats(&server).await;
        ask(&server, &["PUBLISH", "news", "one"]).await;
        assert_eq!(message(&mut subscription).await, "one", "{protocol:?}");
        let told = told(&mut events);
        let is_wrong = |event: &&Event| matches!(event, Event::SubscriptionRefused { .. } | Event::Disconnected { .. });
        assert_eq!(told.iter().find(is_wrong).map(|event| format!("{event:?}")), None, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_blocked_reader_is_probed_and_not_taken_for_dead() {
    let server = server().await;
    let client = connect(
        fast(server.address()).liveness(Liveness { probe_after: Some(Duration::from_millis(300)), ..Liveness::fast() }),
    )
    .await;
    let mut events = client.events();
    let reader = client.clone();
    let read = background(async move {
        let read = cmd::<romaine::Value>("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg("s").arg("0");
        reader.issue(read).await
    });
    let unblocked = async || stat(&server, "client|unblock", "calls").await >= 8;
    eventually(PATIENCE, "probes", unblocked).await.unwrap();
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::Disconnected { .. })));
    std::fs::remove_dir(server.dir().join("dump.rdb")).unwrap();
    ask(&server, &["BGSAVE"]).await;
    let added = async || server.command(&["XADD", "s", "1-1", "f", "v"]).await.is_ok();
    eventually(PATIENCE, "a write", added).await.unwrap();
    ended(read).await.unwrap();
}
