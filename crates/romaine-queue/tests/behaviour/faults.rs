//! What goes wrong around the queue: nothing acknowledged is lost, nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use romaine::Client;
use romaine_faultlab::{Direction, Fault, FaultProxy, Server, eventually};
use romaine_queue::{Done, Failure, Handler, Interruption, Job, JobResult, LostLease, NewJob, Place, Queue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{PATIENCE, Runs, client, config, end, nothing_stays, now, queue, quick, short, until_empty};

/// The queue as seen through a proxy.
async fn through(proxy: &FaultProxy) -> Queue {
    Queue::new(&Client::connect(config(proxy.address())).await.unwrap(), "test").unwrap()
}

fn jobs(count: usize) -> impl Iterator<Item = NewJob> {
    (0..count).map(|n| NewJob::new("k", n.to_string()).id(format!("j{n}")).attempts(20))
}

#[tokio::test]
async fn a_job_whose_worker_is_dropped_in_the_middle_of_it_runs_again_elsewhere() {
    let (server, queue) = queue().await;
    let started = Arc::new(Semaphore::new(0));
    let tell = started.clone();
    let worker = short(queue.worker(move |_job: Job| {
        tell.add_permits(1);
        std::future::pending::<Result<(), Failure>>()
    }))
    .start()
    .unwrap();
    queue.producer().enqueue_all(jobs(10)).await.unwrap();
    let _all = started.acquire_many(10).await.unwrap();
    drop(worker);
    let runs = Runs::default();
    let other = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(other).await;
    assert_eq!((runs.jobs(), runs.most()), (10, 1));
    assert_eq!(queue.status().await.unwrap().totals.expired_leases, 10);
    nothing_stays(&server, &queue).await;
}

/// Not a test of its own: the process that the next one kills.
#[tokio::test]
async fn a_worker_that_never_finishes_for_the_next_test() {
    let Ok(url) = std::env::var("ROMAINE_QUEUE_TEST_URL") else { return };
    let client = Client::connect(url).await.unwrap();
    let queue = Queue::new(&client, "test").unwrap();
    let mut worker = short(queue.worker(|_job: Job| std::future::pending::<Result<(), Failure>>())).start().unwrap();
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn the_jobs_of_a_worker_process_that_is_killed_run_again_elsewhere() {
    let (server, queue) = queue().await;
    queue.producer().enqueue_all(jobs(5)).await.unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_worker_that_never_finishes_for_the_next_test"])
        .env("ROMAINE_QUEUE_TEST_URL", server.url())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually(PATIENCE, "the process to have the jobs", async || queue.status().await.unwrap().leased == 5)
        .await
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!((runs.jobs(), runs.most()), (5, 1));
}

#[tokio::test]
async fn a_job_that_kills_its_workers_ends_as_a_dead_letter() {
    let (_server, queue) = queue().await;
    queue.producer().enqueue(NewJob::new("poison", "").id("p").attempts(2)).await.unwrap();
    for _ in 0..2 {
        let started = Arc::new(Semaphore::new(0));
        let tell = started.clone();
        let worker = short(queue.worker(move |_job: Job| {
            tell.add_permits(1);
            std::future::pending::<Result<(), Failure>>()
        }))
        .lease(Duration::from_millis(200))
        .start()
        .unwrap();
        let _one = started.acquire().await.unwrap();
        drop(worker);
    }
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    let dead = eventually(PATIENCE, "the dead letter", async || queue.peek(Place::Dead, 0, 1).await.unwrap().pop());
    let dead = dead.await.unwrap();
    end(worker).await;
    assert_eq!((dead.id.as_str(), dead.attempts, runs.jobs()), ("p", 2, 0));
    assert!(dead.error.unwrap().contains("lease"));
}

#[tokio::test]
async fn a_worker_that_is_cut_off_stops_its_job_before_another_starts_it_and_its_late_report_is_refused() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (started, stopped) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let (tell, note) = (started.clone(), stopped.clone());
    let remote = through(&proxy).await;
    let cut = short(remote.worker(move |job: Job| {
        let (tell, note) = (tell.clone(), note.clone());
        async move {
            tell.add_permits(1);
            job.cancellation().cancelled().await;
            assert_eq!(job.interrupted(), Some(Interruption::LeaseLost));
            note.store(true, Ordering::SeqCst);
            // It insists that it is done: nobody may believe it.
            Ok::<_, Failure>(())
        }
    }))
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    let _one = started.acquire().await.unwrap();
    proxy.set_both(Fault::Swallow);
    let release = Arc::new(Semaphore::new(0));
    let (other_started, wait, seen) = (Arc::new(AtomicUsize::new(0)), release.clone(), stopped.clone());
    let count = other_started.clone();
    let other = short(queue.worker(move |job: Job| {
        assert!(seen.load(Ordering::SeqCst), "two workers ran it at the same time");
        let (wait, count) = (wait.clone(), count.clone());
        async move {
            assert_eq!(job.attempt(), 2);
            count.fetch_add(1, Ordering::SeqCst);
            let _permit = wait.acquire().await;
            Ok::<_, Failure>(())
        }
    }))
    .start()
    .unwrap();
    let taken_over = eventually(PATIENCE, "the other worker", async || other_started.load(Ordering::SeqCst) == 1);
    taken_over.await.unwrap();
    proxy.heal().await.unwrap();
    eventually(PATIENCE, "the refusal", async || cut.stats().fenced == 1).await.unwrap();
    assert_eq!(queue.status().await.unwrap().leased, 1, "the other worker still has it");
    release.add_permits(1);
    until_empty(&queue).await;
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.done, totals.fenced, totals.expired_leases), (1, 1, 1));
    assert_eq!((end(cut).await.lease_lost, end(other).await.done), (1, 1));
}

