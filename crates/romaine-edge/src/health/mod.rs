//! How an edge is: a command's exit code, an HTTP status, or what the container engine says.

mod containers;
mod http;

use std::str::FromStr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::agent::process::{self, How, Order};
use crate::error::Error;
use crate::image::Image;
use crate::record::{Check, Wellness};

/// A check: `command:CMD`, `http://host:port/path`, `docker:/run/docker.sock`, `podman:/run/podman/podman.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Command(String),
    Http { authority: String, path: String },
    Engine { socket: String },
}

impl FromStr for Probe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::usage(format!(
                "'{text}' is not a health check; expected command:CMD, http://host[:port]/path, docker:/run/docker.sock \
                 or podman:/run/podman/podman.sock"
            ))
        };
        let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(wrong)?;
        let kind = match kind {
            "command" => Kind::Command(rest.to_owned()),
            "http" => {
                let rest = rest.strip_prefix("//").ok_or_else(wrong)?;
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
                if authority.is_empty() || !plain(authority) || !plain(path) {
                    return Err(wrong());
                }
                let authority = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
                Kind::Http { authority, path: format!("/{path}") }
            }
            "docker" | "podman" if rest.starts_with('/') => Kind::Engine { socket: rest.to_owned() },
            _ => return Err(wrong()),
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Probe {
    /// Whether it knows of containers that run, not of whether they do their work.
    pub(crate) const fn asks_engine(&self) -> bool {
        matches!(self.kind, Kind::Engine { .. })
    }

    /// Looks, for at most `limit`; `image` is what the edge is to run.
    pub(crate) async fn look(&self, limit: Duration, image: Option<&Image>) -> Check {
        let (ok, detail, containers) = match &self.kind {
            Kind::Command(command) => {
                let (ok, detail) = by_command(command, limit).await;
                (ok, detail, Vec::new())
            }
            Kind::Http { authority, path } => {
                let asked = tokio::time::timeout(limit, http::over_tcp(authority, path)).await;
                let (ok, detail) = match asked {
                    Ok(Ok(answer)) => ((200..400).contains(&answer.status), format!("status {}", answer.status)),
                    Ok(Err(error)) => (false, error),
                    Err(_late) => (false, format!("no answer within {limit:?}")),
                };
                (ok, detail, Vec::new())
            }
            Kind::Engine { socket } => match tokio::time::timeout(limit, containers::list(socket, image)).await {
                Ok(Ok(containers)) => {
                    let (ok, detail) = containers::judge(&containers, image);
                    (ok, detail, containers)
                }
                Ok(Err(error)) => (false, error, Vec::new()),
                Err(_late) => (false, format!("no answer within {limit:?}"), Vec::new()),
            },
        };
        Check { name: self.text.clone(), ok, detail, containers }
    }
}

async fn by_command(command: &str, limit: Duration) -> (bool, String) {
    let order = Order { command: command.to_owned(), input: Vec::new(), environment: Vec::new(), limit };
    let ran = process::run(order, &CancellationToken::new(), async |_mark| {}).await;
    let last = ran.tail.lines().last().unwrap_or_default().chars().take(200).collect::<String>();
    let with = |what: String| if last.is_empty() { what } else { format!("{what}: {last}") };
    match ran.how {
        How::Exited(0) => (true, with("ok".into())),
        How::Exited(code) | How::Missing(code) => (false, with(format!("exit code {code}"))),
        How::Signalled(signal) => (false, with(format!("ended by signal {signal}"))),
        How::TimedOut | How::Stopped => (false, with(format!("did not end within {limit:?}"))),
        How::NotStarted => (false, with("could not be started".into())),
        How::Unknown => (false, with("nobody knows how it ended".into())),
    }
}

/// What all checks together say.
pub(crate) fn overall(checks: &[Check]) -> Wellness {
    match (checks.is_empty(), checks.iter().all(|check| check.ok)) {
        (true, _) => Wellness::Unknown,
        (false, true) => Wellness::Ok,
        (false, false) => Wellness::Failing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_named_by_what_it_asks() {
        let kind = |text: &str| text.parse::<Probe>().map(|probe| probe.kind);
        assert_eq!(kind("command:true a:b").unwrap(), Kind::Command("true a:b".into()));
        let http = Kind::Http { authority: "[::1]:80".into(), path: "/".into() };
        assert_eq!(kind("http://[::1]").unwrap(), http);
        let http = Kind::Http { authority: "localhost:8080".into(), path: "/health?x=1".into() };
        assert_eq!(kind("http://localhost:8080/health?x=1").unwrap(), http);
        for wrong in ["", "command:", "http:/x", "https://x", "docker:tcp", "http:///x", "tcp:1", "http://a b"] {
            assert!(kind(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_command_is_judged_by_its_exit_code() {
        let limit = Duration::from_secs(10);
        let look = async |text: &str| text.parse::<Probe>().unwrap().look(limit, None).await;
        assert!(look("command:true").await.ok);
        let failed = look("command:echo disk full; exit 2").await;
        assert_eq!((failed.ok, failed.detail.as_str()), (false, "exit code 2: disk full"));
        let late = "command:sleep 60".parse::<Probe>().unwrap().look(Duration::from_millis(300), None).await;
        assert!(!late.ok && late.detail.contains("did not end"));
    }
}
