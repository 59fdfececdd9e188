//! An agent against a real hub.

use std::path::Path;
use std::time::Duration;

use romaine::{Client, Config, Offline};
use romaine_faultlab::{Accept, FaultProxy, Server, eventually};
use romaine_queue::{Failure, JobResult, NewJob, Place, Queue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::*;
use crate::agent::ledger::{Entry, Outcome, Past, Phase, Verdict, tests::an_old_run};
use crate::agent::process::tests::{is_gone, number_in};
use crate::hub::{self, Answer};
use crate::record::{DEPLOY, Deploy, Reason};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

async fn client(server: &Server) -> Client {
    let address = server.address();
    Client::connect(Config::new(address.ip().to_string(), address.port())).await.unwrap()
}

/// The edge `e1`. Its handler is a script that begins in `dir`.
pub(crate) fn settings(dir: &Path, handler: &str) -> Settings {
    Settings {
        id: "e1".parse().unwrap(),
        labels: Labels::default(),
        command: format!("cd {}; {handler}", dir.display()),
        ledger: dir.join("ledger"),
        timeout: PATIENCE,
        concurrency: 1,
        heartbeat: Duration::from_secs(1),
        lease: Duration::from_secs(2),
        grace: Duration::from_secs(2),
        repeat: Repeat::Never,
        probes: Vec::new(),
        health_every: PATIENCE,
        health_limit: PATIENCE,
        settle: PATIENCE,
        version: "1".into(),
        host: "h".into(),
    }
}

/// An agent that is told to end when this has happened.
async fn until(client: &Client, settings: Settings, happened: impl Future<Output = ()>) {
    let (tell, told) = oneshot::channel();
    let stop = async { told.await.unwrap() };
    let happens = async {
        happened.await;
        tell.send(()).unwrap();
    };
    let (ended, ()) = tokio::join!(run(client, settings, stop), happens);
    ended.unwrap();
}

fn lines(dir: &Path) -> usize {
    std::fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
}

pub(crate) async fn runs(dir: &Path, count: usize) {
    eventually(PATIENCE, "the handler to run", async || lines(dir) >= count).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_takes_nothing_in_when_the_agent_comes_is_asked_until_it_does() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (client, settings) = (client(&server).await, settings(dir.path(), "true"));
    let queue = Queue::new(&client, &settings.id.queue()).unwrap();
    queue.producer().enqueue(NewJob::new("k", "{}").id("j")).await.unwrap();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await.unwrap();
    let is_done = async {
        eventually(PATIENCE, "the hub's refusal", async || {
            server.command(&["INFO", "errorstats"]).await.unwrap().text().contains("errorstat_NOREPLICAS")
        })
        .await
        .unwrap();
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await.unwrap();
        assert!(matches!(queue.wait_for_result("j", PATIENCE).await.unwrap(), Some(JobResult::Done(_))));
    };
    until(&client, settings, is_done).await;
}

/// Or the whole fleet looked dead when one queue was full.
#[tokio::test]
async fn an_edge_is_heard_of_by_a_hub_that_is_full_and_says_goodbye_to_it() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (client, settings) = (client(&server).await, settings(dir.path(), "true"));
    let id = settings.id.clone();
    let field = async |name: &str| server.command(&["HGET", &id.state_key(), name]).await.unwrap().text();
    let seen = async || field("seen").await.parse::<i64>().unwrap_or(0);
    let is_heard = async {
        eventually(PATIENCE, "the first sign of life", async || seen().await > 0).await.unwrap();
        server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
        let full = seen().await;
        // Not one that was on its way.
        eventually(PATIENCE, "signs of life", async || seen().await > full + 1_500).await.unwrap();
    };
    until(&client, settings, is_heard).await;
    assert_eq!(field("left").await, "1");
    assert_eq!(server.command(&["EXISTS", &id.session_key()]).await.unwrap().as_int(), Some(0));
}

#[tokio::test]
async fn what_an_agent_runs_ends_with_it_even_when_it_is_dropped() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (client, settings) = (client(&server).await, settings(dir.path(), "sleep 1000 & echo $! > pid; wait"));
    let queue = Queue::new(&client, &settings.id.queue()).unwrap();
    queue.producer().enqueue(NewJob::new("k", "{}").id("j")).await.unwrap();
    let path = dir.path().join("pid");
    let pid = tokio::select! {
        ended = run(&client, settings, std::future::pending()) => panic!("{ended:?}"),
        pid = number_in(&path) => pid,
    };
    is_gone(pid).await;
}

