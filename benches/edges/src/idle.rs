//! What idle agents send: real ones, each with its ledger, its heartbeat and its settings as `romaine agent` has them by
//! default, all in this process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use romaine::{Backoff, Client, Config};
use romaine_edge::Labels;
use romaine_edge::agent::{Repeat, Settings, frugal_liveness, run};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::report::Report;
use crate::{edge, hub};

const AGENTS: usize = 500;

/// The goal, in commands a second.
const MOST: f64 = 50.0;

pub(crate) async fn measure(is_quick: bool, report: &mut Report) -> Result<()> {
    let server = hub::start(10_000).await?;
    let dir = tempfile::tempdir().context("no directory for the ledgers")?;
    let (stop, stopped) = watch::channel(false);
    let mut agents = JoinSet::new();
    for number in 0..AGENTS {
        agents.spawn(agent(server.url(), settings(number, dir.path())?, stopped.clone()));
        // As machines in the field are started: not in one instant.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_blocked(&server, AGENTS, &mut agents).await?;
    // What follows the start is not idle: second looks, permissions.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = hub::sample(&server).await?;
    // Three times the longest of what an agent does again and again; with --quick, a bit more than the wait for the bell.
    tokio::time::sleep(Duration::from_secs(if is_quick { 60 } else { 360 })).await;
    let after = hub::sample(&server).await?;
    let between = before.until(&after);
    stop.send_replace(true);
    while let Some(ended) = agents.join_next().await {
        ended??;
    }
    let (sent, inside) = (between.sent_per_second(), between.inside);
    let connections = after.connected.saturating_sub(1);
    report.goal(
        &format!("commands that {AGENTS} idle agents send"),
        &format!("under {MOST}/s"),
        format!("{sent:.1}/s; their scripts execute {inside:.0}/s more"),
        sent < MOST,
        json!({
            "agents": AGENTS,
            "seconds": between.seconds,
            "sent_per_second": sent,
            "sent_per_second_by_name": between.sent,
            "inside_scripts_per_second": inside,
            "server_processor": between.processor,
            "connections": connections,
        }),
    );
    report.note(
        &format!("the server's processor with {AGENTS} idle agents"),
        format!("{:.2} %", between.processor * 100.0),
        json!({ "server_processor": between.processor }),
    );
    Ok(())
}

async fn agent(url: String, settings: Settings, mut stopped: watch::Receiver<bool>) -> Result<()> {
    let backoff = Backoff::FullJitter { base: Duration::from_millis(500), max: Duration::from_secs(30) };
    let config = Config::from_url(&url)?.lazy().backoff(backoff).liveness(frugal_liveness());
    let client = Client::connect(config).await?;
    let stop = async move {
        // An owner that is gone is told to stop, too.
        let _told = stopped.wait_for(|stop| *stop).await;
    };
    run(&client, settings, stop).await?;
    client.close().await;
    Ok(())
}

/// What `romaine agent` has by default.
fn settings(number: usize, dir: &Path) -> Result<Settings> {
    let id = edge::id(number);
    let seconds = Duration::from_secs;
    Ok(Settings {
        ledger: dir.join(format!("{id}.ledger")),
        id: id.parse()?,
        labels: "region=kr".parse::<Labels>()?,
        command: "true".to_owned(),
        timeout: seconds(600),
        concurrency: 1,
        heartbeat: seconds(30),
        lease: seconds(60),
        grace: seconds(30),
        repeat: Repeat::Idempotent,
        probes: Vec::new(),
        health_every: seconds(30),
        health_limit: seconds(10),
        settle: seconds(120),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: "simulated".to_owned(),
    })
}

async fn until_blocked(
    server: &romaine_faultlab::Server,
    count: usize,
    agents: &mut JoinSet<Result<()>>,
) -> Result<()> {
    for _ in 0..600 {
        if let Some(ended) = agents.try_join_next() {
            ended??;
            bail!("an agent has ended by itself");
        }
        if usize::try_from(hub::sample(server).await?.blocked)? >= count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("not all agents wait for their bells after a minute")
}
