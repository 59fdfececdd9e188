//! Calls that take too long.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Backoff, Client, ConnectionLimits, Delivery, ErrorKind, Liveness};
use romaine_faultlab::{Direction, Fault, FaultProxy, Server, eventually};

use crate::support::{PATIENCE, connect, connections, disconnected, executions, fast, issued, now, stored, up, within};

const SHORT: Duration = Duration::from_millis(200);

/// A client that tells a pause from a death, and whose calls may take `SHORT`.
async fn patient(server: &Server) -> Client {
    connect(fast(server.address()).liveness(Liveness::default()).timeout(SHORT)).await
}

async fn pause(server: &Server, milliseconds: u32) {
    server.command(&["CLIENT", "PAUSE", &milliseconds.to_string(), "ALL"]).await.unwrap();
}

// 36
#[tokio::test]
async fn calls_time_out_while_the_server_pauses_and_the_connection_stays_usable() {
    let server = Server::start().await.unwrap();
    let client = patient(&server).await;
    pause(&server, 1_000).await;
    let before = now();
    let (write, read) = tokio::join!(client.incr("counter"), client.get::<String>("key"));
    assert!(now() - before >= SHORT);
    for error in [write.unwrap_err(), read.unwrap_err()] {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
        assert!(error.to_string().contains("it may have been executed"), "{error}");
    }
    assert_eq!(client.incr("counter").no_timeout().await.unwrap(), 2, "the first one was executed after the pause");
    assert_eq!(connections(&client), 1);
    assert_eq!(client.metrics().commands.expired, 2);
}

// Who wants no limit may say so with the longest of all.
#[tokio::test]
async fn a_limit_that_no_clock_can_tell_is_none() {
    let server = Server::start().await.unwrap();
    let config = fast(server.address())
        .resolve_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .handshake_timeout(Duration::MAX)
        .timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .backoff(Backoff::Constant { delay: Duration::MAX });
    let client = connect(config).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(client.incr("counter").timeout(Duration::MAX).await.unwrap(), 2);
    server.command(&["RPUSH", "list", "element"]).await.unwrap();
    let popped = client.brpop::<String, String>(["list"], 1.0).timeout(Duration::MAX).await.unwrap();
    assert!(popped.is_some());
    let exclusive = client.exclusive().await.unwrap();
    assert_eq!(exclusive.incr("counter").await.unwrap(), 3);
    drop(exclusive);
    // The delay before the next attempt is as long: the client waits, and can be closed.
    let mut events = client.events();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    disconnected(&mut events).await;
    within(PATIENCE, "the end", client.close()).await;
}

// 37
#[tokio::test]
async fn what_waits_behind_a_full_line_times_out_unsent() {
    let server = Server::start().await.unwrap();
    let limits = ConnectionLimits { in_flight_max: 1, ..ConnectionLimits::default() };
    let client = connect(fast(server.address()).liveness(Liveness::default()).timeout(SHORT).limits(limits)).await;
    pause(&server, 1_000).await;
    let first = issued(client.incr("first").no_timeout()).await;
    eventually(PATIENCE, "the first to be sent", async || client.metrics().in_flight == 1).await.unwrap();
    let mut pipeline = client.pipeline();
    let _ticket = pipeline.incr("second");
    let (single, batch) = tokio::join!(client.incr("second"), pipeline.execute());
    for error in [single.unwrap_err(), batch.unwrap_err()] {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
    }
    assert_eq!(first.await.unwrap(), 1);
    client.ping().no_timeout().await.unwrap();
    assert_eq!(stored(&server, "second").await, "");
}

// 38, 39
#[tokio::test]
async fn a_call_has_its_own_deadline_or_none() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).liveness(Liveness::default()).timeout(Duration::from_secs(600))).await;
    let strict = patient(&server).await;
    pause(&server, 1_000).await;
    let before = now();
    let (own, longer, none) = tokio::join!(
        client.incr("a").timeout(SHORT),
        strict.incr("b").timeout(Duration::from_secs(600)),
        strict.incr("c").no_timeout(),
    );
    assert_eq!(own.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(longer.unwrap(), 1);
    assert_eq!(none.unwrap(), 1);
    assert!(now() - before < Duration::from_secs(600));
}

// 39
#[tokio::test]
async fn a_client_without_a_deadline_waits_for_the_reply() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).liveness(Liveness::default()).timeout(SHORT).no_timeout()).await;
    pause(&server, 3 * u32::try_from(SHORT.as_millis()).unwrap()).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(client.metrics().commands.expired, 0);
}

// 40
#[tokio::test]
async fn the_late_reply_of_a_call_that_timed_out_reaches_nobody() {
    let server = Server::start().await.unwrap();
    let client = patient(&server).await;
    pause(&server, 800).await;
    let late = client.echo::<String>("late").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let mut calls = Vec::new();
    for number in 0..10 {
        calls.push(issued(client.echo::<i64>(number).no_timeout()).await);
    }
    for (number, call) in (0..10).zip(calls) {
        assert_eq!(within(PATIENCE, "a reply", call).await.unwrap(), number);
    }
    assert_eq!(connections(&client), 1);
    assert_eq!(executions(&server, "echo").await, 11);
}

// P3: the late reply of a pipeline that timed out halfway.
#[tokio::test]
async fn the_late_replies_of_a_pipeline_that_timed_out_reach_nobody() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut pipeline = client.pipeline().timeout(SHORT);
    for number in 0..1_000 {
        let _ticket = pipeline.echo::<i64>(number);
    }
    proxy.set(Direction::ToClient, Fault::Bandwidth(8_000));
    let error = pipeline.execute().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    assert_eq!(error.command(), Some("pipeline"));
    let next = issued(client.echo::<String>("mine")).await;
    proxy.heal().await.unwrap();
    assert_eq!(next.await.unwrap(), "mine");
    assert_eq!(connections(&client), 1);
}

// P3: the deadline of a call covers all its attempts.
#[tokio::test]
async fn a_call_that_is_repeated_keeps_its_deadline() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let before = now();
    proxy.set(Direction::ToClient, Fault::Stall);
    let limit = Duration::from_secs(1);
    let call = client.get::<String>("key").timeout(limit);
    let disturbance = async {
        // Each time it was sent, the connection ends; the last time, nothing comes back.
        for reads in 1..=3 {
            eventually(PATIENCE, "the read", async || executions(&server, "get").await == reads).await.unwrap();
            proxy.cut_all().await.unwrap();
            proxy.set(Direction::ToClient, Fault::Pass);
            up(&client).await;
            proxy.set(Direction::ToClient, Fault::Stall);
        }
    };
    let (outcome, ()) = tokio::join!(call, disturbance);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    let took = now() - before;
    assert!(took >= limit, "{took:?}");
}