/// Of an agent that has got so far, and not begun to work: its ledger says that a job has ended, and its hub does not know.
#[tokio::test]
async fn a_hub_that_is_away_when_the_agent_comes_is_waited_for_and_asked_again_what_it_was_not_told() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let settings = Settings { lease: PATIENCE * 10, ..settings(dir.path(), "true") };
    let beside = Queue::new(&client(&server).await, &settings.id.queue()).unwrap();
    beside.producer().enqueue(NewJob::new("k", "{}").id("j")).await.unwrap();
    let dead = beside.worker(|_: Job| std::future::pending::<std::result::Result<(), Failure>>());
    let dead = dead.name("e1").lease(PATIENCE * 10).start().unwrap();
    eventually(PATIENCE, "the claim", async || beside.status().await.unwrap().leased == 1).await.unwrap();
    drop(dead);
    let ledger = Ledger::open(&settings.ledger).unwrap();
    let job = beside.job("j").await.unwrap().unwrap();
    let token = i64::try_from(job.token.unwrap()).unwrap();
    let entry = Entry { job: format!("j@{}", job.enqueued_ms), kind: "k".into(), token, attempt: 1 };
    let (verdict, exit, error, tail) = (Verdict::Done, Some(0), None, String::new());
    let outcome = Outcome { verdict, exit, error, tail, begun_ms: 1, ended_ms: 2, attempt: 1, token };
    ledger.step(&entry, Phase::Ended(outcome), Vec::new()).await.unwrap();

    let proxy = FaultProxy::start(server.address()).await.unwrap();
    proxy.accept(Accept::Refuse).await.unwrap();
    // A call that finds nobody fails at once, and not at its deadline.
    let config = Config::new("127.0.0.1", proxy.port()).offline(Offline::Fail).lazy();
    let client = Client::connect(config).await.unwrap();
    let failed = async |client: &Client| {
        let mut health = client.health();
        let failed = health.wait_for(|health| !health.is_connected() && health.last_error.is_some());
        tokio::time::timeout(PATIENCE, failed).await.unwrap().unwrap();
    };
    failed(&client).await;
    let queue = Queue::new(&client, &settings.id.queue()).unwrap();
    let speaker = Speaker { nonce: "n".into(), before: String::new(), host: "h".into(), lease: PATIENCE };
    let shared = Shared::new(settings, ledger, Remembered::default());
    let mut presence = Presence { client: client.clone(), queue: queue.clone(), speaker };
    {
        let mut arriving = std::pin::pin!(presence.arrive(&shared));
        assert!(futures_util::poll!(&mut arriving).is_pending(), "it waits");
        proxy.accept(Accept::Pass).await.unwrap();
        tokio::time::timeout(PATIENCE, arriving).await.unwrap().unwrap();
    }

    proxy.accept(Accept::Refuse).await.unwrap();
    proxy.reset_all().await.unwrap();
    failed(&client).await;
    let mut asking = std::pin::pin!(shared.untold(&queue));
    assert!(futures_util::poll!(&mut asking).is_pending(), "it asks again");
    proxy.accept(Accept::Pass).await.unwrap();
    let untold = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert!(matches!(&untold[..], [(job, Ok(_))] if job.id == "j"), "{untold:?}");
}

#[tokio::test]
async fn an_agent_at_work_tidies_its_ledger() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let settings = settings(dir.path(), "true");
    let path = settings.ledger.clone();
    let ledger = Ledger::open(&path).unwrap();
    an_old_run(&ledger, "old").await;
    drop(ledger);
    let client = client(&server).await;
    let queue = Queue::new(&client, &settings.id.queue()).unwrap();
    queue.producer().enqueue(NewJob::new("k", "{}").id("j1")).await.unwrap();
    let a_job_is_done = async {
        assert!(matches!(queue.wait_for_result("j1", PATIENCE).await.unwrap(), Some(JobResult::Done(_))));
    };
    run(&client, settings, a_job_is_done).await.unwrap();
    let ledger = eventually(PATIENCE, "the ledger to be closed", async || Ledger::open(&path).ok()).await.unwrap();
    assert_eq!(ledger.past("old").await.unwrap(), Past::Unknown);
}

