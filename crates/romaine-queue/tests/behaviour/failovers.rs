//! Failovers in the midst of work: what was accepted as replicated is done, and handlers see nothing of it.

use std::sync::Arc;
use std::time::Duration;

use romaine_faultlab::{Deployment, Server, ServerBuilder};
use romaine_queue::{Durability, Enqueued, ErrorKind, Failure, Job, NewJob, Producer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lab::{self, KEY};
use crate::support::{PATIENCE, Runs, end, short, until_empty_within};

/// Outlasts every failover here.
const LEASE: Duration = Duration::from_secs(45);

#[tokio::test]
async fn behind_sentinels_nothing_that_was_replicated_is_lost_in_failovers() {
    nothing_is_lost(lab::sentinels().await).await;
}

#[tokio::test]
async fn in_a_cluster_nothing_that_was_replicated_is_lost_in_failovers() {
    nothing_is_lost(lab::cluster().await).await;
}

/// Until it is as durable as asked: without a replica it is not, and is enqueued again with the same id.
async fn durably(producer: &Producer, job: NewJob) -> Enqueued {
    let mut last = None;
    let enqueued = async {
        loop {
            match producer.enqueue(job.clone()).await {
                Ok(enqueued) => return enqueued,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotDurable, "{error:?}");
                    last = Some(error);
                }
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE * 2, enqueued).await;
    in_time.unwrap_or_else(|_| panic!("it does not become as durable as asked: {last:?}"))
}

async fn nothing_is_lost(lab: Deployment) {
    let queue = lab::queue(&lab).await;
    let (runs, interrupted) = (Runs::default(), Runs::default());
    let (note, note_interrupted) = (runs.clone(), interrupted.clone());
    let (started, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (started.clone(), release.clone());
    let worker = short(queue.worker(move |job: Job| {
        note.note(&job);
        let (tell, wait, interrupted) = (tell.clone(), wait.clone(), note_interrupted.clone());
        async move {
            if job.kind() == "long" {
                tell.add_permits(1);
                tokio::select! {
                    () = job.cancellation().cancelled() => interrupted.note(&job),
                    _permit = wait.acquire() => {}
                }
            }
            Ok::<_, Failure>(())
        }
    }))
    .lease(LEASE)
    .concurrency(32)
    .start()
    .unwrap();
    let durable = Durability::Replicated { replicas: 1, timeout: Duration::from_millis(500) };
    let producer = queue.producer().durability(durable).timeout(PATIENCE * 3);

    // Some that run through all of it. What is confirmed after they were claimed confirms their claims.
    for n in 0..4 {
        durably(&producer, NewJob::new("long", "").id(format!("long-{n}"))).await;
    }
    let _all_started = started.acquire_many(4).await.unwrap();
    durably(&producer, NewJob::new("k", "").id("after")).await;

    let (accepted, stop) = (Runs::default(), CancellationToken::new());
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (producer, accepted, stop) = (producer.clone(), accepted.clone(), stop.clone());
        callers.spawn(async move {
            for n in 0_u64.. {
                if stop.is_cancelled() {
                    break;
                }
                let enqueued = durably(&producer, NewJob::new("k", "").id(format!("{caller}-{n}"))).await;
                assert!(enqueued.is_in());
                accepted.note_id(&enqueued.id);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    accepted.wait_for(100).await;
    lab.fail_over(KEY).await.unwrap();
    accepted.wait_for(accepted.jobs() + 100).await;
    lab.lose_primary(KEY).await.unwrap();
    accepted.wait_for(accepted.jobs() + 100).await;
    stop.cancel();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    release.add_permits(4);
    // What was reported to a primary that was being replaced is done again when its lease has run out.
    until_empty_within(LEASE + PATIENCE, &queue).await;
    let lost: Vec<String> = accepted.ids().into_iter().filter(|id| runs.of(id) == 0).collect();
    assert!(lost.is_empty(), "accepted, and never done: {lost:?}");
    assert_eq!(interrupted.jobs(), 0, "a handler was told of a failover");
    assert!((0..4).all(|n| runs.of(&format!("long-{n}")) == 1));
    assert_eq!(queue.status().await.unwrap().dead, 0);
    end(worker).await;
}

/// A server that knows WAITAOF, if there is one: the one under test, or one that `scripts/fetch-servers.sh` brought.
async fn fsyncing() -> Option<ServerBuilder> {
    let fetched = ["redis-8.0", "valkey-8.1"].map(|name| format!("../../target/servers/{name}/redis-server"));
    let fetched = fetched.into_iter().filter(|program| std::path::Path::new(program).exists());
    let builders = std::iter::once(Server::builder()).chain(fetched.map(|program| Server::builder().binary(program)));
    for builder in builders {
        let server = builder.clone().start().await.unwrap();
        let known = server.command(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap();
        if known.text().contains("waitaof") {
            return Some(builder.persistent().config_line("appendfsync everysec"));
        }
    }
    println!("skipped: needs a server with WAITAOF (7.2 and later): ROMAINE_REDIS_SERVER, or scripts/fetch-servers.sh");
    None
}

#[tokio::test]
async fn fsynced_jobs_outlive_the_crash_of_their_server() {
    let Some(builder) = fsyncing().await else { return };
    let server = builder.start().await.unwrap();
    let queue = romaine_queue::Queue::new(&crate::support::client(&server).await, "test").unwrap();
    let producer = queue.producer().durability(Durability::fsynced());
    for n in 0..20 {
        durably(&producer, NewJob::new("k", "").id(format!("j{n}"))).await;
    }
    server.kill();
    server.restart().await.unwrap();
    let found = romaine_faultlab::eventually(PATIENCE, "the queue", async || {
        queue.status().await.ok().map(|status| status.waiting)
    });
    assert_eq!(found.await.unwrap(), 20);
}

/// An fsync comes once a second. A job that is enqueued right after one has to wait for the next, and a repetition, being a
/// write itself, for the one after that.
#[tokio::test]
async fn fsynced_jobs_get_the_time_that_an_fsync_takes_however_little_was_asked_for() {
    let Some(builder) = fsyncing().await else { return };
    let server = builder.start().await.unwrap();
    let queue = romaine_queue::Queue::new(&crate::support::client(&server).await, "test").unwrap();
    let fsynced = Durability::Fsynced { replicas: 0, timeout: Duration::from_millis(1) };
    let producer = queue.producer().durability(fsynced);
    for n in 0..3 {
        assert!(producer.enqueue(NewJob::new("k", "").id(format!("j{n}"))).await.unwrap().is_in());
    }
}

#[tokio::test]
async fn fsynced_jobs_are_on_the_disks_of_primary_and_replica_in_every_topology() {
    let Some(builder) = fsyncing().await else { return };
    for lab in [Deployment::sentinels(builder.clone()).await, Deployment::cluster(builder).await] {
        let lab = lab.unwrap();
        let queue = lab::queue(&lab).await;
        let fsynced = Durability::Fsynced { replicas: 1, timeout: Duration::from_secs(1) };
        let producer = queue.producer().durability(fsynced).timeout(PATIENCE);
        durably(&producer, NewJob::new("k", "").id("before")).await;
        lab.fail_over(KEY).await.unwrap();
        durably(&producer, NewJob::new("k", "").id("after")).await;
        let status = queue.status().await.unwrap();
        assert_eq!(status.waiting, 2);
        queue.client().close().await;
    }
}

#[tokio::test]
async fn without_an_append_only_file_fsynced_says_what_to_change() {
    let Some(builder) = fsyncing().await else { return };
    let server = builder.config_line("appendonly no").start().await.unwrap();
    let queue = romaine_queue::Queue::new(&crate::support::client(&server).await, "test").unwrap();
    let producer = queue.producer().durability(Durability::fsynced());
    let error = producer.enqueue(NewJob::new("k", "").id("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.to_string().contains("appendonly"), "{error}");
}
