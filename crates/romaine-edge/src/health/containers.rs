//! What Docker or Podman says of its containers, over its socket.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::health::http;
use crate::record::Container;

/// Containers that are reported.
const CONTAINERS_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
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

/// All containers, with the digests of their images where the engine knows them.
pub(crate) async fn list(socket: &str) -> Result<Vec<Container>, String> {
    let answer = http::over_unix(socket, "/containers/json?all=1").await?;
    if answer.status != 200 {
        return Err(format!("the engine at {socket} answered with status {}", answer.status));
    }
    let listed: Vec<Listed> = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the engine at {socket} gave no list of containers (line {})", error.line()))?;
    let mut digests = BTreeMap::new();
    let mut containers = Vec::new();
    for one in listed.into_iter().take(CONTAINERS_MAX) {
        if !digests.contains_key(&one.image_id) {
            digests.insert(one.image_id.clone(), digest(socket, &one.image_id).await);
        }
        let image = digests.get(&one.image_id).cloned().flatten().unwrap_or(one.image);
        let name = one.names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
        containers.push(Container { name, image, state: one.state, status: one.status });
    }
    Ok(containers)
}

/// `registry/app@sha256:…`, for an image that came from a registry.
async fn digest(socket: &str, image: &str) -> Option<String> {
    let plain = !image.is_empty() && image.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b':');
    if !plain {
        return None;
    }
    let answer = http::over_unix(socket, &format!("/images/{image}/json")).await.ok()?;
    let inspected: Inspected = serde_json::from_slice(&answer.body).ok()?;
    inspected.repo_digests.unwrap_or_default().into_iter().next()
}

/// Well, unless one of them restarts for ever, is dead, or says itself that it is ill. One that was stopped is no illness.
pub(crate) fn judge(containers: &[Container]) -> (bool, String) {
    let ill = |container: &&Container| {
        matches!(container.state.as_str(), "restarting" | "dead") || container.status.contains("(unhealthy)")
    };
    let sick: Vec<&str> = containers.iter().filter(ill).map(|container| container.name.as_str()).collect();
    let running = containers.iter().filter(|container| container.state == "running").count();
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

    const LIST: &str = r#"[
        {"Names":["/app"],"Image":"app:v1","ImageID":"sha256:aa","State":"running","Status":"Up 3 hours (healthy)"},
        {"Names":["/job"],"Image":"local","ImageID":"sha256:bb","State":"exited","Status":"Exited (0)","Extra":1}]"#;

    #[tokio::test]
    async fn containers_are_listed_with_the_digests_of_their_images() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let serve = async {
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4_096];
                let count = stream.read(&mut buffer).await.unwrap();
                let asked = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let body = match asked.split(' ').nth(1).unwrap() {
                    "/containers/json?all=1" => LIST,
                    "/images/sha256:aa/json" => r#"{"RepoDigests":["registry/app@sha256:cc"]}"#,
                    _ => r#"{"RepoDigests":null}"#,
                };
                stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await.unwrap();
            }
        };
        let (listed, ()) = tokio::join!(list(path.to_str().unwrap()), serve);
        let listed = listed.unwrap();
        assert_eq!(listed[0].image, "registry/app@sha256:cc");
        assert_eq!((listed[1].name.as_str(), listed[1].image.as_str()), ("job", "local"));
        assert_eq!(judge(&listed), (true, "1 of 2 containers run".into()));
        let sick = Container { status: "Up 1 minute (unhealthy)".into(), ..listed[0].clone() };
        assert_eq!(judge(&[sick]), (false, "ill: app".into()));
    }
}
