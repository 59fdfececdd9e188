//! Lag and liveness.

use std::time::Duration;

use romaine::Client;
use romaine_faultlab::{Fault, FaultProxy, Server, eventually};
use romaine_queue::{Alert, NewJob, Queue, Thresholds, Trouble, Watch, idle_liveness, prometheus};
use tokio::sync::broadcast::Receiver;

use crate::support::{PATIENCE, Runs, config, end, now, queue, quick, until_empty};

fn sensitive() -> Thresholds {
    Thresholds { no_progress: Some(Duration::from_millis(500)), ..Thresholds::default() }
}

async fn next(alerts: &mut Receiver<Alert>, trouble: Trouble) -> Alert {
    let wanted = async {
        loop {
            let alert = alerts.recv().await.unwrap();
            if alert.trouble == trouble {
                return alert;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wanted).await.unwrap_or_else(|_| panic!("{trouble:?} was not told"))
}

#[tokio::test]
async fn work_that_piles_up_before_consumers_that_hang_is_told_and_so_is_its_end() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let runs = Runs::default();
    let remote = Queue::new(&Client::connect(config(proxy.address())).await.unwrap(), "test").unwrap();
    let workers = [0, 1].map(|n| quick(&remote, &runs).name(format!("consumer-{n}")).start().unwrap());
    let watch =
        Watch::over([queue.clone()]).thresholds(sensitive()).interval(Duration::from_millis(50)).start().unwrap();
    let mut alerts = watch.alerts();
    queue.producer().enqueue_all((0..100).map(|_| NewJob::new("k", ""))).await.unwrap();
    until_empty(&queue).await;
    // Both are cut off; everything they have looks alive to them.
    proxy.set_both(Fault::Swallow);
    queue.producer().enqueue_all((0..600).map(|_| NewJob::new("k", ""))).await.unwrap();
    let alert = next(&mut alerts, Trouble::NoProgress).await;
    assert!(!alert.resolved && alert.to_string().contains("600 jobs are waiting"), "{alert}");
    let overdue = next(&mut alerts, Trouble::ConsumerOverdue("consumer-0".into())).await;
    assert!(overdue.message.contains("consumer-0"), "{overdue}");
    proxy.heal().await.unwrap();
    assert!(next(&mut alerts, Trouble::NoProgress).await.resolved);
    until_empty(&queue).await;
    for worker in workers {
        end(worker).await;
    }
    assert_eq!(runs.jobs(), 700);
}

#[tokio::test]
async fn a_consumer_that_was_killed_is_no_trouble_any_more_when_it_is_forgotten() {
    let (server, queue) = queue().await;
    let now = queue.status().await.unwrap().time_ms;
    server.command(&["HSET", "rq:{test}:k", "killed", &format!("{}:1000:0", now - 60_000)]).await.unwrap();
    let watch = Watch::over([queue.clone()]).interval(Duration::from_millis(50)).start().unwrap();
    let mut alerts = watch.alerts();
    let overdue = Trouble::ConsumerOverdue("killed".into());
    assert!(!next(&mut alerts, overdue.clone()).await.resolved);
    assert!(queue.forget_consumer("killed").await.unwrap());
    assert!(next(&mut alerts, overdue).await.resolved);
    assert!(!queue.forget_consumer("killed").await.unwrap());
}

#[tokio::test]
async fn a_watch_says_when_it_cannot_look() {
    let server = Server::start().await.unwrap();
    let queue = Queue::new(&Client::connect(config(server.address())).await.unwrap(), "test").unwrap();
    let thresholds = Thresholds { unreachable: Some(Duration::from_millis(200)), ..sensitive() };
    let watch = Watch::over([queue]).thresholds(thresholds).interval(Duration::from_millis(50)).start().unwrap();
    let mut alerts = watch.alerts();
    eventually(PATIENCE, "a look", async || watch.statuses()[0].is_some()).await.unwrap();
    server.kill();
    assert!(!next(&mut alerts, Trouble::Unreachable).await.resolved);
    server.restart().await.unwrap();
    assert!(next(&mut alerts, Trouble::Unreachable).await.resolved);
}

#[tokio::test]
async fn what_prometheus_reads_is_what_the_queue_holds() {
    let (_server, queue) = queue().await;
    queue.producer().enqueue_all((0..3).map(|_| NewJob::new("k", ""))).await.unwrap();
    let text = prometheus([&queue.status().await.unwrap()]);
    assert!(text.contains("rq_waiting{queue=\"test\"} 3"), "{text}");
    assert!(text.contains("rq_enqueued_total{queue=\"test\"} 3"), "{text}");
}

#[tokio::test]
async fn idle_workers_ask_twice_per_block_time_and_no_more() {
    let server = Server::start().await.unwrap();
    let runs = Runs::default();
    let mut workers = Vec::new();
    // A fifth of the default, so that a test can wait for it.
    let block = Duration::from_secs(5);
    for n in 0..50 {
        let client = Client::connect(config(server.address()).liveness(idle_liveness())).await.unwrap();
        let queue = Queue::new(&client, &format!("edge:{n:03}")).unwrap();
        workers.push(quick(&queue, &runs).block(block).start().unwrap());
    }
    let idle = eventually(PATIENCE, "all to wait", async || workers.iter().all(|worker| worker.stats().waits > 0));
    idle.await.unwrap();
    // What clients send; what a script does inside is counted by the server under other names.
    let commands = async || {
        let info = server.command(&["INFO", "commandstats"]).await.unwrap().text();
        let sent = ["evalsha", "eval", "blpop", "ping", "multi", "exec", "client|unblock", "hello"];
        let calls = |line: &str| -> Option<f64> {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            if sent.contains(&name) { rest.split(',').next()?.parse().ok() } else { None }
        };
        info.lines().filter_map(calls).sum::<f64>()
    };
    let (before, start) = (commands().await, now());
    eventually(PATIENCE, "each to wait twice more", async || workers.iter().all(|worker| worker.stats().waits > 2))
        .await
        .unwrap();
    let rate = (commands().await - before) / start.elapsed().as_secs_f64();
    // 50 workers that block 5 s ask as often as 250 of 25 s: 20 a second, and some for the jitter's short side.
    assert!(rate < 26.0, "{rate} commands a second");
    for worker in workers {
        drop(worker);
    }
}
