//! What an agent does with jobs, whatever happens to it and to the hub.

use std::time::Duration;

use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, Server, eventually};
use romaine_queue::{JobResult, NewJob, Place};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Edge, PATIENCE, phases, queue, romaine_piped};

/// Notes that it runs, and goes on when it is let.
const PATIENT: &str = "echo $ROMAINE_JOB >> runs; echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; echo finished";

async fn result(queue: &romaine_queue::Queue, id: &str, edge: &Edge) -> JobResult {
    match queue.wait_for_result(id, PATIENCE).await.unwrap() {
        Some(result) => result,
        None => panic!("no result of {id}; the agent said\n{}", edge.log()),
    }
}

#[tokio::test]
async fn a_job_is_run_and_its_phases_and_result_reach_the_hub() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let handler = "cat > input; echo to the log >&2; [ $ROMAINE_KIND = bad ] && exit 3; echo it works";
    let mut edge = Edge::new(dir.path(), "e1", &server.url(), handler).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("greet", r#"{"name":"ada"}"#).id("j1")).await.unwrap();
    let done: Value = result(&queue, "j1", &edge).await.json().unwrap();
    assert_eq!((&done["verdict"], &done["exit"]), (&"done".into(), &0.into()));
    assert!(done["tail"].as_str().unwrap().contains("it works"));
    let input: Value = serde_json::from_slice(&std::fs::read(edge.path("input")).unwrap()).unwrap();
    assert_eq!(
        (&input["id"], &input["kind"], &input["payload"]["name"]),
        (&"j1".into(), &"greet".into(), &"ada".into())
    );

    queue.producer().enqueue(NewJob::new("bad", "").id("j2")).await.unwrap();
    let JobResult::Dead(why) = result(&queue, "j2", &edge).await else { panic!("it is dead") };
    assert!(why.contains("exit code 3") && why.contains("to the log"), "{why}");
    let expected = ["received", "running", "done", "received", "running", "failed"];
    eventually(PATIENCE, "all phases", async || phases(&server, "e1").await == expected).await.unwrap();
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.log());
}

#[tokio::test]
async fn an_agent_whose_log_nobody_reads_any_more_goes_on() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let ledger = dir.path().join("ledger").display().to_string();
    let arguments = ["agent", "--id", "e1", "--exec", "true", "--ledger", &ledger, "--grace", "2s"];
    let mut agent = romaine_piped(&server.url(), &arguments);
    let mut log = BufReader::new(agent.stderr.take().unwrap()).lines();
    while !log.next_line().await.unwrap().expect("it goes on").contains("at work") {}
    drop(log);
    // It says of every job that it came and how it ended.
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    let result = queue.wait_for_result("j1", PATIENCE).await.unwrap();
    assert!(matches!(&result, Some(JobResult::Done(_))), "{result:?}");
    let pid = agent.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, agent.wait()).await.expect("it ends").unwrap().code(), Some(0));
    // And an error that nobody reads has its status all the same.
    let mut asked = romaine_piped(&server.url(), &["rollout", "status", "unknown"]);
    drop(asked.stderr.take());
    assert_eq!(tokio::time::timeout(PATIENCE, asked.wait()).await.expect("it ends").unwrap().code(), Some(2));
}

#[tokio::test]
async fn an_agent_killed_in_the_middle_runs_a_job_again_only_if_it_may() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut edge = Edge::new(dir.path(), "e1", &server.url(), PATIENT).options(&["--concurrency", "3"]).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("once")).await.unwrap();
    queue.producer().enqueue(NewJob::new("k", "{}").id("single").attempts(1)).await.unwrap();
    queue.producer().enqueue(NewJob::new("k", r#"{"idempotent":true}"#).id("again")).await.unwrap();
    edge.wait_for_lines("runs", 3).await;
    // Each of them empties the file before it writes.
    let left_behind = eventually(PATIENCE, "a handler's number", async || {
        std::fs::read_to_string(edge.path("pid")).ok()?.trim().parse::<u32>().ok()
    });
    let left_behind = left_behind.await.unwrap();
    edge.kill();
    // The handlers live on without their agent, until the next one ends them.
    assert!(std::path::Path::new(&format!("/proc/{left_behind}")).exists());
    edge.start();
    edge.says("its handler was still running").await;
    edge.touch("go");

    for id in ["once", "single"] {
        let JobResult::Dead(why) = result(&queue, id, &edge).await else { panic!("{id} is not run again") };
        assert!(why.contains("the agent ended while attempt 1 ran"), "{id}: {why}");
    }
    let done: Value = result(&queue, "again", &edge).await.json().unwrap();
    assert_eq!(done["verdict"], "done");
    let runs = std::fs::read_to_string(edge.path("runs")).unwrap();
    assert_eq!(runs.lines().filter(|id| *id == "once").count(), 1, "{runs}");
    assert_eq!(runs.lines().filter(|id| *id == "again").count(), 2, "{runs}");
    let phases = phases(&server, "e1").await;
    assert!(phases.iter().any(|phase| phase == "interrupted"), "{phases:?}");
}

#[tokio::test]
async fn a_result_survives_the_hub_being_away_and_nothing_runs_twice() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let hub = format!("redis://{}", proxy.address());
    let edge = Edge::new(dir.path(), "e1", &hub, PATIENT).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    edge.wait_for_lines("runs", 1).await;
    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.reset_all().await.unwrap();
    // Away until the lease has lapsed, and the job ends meanwhile.
    eventually(PATIENCE, "the lease to lapse", async || {
        let job = queue.job("j1").await.unwrap().unwrap();
        let now = queue.status().await.unwrap().time_ms;
        job.place == Place::Leased && job.at_ms.is_some_and(|end| end < now)
    })
    .await
    .unwrap();
    edge.touch("go");
    edge.says("verdict=Done").await;
    proxy.heal().await.unwrap();
    proxy.accept(Accept::Pass).await.unwrap();
    let done: Value = result(&queue, "j1", &edge).await.json().unwrap();
    assert_eq!(done["verdict"], "done");
    assert_eq!(edge.lines("runs"), 1);
    let expected = ["received", "running", "done"];
    eventually(PATIENCE, "the outbox to empty", async || phases(&server, "e1").await == expected).await.unwrap();
}

