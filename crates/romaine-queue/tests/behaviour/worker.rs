//! Doing the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use romaine_faultlab::{Server, eventually};
use romaine_queue::{Cancelled, Done, Failure, Interruption, Job, JobResult, NewJob, Place, Purge, Queue, Router};
use tokio::sync::Semaphore;

use crate::support::{PATIENCE, Runs, client, end, nothing_stays, now, queue, quick, short, until_empty};

#[tokio::test]
async fn every_job_runs_once_and_nothing_of_it_stays() {
    let (server, queue) = queue().await;
    let runs = Runs::default();
    let workers: Vec<_> = (0..3).map(|_| quick(&queue, &runs).concurrency(8).start().unwrap()).collect();
    let jobs = (0..2_000).map(|n| NewJob::new("k", n.to_string()).unique(n.to_string()));
    queue.producer().enqueue_all(jobs).await.unwrap();
    until_empty(&queue).await;
    let mut done = 0;
    for worker in workers {
        done += end(worker).await.done;
    }
    assert_eq!((runs.jobs(), runs.most(), done), (2_000, 1, 2_000));
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.enqueued, totals.claimed, totals.done, totals.fenced), (2_000, 2_000, 2_000, 0));
    nothing_stays(&server, &queue).await;
}

// How soon is a figure of the benchmark. Here: by the bell, not by looking when the wait at it is over. A bell may overtake
// the answer of the turn that was under way when it rang; with several queues at once it often does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_is_woken_by_each_push() {
    let server = Server::start().await.unwrap();
    let queues = (0..8).map(|number| {
        let (server, runs) = (&server, Runs::default());
        async move {
            let queue = Queue::new(&client(server).await, &format!("q{number}")).unwrap();
            let worker = quick(&queue, &runs).block(Duration::from_secs(3_000)).start().unwrap();
            for n in 0..50 {
                eventually(PATIENCE, "the worker to wait", async || worker.stats().waits > n).await.unwrap();
                let id = format!("j{n}");
                queue.producer().enqueue(NewJob::new("k", "").id(&id)).await.unwrap();
                eventually(PATIENCE, "the job to start", async || runs.of(&id) > 0).await.unwrap();
            }
            end(worker).await;
        }
    });
    join_all(queues).await;
}

#[tokio::test]
async fn a_failed_job_is_tried_again_and_told_why() {
    let (_server, queue) = queue().await;
    let worker = short(queue.worker(|job: Job| async move {
        match job.attempt() {
            1 => Err(Failure::retry("not yet")),
            2 if job.last_error() == Some("not yet") => Err(std::io::Error::other("the disk").into()),
            3 if job.last_error() == Some("the disk") => Ok(()),
            _ => Err(Failure::dead("unexpected")),
        }
    }))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((stats.claimed, stats.failed, stats.done, stats.dead), (3, 2, 1, 0));
    assert_eq!(queue.status().await.unwrap().totals.retried, 2);
}

#[tokio::test]
async fn a_job_whose_attempts_are_used_up_becomes_a_dead_letter_and_can_be_revived() {
    let (server, queue) = queue().await;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = broken.clone();
    let worker = short(queue.worker(move |_job: Job| {
        let broken = seen.load(Ordering::SeqCst);
        async move { if broken { Err(Failure::retry("broken")) } else { Ok(()) } }
    }))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "p").id("a").attempts(2).unique("u")).await.unwrap();
    let dead = eventually(PATIENCE, "the dead letter", async || queue.peek(Place::Dead, 0, 10).await.unwrap().pop())
        .await
        .unwrap();
    assert_eq!((dead.id.as_str(), dead.attempts, dead.error.as_deref()), ("a", 2, Some("broken")));
    assert_eq!(&*dead.payload, b"p");
    assert_eq!(queue.result("a").await.unwrap(), Some(JobResult::Dead("broken".into())));
    // Dead, it no longer holds its key; then another one does.
    let other = NewJob::new("k", "").id("b").unique("u").delay(Duration::from_secs(60));
    assert!(queue.producer().enqueue(other).await.unwrap().is_in());
    assert_eq!(queue.revive(["a"]).await.unwrap().held, 1);
    assert_eq!(queue.cancel(["b"]).await.unwrap(), [Cancelled::Removed]);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(queue.revive(["a"]).await.unwrap().revived, 1);
    until_empty(&queue).await;
    end(worker).await;
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn a_panic_is_contained_and_counted() {
    let (_server, queue) = queue().await;
    let worker = short(queue.worker(|job: Job| {
        assert!(job.attempt() > 1, "before the first await");
        async move {
            assert!(job.attempt() > 2, "after it");
            Ok::<_, Failure>(())
        }
    }))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((stats.panicked, stats.done), (2, 1));
}

