//! Connections of one's own, and MONITOR.

use romaine::commands::*;
use romaine::{ErrorKind, Event, Lane, MonitorLine, Overflow, cmd};
use romaine_faultlab::{Server, eventually};

use crate::support::{FAST, PATIENCE, Stopwatch, ask, calls, connect, disconnected, event, fast, plain, within};

#[tokio::test]
async fn an_exclusive_connection_keeps_its_state_to_itself_and_is_not_dialled_again() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let exclusive = client.exclusive().await.unwrap();
    exclusive.issue(cmd::<()>("SELECT").arg(5)).await.unwrap();
    exclusive.set("k", "in 5").await.unwrap();
    assert_eq!(client.exists("k").await.unwrap(), 0);
    exclusive.issue(cmd::<()>("MULTI")).await.unwrap();
    exclusive.issue(cmd::<()>("GET").arg("k")).await.unwrap();
    let replies: Vec<String> = exclusive.issue(cmd("EXEC")).await.unwrap();
    assert_eq!(replies, ["in 5"]);
    // It may block, and holds up nobody else.
    let popped = exclusive.brpop::<String, String>("q", 0.1).await.unwrap();
    assert!(popped.is_none());
    let mut events = client.events();
    ask(&server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
    disconnected(&mut events, Lane::Exclusive).await;
    let error = exclusive.get::<String>("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    within(PATIENCE, "the client", client.connected()).await.unwrap();
    client.set("k", "v").await.unwrap();
    drop(exclusive);
}

#[tokio::test]
async fn an_exclusive_connection_is_closed_when_it_is_dropped() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    for _ in 0..20 {
        let exclusive = client.exclusive().await.unwrap();
        exclusive.set("k", "v").await.unwrap();
    }
    eventually(PATIENCE, "one connection", async || {
        let clients = ask(&server, &["CLIENT", "LIST", "TYPE", "normal"]).await;
        clients.lines().filter(|line| !line.contains("name=faultlab")).count() == 1
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn monitor_shows_every_command_until_its_connection_ends_and_says_why() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut monitor = client.monitor().await.unwrap();
    for n in 0..100 {
        client.set(format!("k{n}"), "v").await.unwrap();
    }
    let mut seen = 0;
    while seen < 100 {
        match within(PATIENCE, "a line", monitor.next()).await.unwrap().unwrap() {
            MonitorLine::Line(line) if line.contains(&format!("\"k{seen}\"")) => seen += 1,
            MonitorLine::Line(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // Quiet for longer than a dead peer is given: its heartbeat is answered among the lines, and is none of them.
    let quiet = async {
        loop {
            match monitor.next().await.unwrap().unwrap() {
                MonitorLine::Line(line) => assert!(line != "PONG", "{line}"),
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(tokio::time::timeout(FAST, quiet).await.is_err());
    server.kill();
    let error = within(PATIENCE, "the end", async {
        loop {
            if let Err(error) = monitor.next().await.unwrap() {
                break error;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(monitor.next().await.is_none());
}

#[tokio::test]
async fn a_monitor_of_a_frozen_server_ends_within_two_seconds() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut monitor = client.monitor().await.unwrap();
    server.freeze().await.unwrap();
    let watch = Stopwatch::start();
    let end = async { while monitor.next().await.unwrap().is_ok() {} };
    within(PATIENCE, "the end", end).await;
    watch.within(FAST, "noticed after");
}

#[tokio::test]
async fn a_monitor_that_is_not_read_drops_the_oldest_lines_and_a_refused_one_is_an_error() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -monitor").start().await.unwrap();
    let client = connect(plain(server.address()).subscription_backlog(50, Overflow::DropOldest)).await;
    let mut monitor = client.monitor().await.unwrap();
    for n in 0..200 {
        client.set("k", n).await.unwrap();
    }
    eventually(PATIENCE, "the last command", async || calls(&server, "set").await == 200).await.unwrap();
    let mut dropped = 0;
    let last = async {
        loop {
            match monitor.next().await.unwrap().unwrap() {
                MonitorLine::Dropped(count) => dropped += count,
                MonitorLine::Line(line) if line.contains("\"199\"") => break,
                _ => {}
            }
        }
    };
    within(PATIENCE, "the last line", last).await;
    assert!(dropped >= 149, "{dropped}");

    let app = connect(plain(server.address()).user("app", "pw")).await;
    let error = app.monitor().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("MONITOR"), "{error}");
}

#[tokio::test]
async fn closing_the_client_ends_its_monitor_and_its_exclusive_connections() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let exclusive = client.exclusive().await.unwrap();
    let mut monitor = client.monitor().await.unwrap();
    within(PATIENCE, "the close", client.close()).await;
    let end = async { while monitor.next().await.unwrap().is_ok() {} };
    within(PATIENCE, "the end", end).await;
    assert_eq!(exclusive.get::<String>("k").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.exclusive().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.monitor().await.unwrap_err().kind(), ErrorKind::Closed);
    event(&mut events, "the end", |event| matches!(event, Event::Closed).then_some(())).await;
}
