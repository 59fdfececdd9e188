//! Rollouts to a few edges: failures, absences, drivers that die.

use std::path::Path;

use romaine_faultlab::{Server, eventually};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Edge, PATIENCE, image, online, phases, romaine, romaine_json, romaine_piped, romaine_spawned};

/// Deploys by writing down what it was given; fails where a file says so.
const DEPLOY: &str = r#"echo "$ROMAINE_IMAGE" >> images; [ -e hold ] && while [ ! -e go ]; do sleep 0.05; done
case "$ROMAINE_IMAGE" in *222) [ -e fail ] && { echo no room; exit 1; };; esac; exit 0"#;

fn edges(dir: &Path, hub: &str, count: usize) -> Vec<Edge> {
    (1..=count)
        .map(|n| {
            let region = if n % 2 == 0 { "region=jp" } else { "region=kr" };
            Edge::new(dir, &format!("e{n}"), hub, DEPLOY).options(&["--labels", region]).started()
        })
        .collect()
}

async fn status(hub: &str, id: &str) -> Value {
    romaine_json(hub, &["rollout", "status", id, "--json"]).await
}

async fn wait_for(hub: &str, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let waited = eventually(PATIENCE, what, async || {
        // It may not have been written down yet.
        let (code, text) = romaine(hub, &["rollout", "status", id, "--json"]).await;
        let status: Value = (code == Some(0)).then(|| serde_json::from_str(&text).unwrap())?;
        fits(&status).then_some(status)
    });
    match waited.await {
        Ok(status) => status,
        Err(error) => panic!("{error:#}: {}", romaine(hub, &["rollout", "status", id]).await.1),
    }
}

fn phase<'a>(status: &'a Value, edge: &str) -> &'a str {
    status["targets"][edge]["phase"].as_str().unwrap_or_default()
}

async fn everything_runs(hub: &str, image: &str) -> bool {
    let fleet = romaine_json(hub, &["fleet", "--json"]).await;
    fleet.as_array().unwrap().iter().all(|edge| edge["reported"]["image"] == image)
}

#[tokio::test]
async fn of_five_edges_one_fails_and_one_is_away_and_gets_it_when_it_is_back() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let mut edges = edges(dir.path(), &hub, 5);
    online(&hub, 5).await;
    edges[3].touch("fail");
    edges[4].kill();
    online(&hub, 4).await;
    let image = image('2');
    let start = [
        "rollout",
        "start",
        "--name",
        "two",
        "--image",
        &image,
        "--targets",
        "*",
        "--waves",
        "1,100%",
        "--abort-over",
        "none",
    ];
    let mut driver = romaine_spawned(&hub, &start);
    let seen = wait_for(&hub, "two", "four to settle", |status| {
        ["e1", "e2", "e3"].iter().all(|edge| phase(status, edge) == "done") && phase(status, "e4") == "failed"
    })
    .await;
    assert_eq!((phase(&seen, "e5"), seen["progress"]["stage"].as_str()), ("away", Some("running")));
    assert!(seen["targets"]["e4"]["note"].as_str().unwrap().contains("no room"));
    edges[4].start();
    // One failed: the answer is no.
    assert_eq!(driver.wait().await.unwrap().code(), Some(1));
    let (code, text) = romaine(&hub, &["rollout", "status", "two"]).await;
    assert_eq!(code, Some(0));
    for part in
        ["done: 4 of 5 edges run it, 1 failed", "wave 2 of 2: 4 edges", "e5: away: away when its wave came", "no room"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (_, fleet) = romaine(&hub, &["fleet", "--troubled"]).await;
    assert!(fleet.contains("e4") && !fleet.contains("e5") && fleet.contains("1 not on what is desired"), "{fleet}");
    let (_, kr) = romaine(&hub, &["fleet", "--targets", "region=kr"]).await;
    assert!(kr.contains("e1") && !kr.contains("e2") && kr.contains("3 edges"), "{kr}");
}

