//! F01–F07: the network and the server's process.

use std::time::Duration;

use super::cell::Lab;
use super::fault::{Fault, SERVED};
use super::plan::Under;
use super::report::Outcome;
use super::trial::{Expect, Trial, Verdict};
use crate::Server;
use crate::scenario::field::Cut;

/// romaine's default `handshake_timeout`: how long a connection that was accepted in silence is waited for.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

fn minute(lab: Lab<'_>) -> Duration {
    match lab.cell.fault {
        Fault::F04 => lab.settings.scale.seconds(30, 15, 5),
        _ => lab.settings.scale.seconds(60, 15, 5),
    }
}

/// F01–F03.
pub(super) async fn cut(lab: Lab<'_>, cut: Cut) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.in_namespace(Server::builder()).await?;
    field.cut(cut).await?;
    // The packet filter's tools take their time on a loaded machine; the fault begins when they are done.
    let trial = Trial::begin(stage, lab.settings).await?;
    tokio::time::sleep(minute(lab)).await;
    field.heal().await?;
    let mut expect = Expect::new(Verdict::Dead);
    if cut == Cut::ToServer && lab.cell.under == Under::Subscribed {
        expect.from_last_heard = true;
        expect = expect.note(
            "messages go on arriving until the server misses our acknowledgements: the bound counts from the last",
        );
    }
    trial.healed(expect).await
}

/// F04.
pub(super) async fn frozen(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    field.server.freeze().await?;
    tokio::time::sleep(minute(lab)).await;
    field.server.thaw()?;
    trial.healed(Expect::new(Verdict::Dead)).await
}

/// F05.
pub(super) async fn dead_upstream(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { anyhow::bail!("no proxy") };
    let trial = Trial::begin(stage, lab.settings).await?;
    proxy.keep_acknowledging_with_dead_upstream().await?;
    tokio::time::sleep(minute(lab)).await;
    proxy.heal().await?;
    let mut expect = Expect::new(Verdict::Dead)
        .note("a connection that the proxy accepted in silence stays silent after the fault: 5 s (handshake_timeout) are allowed for it");
    expect.back_allowance = HANDSHAKE;
    trial.healed(expect).await
}

/// F06.
pub(super) async fn killed(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder().persistent()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    field.server.kill();
    tokio::time::sleep(lab.settings.scale.seconds(5, 5, 2)).await;
    field.server.restart().await?;
    trial.healed(Expect::new(Verdict::Dead)).await
}

/// F07.
pub(super) async fn clients_killed(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    for round in 0..5 {
        if round > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if lab.cell.variant == SERVED {
            trial.stage.producer.kill_with_next();
        } else {
            field.kill_clients().await?;
        }
    }
    if lab.cell.variant == SERVED {
        // The last of them, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    trial.healed(Expect::new(Verdict::Dead)).await
}