/// What waits is the other's, who must neither miss an attempt of it nor run again what was ended in the middle.
#[tokio::test]
async fn an_agent_that_another_takes_over_from_claims_nothing_more_and_ends_what_it_runs() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let (settings, other) = (settings(dir.path(), "echo x >> runs; exec sleep 1000"), settings(dir.path(), ""));
    let client = client(&server).await;
    let (id, queue) = (settings.id.clone(), Queue::new(&client, &settings.id.queue()).unwrap());
    for n in 0..20 {
        queue.producer().enqueue(NewJob::new("k", "{}").id(format!("j{n}")).attempts(1)).await.unwrap();
    }
    let take_over = async {
        runs(dir.path(), 1).await;
        let before = server.command(&["HGET", &id.session_key(), "nonce"]).await.unwrap().text();
        let copy = Speaker { nonce: "copy".into(), before, host: "other".into(), lease: PATIENCE };
        let ledger = Ledger::open(&dir.path().join("copy")).unwrap();
        let shared = Shared::new(other, ledger, Remembered::default());
        let answer = hub::beat(&client, &id, &copy, &shared.reported(0).await.unwrap()).await.unwrap();
        assert!(matches!(answer, Answer::Ours));
    };
    let agent = tokio::time::timeout(PATIENCE, run(&client, settings, std::future::pending()));
    let (ended, ()) = tokio::join!(agent, take_over);
    let ended = ended.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Duplicate);
    assert_eq!(lines(dir.path()), 1);
    let dead = queue.peek(Place::Dead, 0, 100).await.unwrap();
    let [interrupted] = &dead[..] else { panic!("{dead:?}") };
    let why = interrupted.error.as_deref().unwrap_or_default();
    assert!(interrupted.id == "j0" && why.contains("the agent ended while attempt 1 ran"), "{why}");
    for n in 1..20 {
        let job = queue.job(&format!("j{n}")).await.unwrap().unwrap();
        assert!(job.place == Place::Waiting && job.attempts == 0, "{job:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_ended_with_its_agent_is_told_of_at_once_and_runs_again_only_when_it_is_put_back() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let client = client(&server).await;
    let handler = "echo x >> runs; [ -e go ] || exec sleep 1000";
    let again = || Settings { grace: Duration::ZERO, ..settings(dir.path(), handler) };
    let queue = Queue::new(&client, &again().id.queue()).unwrap();
    queue.producer().enqueue(NewJob::new("k", "{}").id("j")).await.unwrap();
    until(&client, again(), runs(dir.path(), 1)).await;

    let job = queue.job("j").await.unwrap().unwrap();
    let why = job.error.as_deref().unwrap_or_default();
    assert!(job.place == Place::Dead && why.contains("the agent ended while attempt 1 ran"), "{job:?}: {why}");
    std::fs::write(dir.path().join("go"), "").unwrap();
    assert_eq!(queue.revive(["j"]).await.unwrap().revived, 1);
    let is_done = async {
        let result = queue.wait_for_result("j", PATIENCE).await.unwrap();
        assert!(matches!(result, Some(JobResult::Done(_))), "{result:?}");
    };
    until(&client, again(), is_done).await;
    assert_eq!(lines(dir.path()), 2);
}

/// An agent died, and its ledger says what became of the jobs that are leased to it still.
#[tokio::test]
async fn what_the_agent_before_did_not_tell_is_told_of_every_job_whatever_is_wrong_with_some() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let client = client(&server).await;
    let settings = Settings { concurrency: 300, lease: PATIENCE, ..settings(dir.path(), "echo x >> runs") };
    let queue = Queue::new(&client, &settings.id.queue()).unwrap();
    // More than one look shows.
    let jobs = (0..250).map(|n| NewJob::new("k", "{}").id(format!("j{n}")).attempts(1));
    queue.producer().enqueue_all(jobs).await.unwrap();
    let dead = queue.worker(|_: Job| std::future::pending::<std::result::Result<(), Failure>>());
    let dead = dead.name("e1").concurrency(300).lease(PATIENCE * 10).start().unwrap();
    eventually(PATIENCE, "all to be claimed", async || queue.status().await.unwrap().leased == 250).await.unwrap();
    drop(dead);
    let mut leased = Vec::new();
    for from in [0, 100, 200] {
        leased.extend(queue.peek(Place::Leased, from, 100).await.unwrap());
    }
    let mut unbegun = 0;
    let ledger = Ledger::open(&settings.ledger).unwrap();
    for (n, job) in leased.iter().enumerate() {
        let token = i64::try_from(job.token.unwrap()).unwrap();
        let entry =
            |token| Entry { job: format!("{}@{}", job.id, job.enqueued_ms), kind: "k".into(), token, attempt: 1 };
        let ended = |token| {
            let (verdict, exit, error, tail) = (Verdict::Done, Some(0), None, String::new());
            Phase::Ended(Outcome { verdict, exit, error, tail, begun_ms: 1, ended_ms: 2, attempt: 1, token })
        };
        unbegun += u64::from(n % 5 == 0);
        match n % 5 {
            0 => ledger.step(&entry(token), Phase::Received, Vec::new()).await.unwrap(),
            // As the claim before this one was told, and that was lost.
            1 => ledger.step(&entry(-1), ended(-1), Vec::new()).await.unwrap(),
            _ => ledger.step(&entry(token), ended(token), Vec::new()).await.unwrap(),
        }
    }
    drop(ledger);
    // Of a version to come.
    let (bad, key) = (&leased[7], format!("rq:{{{}}}:j", queue.name()));
    server.command(&["HSET", &key, &bad.id, "\u{9}of a version to come"]).await.unwrap();
    let told = async {
        eventually(PATIENCE, "the others to be over", async || {
            let status = queue.status().await.unwrap();
            status.leased == 1 && status.waiting + status.delayed == 0
        })
        .await
        .unwrap();
    };
    until(&client, settings, told).await;
    let status = queue.status().await.unwrap();
    assert_eq!((status.totals.done, status.dead, status.totals.given_back), (249, 0, unbegun));
    assert_eq!(lines(dir.path()), 50, "those alone were run");
}