#[tokio::test]
async fn typed_handlers_get_their_payloads_and_bad_ones_become_dead_letters_that_show_nothing() {
    #[derive(serde::Deserialize, serde::Serialize)]
    struct Sum {
        a: i64,
        b: i64,
    }
    let (_server, queue) = queue().await;
    let router = Router::new().on("sum", async |sum: Sum, _job: Job| Ok(Done::json(&(sum.a + sum.b))?));
    let worker = short(queue.worker(router)).start().unwrap();
    let producer = queue.producer();
    producer.enqueue(NewJob::json("sum", &Sum { a: 2, b: 40 }).unwrap().id("good")).await.unwrap();
    producer.enqueue(NewJob::new("sum", r#"{"a":"s3cret"}"#).id("bad")).await.unwrap();
    producer.enqueue(NewJob::new("unheard", "").id("nobody").attempts(2)).await.unwrap();
    let result = queue.wait_for_result("good", PATIENCE).await.unwrap().unwrap();
    assert_eq!(result.json::<i64>().unwrap(), 42);
    let Some(JobResult::Dead(why)) = queue.wait_for_result("bad", PATIENCE).await.unwrap() else { panic!("not dead") };
    assert!(why.contains("sum job") && !why.contains("s3cret"), "{why}");
    let Some(JobResult::Dead(why)) = queue.wait_for_result("nobody", PATIENCE).await.unwrap() else {
        panic!("not dead")
    };
    assert!(why.contains("no handler for jobs of kind unheard"), "{why}");
    end(worker).await;
}

#[tokio::test]
async fn no_more_jobs_run_at_once_than_the_worker_and_the_queue_allow() {
    let (_server, queue) = queue().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = |concurrency| {
        let (running, most) = (running.clone(), most.clone());
        short(queue.worker(move |_job: Job| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Failure>(())
            }
        }))
        .concurrency(concurrency)
        .start()
        .unwrap()
    };
    let jobs = |count| (0..count).map(|_| NewJob::new("k", ""));
    let worker = start(3);
    queue.producer().enqueue_all(jobs(60)).await.unwrap();
    until_empty(&queue).await;
    assert_eq!(most.swap(0, Ordering::SeqCst), 3);
    queue.limit_concurrency(Some(4)).await.unwrap();
    let other = start(16);
    queue.producer().enqueue_all(jobs(100)).await.unwrap();
    until_empty(&queue).await;
    assert!(most.load(Ordering::SeqCst) <= 4, "{most:?}");
    end(worker).await;
    end(other).await;
}

