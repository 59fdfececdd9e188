//! Failing at once instead of waiting, for those who want at-most-once.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Delivery, ErrorKind, Offline, RetryPolicy, Status};
use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, ScriptedServer, Server, eventually};

use crate::support::{
    PATIENCE, connect, disconnected, down, executions, fast, issued, stored, up, wait_stored, within,
};

async fn failing_at_once() -> (Server, FaultProxy, Client) {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).offline(Offline::Fail)).await;
    (server, proxy, client)
}

// 25, 29
#[tokio::test]
async fn what_is_in_flight_fails_with_the_connection() {
    let (server, proxy, client) = failing_at_once().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let write = issued(client.incr("counter")).await;
    let read = issued(client.get::<String>("key")).await;
    eventually(PATIENCE, "the read", async || executions(&server, "get").await == 1).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    let write = within(PATIENCE, "the write's verdict", write).await.unwrap_err();
    assert_eq!((write.kind(), write.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    // The read might be repeated, but not without a connection.
    let read = within(PATIENCE, "the read's verdict", read).await.unwrap_err();
    assert_eq!((read.kind(), read.delivery()), (ErrorKind::Unavailable, Delivery::Unknown));
}

// 26, 28
#[tokio::test]
async fn during_an_outage_calls_fail_at_once_and_work_again_after_it() {
    let (server, proxy, client) = failing_at_once().await;
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    down(&client).await;
    for _ in 0..3 {
        let early = futures_util::poll!(client.incr("counter"));
        let std::task::Poll::Ready(Err(error)) = early else { panic!("not at once: {early:?}") };
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::NotSent));
        assert!(std::error::Error::source(&error).is_some(), "why there is no connection: {error:?}");
    }
    assert_eq!(client.metrics().queued, 0);
    proxy.heal().await.unwrap();
    up(&client).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    assert_eq!(executions(&server, "incr").await, 1);
}

// 27
#[tokio::test]
async fn what_the_transport_never_took_fails_as_not_sent() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        if conn.index() > 0 {
            return conn.answer_all(b"+PONG\r\n").await;
        }
        conn.stop_reading().await
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).offline(Offline::Fail).library_info(false)).await;
    let large = vec![b'x'; 32 << 20];
    let large = issued(client.rpush("list", [&large])).await;
    // The driver takes the large one alone, and is stuck with it.
    eventually(PATIENCE, "the large write to begin", async || client.metrics().in_flight == 1).await.unwrap();
    let behind = issued(client.incr("behind")).await;
    let mut events = client.events();
    let large = within(PATIENCE, "the large one's verdict", large).await.unwrap_err();
    assert_eq!((large.kind(), large.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    let behind = within(PATIENCE, "the other's verdict", behind).await.unwrap_err();
    assert_eq!(behind.delivery(), Delivery::NotSent, "{behind:?}");
    drop(disconnected(&mut events).await);
    up(&client).await;
    client.ping().await.unwrap();
    let commands = server.transcript(1).join("\n");
    assert!(!commands.contains("INCR") && !commands.contains("RPUSH"), "{commands}");
}

// 30
#[tokio::test]
async fn a_lazy_client_takes_calls_before_its_first_connection() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    let client = connect(fast(proxy.address()).lazy()).await;
    assert_eq!(client.health().borrow().status, Status::Disconnected);
    let call = issued(client.incr("counter")).await;
    let mut health = client.health();
    let failed = health.wait_for(|health| health.last_error.is_some());
    drop(within(PATIENCE, "a failed attempt", failed).await.unwrap());
    proxy.heal().await.unwrap();
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(stored(&server, "counter").await, "1");
}

// 26
#[tokio::test]
async fn a_lazy_client_that_fails_at_once_does_so_before_its_first_connection() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).lazy().offline(Offline::Fail)).await;
    let error = client.ping().await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::NotSent));
    up(&client).await;
    client.ping().await.unwrap();
}

// 31
#[tokio::test]
async fn a_write_that_fails_on_the_socket_is_not_queued_again() {
    let (server, proxy, client) = failing_at_once().await;
    proxy.set(Direction::ToServer, Fault::Stall);
    let large = vec![b'x'; 32 << 20];
    let call = issued(client.rpush("list", [&large]).retry(RetryPolicy::Idempotent)).await;
    eventually(PATIENCE, "the write to begin", async || client.metrics().in_flight == 1).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.reset_all().await.unwrap();
    let error = within(PATIENCE, "the verdict", call).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Unknown, "{error:?}");
    assert_eq!(client.metrics().queued, 0);
    proxy.heal().await.unwrap();
    up(&client).await;
    client.ping().await.unwrap();
    assert_eq!(server.command(&["LLEN", "list"]).await.unwrap().as_int(), Some(0));
}

// 25: a call without a deadline of its own ends with the connection too.
#[tokio::test]
async fn a_write_is_never_repeated_after_it_may_have_been_executed() {
    let (server, proxy, client) = failing_at_once().await;
    proxy.set(Direction::ToClient, Fault::Stall);
    let call = issued(client.incr("counter").no_timeout()).await;
    wait_stored(&server, "counter", "1").await;
    proxy.reset_all().await.unwrap();
    proxy.heal().await.unwrap();
    let error = within(PATIENCE, "the verdict", call).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown));
    up(&client).await;
    tokio::time::timeout(Duration::from_secs(5), client.ping()).await.unwrap().unwrap();
    assert_eq!(stored(&server, "counter").await, "1");
}
