//! P10: everything is observable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Backoff, Credentials, Delay, ErrorKind, Event, Lane, Status};
use romaine_faultlab::{Server, eventually};

use crate::support::{PATIENCE, activated, ask, connect, disconnected, event, fast, plain, told, within};

#[tokio::test]
async fn an_outage_is_told_step_by_step_and_can_be_awaited() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let mut health = client.health();
    assert_eq!(health.borrow().status, Status::Connected);
    server.kill();
    let cause = disconnected(&mut events, Lane::Commands).await;
    assert_eq!(cause.kind(), ErrorKind::Closed);
    let (attempt, cause) = event(&mut events, "a failed attempt", |event| match event {
        Event::ReconnectFailed { lane: Lane::Commands, attempt, cause, .. } if *attempt > 2 => {
            Some((*attempt, cause.clone()))
        }
        _ => None,
    })
    .await;
    assert!(attempt > 2);
    assert_eq!(cause.kind(), ErrorKind::Connect, "{cause}");
    assert_eq!(health.borrow_and_update().status, Status::Disconnected);
    let (connected, restarted) = tokio::join!(within(PATIENCE, "the connection", client.connected()), server.restart());
    restarted.unwrap();
    connected.unwrap();
    event(&mut events, "an attempt", |event| match event {
        Event::ConnectAttempt { lane: Lane::Commands, .. } => Some(()),
        _ => None,
    })
    .await;
    event(&mut events, "a socket", |event| match event {
        Event::Connected { lane: Lane::Commands, .. } => Some(()),
        _ => None,
    })
    .await;
    activated(&mut events, Lane::Commands).await;
    let now = health.borrow_and_update().clone();
    assert_eq!((now.status, now.connections, now.attempts), (Status::Connected, 2, 0));
    client.close().await;
    event(&mut events, "the end", |event| matches!(event, Event::Closed).then_some(())).await;
    assert_eq!(client.connected().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(health.borrow_and_update().status, Status::Closed);
}

// 108: a slow listener loses the oldest events, is told how many, and holds up nobody.
#[tokio::test]
async fn a_listener_that_does_not_listen_is_told_how_much_it_missed() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address()).events_backlog(4)).await;
    let mut lazy = client.events();
    for _ in 0..3 {
        server.restart().await.unwrap();
        within(PATIENCE, "the connection", async { while client.get::<String>("k").await.is_err() {} }).await;
    }
    let seen = told(&mut lazy);
    assert!(matches!(seen.first(), Some(Event::Lagged(missed)) if *missed > 0), "{seen:?}");
    assert!(seen.len() <= 5, "{seen:?}");
}

struct Faulty(AtomicU32);

impl Delay for Faulty {
    fn delay(&self, _attempt: u64, _previous: Duration) -> Duration {
        let call = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(call % 2 == 1, "a mistake in the application");
        Duration::from_millis(20)
    }
}

// 108.
#[tokio::test]
async fn a_panicking_delay_does_not_stop_reconnection() {
    let server = Server::start().await.unwrap();
    let delay = Arc::new(Faulty(AtomicU32::new(1)));
    let client = connect(plain(server.address()).backoff(Backoff::Custom(delay.clone()))).await;
    let mut events = client.events();
    server.kill();
    // Its second call panics; a safe delay stands in.
    let next_in = event(&mut events, "the delay that stands in", |event| match event {
        Event::ReconnectFailed { next_in, .. } if *next_in > Duration::from_secs(1) => Some(*next_in),
        _ => None,
    })
    .await;
    assert!(delay.0.load(Ordering::Relaxed) >= 3, "{next_in:?}");
    // The stand-in is long; that the supervisor lives on is seen by what it does when the client is closed.
    within(Duration::from_secs(2), "the close", client.close()).await;
    assert_eq!(client.health().borrow().status, Status::Closed);
}

