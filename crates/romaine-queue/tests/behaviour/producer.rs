//! Bringing work in.

use std::time::{Duration, SystemTime};

use romaine::Delivery;
use romaine_faultlab::Server;
use romaine_queue::{Durability, ErrorKind, NewJob, Outcome, Place, Priority, Queue};

use crate::support::{PATIENCE, Runs, client, end, now, queue, quick, until_empty};

#[tokio::test]
async fn a_job_keeps_what_it_was_given() {
    let (_server, queue) = queue().await;
    let job = NewJob::new("mail", "to ada")
        .id("m-1")
        .priority(Priority::High)
        .attempts(7)
        .unique("ada")
        .expires_in(Duration::from_secs(60))
        .generation("ada", 12);
    let enqueued = queue.producer().enqueue(job).await.unwrap();
    assert_eq!((enqueued.id.as_str(), &enqueued.outcome), ("m-1", &Outcome::Accepted));
    let seen = queue.job("m-1").await.unwrap().unwrap();
    assert_eq!((seen.kind.as_str(), &*seen.payload), ("mail", &b"to ada"[..]));
    assert_eq!((seen.place, seen.priority, seen.attempts), (Place::Waiting, Priority::High, 0));
    assert_eq!((seen.unique.as_deref(), seen.generation), (Some("ada"), Some(12)));
    assert_eq!(seen.expires_ms, Some(seen.enqueued_ms + 60_000));
    assert_eq!(queue.job("m-2").await.unwrap().map(|job| job.id), None);
}

#[tokio::test]
async fn the_same_id_is_accepted_once_while_it_waits_and_for_a_while_after() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    let job = || NewJob::new("mail", "x").id("a");
    assert_eq!(producer.enqueue(job()).await.unwrap().outcome, Outcome::Accepted);
    assert_eq!(producer.enqueue(job()).await.unwrap().outcome, Outcome::Known);
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    assert_eq!(producer.enqueue(job()).await.unwrap().outcome, Outcome::Known);
    end(worker).await;
    assert_eq!(runs.of("a"), 1);
    assert_eq!(queue.status().await.unwrap().totals.enqueued, 1);
}

#[tokio::test]
async fn ids_are_forgotten_after_the_time_they_are_remembered_for() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let worker = quick(&queue, &runs).remember(Duration::from_millis(50), 1_000).start().unwrap();
    let producer = queue.producer();
    let mut accepted = 0;
    let start = now();
    let mut other = 0;
    while accepted < 2 && start.elapsed() < Duration::from_secs(10) {
        // Only when something finishes does the memory turn over.
        other += 1;
        producer.enqueue(NewJob::new("k", "").id(format!("other-{other}"))).await.unwrap();
        let again = producer.enqueue(NewJob::new("k", "").id("a")).await.unwrap();
        accepted += usize::from(again.outcome == Outcome::Accepted);
    }
    assert_eq!(accepted, 2);
    end(worker).await;
}

#[tokio::test]
async fn many_jobs_travel_in_one_round_trip_and_keep_their_order() {
    let (_server, queue) = queue().await;
    let jobs = (0..3_000).map(|n| NewJob::new("n", n.to_string()).id(format!("j{n}")));
    let enqueued = queue.producer().enqueue_all(jobs).await.unwrap();
    assert_eq!(enqueued.len(), 3_000);
    assert!(enqueued.iter().enumerate().all(|(n, job)| job.id == format!("j{n}") && job.is_in()));
    let first = queue.peek(Place::Waiting, 0, 3).await.unwrap();
    let ids: Vec<&str> = first.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["j0", "j1", "j2"]);
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting, status.totals.enqueued), (3_000, 3_000));
}

#[tokio::test]
async fn scripts_that_were_flushed_are_sent_again_in_a_pipeline_too() {
    let (server, queue) = queue().await;
    let many = |from: usize| (from..from + 1_200).map(|n| NewJob::new("n", "").id(n.to_string()));
    queue.producer().enqueue_all(many(0)).await.unwrap();
    server.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    queue.producer().enqueue_all(many(1_200)).await.unwrap();
    server.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    queue.producer().enqueue(NewJob::new("n", "")).await.unwrap();
    assert_eq!(queue.status().await.unwrap().waiting, 2_401);
}

#[tokio::test]
async fn a_unique_key_is_held_until_its_job_ends() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    let first = producer.enqueue(NewJob::new("sync", "").id("a").unique("user-1")).await.unwrap();
    assert!(first.is_in());
    let second = producer.enqueue(NewJob::new("sync", "").id("b").unique("user-1")).await.unwrap();
    assert_eq!(second.outcome, Outcome::Held { by: "a".into() });
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    let third = producer.enqueue(NewJob::new("sync", "").id("c").unique("user-1")).await.unwrap();
    assert_eq!(third.outcome, Outcome::Accepted);
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!((runs.of("a"), runs.of("b"), runs.of("c")), (1, 0, 1));
}

