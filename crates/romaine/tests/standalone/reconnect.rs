//! P2: reconnection never ends by itself.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Backoff, Client, Credentials, Delivery, ErrorKind, Event, EventStream, Lane, Status, cmd};
use romaine_faultlab::{Accept, Direction, DropDirection, FaultProxy, Namespace, ScriptedServer, Server, eventually};

use crate::support::{
    PATIENCE, activated, attempt_failed, clients, connect, connections, disconnected, down, event, executions, fast,
    issued, kill_clients, now, up, within,
};

async fn attempt_begins(events: &mut EventStream) -> (u64, Duration, String) {
    event(events, "an attempt", |event| match event {
        Event::ConnectAttempt { lane: Lane::Commands, node, attempt, after } => {
            Some((*attempt, *after, node.to_string()))
        }
        _ => None,
    })
    .await
}

// 41, 42
#[tokio::test]
async fn attempts_are_told_with_their_number_delay_and_address_and_failures_with_their_cause() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let backoff = Backoff::Linear {
        base: Duration::from_millis(10),
        step: Duration::from_millis(10),
        max: Duration::from_millis(100),
    };
    // Stable at once: the numbers start anew with each connection.
    let client = connect(fast(proxy.address()).backoff(backoff).stable_after(Duration::ZERO)).await;
    let mut events = client.events();
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    let cause = disconnected(&mut events).await;
    assert_eq!(cause.kind(), ErrorKind::Closed);
    let address = proxy.address().to_string();
    let mut announced = Duration::from_millis(10);
    for expected in 2..=6 {
        let (attempt, after, node) = attempt_begins(&mut events).await;
        assert_eq!((attempt, after, node.as_str()), (expected, announced, address.as_str()));
        let (cause, attempt, next_in) = attempt_failed(&mut events).await;
        assert_eq!((cause.kind(), attempt), (ErrorKind::Connect, expected));
        assert_eq!(cause.node(), Some(address.as_str()));
        assert_eq!(next_in, announced + Duration::from_millis(10));
        announced = next_in;
    }
    assert!(client.health().borrow().attempts >= 6);
    proxy.heal().await.unwrap();
    activated(&mut events).await;
    let health = client.health().borrow().clone();
    assert_eq!((health.status, health.attempts, health.connections), (Status::Connected, 0, 2));
    proxy.cut_all().await.unwrap();
    let (attempt, after, _) = attempt_begins(&mut events).await;
    assert_eq!((attempt, after), (2, Duration::from_millis(10)), "the back-off started anew");
}

// 42
#[tokio::test]
async fn a_connection_that_was_usable_ends_as_disconnected_and_not_as_a_failed_attempt() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    kill_clients(&server).await;
    let mut seen = Vec::new();
    event(&mut events, "the next connection", |event| {
        seen.push(format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned());
        matches!(event, Event::Activated { .. }).then_some(())
    })
    .await;
    assert_eq!(seen, ["Disconnected", "ConnectAttempt", "Connected", "Activated"]);
}

// 43
#[tokio::test]
async fn closing_a_disconnected_client_ends_the_attempts_and_the_queue() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).close_timeout(Duration::from_millis(100))).await;
    proxy.accept(Accept::CloseAtOnce).await.unwrap();
    proxy.cut_all().await.unwrap();
    down(&client).await;
    let queued = issued(client.incr("counter")).await;
    proxy.wait_for_connections(4).await.unwrap();
    within(Duration::from_secs(5), "close", client.close()).await;
    let error = queued.await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::NotSent));
    assert_eq!(client.health().borrow().status, Status::Closed);
    assert_eq!(client.connected().await.unwrap_err().kind(), ErrorKind::Closed);
    // Every task has ended, so nobody is left to dial.
    let dialled = proxy.connections();
    proxy.heal().await.unwrap();
    assert!(client.incr("counter").await.is_err());
    assert_eq!(proxy.connections(), dialled);
    assert_eq!(executions(&server, "incr").await, 0);
}

