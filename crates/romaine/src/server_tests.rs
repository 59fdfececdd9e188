//! One server's connections, with a real one at the other end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use romaine_commands::{Command as _, cmd};
use romaine_faultlab::eventually;
use romaine_proto::{Backoff, Lane as WireLane, Liveness};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::cells::Ended;
use crate::circuit::{Issue, Patience};
use crate::common::Common;
use crate::config::{Address, Config};
use crate::dedicated::Dedicated;
use crate::dialler::{DIALS, Dialler};
use crate::events::Lane;
use crate::server::{Part, Role, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection as a blocking command leaves it.
async fn idle(server: &Arc<Server>) -> Dedicated {
    let dedicated = Dedicated::open(server, Lane::Blocking, WireLane::Requests).await.unwrap();
    eventually(PATIENCE, "the handshake", async || dedicated.is_usable()).await.unwrap();
    dedicated
}

#[tokio::test]
async fn a_server_that_was_left_keeps_no_idle_connection_before_or_after() {
    let real = romaine_faultlab::Server::start().await.unwrap();
    let config = Config::new("127.0.0.1", real.port()).client_name("idle").unwrap();
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    let at_server = async || {
        let list = real.command(&["CLIENT", "LIST"]).await.unwrap().text();
        list.lines().filter(|line| line.contains("name=idle ")).count()
    };
    let (before, after) = (idle(&server).await, idle(&server).await);
    server.keep(before);
    assert_eq!(at_server().await, 2);
    server.retire();
    // A command that ended when its server had been left.
    server.keep(after);
    assert!(server.pool.take().is_none());
    eventually(PATIENCE, "no connection", async || at_server().await == 0).await.unwrap();
}

/// A listener whose queue is full: whoever connects waits for ever.
async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    (address, listener, queued)
}

// A primary that is off the network has many consumers that dial it again.
#[tokio::test]
async fn those_who_dial_a_dead_server_keep_nobody_from_another_or_from_asking_for_the_topology() {
    let real = romaine_faultlab::Server::start().await.unwrap();
    let (dead, _listener, _queued) = black_hole().await;
    let dialled = Arc::new(AtomicUsize::new(0));
    let (count, port) = (dialled.clone(), real.port());
    let map = move |host: &str, _port| {
        let leads_nowhere = host == "primary.invalid" && count.fetch_add(1, Ordering::SeqCst) < DIALS;
        Some(("127.0.0.1".to_owned(), if leads_nowhere { dead.port() } else { port }))
    };
    let config = Config::new("primary.invalid", 6379).connect_timeout(PATIENCE * 2).address_map_with(map);
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    let mut config = (*common.config).clone();
    config.address = Address::Tcp { host: "other.invalid".into(), port: 6379 };
    let other = Server::new(common.clone(), Arc::new(config), Part::Only, Role::Any);
    let open = |server, lane| tokio::time::timeout(PATIENCE, Dedicated::open(server, lane, WireLane::Requests));
    let stuck = futures_util::future::join_all((0..DIALS).map(|_| open(&server, Lane::Blocking)));
    let others = async {
        let all = async || dialled.load(Ordering::SeqCst) == DIALS;
        eventually(PATIENCE, "all to dial", all).await.unwrap();
        assert!(futures_util::poll!(std::pin::pin!(open(&server, Lane::Blocking))).is_pending(), "one more waits");
        assert_eq!(dialled.load(Ordering::SeqCst), DIALS);
        open(&server, Lane::Topology).await.unwrap().unwrap();
        open(&other, Lane::Blocking).await.unwrap().unwrap();
    };
    tokio::select! {
        _ = stuck => panic!("they lead nowhere"),
        () = others => {}
    }
}

// RFC 8305: a name with an address that nobody answers at.
#[tokio::test]
async fn an_address_that_does_not_answer_keeps_nobody_from_the_next() {
    let (dead, _listener, _queued) = black_hole().await;
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new("several.invalid", 6379);
    let addresses = [dead, alive.local_addr().unwrap()];
    let connecting = crate::socket::connect_any(&config, &addresses, PATIENCE * 2, None);
    let (stream, _) = tokio::time::timeout(PATIENCE, connecting).await.unwrap().unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
}