#[tokio::test]
async fn jobs_whose_claim_was_lost_on_the_way_back_are_found_again_at_once() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let runs = Runs::default();
    // Slow to notice: its question must leave before the connection is given up, however busy the machine is.
    let slow = config(proxy.address()).liveness(romaine::Liveness::default());
    let remote = Queue::new(&Client::connect(slow).await.unwrap(), "test").unwrap();
    let worker =
        quick(&remote, &runs).lease(Duration::from_secs(60)).block(Duration::from_millis(200)).start().unwrap();
    eventually(PATIENCE, "the worker to wait", async || worker.stats().waits > 0).await.unwrap();
    // Requests arrive, answers do not.
    proxy.set(Direction::ToClient, Fault::Swallow);
    queue.producer().enqueue_all(jobs(8)).await.unwrap();
    eventually(PATIENCE, "a claim", async || queue.status().await.unwrap().leased > 0).await.unwrap();
    proxy.heal().await.unwrap();
    proxy.reset_all().await.unwrap();
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert!(stats.recovered > 0, "{stats:?}");
    assert_eq!((runs.jobs(), runs.most()), (8, 1));
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.claimed, totals.expired_leases), (8, 0));
}

#[tokio::test]
async fn a_ghost_that_takes_the_bell_delays_a_job_by_no_more_than_the_block_time() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let runs = Runs::default();
    // The ghost waits first, so it is served first.
    let remote = through(&proxy).await;
    let ghost = quick(&remote, &runs).block(Duration::from_secs(30)).start().unwrap();
    let blocked = async |count: i64| {
        let found = eventually(PATIENCE, "blocked clients", async || {
            let info = server.command(&["INFO", "clients"]).await.unwrap().text();
            info.contains(&format!("blocked_clients:{count}"))
        });
        found.await.unwrap();
    };
    blocked(1).await;
    proxy.set_both(Fault::Swallow);
    let block = Duration::from_secs(1);
    let worker = quick(&queue, &runs).block(block).start().unwrap();
    blocked(2).await;
    let start = now();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    runs.wait_for(1).await;
    assert!(start.elapsed() < block * 2, "{:?}", start.elapsed());
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!(runs.most(), 1);
    drop(ghost);
}

