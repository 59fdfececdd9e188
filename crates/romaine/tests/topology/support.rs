//! What the tests share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use romaine::commands::*;
use romaine::{Client, Config, Event, EventStream, Liveness};
use romaine_faultlab::Server;

/// Longer than anything here may take: a wait that passes it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How soon after the servers' own failover writes must work again.
pub(crate) const PROMISE: Duration = Duration::from_secs(2);

/// Bounds a wait whose end is the point of a test.
pub(crate) async fn within<F: Future>(limit: Duration, what: &str, wait: F) -> F::Output {
    match tokio::time::timeout(limit, wait).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("waited {limit:?} for {what}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "what is promised in seconds is measured in seconds")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A caller besides the test.
#[expect(clippy::disallowed_methods, reason = "a caller besides the test")]
pub(crate) fn background<F>(work: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(work)
}

/// Of a topology's URL, quick to notice.
pub(crate) fn config(url: &str) -> Config {
    Config::from_url(url).unwrap().liveness(Liveness::fast())
}

pub(crate) async fn connect(url: &str) -> Client {
    within(PATIENCE, "the connection", Client::connect(config(url))).await.expect("the servers are there")
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

/// Writes one after the other, and counts.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    pub(crate) acknowledged: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<romaine::Error>>,
}

impl Writer {
    /// `INCR key:<n>` for `keys` values of n in turn, a few hundred a second.
    pub(crate) fn start(client: &Client, keys: u64) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, stopped, counted) = (client.clone(), stop.clone(), acknowledged.clone());
        let task = background(async move {
            let mut errors = Vec::new();
            let mut n = 0;
            while !stopped.load(Ordering::Relaxed) {
                match client.incr(format!("key:{}", n % keys)).await {
                    Ok(_) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => errors.push(error),
                }
                n += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            errors
        });
        Self { stop, acknowledged, task }
    }

    pub(crate) fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for the next acknowledged write.
    pub(crate) async fn works(&self) {
        let before = self.count();
        while self.count() <= before + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The acknowledged writes and the errors.
    pub(crate) async fn stop(self) -> (u64, Vec<romaine::Error>) {
        self.stop.store(true, Ordering::Relaxed);
        let errors = within(PATIENCE, "the writer's end", self.task).await.unwrap();
        (self.acknowledged.load(Ordering::Relaxed), errors)
    }
}

/// The sum of the counters `key:<n>`.
pub(crate) async fn written(client: &Client, keys: u64) -> u64 {
    let mut sum = 0;
    for n in 0..keys {
        let value: Option<u64> = client.get(format!("key:{n}")).await.unwrap();
        sum += value.unwrap_or(0);
    }
    sum
}

/// `host:port` of a server.
pub(crate) fn node(server: &Server) -> String {
    server.address().to_string()
}
