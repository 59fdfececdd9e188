//! P1: a dead peer is noticed in time, a living one is left alone.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, Error, Event, EventStream, Lane, Liveness, RetryPolicy, Status};
use romaine_faultlab::{Direction, DropDirection, Fault, FaultProxy, Namespace, Server, eventually};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::support::{
    DEFAULT, FAST, PATIENCE, activated, attempt_failed, connect, connections, disconnected, event, fast, issued,
    kill_script, now, stored, up, wait_stored, within,
};

/// A server that can be reached through a proxy, or over a cable of its own.
struct Lab {
    server: Server,
    proxy: FaultProxy,
    namespace: Option<Namespace>,
}

/// The ways in which a peer goes without a word.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// Packets are lost: power-off, a cut cable, a NAT that forgot.
    Packets(DropDirection),
    /// The process is stopped, its kernel goes on acknowledging.
    Frozen,
    /// A proxy that goes on acknowledging has lost its upstream.
    Upstream,
    /// Replies get stuck on their way.
    Replies,
    /// Requests are lost on their way, and acknowledged.
    Requests,
}

/// A namespace, or `None` where none can be made; the reason is printed.
async fn namespace_or_reason() -> Option<Namespace> {
    static AVAILABLE: OnceCell<Result<(), String>> = OnceCell::const_new();
    if let Err(reason) = AVAILABLE.get_or_init(Namespace::available).await {
        eprintln!("skipped: needs a network namespace: {reason}");
        return None;
    }
    Some(Namespace::create().await.unwrap())
}

impl Lab {
    /// `None` where namespaces cannot be made.
    async fn new(gone: Gone) -> Option<Self> {
        let mut namespace = None;
        let mut builder = Server::builder();
        if let Gone::Packets(_) = gone {
            let made = namespace_or_reason().await?;
            builder = builder.in_namespace(&made);
            namespace = Some(made);
        }
        let server = builder.start().await.unwrap();
        let proxy = FaultProxy::start(server.address()).await.unwrap();
        Some(Self { server, proxy, namespace })
    }

    fn config(&self, liveness: Liveness) -> Config {
        let address = if self.namespace.is_some() { self.server.address() } else { self.proxy.address() };
        fast(address).liveness(liveness)
    }

    async fn disturb(&self, gone: Gone) {
        match gone {
            Gone::Packets(direction) => self.namespace.as_ref().unwrap().drop_packets(direction).await.unwrap(),
            Gone::Frozen => self.server.freeze().await.unwrap(),
            Gone::Upstream => self.proxy.keep_acknowledging_with_dead_upstream().await.unwrap(),
            Gone::Replies => self.proxy.set(Direction::ToClient, Fault::Stall),
            Gone::Requests => self.proxy.set(Direction::ToServer, Fault::Swallow),
        }
    }

    async fn heal(&self) {
        if let Some(namespace) = &self.namespace {
            namespace.heal().await.unwrap();
        }
        self.server.thaw().unwrap();
        self.proxy.heal().await.unwrap();
    }
}

/// Writes all the time, whether anybody answers or not.
async fn write_steadily(client: Client) {
    loop {
        let limit = Duration::from_millis(50);
        let _ended = client.incr("counter").timeout(limit).retry(RetryPolicy::Never).await;
        tokio::task::yield_now().await;
    }
}

/// How a connection ended.
#[derive(Debug)]
struct End {
    #[expect(dead_code, reason = "for the message of a test that fails")]
    cause: Error,
    suspected: bool,
    /// A stall of our own gives the peer that time back and a tick, which is less than twice the stall.
    forgiven: Duration,
}

/// Waits until the connection for commands has ended.
async fn end(events: &mut EventStream) -> End {
    let (mut suspected, mut forgiven) = (false, Duration::ZERO);
    event(events, "the verdict", |event| {
        match event {
            Event::Stalled { lane: Lane::Commands, late_by } => forgiven += *late_by * 3,
            Event::Suspect { lane: Lane::Commands, .. } => suspected = true,
            Event::Disconnected { lane: Lane::Commands, cause, .. } => {
                return Some(End { cause: cause.clone(), suspected, forgiven });
            }
            _ => {}
        }
        None
    })
    .await
}

/// Loses the peer; it must be noticed within `limit`, and the client back when the peer is.
async fn is_noticed(lab: &Lab, gone: Gone, liveness: Liveness, limit: Duration, busy: bool) {
    let client = connect(lab.config(liveness)).await;
    let mut events = client.events();
    let mut writers = JoinSet::new();
    if busy {
        writers.spawn(write_steadily(client.clone()));
        eventually(PATIENCE, "the writer", async || client.metrics().commands.replies > 10).await.unwrap();
    }
    lab.disturb(gone).await;
    let before = now();
    let end = end(&mut events).await;
    let took = now() - before;
    assert!(end.suspected, "{gone:?}: a suspicion comes first");
    assert!(took <= limit + end.forgiven, "{gone:?}, busy: {busy}: noticed after {took:?}: {end:?}");
    writers.shutdown().await;
    lab.heal().await;
    up(&client).await;
    client.ping().await.unwrap();
}