#[tokio::test]
async fn jobs_start_no_faster_than_the_worker_and_the_queue_allow() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let jobs = |count| (0..count).map(|_| NewJob::new("k", ""));
    // 5 at once, then 50 a second: 20 more take 0.4 s.
    queue.limit_rate(Some((50.0, 5))).await.unwrap();
    let worker = quick(&queue, &runs).start().unwrap();
    let start = now();
    queue.producer().enqueue_all(jobs(25)).await.unwrap();
    until_empty(&queue).await;
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    assert!(queue.limit_rate(Some((0.0, 1))).await.is_err());
    queue.limit_rate(None).await.unwrap();
    end(worker).await;
    let worker = quick(&queue, &runs).rate(50.0, 5).start().unwrap();
    let start = now();
    queue.producer().enqueue_all(jobs(25)).await.unwrap();
    until_empty(&queue).await;
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    end(worker).await;
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let worker = quick(&queue, &runs).block(Duration::from_secs(30)).start().unwrap();
    queue.pause("maintenance").await.unwrap();
    queue.producer().enqueue(NewJob::new("k", "")).await.unwrap();
    let turns = worker.stats().turns;
    eventually(PATIENCE, "a look", async || worker.stats().turns > turns).await.unwrap();
    let status = queue.status().await.unwrap();
    assert_eq!((status.paused.as_deref(), status.waiting, runs.jobs()), (Some("maintenance"), 1, 0));
    queue.resume().await.unwrap();
    runs.wait_for(1).await;
    worker.pause();
    until_empty(&queue).await;
    queue.producer().enqueue(NewJob::new("k", "")).await.unwrap();
    assert_eq!(runs.jobs(), 1);
    worker.resume();
    runs.wait_for(2).await;
    end(worker).await;
}

#[tokio::test]
async fn a_waiting_job_can_be_cancelled_and_leaves_no_gap() {
    let (server, queue) = queue().await;
    let producer = queue.producer();
    for id in ["a", "b", "c"] {
        producer.enqueue(NewJob::new("k", "").id(id).unique(id)).await.unwrap();
    }
    producer.enqueue(NewJob::new("k", "").id("d").delay(Duration::from_secs(60))).await.unwrap();
    let cancelled = queue.cancel(["a", "d", "x"]).await.unwrap();
    assert_eq!(cancelled, [Cancelled::Removed, Cancelled::Removed, Cancelled::Unknown]);
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting, status.delayed, status.totals.cancelled), (2, 0, 2));
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!((runs.of("a"), runs.of("b"), runs.of("c")), (0, 1, 1));
    assert_eq!(queue.status().await.unwrap().waiting, 0);
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn a_running_job_can_be_cancelled_and_a_handler_that_does_not_stop_is_dropped() {
    let (server, queue) = queue().await;
    let started = Arc::new(Semaphore::new(0));
    let polite = Arc::new(AtomicUsize::new(0));
    let (tell, count) = (started.clone(), polite.clone());
    let worker = short(queue.worker(move |job: Job| {
        let (tell, count) = (tell.clone(), count.clone());
        async move {
            tell.add_permits(1);
            if job.kind() == "stubborn" {
                std::future::pending::<()>().await;
            }
            job.cancellation().cancelled().await;
            assert_eq!(job.interrupted(), Some(Interruption::Cancelled));
            count.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Failure::retry("stopped"))
        }
    }))
    .start()
    .unwrap();
    for kind in ["stubborn", "polite"] {
        queue.producer().enqueue(NewJob::new(kind, "").id(kind)).await.unwrap();
    }
    let _both = started.acquire_many(2).await.unwrap();
    assert_eq!(queue.cancel(["stubborn", "polite"]).await.unwrap(), [Cancelled::Requested; 2]);
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((stats.cancelled, polite.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(queue.status().await.unwrap().totals.cancelled, 2);
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn a_long_job_keeps_its_lease_by_heartbeats() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let noted = runs.clone();
    let slow = || {
        let noted = noted.clone();
        short(queue.worker(move |job: Job| {
            noted.note(&job);
            async move {
                tokio::time::sleep(Duration::from_millis(1_200)).await;
                Ok::<_, Failure>(())
            }
        }))
        .lease(Duration::from_millis(300))
    };
    let (one, other) = (slow().start().unwrap(), slow().start().unwrap());
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    until_empty(&queue).await;
    assert_eq!(runs.of("a"), 1);
    assert_eq!(queue.status().await.unwrap().totals.expired_leases, 0);
    end(one).await;
    end(other).await;
}

#[tokio::test]
async fn a_job_that_takes_longer_than_its_time_limit_is_dropped_and_tried_again() {
    let (_server, queue) = queue().await;
    let worker = short(queue.worker(|job: Job| async move {
        if job.attempt() == 1 {
            std::future::pending::<()>().await;
        }
        assert!(job.last_error().is_some_and(|why| why.contains("time limit")));
        Ok::<_, Failure>(())
    }))
    .timeout(Duration::from_millis(100))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "")).await.unwrap();
    until_empty(&queue).await;
    assert_eq!(end(worker).await.done, 1);
}

