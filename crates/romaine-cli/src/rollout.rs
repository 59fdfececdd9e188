//! `romaine rollout`: an image for many edges, in waves.

use std::time::Duration;

use anyhow::Context as _;
use romaine::Client;
use romaine_edge::rollout::{
    self, Away, Budget, Line, Listed, Order, Phase, Stage, View, Watched, Waves, Wish, parse_percent,
};
use romaine_edge::{Image, Selector, parse_span, show_span};
use romaine_faultlab::scenario::table::Table;

use crate::exit::{Failure, Outcome};
use crate::fleet::{Hub, short};
use crate::out::{self, offer, remark, say};

/// What `romaine rollout` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start one, and drive it to its end. Interrupted, it stands still until `rollout run` goes on with it.
    Start(Box<Start>),
    /// Go on with one whose driver has gone, or follow it.
    Run(One),
    /// The story of one, or a list of all.
    Status {
        #[command(flatten)]
        hub: Hub,
        /// Which; without it: all of them.
        id: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send nothing new.
    Pause(One),
    /// Go on after a pause.
    Resume(One),
    /// Stop it, and bring edges back to what they ran.
    Abort(One),
    /// Take one that is over out of the list, and all that is known of it away.
    Forget {
        #[command(flatten)]
        hub: Hub,
        /// Which.
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    hub: Hub,
    /// Which.
    id: String,
    /// Leave it to whoever drives it; with `run`: stay also through pauses.
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, clap::Args)]
struct Start {
    #[command(flatten)]
    hub: Hub,
    /// What is to run, by digest: registry/app@sha256:….
    #[arg(long)]
    image: Image,
    /// Where: region=kr,rack!=3, id=edge-1|edge-2, or * for all.
    #[arg(long)]
    targets: String,
    /// How many edges have it after each wave, as shares or numbers.
    #[arg(long, default_value = "1%,10%,100%")]
    waves: Waves,
    /// Abort when more than this share of the edges reached so far has failed; none: never.
    #[arg(long, default_value = "10%", value_parser = share)]
    abort_over: Share,
    /// Pause when more than this share of the edges reached so far has failed.
    #[arg(long, default_value = "none", value_parser = share)]
    pause_over: Share,
    /// How long an edge that is there may take, from when it took the job.
    #[arg(long, default_value = "15m", value_parser = parse_span)]
    timeout: Duration,
    /// Edges that are away when their wave comes: they get it when they come back, or are left out.
    #[arg(long, value_enum, default_value_t = AwayArg::Wait)]
    offline: AwayArg,
    /// How long a wave must stay healthy before the next one.
    #[arg(long, value_parser = parse_span)]
    soak: Option<Duration>,
    /// How often an edge runs a handler that failed again.
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Leave edges as they are when it is aborted.
    #[arg(long)]
    no_rollback: bool,
    /// What it is called. Default: r and its generation.
    #[arg(long)]
    name: Option<String>,
    /// Only write it down; `rollout run` drives it.
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum AwayArg {
    /// They get it when they come back.
    Wait,
    /// They are left out.
    Skip,
}

#[derive(Debug, Clone, Copy)]
struct Share(Option<u32>);

fn share(text: &str) -> Result<Share, romaine_edge::Error> {
    if text == "none" { Ok(Share(None)) } else { parse_percent(text).map(|share| Share(Some(share))) }
}

/// Does what is asked.
pub(crate) async fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Start(start) => self::start(start).await,
        Command::Run(one) => {
            let client = one.hub.connect().await?;
            drive(&client, &one.id, !one.detach).await
        }
        Command::Status { hub, id, json } => {
            let client = hub.connect().await?;
            match id {
                Some(id) => status(&client, id, *json).await,
                None => list(&client, *json).await,
            }
        }
        Command::Pause(one) => order(one, Order::Pause).await,
        Command::Resume(one) => order(one, Order::Resume).await,
        Command::Abort(one) => order(one, Order::Abort).await,
        Command::Forget { hub, id } => {
            let client = hub.connect().await?;
            let was_there = rollout::forget(&client, id).await.map_err(Failure::edge)?;
            say!("{id} {}", if was_there { "is forgotten" } else { "is unknown" });
            Ok(was_there)
        }
    }
}

