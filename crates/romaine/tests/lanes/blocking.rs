//! P5: blocking commands on the shared client.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Delivery, ErrorKind, Event, Lane, Result, cmd, command};
use romaine_faultlab::{Direction, Fault, FaultProxy, Server, eventually};
use tokio::task::JoinHandle;

use crate::support::{
    FAST, PATIENCE, Stopwatch, activated, ask, background, blocked, calls, connect, disconnected, ended, event, fast,
    info, now, plain, told, within,
};

type Popped = Result<Option<(String, String)>>;

fn pop(client: &Client, timeout: f64) -> JoinHandle<Popped> {
    let client = client.clone();
    background(async move { client.brpop("q", timeout).await })
}

async fn element(call: JoinHandle<Popped>) -> String {
    ended(call).await.expect("no error").expect("an element").1
}

// S4.
#[tokio::test]
async fn an_endless_pop_survives_kills_and_restarts() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    for _ in 0..3 {
        blocked(&server, 1).await;
        ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
        disconnected(&mut events, Lane::Blocking).await;
        activated(&mut events, Lane::Blocking).await;
    }
    for _ in 0..2 {
        blocked(&server, 1).await;
        server.kill();
        disconnected(&mut events, Lane::Blocking).await;
        server.restart().await.unwrap();
    }
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(element(call).await, "job");
    let lost = told(&mut events).into_iter().find(|event| matches!(event, Event::ElementMayBeLost { .. }));
    assert!(lost.is_some(), "the server may have discarded a reply with the connection, and that is told");
}

// S4, P1: the kernel of a frozen process goes on acknowledging.
#[tokio::test]
async fn an_endless_pop_notices_a_frozen_server_and_goes_on_when_it_thaws() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    let watch = Stopwatch::start();
    server.freeze().await.unwrap();
    disconnected(&mut events, Lane::Blocking).await;
    watch.within(FAST, "noticed after");
    server.thaw().unwrap();
    // The old one is fenced, the new one waits.
    activated(&mut events, Lane::Blocking).await;
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(element(call).await, "job");
}

#[tokio::test]
async fn a_time_out_is_nil_when_it_passes_and_never_before() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    // Shorter than a probe's period, in its middle, and longer than two.
    let mut calls = tokio::task::JoinSet::new();
    for millis in [50, 300, 1_200, 2_500] {
        let client = client.clone();
        calls.spawn(async move {
            let timeout = Duration::from_millis(millis);
            let start = now();
            let popped: Option<(String, String)> =
                client.brpop(format!("q{millis}"), timeout.as_secs_f64()).await.unwrap();
            let took = start.elapsed();
            assert!(popped.is_none());
            assert!(took + Duration::from_millis(2) >= timeout, "{took:?} instead of {timeout:?}");
            assert!(took <= timeout + PATIENCE, "{took:?} instead of {timeout:?}");
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn a_time_out_ends_the_call_in_an_outage_too() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let call = pop(&client, 1.0);
    blocked(&server, 1).await;
    let start = now();
    proxy.keep_acknowledging_with_dead_upstream().await.unwrap();
    let error = ended(call).await.unwrap_err();
    assert!(start.elapsed() <= PATIENCE, "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown), "{error}");
    assert!(error.may_have_lost_element());
    // And one that cannot even start.
    let start = now();
    let error = ended(pop(&client, 0.5)).await.unwrap_err();
    assert!(start.elapsed() <= PATIENCE, "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent), "{error}");
    assert!(!error.may_have_lost_element());
    // The ghost is fenced when the path is back; nothing is lost to it.
    proxy.heal().await.unwrap();
    proxy.cut_all().await.unwrap();
    within(PATIENCE, "the connection", client.connected()).await.unwrap();
    blocked(&server, 0).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(element(pop(&client, 5.0)).await, "job");
}

#[tokio::test]
async fn probes_are_invisible_to_the_caller() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    eventually(PATIENCE, "four probes", async || calls(&server, "client|unblock").await >= 5).await.unwrap();
    assert!(!call.is_finished());
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(element(call).await, "job");
    let verdicts: Vec<_> = told(&mut events)
        .into_iter()
        .filter(|event| matches!(event, Event::Disconnected { .. } | Event::GhostFenced { .. } | Event::Suspect { .. }))
        .collect();
    assert!(verdicts.is_empty(), "{verdicts:?}");
}

// 100.
#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server_and_what_comes_later_stays_in_the_list() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    for round in 0..5 {
        let call = pop(&client, 0.0);
        blocked(&server, 1).await;
        call.abort();
        blocked(&server, 0).await;
        ask(&server, &["LPUSH", "q", "job"]).await;
        assert_eq!(ask(&server, &["LLEN", "q"]).await, "1", "round {round}");
        assert_eq!(element(pop(&client, 1.0)).await, "job");
    }
}

// 100.
#[tokio::test]
async fn a_call_whose_own_limit_passes_is_an_error_and_takes_nothing_afterwards() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let start = now();
    let call = client.brpop::<String, String>("q", 0.0).timeout(Duration::from_millis(200));
    let error = within(PATIENCE, "the limit", call).await.unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(198), "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Refused), "{error}");
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ask(&server, &["LLEN", "q"]).await, "1");
    // tokio's own time-out drops the call.
    let call = client.brpop::<String, String>("other", 0.0);
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    blocked(&server, 0).await;
    ask(&server, &["LPUSH", "other", "job"]).await;
    assert_eq!(ask(&server, &["LLEN", "other"]).await, "1");
}

