//! F10: a name that leads to the primary moves to another server.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::cell::Lab;
use super::report::Outcome;
use super::trial::{Expect, Trial, Verdict};
use crate::scenario::host::Host;
use crate::scenario::line::Line;
use crate::scenario::stage::{Eyes, Stage};
use crate::{Replicated, Server};

/// The name; of a domain that nobody has.
const NAME: &str = "primary.faultlab.test";

/// How long the name lags behind in the variant where it does.
const LAG: Duration = Duration::from_secs(5);

/// F10. The name is a line of a file that only the client under test takes for `/etc/hosts`, so that it can move without a
/// name server, for every client alike.
pub(super) async fn moved(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let hosts = tempfile::NamedTempFile::new()?;
    point(hosts.path(), Ipv4Addr::LOCALHOST)?;
    let Some(driver) = lab.settings.driver.with_hosts(hosts.path()) else {
        return Ok(Outcome::Skipped("the client has no process of its own here".into()));
    };
    if let Err(reason) = mount_namespace(hosts.path()).await {
        return Ok(Outcome::Skipped(format!("needs a mount namespace: {reason}")));
    }
    let second = Ipv4Addr::new(127, 0, 0, 2);
    let quick = "repl-diskless-sync-delay 0";
    let old = Arc::new(Server::builder().config_line(quick).start().await?);
    let follows = format!("replicaof {} {}", old.address().ip(), old.port());
    let new = Server::builder().ip(second).port(old.port()).config_line(quick).config_line(follows).start().await?;
    let new = Arc::new(new);
    let nodes = Arc::new(Replicated::of(vec![old.clone(), new.clone()]));
    nodes.wait_until_linked().await?;
    // Linked is not yet fed: from here on the replica has what the primary acknowledges.
    let mut line = Line::connect(&old.unix_path()).await?;
    line.ask(&["SET", "marker", "fed"]).await?;
    line.ask(&["WAIT", "1", "20000"]).await?;

    let order = lab.order(format!("redis://{NAME}:{}", old.port()));
    let eyes = Eyes { log: lab.log.clone(), ..Eyes::default() };
    let stage =
        Stage::set(&driver, order, Host::Replicated(nodes.clone()), lab.settings.scale.between_goods(), eyes).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    nodes.promote(&new).await?;
    if lab.cell.variant != "at once" {
        tokio::time::sleep(LAG).await;
    }
    point(hosts.path(), second)?;
    let mut expect = Expect::new(Verdict::Any).note(
        "the old server stays connected and answers writes with READONLY; the fault is over when the name has moved",
    );
    expect.may_lose_writes = true;
    trial.healed(expect).await
}

/// Written in place: what is mounted is the file, not its name.
fn point(hosts: &Path, ip: Ipv4Addr) -> std::io::Result<()> {
    std::fs::write(hosts, format!("127.0.0.1 localhost\n{ip} {NAME}\n"))
}

async fn mount_namespace(hosts: &Path) -> Result<(), String> {
    let mut probe = tokio::process::Command::new("unshare");
    probe.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts"]).arg(hosts).stdin(Stdio::null());
    let output = probe.output().await.map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