#[tokio::test]
async fn over_the_budget_everybody_goes_back_to_what_they_ran() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let edges = edges(dir.path(), &hub, 4);
    online(&hub, 4).await;
    let (one, two) = (image('1'), image('2'));
    let start = ["rollout", "start", "--targets", "*", "--waves", "100%", "--image"];
    let (code, text) = romaine(&hub, &[&start[..], &[&one]].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(everything_runs(&hub, &one).await);
    edges[1].touch("fail");
    let (code, text) = romaine(&hub, &[&start[..], &[&two, "--abort-over", "5%", "--name", "two"]].concat()).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("aborted: 1 of 4 reached edges failed"), "{text}");
    assert!(everything_runs(&hub, &one).await);
    let status = status(&hub, "two").await;
    assert_eq!(status["progress"]["stage"], "aborted");
    assert!(["e1", "e2", "e3", "e4"].iter().all(|edge| phase(&status, edge) == "reverted"), "{text}");
}

#[tokio::test]
async fn whoever_comes_goes_on_with_a_rollout_whose_driver_died() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let edges = edges(dir.path(), &hub, 2);
    online(&hub, 2).await;
    for edge in &edges {
        edge.touch("hold");
    }
    let image = image('3');
    let start = ["rollout", "start", "--name", "three", "--image", &image, "--targets", "*", "--waves", "1,2"];
    let mut driver = romaine_spawned(&hub, &start);
    wait_for(&hub, "three", "the first edge to work", |status| {
        ["e1", "e2"].iter().any(|edge| phase(status, edge) == "running")
    })
    .await;
    driver.kill().await.unwrap();
    for edge in &edges {
        edge.touch("go");
    }
    // Nobody drives it: it stands still, and says what goes on with it, once the lead has lapsed.
    wait_for(&hub, "three", "the lead to lapse", |status| status["driver"].is_null()).await;
    let (_, text) = romaine(&hub, &["rollout", "status", "three"]).await;
    assert!(text.contains("`romaine rollout run three` goes on with it"), "{text}");
    let (code, text) = romaine(&hub, &["rollout", "run", "three"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(everything_runs(&hub, &image).await);
    assert!(edges.iter().all(|edge| edge.lines("images") == 1), "nobody deployed twice");
}

#[tokio::test]
async fn a_driver_whose_reader_has_gone_drives_on() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let edges = edges(dir.path(), &hub, 2);
    online(&hub, 2).await;
    for edge in &edges {
        edge.touch("hold");
    }
    let image = image('7');
    let start = ["rollout", "start", "--name", "seven", "--image", &image, "--targets", "*", "--waves", "1,2"];
    let mut driver = romaine_piped(&hub, &start);
    let mut reader = BufReader::new(driver.stdout.take().unwrap()).lines();
    assert_eq!(reader.next_line().await.unwrap().unwrap(), "rollout seven");
    drop(reader);
    wait_for(&hub, "seven", "the first edge to work", |status| {
        ["e1", "e2"].iter().any(|edge| phase(status, edge) == "running")
    })
    .await;
    for edge in &edges {
        edge.touch("go");
    }
    let ended = driver.wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(everything_runs(&hub, &image).await);

    // Who only asked for something to read has nothing to go on with.
    for arguments in [&["rollout", "status", "seven"][..], &["rollout", "status"], &["fleet"], &["fleet", "--json"]] {
        let mut asked = romaine_piped(&hub, arguments);
        drop(asked.stdout.take());
        let ended = asked.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_and_aborted_by_hand() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let edges = edges(dir.path(), &hub, 2);
    online(&hub, 2).await;
    for edge in &edges {
        edge.touch("hold");
    }
    let image = image('4');
    let start = ["rollout", "start", "--name", "four", "--image", &image, "--targets", "*", "--waves", "1,2"];
    let mut driver = romaine_spawned(&hub, &start);
    wait_for(&hub, "four", "the first edge to work", |status| {
        ["e1", "e2"].iter().any(|edge| phase(status, edge) == "running")
    })
    .await;
    let (code, text) = romaine(&hub, &["rollout", "pause", "four"]).await;
    assert_eq!(code, Some(0), "{text}");
    // Its driver leaves; nothing new is sent.
    assert_eq!(driver.wait().await.unwrap().code(), Some(1));
    for edge in &edges {
        edge.touch("go");
    }
    let (code, text) = romaine(&hub, &["rollout", "resume", "four", "--detach"]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = romaine(&hub, &["rollout", "run", "four"]).await;
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = romaine(&hub, &["rollout", "abort", "four"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("rollout four is done: it cannot abort now"), "{text}");
    let (code, text) = romaine(&hub, &["rollout", "status", "five"]).await;
    assert_eq!(code, Some(2), "{text}");
    let nobody = ["rollout", "start", "--image", &image, "--targets", "region=nowhere"];
    assert_eq!(romaine(&hub, &nobody).await.0, Some(2));
}

#[tokio::test]
async fn what_is_not_healthy_after_it_was_deployed_goes_back() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let handler = r#"case "$ROMAINE_IMAGE" in *222) touch sick;; *) rm -f sick;; esac"#;
    let edge = Edge::new(dir.path(), "e1", &hub, handler);
    let check = format!("command:test ! -e {}", edge.path("sick").display());
    let options = ["--health", &check, "--health-every", "200ms", "--settle", "1s"];
    let edge = edge.options(&options).started();
    online(&hub, 1).await;
    let (one, two) = (image('1'), image('2'));
    let start = ["rollout", "start", "--targets", "id=e1", "--image"];
    let (code, text) = romaine(&hub, &[&start[..], &[&one]].concat()).await;
    assert_eq!(code, Some(0), "{text}\n{}", edge.log());
    let (code, text) = romaine(&hub, &[&start[..], &[&two]].concat()).await;
    assert_eq!(code, Some(1), "{text}\n{}", edge.log());
    assert!(text.contains("not healthy within 1s (--settle)") && text.contains("e1: reverted"), "{text}");
    assert!(everything_runs(&hub, &one).await);
    let healthy = eventually(PATIENCE, "health", async || {
        romaine_json(&hub, &["fleet", "--json"]).await[0]["reported"]["health"] == "ok"
    });
    healthy.await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_ended_while_health_is_awaited_has_not_failed() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let edge = Edge::new(dir.path(), "e1", &hub, r#"echo "$ROMAINE_IMAGE" >> images"#);
    let check = format!("command:test -e {}", edge.path("well").display());
    let mut edge = edge.options(&["--health", &check, "--health-every", "200ms", "--settle", "10m"]).started();
    online(&hub, 1).await;
    let image = image('6');
    let start = ["rollout", "start", "--name", "six", "--image", &image, "--targets", "*"];
    let mut driver = romaine_spawned(&hub, &start);
    let verifying = eventually(PATIENCE, "health to be awaited", async || {
        romaine_json(&hub, &["fleet", "--json"]).await[0]["reported"]["tried"]["progress"] == "verifying"
    });
    verifying.await.unwrap_or_else(|error| panic!("{error:#}: {}", edge.log()));
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.log());
    edge.touch("well");
    edge.start();
    let code = driver.wait().await.unwrap().code();
    assert_eq!(code, Some(0), "{}\n{}", romaine(&hub, &["rollout", "status", "six"]).await.1, edge.log());
    assert!(everything_runs(&hub, &image).await);
    assert_eq!(edge.lines("images"), 2, "it was begun, and its end was not known: it ran again");
    // A failure in between would abort the rollout if its driver looked just then.
    let expected = ["received", "running", "received", "running", "done"];
    let told = eventually(PATIENCE, "all phases", async || phases(&server, "e1").await.len() >= expected.len());
    told.await.unwrap();
    assert_eq!(phases(&server, "e1").await, expected);
}

#[tokio::test]
async fn a_handler_that_asks_to_be_run_later_has_its_retries_left() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    // It asks for later, then fails, then works.
    let handler = "echo x >> runs; case $(wc -l < runs) in 1) exit 75;; 2) exit 1;; esac";
    let edge = Edge::new(dir.path(), "e1", &hub, handler).started();
    online(&hub, 1).await;
    let image = image('8');
    let start = ["rollout", "start", "--image", &image, "--targets", "*", "--retries", "1"];
    let (code, text) = romaine(&hub, &start).await;
    assert_eq!(code, Some(0), "{text}\n{}", edge.log());
    assert_eq!(edge.lines("runs"), 3);
}

#[tokio::test]
async fn an_agent_that_dies_in_the_middle_of_a_run_has_not_forgotten_the_failures_before() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    // It fails, is interrupted, fails: with one retry that is the end.
    let handler = "echo x >> runs; [ $(wc -l < runs) = 2 ] && sleep 1000; exit 1";
    let mut edge = Edge::new(dir.path(), "e1", &hub, handler).started();
    online(&hub, 1).await;
    let image = image('8');
    let start = ["rollout", "start", "--image", &image, "--targets", "*", "--retries", "1", "--no-rollback"];
    let mut driver = romaine_spawned(&hub, &start);
    edge.wait_for_lines("runs", 2).await;
    edge.kill();
    edge.start();
    assert_ne!(driver.wait().await.unwrap().code(), Some(0));
    assert_eq!(edge.lines("runs"), 3, "{}", edge.log());
}

