//! Telling alerts to one who may not be there: each until it is told, or until what it says is no longer so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use romaine::Backoff;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::alarm::Alert;
use crate::clock;
use crate::watch::Notifier;

/// Alerts that wait to be told. There is one for each trouble of each queue; consumers that are overdue have names
/// of their own.
const UNTOLD_MAX: usize = 1_000;

/// Between two attempts to tell the same. Whoever is told may be away for days.
const AGAIN: Backoff = Backoff::EqualJitter { base: Duration::from_secs(2), max: Duration::from_secs(60) };

/// An alert that waits to be told.
#[derive(Debug)]
struct Untold {
    alert: Alert,
    attempts: u64,
    due: Instant,
}

/// All that wait, those that came first first.
#[derive(Debug, Default)]
struct Line(Vec<Untold>);

impl Line {
    /// The newest of a trouble takes the place of what was not told of it yet.
    fn add(&mut self, alert: Alert, attempts: u64, due: Instant) {
        if let Some(before) = self.0.iter_mut().find(|before| is_of_same(&before.alert, &alert)) {
            before.alert = alert;
            return;
        }
        if self.0.len() == UNTOLD_MAX {
            let oldest = self.0.remove(0);
            tracing::error!(alert = %oldest.alert, "more alerts cannot be told than are kept (1,000): this one is lost");
        }
        self.0.push(Untold { alert, attempts, due });
    }

    /// One that could not be told, unless there is news of its trouble.
    fn add_again(&mut self, untold: Untold, due: Instant) {
        if !self.0.iter().any(|newer| is_of_same(&newer.alert, &untold.alert)) {
            self.add(untold.alert, untold.attempts + 1, due);
        }
    }

    /// When the next attempt is due.
    fn due(&self) -> Option<Instant> {
        self.0.iter().map(|untold| untold.due).min()
    }

    /// One that is due.
    fn take(&mut self, now: Instant) -> Option<Untold> {
        let index = self.0.iter().position(|untold| untold.due <= now)?;
        Some(self.0.remove(index))
    }
}

fn is_of_same(one: &Alert, other: &Alert) -> bool {
    one.queue == other.queue && one.trouble == other.trouble
}

/// Tells this one of all alerts, until there are none any more.
pub(crate) async fn pass_on(notifier: Arc<dyn Notifier>, alerts: Receiver<Alert>) {
    let mut alerts = Some(alerts);
    let (mut line, mut random) = (Line::default(), fastrand::Rng::new());
    loop {
        let Some(untold) = line.take(clock::now()) else {
            match (line.due(), alerts.is_some()) {
                (None, false) => return,
                (None, true) => hear(&mut alerts, &mut line).await,
                (Some(due), _) => tokio::select! {
                    () = hear(&mut alerts, &mut line) => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                },
            }
            continue;
        };
        // Others come meanwhile: nobody lags because this one is slow.
        let told = {
            let mut telling = notifier.notify(&untold.alert);
            loop {
                tokio::select! {
                    told = &mut telling => break told,
                    () = hear(&mut alerts, &mut line) => {}
                }
            }
        };
        if let Err(error) = told {
            let pause = AGAIN.delay(untold.attempts, Duration::ZERO, &mut random);
            tracing::warn!(attempt = untold.attempts + 1, ?pause, %error, alert = %untold.alert, "an alert could not be told");
            line.add_again(untold, clock::now() + pause);
        }
    }
}

/// Waits for the next alert and puts it into the line; for ever when there will be none.
async fn hear(alerts: &mut Option<Receiver<Alert>>, line: &mut Line) {
    let Some(receiver) = alerts else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(alert) => line.add(alert, 0, clock::now()),
        Err(RecvError::Lagged(missed)) => tracing::error!(missed, "alerts came faster than they could be told"),
        Err(RecvError::Closed) => *alerts = None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;

    use tokio::sync::broadcast;

    use super::*;
    use crate::alarm::Trouble;
    use crate::error::{Error, ErrorKind, Result};

    /// Somebody who does not hear the first few times.
    #[derive(Debug, Default)]
    struct Deaf {
        to: Mutex<usize>,
        heard: Mutex<Vec<(String, bool)>>,
    }

    impl Notifier for Deaf {
        fn notify<'a>(&'a self, alert: &'a Alert) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
            Box::pin(async {
                let mut to = self.to.lock().unwrap();
                if *to > 0 {
                    *to -= 1;
                    return Err(Error::new(ErrorKind::Unavailable, "deaf"));
                }
                self.heard.lock().unwrap().push((alert.queue.clone(), alert.resolved));
                Ok(())
            })
        }
    }

    fn alert(queue: &str, resolved: bool) -> Alert {
        Alert { queue: queue.into(), trouble: Trouble::NoProgress, resolved, message: String::new() }
    }

    fn heard(deaf: &Deaf) -> Vec<(String, bool)> {
        deaf.heard.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn an_alert_is_told_when_the_one_who_is_told_has_come_back_and_keeps_no_other_waiting() {
        let deaf = Arc::new(Deaf { to: Mutex::new(usize::MAX), ..Deaf::default() });
        let (tell, alerts) = broadcast::channel(16);
        tell.send(alert("a", false)).unwrap();
        let mut passing = std::pin::pin!(pass_on(deaf.clone(), alerts));
        let minutes = Duration::from_secs(180);
        assert!(tokio::time::timeout(minutes, &mut passing).await.is_err());
        assert!(heard(&deaf).is_empty(), "not within three minutes");
        *deaf.to.lock().unwrap() = 0;
        tell.send(alert("b", false)).unwrap();
        drop(tell);
        passing.await;
        assert_eq!(heard(&deaf), [("b".to_owned(), false), ("a".to_owned(), false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_trouble_that_could_not_be_told_and_is_over_its_end_is_told() {
        let deaf = Arc::new(Deaf { to: Mutex::new(usize::MAX), ..Deaf::default() });
        let (tell, alerts) = broadcast::channel(16);
        let mut passing = std::pin::pin!(pass_on(deaf.clone(), alerts));
        for resolved in [false, true, false, true] {
            tell.send(alert("a", resolved)).unwrap();
            assert!(tokio::time::timeout(Duration::from_secs(60), &mut passing).await.is_err());
        }
        *deaf.to.lock().unwrap() = 0;
        drop(tell);
        passing.await;
        assert_eq!(heard(&deaf), [("a".to_owned(), true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_told_for_long_is_bounded() {
        let mut line = Line::default();
        let now = clock::now();
        for n in 0..UNTOLD_MAX + 10 {
            line.add(alert(&n.to_string(), false), 0, now);
        }
        assert_eq!((line.0.len(), line.0[0].alert.queue.as_str()), (UNTOLD_MAX, "10"));
    }
}
