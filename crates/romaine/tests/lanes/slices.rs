//! Where CLIENT UNBLOCK is not permitted a wait is cut into slices, and nobody sees it.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Delivery, Event, Lane, Liveness, Protocol, Result, command};
use romaine_faultlab::{FaultProxy, Server, eventually};
use tokio::task::JoinHandle;

use crate::support::{
    FAST, PATIENCE, Stopwatch, activated, ask, background, blocked, calls, connect, disconnected, ended, fast, now,
    plain, stat, told, within,
};

fn pop(client: &Client, timeout: f64) -> JoinHandle<Result<Option<(String, String)>>> {
    let client = client.clone();
    background(async move { client.brpop("q", timeout).await })
}

async fn server_without(forbidden: &str) -> Server {
    Server::builder().acl(format!("app on >pw ~* &* +@all {forbidden}")).start().await.unwrap()
}

fn app(config: Config) -> Config {
    config.user("app", "pw")
}

#[tokio::test]
async fn without_unblock_or_without_scripts_an_endless_pop_is_cut_into_slices() {
    // Without the last two nobody could tell whom an UNBLOCK is for.
    let cases = ["-client|unblock", "-eval", "-multi", "-client", "-info -client|list"];
    futures_util::future::join_all(cases.map(is_sliced)).await;
}

async fn is_sliced(forbidden: &str) {
    let server = server_without(forbidden).await;
    let client = connect(app(fast(server.address()))).await;
    let call = pop(&client, 0.0);
    eventually(PATIENCE, "three slices", async || calls(&server, "brpop").await >= 3).await.unwrap();
    assert!(!call.is_finished());
    assert!(calls(&server, "client|unblock").await <= 1, "{forbidden}: asked once, for nobody's id");
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job", "{forbidden}");
    assert!(stat(&server, "client|unblock", "rejected_calls").await <= 1, "asked once");
    let start = now();
    assert!(ended(pop(&client, 1.5)).await.unwrap().is_none());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1_490) && took <= Duration::from_millis(1_900), "{took:?}");
}

// P1, F16: the server's timers stand still meanwhile, so no slice ends.
#[tokio::test]
async fn a_pause_of_the_server_is_not_taken_for_its_death_by_slices() {
    let server = server_without("-client|unblock").await;
    let client = connect(app(fast(server.address()))).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    eventually(PATIENCE, "two slices", async || calls(&server, "brpop").await >= 2).await.unwrap();
    ask(&server, &["CLIENT", "PAUSE", "3000", "WRITE"]).await;
    let before = calls(&server, "brpop").await;
    eventually(PATIENCE, "the next slice", async || calls(&server, "brpop").await > before).await.unwrap();
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
    let blamed = |event: &Event| matches!(event, Event::Disconnected { lane: Lane::Blocking, .. });
    assert!(!told(&mut events).iter().any(blamed));
}

#[tokio::test]
async fn a_dead_path_is_noticed_by_slices_too_and_the_doubt_is_told() {
    tokio::join!(dies_in_a_slice("-client|unblock", true), dies_in_a_slice("-client|unblock -client|kill", false));
}

async fn dies_in_a_slice(forbidden: &str, is_fenced: bool) {
    let server = server_without(forbidden).await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(app(fast(proxy.address()))).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    let watch = Stopwatch::start();
    proxy.keep_acknowledging_with_dead_upstream().await.unwrap();
    disconnected(&mut events, Lane::Blocking).await;
    watch.within(FAST, forbidden);
    proxy.heal().await.unwrap();
    // Its slice had ended when it was looked at: whether with an element is not known.
    let error = ended(call).await.unwrap_err();
    assert!(error.may_have_lost_element(), "{forbidden}: {error}");
    assert_eq!(error.delivery(), Delivery::Unknown);
    assert_eq!(calls(&server, "client|kill").await > 0, is_fenced);
    blocked(&server, 0).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(pop(&client, 5.0)).await.unwrap().unwrap().1, "job");
}

#[tokio::test]
async fn a_permission_that_is_withdrawn_leads_to_slices_and_loses_nothing() {
    let server = server_without("").await;
    let client = connect(app(fast(server.address()))).await;
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    ask(&server, &["ACL", "SETUSER", "app", "-client|unblock"]).await;
    eventually(PATIENCE, "slices", async || calls(&server, "brpop").await >= 4).await.unwrap();
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
}

// 100.
#[tokio::test]
async fn a_dropped_call_is_cancelled_without_permission_too() {
    let server = server_without("-client").await;
    let client = connect(app(plain(server.address()))).await;
    for _ in 0..3 {
        let call = pop(&client, 0.0);
        blocked(&server, 1).await;
        call.abort();
        blocked(&server, 0).await;
        ask(&server, &["LPUSH", "q", "job"]).await;
        assert_eq!(ask(&server, &["RPOP", "q"]).await, "job");
    }
}

// A server that does not tell connections their number: probes could name nobody.
#[tokio::test]
async fn without_a_number_of_its_own_a_connection_is_sliced_and_never_taken_for_dead() {
    let server = server_without("-client|id").await;
    let client = connect(app(fast(server.address())).protocol(Protocol::Resp2)).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    eventually(PATIENCE, "three slices", async || calls(&server, "brpop").await >= 4).await.unwrap();
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    call.abort();
    blocked(&server, 0).await;
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::Disconnected { .. })));
}

// `$` asked anew in each slice would skip what comes between two.
#[tokio::test]
async fn reading_a_stream_from_its_end_misses_no_entry_between_slices() {
    let server = Server::start().await.unwrap();
    let tiny = Duration::from_millis(15);
    let liveness = Liveness { probe_after: None, slice: tiny, ..Liveness::default() };
    let client = connect(plain(server.address()).liveness(liveness)).await;
    for round in 1..=60_u32 {
        let reader = client.clone();
        let before = calls(&server, "xread").await;
        let call = background(async move { reader.issue(command::xread::<String>([("s", "$")]).block(0)).await });
        eventually(PATIENCE, "the read", async || calls(&server, "xread").await > before).await.unwrap();
        // At any moment of a slice, between two of them included.
        tokio::time::sleep(Duration::from_micros(u64::from(round) * 500)).await;
        ask(&server, &["XADD", "s", &format!("{round}-1"), "k", "v"]).await;
        let entries = ended(call).await.unwrap();
        assert_eq!(entries[0].1.len(), 1, "round {round}");
    }
    assert!(calls(&server, "xread").await > 100, "there were slices");
}

#[tokio::test]
async fn a_sliced_pop_survives_kills_and_restarts() {
    let server = server_without("-client|unblock").await;
    let client = connect(app(fast(server.address()))).await;
    let (mut events, mut all) = (client.events(), client.events());
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    disconnected(&mut events, Lane::Blocking).await;
    activated(&mut events, Lane::Blocking).await;
    // A server that is killed with a command unread resets the connection, and nobody knows what it did with it.
    blocked(&server, 1).await;
    server.restart().await.unwrap();
    within(PATIENCE, "the client", client.connected()).await.unwrap();
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
    // The server may have discarded a reply with the connection: the call goes on, and that is told.
    assert!(told(&mut all).iter().any(|event| matches!(event, Event::ElementMayBeLost { .. })));
}