/// Making and removing a lab holds up the thread, so all are made before anything is measured, and removed after it.
async fn all_are_noticed(all: &[Gone], liveness: Liveness, limit: Duration) {
    let mut labs = Vec::new();
    for gone in all {
        for busy in [false, true] {
            if let Some(lab) = Lab::new(*gone).await {
                labs.push((lab, *gone, busy));
            }
        }
    }
    let measured = labs.iter().map(|(lab, gone, busy)| is_noticed(lab, *gone, liveness.clone(), limit, *busy));
    futures_util::future::join_all(measured).await;
}

async fn idle_and_busy(gone: Gone) {
    all_are_noticed(&[gone], Liveness::fast(), FAST).await;
}

// 91, 92
#[tokio::test]
async fn a_peer_whose_packets_are_lost_is_noticed_idle_and_under_load() {
    idle_and_busy(Gone::Packets(DropDirection::Both)).await;
}

// 91, 92
#[tokio::test]
async fn a_peer_that_hears_and_is_not_heard_is_noticed_idle_and_under_load() {
    idle_and_busy(Gone::Packets(DropDirection::ToClient)).await;
}

// 91, 92
#[tokio::test]
async fn a_peer_that_does_not_hear_is_noticed_idle_and_under_load() {
    idle_and_busy(Gone::Packets(DropDirection::ToServer)).await;
}

// 93
#[tokio::test]
async fn a_frozen_server_is_noticed_idle_and_under_load() {
    idle_and_busy(Gone::Frozen).await;
}

// P1
#[tokio::test]
async fn a_proxy_that_acknowledges_for_a_dead_upstream_is_noticed_idle_and_under_load() {
    idle_and_busy(Gone::Upstream).await;
}

// P1
#[tokio::test]
async fn a_direction_that_is_stuck_is_noticed_idle_and_under_load() {
    all_are_noticed(&[Gone::Replies, Gone::Requests], Liveness::fast(), FAST).await;
}

// 91, 92, 93
#[tokio::test]
async fn by_default_every_such_loss_is_noticed_within_ten_seconds() {
    let all = [
        Gone::Packets(DropDirection::Both),
        Gone::Packets(DropDirection::ToClient),
        Gone::Packets(DropDirection::ToServer),
        Gone::Frozen,
        Gone::Upstream,
        Gone::Replies,
        Gone::Requests,
    ];
    all_are_noticed(&all, Liveness::default(), DEFAULT).await;
}

// 91
#[tokio::test]
async fn what_is_in_flight_when_the_network_is_lost_ends_within_the_bound() {
    let Some(namespace) = namespace_or_reason().await else { return };
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let client = connect(fast(server.address()).no_timeout()).await;
    let mut events = client.events();
    namespace.drop_packets(DropDirection::ToClient).await.unwrap();
    let before = now();
    let write = issued(client.incr("counter")).await;
    let read = issued(client.get::<i64>("counter")).await;
    let error = within(PATIENCE, "the write's verdict", write).await.unwrap_err();
    let took = now() - before;
    let end = end(&mut events).await;
    assert!(took <= FAST + end.forgiven, "{took:?}: {end:?}");
    assert_eq!(error.delivery(), romaine::Delivery::Unknown);
    assert_eq!(stored(&server, "counter").await, "1", "which it was: executed");
    namespace.heal().await.unwrap();
    assert_eq!(within(PATIENCE, "the read", read).await.unwrap(), Some(1));
}

// 93
#[tokio::test]
async fn attempts_on_a_frozen_server_end_quickly_and_it_is_used_again_when_it_goes_on() {
    let server = Server::start().await.unwrap();
    let limit = Duration::from_millis(200);
    let client = connect(fast(server.address()).handshake_timeout(limit)).await;
    let mut events = client.events();
    server.freeze().await.unwrap();
    drop(disconnected(&mut events).await);
    for _ in 0..3 {
        let before = now();
        let (cause, ..) = attempt_failed(&mut events).await;
        assert!(cause.to_string().contains("HELLO"), "{cause}");
        assert!(now() - before < FAST);
    }
    let queued = issued(client.incr("counter").timeout(PATIENCE)).await;
    server.thaw().unwrap();
    assert_eq!(queued.await.unwrap(), 1);
}

/// For the duration of a fault that is a matter of time.
async fn lasts(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn no_disconnection(client: &Client, events: &mut EventStream) {
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Disconnected { lane: Lane::Commands, .. }), "{event:?}");
    }
    assert_eq!(connections(client), 1);
}

