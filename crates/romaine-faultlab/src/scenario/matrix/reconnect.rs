//! F08 and F09: a client that was cut off meets what does not let it back in.

use std::time::Duration;

use anyhow::bail;

use super::cell::Lab;
use super::network::HANDSHAKE;
use super::report::Outcome;
use super::trial::{Expect, Trial, Verdict};
use crate::scenario::field::Field;
use crate::scenario::line::Line;
use crate::{Accept, Server};

/// F08.
pub(super) async fn unanswered(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { bail!("no proxy") };
    let mut expect = Expect::new(Verdict::Dead);
    let mode = if lab.cell.variant == "silent" {
        expect.back_allowance = HANDSHAKE;
        expect =
            expect.note("a connection accepted in silence stays silent: 5 s (handshake_timeout) are allowed for it");
        Accept::Silent
    } else {
        Accept::CloseAtOnce
    };
    let trial = Trial::begin(stage, lab.settings).await?;
    proxy.accept(mode).await?;
    proxy.cut_all().await?;
    tokio::time::sleep(lab.settings.scale.seconds(30, 15, 5)).await;
    proxy.heal().await?;
    trial.healed(expect).await
}

/// F09.
pub(super) async fn unserved(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let outage = lab.settings.scale.seconds(10, 10, 4);
    match lab.cell.variant {
        "password rotated" => password(lab, outage).await,
        "maxclients" => maxclients(lab, outage).await,
        _ => loading(lab, outage).await,
    }
}

/// The server's password changes, and the client learns the new one only later.
async fn password(lab: Lab<'_>, outage: Duration) -> anyhow::Result<Outcome> {
    let field = Field::behind_proxy(Server::builder().password("before")).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "before")?;
    let mut order = lab.order(field.url());
    order.password_file = Some(file.path().to_owned());
    let stage = lab.stage_with(&field, order).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    field.server.command(&["CONFIG", "SET", "requirepass", "after"]).await?;
    field.kill_clients().await?;
    tokio::time::sleep(outage).await;
    std::fs::write(file.path(), "after")?;
    trial.healed(Expect::new(Verdict::Dead)).await
}

/// Others have taken all the places.
async fn maxclients(lab: Lab<'_>, outage: Duration) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let mut line = Line::connect(&field.server.unix_path()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    // Ours and the producer's are already too many.
    line.ask(&["CONFIG", "SET", "maxclients", "1"]).await?;
    for kind in ["normal", "pubsub"] {
        line.ask(&["CLIENT", "KILL", "TYPE", kind, "USER", "default"]).await?;
    }
    tokio::time::sleep(outage).await;
    line.ask(&["CONFIG", "SET", "maxclients", "1000"]).await?;
    trial.healed(Expect::new(Verdict::Dead)).await
}

/// The server loads its data: it accepts, and answers `-LOADING`.
async fn loading(lab: Lab<'_>, outage: Duration) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let mut line = Line::connect(&field.server.unix_path()).await?;
    // A thousand keys, each large enough that the server looks at its connections after it.
    line.ask(&["DEBUG", "POPULATE", "1000", "ballast", "2048"]).await?;
    line.ask(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]).await?;
    line.ask(&["CONFIG", "SET", "key-load-delay", &outage.as_millis().to_string()]).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    let mut loading = tokio::task::JoinSet::new();
    loading.spawn(async move { line.ask(&["DEBUG", "RELOAD"]).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    field.kill_clients().await?;
    while let Some(loaded) = loading.join_next().await {
        loaded??;
    }
    trial.healed(Expect::new(Verdict::Any)).await
}
