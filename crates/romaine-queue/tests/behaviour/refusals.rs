//! What the server or the library refuses: told clearly where somebody has to act, waited out where it passes.

use std::time::Duration;

use romaine::Client;
use romaine_faultlab::{Server, eventually};
use romaine_queue::{ErrorKind, Failure, Job, NewJob, Outcome, Queue};

use crate::support::{PATIENCE, Runs, config, end, queue, quick, short, until_empty};

fn jobs(count: usize) -> impl Iterator<Item = NewJob> {
    (0..count).map(|n| NewJob::new("k", n.to_string()).id(format!("j{n}")))
}

#[tokio::test]
async fn a_server_out_of_memory_takes_no_new_work_and_still_lets_the_old_be_done() {
    let (server, queue) = queue().await;
    let producer = queue.producer().timeout(Duration::from_millis(200));
    producer.enqueue_all(jobs(200)).await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let error = producer.enqueue(NewJob::new("k", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    assert_eq!((runs.jobs(), queue.status().await.unwrap().totals.done), (200, 200));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    producer.enqueue(NewJob::new("k", "")).await.unwrap();
    runs.wait_for(201).await;
    end(worker).await;
}

#[tokio::test]
async fn a_primary_that_was_demoted_and_promoted_again_is_waited_out() {
    let (server, queue) = queue().await;
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    queue.producer().enqueue_all(jobs(50)).await.unwrap();
    until_empty(&queue).await;
    let other = Server::start().await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await.unwrap();
    let producer = queue.producer();
    let push = producer.enqueue(NewJob::new("k", "").id("late"));
    let promote = async {
        eventually(PATIENCE, "a refusal", async || worker.stats().interruptions > 0).await.unwrap();
        server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    };
    let (pushed, ()) = tokio::join!(push, promote);
    assert!(pushed.unwrap().is_in());
    eventually(PATIENCE, "the job", async || runs.of("late") == 1).await.unwrap();
    assert!(worker.stats().last_error.is_some());
    end(worker).await;
}

#[tokio::test]
async fn an_id_that_gave_way_is_known_to_the_very_call_that_superseded_it() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    producer.enqueue(NewJob::new("k", "").id("old").generation("g", 1)).await.unwrap();
    let newer = NewJob::new("k", "").id("new").generation("g", 2);
    let enqueued = producer.enqueue_all([newer, NewJob::new("k", "").id("old")]).await.unwrap();
    let outcomes: Vec<_> = enqueued.into_iter().map(|job| job.outcome).collect();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Known]);
}

#[tokio::test]
async fn the_users_rule_is_enough_for_the_whole_life_of_a_job_and_for_no_other_queue() {
    let (server, queue) = queue().await;
    let edge = Queue::new(queue.client(), "edge:017").unwrap();
    let rule = edge.acl_rule("edge");
    let mut words = vec!["ACL", "SETUSER", "edge", ">pw"];
    words.extend(rule.split(' ').skip(2));
    server.command(&words).await.unwrap();
    let limited = Client::connect(config(server.address()).user("edge", "pw")).await.unwrap();
    let own = Queue::new(&limited, "edge:017").unwrap();
    let worker = short(own.worker(|job: Job| async move {
        match job.attempt() {
            1 => Err(Failure::retry("once more")),
            _ => Ok(romaine_queue::Done::with("ok")),
        }
    }))
    .start()
    .unwrap();
    own.producer().enqueue(NewJob::new("k", "").id("a").unique("u").generation("g", 1)).await.unwrap();
    let result = own.wait_for_result("a", PATIENCE).await.unwrap();
    assert!(result.is_some());
    own.status().await.unwrap();
    own.cancel(["a"]).await.unwrap();
    end(worker).await;
    let foreign = Queue::new(&limited, "test").unwrap();
    let error = foreign.producer().enqueue(NewJob::new("k", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(error.to_string().contains("permit"), "{error}");
    // A worker says so and goes on asking: the rule may be mended.
    let runs = Runs::default();
    let worker = quick(&foreign, &runs).start().unwrap();
    eventually(PATIENCE, "the refusal", async || worker.stats().interruptions > 1).await.unwrap();
    server.command(&["ACL", "SETUSER", "edge", "~*"]).await.unwrap();
    queue.producer().enqueue(NewJob::new("k", "")).await.unwrap();
    runs.wait_for(1).await;
    end(worker).await;
}

#[tokio::test]
async fn a_worker_ends_when_its_client_is_closed_and_says_so() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let mut worker = quick(&queue, &runs).start().unwrap();
    runs_once(&queue, &runs).await;
    queue.client().close().await;
    let error = tokio::time::timeout(PATIENCE, worker.ended()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = queue.producer().enqueue(NewJob::new("k", "")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

async fn runs_once(queue: &Queue, runs: &Runs) {
    queue.producer().enqueue(NewJob::new("k", "")).await.unwrap();
    runs.wait_for(1).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let (_server, queue) = queue().await;
    let worker = || queue.worker(async |_job: Job| Ok::<_, Failure>(()));
    for (worker, word) in [
        (worker().concurrency(0), "concurrency"),
        (worker().name("two words"), "name"),
        (worker().lease(Duration::from_millis(1)), "lease"),
        (worker().heartbeat(Duration::from_secs(20)), "heartbeat"),
        (worker().block(Duration::ZERO), "block"),
        (worker().rate(0.0, 1), "rate"),
    ] {
        let error = worker.start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
}
