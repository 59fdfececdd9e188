//! Looking at queues on an interval, and telling who wants to know.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::alarm::{Alarm, Alert, Thresholds};
use crate::clock;
use crate::error::{Error, Result};
use crate::queue::Queue;
use crate::status::Status;
use crate::telling::pass_on;

/// Alerts that a slow listener may lag behind.
const BACKLOG: usize = 256;

/// Where alerts go: a webhook, a chat, a log.
pub trait Notifier: Send + Sync + 'static {
    /// Tells of one alert.
    ///
    /// # Errors
    /// When it could not be told. It is tried again, after 1 s and more and more rarely, up to once a minute, until it is
    /// told or what it says is no longer so: then that is told instead.
    fn notify<'a>(&'a self, alert: &'a Alert) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

/// The settings of a [`Watch`], until [`start`](Self::start).
#[must_use = "a watch does nothing until it is started"]
pub struct WatchBuilder {
    queues: Vec<Queue>,
    thresholds: Thresholds,
    interval: Duration,
    notifiers: Vec<Arc<dyn Notifier>>,
}

/// Looks at queues, and tells when lag becomes an alert and when it is over.
///
/// ```no_run
/// # async fn example(queue: romaine_queue::Queue) -> romaine_queue::Result<()> {
/// let watch = romaine_queue::Watch::over([queue]).start()?;
/// let mut alerts = watch.alerts();
/// while let Ok(alert) = alerts.recv().await {
///     println!("{alert}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    alerts: broadcast::Sender<Alert>,
    seen: Vec<watch::Receiver<Option<Status>>>,
    looks: JoinSet<()>,
    telling: JoinSet<()>,
}

impl Watch {
    /// A watch over these queues.
    pub fn over(queues: impl IntoIterator<Item = Queue>) -> WatchBuilder {
        WatchBuilder {
            queues: queues.into_iter().collect(),
            thresholds: Thresholds::default(),
            interval: Duration::from_secs(5),
            notifiers: Vec::new(),
        }
    }

    /// Alerts from now on. A listener that lags more than 256 behind is told how many it missed.
    #[must_use]
    pub fn alerts(&self) -> broadcast::Receiver<Alert> {
        self.alerts.subscribe()
    }

    /// What was last seen of each queue, in the order in which they were given; `None` until the first look.
    #[must_use]
    pub fn statuses(&self) -> Vec<Option<Status>> {
        self.seen.iter().map(|seen| seen.borrow().clone()).collect()
    }

    /// Ends it. What notifiers were not told yet they are told still, for no longer than `limit`.
    ///
    /// # Cancel safety
    /// It has ended then, and what was not told is not told.
    pub async fn close(self, limit: Duration) {
        let Self { alerts, mut looks, mut telling, .. } = self;
        looks.shutdown().await;
        drop(alerts);
        let all_told = async { while telling.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all_told).await.is_err() {
            tracing::warn!("the watch ended before all alerts could be told");
        }
    }
}

impl WatchBuilder {
    /// From when on a queue is in trouble.
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// How often to look. Default 5 s.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Tells this one too. Several may be told.
    pub fn notify(mut self, notifier: impl Notifier) -> Self {
        self.notifiers.push(Arc::new(notifier));
        self
    }

    /// Starts looking. Dropping the [`Watch`] ends it at once; [`close`](Watch::close) tells first what is not told yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for no queue, or an interval under 10 ms.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Watch> {
        if self.queues.is_empty() || self.interval < Duration::from_millis(10) {
            return Err(Error::config("a watch needs at least one queue, and an interval of at least 10 ms"));
        }
        let (alerts, _) = broadcast::channel(BACKLOG);
        let (mut looks, mut telling) = (JoinSet::new(), JoinSet::new());
        let mut seen = Vec::new();
        for queue in self.queues {
            let (tell, told) = watch::channel(None);
            seen.push(told);
            let alarm = Alarm::new(queue.name(), self.thresholds.clone());
            looks.spawn(look(queue, alarm, self.interval, tell, alerts.clone()));
        }
        for notifier in self.notifiers {
            telling.spawn(pass_on(notifier, alerts.subscribe()));
        }
        Ok(Watch { alerts, seen, looks, telling })
    }
}

impl fmt::Debug for WatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchBuilder")
            .field("queues", &self.queues)
            .field("thresholds", &self.thresholds)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

async fn look(
    queue: Queue,
    mut alarm: Alarm,
    interval: Duration,
    seen: watch::Sender<Option<Status>>,
    alerts: broadcast::Sender<Alert>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A look that hangs is a look that failed: silence is what this watch is for.
    let limit = interval.max(Duration::from_secs(2));
    loop {
        ticks.tick().await;
        let looked = tokio::time::timeout(limit, queue.status()).await;
        let now = clock::now();
        let changes = match looked {
            Ok(Ok(status)) => {
                let changes = alarm.seen(&status, now);
                seen.send_replace(Some(status));
                changes
            }
            Ok(Err(error)) => alarm.unseen(&error.to_string(), now),
            Err(_late) => alarm.unseen("no answer", now),
        };
        for alert in changes {
            if alert.resolved {
                tracing::info!(%alert);
            } else {
                tracing::warn!(%alert);
            }
            // Nobody listening is no failure.
            let _listeners = alerts.send(alert);
        }
    }
}