#[tokio::test]
async fn a_newer_generation_takes_the_place_of_older_ones_that_wait() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    let state =
        |number: u64| NewJob::new("deploy", number.to_string()).id(format!("g{number}")).generation("web", number);
    producer.enqueue(state(1)).await.unwrap();
    producer.enqueue(state(3).delay(Duration::from_millis(50))).await.unwrap();
    producer.enqueue(state(4)).await.unwrap();
    let old = producer.enqueue(state(2)).await.unwrap();
    assert_eq!(old.outcome, Outcome::Superseded);
    let status = queue.status().await.unwrap();
    assert_eq!((status.waiting, status.delayed, status.totals.superseded), (1, 0, 2));
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!((runs.of("g1"), runs.of("g2"), runs.of("g3"), runs.of("g4")), (0, 0, 0, 1));
    assert_eq!(queue.status().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_delayed_job_runs_when_it_is_due_and_not_before() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let worker = quick(&queue, &runs).block(Duration::from_secs(20)).start().unwrap();
    let start = now();
    let producer = queue.producer();
    producer.enqueue(NewJob::new("later", "").id("late").delay(Duration::from_secs(30))).await.unwrap();
    producer.enqueue(NewJob::new("later", "").id("soon").delay(Duration::from_millis(400))).await.unwrap();
    runs.wait_for(1).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(1_500), "{took:?}");
    assert_eq!((runs.of("soon"), runs.of("late")), (1, 0));
    end(worker).await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a job is scheduled by the wall clock")]
async fn a_job_can_be_scheduled_for_an_instant() {
    let (_server, queue) = queue().await;
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    let producer = queue.producer();
    let past = SystemTime::now() - Duration::from_secs(5);
    producer.enqueue(NewJob::new("k", "").id("past").at(past)).await.unwrap();
    producer.enqueue(NewJob::new("k", "").id("future").at(past + Duration::from_secs(3_600))).await.unwrap();
    runs.wait_for(1).await;
    let due = queue.status().await.unwrap().next_due.unwrap();
    assert!(due > Duration::from_secs(3_500) && due < Duration::from_secs(3_600), "{due:?}");
    assert_eq!(runs.of("future"), 0);
    end(worker).await;
}

#[tokio::test]
async fn higher_priorities_run_first() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    for (id, priority) in [("l", Priority::Low), ("n", Priority::Normal), ("h", Priority::High)] {
        producer.enqueue(NewJob::new("k", "").id(id).priority(priority)).await.unwrap();
    }
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = order.clone();
    let worker = crate::support::short(queue.worker(move |job: romaine_queue::Job| {
        noted.lock().unwrap().push(job.id().to_owned());
        async { Ok::<_, romaine_queue::Failure>(()) }
    }))
    .concurrency(1)
    .start()
    .unwrap();
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!(*order.lock().unwrap(), ["h", "n", "l"]);
}

