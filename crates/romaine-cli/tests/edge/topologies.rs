//! The hub behind Sentinels and in a Cluster: edges with rights of their own, a rollout, failovers in the midst of it.

use romaine_faultlab::{Deployment, Server, eventually};

use crate::support::{Edge, PATIENCE, image, online, romaine, romaine_json, romaine_spawned};

const EDGES: usize = 4;

/// Waits where it is told to.
const DEPLOY: &str = r#"[ "$ROMAINE_KIND" = deploy ] || { echo done; exit 0; }
echo "$ROMAINE_IMAGE" >> images; while [ -e hold ]; do sleep 0.05; done; echo "$ROMAINE_IMAGE" > current"#;

#[tokio::test]
async fn behind_sentinels_a_rollout_ends_on_every_edge_although_the_hub_fails_over() {
    a_rollout_outlives_failovers(Deployment::sentinels(with_rights().await).await.unwrap()).await;
}

#[tokio::test]
async fn in_a_cluster_a_rollout_ends_on_every_edge_although_the_hub_fails_over() {
    a_rollout_outlives_failovers(Deployment::cluster(with_rights().await).await.unwrap()).await;
}

fn name(n: usize) -> String {
    format!("e{n}")
}

/// A server at which each edge may do what `--print-acl` says, and nothing else.
async fn with_rights() -> romaine_faultlab::ServerBuilder {
    let mut builder = Server::builder();
    for n in 1..=EDGES {
        let (code, rule) = romaine("", &["agent", "--print-acl", "--id", &name(n)]).await;
        assert_eq!(code, Some(0), "{rule}");
        let rule = rule.trim().strip_prefix("user ").unwrap().replacen(" on ", " on >pw ", 1);
        builder = builder.acl(rule);
    }
    builder
}

async fn a_rollout_outlives_failovers(lab: Deployment) {
    let dir = tempfile::tempdir().unwrap();
    let hub = lab.url();
    let options = ["--labels", "region=kr", "--heartbeat", "500ms", "--lease", "20s", "--liveness", "fast"];
    let edges: Vec<Edge> = (1..=EDGES)
        .map(|n| {
            let own = hub.replacen("://", &format!("://{}:pw@", name(n)), 1);
            Edge::new(dir.path(), &name(n), &own, DEPLOY).options(&options).started()
        })
        .collect();
    online(&hub, EDGES).await;

    // A job of one's own, as safe as a replica makes it.
    let queue = ["queue", "--url", &hub];
    let push = ["push", "edge:e1", "hello", "--id", "j1", "--durability", "replicated:1"];
    let (code, text) = romaine(&hub, &[&queue[..], &push].concat()).await;
    assert_eq!(code, Some(0), "{text}");
    let empty = eventually(PATIENCE, "the job to be done", async || {
        let status = romaine_json(&hub, &[&queue[..], &["status", "edge:e1", "--json"]].concat()).await;
        status["totals"]["done"] == 1 || status[0]["totals"]["done"] == 1
    });
    empty.await.unwrap_or_else(|error| panic!("{error:#}: {}", edges[0].log()));

    for edge in &edges {
        edge.touch("hold");
    }
    let image = image('7');
    let start =
        ["rollout", "start", "--name", "seven", "--image", &image, "--targets", "region=kr", "--waves", "1,100%"];
    let mut driver = romaine_spawned(&hub, &start);
    let first = eventually(PATIENCE, "the first edge", async || edges.iter().position(|edge| edge.lines("images") > 0));
    let first = first.await.unwrap();
    // Where the rollout stands, and where the edge has its job: in a Cluster these may be two nodes.
    for key in ["rollout:{seven}:plan".to_owned(), format!("rq:{{edge:{}}}:j", edges[first].id)] {
        lab.fail_over(&key).await.unwrap();
    }
    std::fs::remove_file(edges[first].path("hold")).unwrap();
    // The second wave, and one of the hub's machines is lost.
    for edge in &edges {
        edge.wait_for_lines("images", 1).await;
    }
    lab.lose_primary("rollout:{seven}:plan").await.unwrap();
    for edge in edges.iter().filter(|edge| edge.path("hold").exists()) {
        std::fs::remove_file(edge.path("hold")).unwrap();
    }
    let ended = tokio::time::timeout(PATIENCE, driver.wait()).await;
    let story = romaine(&hub, &["rollout", "status", "seven"]).await.1;
    let code = ended.unwrap_or_else(|_| panic!("the rollout does not end\n{story}")).unwrap().code();
    assert_eq!(code, Some(0), "{story}");
    assert!(story.contains("done: 4 of 4 edges run it, 0 failed"), "{story}");
    let same = eventually(PATIENCE, "the fleet to say so", async || {
        let fleet = romaine_json(&hub, &["fleet", "--json"]).await;
        let on_it = |edge: &&serde_json::Value| {
            edge["online"] == true
                && edge["reported"]["image"] == image.as_str()
                && edge["desired"]["image"] == image.as_str()
        };
        fleet.as_array().unwrap().iter().filter(on_it).count() == EDGES
    });
    if let Err(error) = same.await {
        panic!("{error:#}\n{}\n{story}", romaine(&hub, &["fleet"]).await.1);
    }
    for mut edge in edges {
        assert_eq!(std::fs::read_to_string(edge.path("current")).unwrap().trim(), image);
        assert_eq!(edge.lines("images"), 1, "{} deployed twice\n{}", edge.id, edge.log());
        assert_eq!(edge.end().await.code(), Some(0), "{}", edge.log());
    }
}