/// An engine that runs what was deployed when it is asked for the first time after that, and no more the next time.
async fn engine(socket: PathBuf, dir: &Path, image: &str) {
    let listener = UnixListener::bind(&socket).unwrap();
    let mut asked = 0;
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4_096];
        let count = stream.read(&mut buffer).await.unwrap();
        let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let app = |state: &str, status: &str| {
            format!(
                r#"[{{"Id":"a","Names":["/app"],"Image":"{image}","ImageID":"sha256:aa","State":"{state}","Status":"{status}"}}]"#
            )
        };
        let body = match request.split(' ').nth(1).unwrap() {
            "/containers/json?all=1" if lines(dir) == 0 => "[]".to_owned(),
            "/containers/json?all=1" => {
                asked += 1;
                if asked == 1 {
                    app("running", "Up Less than a second")
                } else {
                    app("exited", "Exited (1) 1 second ago")
                }
            }
            "/images/sha256:aa/json" => format!(r#"{{"RepoDigests":["{image}"]}}"#),
            _ => "[]".to_owned(),
        };
        stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_container_that_ends_soon_after_it_was_started_is_no_deployment_that_is_done() {
    // The second looks all the time besides, and must not hide what is wrong with what was deployed.
    for health_every in [PATIENCE, Duration::from_millis(20)] {
        let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
        let client = client(&server).await;
        let image = format!("registry/app@sha256:{}", "1".repeat(64));
        let socket = dir.path().join("engine.sock");
        let probes = vec![format!("podman:{}", socket.display()).parse().unwrap()];
        let settle = Duration::from_secs(5);
        let settings = Settings { probes, settle, health_every, ..settings(dir.path(), "echo x >> runs") };
        let queue = Queue::new(&client, &settings.id.queue()).unwrap();
        let (previous, rollout) = (None, "r".to_owned());
        let image_now = image.parse().unwrap();
        let deploy = Deploy { generation: 1, image: image_now, rollout, reason: Reason::Rollout, previous, retries: 0 };
        queue.producer().enqueue(NewJob::json(DEPLOY, &deploy).unwrap().id("d")).await.unwrap();
        let has_failed = async {
            let result = queue.wait_for_result("d", PATIENCE).await.unwrap();
            let Some(JobResult::Dead(why)) = result else { panic!("{result:?}") };
            assert!(why.contains("not healthy within 5s") && why.contains("app (Exited (1)"), "{why}");
        };
        tokio::select! {
            () = until(&client, settings, has_failed) => {}
            () = engine(socket, dir.path(), &image) => unreachable!(),
        }
    }
}
