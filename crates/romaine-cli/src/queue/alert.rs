//! `romaine queue alert`: says when a queue is in trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use romaine::Client;
use romaine_edge::parse_span;
use romaine_queue::{Alert, Notifier, Status, Thresholds, Trouble, Watch, Webhook, prometheus};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{failure, queue};
use crate::exit::{Failure, Outcome};
use crate::out::remark;

/// How long notifiers have at the end for what they were not told yet.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(2);

/// Between two glances at whether there was a first look, and how long it is waited for beyond the thresholds' time.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What `alert` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The queues.
    #[arg(required = true)]
    queues: Vec<String>,
    /// Post each trouble and its end here as JSON. Give a URL with a secret as ROMAINE_WEBHOOK: arguments are seen by
    /// everybody.
    #[arg(long, env = "ROMAINE_WEBHOOK", hide_env_values = true, value_name = "URL")]
    webhook: Option<String>,
    /// Answer GET /metrics here, for Prometheus: 127.0.0.1:9464.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    metrics: Option<SocketAddr>,
    /// How often the queues are looked at.
    #[arg(long, default_value = "5s", value_parser = parse_span)]
    every: Duration,
    /// Look for as long as the slowest threshold needs, say what is wrong, and end.
    #[arg(long)]
    once: bool,
    /// A line of JSON for each trouble and its end.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
}

const HELP: &str = "Each threshold can be switched off. Runs until it is told to end, also while the server is away: \
                    that is a trouble too. Exit status: 0; with --once 1 when a queue is in trouble, 3 when the server \
                    cannot be reached.";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Thresholds")]
struct Limits {
    /// Work waits, and none was started or finished for so long. More than the longest job takes, where all workers can be
    /// busy.
    #[arg(long, default_value = "15s", value_parser = span_or_off)]
    no_progress: SpanOrOff,
    /// The oldest waiting job waits for so long.
    #[arg(long, default_value = "5m", value_parser = span_or_off)]
    oldest_waiting: SpanOrOff,
    /// So many jobs wait.
    #[arg(long, default_value = "50000", value_parser = count_or_off)]
    waiting: CountOrOff,
    /// A worker is so late with the sign of life that it promised.
    #[arg(long, default_value = "5s", value_parser = span_or_off)]
    worker_overdue: SpanOrOff,
    /// Fewer workers than this keep their promise.
    #[arg(long, default_value = "off", value_parser = count_or_off)]
    workers_min: CountOrOff,
    /// So many new dead letters.
    #[arg(long, default_value = "1", value_parser = count_or_off)]
    new_dead: CountOrOff,
    /// So many leases ran out within a minute.
    #[arg(long, default_value = "10", value_parser = count_or_off)]
    expired_leases: CountOrOff,
    /// The queue could not be looked at for so long.
    #[arg(long, default_value = "15s", value_parser = span_or_off)]
    unreachable: SpanOrOff,
}

#[derive(Debug, Clone, Copy)]
struct SpanOrOff(Option<Duration>);

#[derive(Debug, Clone, Copy)]
struct CountOrOff(Option<u64>);

fn span_or_off(text: &str) -> Result<SpanOrOff, romaine_edge::Error> {
    if text == "off" { Ok(SpanOrOff(None)) } else { parse_span(text).map(|span| SpanOrOff(Some(span))) }
}

fn count_or_off(text: &str) -> Result<CountOrOff, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(CountOrOff(None)),
        (_, Ok(count)) => Ok(CountOrOff(Some(count))),
        (_, Err(_)) => Err("expected a number, or off".into()),
    }
}

impl Limits {
    fn thresholds(&self) -> Thresholds {
        Thresholds {
            no_progress: self.no_progress.0,
            oldest_waiting: self.oldest_waiting.0,
            waiting: self.waiting.0,
            consumer_overdue: self.worker_overdue.0,
            consumers_min: self.workers_min.0.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            new_dead: self.new_dead.0,
            expired_leases: self.expired_leases.0,
            unreachable: self.unreachable.0,
        }
    }

    /// How long a trouble of now may take to be seen.
    fn slowest(&self) -> Duration {
        self.no_progress.0.max(self.unreachable.0).unwrap_or_default()
    }
}

/// What is wrong now, and what is said of it.
#[derive(Debug, Clone, Default)]
struct Wrong(Arc<Mutex<BTreeMap<(String, Trouble), String>>>);

