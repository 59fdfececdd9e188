//! What the tests share.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use romaine::{Backoff, Client, Config, Error, Event, EventStream, Lane, Liveness, Status};
use romaine_faultlab::{Server, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `Liveness::fast` promises.
pub(crate) const FAST: Duration = Duration::from_secs(2);

/// What `Liveness::default` promises.
pub(crate) const DEFAULT: Duration = Duration::from_secs(10);

/// Notices quickly and comes back quickly.
pub(crate) fn fast(address: SocketAddr) -> Config {
    Config::new(address.ip().to_string(), address.port())
        .liveness(Liveness::fast())
        .backoff(Backoff::Constant { delay: Duration::from_millis(20) })
        .handshake_timeout(Duration::from_secs(3))
}

pub(crate) async fn connect(config: Config) -> Client {
    Client::connect(config).await.expect("the server is there")
}

#[expect(clippy::disallowed_methods, reason = "what is promised in seconds is measured in seconds")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Bounds a wait whose end is the point of a test.
pub(crate) async fn within<F: Future>(limit: Duration, what: &str, wait: F) -> F::Output {
    match tokio::time::timeout(limit, wait).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("waited {limit:?} for {what}"),
    }
}

/// Issues a call now, rather than when it is awaited.
pub(crate) async fn issued<F: Future + Unpin>(mut call: F) -> F {
    let early = futures_util::poll!(&mut call).is_ready();
    assert!(!early, "a call ended before anything could have happened");
    call
}

/// The first event that `pick` wants, from those not read yet.
pub(crate) async fn event<T>(events: &mut EventStream, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = events.next().await.expect("the client is alive");
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    };
    within(PATIENCE, what, search).await
}

/// Why the connection for commands ended.
pub(crate) async fn disconnected(events: &mut EventStream) -> Error {
    event(events, "a disconnection", |event| match event {
        Event::Disconnected { lane: Lane::Commands, cause, .. } => Some(cause.clone()),
        _ => None,
    })
    .await
}

pub(crate) async fn activated(events: &mut EventStream) {
    event(events, "an activation", |event| match event {
        Event::Activated { lane: Lane::Commands, .. } => Some(()),
        _ => None,
    })
    .await;
}

/// Why an attempt failed, its number, and when the next one follows.
pub(crate) async fn attempt_failed(events: &mut EventStream) -> (Error, u64, Duration) {
    event(events, "a failed attempt", |event| match event {
        Event::ReconnectFailed { lane: Lane::Commands, attempt, cause, next_in } => {
            Some((cause.clone(), *attempt, *next_in))
        }
        _ => None,
    })
    .await
}

/// Waits until the snapshot says that there is no connection.
pub(crate) async fn down(client: &Client) {
    let mut health = client.health();
    let wait = health.wait_for(|health| health.status == Status::Disconnected);
    within(PATIENCE, "the client to notice", wait).await.unwrap();
}

/// Waits until commands flow.
pub(crate) async fn up(client: &Client) {
    within(PATIENCE, "the client to be connected", client.connected()).await.unwrap();
}

/// Connections made so far.
pub(crate) fn connections(client: &Client) -> u64 {
    client.health().borrow().connections
}

/// The lines of CLIENT LIST, without that of the lab itself.
pub(crate) async fn clients(server: &Server) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).await.unwrap().text();
    list.lines().filter(|line| !line.contains("name=faultlab")).map(str::to_owned).collect()
}

/// Waits until the server has no clients but the lab.
pub(crate) async fn no_clients(server: &Server) {
    eventually(PATIENCE, "the server to be left alone", async || clients(server).await.is_empty()).await.unwrap();
}

/// The server closes every client's connection.
pub(crate) async fn kill_clients(server: &Server) {
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
}

/// Ends the script that the server runs. The lab's own connection introduces itself, which a busy server refuses.
pub(crate) async fn kill_script(server: &Server) {
    let mut stream = tokio::net::UnixStream::connect(server.unix_path()).await.unwrap();
    stream.write_all(b"SCRIPT KILL\r\n").await.unwrap();
    let mut reply = [0; 5];
    within(PATIENCE, "the script to be killed", stream.read_exact(&mut reply)).await.unwrap();
    assert_eq!(reply.escape_ascii().to_string(), "+OK\\r\\n");
}

/// What the server has at `key`, as text; nothing is empty.
pub(crate) async fn stored(server: &Server, key: &str) -> String {
    server.command(&["GET", key]).await.unwrap().text()
}

/// Waits until the server has `value` at `key`.
pub(crate) async fn wait_stored(server: &Server, key: &str, value: &str) {
    let what = format!("{key} to be {value}");
    eventually(PATIENCE, &what, async || stored(server, key).await == value).await.unwrap();
}

/// How often the server executed a command, by its own statistics.
pub(crate) async fn executions(server: &Server, command: &str) -> u64 {
    let info = server.command(&["INFO", "commandstats"]).await.unwrap().text();
    let start = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("0,");
    line.split(',').next().unwrap().parse().unwrap()
}