async fn long_script(server: &Server, liveness: Liveness, duration: Duration) {
    let client = connect(fast(server.address()).liveness(liveness)).await;
    let mut events = client.events();
    let nothing: [&str; 0] = [];
    let script = issued(client.eval::<()>("while true do end", nothing, nothing).no_timeout()).await;
    lasts(duration).await;
    kill_script(server).await;
    let error = within(PATIENCE, "the script's end", script).await.unwrap_err();
    assert!(error.server().is_some(), "{error:?}");
    no_disconnection(&client, &mut events);
    client.ping().await.unwrap();
}

// P1: no false verdict.
#[tokio::test]
async fn a_long_script_is_no_death() {
    let server = Server::builder().config_line("lua-time-limit 200").start().await.unwrap();
    long_script(&server, Liveness::fast(), Duration::from_secs(3)).await;
}

// P1: no false verdict.
#[tokio::test]
async fn by_default_a_long_script_and_a_long_pause_of_writes_are_no_death() {
    let scripting = Server::start().await.unwrap();
    let script = long_script(&scripting, Liveness::default(), Duration::from_secs(10));
    let pausing = Server::start().await.unwrap();
    let pause = async {
        let client = connect(fast(pausing.address()).liveness(Liveness::default())).await;
        let mut events = client.events();
        pausing.command(&["CLIENT", "PAUSE", "8000", "WRITE"]).await.unwrap();
        assert_eq!(client.incr("counter").no_timeout().await.unwrap(), 1);
        no_disconnection(&client, &mut events);
    };
    tokio::join!(script, pause);
}

// P1: no false verdict.
#[tokio::test]
async fn a_large_reply_that_trickles_in_is_no_death() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    server.command(&["SETRANGE", "large", "2999999", "x"]).await.unwrap();
    proxy.set(Direction::ToClient, Fault::Bandwidth(1_000_000));
    let large: Option<bytes::Bytes> = client.get("large").await.unwrap();
    assert_eq!(large.unwrap().len(), 3_000_000);
    no_disconnection(&client, &mut events);
}

// P1: no false verdict.
#[tokio::test]
async fn a_slow_link_is_no_death() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    proxy.set_both(Fault::Delay(Duration::from_millis(400)));
    for number in 1..=3 {
        assert_eq!(client.incr("counter").await.unwrap(), number);
    }
    no_disconnection(&client, &mut events);
}

// 112
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the stall of our own process is the fault")]
async fn a_stall_of_our_own_is_not_taken_for_the_peers_death() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    // With a request in flight, and idle: the driver shares this thread.
    let call = issued(client.incr("counter")).await;
    wait_stored(&server, "counter", "1").await;
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(call.await.unwrap(), 1);
    std::thread::sleep(Duration::from_secs(2));
    client.ping().await.unwrap();
    no_disconnection(&client, &mut events);
}

// 112
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the stall of our own process is the fault")]
async fn a_stall_of_our_own_does_not_hide_a_dead_peer() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    server.freeze().await.unwrap();
    let call = issued(client.incr("counter")).await;
    eventually(PATIENCE, "the request to be in flight", async || client.metrics().in_flight > 0).await.unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let before = now();
    let told = event(&mut events, "the stall or the end", |event| match event {
        Event::Stalled { lane: Lane::Commands, late_by } => Some(*late_by > Duration::from_secs(1)),
        Event::Disconnected { .. } => Some(false),
        _ => None,
    });
    assert!(told.await, "the stall is told before anybody is blamed");
    let end = end(&mut events).await;
    let took = now() - before;
    assert!(took <= FAST + end.forgiven, "{took:?}: {end:?}");
    server.thaw().unwrap();
    drop(call.await);
    up(&client).await;
}

// P1, P10
#[tokio::test]
async fn a_suspect_that_answers_has_recovered() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut events = client.events();
    proxy.set(Direction::ToClient, Fault::Stall);
    event(&mut events, "a suspicion", |event| matches!(event, Event::Suspect { .. }).then_some(())).await;
    assert_eq!(client.health().borrow().status, Status::Suspect);
    proxy.heal().await.unwrap();
    event(&mut events, "the recovery", |event| match event {
        Event::Recovered { lane: Lane::Commands } => Some(()),
        Event::Disconnected { cause, .. } => panic!("{cause:?}"),
        _ => None,
    })
    .await;
    assert_eq!(client.health().borrow().status, Status::Connected);
    assert_eq!(connections(&client), 1);
}

// P1: what was written to a dead connection does not arrive when the path heals.
#[tokio::test]
async fn a_request_that_was_reported_as_unknown_does_not_arrive_later() {
    let Some(namespace) = namespace_or_reason().await else { return };
    let server = Server::builder().in_namespace(&namespace).start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    namespace.drop_packets(DropDirection::ToServer).await.unwrap();
    let error = client.incr("counter").await.unwrap_err();
    assert_eq!(error.delivery(), romaine::Delivery::Unknown);
    namespace.heal().await.unwrap();
    activated(&mut events).await;
    // The kernel would have sent it again by now: its timer doubles from 200 ms.
    lasts(Duration::from_secs(2)).await;
    client.ping().await.unwrap();
    assert_eq!(stored(&server, "counter").await, "");
}
