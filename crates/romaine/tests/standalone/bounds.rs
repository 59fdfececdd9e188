//! P7: everything is bounded.

use std::time::Duration;

use romaine::commands::*;
use romaine::{ConnectionLimits, Delivery, ErrorKind, Event, Lane, Limits};
use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, Server, eventually};

use crate::support::{
    PATIENCE, clients, connect, down, event, executions, fast, issued, kill_clients, no_clients, up, within,
};

fn queue_of(requests: usize) -> ConnectionLimits {
    ConnectionLimits { queued_requests_max: requests, ..ConnectionLimits::default() }
}

// 33
#[tokio::test]
async fn the_call_past_the_limit_is_refused_by_its_name_and_those_before_it_run() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    let client = connect(fast(proxy.address()).limits(queue_of(10)).lazy()).await;
    let mut events = client.events();
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(issued(client.incr("counter")).await);
    }
    for _ in 0..2 {
        let error = client.incr("counter").await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Overloaded, Delivery::NotSent));
        assert!(error.to_string().contains("queued_requests_max"), "{error}");
    }
    event(&mut events, "the queue to be told full", |event| {
        matches!(event, Event::QueueFull { lane: Lane::Commands }).then_some(())
    })
    .await;
    proxy.heal().await.unwrap();
    for (number, call) in (1..=10).zip(calls) {
        assert_eq!(call.await.unwrap(), number);
    }
    assert_eq!(client.incr("counter").await.unwrap(), 11, "there is room again");
    assert_eq!(client.metrics().commands.refused_by_limit, 2);
    let mut told_again = 0;
    while let Some(event) = events.try_next() {
        told_again += usize::from(matches!(event, Event::QueueFull { .. }));
    }
    assert_eq!(told_again, 0, "a full queue is told once");
}

// 34
#[tokio::test]
async fn the_handshake_does_not_count_against_the_queues_limit() {
    let server = Server::builder().acl("alice on >s3cret ~* +@all").start().await.unwrap();
    let config = fast(server.address()).limits(queue_of(1)).user("alice", "s3cret").database(3);
    let client = connect(config.client_name("narrow").unwrap()).await;
    for connection in 1..=3 {
        up(&client).await;
        assert_eq!(client.incr("counter").await.unwrap(), connection);
        kill_clients(&server).await;
        down_or_up_again(&client, u64::try_from(connection).unwrap()).await;
    }
}

async fn down_or_up_again(client: &romaine::Client, connections: u64) {
    let mut health = client.health();
    let wait = health.wait_for(|health| health.connections > connections && health.is_connected());
    drop(within(PATIENCE, "the next connection", wait).await.unwrap());
}

// 35
#[tokio::test]
async fn more_in_flight_than_the_queue_holds_are_refused_when_they_come_back_and_the_rest_is_repeated() {
    let server = Server::start().await.unwrap();
    server.command(&["SET", "key", "value"]).await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).limits(queue_of(10))).await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let mut calls = Vec::new();
    for sent in 0..20 {
        calls.push(issued(client.get::<String>("key")).await);
        eventually(PATIENCE, "the read", async || executions(&server, "get").await > sent).await.unwrap();
    }
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    down(&client).await;
    let all = futures_util::future::join_all(calls);
    let healed = async {
        eventually(PATIENCE, "the queue to be full", async || client.metrics().queued == 10).await.unwrap();
        proxy.heal().await.unwrap();
    };
    let (replies, ()) = within(PATIENCE, "all verdicts", async { tokio::join!(all, healed) }).await;
    let (repeated, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(Result::is_ok);
    assert_eq!((repeated.len(), refused.len()), (10, 10));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Overloaded, Delivery::Unknown), "{error:?}");
    }
}

