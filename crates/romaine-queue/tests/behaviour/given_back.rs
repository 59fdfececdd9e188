//! Jobs that their handlers give back.

use std::sync::Arc;
use std::time::Duration;

use romaine::Backoff;
use romaine_faultlab::eventually;
use romaine_queue::{Failure, Job, NewJob, Place};
use tokio::sync::Semaphore;

use crate::support::{PATIENCE, Runs, end, nothing_stays, queue, quick, short, until_empty};

#[tokio::test]
async fn a_job_that_its_handler_gives_back_keeps_its_attempts_and_says_why_it_waits() {
    let (server, queue) = queue().await;
    let (runs, ready) = (Runs::default(), Arc::new(Semaphore::new(0)));
    let (note, able) = (runs.clone(), ready.clone());
    let worker = short(queue.worker(move |job: Job| {
        note.note(&job);
        let able = able.clone();
        async move {
            assert_eq!(job.attempt(), 1);
            match able.try_acquire() {
                Ok(_able) => Ok(()),
                Err(_not_yet) => Err(Failure::give_back("no engine here")),
            }
        }
    }))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a").attempts(1)).await.unwrap();
    eventually(PATIENCE, "some attempts", async || runs.of("a") >= 3).await.unwrap();
    let waiting = eventually(PATIENCE, "it to wait", async || {
        queue.job("a").await.unwrap().filter(|job| job.place == Place::Delayed)
    });
    let job = waiting.await.unwrap();
    assert_eq!((job.attempts, job.error.as_deref()), (0, Some("no engine here")));
    ready.add_permits(1);
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((stats.done, stats.failed, stats.dead), (1, 0, 0));
    assert_eq!(queue.status().await.unwrap().totals.given_back, stats.given_back);
    nothing_stays(&server, &queue).await;
}

/// A worker that can do nothing must not go through all that waits, nor keep it from others.
#[tokio::test]
async fn a_backlog_is_done_by_the_worker_that_can_and_the_one_that_cannot_claims_little_of_it() {
    let (server, queue) = queue().await;
    let hour = Duration::from_secs(3_600);
    let sick = short(queue.worker(async |_: Job| Err::<(), _>(Failure::give_back("no engine here"))))
        .concurrency(2)
        .backoff(Backoff::Constant { delay: hour })
        .start()
        .unwrap();
    let jobs = 50;
    for n in 0..jobs {
        queue.producer().enqueue(NewJob::new("k", "").id(n.to_string()).attempts(1)).await.unwrap();
    }
    eventually(PATIENCE, "the sick one to give some back", async || {
        queue.status().await.unwrap().totals.given_back >= 2
    })
    .await
    .unwrap();
    let runs = Runs::default();
    // It looks by itself far too late: what was put off must ring for it.
    let healthy = quick(&queue, &runs).block(Duration::from_secs(600)).start().unwrap();
    until_empty(&queue).await;
    assert_eq!((runs.jobs(), runs.most()), (jobs, 1));
    let stats = end(sick).await;
    // Before the second was given back it may have claimed a third.
    assert!(stats.claimed <= 3 && stats.given_back == stats.claimed, "{stats:?}");
    assert_eq!(end(healthy).await.done, 50);
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn a_worker_that_rests_is_heard_of_and_what_is_due_meanwhile_rings() {
    let (_server, queue) = queue().await;
    let hour = Duration::from_secs(3_600);
    let sick = short(queue.worker(async |_: Job| Err::<(), _>(Failure::give_back("no engine here"))))
        .block(Duration::from_millis(50))
        .concurrency(1)
        .backoff(Backoff::Constant { delay: hour })
        .start()
        .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    let back = eventually(PATIENCE, "the job to wait again", async || {
        queue.job("a").await.unwrap().filter(|job| job.place == Place::Waiting && job.error.is_some())
    });
    assert_eq!(back.await.unwrap().attempts, 0);
    let turns = sick.stats().turns;
    eventually(PATIENCE, "signs of life", async || sick.stats().turns > turns + 2).await.unwrap();
    assert_eq!(end(sick).await.claimed, 1);
}
