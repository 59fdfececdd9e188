//! What becomes of a command whose connection died while it was blocked.

use romaine::commands::*;
use romaine::{Client, Config, Delivery, ErrorKind, Event, EventStream, GhostVerdict, Lane, Liveness, Result};
use romaine_faultlab::{Direction, DropDirection, Fault, FaultProxy, ScriptedServer, Server, eventually};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::{
    FAST, PATIENCE, Stopwatch, activated, ask, background, blocked, calls, connect, disconnected, ended, event, fast,
    info, namespace, plain, told,
};

type Popped = Result<Option<(String, String)>>;

fn pop(client: &Client) -> JoinHandle<Popped> {
    let client = client.clone();
    background(async move { client.brpop("q", 0.0).await })
}

async fn verdict(events: &mut EventStream) -> GhostVerdict {
    event(events, "a verdict on the ghost", |event| match event {
        Event::GhostFenced { command, verdict } => {
            assert_eq!(*command, "BRPOP");
            Some(*verdict)
        }
        _ => None,
    })
    .await
}

/// What was pushed during the outage arrived, or the caller was told that it may not have.
async fn delivered_or_told(popped: Popped, events: &mut EventStream) -> Vec<String> {
    match popped {
        Ok(popped) => vec![popped.expect("an endless pop is never nil").1],
        Err(error) => {
            assert!(error.may_have_lost_element(), "{error}");
            assert_eq!((error.kind(), error.delivery()), (ErrorKind::Closed, Delivery::Unknown), "{error}");
            let was_told = told(events).iter().any(|event| matches!(event, Event::ElementMayBeLost { .. }));
            assert!(was_told, "an event too");
            Vec::new()
        }
    }
}

/// After an outage nothing more is lost: what is pushed now is popped, in order.
async fn nothing_more_is_lost(server: &Server, client: &Client) {
    blocked(server, 0).await;
    for n in 0..20 {
        ask(server, &["LPUSH", "q", &format!("after {n}")]).await;
    }
    for n in 0..20 {
        let popped: Option<(String, String)> = client.brpop("q", 5.0).await.unwrap();
        assert_eq!(popped.unwrap().1, format!("after {n}"));
    }
    assert_eq!(ask(server, &["LLEN", "q"]).await, "0");
}

// S4, 100: power-off and one-way loss, seen by the kernels of both sides.
#[tokio::test]
async fn lost_packets_end_no_pop_and_lose_nothing_unsaid() {
    let directions = [DropDirection::Both, DropDirection::ToServer, DropDirection::ToClient];
    futures_util::future::join_all(directions.map(loses_packets)).await;
}

async fn loses_packets(direction: DropDirection) {
    let Some(namespace) = namespace().await else { return };
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let call = pop(&client);
    blocked(&server, 1).await;
    namespace.drop_packets(direction).await.unwrap();
    let watch = Stopwatch::start();
    disconnected(&mut events, Lane::Blocking).await;
    watch.within(FAST, &format!("{direction:?}"));
    // Whether the ghost is still blocked depends on the direction: an UNBLOCK may have arrived.
    ask(&server, &["LPUSH", "q", "during"]).await;
    namespace.heal().await.unwrap();
    let popped = ended(call).await;
    let mut seen = delivered_or_told(popped.clone(), &mut events).await;
    if ask(&server, &["LLEN", "q"]).await == "1" {
        seen.push(ask(&server, &["RPOP", "q"]).await);
    }
    assert!(popped.is_err() || seen == ["during"], "{direction:?}: {seen:?}");
    nothing_more_is_lost(&server, &client).await;
}

#[tokio::test]
async fn an_outage_in_which_nothing_was_pushed_is_invisible() {
    for fault in [Fault::Stall, Fault::Swallow] {
        let server = Server::start().await.unwrap();
        let proxy = FaultProxy::start(server.address()).await.unwrap();
        let client = connect(fast(proxy.address())).await;
        let mut events = client.events();
        let call = pop(&client);
        blocked(&server, 1).await;
        let watch = Stopwatch::start();
        proxy.set_both(fault);
        disconnected(&mut events, Lane::Blocking).await;
        watch.within(FAST, &format!("{fault:?}"));
        proxy.heal().await.unwrap();
        activated(&mut events, Lane::Blocking).await;
        blocked(&server, 1).await;
        ask(&server, &["LPUSH", "q", "job"]).await;
        assert_eq!(ended(call).await.unwrap().unwrap().1, "job", "{fault:?}");
        assert!(!told(&mut events).iter().any(|event| matches!(event, Event::ElementMayBeLost { .. })));
    }
}

