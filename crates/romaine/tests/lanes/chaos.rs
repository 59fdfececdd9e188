//! The promises under faults in any order. A failure prints its seed; `ROMAINE_SEED` sets it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Event, Incoming};
use romaine_faultlab::{Direction, Fault, FaultProxy, Server, eventually};

use crate::support::{PATIENCE, ask, background, connect, ended, event, fast, incoming, info, now, within};

/// How long the faults go on.
const LONG: Duration = Duration::from_secs(6);

fn seed() -> u64 {
    let seed = std::env::var("ROMAINE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("ROMAINE_SEED={seed}");
    seed
}

/// What the middle of the path may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Middle {
    /// Lose replies and end the stream as if the server had.
    Lying,
    /// Lose replies, and never say that the stream has ended in order.
    Honest,
}

/// One fault after the other, with times of rest; the path is whole at the end.
async fn torment(proxy: &FaultProxy, middle: Middle, random: &mut fastrand::Rng) {
    let start = now();
    while start.elapsed() < LONG {
        let direction = if random.bool() { Direction::ToServer } else { Direction::ToClient };
        let fault = random.u32(0..8);
        match fault {
            0 => proxy.set_both(Fault::Swallow),
            1 => proxy.set(direction, Fault::Swallow),
            2 => proxy.set_both(Fault::Stall),
            3 => proxy.set(direction, Fault::Stall),
            4 if middle == Middle::Lying => proxy.set(direction, Fault::CloseAfter(random.u64(0..200))),
            4 | 5 => proxy.set(direction, Fault::ResetAfter(random.u64(0..200))),
            6 if middle == Middle::Lying => proxy.cut_all().await.unwrap(),
            _ => proxy.reset_all().await.unwrap(),
        }
        // Some are over before anybody notices, some are not.
        tokio::time::sleep(Duration::from_millis(random.u64(1..2_600))).await;
        if fault <= 1 {
            // No network loses bytes and then carries the rest of the same stream.
            proxy.reset_all().await.unwrap();
        }
        proxy.heal().await.unwrap();
        tokio::time::sleep(Duration::from_millis(random.u64(1..600))).await;
    }
}

/// Pushes numbers until told to stop, through a path without faults; says how many.
async fn produce(server: Arc<Server>, stop: Arc<AtomicBool>) -> u32 {
    let mut pushed = 0;
    while !stop.load(Ordering::Relaxed) {
        ask(&server, &["LPUSH", "q", &pushed.to_string()]).await;
        pushed += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pushed
}

/// All elements popped, until the one that says it is over.
async fn consume(client: Client) -> Vec<String> {
    let mut popped = Vec::new();
    loop {
        match client.brpop::<String, String>("q", 0.0).await {
            Ok(Some((_, last))) if last == "end" => return popped,
            Ok(element) => popped.extend(element.map(|(_, element)| element)),
            Err(error) => assert!(error.may_have_lost_element(), "{error}"),
        }
    }
}

// S4, P5: every element that is missing was told of, and none comes twice. An end of stream is believed: see
// `EndOfStream` in `blocking.rs`.
#[tokio::test]
async fn popped_elements_come_once_or_their_loss_is_told() {
    let mut random = fastrand::Rng::with_seed(seed());
    let server = Arc::new(Server::start().await.unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).events_backlog(1 << 16)).await;
    let mut events = client.events();
    let consumers: Vec<_> = (0..4).map(|_| background(consume(client.clone()))).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = background(produce(server.clone(), stop.clone()));
    torment(&proxy, Middle::Honest, &mut random).await;
    stop.store(true, Ordering::Relaxed);
    let pushed = ended(producer).await;
    eventually(PATIENCE, "an empty list", async || ask(&server, &["LLEN", "q"]).await == "0").await.unwrap();
    eventually(PATIENCE, "four that wait", async || {
        info(&server, "clients", "blocked_clients").await.as_deref() == Some("4")
    })
    .await
    .unwrap();
    ask(&server, &["LPUSH", "q", "end", "end", "end", "end"]).await;
    let mut popped = Vec::new();
    for consumer in consumers {
        popped.extend(ended(consumer).await);
    }
    let different: BTreeSet<_> = popped.iter().collect();
    assert_eq!(different.len(), popped.len(), "none comes twice");
    let missing = pushed as usize - popped.len();
    let told = crate::support::told(&mut events);
    let losses = told.iter().filter(|event| matches!(event, Event::ElementMayBeLost { .. })).count();
    eprintln!("{pushed} pushed, {missing} missing, {losses} losses told");
    assert!(missing <= losses, "{missing} of {pushed} missing, {losses} told");
}

