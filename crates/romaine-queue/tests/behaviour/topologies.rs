//! A queue behind Sentinels and in a Cluster is used as one on a single server.

use std::sync::Arc;
use std::time::Duration;

use romaine_faultlab::{Deployment, eventually, slot_of};
use romaine_queue::{Cancelled, Done, Failure, Job, JobResult, NewJob, Outcome, Place, Purge, Queue, Watch};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::lab::{self, KEY, QUEUE};
use crate::support::{PATIENCE, Runs, end, nothing_stays, quick, short, until_empty};

#[tokio::test]
async fn behind_sentinels_every_kind_of_job_takes_its_course() {
    every_kind_of_job(lab::sentinels().await).await;
}

#[tokio::test]
async fn in_a_cluster_every_kind_of_job_takes_its_course() {
    every_kind_of_job(lab::cluster().await).await;
}

async fn every_kind_of_job(lab: Deployment) {
    let queue = lab::queue(&lab).await;
    let producer = queue.producer();
    let release = Arc::new(Semaphore::new(0));
    let runs = Runs::default();
    let (note, wait) = (runs.clone(), release.clone());
    let worker = || {
        let (note, wait) = (note.clone(), wait.clone());
        short(queue.worker(move |job: Job| {
            note.note(&job);
            let wait = wait.clone();
            async move {
                match job.kind() {
                    "result" => Ok(Done::with("here it is")),
                    "again" if job.attempt() == 1 => Err(Failure::retry("once more")),
                    "dead" => Err(Failure::dead("it is of no use")),
                    "long" => {
                        tokio::select! {
                            () = job.cancellation().cancelled() => {}
                            _permit = wait.acquire() => {}
                        }
                        Ok(Done::default())
                    }
                    _ => Ok(Done::default()),
                }
            }
        }))
    };

    // While nobody works: what was accepted, known, held, superseded, delayed, cancelled, and where it is.
    let job = |id: &str| NewJob::new("k", "").id(id);
    assert_eq!(producer.enqueue(job("one")).await.unwrap().outcome, Outcome::Accepted);
    assert_eq!(producer.enqueue(job("one")).await.unwrap().outcome, Outcome::Known);
    assert_eq!(producer.enqueue(job("u1").unique("u")).await.unwrap().outcome, Outcome::Accepted);
    let held = producer.enqueue(job("u2").unique("u")).await.unwrap();
    assert_eq!(held.outcome, Outcome::Held { by: "u1".into() });
    producer.enqueue(job("g1").generation("g", 1)).await.unwrap();
    producer.enqueue(job("g2").generation("g", 2)).await.unwrap();
    assert_eq!(producer.enqueue(job("g0").generation("g", 1)).await.unwrap().outcome, Outcome::Superseded);
    // More than one script call in a round trip.
    let many = producer.enqueue_all((0..1_200).map(|n| job(&format!("m{n}")))).await.unwrap();
    assert!(many.iter().all(|job| job.outcome == Outcome::Accepted));
    producer.enqueue(job("later").delay(Duration::from_millis(300))).await.unwrap();
    producer.enqueue(job("never").delay(Duration::from_secs(3_600))).await.unwrap();
    assert_eq!(queue.cancel(["never", "nobody"]).await.unwrap(), [Cancelled::Removed, Cancelled::Unknown]);
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting + status.delayed, status.totals.superseded, status.totals.cancelled), (1_204, 1, 1));
    assert_eq!(queue.peek(Place::Waiting, 0, 2).await.unwrap().len(), 2);
    assert!(queue.job("g1").await.unwrap().is_none() && queue.job("g2").await.unwrap().is_some());

    // Paused, nothing starts; resumed, everything does, each once.
    queue.pause("a look").await.unwrap();
    let first = worker().start().unwrap();
    eventually(PATIENCE, "a turn", async || first.stats().turns > 0).await.unwrap();
    assert_eq!((runs.jobs(), queue.status().await.unwrap().paused.as_deref()), (0, Some("a look")));
    queue.resume().await.unwrap();
    until_empty(&queue).await;
    assert_eq!((runs.jobs(), runs.most()), (1_204, 1));

    // Results, retries, dead letters, a cancellation of what runs.
    for kind in ["result", "again", "dead", "long"] {
        producer.enqueue(NewJob::new(kind, "").id(kind)).await.unwrap();
    }
    let result = queue.wait_for_result("result", PATIENCE).await.unwrap();
    assert_eq!(result, Some(JobResult::Done("here it is".into())));
    let dead = queue.wait_for_result("dead", PATIENCE).await.unwrap();
    assert_eq!(dead, Some(JobResult::Dead("it is of no use".into())));
    eventually(PATIENCE, "the long one to start", async || runs.of("long") == 1).await.unwrap();
    assert_eq!(queue.cancel(["long"]).await.unwrap(), [Cancelled::Requested]);
    until_empty(&queue).await;
    assert_eq!(runs.of("again"), 2);
    assert_eq!(queue.revive(["dead"]).await.unwrap().revived, 1);
    eventually(PATIENCE, "it to die again", async || {
        runs.of("dead") == 2 && queue.status().await.is_ok_and(|status| status.dead == 1)
    })
    .await
    .unwrap();
    assert_eq!(queue.purge(Purge::Dead, 10).await.unwrap(), 1);

    // A watch sees it, and an empty queue leaves nothing behind.
    let watch = Watch::over([queue.clone()]).interval(Duration::from_millis(50)).start().unwrap();
    let seen = eventually(PATIENCE, "a look", async || watch.statuses().into_iter().flatten().next());
    assert_eq!(seen.await.unwrap().queue, QUEUE);
    end(first).await;
    nothing_stays(&lab.primary_of(KEY).await.unwrap(), &queue).await;
}