#[tokio::test]
async fn a_shutdown_lets_jobs_end_and_gives_back_what_does_not() {
    let (_server, queue) = queue().await;
    let started = Arc::new(Semaphore::new(0));
    let tell = started.clone();
    let worker = short(queue.worker(move |job: Job| {
        let tell = tell.clone();
        async move {
            tell.add_permits(1);
            if job.kind() == "endless" {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Failure>(())
        }
    }))
    .shutdown_grace(Duration::from_millis(500))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("short", "").id("s")).await.unwrap();
    queue.producer().enqueue(NewJob::new("endless", "").id("e").attempts(1)).await.unwrap();
    let _both = started.acquire_many(2).await.unwrap();
    let stats = end(worker).await;
    assert_eq!((stats.done, stats.given_back), (1, 1));
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting, status.leased, status.consumers.len()), (1, 0, 0));
    // No attempt was lost: it has only one.
    let runs = Runs::default();
    let other = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(other).await;
    assert_eq!(runs.of("e"), 1);
}

#[tokio::test]
async fn what_a_handler_calls_hopeless_while_its_worker_shuts_down_is_a_dead_letter_all_the_same() {
    let (_server, queue) = queue().await;
    let started = Arc::new(Semaphore::new(0));
    let tell = started.clone();
    let worker = short(queue.worker(move |job: Job| {
        let tell = tell.clone();
        async move {
            tell.add_permits(1);
            job.cancellation().cancelled().await;
            if job.kind() == "hopeless" {
                Err::<(), _>(Failure::dead("no use"))
            } else {
                Err(Failure::retry("stopped"))
            }
        }
    }))
    .cancel_grace(PATIENCE)
    .shutdown_grace(Duration::ZERO)
    .start()
    .unwrap();
    for kind in ["hopeless", "stopped"] {
        queue.producer().enqueue(NewJob::new(kind, "").id(kind).attempts(1)).await.unwrap();
    }
    let _both = started.acquire_many(2).await.unwrap();
    let stats = end(worker).await;
    assert_eq!((stats.dead, stats.given_back), (1, 1));
    let [hopeless, stopped] =
        [queue.job("hopeless").await, queue.job("stopped").await].map(|job| job.unwrap().unwrap());
    assert_eq!((hopeless.place, hopeless.error.as_deref()), (Place::Dead, Some("no use")));
    assert_eq!((stopped.place, stopped.attempts), (Place::Waiting, 0));
}

#[tokio::test]
async fn purging_takes_away_what_it_is_told_to_and_nothing_else() {
    let (server, queue) = queue().await;
    let jobs = (0..1_300).map(|n| NewJob::new("k", "").unique(n.to_string()));
    queue.producer().enqueue_all(jobs).await.unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("late").delay(Duration::from_secs(60))).await.unwrap();
    assert_eq!(queue.purge(Purge::Waiting, 1_000).await.unwrap(), 1_000);
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting, status.delayed, status.totals.purged), (300, 1, 1_000));
    assert_eq!(queue.purge(Purge::Waiting, usize::MAX).await.unwrap(), 300);
    assert_eq!(queue.purge(Purge::Delayed, usize::MAX).await.unwrap(), 1);
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_a_dead_letter_that_says_so() {
    let (_server, queue) = queue().await;
    let worker =
        short(queue.worker(|_job: Job| async { Ok(Done::with(vec![0; 100])) })).result_max(99).start().unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    let Some(JobResult::Dead(why)) = queue.wait_for_result("a", PATIENCE).await.unwrap() else { panic!("not dead") };
    assert!(why.contains("result_max"), "{why}");
    end(worker).await;
}