// 44, 45: romaine never suspends itself.
#[tokio::test]
async fn garbage_on_reconnect_is_told_and_the_attempts_go_on_until_the_server_is_sane() {
    let sane = Arc::new(AtomicBool::new(false));
    let script_sane = sane.clone();
    let server = ScriptedServer::start(move |mut conn| {
        let sane = script_sane.clone();
        async move {
            if conn.index() > 0 && !sane.load(Ordering::SeqCst) {
                conn.next_command().await?;
                return conn.send(b"garbage\r\n").await;
            }
            conn.greet_resp3().await?;
            conn.expect("PING").await?;
            if conn.index() == 0 {
                return conn.send(b"+PONG\r\nmore garbage\r\n").await;
            }
            conn.send(b"+PONG\r\n").await?;
            conn.answer_all(b"+PONG\r\n").await
        }
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false)).await;
    let mut events = client.events();
    client.ping().await.unwrap();
    assert_eq!(disconnected(&mut events).await.kind(), ErrorKind::Protocol);
    let queued = issued(client.ping()).await;
    for _ in 0..3 {
        let (cause, ..) = attempt_failed(&mut events).await;
        assert_eq!(cause.kind(), ErrorKind::Protocol);
    }
    sane.store(true, Ordering::SeqCst);
    queued.await.unwrap();
}

// 46
#[tokio::test]
async fn everything_that_was_set_is_restored_on_every_connection() {
    let server = Server::builder().acl("alice on >s3cret ~* +@all").start().await.unwrap();
    let config = fast(server.address()).user("alice", "s3cret").database(7).client_name("restored").unwrap();
    let client = connect(config).await;
    for connection in 1..=4_u64 {
        let mut health = client.health();
        drop(health.wait_for(|health| health.connections == connection && health.is_connected()).await.unwrap());
        client.set("key", connection).await.unwrap();
        let list = clients(&server).await;
        let [line] = &list[..] else { panic!("{list:?}") };
        for part in [" name=restored ", " db=7 ", " user=alice "] {
            assert!(line.contains(part), "connection {connection}: {line}");
        }
        let value: romaine::Value = client.issue(cmd("CONFIG").arg("GET").arg("maxmemory")).await.unwrap();
        assert!(matches!(value, romaine::Value::Map(_)), "still RESP3: {value:?}");
        kill_clients(&server).await;
    }
}

// 47, 110
#[tokio::test]
async fn a_password_changed_during_an_outage_is_an_event_until_the_provider_has_the_new_one() {
    let server = Server::builder().acl("alice on >old ~* +@all").start().await.unwrap();
    let secret = Arc::new(Mutex::new("old"));
    let asked = Arc::new(AtomicU32::new(0));
    let provider = {
        let (secret, asked) = (secret.clone(), asked.clone());
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(Credentials::user("alice", *secret.lock().unwrap()))
        }
    };
    let client = connect(fast(server.address()).credentials(provider)).await;
    server.command(&["ACL", "SETUSER", "alice", "resetpass", ">new"]).await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(connections(&client), 1, "a changed password does not end what is connected");
    let mut events = client.events();
    kill_clients(&server).await;
    for _ in 0..3 {
        let (cause, ..) = attempt_failed(&mut events).await;
        assert_eq!(cause.kind(), ErrorKind::Auth);
        assert_eq!(cause.server().unwrap().code(), "WRONGPASS");
    }
    let queued = issued(client.incr("counter")).await;
    *secret.lock().unwrap() = "new";
    assert_eq!(queued.await.unwrap(), 1);
    assert!(asked.load(Ordering::SeqCst) >= 5, "asked for each attempt");
}

// 48
#[tokio::test]
async fn quit_ends_the_connection_and_the_next_one_has_the_same_name() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).client_name("quitter").unwrap()).await;
    let mut events = client.events();
    client.issue(cmd::<()>("QUIT")).await.unwrap();
    activated(&mut events).await;
    client.ping().await.unwrap();
    let list = clients(&server).await;
    assert!(list.len() == 1 && list[0].contains(" name=quitter "), "{list:?}");
}

// 50
#[tokio::test]
async fn a_connection_that_the_server_kills_is_back_within_seconds() {
    let server = Server::start().await.unwrap();
    let config = fast(server.address()).backoff(Backoff::default()).liveness(romaine::Liveness::default());
    let client = connect(config).await;
    for _ in 0..3 {
        let mut events = client.events();
        let before = now();
        kill_clients(&server).await;
        activated(&mut events).await;
        client.ping().await.unwrap();
        assert!(now() - before < Duration::from_secs(3));
    }
}

