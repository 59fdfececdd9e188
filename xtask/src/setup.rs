//! What the tasks need besides Rust: a redis-server, and for some tests the tools of network namespaces.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Names a `redis-server` that is to be used instead of the one in the PATH.
pub(crate) const OVERRIDE: &str = "ROMAINE_REDIS_SERVER";

/// Makes sure that there is a `redis-server`: the one named by `ROMAINE_REDIS_SERVER`, one in the PATH, or one installed
/// with apt.
pub(crate) fn redis_server() -> Result<()> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        let path = PathBuf::from(path);
        return answers(&path).with_context(|| format!("{OVERRIDE} names {}, which cannot be used", path.display()));
    }
    ensure("redis-server", "redis-server")
}

/// Makes sure that there is a `redis-benchmark`.
pub(crate) fn redis_benchmark() -> Result<()> {
    ensure("redis-benchmark", "redis-tools")
}

/// Installs what network namespaces need, where we are root and apt is there. The tests that need them are skipped, with
/// the reason, where that is not so; a failure here is no more than that.
pub(crate) fn namespaces() {
    if !cfg!(target_os = "linux") || !is_root() || !is_in_path("apt-get") {
        return;
    }
    let mut missing = Vec::new();
    if !is_in_path("ip") {
        missing.push("iproute2");
    }
    if !is_in_path("nft") && !is_in_path("iptables") {
        missing.push("nftables");
    }
    if !missing.is_empty()
        && let Err(error) = apt_install(&missing)
    {
        eprintln!("cannot install {}: {error:#}; tests that need network namespaces are skipped", missing.join(", "));
    }
}

fn ensure(program: &str, package: &str) -> Result<()> {
    if is_in_path(program) {
        return Ok(());
    }
    if is_in_path("apt-get") {
        eprintln!("there is no {program}: installing {package} with apt");
        if let Err(error) = apt_install(&[package]) {
            eprintln!("{error:#}");
        }
        if is_in_path(program) {
            return Ok(());
        }
    }
    bail!(advice(program, by_hand()));
}

/// How to install Redis where we do not do it.
fn by_hand() -> &'static str {
    const MANAGERS: [(&str, &str); 7] = [
        ("apt-get", "sudo apt-get install redis-server"),
        ("brew", "brew install redis"),
        ("dnf", "sudo dnf install redis"),
        ("yum", "sudo yum install redis"),
        ("zypper", "sudo zypper install redis"),
        ("pacman", "sudo pacman -S redis"),
        ("apk", "sudo apk add redis"),
    ];
    let found = MANAGERS.into_iter().find(|(manager, _)| is_in_path(manager));
    found
        .map_or("install Redis from https://redis.io/download or Valkey from https://valkey.io/download", |(_, how)| {
            how
        })
}

fn advice(program: &str, how: &str) -> String {
    format!("there is no {program}. Install it:\n\n    {how}\n\nor name one: {OVERRIDE}=/path/to/redis-server")
}

fn answers(program: &Path) -> Result<()> {
    let output = Command::new(program).arg("--version").output().context("it cannot be run")?;
    if !output.status.success() {
        bail!("`--version` fails: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Installs packages. The services that they bring are neither started nor enabled: the tests start servers of their own,
/// and a machine should not find a new server listening because somebody ran a test.
fn apt_install(packages: &[&str]) -> Result<()> {
    let script = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
if command -v systemctl >/dev/null; then
    systemctl disable redis-server >/dev/null 2>&1 || true
fi
"#;
    let mut command = if is_root() { Command::new("sh") } else { Command::new("sudo") };
    if !is_root() {
        command.arg("sh");
    }
    let command = command.args(["-c", script, "setup"]).args(packages).stdin(Stdio::inherit());
    let status = command.status().context("cannot run the installation (is sudo there?)")?;
    if !status.success() {
        bail!("apt-get install {} failed ({status})", packages.join(" "));
    }
    Ok(())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

pub(crate) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where an ordinary user's PATH has no sbin, root's tools are there all the same.
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin".into(), "/sbin".into()]);
    places.iter().any(|place| place.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path() {
        assert!(is_in_path("sh"));
        assert!(!is_in_path("no-such-program-anywhere"));
    }

    #[test]
    fn a_server_named_by_hand_must_run() {
        answers(Path::new("/nonexistent/redis-server")).unwrap_err();
        let failing = answers(Path::new("false")).unwrap_err();
        assert!(failing.to_string().contains("--version"), "{failing}");
    }

    #[test]
    fn the_advice_names_the_command_and_the_variable() {
        let advice = advice("redis-server", "brew install redis");
        assert!(advice.contains("brew install redis") && advice.contains("ROMAINE_REDIS_SERVER="), "{advice}");
    }
}
