//! What cannot work is said, and nothing is lost by it.

use romaine::commands::*;
use romaine::{Client, Config};
use romaine_edge::DEPLOY;
use romaine_faultlab::{Port, Server, eventually};
use romaine_queue::{JobResult, NewJob, Place};

use crate::support::{Edge, PATIENCE, client, online, phases, queue, romaine};

#[tokio::test]
async fn an_id_in_use_twice_is_refused_and_the_first_goes_on() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let first = Edge::new(dir.path(), "e1", &server.url(), "echo first").started();
    first.says("at work").await;
    let mut second = Edge::new(&dir.path().join("2"), "e1", &server.url(), "echo second").started();
    assert_eq!(second.ended().await.code(), Some(4));
    second.says("the id e1 is in use by another agent").await;
    // On the same machine the ledger tells, before anybody is asked.
    let third = Edge::new(&dir.path().join("3"), "e1", &server.url(), "echo third");
    let mut third = third.ledger(&first.path("ledger")).started();
    assert_eq!(third.ended().await.code(), Some(4));
    third.says("is in use by another agent on this machine").await;
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    let done = queue.wait_for_result("j1", PATIENCE).await.unwrap().unwrap();
    assert_eq!(done.json::<serde_json::Value>().unwrap()["tail"], "first");
}

#[tokio::test]
async fn an_agent_whose_disk_was_cloned_notices_that_its_copy_took_over() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut first = Edge::new(dir.path(), "e1", &server.url(), "true").started();
    first.says("at work").await;
    let clone = Edge::new(&dir.path().join("clone"), "e1", &server.url(), "true");
    for file in ["ledger", "ledger-wal"] {
        std::fs::copy(first.path(file), clone.path(file)).unwrap();
    }
    let clone = clone.started();
    clone.says("at work").await;
    assert_eq!(first.ended().await.code(), Some(4));
    first.says("the id e1 is in use by another agent").await;
}

#[tokio::test]
async fn the_place_of_an_agent_that_is_gone_for_good_is_taken_when_its_session_has_lapsed() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut first = Edge::new(dir.path(), "e1", &server.url(), "true").started();
    first.says("at work").await;
    first.kill();
    let second = Edge::new(&dir.path().join("elsewhere"), "e1", &server.url(), "true").started();
    second.says("at work").await;
}

#[tokio::test]
async fn a_hub_that_is_away_is_waited_for() {
    let (port, dir) = (Port::claim().unwrap(), tempfile::tempdir().unwrap());
    let hub = format!("redis://127.0.0.1:{}", port.number());
    let mut edge = Edge::new(dir.path(), "e1", &hub, "true").started();
    edge.says("jobs and results are kept").await;
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.log());
    let (code, text) = romaine(&hub, &["fleet"]).await;
    assert_eq!(code, Some(3), "{text}");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_handler_end_the_agent_at_once() {
    let server = Server::builder().password("right").start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let hub = server.url().replace("right", "wrong-secret");
    let mut edge = Edge::new(dir.path(), "e1", &hub, "true").started();
    assert_eq!(edge.ended().await.code(), Some(4));
    let log = edge.log();
    assert!(log.contains("refuses the user or the password") && !log.contains("wrong-secret"), "{log}");
    let (code, text) = romaine(&server.url(), &["agent", "--id", "e1", "--exec", "/no/such/handler"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("/no/such/handler is not there or not executable"), "{text}");
    for arguments in [
        &["agent", "--id", "a b", "--exec", "true"][..],
        &["agent", "--id", "e1", "--exec", "true", "--labels", "x"],
        &["agent", "--id", "e1", "--exec", "true", "--health", "ftp://x"],
        &["agent", "--id", "e1", "--exec", "true", "--backoff", "soon"],
        &["rollout", "start", "--image", "app:latest", "--targets", "*"],
    ] {
        let (code, text) = romaine(&server.url(), arguments).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("expected") || text.contains("digest") || text.contains("letters"), "{text}");
    }
}