impl Wrong {
    fn now(&self) -> BTreeMap<(String, Trouble), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Prints alerts, and remembers which are on.
#[derive(Debug)]
struct Printer {
    json: bool,
    wrong: Wrong,
}

impl Notifier for Printer {
    fn notify<'a>(&'a self, alert: &'a Alert) -> Pin<Box<dyn Future<Output = romaine_queue::Result<()>> + Send + 'a>> {
        let mut wrong = self.wrong.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (alert.queue.clone(), alert.trouble.clone());
        if alert.resolved {
            wrong.remove(&key);
        } else {
            wrong.insert(key, alert.message.clone());
        }
        if self.json {
            let state = if alert.resolved { "resolved" } else { "firing" };
            remark!(
                "{}",
                json!({
                    "queue": alert.queue, "alert": alert.trouble.name(), "state": state, "message": alert.message,
                    "text": alert.to_string(),
                })
            );
        } else {
            remark!("{alert}");
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Watches until it is told to end.
pub(crate) async fn run(client: &Client, args: &Args) -> Outcome {
    let queues = args.queues.iter().map(|name| queue(client, name)).collect::<Result<Vec<_>, _>>()?;
    let wrong = Wrong::default();
    let printer = Printer { json: args.json, wrong: wrong.clone() };
    let mut watch = Watch::over(queues).thresholds(args.limits.thresholds()).interval(args.every).notify(printer);
    if let Some(url) = &args.webhook {
        watch = watch.notify(Webhook::new(url).map_err(failure)?);
    }
    let listener = match args.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let watch = Arc::new(watch.start().map_err(failure)?);
    let enough = async {
        if args.once {
            all_is_seen(&watch, &wrong, args).await;
        } else {
            told_to_end().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::select! {
        ended = enough => ended?,
        ended = serve(listener, watch.clone(), wrong.clone()) => ended?,
    }
    let is_unseen = watch.statuses().iter().any(Option::is_none);
    if let Some(watch) = Arc::into_inner(watch) {
        watch.close(LAST_WORDS).await;
    }
    if !args.once {
        return Ok(true);
    }
    let wrong = wrong.now();
    if is_unseen || wrong.keys().any(|(_, trouble)| *trouble == Trouble::Unreachable) {
        return Err(Failure::unreachable(anyhow::anyhow!("the server cannot be reached")));
    }
    Ok(wrong.is_empty())
}

/// Waits until every threshold had its time, from the first look on.
async fn all_is_seen(watch: &Watch, wrong: &Wrong, args: &Args) {
    let is_looked_at = || {
        let is_away = wrong.now().keys().any(|(_, trouble)| *trouble == Trouble::Unreachable);
        is_away || watch.statuses().iter().all(Option::is_some)
    };
    let slowest = args.limits.slowest() + LOOK.max(args.every * 2);
    let first = async {
        while !is_looked_at() {
            tokio::time::sleep(FIRST_LOOK).await;
        }
    };
    // Whoever switched `--unreachable` off is not told, but does not wait for ever.
    if tokio::time::timeout(slowest + FIRST_LOOK_LIMIT, first).await.is_ok() {
        tokio::time::sleep(slowest).await;
    }
}

async fn told_to_end() -> anyhow::Result<()> {
    let mut end = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    tokio::select! {
        _told = end.recv() => {}
        _told = interrupt.recv() => {}
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--metrics)"))
        .map_err(Failure::usage)?;
    let address = listener.local_addr().context("a listener has no address")?;
    eprintln!("romaine: metrics on http://{address}/metrics");
    Ok(listener)
}

async fn serve(listener: Option<TcpListener>, watch: Arc<Watch>, wrong: Wrong) -> anyhow::Result<()> {
    let Some(listener) = listener else { return std::future::pending().await };
    let metrics = move || {
        let text = text(&watch.statuses(), &wrong);
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    let routes = Router::new().route("/metrics", get(metrics));
    axum::serve(listener, routes).await.context("metrics are not served any more")
}

/// What was seen last, and what is wrong: of a queue that cannot be seen the first is old, and the second says so.
fn text(statuses: &[Option<Status>], wrong: &Wrong) -> String {
    let mut text = prometheus(statuses.iter().flatten());
    text.push_str("# HELP rq_alert 1 while the queue is in this trouble.\n# TYPE rq_alert gauge\n");
    // Of several silent workers of a queue one line.
    let alerts: BTreeSet<_> = wrong.now().into_keys().map(|(queue, trouble)| (queue, trouble.name())).collect();
    for (queue, name) in alerts {
        text.push_str(&format!("rq_alert{{queue=\"{queue}\",alert=\"{name}\"}} 1\n"));
    }
    text
}