// The kernel repeats a lost SYN after a second only. A busy machine gets several tries.
#[tokio::test]
async fn a_lost_syn_is_not_waited_for_until_the_kernel_repeats_it() {
    let config = Config::new("lossy.invalid", 6379);
    let (sooner_than_the_kernel, again_after) = (Duration::from_millis(900), Duration::from_millis(250));
    for _try in 0..5 {
        let (address, listener, _queued) = black_hole().await;
        let connecting = crate::socket::connect_any(
            &config,
            std::slice::from_ref(&address),
            sooner_than_the_kernel,
            Some(again_after),
        );
        let room_after_the_first_syn = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            loop {
                listener.accept().await.unwrap();
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = room_after_the_first_syn => unreachable!("it accepts for ever"),
        };
        if connected.is_ok() {
            return;
        }
    }
    panic!("nobody was reached before the kernel's second SYN");
}

// What was sent to a server that was away is lost; another connection shows that it is back.
#[tokio::test]
async fn a_dial_that_hangs_is_begun_anew_when_another_connection_is_usable() {
    let (dead, _listener, _queued) = black_hole().await;
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let back = alive.local_addr().unwrap();
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = dialled.clone();
    let map = move |_: &str, _| {
        let to = if count.fetch_add(1, Ordering::SeqCst) == 0 { dead } else { back };
        Some((to.ip().to_string(), to.port()))
    };
    let config = Config::new("back.invalid", 6379).connect_timeout(PATIENCE * 2).address_map_with(map);
    let dialler = Dialler::new(Arc::new(config));
    let mut dialling = std::pin::pin!(dialler.dial(None));
    let opened = async {
        // A young one is not disturbed: both are made at the client's start.
        eventually(PATIENCE, "the dial", async || dialled.load(Ordering::SeqCst) == 1).await.unwrap();
        dialler.opened(crate::clock::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(dialled.load(Ordering::SeqCst), 1);
        dialler.opened(crate::clock::now());
        std::future::pending::<()>().await;
    };
    let reached = tokio::select! {
        dialled = tokio::time::timeout(PATIENCE, &mut dialling) => dialled.unwrap().unwrap().0.reached,
        () = opened => unreachable!("it waits"),
    };
    assert_eq!((&*reached, dialled.load(Ordering::SeqCst)), (&*back.to_string(), 2));
}

// Fault lab, F03 and F05 idle: the delays of a client that nobody used had grown when the server came back.
#[tokio::test(start_paused = true)]
async fn a_call_of_an_idle_client_is_dialled_for_at_once_and_no_more_than_once_a_second() {
    let (start, failed) = (crate::clock::now(), Arc::new(Mutex::new(Vec::new())));
    let told = failed.clone();
    let backoff = move |_attempt, _previous| {
        told.lock().unwrap().push((crate::clock::now() - start).as_millis());
        Duration::from_secs(1)
    };
    let config = Config::unix("/nowhere/nobody.sock").backoff(Backoff::Custom(Arc::new(backoff)));
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    server.start_commands();
    // Two attempts; the first delay is kept, the second is not.
    for millis in [500, 1_500, 2_000, 2_700] {
        call_at(&server, start + Duration::from_millis(millis)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.end();
    assert_eq!(*failed.lock().unwrap(), [0, 1_000, 1_500, 2_500, 2_700, 3_700]);
}

/// A server at `silent` whose connections take no time, started; and when it is dialled, in virtual time.
fn silent_server(silent: SocketAddr) -> (Arc<Server>, Instant, Arc<Mutex<Vec<u128>>>) {
    tokio::time::pause();
    let (start, dialled) = (crate::clock::now(), Arc::new(Mutex::new(Vec::new())));
    let told = dialled.clone();
    let map = move |_: &str, _| {
        // Timers are late by a millisecond.
        told.lock().unwrap().push((crate::clock::now() - start).as_millis() / 10 * 10);
        Some((silent.ip().to_string(), silent.port()))
    };
    let backoff = Backoff::Constant { delay: Duration::from_secs(1) };
    let config = Config::new("silent.invalid", 6379).backoff(backoff).address_map_with(map);
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    server.opened(start);
    server.start_commands();
    (server, start, dialled)
}

/// A call at that moment, which gives up soon.
async fn call_at(server: &Arc<Server>, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    let patience = Patience::For(Some(Duration::from_millis(50)));
    let issue = Issue { patience, replies: 1, batch: false, blocking: false };
    server.commands.issue(&cmd::<()>("PING").into_request(), issue, Waker::noop()).unwrap();
}

// The server is silent, and its calls give up sooner than it is met.
#[tokio::test]
async fn a_hanging_dial_is_begun_anew_for_a_call_once_in_five_seconds() {
    let (dead, _listener, _queued) = black_hole().await;
    let (server, start, dialled) = silent_server(dead);
    for millis in [500, 900] {
        call_at(&server, start + Duration::from_millis(millis)).await;
    }
    tokio::time::sleep_until((start + Duration::from_secs(3)).into()).await;
    server.end();
    assert_eq!(
        *dialled.lock().unwrap(),
        [0, 500, 2_500],
        "the second dial has its second, and the first delay is kept"
    );
}

// Fault lab, F05: a proxy accepts for a server that is gone. Each greeting would have a second, each delay has one.
#[tokio::test]
async fn a_greeting_in_silence_ends_for_a_call_and_when_another_connection_shows_that_the_server_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, start, dialled) = silent_server(listener.local_addr().unwrap());
    let at = |millis| start + Duration::from_millis(millis);
    call_at(&server, at(500)).await;
    tokio::time::sleep_until(at(2_000).into()).await;
    server.opened(crate::clock::now());
    tokio::time::sleep_until(at(3_200).into()).await;
    server.end();
    assert_eq!(*dialled.lock().unwrap(), [0, 1_500, 3_000]);
}

/// So much later, with nothing done in between.
async fn leap(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

// ASK named it, and no view tells that it is gone: it is dialled for as long as a node may fall silent, no longer.
#[tokio::test]
async fn a_node_without_slots_is_stayed_with_while_it_is_well_and_given_up_when_it_is_dialled_in_vain() {
    for blocks in [true, false] {
        let real = romaine_faultlab::Server::start().await.unwrap();
        // A leap would set off its timers.
        let config = Config::new("127.0.0.1", real.port()).liveness(Liveness::off());
        let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
        let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
        // Who blocks there has made the one, who asks there has made the other.
        let circuit = if blocks {
            server.start_control();
            &*server.control
        } else {
            server.start_commands();
            &server.commands
        };
        eventually(PATIENCE, "the connection", async || circuit.is_ready()).await.unwrap();
        let waiting = server.course();
        assert!(!server.outlives_views(), "no ASK has named it");
        server.set_importing(true);
        assert!(server.outlives_views());
        leap(Duration::from_secs(3_600)).await;
        assert!(server.outlives_views(), "it is well");
        real.kill();
        eventually(PATIENCE, "the loss", async || !circuit.is_ready()).await.unwrap();
        assert!(server.outlives_views(), "it may be back soon");
        leap(Duration::from_secs(5)).await;
        assert!(server.outlives_views());
        leap(Duration::from_secs(10)).await;
        assert!(!server.outlives_views(), "nobody else would tell");
        real.restart().await.unwrap();
        eventually(PATIENCE, "the connection", async || circuit.is_ready()).await.unwrap();
        assert!(server.outlives_views(), "it is back");
        drop(waiting);
        assert!(!server.outlives_views(), "nobody waits there");
        server.retire();
        server.end();
    }
}

// Its reply would be lost with the connection, and both nodes are well.
#[tokio::test]
async fn a_node_without_slots_is_stayed_with_while_a_call_waits_for_its_reply() {
    let real = romaine_faultlab::Server::start().await.unwrap();
    let config = Config::new("127.0.0.1", real.port()).liveness(Liveness::off());
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    server.start_commands();
    eventually(PATIENCE, "the connection", async || server.commands.is_ready()).await.unwrap();
    server.set_importing(true);
    assert!(!server.outlives_views(), "nobody waits there");
    // One that is answered when the test wants it.
    let request = cmd::<()>("BRPOP").arg("q").arg(0).into_request();
    let issue = Issue { patience: Patience::For(None), replies: 1, batch: false, blocking: true };
    let ticketed = server.commands.issue(&request, issue, Waker::noop()).unwrap();
    assert!(server.outlives_views());
    eventually(PATIENCE, "it at the server", async || {
        server.outlives_views()
            && real.command(&["INFO", "clients"]).await.unwrap().text().contains("blocked_clients:1")
    })
    .await
    .unwrap();
    real.command(&["LPUSH", "q", "element"]).await.unwrap();
    let ended = server.commands.outcome(ticketed).await;
    assert!(matches!(ended, Ended::Reply(_)));
    assert!(!server.outlives_views());
    server.retire();
    server.end();
}
