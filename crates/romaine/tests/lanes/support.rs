//! What the tests share.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use romaine::{Backoff, Client, Config, Error, Event, EventStream, Incoming, Lane, Liveness, Subscription};
use romaine_faultlab::{Namespace, Server, eventually};
use tokio::task::JoinHandle;

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `Liveness::fast` promises.
pub(crate) const FAST: Duration = Duration::from_secs(2);

pub(crate) fn plain(address: SocketAddr) -> Config {
    Config::new(address.ip().to_string(), address.port())
        .backoff(Backoff::Constant { delay: Duration::from_millis(20) })
}

/// Notices quickly and comes back quickly.
pub(crate) fn fast(address: SocketAddr) -> Config {
    plain(address)
        .liveness(Liveness::fast())
        .connect_timeout(Duration::from_millis(1_500))
        .handshake_timeout(Duration::from_secs(1))
}

pub(crate) async fn connect(config: Config) -> Client {
    Client::connect(config).await.expect("the server is there")
}

#[expect(clippy::disallowed_methods, reason = "what is promised in seconds is measured in seconds")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a caller besides the test")]
pub(crate) fn background<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

/// Measures what is promised in seconds. A process that was itself stalled gives its peers their time anew (P1), so it
/// looks for stalls of its own meanwhile, on the same thread as the client under test.
pub(crate) struct Stopwatch {
    start: Instant,
    stalls: Arc<Mutex<Vec<Duration>>>,
    witness: JoinHandle<()>,
}

impl Stopwatch {
    const TICK: Duration = Duration::from_millis(20);

    pub(crate) fn start() -> Self {
        let stalls = Arc::new(Mutex::new(Vec::new()));
        let found = stalls.clone();
        let witness = background(async move {
            loop {
                let before = now();
                tokio::time::sleep(Self::TICK).await;
                let late_by = before.elapsed().saturating_sub(Self::TICK);
                if late_by > Duration::from_millis(200) {
                    found.lock().unwrap().push(late_by);
                }
            }
        });
        Self { start: now(), stalls, witness }
    }

    /// `limit` has not passed, not counting stalls of our own, each of which grants it anew.
    pub(crate) fn within(self, limit: Duration, what: &str) {
        let took = self.start.elapsed();
        self.witness.abort();
        let stalls = self.stalls.lock().unwrap();
        let allowed = stalls.iter().fold(limit, |allowed, stall| allowed + *stall + limit);
        assert!(took <= allowed, "{what} {took:?}, stalled for {stalls:?}");
    }
}

/// Bounds a wait whose end is the point of a test.
pub(crate) async fn within<F: Future>(limit: Duration, what: &str, wait: F) -> F::Output {
    match tokio::time::timeout(limit, wait).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("waited {limit:?} for {what}"),
    }
}

/// What a background call ended with.
pub(crate) async fn ended<T>(call: JoinHandle<T>) -> T {
    within(PATIENCE, "a call to end", call).await.expect("it did not panic")
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

/// Why a connection of `lane` ended.
pub(crate) async fn disconnected(events: &mut EventStream, wanted: Lane) -> Error {
    event(events, "a disconnection", |event| match event {
        Event::Disconnected { lane, cause, .. } if *lane == wanted => Some(cause.clone()),
        _ => None,
    })
    .await
}

/// All events told so far.
pub(crate) fn told(events: &mut EventStream) -> Vec<Event> {
    std::iter::from_fn(|| events.try_next()).collect()
}

/// The server, asked through a back door that no fault closes.
pub(crate) async fn ask(server: &Server, words: &[&str]) -> String {
    server.command(words).await.expect("the server answers").text()
}

/// A field of INFO.
pub(crate) async fn info(server: &Server, section: &str, field: &str) -> Option<String> {
    let text = ask(server, &["INFO", section]).await;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
}

/// How often the server executed a command, by its name in INFO commandstats.
pub(crate) async fn calls(server: &Server, command: &str) -> u64 {
    stat(server, command, "calls").await
}

pub(crate) async fn stat(server: &Server, command: &str, what: &str) -> u64 {
    let Some(stats) = info(server, "commandstats", &format!("cmdstat_{command}")).await else { return 0 };
    let count = stats.split(',').find_map(|pair| pair.strip_prefix(what)?.strip_prefix('='));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Waits until so many clients are blocked at the server.
pub(crate) async fn blocked(server: &Server, count: u32) {
    let wanted = count.to_string();
    eventually(PATIENCE, &format!("{count} blocked clients"), async || {
        info(server, "clients", "blocked_clients").await.as_deref() == Some(&wanted)
    })
    .await
    .unwrap();
}

/// Waits until a connection of `lane` is usable that was not before.
pub(crate) async fn activated(events: &mut EventStream, wanted: Lane) {
    event(events, "an activation", |event| match event {
        Event::Activated { lane, .. } if *lane == wanted => Some(()),
        _ => None,
    })
    .await;
}

pub(crate) async fn incoming(subscription: &mut Subscription) -> Incoming {
    within(PATIENCE, "something on the stream", subscription.next()).await.expect("the subscription is alive")
}

/// The payload of what comes next, which must be a message.
pub(crate) async fn message(subscription: &mut Subscription) -> String {
    match incoming(subscription).await {
        Incoming::Message(message) => String::from_utf8_lossy(&message.payload).into_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// What comes next must be a gap, and that it is over.
pub(crate) async fn gap(subscription: &mut Subscription) -> Error {
    let cause = match incoming(subscription).await {
        Incoming::Gap { since, until, cause, .. } => {
            assert!(since <= until, "{since:?} {until:?}");
            cause
        }
        other => panic!("expected a gap, got {other:?}"),
    };
    let resumed = incoming(subscription).await;
    assert!(matches!(resumed, Incoming::Resumed { .. }), "{resumed:?}");
    cause
}

/// A namespace, or the reason why not, printed.
pub(crate) async fn namespace() -> Option<Namespace> {
    if let Err(reason) = Namespace::available().await {
        eprintln!("skipped: needs a network namespace: {reason}");
        return None;
    }
    Some(Namespace::create().await.unwrap())
}