#[tokio::test]
async fn a_ghost_found_blocked_is_ended_before_the_command_is_issued_again() {
    let Some(namespace) = namespace().await else { return };
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    // A kernel that gives up at the moment the path heals resets the ghost before it can be looked at.
    let liveness = Liveness { keepalive: None, user_timeout: None, ..Liveness::fast() };
    let client = connect(fast(server.address()).liveness(liveness)).await;
    let mut events = client.events();
    let call = pop(&client);
    blocked(&server, 1).await;
    namespace.drop_packets(DropDirection::Both).await.unwrap();
    disconnected(&mut events, Lane::Blocking).await;
    namespace.heal().await.unwrap();
    assert_eq!(verdict(&mut events).await, GhostVerdict::StillBlocked);
    activated(&mut events, Lane::Blocking).await;
    blocked(&server, 1).await;
    assert_eq!(ask(&server, &["LPUSH", "q", "job"]).await, "1");
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::ElementMayBeLost { .. })));
}

#[tokio::test]
async fn an_element_handed_to_a_ghost_is_told_or_delivered_late() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    // What the server answers is lost for good: the reply cannot come late.
    let call = pop(&client);
    blocked(&server, 1).await;
    proxy.set(Direction::ToClient, Fault::Swallow);
    ask(&server, &["LPUSH", "q", "lost"]).await;
    assert_eq!(ask(&server, &["LLEN", "q"]).await, "0", "the ghost took it");
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    assert!(matches!(verdict(&mut events).await, GhostVerdict::Served | GhostVerdict::Gone));
    let error = ended(call).await.unwrap_err();
    assert!(error.may_have_lost_element(), "{error}");
    assert_eq!(error.delivery(), Delivery::Unknown);
    event(&mut events, "the loss", |event| matches!(event, Event::ElementMayBeLost { .. }).then_some(())).await;
    nothing_more_is_lost(&server, &client).await;

    // What is held back and then let through arrives, late.
    let call = pop(&client);
    blocked(&server, 1).await;
    proxy.set(Direction::ToClient, Fault::Stall);
    ask(&server, &["LPUSH", "q", "late"]).await;
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    assert_eq!(ended(call).await.unwrap().unwrap().1, "late");
    nothing_more_is_lost(&server, &client).await;
}

#[tokio::test]
async fn a_ghost_of_an_earlier_server_process_never_costs_a_stranger_its_connection() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    let call = pop(&client);
    blocked(&server, 1).await;
    proxy.set_both(Fault::Swallow);
    // The ids start at 1 again; strangers take those that were ours, blocked as ours was.
    server.restart().await.unwrap();
    let stranger = connect(fast(server.address())).await;
    let strangers: Vec<_> = (0..30)
        .map(|_| {
            background({
                let stranger = stranger.clone();
                async move { stranger.brpop::<String, String>("theirs", 0.0).await }
            })
        })
        .collect();
    blocked(&server, 30).await;
    let mut others = stranger.events();
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    assert_eq!(verdict(&mut events).await, GhostVerdict::Restarted);
    let error = ended(call).await.unwrap_err();
    assert!(error.may_have_lost_element(), "what it may have been given before the restart: {error}");
    assert_eq!(calls(&server, "client|kill").await, 0);
    for n in 0..30 {
        ask(&server, &["LPUSH", "theirs", &n.to_string()]).await;
    }
    for call in strangers {
        ended(call).await.unwrap().unwrap();
    }
    assert!(!told(&mut others).iter().any(|event| matches!(event, Event::Disconnected { .. })));
}

// The blocked connection is newer than the control connection's last look at the server.
#[tokio::test]
async fn a_ghost_is_known_by_the_process_that_named_it_and_not_by_what_another_connection_remembers() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    // Warms the control connection up.
    assert!(client.brpop::<String, String>("q", 0.01).await.unwrap().is_none());
    server.restart().await.unwrap();
    let call = pop(&client);
    blocked(&server, 1).await;
    told(&mut events);
    proxy.set(Direction::ToClient, Fault::Swallow);
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    // The UNBLOCK of a probe may have ended the wait; what matters is that nobody waits there any more, then we do.
    let verdict = verdict(&mut events).await;
    assert_ne!(verdict, GhostVerdict::Restarted);
    if !verdict.may_have_lost() {
        eventually(PATIENCE, "exactly one that waits", async || {
            info(&server, "clients", "blocked_clients").await.as_deref() == Some("1")
        })
        .await
        .unwrap();
        ask(&server, &["LPUSH", "q", "job"]).await;
        assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
    }
}