#[tokio::test]
async fn a_backlog_is_drained_by_the_consumer_that_is_left_when_the_other_is_cut_off() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let runs = Runs::default();
    let cut = quick(&through(&proxy).await, &runs).name("cut").concurrency(32).start().unwrap();
    let left = quick(&queue, &runs).name("left").concurrency(32).start().unwrap();
    queue.producer().enqueue_all(jobs(30_000)).await.unwrap();
    eventually(PATIENCE, "both at work", async || cut.stats().done > 500 && left.stats().done > 500).await.unwrap();
    proxy.set_both(Fault::Swallow);
    until_empty(&queue).await;
    assert_eq!(runs.jobs(), 30_000);
    let status = queue.status().await.unwrap();
    assert_eq!((status.totals.done, status.dead), (30_000, 0));
    let overdue: Vec<&str> =
        status.consumers.iter().filter(|consumer| consumer.overdue().is_some()).map(|c| c.name.as_str()).collect();
    eventually(PATIENCE, "the cut one to be overdue", async || {
        let status = queue.status().await.unwrap();
        let late = status.consumers.iter().filter(|consumer| consumer.overdue().is_some());
        late.map(|consumer| consumer.name.as_str()).eq(["cut"])
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: {overdue:?}"));
    proxy.heal().await.unwrap();
    // It goes on as if nothing had happened.
    queue.producer().enqueue_all((0..100).map(|_| NewJob::new("k", ""))).await.unwrap();
    until_empty(&queue).await;
    end(left).await;
    end(cut).await;
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn lost_connections_and_flushed_scripts_are_not_the_handlers_business() {
    let (server, queue) = queue().await;
    let runs = Runs::default();
    let workers: Vec<_> = (0..2).map(|_| quick(&queue, &runs).concurrency(16).start().unwrap()).collect();
    let producer = queue.producer();
    let count = 1_500;
    let pushing = async {
        let mut callers = JoinSet::new();
        for job in jobs(count) {
            let producer = producer.clone();
            callers.spawn(async move { producer.enqueue(job).await.unwrap() });
            tokio::task::yield_now().await;
        }
        while let Some(enqueued) = callers.join_next().await {
            assert!(enqueued.unwrap().is_in());
        }
    };
    let disturbing = async {
        for _ in 0..30 {
            server.command(&["SCRIPT", "FLUSH"]).await.unwrap();
            server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::join!(pushing, disturbing);
    until_empty(&queue).await;
    assert_eq!(runs.jobs(), count);
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.enqueued, totals.done, totals.dead), (1_500, 1_500, 0));
    for worker in workers {
        end(worker).await;
    }
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_killed_server_with_an_append_only_file() {
    let server = Server::builder().persistent().start().await.unwrap();
    let queue = Queue::new(&client(&server).await, "test").unwrap();
    let runs = Runs::default();
    let worker = quick(&queue, &runs).concurrency(16).start().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let producer = queue.producer();
    let pushing = async {
        let mut callers = JoinSet::new();
        for n in 0..8 {
            let (producer, accepted) = (producer.clone(), accepted.clone());
            callers.spawn(async move {
                for m in 0..100 {
                    let job = NewJob::new("k", "").id(format!("j{n}-{m}")).attempts(20);
                    assert!(producer.enqueue(job).await.unwrap().is_in());
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    };
    let killing = async {
        for at in [100, 300, 500] {
            let reached = eventually(PATIENCE, "jobs", async || accepted.load(Ordering::SeqCst) >= at);
            reached.await.unwrap();
            server.kill();
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.restart().await.unwrap();
        }
    };
    tokio::join!(pushing, killing);
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!(runs.jobs(), 800);
    let totals = queue.status().await.unwrap().totals;
    assert_eq!((totals.enqueued, totals.done, totals.dead), (800, 800, 0));
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn what_a_worker_came_to_while_it_was_cut_off_counts_if_nobody_else_had_the_job() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (started, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (started.clone(), release.clone());
    let remote = through(&proxy).await;
    let cut = short(remote.worker(move |job: Job| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.add_permits(1);
            let _permit = wait.acquire().await;
            assert_eq!(job.interrupted(), None, "it runs on");
            Ok::<_, Failure>(Done::with("it works"))
        }
    }))
    .lost_lease(LostLease::RunsOn)
    .start()
    .unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a").attempts(1)).await.unwrap();
    let _one = started.acquire().await.unwrap();
    proxy.set_both(Fault::Swallow);
    // Somebody else finds that its lease has run out.
    let other = quick(&queue, &Runs::default()).start().unwrap();
    let dead = eventually(PATIENCE, "the dead letter", async || queue.status().await.unwrap().dead == 1);
    dead.await.unwrap();
    end(other).await;
    release.add_permits(1);
    proxy.heal().await.unwrap();
    eventually(PATIENCE, "the result", async || {
        queue.result("a").await.unwrap().is_some_and(|result| matches!(result, JobResult::Done(_)))
    })
    .await
    .unwrap();
    let status = queue.status().await.unwrap();
    assert_eq!((status.dead, status.totals.done, status.totals.redeemed, status.totals.fenced), (0, 1, 1, 0));
    end(cut).await;
    nothing_stays(&server, &queue).await;
}

/// A handler whose jobs end when each has its permit.
fn ends_when_released(runs: &Runs, release: &Arc<Semaphore>) -> impl Handler {
    let (runs, release) = (runs.clone(), release.clone());
    move |job: Job| {
        runs.note(&job);
        let release = release.clone();
        async move {
            let _permit = release.acquire().await;
            Ok::<_, Failure>(())
        }
    }
}

/// As after a failover that lost the claim, while the job runs.
#[tokio::test]
async fn a_job_that_runs_on_and_comes_back_to_its_worker_goes_on_with_the_new_lease_and_is_not_started_again() {
    let (server, queue) = queue().await;
    let (runs, release) = (Runs::default(), Arc::new(Semaphore::new(0)));
    let worker =
        short(queue.worker(ends_when_released(&runs, &release))).lost_lease(LostLease::RunsOn).start().unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    runs.wait_for(1).await;
    for command in [["HDEL", "rq:{test}:s", "a"], ["ZREM", "rq:{test}:l", "a"]] {
        server.command(&command).await.unwrap();
    }
    for command in [["RPUSH", "rq:{test}:w1", "a"], ["RPUSH", "rq:{test}:b", "1"]] {
        server.command(&command).await.unwrap();
    }
    eventually(PATIENCE, "the job to come back", async || worker.stats().claimed >= 2).await.unwrap();
    // A lease that is renewed, and is not the one that was lost.
    let lease = queue.job("a").await.unwrap().unwrap();
    eventually(PATIENCE, "a renewal", async || {
        queue.job("a").await.unwrap().is_some_and(|job| job.token == lease.token && job.at_ms > lease.at_ms)
    })
    .await
    .unwrap();
    release.add_permits(2);
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((runs.of("a"), stats.done, stats.fenced), (1, 1, 0));
    nothing_stays(&server, &queue).await;
}

/// The same, and the job ends before its worker hears that it was claimed again.
#[tokio::test]
async fn a_job_that_ends_while_the_turn_that_claims_it_again_is_under_way_is_told_of_and_not_started_again() {
    use romaine::commands::*;
    let (server, queue) = queue().await;
    let (runs, release) = (Runs::default(), Arc::new(Semaphore::new(0)));
    let worker = short(queue.worker(ends_when_released(&runs, &release))).lease(PATIENCE);
    let worker = worker.lost_lease(LostLease::RunsOn).start().unwrap();
    queue.producer().enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    runs.wait_for(1).await;
    let turns = worker.stats().turns;
    // What the bell brings about waits at the server.
    let beside = client(&server).await;
    let mut back = beside.transaction();
    let _one = back.hdel("rq:{test}:s", "a");
    let _one = back.zrem("rq:{test}:l", "a");
    let _one = back.rpush("rq:{test}:w1", "a");
    let _one = back.rpush("rq:{test}:b", "1");
    let pause = romaine::cmd::<()>("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE");
    let _paused = Executor::issue(&mut back, pause);
    back.execute().await.unwrap();
    eventually(PATIENCE, "a turn", async || worker.stats().turns > turns).await.unwrap();
    release.add_permits(2);
    eventually(PATIENCE, "the end of the job", async || worker.stats().running == 0).await.unwrap();
    server.command(&["CLIENT", "UNPAUSE"]).await.unwrap();
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((runs.of("a"), stats.claimed, stats.done, stats.fenced), (1, 2, 1, 0));
    nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn what_ended_in_a_long_outage_is_told_before_anything_is_claimed_however_much_it_is() {
    let (server, queue) = queue().await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (runs, release) = (Runs::default(), Arc::new(Semaphore::new(0)));
    let remote = through(&proxy).await;
    // More than one turn reports.
    let count = 700;
    let worker = short(remote.worker(ends_when_released(&runs, &release)))
        .lost_lease(LostLease::RunsOn)
        .concurrency(count)
        .start()
        .unwrap();
    queue.producer().enqueue_all(jobs(count)).await.unwrap();
    runs.wait_for(count).await;
    proxy.set_both(Fault::Swallow);
    let lapsed = eventually(PATIENCE, "all leases to run out", async || {
        let status = queue.status().await.unwrap();
        let jobs = queue.peek(Place::Leased, count - 1, 1).await.unwrap();
        jobs.first().is_some_and(|job| job.at_ms.is_some_and(|end| end < status.time_ms))
    });
    lapsed.await.unwrap();
    release.add_permits(2 * count);
    eventually(PATIENCE, "all to end", async || worker.stats().running == 0).await.unwrap();
    proxy.heal().await.unwrap();
    until_empty(&queue).await;
    let stats = end(worker).await;
    assert_eq!((runs.jobs(), runs.most(), stats.claimed), (count, 1, 700));
    nothing_stays(&server, &queue).await;
}