async fn start(start: &Start) -> Outcome {
    let targets: Selector = start.targets.parse().map_err(Failure::edge)?;
    let wish = Wish {
        id: start.name.clone(),
        image: start.image.clone(),
        targets,
        targets_text: start.targets.clone(),
        waves: start.waves.clone(),
        budget: Budget { abort_over: start.abort_over.0, pause_over: start.pause_over.0 },
        timeout: start.timeout,
        offline: match start.offline {
            AwayArg::Wait => Away::Wait,
            AwayArg::Skip => Away::Skip,
        },
        soak: start.soak.unwrap_or_default(),
        retries: start.retries,
        rollback: !start.no_rollback,
    };
    let client = start.hub.connect().await?;
    let id = rollout::create(&client, &wish).await.map_err(Failure::edge)?;
    remark!("rollout {id}");
    if start.detach {
        say!("written down; `romaine rollout run {id}` drives it");
        return Ok(true);
    }
    drive(&client, &id, true).await
}

async fn order(one: &One, order: Order) -> Outcome {
    let client = one.hub.connect().await?;
    rollout::order(&client, &one.id, order).await.map_err(Failure::edge)?;
    let view = rollout::view(&client, &one.id).await.map_err(Failure::edge)?;
    match (&view.driver, one.detach) {
        (Some(_), _) => {
            say!("rollout {}: asked for; its driver carries it out", one.id);
            Ok(true)
        }
        (None, true) => {
            say!("rollout {}: asked for; nobody drives it: `romaine rollout run {}`", one.id, one.id);
            Ok(true)
        }
        // Nobody drives it: it is carried out from here.
        (None, false) => drive(&client, &one.id, true).await.map(|_how_it_ended| true),
    }
}

/// Drives it, and tells what happens; to its end also when nobody reads that any more: a rollout without a driver stands
/// still.
async fn drive(client: &Client, id: &str, stop_when_paused: bool) -> Outcome {
    let mut begin: Option<i64> = None;
    let mut tell = |watched: Watched| match watched {
        Watched::Line(line) => {
            let begin = *begin.get_or_insert(line.at_ms);
            remark!("{}", told(&line, begin));
        }
        Watched::Following(driver) => remark!("-- another process ({driver}) drives it; following"),
        Watched::Leading => remark!("-- that process has gone; driving from here"),
        Watched::Waiting(why) => remark!("-- waiting for the hub: {why}"),
    };
    let stage = rollout::drive(client, id, stop_when_paused, &mut tell).await.map_err(Failure::edge)?;
    let view = rollout::view(client, id).await.map_err(Failure::edge)?;
    remark!("");
    offer(format_args!("{}", summary(&view)));
    if stage == Stage::Paused {
        remark!("paused: `romaine rollout resume {id}` or `romaine rollout abort {id}`");
    }
    let failed = view.targets.values().any(|target| target.phase.is_failure());
    Ok(stage == Stage::Done && !failed)
}

fn told(line: &Line, begin: i64) -> String {
    let at = since(begin, line.at_ms);
    let text = line.text.lines().next().unwrap_or_default();
    match &line.edge {
        Some(edge) => format!("+{at:>7}  {edge}: {text}"),
        None => format!("+{at:>7}  {text}"),
    }
}

fn since(begin: i64, at_ms: i64) -> String {
    show_span(Duration::from_millis(u64::try_from(at_ms - begin).unwrap_or(0)))
}

async fn status(client: &Client, id: &str, json: bool) -> Outcome {
    let view = rollout::view(client, id).await.map_err(Failure::edge)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&view).context("cannot write JSON")?);
        return Ok(true);
    }
    out::text(format_args!("{}", summary(&view)));
    say!("\nper edge, times since the start:");
    let mut table = Table::new(&["EDGE", "WAVE", "PHASE", "SENT", "BEGUN", "SINCE", "BEFORE", "NOTE"]);
    let mut targets: Vec<_> = view.targets.iter().collect();
    targets.sort_by_key(|(id, target)| (target.wave, (*id).clone()));
    let begin = view.plan.created_ms;
    let at = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("+{}", since(begin, ms)));
    for (id, target) in targets {
        table.row(vec![
            id.clone(),
            (target.wave + 1).to_string(),
            target.phase.to_string(),
            at(target.sent_ms),
            at(target.begun_ms),
            at(Some(target.since_ms)),
            target.previous.as_ref().map_or_else(|| "-".to_owned(), |image| image.short().to_owned()),
            short(target.note.as_deref().unwrap_or_default()),
        ]);
    }
    out::text(format_args!("{}", table.text()));
    say!("\nwhat happened:");
    for line in &view.story {
        say!("{}", told(line, begin));
    }
    Ok(true)
}

