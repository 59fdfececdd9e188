//! What a client is kept busy with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{Client, Effect, Outcome};
use crate::protocol::{COUNTER, Calls, Link, Moment, Observation, Order, SPREAD_KEYS};
use crate::tally::Tally;
use crate::witness::Witness;

/// How long a user waits before trying again what failed.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// The time between two batches of a torrent.
const TICK: Duration = Duration::from_millis(5);

/// What every load of one driver shares.
#[derive(Debug, Clone)]
pub(crate) struct Ground<C> {
    pub(crate) client: C,
    pub(crate) order: Arc<Order>,
    pub(crate) witness: Witness,
    pub(crate) tally: Arc<Tally>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl<C: Client> Ground<C> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn ended<T: Sync>(&self, since: Moment, limit: Option<Duration>, outcome: &Outcome<T>) {
        let counted = outcome.as_ref().map(drop).map_err(|failure| failure.effect);
        let due = self.tally.ended(since, limit, counted);
        self.heard(Link::Commands, outcome).await;
        if due {
            self.witness.tell(Observation::Worked { since }).await;
        }
    }

    /// Where the client does not tell of its connections, what fails and works on them does.
    async fn heard<T: Sync>(&self, link: Link, outcome: &Outcome<T>) {
        if C::TELLS_OF_CONNECTIONS {
            return;
        }
        match outcome {
            Err(failure) if !failure.is_answer => self.witness.lost(link, &failure.cause).await,
            Ok(_) | Err(_) => self.witness.back(link).await,
        }
    }
}

/// Tells the totals until it is aborted.
pub(crate) async fn tell_totals(tally: Arc<Tally>, witness: Witness) {
    let mut before = Calls::default();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = tally.read();
        if now != before {
            witness.tell(Observation::Calls(now)).await;
            before = now;
        }
    }
}

/// One caller of INCR, a call after the other.
pub(crate) async fn call<C: Client>(ground: Ground<C>) {
    let mut last = 0;
    while !ground.is_stopped() {
        let since = ground.tally.begin();
        let outcome = ground.client.incr(COUNTER).await;
        ground.ended(since, ground.client.deadline(), &outcome).await;
        if let Ok(value) = outcome {
            // Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
            if value <= last {
                ground.tally.foreign();
            }
            last = value;
        }
        // Spread, so that the callers do not march in step.
        tokio::time::sleep(ground.order.pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// One caller of INCR on many keys.
pub(crate) async fn spread<C: Client>(ground: Ground<C>) {
    while !ground.is_stopped() {
        let key = format!("{COUNTER}:{}", fastrand::usize(..SPREAD_KEYS));
        let since = ground.tally.begin();
        let outcome = ground.client.incr(&key).await;
        ground.ended(since, ground.client.deadline(), &outcome).await;
        tokio::time::sleep(ground.order.pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// One caller whose every call asks for something unique, and that does not wait for most of them.
pub(crate) async fn drop_calls<C: Client>(ground: Ground<C>, caller: usize) {
    let mut serial = 0u64;
    while !ground.is_stopped() {
        serial += 1;
        let word = format!("{caller}:{serial}");
        let since = ground.tally.begin();
        let impatience = Duration::from_micros(fastrand::u64(0..3_000));
        let outcome = match fastrand::u8(0..3) {
            0 => match tokio::time::timeout(impatience, ground.client.echo(word.clone())).await {
                Ok(outcome) => outcome,
                Err(_dropped) => {
                    ground.tally.abandoned();
                    continue;
                }
            },
            1 => {
                let outcome = ground.client.echo_within(word.clone(), impatience).await;
                if outcome.is_err() {
                    // The caller's own impatience says nothing about the connection.
                    ground.tally.ended(since, ground.client.deadline(), Err(Effect::Unknown));
                    continue;
                }
                outcome
            }
            _ => ground.client.echo(word.clone()).await,
        };
        ground.ended(since, ground.client.deadline(), &outcome).await;
        if outcome.is_ok_and(|reply| reply != word) {
            ground.tally.foreign();
        }
        tokio::task::yield_now().await;
    }
}

/// One caller that reads the large value.
pub(crate) async fn fetch<C: Client>(ground: Ground<C>) {
    while !ground.is_stopped() {
        let since = ground.tally.begin();
        let outcome = ground.client.fetch().await;
        ground.ended(since, None, &outcome).await;
        tokio::time::sleep(ground.order.pause).await;
    }
}

/// Calls at a fixed rate, whatever becomes of those before.
pub(crate) async fn torrent<C: Client>(ground: Ground<C>) {
    let batch = ground.order.rate / 200;
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    while !ground.is_stopped() {
        ticks.tick().await;
        for _ in 0..batch {
            let ground = ground.clone();
            calls.spawn(async move {
                let since = ground.tally.begin();
                let outcome = ground.client.incr(COUNTER).await;
                ground.ended(since, ground.client.deadline(), &outcome).await;
            });
        }
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

/// `BRPOP jobs 0`, again and again.
pub(crate) async fn consume<C: Client>(ground: Ground<C>) {
    loop {
        let outcome = ground.client.pop().await;
        ground.heard(Link::Blocking, &outcome).await;
        match outcome {
            Ok(Some(value)) => match value.parse() {
                Ok(element) => ground.witness.tell(Observation::Element(element)).await,
                Err(_) => ground.witness.tell(Observation::Trouble(format!("not an element: {value}"))).await,
            },
            Ok(None) => eprintln!("BRPOP jobs 0 answered nil"),
            Err(failure) => {
                eprintln!("the consumer: {}", failure.cause);
                if failure.effect == Effect::Unknown {
                    let cause = failure.cause;
                    ground.witness.tell(Observation::Broken { link: Link::Blocking, cause }).await;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// PING until one is answered, as a user would who wants to know whether it works.
pub(crate) async fn probe<C: Client>(ground: Ground<C>) {
    loop {
        let since = Moment::now();
        let outcome = ground.client.ping().await;
        ground.heard(Link::Commands, &outcome).await;
        match outcome {
            Ok(()) => return ground.witness.tell(Observation::Worked { since }).await,
            Err(failure) => {
                eprintln!("the probe: {}", failure.cause);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