// The loss-free way under the same.
#[tokio::test]
async fn reliably_popped_elements_come_once() {
    let mut random = fastrand::Rng::with_seed(seed());
    let server = Arc::new(Server::start().await.unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address()).timeout(Duration::from_millis(800))).await;
    let consumers: Vec<_> = (0..3)
        .map(|number| {
            background({
                let mut pop = client.reliable_pop::<String>("q", format!("q:{number}"));
                let mut random = random.fork();
                async move {
                    let mut popped = Vec::new();
                    while popped.last().is_none_or(|last| last != "end") {
                        let patience = Duration::from_millis(random.u64(1..2_000));
                        let job = if random.bool() {
                            pop.next(patience).await
                        } else {
                            tokio::time::timeout(patience, pop.next(Duration::ZERO)).await.unwrap_or(Ok(None))
                        };
                        let Ok(Some(job)) = job else { continue };
                        while pop.acknowledge(&job).await.is_err() {}
                        popped.push(job.value);
                    }
                    popped
                }
            })
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = background(produce(server.clone(), stop.clone()));
    torment(&proxy, Middle::Lying, &mut random).await;
    stop.store(true, Ordering::Relaxed);
    let pushed = ended(producer).await;
    let queues = ["q", "q:0", "q:1", "q:2"];
    eventually(Duration::from_secs(60), "everything to be done", async || {
        for queue in queues {
            if ask(&server, &["LLEN", queue]).await != "0" {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
    let mut popped = Vec::new();
    ask(&server, &["LPUSH", "q", "end", "end", "end"]).await;
    for consumer in consumers {
        popped.extend(ended(consumer).await);
    }
    let numbers = popped.iter().filter(|element| *element != "end").map(|element| element.parse().unwrap());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..pushed).collect::<Vec<_>>());
}

// P4: a message that is missing lies behind a gap.
#[tokio::test]
async fn a_subscriber_misses_nothing_that_no_gap_tells_of() {
    let mut random = fastrand::Rng::with_seed(seed());
    let server = Arc::new(Server::start().await.unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(fast(proxy.address())).await;
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    let mut events = client.events();
    let reader = background(async move {
        let (mut last, mut gaps, mut missing) = (None, 0, 0);
        let mut after_gap = false;
        loop {
            match incoming(&mut subscription).await {
                Incoming::Message(message) if &message.payload[..] == b"end" => return (gaps, missing),
                Incoming::Message(message) => {
                    let number: u32 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                    let expected = last.map_or(0, |last: u32| last + 1);
                    assert!(number >= expected, "{number} after {last:?}: twice, or out of order");
                    assert!(number == expected || after_gap, "{number} after {last:?} without a gap");
                    missing += number - expected;
                    last = Some(number);
                    after_gap = false;
                }
                Incoming::Gap { .. } => {
                    gaps += 1;
                    after_gap = true;
                }
                Incoming::Resumed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = background({
        let (server, stop) = (server.clone(), stop.clone());
        async move {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                ask(&server, &["PUBLISH", "news", &number.to_string()]).await;
                number += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    });
    torment(&proxy, Middle::Lying, &mut random).await;
    stop.store(true, Ordering::Relaxed);
    ended(publisher).await;
    // Whatever the last fault left behind is noticed and mended.
    let over = async {
        while !reader.is_finished() {
            ask(&server, &["PUBLISH", "news", "end"]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, "the end", over).await;
    let (gaps, missing) = ended(reader).await;
    eprintln!("{gaps} gaps, {missing} missing");
    assert!(gaps > 0);
    event(&mut events, "a gap", |event| matches!(event, Event::Gap { .. }).then_some(())).await;
}
