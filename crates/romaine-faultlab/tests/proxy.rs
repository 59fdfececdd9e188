//! Each fault of the proxy does what it says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::time::Duration;

use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, Outburst, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
/// Long enough for anything on the loopback to arrive that is going to.
const A_WHILE: Duration = Duration::from_millis(100);

/// A proxy, a client connected through it, and the server's side of that connection.
async fn connected() -> (FaultProxy, TcpStream, TcpStream) {
    let (proxy, client, server, _) = connected_with_listener().await;
    (proxy, client, server)
}

async fn connected_with_listener() -> (FaultProxy, TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let (client, server) = connect(&proxy, &listener).await;
    (proxy, client, server, listener)
}

async fn connect(proxy: &FaultProxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    (client, server)
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(SOON, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// How the stream ends after what may still come: `Ok` for an orderly end.
async fn end(stream: &mut TcpStream) -> Result<(), ErrorKind> {
    let mut rest = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    ended.map(drop).map_err(|error| error.kind())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read(&mut [0; 1])).await.is_err()
}

/// How many bytes the sender gets rid of before it blocks; `limit` if it does not.
async fn writable(stream: &mut TcpStream, limit: usize) -> usize {
    let block = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < limit {
        match timeout(A_WHILE * 3, stream.write(&block)).await {
            Ok(count) => sent += count.unwrap(),
            Err(_blocked) => break,
        }
    }
    sent
}

const MUCH: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn without_a_fault_bytes_and_ends_pass_both_ways() {
    let (proxy, mut client, mut server) = connected().await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut server, 4).await, b"ping");
    server.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut client, 5).await, b"hello");
    client.shutdown().await.unwrap();
    assert_eq!(end(&mut server).await, Ok(()));
    server.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut client, 4).await, b"late");
    drop(server);
    assert_eq!(end(&mut client).await, Ok(()));
    assert_eq!((proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)), (4, 9));
    assert_eq!(proxy.connections(), 1);
    eventually(SOON, "the connection to end", async || proxy.open_connections() == 0).await.unwrap();
}

#[tokio::test]
async fn a_large_transfer_arrives_unchanged() {
    let (_proxy, client, mut server) = connected().await;
    let sent = (0..8_000_000u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect::<Vec<_>>();
    let (_client_read, mut client) = client.into_split();
    let (received, ()) = tokio::join!(read(&mut server, sent.len()), async { client.write_all(&sent).await.unwrap() });
    assert!(received == sent);
}

#[tokio::test]
async fn a_stall_blocks_the_sender_and_loses_nothing() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToServer, Fault::Stall);
    let sent = writable(&mut client, MUCH).await;
    assert!(sent < MUCH, "the sender never blocked");
    assert!(is_silent(&mut server).await);
    server.write_all(b"other way").await.unwrap();
    assert_eq!(read(&mut client, 9).await, b"other way");
    proxy.heal().await.unwrap();
    assert_eq!(read(&mut server, sent).await.len(), sent);
}

#[tokio::test]
async fn a_swallowing_proxy_acknowledges_without_end_and_passes_nothing() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.keep_acknowledging_with_dead_upstream().await.unwrap();
    assert!(writable(&mut client, MUCH).await >= MUCH);
    server.write_all(b"reply").await.unwrap();
    assert!(is_silent(&mut client).await);
    assert!(is_silent(&mut server).await);

    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    late.write_all(b"PING\r\n").await.unwrap();
    assert!(is_silent(&mut late).await);

    proxy.heal().await.unwrap();
    client.write_all(b"after").await.unwrap();
    assert_eq!(read(&mut server, 5).await, b"after");
}

#[tokio::test]
async fn an_end_that_happens_under_a_swallow_shows_only_after_it() {
    let (proxy, client, mut server) = connected().await;
    proxy.set_both(Fault::Swallow);
    drop(client);
    assert!(is_silent(&mut server).await);
    proxy.heal().await.unwrap();
    assert_eq!(end(&mut server).await, Ok(()));
}

#[tokio::test]
async fn swallow_after_lets_exactly_so_many_bytes_through() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToServer, Fault::SwallowAfter(5));
    client.write_all(b"123").await.unwrap();
    client.write_all(b"4567").await.unwrap();
    assert_eq!(read(&mut server, 5).await, b"12345");
    assert!(is_silent(&mut server).await);
}

#[tokio::test]
async fn a_delay_adds_latency_but_keeps_order_and_throughput() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToServer, Fault::Delay(Duration::from_millis(150)));
    client.write_all(b"ab").await.unwrap();
    assert!(is_silent(&mut server).await);
    client.write_all(b"cd").await.unwrap();
    assert_eq!(read(&mut server, 4).await, b"abcd");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the rate is what is measured")]