// A slot on its way answers scripts with ASK and TRYAGAIN, then with MOVED.
#[tokio::test]
async fn a_slot_that_moves_in_the_midst_of_work_takes_its_queue_along() {
    let lab = lab::cluster().await;
    let queue = lab::queue(&lab).await;
    let runs = Runs::default();
    let workers: Vec<_> = (0..2).map(|_| patient(&queue, &runs).start().unwrap()).collect();
    let pushed = push_while(&queue, async |progress: &Runs| {
        let Deployment::Cluster(cluster) = &lab else { return };
        for _ in 0..3 {
            let before = progress.jobs();
            let from = lab.primary_of(KEY).await.unwrap();
            let primaries = cluster.primaries().await;
            let to = primaries.iter().find(|other| other.address() != from.address()).unwrap();
            let migration = cluster.begin_migration(slot_of(KEY), to).await.unwrap();
            // In pieces: for a while some keys of the queue are here and some are there.
            while migration.move_keys(3).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            migration.finish().await.unwrap();
            progress.wait_for(before + 100).await;
        }
    })
    .await;
    until_empty(&queue).await;
    assert_eq!((runs.jobs(), runs.most()), (pushed, 1), "all, each once: nothing was lost on the way");
    assert!(queue.client().metrics().redirects > 0);
    for worker in workers {
        assert_eq!(end(worker).await.lease_lost, 0);
    }
    nothing_stays(&lab.primary_of(KEY).await.unwrap(), &queue).await;
}

#[tokio::test]
async fn in_a_cluster_flushed_scripts_and_lost_connections_are_not_the_handlers_business() {
    let lab = lab::cluster().await;
    let queue = lab::queue(&lab).await;
    let runs = Runs::default();
    let workers: Vec<_> = (0..2).map(|_| patient(&queue, &runs).start().unwrap()).collect();
    let pushed = push_while(&queue, async |progress: &Runs| {
        for round in 0..20 {
            let before = progress.jobs();
            for node in lab.nodes() {
                node.command(&["SCRIPT", "FLUSH"]).await.unwrap();
                if round % 5 == 4 {
                    node.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
                }
            }
            progress.wait_for(before + 20).await;
        }
    })
    .await;
    until_empty(&queue).await;
    assert_eq!(runs.jobs(), pushed);
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.done, totals.dead), (u64::try_from(pushed).unwrap(), 0));
    for worker in workers {
        end(worker).await;
    }
    nothing_stays(&lab.primary_of(KEY).await.unwrap(), &queue).await;
}

/// A worker whose leases outlast what happens here.
fn patient(queue: &Queue, runs: &Runs) -> romaine_queue::WorkerBuilder {
    quick(queue, runs).lease(Duration::from_secs(60))
}

/// Enqueues one by one and many at a time while `trouble` lasts, which sees how many were accepted. Answers how many.
async fn push_while(queue: &Queue, trouble: impl AsyncFnOnce(&Runs)) -> usize {
    let accepted = Runs::default();
    let stop = tokio_util::sync::CancellationToken::new();
    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let (producer, accepted, stop) = (queue.producer().timeout(PATIENCE), accepted.clone(), stop.clone());
        callers.spawn(async move {
            for n in 0_u64.. {
                if stop.is_cancelled() {
                    break;
                }
                let job = |part: usize| NewJob::new("k", "").id(format!("{caller}-{n}-{part}"));
                let count = if n % 10 == 9 { 700 } else { 1 };
                for job in producer.enqueue_all((0..count).map(job)).await.unwrap() {
                    assert!(job.is_in());
                    accepted.note_id(&job.id);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    trouble(&accepted).await;
    stop.cancel();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    accepted.jobs()
}