#[tokio::test]
async fn a_result_that_the_hub_was_not_told_survives_the_agents_death_too() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let hub = format!("redis://{}", proxy.address());
    let mut edge = Edge::new(dir.path(), "e1", &hub, PATIENT).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    edge.wait_for_lines("runs", 1).await;
    // Not stalled: what is held back would arrive after its sender's death.
    proxy.set(Direction::ToServer, Fault::Swallow);
    edge.touch("go");
    edge.says("verdict=Done").await;
    edge.kill();
    // What it sent may still wait unread in the proxy's socket: it goes with the connection, not to the hub.
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    edge.start();
    edge.says("told again, not run again").await;
    let done: Value = result(&queue, "j1", &edge).await.json().unwrap();
    assert_eq!((&done["verdict"], edge.lines("runs")), (&"done".into(), 1));
}

/// The worst of it: no attempt is left, so the job would not come back, and the hub learns of its end from two agents.
#[tokio::test]
async fn the_result_of_a_job_with_a_single_attempt_survives_too() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let hub = format!("redis://{}", proxy.address());
    let mut edge = Edge::new(dir.path(), "e1", &hub, PATIENT).options(&["--concurrency", "4"]).started();
    let queue = queue(&server, "e1").await;
    let lapse = async |id: &str| {
        eventually(PATIENCE, "the lease to lapse", async || {
            let job = queue.job(id).await.unwrap().unwrap();
            let now = queue.status().await.unwrap().time_ms;
            job.place == Place::Leased && job.at_ms.is_some_and(|end| end < now)
        })
        .await
        .unwrap();
    };
    // The hub is away until the lease has lapsed, and the job ends meanwhile, or later.
    for (id, ends_after) in [("j1", false), ("j2", true)] {
        queue.producer().enqueue(NewJob::new("k", "{}").id(id).attempts(1)).await.unwrap();
        edge.wait_for_lines("runs", 1).await;
        proxy.accept(Accept::Refuse).await.unwrap();
        proxy.reset_all().await.unwrap();
        lapse(id).await;
        if !ends_after {
            edge.touch("go");
            edge.says("verdict=Done").await;
        }
        proxy.heal().await.unwrap();
        proxy.accept(Accept::Pass).await.unwrap();
        if ends_after {
            edge.touch("go");
        }
        let done: Value = result(&queue, id, &edge).await.json().unwrap();
        assert_eq!(done["verdict"], "done", "{id}");
        std::fs::remove_file(edge.path("go")).unwrap();
        std::fs::remove_file(edge.path("runs")).unwrap();
    }
    // The agent dies when the job has ended and the hub was not told.
    queue.producer().enqueue(NewJob::new("k", "{}").id("j3").attempts(1)).await.unwrap();
    edge.wait_for_lines("runs", 1).await;
    proxy.set(Direction::ToServer, Fault::Swallow);
    edge.touch("go");
    eventually(PATIENCE, "the third to end", async || edge.log().matches("verdict=Done").count() == 3).await.unwrap();
    edge.kill();
    proxy.cut_all().await.unwrap();
    proxy.heal().await.unwrap();
    lapse("j3").await;
    edge.start();
    let done: Value = result(&queue, "j3", &edge).await.json().unwrap();
    assert_eq!((&done["verdict"], edge.lines("runs")), (&"done".into(), 1));
    let status = queue.status().await.unwrap();
    assert_eq!((status.dead, status.totals.dead, status.totals.done), (0, 0, 3));
}

#[tokio::test]
async fn a_cancelled_job_and_one_past_its_time_are_ended_with_all_they_started() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let handler = "echo x >> runs; sleep 1000 & echo $! > pid; wait";
    let edge = Edge::new(dir.path(), "e1", &server.url(), handler).options(&["--timeout", "30s"]).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    edge.wait_for_lines("pid", 1).await;
    let sleeper: u32 = std::fs::read_to_string(edge.path("pid")).unwrap().trim().parse().unwrap();
    queue.cancel(["j1"]).await.unwrap();
    eventually(PATIENCE, "its processes to end", async || {
        let stat = std::fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    })
    .await
    .unwrap();
    edge.says("verdict=Cancelled").await;
    eventually(PATIENCE, "the queue to let go of it", async || queue.status().await.unwrap().leased == 0)
        .await
        .unwrap();
    assert_eq!(edge.lines("runs"), 1);
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_lets_its_job_end_first() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut edge = Edge::new(dir.path(), "e1", &server.url(), "echo x >> runs; sleep 1; echo done")
        .options(&["--grace", "60s"])
        .started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    edge.wait_for_lines("runs", 1).await;
    assert_eq!(edge.end().await.code(), Some(0));
    let done = tokio::time::timeout(Duration::from_secs(5), result(&queue, "j1", &edge)).await.unwrap();
    assert!(matches!(done, JobResult::Done(_)), "{done:?}");
}