#[tokio::test]
async fn a_job_that_expired_before_it_started_is_dropped_and_counted() {
    let (server, queue) = queue().await;
    let producer = queue.producer();
    producer.enqueue(NewJob::new("k", "").id("old").unique("u").expires_in(Duration::from_millis(1))).await.unwrap();
    let start = now();
    while start.elapsed() < Duration::from_millis(20) {
        tokio::task::yield_now().await;
    }
    let runs = Runs::default();
    let worker = quick(&queue, &runs).start().unwrap();
    until_empty(&queue).await;
    end(worker).await;
    assert_eq!(runs.jobs(), 0);
    assert_eq!(queue.status().await.unwrap().totals.expired, 1);
    crate::support::nothing_stays(&server, &queue).await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_it_is_sent() {
    let (_server, queue) = queue().await;
    let producer = queue.producer().payload_max(10);
    for (job, word) in [
        (NewJob::new("k", vec![0; 11]), "payload_max"),
        (NewJob::new("", ""), "kind"),
        (NewJob::new("k", "").id("x".repeat(201)), "id"),
        (NewJob::new("k", "").attempts(0), "attempt"),
        (NewJob::new("k", "").generation("g", 1 << 60), "generation"),
    ] {
        let error = producer.enqueue(job).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(queue.status().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_full_queue_refuses_new_jobs_but_still_knows_the_old_ones() {
    let (_server, queue) = queue().await;
    let producer = queue.producer().jobs_max(2);
    for id in ["a", "b"] {
        producer.enqueue(NewJob::new("k", "").id(id)).await.unwrap();
    }
    let error = producer.enqueue(NewJob::new("k", "").id("c")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("jobs_max"), "{error}");
    assert_eq!(producer.enqueue(NewJob::new("k", "").id("b")).await.unwrap().outcome, Outcome::Known);
}

#[tokio::test]
async fn jobs_of_many_callers_travel_together_and_each_gets_its_own_answer() {
    let (_server, queue) = queue().await;
    let producer = queue.producer();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..400 {
        let producer = producer.clone();
        // Every id is used twice.
        callers.spawn(async move { producer.enqueue(NewJob::new("k", "").id(format!("j{}", n / 2))).await });
    }
    let (mut accepted, mut known) = (0, 0);
    while let Some(answer) = callers.join_next().await {
        match answer.unwrap().unwrap().outcome {
            Outcome::Accepted => accepted += 1,
            Outcome::Known => known += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((accepted, known, queue.status().await.unwrap().waiting), (200, 200, 200));
}

#[tokio::test]
async fn a_caller_in_line_before_a_server_that_is_away_waits_no_longer_than_its_time_out() {
    let (server, queue) = queue().await;
    server.kill();
    let mut health = queue.client().health();
    tokio::time::timeout(PATIENCE, health.wait_for(|health| !health.is_connected())).await.unwrap().unwrap();
    let producer = queue.producer().timeout(Duration::from_secs(1));
    let start = now();
    // More than go in a call, and more than the line holds.
    let calls = (0..6_000).map(|n| producer.enqueue(NewJob::new("k", "").id(format!("j{n}"))));
    for answer in futures_util::future::join_all(calls).await {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::NotSent), "{error:?}");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_caller_with_time_left_is_not_given_up_with_one_whose_time_is_up() {
    let (server, queue) = queue().await;
    server.kill();
    let producer = queue.producer().timeout(Duration::from_secs(3));
    let enqueue = |id: &str| Box::pin(producer.enqueue(NewJob::new("k", "").id(id)));
    // Two go by themselves, the third alone by the line; the others stand behind it and go together.
    let mut first = futures_util::future::join_all(["a", "b", "c"].map(enqueue));
    let half = Duration::from_millis(700);
    assert!(tokio::time::timeout(half, &mut first).await.is_err());
    let (mut early, mut late) = (enqueue("early"), enqueue("late"));
    let both = async { tokio::join!(&mut first, &mut early) };
    tokio::pin!(both);
    assert!(tokio::time::timeout(half, &mut both).await.is_err());
    let (_, (first, early)) =
        tokio::join!(async { assert!(tokio::time::timeout(Duration::from_millis(1), &mut late).await.is_err()) }, both);
    assert!(first.iter().all(Result::is_err) && early.is_err());
    server.restart().await.unwrap();
    assert!(late.await.unwrap().is_in());
}

#[tokio::test]
async fn a_replicated_job_has_been_confirmed_by_a_replica() {
    let primary = Server::start().await.unwrap();
    let port = primary.port().to_string();
    let producer = |client: &romaine::Client, timeout| {
        Queue::new(client, "test").unwrap().producer().durability(Durability::Replicated { replicas: 1, timeout })
    };
    let client = client(&primary).await;
    let in_vain = producer(&client, Duration::from_millis(300));
    let error = in_vain.enqueue(NewJob::new("k", "").id("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    assert!(error.to_string().contains("0 of 1 replicas"), "{error}");

    let replica = Server::builder().config_line(format!("replicaof 127.0.0.1 {port}")).start().await.unwrap();
    romaine_faultlab::eventually(PATIENCE, "the replica", async || {
        primary.command(&["WAIT", "1", "100"]).await.is_ok_and(|got| got.as_int() == Some(1))
    })
    .await
    .unwrap();
    // The first attempt was accepted: the second has to wait for its copy all the same.
    let patient = producer(&client, PATIENCE);
    let again = patient.enqueue(NewJob::new("k", "").id("a")).await.unwrap();
    assert_eq!(again.outcome, Outcome::Known);
    patient.enqueue(NewJob::new("k", "").id("b")).await.unwrap();
    let copied = replica.command(&["HEXISTS", "rq:{test}:j", "b"]).await.unwrap();
    assert_eq!(copied.as_int(), Some(1));
}

#[tokio::test]
async fn fsynced_is_refused_clearly_where_the_server_cannot_do_it() {
    let (server, queue) = queue().await;
    let known = server.command(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap();
    let producer = queue.producer().durability(Durability::fsynced());
    let answer = producer.enqueue(NewJob::new("k", "").id("a")).await;
    if known.text().contains("waitaof") {
        // Known, but without an append-only file.
        assert!(answer.is_err());
    } else {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("7.2"), "{error}");
        assert_eq!(queue.status().await.unwrap().totals.enqueued, 0);
    }
}
