//! Messages published by redis-benchmark as fast as it can, counted at the subscriber.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    address::Address,
    admin::Admin,
    data,
    peer::{Delivery, Subscribe, Subscription},
    sample::Sample,
    usage,
};

/// The publisher's pipeline.
const PUBLISHER_PIPELINE: u64 = 64;
/// The subscription must exist within this time.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// With the publisher gone and nothing arriving for so long, nothing more will.
const SILENCE: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Tally {
    delivered: AtomicU64,
    dropped: AtomicU64,
}

impl Tally {
    fn total(&self) -> u64 {
        self.delivered.load(Relaxed) + self.dropped.load(Relaxed)
    }
}

/// First and last delivery.
struct Span {
    first: Instant,
    last: Instant,
}

/// Subscribes, has the messages published, and counts them.
pub(super) async fn measure<S: Subscribe>(address: &Address, publisher: &Path, messages: u64) -> Result<Sample> {
    ensure!(messages.is_multiple_of(PUBLISHER_PIPELINE), "messages come in batches of {PUBLISHER_PIPELINE}");
    let subscription = S::subscribe(address, data::CHANNEL).await.context("subscribing")?;
    subscribed(address).await?;

    let tally = Arc::new(Tally::default());
    let (first, mut first_delivery) = oneshot::channel();
    let counting = tokio::spawn(count(subscription, Arc::clone(&tally), messages, first));
    let mut child = publish(address, publisher, messages)?;
    let cpu_before = usage::own_cpu()?;

    let ended = wait(&tally, &mut child, || counting.is_finished()).await?;
    let cpu = usage::own_cpu()?.saturating_sub(cpu_before);
    let span = if counting.is_finished() {
        counting.await.context("the subscriber panicked")??
    } else {
        counting.abort();
        Span { first: first_delivery.try_recv().context("no message was delivered")?, last: ended }
    };
    child.wait()?;

    let delivered = tally.delivered.load(Relaxed);
    Ok(Sample {
        ops_per_s: Some(delivered as f64 / (span.last - span.first).as_secs_f64()),
        cpu_us_per_op: Some(cpu.as_secs_f64() * 1e6 / delivered as f64),
        lost: Some(messages.saturating_sub(delivered) as f64),
        ..Sample::default()
    })
}

async fn subscribed(address: &Address) -> Result<()> {
    let mut admin = Admin::connect(address)?;
    let deadline = Instant::now() + SUBSCRIBED_WITHIN;
    while admin.subscribers(data::CHANNEL)? == 0 {
        ensure!(Instant::now() < deadline, "not subscribed after {SUBSCRIBED_WITHIN:?}");
        sleep(POLL).await;
    }
    Ok(())
}

fn publish(address: &Address, publisher: &Path, messages: u64) -> Result<Child> {
    Command::new(publisher)
        .args(address.benchmark_options())
        .args(["-c", "1", "-q", "-P", &PUBLISHER_PIPELINE.to_string(), "-n", &messages.to_string()])
        .args(["PUBLISH", data::CHANNEL, &data::value(data::MESSAGE_BYTES)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| publisher.display().to_string())
}

/// Counts until everything has arrived or is known to be lost.
async fn count(
    mut subscription: impl Subscription,
    tally: Arc<Tally>,
    messages: u64,
    first_delivery: oneshot::Sender<Instant>,
) -> Result<Span> {
    let mut first_delivery = Some(first_delivery);
    let mut first = None;
    loop {
        match subscription.next().await? {
            Delivery::Messages(count) => tally.delivered.fetch_add(count, Relaxed),
            Delivery::Dropped(count) => tally.dropped.fetch_add(count, Relaxed),
        };
        let first = *first.get_or_insert_with(Instant::now);
        if let Some(sender) = first_delivery.take() {
            let _unheard = sender.send(first);
        }
        if tally.total() >= messages {
            return Ok(Span { first, last: Instant::now() });
        }
    }
}

/// Waits for the end of counting, or for the publisher's end and silence after it. Returns when something last arrived.
async fn wait(tally: &Tally, publisher: &mut Child, is_finished: impl Fn() -> bool) -> Result<Instant> {
    let (mut seen, mut seen_at) = (0, Instant::now());
    while !is_finished() {
        sleep(POLL).await;
        let published = publisher.try_wait()?.is_some();
        if tally.total() != seen {
            (seen, seen_at) = (tally.total(), Instant::now());
        } else if published && seen_at.elapsed() > SILENCE {
            break;
        }
    }
    Ok(seen_at)
}
