//! `romaine fleet`: who is there.

use std::time::Duration;

use anyhow::Context as _;
use romaine::{Client, Config};
use romaine_edge::fleet::{self, Edge};
use romaine_edge::{EdgeId, Selector, show_span};
use romaine_faultlab::scenario::table::Table;

use crate::exit::{Failure, Outcome};
use crate::out::{self, say};

/// What `romaine fleet` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    hub: Hub,
    /// Only edges with these labels: region=kr,rack!=3, id=edge-1|edge-2, or * for all.
    #[arg(long, default_value = "*")]
    targets: Selector,
    /// Only edges that are away, ill, or run something else than they should.
    #[arg(long)]
    troubled: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Forget this edge: it is gone for good. What it said of itself goes; its queue stays.
    #[arg(long, value_name = "ID")]
    forget: Option<EdgeId>,
}

/// Where the hub is.
#[derive(Debug, clap::Args)]
pub(crate) struct Hub {
    /// Where the hub is, as a URL. Give one with a password as ROMAINE_HUB: arguments are seen by everybody.
    #[arg(long = "hub", env = "ROMAINE_HUB", hide_env_values = true)]
    url: String,
}

impl Hub {
    /// Connects; a hub that is not there is an error.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let config = Config::from_url(&self.url).map_err(Failure::client)?;
        Client::connect(config).await.map_err(Failure::client)
    }
}

/// Lists the edges.
pub(crate) async fn run(args: &Args) -> Outcome {
    let client = args.hub.connect().await?;
    if let Some(id) = &args.forget {
        let known = fleet::forget(&client, id).await.map_err(Failure::edge)?;
        say!("{id}: {}", if known { "forgotten" } else { "not known" });
        return Ok(known);
    }
    let mut edges = fleet::list(&client, &args.targets).await.map_err(Failure::edge)?;
    client.close().await;
    if args.troubled {
        edges.retain(|edge| trouble(edge).is_some());
    }
    if args.json {
        say!("{}", serde_json::to_string_pretty(&edges).context("cannot write JSON")?);
        return Ok(true);
    }
    let mut table = Table::new(&[
        "EDGE", "SEEN", "HEALTH", "RUNNING", "DESIRED", "GEN", "QUEUE", "DEAD", "VERSION", "LABELS", "NOTE",
    ]);
    for edge in &edges {
        table.row(row(edge));
    }
    out::text(format_args!("{}", table.text()));
    let (away, ill) =
        (edges.iter().filter(|edge| !edge.online).count(), edges.iter().filter(|edge| is_ill(edge)).count());
    let drifting = edges.iter().filter(|edge| edge.is_drifting()).count();
    say!("{} edges: {away} away, {ill} ill, {drifting} not on what is desired", edges.len());
    Ok(true)
}

fn row(edge: &Edge) -> Vec<String> {
    let reported = &edge.reported;
    let seen = show_span(Duration::from_millis(edge.silent_ms));
    let none = || "-".to_owned();
    let applied = reported.generation;
    let generation = edge.desired.as_ref().map_or_else(none, |desired| {
        if desired.generation == applied { applied.to_string() } else { format!("{applied}→{}", desired.generation) }
    });
    vec![
        edge.id.clone(),
        if edge.online { format!("{seen} ago") } else { format!("! {seen} ago") },
        reported.health.to_string(),
        reported.image.as_ref().map_or_else(none, |image| image.short().to_owned()),
        edge.desired.as_ref().map_or_else(none, |desired| desired.image.short().to_owned()),
        generation,
        format!("{}", edge.queue.waiting + edge.queue.delayed + edge.queue.leased),
        edge.queue.dead.to_string(),
        reported.version.clone(),
        reported.labels.to_string(),
        trouble(edge).unwrap_or_default(),
    ]
}

fn is_ill(edge: &Edge) -> bool {
    edge.reported.health == romaine_edge::Wellness::Failing
}

/// What is wrong with it, if anything is.
fn trouble(edge: &Edge) -> Option<String> {
    let reported = &edge.reported;
    if reported.left {
        return Some("its agent was ended".to_owned());
    }
    if !edge.online {
        return Some("away".to_owned());
    }
    if let Some(check) = reported.checks.iter().find(|check| !check.ok) {
        return Some(short(&format!("{}: {}", check.name, check.detail)));
    }
    let wanted = edge.desired.as_ref().filter(|_| edge.is_drifting())?;
    let tried = reported.tried.as_ref().filter(|tried| tried.generation == wanted.generation);
    Some(match tried {
        Some(tried) => short(&format!("{}: {}", tried.progress, tried.error.clone().unwrap_or_default())),
        None => "not on what is desired".to_owned(),
    })
}

/// One line of a table.
pub(crate) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_end_matches([':', ' ']);
    if line.chars().count() > 60 {
        format!("{}…", line.chars().take(59).collect::<String>())
    } else {
        line.to_owned()
    }
}
