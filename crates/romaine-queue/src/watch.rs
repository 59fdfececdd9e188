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

/// Alerts that a slow listener may lag behind.
const BACKLOG: usize = 256;

/// Where alerts go: a webhook, a chat, a log.
pub trait Notifier: Send + Sync + 'static {
    /// Tells of one alert.
    ///
    /// # Errors
    /// When it could not be told; it is tried again a few times.
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
    _tasks: JoinSet<()>,
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

    /// Starts looking. Dropping the [`Watch`] ends it.
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
        let mut tasks = JoinSet::new();
        let mut seen = Vec::new();
        for queue in self.queues {
            let (tell, told) = watch::channel(None);
            seen.push(told);
            let alarm = Alarm::new(queue.name(), self.thresholds.clone());
            tasks.spawn(look(queue, alarm, self.interval, tell, alerts.clone()));
        }
        for notifier in self.notifiers {
            tasks.spawn(pass_on(notifier, alerts.subscribe()));
        }
        Ok(Watch { alerts, seen, _tasks: tasks })
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

async fn pass_on(notifier: Arc<dyn Notifier>, mut alerts: broadcast::Receiver<Alert>) {
    loop {
        let alert = match alerts.recv().await {
            Ok(alert) => alert,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "alerts came faster than they could be told");
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        for attempt in 1..=3_u32 {
            match notifier.notify(&alert).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(attempt, %error, %alert, "an alert could not be told"),
            }
            tokio::time::sleep(Duration::from_secs(1) * attempt).await;
        }
    }
}