#[tokio::test]
async fn an_element_that_a_dropped_call_had_just_been_given_is_told() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(plain(proxy.address())).await;
    let mut events = client.events();
    let call = pop(&client, 0.0);
    blocked(&server, 1).await;
    // The reply is held back on its way, then its caller goes.
    proxy.set(Direction::ToClient, Fault::Stall);
    ask(&server, &["LPUSH", "q", "job"]).await;
    call.abort();
    let _gone = call.await;
    proxy.heal().await.unwrap();
    let command = event(&mut events, "the loss", |event| match event {
        Event::ElementMayBeLost { command } => Some(*command),
        _ => None,
    })
    .await;
    assert_eq!(command, "BRPOP");
}

#[tokio::test]
async fn every_blocking_command_waits_across_probes() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    ask(&server, &["XGROUP", "CREATE", "events", "group", "$", "MKSTREAM"]).await;
    let work = async {
        tokio::join!(
            client.blmove::<String>("from", "to", command::Side::Right, command::Side::Left, 0.0),
            client.bzpopmin::<String, String>("scores", 0.0),
            client.issue(command::blmpop::<String, String>(0.0, ["many"], command::Side::Left).count(2)),
            client.issue(command::xreadgroup::<String>("group", "me", [("events", ">")]).block(0)),
            client.issue(command::xread::<String>([("plain", "$")]).block(0)),
            client.brpop::<String, String>(["none", "list"], 0.0),
        )
    };
    let push = async {
        blocked(&server, 6).await;
        let before = calls(&server, "client|unblock").await;
        eventually(PATIENCE, "two probes of each", async || calls(&server, "client|unblock").await >= before + 12)
            .await
            .unwrap();
        blocked(&server, 6).await;
        ask(&server, &["RPUSH", "from", "moved"]).await;
        ask(&server, &["ZADD", "scores", "1.5", "first"]).await;
        ask(&server, &["RPUSH", "many", "a", "b", "c"]).await;
        ask(&server, &["XADD", "events", "1-1", "k", "v"]).await;
        ask(&server, &["XADD", "plain", "2-1", "k", "v"]).await;
        ask(&server, &["RPUSH", "list", "popped"]).await;
    };
    let ((moved, scored, many, grouped, read, popped), ()) =
        within(PATIENCE, "all of them", async { tokio::join!(work, push) }).await;
    assert_eq!(moved.unwrap().unwrap(), "moved");
    assert_eq!(scored.unwrap().unwrap(), ("scores".into(), "first".into(), 1.5));
    assert_eq!(many.unwrap().unwrap(), ("many".into(), vec!["a".to_owned(), "b".into()]));
    assert_eq!(grouped.unwrap()[0].1.len(), 1);
    assert_eq!(read.unwrap()[0].1.len(), 1);
    assert_eq!(popped.unwrap().unwrap(), ("list".into(), "popped".into()));
}

