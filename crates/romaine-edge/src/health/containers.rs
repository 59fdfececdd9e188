//! What Docker or Podman says of its containers, over its socket.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::health::http;
use crate::image::Image;
use crate::record::Container;

/// Containers that are reported.
const CONTAINERS_MAX: usize = 100;

const ALL: &str = "/containers/json?all=1";

/// `filters={"health":["unhealthy"]}`: Docker says it in the status too, Podman only here (seen in 4.3).
const UNHEALTHY: &str = "/containers/json?filters=%7B%22health%22%3A%5B%22unhealthy%22%5D%7D";

/// How a status tells that a container's own check fails.
const ILL: &str = "(unhealthy)";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    #[serde(default, rename = "ImageID")]
    image_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// All containers, with the digests of their images where the engine knows them. An image has several when it was pulled
/// by more than one name: then it is called by that of `image`, if that is among them.
pub(crate) async fn list(socket: &str, image: Option<&Image>) -> Result<Vec<Container>, String> {
    let listed = listed(socket, ALL).await?;
    let unhealthy = if listed.is_empty() { Vec::new() } else { listed_of(socket, UNHEALTHY).await };
    let mut digests = BTreeMap::new();
    let mut containers = Vec::new();
    for one in listed.into_iter().take(CONTAINERS_MAX) {
        if !digests.contains_key(&one.image_id) {
            digests.insert(one.image_id.clone(), digest(socket, &one.image_id, image).await);
        }
        let image = digests.get(&one.image_id).cloned().flatten().unwrap_or(one.image);
        let name = one.names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
        let mut status = one.status;
        if unhealthy.contains(&one.id) && !status.contains(ILL) {
            status = format!("{status} {ILL}");
        }
        containers.push(Container { name, image, state: one.state, status });
    }
    Ok(containers)
}

async fn listed(socket: &str, path: &str) -> Result<Vec<Listed>, String> {
    let answer = http::over_unix(socket, path).await?;
    if answer.status != 200 {
        return Err(format!("the engine at {socket} answered with status {}", answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the engine at {socket} gave no list of containers (line {})", error.line()))
}

/// The numbers of some of them; none where the engine does not know the filter.
async fn listed_of(socket: &str, path: &str) -> Vec<String> {
    let listed = listed(socket, path).await.unwrap_or_default();
    listed.into_iter().map(|one| one.id).collect()
}

/// `registry/app@sha256:…`, for an image that came from a registry.
async fn digest(socket: &str, id: &str, image: Option<&Image>) -> Option<String> {
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':');
    if !plain {
        return None;
    }
    let answer = http::over_unix(socket, &format!("/images/{id}/json")).await.ok()?;
    let inspected: Inspected = serde_json::from_slice(&answer.body).ok()?;
    meant(inspected.repo_digests.unwrap_or_default(), image)
}

/// The name with the digest of `image`, or the first.
fn meant(mut names: Vec<String>, image: Option<&Image>) -> Option<String> {
    let place = names.iter().position(|name| image.is_some_and(|image| image.is_named(name))).unwrap_or(0);
    (place < names.len()).then(|| names.swap_remove(place))
}

/// Well, unless one of them restarts for ever, is dead, or says itself that it is ill, or those of `image`, which is what
/// the edge is there for, have all ended. Any other that was stopped is no illness.
pub(crate) fn judge(containers: &[Container], image: Option<&Image>) -> (bool, String) {
    let is_running = |container: &Container| container.state == "running";
    let of_image = || containers.iter().filter(|one| image.is_some_and(|image| image.is_named(&one.image)));
    let has_ended = !of_image().any(is_running);
    let ill = |container: &&Container| {
        matches!(container.state.as_str(), "restarting" | "dead") || container.status.contains(ILL)
    };
    let mut sick: Vec<String> = containers.iter().filter(ill).map(|container| container.name.clone()).collect();
    if has_ended {
        let ended = of_image().filter(|one| !ill(one));
        sick.extend(ended.map(|one| format!("{} ({})", one.name, one.status)));
    }
    let running = containers.iter().filter(|container| is_running(container)).count();
    if sick.is_empty() {
        (true, format!("{running} of {} containers run", containers.len()))
    } else {
        (false, format!("ill: {}", sick.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What the engines answered; recorded, and cut down to what a check may look at.
    const DOCKER_20_10: &str = include_str!("recorded/docker-20.10.24.json");
    const PODMAN_4_3: &str = include_str!("recorded/podman-4.3.1.json");

    /// An engine that says what was recorded of one.
    async fn looked_at(recorded: &str, image: Option<&Image>) -> Vec<Container> {
        let answers: BTreeMap<String, serde_json::Value> = serde_json::from_str(recorded).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4_096];
                let count = stream.read(&mut buffer).await.unwrap();
                let asked = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let body = answers[asked.split(' ').nth(1).unwrap()].to_string();
                stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
            }
        };
        tokio::select! {
            listed = list(path.to_str().unwrap(), image) => listed.unwrap(),
            () = serve => unreachable!(),
        }
    }

    fn named<'a>(containers: &'a [Container], name: &str) -> &'a Container {
        containers.iter().find(|one| one.name == name).unwrap()
    }

    #[tokio::test]
    async fn dockers_containers_are_told_with_digest_and_state() {
        let listed = looked_at(DOCKER_20_10, None).await;
        let app = named(&listed, "app");
        let image = "127.0.0.1:5055/app@sha256:12dce7cc0ebc4e78f554f218d330b9ecf0cca3f0c67feff6d9236eaa80e0ea1f";
        assert_eq!((app.image.as_str(), app.state.as_str()), (image, "running"));
        assert_eq!(judge(std::slice::from_ref(app), None), (true, "1 of 1 containers run".into()));
        assert_eq!(named(&listed, "ended").status, "Exited (3) 5 seconds ago");
        assert_eq!(judge(&listed, None), (false, "ill: ill, loops".into()));
        // One of the image runs.
        assert_eq!(judge(&listed, Some(&image.parse().unwrap())), (false, "ill: ill, loops".into()));
    }

    #[tokio::test]
    async fn podmans_containers_are_told_with_digest_and_state() {
        let wanted = "127.0.0.1:5055/app@sha256:cdbed70ad74ad36d5d74f22acde38dd1507503a13037a56a2f9f9269b1c67e53";
        let wanted: Image = wanted.parse().unwrap();
        let listed = looked_at(PODMAN_4_3, Some(&wanted)).await;
        assert_eq!(named(&listed, "app").image, wanted.to_string());
        assert_eq!(named(&listed, "ill").status, "Up Less than a second (unhealthy)");
        assert_eq!(judge(&listed, None), (false, "ill: ill".into()));
        assert_eq!(judge(&listed, Some(&wanted)), (false, "ill: ill, app (Exited (137) 2 minutes ago)".into()));
        // Another image's containers may have ended.
        let other = format!("app@sha256:{}", "0".repeat(64)).parse().unwrap();
        assert_eq!(judge(std::slice::from_ref(named(&listed, "app")), Some(&other)).1, "0 of 1 containers run");
    }

    #[test]
    fn an_image_with_several_names_is_called_by_the_one_that_is_meant() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let image: Image = format!("registry/app@{}", digest("b")).parse().unwrap();
        let names = vec![format!("mirror/app@{}", digest("a")), format!("mirror/app@{}", digest("b"))];
        assert_eq!(meant(names.clone(), Some(&image)).unwrap(), names[1]);
        assert_eq!(meant(names.clone(), None).unwrap(), names[0]);
        assert_eq!(meant(Vec::new(), Some(&image)), None);
    }
}