#[tokio::test]
async fn a_wish_whose_job_the_hub_lost_is_fulfilled_all_the_same() {
    let (server, dir) = (Server::start().await.unwrap(), tempfile::tempdir().unwrap());
    let hub = server.url();
    let mut edges = edges(dir.path(), &hub, 1);
    online(&hub, 1).await;
    edges[0].kill();
    online(&hub, 0).await;
    let image = image('5');
    let start = ["rollout", "start", "--name", "five", "--image", &image, "--targets", "*"];
    let mut driver = romaine_spawned(&hub, &start);
    wait_for(&hub, "five", "the wish to be delivered", |status| status["targets"]["e1"]["delivered"] == true).await;
    for end in ["j", "s", "w0", "w1", "w2", "m", "g", "f0", "f1"] {
        server.command(&["DEL", &format!("rq:{{edge:e1}}:{end}")]).await.unwrap();
    }
    edges[0].start();
    edges[0].says("no job brought it: enqueued").await;
    assert_eq!(driver.wait().await.unwrap().code(), Some(0));
    assert!(everything_runs(&hub, &image).await);
}

#[tokio::test]
async fn a_rollout_whose_records_are_gone_is_marked_in_the_list_and_can_be_forgotten() {
    let server = Server::start().await.unwrap();
    let hub = server.url();
    server.command(&["HSET", "edge:{edge:e1}:state", "seen", "1"]).await.unwrap();
    for name in ["gone", "there"] {
        let image = image('1');
        let start = ["rollout", "start", "--image", &image, "--targets", "*", "--name", name, "--detach"];
        assert_eq!(romaine(&hub, &start).await.0, Some(0));
    }
    server.command(&["DEL", "rollout:{gone}:plan"]).await.unwrap();
    let (code, text) = romaine(&hub, &["rollout", "status"]).await;
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(code == Some(0) && line("gone").contains("UNREADABLE") && line("there").contains("running"), "{text}");
    let list = romaine_json(&hub, &["rollout", "status", "--json"]).await;
    let gone = list.as_array().unwrap().iter().find(|rollout| rollout["id"] == "gone").unwrap();
    assert_eq!(gone["unreadable"], "its records are gone");
    let (code, text) = romaine(&hub, &["rollout", "forget", "there"]).await;
    assert!(code == Some(2) && text.contains("romaine rollout abort there"), "{text}");
    assert_eq!(romaine(&hub, &["rollout", "forget", "gone"]).await.0, Some(0));
    assert_eq!(romaine(&hub, &["rollout", "forget", "gone"]).await.0, Some(1));
}