async fn a_bandwidth_holds_the_rate() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToServer, Fault::Bandwidth(100_000));
    let begin = std::time::Instant::now();
    client.write_all(&[7; 50_000]).await.unwrap();
    read(&mut server, 50_000).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(380) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn corruption_inverts_every_nth_byte() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToServer, Fault::Corrupt { every: 3 });
    client.write_all(&[0; 4]).await.unwrap();
    assert_eq!(read(&mut server, 4).await, [0, 0, 255, 0]);
    client.write_all(&[0; 3]).await.unwrap();
    assert_eq!(read(&mut server, 3).await, [0, 255, 0]);
}

#[tokio::test]
async fn close_after_truncates_and_then_closes_both_sides() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToClient, Fault::CloseAfter(3));
    server.write_all(b"12345").await.unwrap();
    assert_eq!(read(&mut client, 3).await, b"123");
    assert_eq!(end(&mut client).await, Ok(()));
    assert_eq!(end(&mut server).await, Ok(()));
}

#[tokio::test]
async fn reset_after_zero_bytes_resets_both_sides_at_once() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToClient, Fault::ResetAfter(0));
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(end(&mut server).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_half_close_ends_one_direction_only() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.set(Direction::ToClient, Fault::HalfClose);
    assert_eq!(end(&mut client).await, Ok(()));
    client.write_all(b"still here").await.unwrap();
    assert_eq!(read(&mut server, 10).await, b"still here");
    drop(client);
    assert_eq!(end(&mut server).await, Ok(()));
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let (_proxy, mut client, server) = connected().await;
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn cut_all_closes_and_reset_all_resets_and_new_connections_pass() {
    let (proxy, mut client, mut server, listener) = connected_with_listener().await;
    proxy.cut_all().await.unwrap();
    assert_eq!((end(&mut client).await, end(&mut server).await), (Ok(()), Ok(())));
    assert_eq!(proxy.open_connections(), 0);

    let (mut client, mut server) = connect(&proxy, &listener).await;
    proxy.reset_all().await.unwrap();
    assert_eq!(end(&mut client).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(end(&mut server).await, Err(ErrorKind::ConnectionReset));

    let (mut client, mut server) = connect(&proxy, &listener).await;
    client.write_all(b"x").await.unwrap();
    read(&mut server, 1).await;
    proxy.wait_for_connections(3).await.unwrap();
    assert_eq!(proxy.connections(), 3);
}

#[tokio::test]
async fn a_cut_reaches_stalled_and_silent_connections_too() {
    let (proxy, mut client, _server) = connected().await;
    proxy.set_both(Fault::Stall);
    proxy.accept(Accept::Silent).await.unwrap();
    let mut silent = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.wait_for_connections(2).await.unwrap();
    proxy.cut_all().await.unwrap();
    assert_eq!((end(&mut client).await, end(&mut silent).await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn new_connections_meet_what_was_asked_for() {
    let (proxy, mut client, mut server, listener) = connected_with_listener().await;
    for _ in 0..3 {
        proxy.accept(Accept::Refuse).await.unwrap();
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.accept(Accept::CloseAtOnce).await.unwrap();
        assert_eq!(end(&mut TcpStream::connect(proxy.address()).await.unwrap()).await, Ok(()));
        proxy.accept(Accept::Reset).await.unwrap();
        // The reset may already be there when the connect is asked for its outcome.
        let outcome = match TcpStream::connect(proxy.address()).await {
            Ok(mut stream) => end(&mut stream).await,
            Err(error) => Err(error.kind()),
        };
        assert_eq!(outcome, Err(ErrorKind::ConnectionReset));
    }
    // All that is about new connections; the first one lives on.
    client.write_all(b"alive").await.unwrap();
    assert_eq!(read(&mut server, 5).await, b"alive");
    proxy.heal().await.unwrap();
    connect(&proxy, &listener).await;
}

#[tokio::test]
async fn a_new_upstream_is_for_new_connections() {
    let (proxy, mut client, mut server) = connected().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.set_upstream(other.local_addr().unwrap());
    let (mut second, mut moved) = connect(&proxy, &other).await;
    second.write_all(b"new").await.unwrap();
    client.write_all(b"old").await.unwrap();
    assert_eq!(read(&mut moved, 3).await, b"new");
    assert_eq!(read(&mut server, 3).await, b"old");
    drop(other);
    let mut nowhere = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(end(&mut nowhere).await, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn an_outburst_comes_between_what_the_server_says_and_may_be_the_last_word() {
    let (proxy, mut client, mut server) = connected().await;
    server.write_all(b"one").await.unwrap();
    assert_eq!(read(&mut client, 3).await, b"one");
    let say = |bytes: &'static [u8], closes| Outburst { bytes: bytes.into(), closes };
    proxy.burst_out(Direction::ToClient, say(b"?!", false));
    assert_eq!(read(&mut client, 2).await, b"?!");
    assert!(is_silent(&mut server).await, "nobody else hears it");
    server.write_all(b"two").await.unwrap();
    assert_eq!(read(&mut client, 3).await, b"two");
    proxy.burst_out(Direction::ToClient, say(b"bye", true));
    assert_eq!(read(&mut client, 3).await, b"bye");
    assert_eq!((end(&mut client).await, end(&mut server).await), (Ok(()), Ok(())));
}