fn summary(view: &View) -> String {
    let (plan, progress) = (&view.plan, &view.progress);
    let end = progress.ended_ms.unwrap_or(view.now_ms);
    let mut text = format!(
        "rollout {}: {} after {}\n  image   {}\n  targets {} ({} edges), generation {}\n",
        plan.id,
        progress.stage,
        since(plan.created_ms, end),
        plan.image,
        plan.targets,
        view.targets.len(),
        plan.generation,
    );
    if let Some(reason) = &progress.reason {
        text.push_str(&format!("  because {reason}\n"));
    }
    match (&view.driver, progress.stage.is_over()) {
        (_, true) => {}
        (Some(driver), false) => text.push_str(&format!("  driver  {driver}\n")),
        (None, false) => text.push_str(&format!("  driver  none: `romaine rollout run {}` goes on with it\n", plan.id)),
    }
    let mut table =
        Table::new(&["WAVE", "EDGES", "DONE", "FAILED", "UNDER WAY", "AWAY", "PENDING", "OTHER", "FIRST", "LAST"]);
    for (wave, size) in plan.waves.iter().zip(0_u32..).map(|(size, wave)| (wave, size)) {
        let of_wave: Vec<_> = view.targets.values().filter(|target| target.wave == wave).collect();
        let count = |phases: &[Phase]| of_wave.iter().filter(|target| phases.contains(&target.phase)).count();
        let known = [
            count(&[Phase::Done]),
            count(&[Phase::Failed, Phase::TimedOut]),
            count(&[Phase::Sent, Phase::Running, Phase::Reverting]),
            count(&[Phase::Away]),
            count(&[Phase::Pending]),
        ];
        let other = of_wave.len() - known.iter().sum::<usize>();
        let first = of_wave.iter().filter_map(|target| target.sent_ms).min();
        let last = of_wave.iter().filter(|target| target.phase != Phase::Pending).map(|target| target.since_ms).max();
        let at = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("+{}", since(plan.created_ms, ms)));
        let mut row = vec![(wave + 1).to_string(), size.to_string()];
        row.extend(known.iter().map(ToString::to_string));
        row.extend([other.to_string(), at(first), at(last)]);
        table.row(row);
    }
    text.push_str(&table.text());
    text
}

async fn list(client: &Client, json: bool) -> Outcome {
    let all = rollout::list(client).await.map_err(Failure::edge)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&all).context("cannot write JSON")?);
        return Ok(true);
    }
    let mut table = Table::new(&["ROLLOUT", "STAGE", "IMAGE", "TARGETS", "DONE", "FAILED", "AWAY", "STARTED"]);
    for listed in &all {
        let view = match listed {
            Listed::Known(view) => view,
            Listed::Unreadable { id, unreadable } => {
                let mut row = vec![id.clone(), "UNREADABLE".to_owned()];
                row.extend(["-"; 5].map(str::to_owned));
                row.push(short(unreadable));
                table.row(row);
                continue;
            }
            _ => continue,
        };
        let count = |phase: fn(Phase) -> bool| view.targets.values().filter(|target| phase(target.phase)).count();
        table.row(vec![
            view.plan.id.clone(),
            view.progress.stage.to_string(),
            view.plan.image.short().to_owned(),
            view.plan.targets.clone(),
            format!("{}/{}", count(|phase| phase == Phase::Done), view.targets.len()),
            count(Phase::is_failure).to_string(),
            count(|phase| phase == Phase::Away).to_string(),
            format!("{} ago", since(view.plan.created_ms, view.now_ms)),
        ]);
    }
    out::text(format_args!("{}", table.text()));
    Ok(true)
}