// 108.
#[tokio::test]
async fn a_panicking_or_failing_credentials_provider_does_not_stop_reconnection() {
    let server = Server::builder().password("s3cret").start().await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let provider = {
        let calls = calls.clone();
        move || match calls.fetch_add(1, Ordering::Relaxed) {
            1 => panic!("a mistake in the application"),
            2 => Ok(Credentials::password("wrong")),
            3 => Err("redis://"
                .parse::<romaine::Config>()
                .and_then(|_| romaine::Config::from_url("nonsense"))
                .unwrap_err()),
            _ => Ok(Credentials::password("s3cret")),
        }
    };
    let client = connect(plain(server.address()).credentials(provider)).await;
    let mut events = client.events();
    // The server stays up: every attempt gets as far as the provider's answer does.
    ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    let mut failures = Vec::new();
    while failures.len() < 3 {
        let cause = event(&mut events, "a failure", |event| match event {
            Event::ReconnectFailed { lane: Lane::Commands, cause, .. } => Some(cause.clone()),
            _ => None,
        })
        .await;
        if cause.kind() != ErrorKind::Closed {
            failures.push(cause);
        }
    }
    assert!(failures[0].to_string().contains("panicked"), "{failures:?}");
    assert_eq!(failures[1].kind(), ErrorKind::Auth, "{failures:?}");
    within(PATIENCE, "the connection", client.connected()).await.unwrap();
    client.set("k", "v").await.unwrap();
    assert!(failures.iter().all(|cause| !format!("{cause:?}").contains("wrong")), "no secret is told");
}

#[tokio::test]
async fn a_suspect_server_is_told_before_it_is_given_up_and_recovers_without_a_word_lost() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    server.freeze().await.unwrap();
    let silent_for = event(&mut events, "the suspicion", |event| match event {
        Event::Suspect { lane: Lane::Commands, silent_for } => Some(*silent_for),
        _ => None,
    })
    .await;
    assert!(silent_for >= Duration::from_secs(2), "{silent_for:?}");
    assert_eq!(client.health().borrow().status, Status::Suspect);
    let mut call = std::pin::pin!(client.set("k", "v"));
    assert!(futures_util::poll!(&mut call).is_pending());
    server.thaw().unwrap();
    event(&mut events, "the recovery", |event| match event {
        Event::Recovered { lane: Lane::Commands } => Some(()),
        _ => None,
    })
    .await;
    call.await.unwrap();
    eventually(PATIENCE, "the status", async || client.health().borrow().status == Status::Connected).await.unwrap();
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::Disconnected { .. })));
}

#[tokio::test]
async fn metrics_count_what_was_done_and_how_long_it_took() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    for n in 0..50 {
        client.set("k", n).await.unwrap();
        client.get::<i64>("k").await.unwrap();
    }
    let mut pipeline = client.pipeline();
    for _ in 0..10 {
        let _ticket = pipeline.get::<i64>("k");
    }
    pipeline.execute().await.unwrap();
    let subscription = client.subscribe(["news"]).await.unwrap();
    client.publish("news", "hello").await.unwrap();
    let metrics = client.metrics();
    assert!(metrics.commands.requests >= 111, "{metrics:?}");
    assert!(metrics.commands.replies >= 111);
    assert!(metrics.commands.bytes_in > 0 && metrics.commands.bytes_out > 0);
    assert_eq!((metrics.commands.connections, metrics.commands.retries), (1, 0));
    assert_eq!(metrics.subscriptions.connections, 1);
    assert_eq!((metrics.queued, metrics.in_flight, metrics.blocking), (0, 0, 0));
    let set = metrics.latency("SET").expect("measured");
    assert_eq!(set.count(), 50);
    assert!(set.quantile(0.5) > Duration::ZERO && set.quantile(0.5) <= set.max());
    assert!(set.max() < Duration::from_secs(5));
    assert!(metrics.latency_of_all().count() > 100);
    assert!(metrics.latency("ZADD").is_none());
    server.restart().await.unwrap();
    within(PATIENCE, "the connection", async { while client.get::<i64>("k").await.is_err() {} }).await;
    assert_eq!(client.metrics().commands.connections, 2);
    drop(subscription);
}