#[tokio::test]
async fn an_argument_that_is_not_expected_is_shown_without_its_password() {
    let url = "redis://ada:s3cret@hub:6379/0";
    let odd = "rediss://:s3cret o'f @ mine@hub";
    for arguments in [
        &["fleet", url][..],
        &["ping", "redis://hub", url],
        &["ping", "redis://hub", odd],
        &["rollout", "status", "one", odd],
        &["agent", "--id", "e1", "--exec", "true", "--hub", url, url],
        &["ping", "--count", url],
        &[url],
        &["fleet", "--no-such-option=redis://ada:s3cret@hub"],
    ] {
        let (code, text) = romaine("", arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(!text.contains("s3cret"), "{arguments:?}: {text}");
        assert!(text.contains("***@") || !text.contains("://"), "it says which argument: {text}");
    }
    let (code, text) = romaine("", &["fleet", "--help"]).await;
    assert!(code == Some(0) && text.contains("Usage"), "{text}");
}

#[tokio::test]
async fn a_job_whose_handler_is_missing_is_kept_and_a_bad_one_is_a_dead_letter() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let edge =
        Edge::new(dir.path(), "e1", &server.url(), "").options(&["--exec", "no-such-program-anywhere"]).started();
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    let kept = eventually(PATIENCE, "the job to be kept", async || {
        queue.job("j1").await.unwrap().filter(|job| job.place == Place::Delayed)
    });
    let kept = kept.await.unwrap_or_else(|error| panic!("{error:#}: {}", edge.log()));
    let why = kept.error.unwrap_or_default();
    assert!(why.contains("the handler is not found (exit code 127)"), "{why}");
    // However few attempts it has, and however often it is tried: none of them counts.
    queue.producer().enqueue(NewJob::new("k", "{}").id("j0").attempts(1)).await.unwrap();
    let again = eventually(PATIENCE, "attempts to be given back", async || {
        queue.status().await.unwrap().totals.given_back >= 4
    });
    again.await.unwrap_or_else(|error| panic!("{error:#}: {}", edge.log()));
    let status = queue.status().await.unwrap();
    assert_eq!((status.dead, status.totals.retried), (0, 0));
    for id in ["j0", "j1"] {
        let job = queue.job(id).await.unwrap().unwrap();
        // One may be on its way at this moment.
        assert!(job.attempts <= 1 && job.error.is_some_and(|why| why.contains("exit code 127")), "{id}");
    }
    queue.producer().enqueue(NewJob::new(DEPLOY, r#"{"image":"secret"}"#).id("j2")).await.unwrap();
    let result = queue.wait_for_result("j2", PATIENCE).await.unwrap().unwrap();
    let JobResult::Dead(why) = result else { panic!("it is dead") };
    assert!(why.contains("has another form") && !why.contains("secret"), "{why}");
}

#[tokio::test]
async fn an_edge_does_all_its_work_with_the_printed_rule_and_can_do_nothing_else() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (code, rule) = romaine("", &["agent", "--print-acl", "--id", "e1"]).await;
    assert_eq!(code, Some(0), "{rule}");
    let words: Vec<&str> = rule.split_whitespace().collect();
    assert_eq!(words[..2], ["user", "e1"]);
    let foreign = words.iter().filter(|word| word.contains('~') && !word.contains("{edge:e1}"));
    assert_eq!(foreign.count(), 0, "{rule}");
    let set: Vec<&str> = ["ACL", "SETUSER"].iter().chain(&words[1..]).copied().chain([">pw"]).collect();
    server.command(&set).await.unwrap();
    let hub = format!("redis://e1:pw@{}", server.address());
    let mut edge = Edge::new(dir.path(), "e1", &hub, "echo x >> runs").started();
    online(&server.url(), 1).await;
    let queue = queue(&server, "e1").await;
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    assert!(matches!(queue.wait_for_result("j1", PATIENCE).await.unwrap(), Some(JobResult::Done(_))), "{}", edge.log());
    let image = crate::support::image('1');
    let (code, text) = romaine(&server.url(), &["rollout", "start", "--image", &image, "--targets", "*"]).await;
    assert_eq!(code, Some(0), "{text}\n{}", edge.log());
    eventually(PATIENCE, "all phases", async || phases(&server, "e1").await.len() == 6).await.unwrap();
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.log());
    let denied = server.command(&["ACL", "LOG"]).await.unwrap().text();
    assert!(denied.is_empty(), "{denied}");

    let address = server.address();
    let own = Config::new(address.ip().to_string(), address.port()).user("e1", "pw");
    let own = Client::connect(own).await.unwrap();
    let refused = |error: romaine::Error| error.server().is_some_and(|error| error.code() == "NOPERM");
    assert!(refused(own.hset("edge:{edge:e1}:desired", [("generation", "9")]).await.unwrap_err()));
    assert!(refused(own.hgetall::<Vec<(String, String)>>("edge:{edge:e2}:state").await.unwrap_err()));
    assert!(refused(own.lpush("rq:{edge:e2}:w1", ["x"]).await.unwrap_err()));
    assert!(refused(own.keys::<String>("*").await.unwrap_err()));
    // These are everybody's affair.
    for command in
        ["CLIENT PAUSE 100", "CLIENT UNPAUSE", "CLIENT NO-EVICT on", "CLIENT LIST", "CLIENT KILL TYPE normal"]
    {
        let words: Vec<&str> = ["ACL", "DRYRUN", "e1"].into_iter().chain(command.split(' ')).collect();
        let answer = server.command(&words).await.unwrap().text();
        assert!(answer.contains("no permissions"), "{command}: {answer}");
    }
    let pause = own.issue(romaine::cmd::<romaine::Value>("CLIENT").arg("PAUSE").arg("100")).await;
    assert!(refused(pause.unwrap_err()));
    // Without a rule that fits, it says which one does.
    server.command(&["ACL", "SETUSER", "e1", "resetkeys"]).await.unwrap();
    edge.start();
    assert_eq!(edge.ended().await.code(), Some(4));
    edge.says("romaine agent --print-acl").await;
    drop(client(&server).await);
}

#[tokio::test]
async fn the_printed_unit_leaves_the_agent_time_to_end_and_does_not_show_the_hub() {
    let hub = "redis://e1:s3cret@hub";
    let arguments = ["agent", "--id", "e1", "--exec", "true it", "--grace", "10s", "--print-systemd", "--hub", hub];
    let (code, unit) = romaine(hub, &arguments).await;
    assert_eq!(code, Some(0), "{unit}");
    // The grace; what handlers that are stopped, the last words and the connections may take.
    assert!(unit.contains("\nTimeoutStopSec=35\n"), "{unit}");
    assert!(
        unit.contains("--exec \"true it\"") && !unit.contains("s3cret") && !unit.contains("print-systemd"),
        "{unit}"
    );
}