#[tokio::test]
async fn a_reset_connection_is_examined_before_the_command_is_issued_again() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    let call = pop(&client);
    blocked(&server, 1).await;
    proxy.reset_all().await.unwrap();
    let verdict = verdict(&mut events).await;
    let popped = if verdict.may_have_lost() {
        assert!(ended(call).await.unwrap_err().may_have_lost_element());
        pop(&client)
    } else {
        call
    };
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(popped).await.unwrap().unwrap().1, "job");
}

/// Two pops, the second on a connection of its own that nobody had reason to look at since its handshake.
async fn two_pops(config: Config) -> (Client, [JoinHandle<Popped>; 2]) {
    let liveness = Liveness { probe_after: Some(Duration::from_secs(60)), ..Liveness::default() };
    let client = connect(config.liveness(liveness)).await;
    // The permission to probe is known from here on.
    assert!(client.brpop::<String, String>("q", 0.01).await.unwrap().is_none());
    let pops = [pop(&client), pop(&client)];
    (client, pops)
}

#[tokio::test]
async fn a_connection_that_dies_before_anybody_looked_at_it_is_examined_too() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (client, pops) = two_pops(plain(proxy.address())).await;
    let mut events = client.events();
    blocked(&server, 2).await;
    proxy.reset_all().await.unwrap();
    for _ in &pops {
        verdict(&mut events).await;
    }
    for call in pops {
        call.abort();
    }
    blocked(&server, 0).await;
}

#[tokio::test]
async fn a_pop_that_is_dropped_before_anybody_looked_at_it_is_cancelled_at_the_server() {
    let server = Server::start().await.unwrap();
    let (client, pops) = two_pops(plain(server.address())).await;
    blocked(&server, 2).await;
    let before = calls(&server, "client|unblock").await;
    for call in pops {
        call.abort();
    }
    blocked(&server, 0).await;
    assert_eq!(calls(&server, "client|unblock").await, before + 2);
    nothing_more_is_lost(&server, &client).await;
}

#[tokio::test]
async fn who_may_not_ping_has_its_ghosts_ended_all_the_same() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -ping").start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).user("app", "pw")).await;
    let mut events = client.events();
    let call = pop(&client);
    blocked(&server, 1).await;
    proxy.set_both(Fault::Swallow);
    disconnected(&mut events, Lane::Blocking).await;
    proxy.heal().await.unwrap();
    assert_eq!(verdict(&mut events).await, GhostVerdict::StillBlocked);
    blocked(&server, 1).await;
    ask(&server, &["LPUSH", "q", "job"]).await;
    assert_eq!(ended(call).await.unwrap().unwrap().1, "job");
}

// No real server can be brought to serve a client, say so, and lose the reply at will.
#[tokio::test]
async fn a_dropped_pop_that_had_been_served_is_told_although_its_connection_ends_without_the_reply() {
    let served = Arc::new(Notify::new());
    let end = served.clone();
    let server = ScriptedServer::start(move |mut conn| {
        let served = end.clone();
        async move {
            conn.greet_resp3().await?;
            conn.answer_introductions(false);
            let mut is_about_it = false;
            loop {
                let command = conn.next_command().await?;
                let is_unblock = command[0] == "CLIENT" && command[1] == "UNBLOCK";
                is_about_it |= is_unblock && command[2] != "0";
                let reply = match &command[0][..] {
                    b"BRPOP" => {
                        served.notified().await;
                        return conn.close().await;
                    }
                    b"EXEC" if is_about_it => {
                        served.notify_one();
                        "*2\r\n:0\r\n:0\r\n"
                    }
                    b"EXEC" => "*2\r\n:0\r\n:0\r\n",
                    b"INFO" => "$15\r\nrun_id:scripted\r\n",
                    _ if is_unblock || command[0] == "EVAL" => "+QUEUED\r\n",
                    _ => "+OK\r\n",
                };
                conn.send(reply.as_bytes()).await?;
            }
        }
    })
    .await
    .unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let call = pop(&client);
    eventually(PATIENCE, "the pop", async || {
        let mut all = (0..server.connections()).flat_map(|connection| server.transcript(connection));
        all.any(|line| line.starts_with("BRPOP"))
    })
    .await
    .unwrap();
    call.abort();
    event(&mut events, "the loss", |event| match event {
        Event::ElementMayBeLost { command } if *command == "BRPOP" => Some(()),
        Event::GhostFenced { verdict, .. } => panic!("there is nobody to be fenced: {verdict:?}"),
        _ => None,
    })
    .await;
}