// 50
#[tokio::test]
async fn a_network_that_was_cut_is_used_again_within_seconds_of_its_return() {
    if let Err(reason) = Namespace::available().await {
        eprintln!("skipped: needs a network namespace: {reason}");
        return;
    }
    let namespace = Namespace::create().await.unwrap();
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let config = fast(server.address()).backoff(Backoff::default()).connect_timeout(Duration::from_secs(1));
    let client = connect(config).await;
    let mut events = client.events();
    namespace.drop_packets(DropDirection::Both).await.unwrap();
    drop(disconnected(&mut events).await);
    drop(attempt_failed(&mut events).await);
    namespace.heal().await.unwrap();
    let before = now();
    activated(&mut events).await;
    client.ping().await.unwrap();
    assert!(now() - before < Duration::from_secs(5));
}

// 51
#[tokio::test]
async fn several_clients_all_recover_each_with_one_new_connection() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..20 {
        let client = connect(fast(proxy.address())).await;
        all.push((client.events(), client));
    }
    proxy.cut_all().await.unwrap();
    for (events, client) in &mut all {
        activated(events).await;
        client.ping().await.unwrap();
        assert_eq!(connections(client), 2);
    }
    assert_eq!(proxy.connections(), 40);
    assert_eq!(clients(&server).await.len(), 20);
}

// 103
#[tokio::test]
async fn a_fleet_that_lost_its_server_comes_back_spread() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let base = Duration::from_millis(400);
    let mut fleet = Vec::new();
    for _ in 0..200 {
        let backoff = Backoff::FullJitter { base, max: Duration::from_secs(2) };
        let client = connect(fast(proxy.address()).backoff(backoff)).await;
        fleet.push((client.events(), client));
    }
    proxy.cut_all().await.unwrap();
    let mut delays = Vec::new();
    for (events, _client) in &mut fleet {
        delays.push(attempt_begins(events).await.1);
    }
    delays.sort();
    assert!(delays[199] <= base);
    // Of 200 draws from 0 to 400 ms, the quarters hold 50 each; 15 would be six standard deviations away.
    for quarter in 0..4_u32 {
        let range = base * quarter / 4..base * (quarter + 1) / 4;
        let count = delays.iter().filter(|delay| range.contains(*delay)).count();
        assert!(count > 15, "{count} of 200 in {range:?}: {delays:?}");
    }
    for (_events, client) in &fleet {
        up(client).await;
    }
}

async fn delays_grow(client: &Client, mut events: EventStream) {
    let expected = [10, 20, 40, 80, 160].map(Duration::from_millis);
    let mut delays = Vec::new();
    while delays.len() < expected.len() {
        let (_, after, _) = attempt_begins(&mut events).await;
        if !after.is_zero() {
            delays.push(after);
        }
    }
    assert_eq!(delays, expected);
    client.close().await;
}

fn doubling() -> Backoff {
    Backoff::Exponential { base: Duration::from_millis(10), max: Duration::from_secs(60) }
}

// 103
#[tokio::test]
async fn a_peer_that_completes_the_handshake_and_closes_does_not_reset_the_back_off() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        conn.close().await
    })
    .await
    .unwrap();
    let client = connect(fast(server.address()).library_info(false).backoff(doubling()).lazy()).await;
    let events = client.events();
    delays_grow(&client, events).await;
}

// 111
#[tokio::test]
async fn a_proxy_that_accepts_and_closes_in_a_loop_sees_the_delays_grow() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    for mode in [Accept::CloseAtOnce, Accept::Reset] {
        proxy.accept(mode).await.unwrap();
        let client = connect(fast(proxy.address()).backoff(doubling()).lazy()).await;
        let events = client.events();
        delays_grow(&client, events).await;
    }
}

// 108
#[tokio::test]
async fn a_listener_that_never_reads_and_one_that_panics_stop_nothing() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address()).events_backlog(4)).await;
    let mut lazy = client.events();
    let mut panicking = client.events();
    let listener = tokio::task::JoinSet::from_iter([async move {
        let event = panicking.next().await;
        panic!("the listener's bug at {event:?}");
    }]);
    for connection in 2..=6 {
        kill_clients(&server).await;
        let mut health = client.health();
        let wait = health.wait_for(|health| health.connections >= connection && health.is_connected());
        drop(within(PATIENCE, "the next connection", wait).await.unwrap());
        client.ping().await.unwrap();
    }
    assert!(matches!(lazy.next().await, Some(Event::Lagged(missed)) if missed > 4));
    drop(listener);
}