// 104
#[tokio::test]
async fn an_outage_fills_no_more_than_the_bound_and_what_expired_in_it_is_never_sent() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let limits = ConnectionLimits { queued_bytes_max: 100_000, ..ConnectionLimits::default() };
    let client = connect(fast(proxy.address()).limits(limits)).await;
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    down(&client).await;
    let value = vec![b'x'; 1_000];
    // Several rounds: what expires makes room, and no more than that.
    for _ in 0..5 {
        let mut calls = Vec::new();
        for _ in 0..200 {
            calls.push(client.set("expired", &value).timeout(Duration::from_millis(100)));
        }
        let mut outcomes = Box::pin(futures_util::future::join_all(calls));
        assert!(futures_util::poll!(&mut outcomes).is_pending());
        let metrics = client.metrics();
        assert!(metrics.queued_bytes <= 100_000 && metrics.queued_bytes > 90_000, "{metrics:?}");
        let outcomes = within(PATIENCE, "the deadlines", outcomes).await;
        let count = |kind| outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(|e| e.kind() == kind)).count();
        let (expired, refused) = (count(ErrorKind::Timeout), count(ErrorKind::Overloaded));
        assert_eq!(expired + refused, 200);
        assert!((90..100).contains(&expired), "{expired}");
        assert_eq!((client.metrics().queued, client.metrics().queued_bytes), (0, 0));
    }
    let error = client.set("a", vec![b'x'; 99_000]).timeout(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "there is room: {error:?}");
    proxy.heal().await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(executions(&server, "set").await, 0);
}

// P7
#[tokio::test]
async fn a_request_larger_than_the_queue_passes_alone() {
    let server = Server::start().await.unwrap();
    let limits = ConnectionLimits { queued_bytes_max: 1_000, ..ConnectionLimits::default() };
    let client = connect(fast(server.address()).limits(limits)).await;
    client.set("large", vec![b'x'; 1 << 20]).await.unwrap();
    assert_eq!(client.strlen("large").await.unwrap(), 1 << 20);
}

// P7, "Bad input": longer than the limit.
#[tokio::test]
async fn a_reply_past_the_limit_closes_the_connection_and_its_call_says_so() {
    let server = Server::start().await.unwrap();
    server.command(&["SETRANGE", "large", "99999", "x"]).await.unwrap();
    let reply = Limits { reply_bytes_max: 10_000, ..Limits::default() };
    let limits = ConnectionLimits { reply, ..ConnectionLimits::default() };
    let client = connect(fast(server.address()).limits(limits)).await;
    let error = client.get::<String>("large").retry(romaine::RetryPolicy::Never).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    let cause = std::error::Error::source(&error).expect("the reason").downcast_ref::<romaine::Error>().unwrap();
    assert_eq!(cause.kind(), ErrorKind::Protocol);
    up(&client).await;
    client.ping().await.unwrap();
}

// P7: one connection for everybody's commands, and none is left behind.
#[tokio::test]
async fn a_thousand_callers_share_one_connection() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let calls = (0..1_000).map(|_| client.incr("counter"));
    let mut counts: Vec<i64> =
        futures_util::future::join_all(calls).await.into_iter().collect::<Result<_, _>>().unwrap();
    counts.sort_unstable();
    assert_eq!(counts, (1..=1_000).collect::<Vec<_>>());
    assert_eq!(clients(&server).await.len(), 1);
    client.close().await;
    no_clients(&server).await;
}

// 12
#[tokio::test]
async fn nothing_is_left_after_a_command_and_nobody_after_close() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    client.set("key", "value").await.unwrap();
    let metrics = client.metrics();
    assert_eq!((metrics.queued, metrics.queued_bytes, metrics.in_flight), (0, 0, 0));
    client.close().await;
    no_clients(&server).await;
    let error = client.ping().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::NotSent));
}

// 12
#[tokio::test]
async fn dropping_the_last_clone_closes_the_connection() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let clone = client.clone();
    drop(client);
    clone.ping().await.unwrap();
    drop(clone);
    no_clients(&server).await;
}