#[tokio::test]
async fn blocking_calls_hold_up_nobody() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let waiting: Vec<_> = (0..50).map(|_| pop(&client, 0.0)).collect();
    blocked(&server, 50).await;
    assert_eq!(client.metrics().blocking, 50);
    let start = now();
    for n in 0..100 {
        client.set("k", n).await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for n in 0..50 {
        client.lpush("q", n).await.unwrap();
    }
    let mut popped = Vec::new();
    for call in waiting {
        popped.push(element(call).await.parse::<u32>().unwrap());
    }
    popped.sort_unstable();
    assert_eq!(popped, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_number_of_blocking_connections_is_limited() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address()).blocking_connections_max(2)).await;
    let waiting = [pop(&client, 0.0), pop(&client, 0.0)];
    blocked(&server, 2).await;
    let error = ended(pop(&client, 0.0)).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Overloaded, Delivery::NotSent));
    assert!(error.to_string().contains("blocking_connections_max"), "{error}");
    ask(&server, &["LPUSH", "q", "1", "2"]).await;
    for call in waiting {
        element(call).await;
    }
    ask(&server, &["LPUSH", "q", "3"]).await;
    assert_eq!(element(pop(&client, 0.0)).await, "3");
}

#[tokio::test]
async fn connections_are_used_again_by_the_next_blocking_call() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    for n in 0..20 {
        ask(&server, &["LPUSH", "q", &n.to_string()]).await;
        assert_eq!(element(pop(&client, 0.0)).await, n.to_string());
        assert!(ended(pop(&client, 0.01)).await.unwrap().is_none());
    }
    let clients = ask(&server, &["CLIENT", "LIST", "TYPE", "normal"]).await;
    let ours = clients.lines().filter(|line| !line.contains("name=faultlab")).count();
    assert_eq!(ours, 3, "commands, control, one blocking: {clients}");
    // One that died in the pool is not handed out.
    ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(element(pop(&client, 0.0)).await, "job");
}

#[tokio::test]
async fn closing_the_client_ends_what_is_blocked() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let calls: Vec<_> = (0..5).map(|_| pop(&client, 0.0)).collect();
    blocked(&server, 5).await;
    let start = now();
    within(PATIENCE, "the close", client.close()).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for call in calls {
        let error = ended(call).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error}");
        assert!(error.may_have_lost_element(), "what was given in the last moment: {error}");
    }
    blocked(&server, 0).await;
    eventually(PATIENCE, "no connection of ours", async || {
        info(&server, "clients", "connected_clients").await.as_deref() == Some("1")
    })
    .await
    .unwrap();
    assert_eq!(ended(pop(&client, 0.0)).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn the_servers_own_refusals_are_told() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    client.set("q", "a string").await.unwrap();
    let error = ended(pop(&client, 0.0)).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "WRONGTYPE");
    assert!(error.to_string().contains("BRPOP"), "{error}");
    let error = client.issue(cmd::<()>("BRPOP").arg("q").arg("soon")).await.unwrap_err();
    assert!(error.to_string().contains("timeout is not a float"), "{error}");
    let error = client.issue(cmd::<()>("BRPOP").arg("q").arg(-1)).await.unwrap_err();
    assert!(error.to_string().contains("timeout is negative"), "{error}");
}

// WAIT counts the replicas that have what *its own connection* wrote: on a connection besides, it says nothing.
#[tokio::test]
async fn waiting_for_replicas_is_refused_where_it_would_mean_nothing() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let wait = || cmd::<i64>("WAIT").arg(0).arg(100);
    let error = client.issue(wait()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("exclusive"), "{error}");
    let exclusive = client.exclusive().await.unwrap();
    exclusive.set("k", "v").await.unwrap();
    assert_eq!(exclusive.issue(wait()).await.unwrap(), 0);
}

// Up to 7.0 an XREADGROUP that waits is told so with UNBLOCKED, the code of a demotion.
#[tokio::test]
async fn a_group_whose_stream_is_deleted_is_told_so_and_its_server_is_not_left() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    ask(&server, &["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]).await;
    let call = background({
        let client = client.clone();
        let words = ["GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"];
        async move { client.issue(cmd::<Option<String>>("XREADGROUP").args(words.to_vec())).await }
    });
    blocked(&server, 1).await;
    // For longer than a connection is too new to be left.
    eventually(PATIENCE, "probes", async || calls(&server, "client|unblock").await >= 3).await.unwrap();
    let mut events = client.events();
    ask(&server, &["DEL", "s"]).await;
    let error = ended(call).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "NOGROUP", "{error}");
    client.set("key", "value").await.unwrap();
    let left = told(&mut events).into_iter().find(|event| matches!(event, Event::Disconnected { .. }));
    assert!(left.is_none(), "{left:?}");
}
