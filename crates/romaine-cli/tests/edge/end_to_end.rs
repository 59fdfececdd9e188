//! A hub, and twenty edges in networks of their own that can only dial out:
//!
//!     cargo test -p romaine-cli --test edge end_to_end -- --nocapture
//!
//! Two of them are cut off until they have noticed; with `ROMAINE_CUT_SECONDS=60` for at least a minute.

use std::time::Duration;

use romaine_faultlab::{DropDirection, Namespace, Server, eventually};

use crate::support::{Edge, PATIENCE, image, online, romaine, romaine_json, romaine_spawned};

const EDGES: usize = 20;

/// How long the cut lasts at least.
fn cut() -> Duration {
    let seconds = std::env::var("ROMAINE_CUT_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().expect("ROMAINE_CUT_SECONDS is a number")))
}

/// Takes its time, so that it can be interrupted.
const DEPLOY: &str = r#"echo "$ROMAINE_IMAGE begun" >> images; sleep 1; [ -e slow ] && sleep 5
echo "$ROMAINE_IMAGE" > current"#;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_edges_reach_the_new_image_although_two_are_cut_off_and_one_is_killed() {
    if let Err(reason) = Namespace::available().await {
        eprintln!("skipped: needs a network namespace: {reason}");
        return;
    }
    let server = Server::builder().config_line("bind 0.0.0.0").start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let hub = server.url();
    let (mut namespaces, mut edges) = (Vec::new(), Vec::new());
    for n in 1..=EDGES {
        let namespace = Namespace::create().await.unwrap();
        let from_inside = format!("redis://{}:{}", namespace.client_ip(), server.port());
        let options =
            ["--labels", "region=kr", "--heartbeat", "1s", "--backoff", "constant:500ms", "--liveness", "normal"];
        let edge = Edge::new(dir.path(), &format!("edge-{n:03}"), &from_inside, DEPLOY).options(&options);
        edges.push(edge.inside(&namespace).started());
        namespaces.push(namespace);
    }
    online(&hub, EDGES).await;
    println!("{}", romaine(&hub, &["fleet"]).await.1);

    println!("edge-019 and edge-020 are cut off: their packets are lost, nobody is told");
    for namespace in &namespaces[18..] {
        namespace.drop_packets(DropDirection::Both).await.unwrap();
    }
    let cut = tokio::time::sleep(cut());
    online(&hub, EDGES - 2).await;
    edges[4].touch("slow");
    let image = image('7');
    let start =
        ["rollout", "start", "--name", "seven", "--image", &image, "--targets", "region=kr", "--waves", "1,10%,100%"];
    let mut driver = romaine_spawned(&hub, &start);
    edges[4].wait_for_lines("images", 1).await;
    println!("edge-005 is killed in the middle of its deployment, and started again");
    edges[4].kill();
    std::fs::remove_file(edges[4].path("slow")).unwrap();
    edges[4].start();
    let others = eventually(PATIENCE, "all who are there", async || {
        let status = romaine_json(&hub, &["rollout", "status", "seven", "--json"]).await;
        let phases: Vec<&str> =
            status["targets"].as_object().unwrap().values().filter_map(|t| t["phase"].as_str()).collect();
        let count = |wanted: &str| phases.iter().filter(|phase| **phase == wanted).count();
        count("done") == EDGES - 2 && count("away") == 2
    });
    let others = others.await;
    println!("{}", romaine(&hub, &["rollout", "status", "seven"]).await.1);
    others.unwrap();
    for edge in &edges[18..] {
        edge.says("the connection was lost").await;
    }
    // How long an outage lasts is not ours to shorten.
    cut.await;
    println!("the two noticed that they are cut off, and are now reachable again");
    for namespace in &namespaces[18..] {
        namespace.heal().await.unwrap();
    }
    let ended = tokio::time::timeout(PATIENCE, driver.wait()).await;
    println!("{}", romaine(&hub, &["rollout", "status", "seven"]).await.1);
    println!("{}", romaine(&hub, &["fleet"]).await.1);
    assert_eq!(ended.expect("the rollout ends").unwrap().code(), Some(0), "{}", edges[19].log());
    let story = romaine(&hub, &["rollout", "status", "seven"]).await.1;
    for part in ["edge-019: away", "edge-020: away", "in attempt 2", "done: 20 of 20 edges run it, 0 failed"] {
        assert!(story.contains(part), "{part} is missing in\n{story}");
    }
    for edge in &edges {
        let current = std::fs::read_to_string(edge.path("current")).unwrap_or_default();
        assert_eq!(current.trim(), image, "{}: {}", edge.id, edge.log());
        let runs = if edge.id == "edge-005" { 2 } else { 1 };
        assert_eq!(edge.lines("images"), runs, "{}", edge.id);
    }
    let fleet = romaine_json(&hub, &["fleet", "--json"]).await;
    let on_it = fleet.as_array().unwrap().iter().filter(|edge| edge["reported"]["image"] == image.as_str()).count();
    assert_eq!(on_it, EDGES);
}