// 108
#[tokio::test]
async fn a_panicking_credentials_provider_and_a_panicking_delay_stop_nothing() {
    let server = Server::builder().password("s3cret").start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let calls = AtomicU32::new(0);
    let provider = move || {
        assert!(!matches!(calls.fetch_add(1, Ordering::SeqCst), 1..=3), "the provider's bug");
        Ok(Credentials::password("s3cret"))
    };
    let client = connect(fast(proxy.address()).credentials(provider)).await;
    let mut events = client.events();
    kill_clients(&server).await;
    for _ in 0..3 {
        let (cause, ..) = attempt_failed(&mut events).await;
        assert_eq!(cause.kind(), ErrorKind::Auth);
        assert!(cause.to_string().contains("panicked"), "{cause}");
    }
    activated(&mut events).await;
    client.ping().await.unwrap();

    let delay = |_attempt: u64, _previous: Duration| -> Duration { panic!("the delay's bug") };
    let config = fast(proxy.address()).password("s3cret").backoff(Backoff::Custom(Arc::new(delay)));
    let client = connect(config).await;
    let mut events = client.events();
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    drop(disconnected(&mut events).await);
    // It counts as 30 s; the client still answers to close.
    eventually(PATIENCE, "the supervisor to wait", async || client.health().borrow().status == Status::Disconnected)
        .await
        .unwrap();
    within(Duration::from_secs(5), "close", client.close()).await;
}

// P2: the delay is the user's own.
#[tokio::test]
async fn a_delay_of_the_users_own_is_followed() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let delay = |attempt: u64, previous: Duration| {
        if attempt == 0 { Duration::from_millis(3) } else { previous * 3 }
    };
    proxy.accept(Accept::Refuse).await.unwrap();
    let client = connect(fast(proxy.address()).backoff(Backoff::Custom(Arc::new(delay))).lazy()).await;
    let mut events = client.events();
    let mut delays = Vec::new();
    for _ in 0..4 {
        delays.push(attempt_failed(&mut events).await.2.as_millis());
    }
    assert_eq!(delays, [3, 9, 27, 81]);
    assert_eq!(proxy.bytes(Direction::ToServer), 0);
}

// P2: a server that was killed and started again.
#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let server = Server::builder().persistent().start().await.unwrap();
    let client = connect(fast(server.address())).await;
    assert_eq!(client.incr("counter").await.unwrap(), 1);
    server.kill();
    down(&client).await;
    let queued = issued(client.incr("counter").timeout(PATIENCE)).await;
    server.restart().await.unwrap();
    assert_eq!(queued.await.unwrap(), 2);
}

// Each connection has a back-off of its own, and one that is usable again is news to the others.
#[tokio::test]
async fn the_first_connection_that_is_back_calls_the_others() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    // Once both connections have failed twice, whichever asks next soon tries again, and the other not for an hour.
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let delay = move |attempt: u64, _previous: Duration| match attempt {
        0 | 1 => Duration::from_millis(20),
        _ if count.fetch_add(1, Ordering::SeqCst) == 0 => Duration::from_secs(1),
        _ => Duration::from_secs(3_600),
    };
    let client = connect(fast(proxy.address()).backoff(Backoff::Custom(Arc::new(delay)))).await;
    let mut messages = client.subscribe(["news"]).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.cut_all().await.unwrap();
    eventually(PATIENCE, "both to wait", async || asked.load(Ordering::SeqCst) == 2).await.unwrap();
    proxy.heal().await.unwrap();
    within(PATIENCE, "the commands", client.connected()).await.unwrap();
    within(PATIENCE, "the subscription", async {
        while !matches!(messages.next().await, Some(romaine::Incoming::Resumed { .. })) {}
    })
    .await;
}

// F05: what is accepted and never answered is given up long before a limit that is meant for slow paths.
#[tokio::test]
async fn a_server_that_used_to_answer_at_once_is_not_waited_for_long() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let config = fast(proxy.address())
        .handshake_timeout(Duration::from_secs(3_600))
        .backoff(Backoff::Constant { delay: Duration::from_millis(10) });
    let client = connect(config).await;
    let mut events = client.events();
    proxy.keep_acknowledging_with_dead_upstream().await.unwrap();
    disconnected(&mut events).await;
    for _ in 0..2 {
        let (cause, _, _) = attempt_failed(&mut events).await;
        assert!(cause.to_string().contains("HELLO"), "{cause}");
    }
    proxy.heal().await.unwrap();
    within(PATIENCE, "the connection", client.connected()).await.unwrap();
}
