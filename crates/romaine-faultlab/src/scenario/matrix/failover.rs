//! F11–F13: Sentinels make another node the primary.

use std::sync::Arc;

use super::cell::Lab;
use super::report::{Measured, Outcome};
use super::trial::{Expect, Trial, Verdict};
use crate::scenario::change::demoted;
use crate::scenario::host::Host;
use crate::scenario::stage::{NotAtWork, Stage};
use crate::{Accept, Fault, Port, SentinelSetup, Sentinels};

async fn stage(lab: Lab<'_>, setup: &Arc<Sentinels>, url: String) -> anyhow::Result<Stage> {
    lab.stage_at(Host::Sentinels(setup.clone()), lab.order(url)).await
}

fn expect() -> Expect {
    let mut expect = Expect::new(Verdict::Any);
    expect.may_lose_writes = true;
    expect.note("the fault is over when the majority of the Sentinels names a node that says itself that it is primary")
}

/// F11. The old primary stays as it is until the client works again; then it comes back and is demoted.
pub(super) async fn sentinel(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let setup = Arc::new(Sentinels::start().await?);
    let stage = stage(lab, &setup, setup.url()).await?;
    let old = setup.primary().await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    match lab.cell.variant {
        "killed" => old.kill(),
        "frozen" => old.freeze().await?,
        _ => setup.failover().await?,
    }
    let new = setup.wait_for_new_primary(old.address()).await?;
    lab.log.say(&format!("the new primary is {}, the old one was {}", new.address(), old.address()));
    let variant = lab.cell.variant;
    let log = lab.log.clone();
    let then = async move {
        match variant {
            "killed" => old.restart().await?,
            "frozen" => old.thaw()?,
            _ => {}
        }
        log.say("the old primary lives");
        demoted(&old).await?;
        log.say("the old primary is a replica");
        Ok(())
    };
    let mut expect = expect();
    if variant != "demoted" {
        let patience = lab.settings.scale.back_at_last().as_secs();
        expect.note.push_str(&format!("; the old one stays {variant} until the client works, {patience} s at most"));
    }
    trial.healed_then(expect, then).await
}

/// F12: what the client needs to know is said while it hears nothing.
pub(super) async fn without_sentinels(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let setup = Arc::new(SentinelSetup::new().behind_proxies().start().await?);
    let stage = stage(lab, &setup, setup.url()).await?;
    let old = setup.primary().await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    for proxy in setup.proxies() {
        proxy.set_both(Fault::Stall);
        proxy.accept(Accept::Silent).await?;
    }
    setup.failover().await?;
    setup.wait_for_new_primary(old.address()).await?;
    lab.log.say("the servers have finished their failover");
    tokio::time::sleep(lab.settings.scale.seconds(20, 12, 5)).await;
    for proxy in setup.proxies() {
        // What was accepted in silence would stay silent, and be one fault more.
        proxy.reset_all().await?;
        proxy.heal().await?;
    }
    let mut expect = expect();
    expect.note =
        "the links to the Sentinels are stalled, and reset when they are restored; the data nodes are reachable \
                   all the time, and the old primary acknowledges writes until a Sentinel demotes it"
            .into();
    trial.healed(expect).await
}

/// F13: the first Sentinel that the client is told of is of no use.
pub(super) async fn with_a_bad_sentinel(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let is_stale = lab.cell.variant == "stale";
    let mut setup = SentinelSetup::new();
    if is_stale {
        setup = setup.with_blind_sentinel();
    }
    let setup = Arc::new(setup.start().await?);
    // Claimed, and nobody listens.
    let nobody = Port::claim()?;
    let mut url = setup.url();
    if is_stale {
        // From now on it names a replica.
        let old = setup.primary().await?;
        setup.failover().await?;
        setup.wait_for_new_primary(old.address()).await?;
        demoted(&old).await?;
    } else {
        let mut addresses: Vec<_> = setup.addresses().iter().map(ToString::to_string).collect();
        if let Some(first) = addresses.first_mut() {
            *first = nobody.address().to_string();
        }
        url = setup.url_of(&addresses);
    }
    let note = if is_stale {
        "the first Sentinel in the URL names a replica from before the client's start on"
    } else {
        "nobody listens at the first address in the URL"
    };
    let stage = match stage(lab, &setup, url).await {
        // What is wrong is the fault itself.
        Err(error) if error.is::<NotAtWork>() => {
            return Ok(Outcome::Measured(Box::new(Measured::never_at_work(format!("{error:#}"), note))));
        }
        stage => stage?,
    };
    let old = setup.primary().await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    setup.failover().await?;
    setup.wait_for_new_primary(old.address()).await?;
    trial.healed_then(expect().note(note), async move { demoted(&old).await }).await
}
