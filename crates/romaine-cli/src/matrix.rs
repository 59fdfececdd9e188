//! `romaine matrix`: each fault under each load, measured, for romaine and for other clients.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;
use romaine_faultlab::scenario::Pace;
use romaine_faultlab::scenario::matrix::{
    Contestant, Fault, Grade, Onto, Peers, Scale, Selection, Survey, SurveyPlan, SurveyStep, Under,
};
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome};
use crate::out::say;
use crate::watch::Watch;

/// What `romaine matrix` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The other clients: a list of programs that speak the line protocol, such as `peers/peers.toml`.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Only these clients: romaine, and names from the list.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    clients: Vec<String>,
    /// Only these faults: F01–F21.
    #[arg(long, value_delimiter = ',', value_name = "FAULT,…")]
    faults: Vec<Fault>,
    /// Only under these loads: idle, callers, blocked, subscribed, all (the last three on one client), spread (callers of
    /// many keys), many (1,000 clients).
    #[arg(long, value_delimiter = ',', value_name = "LOAD,…")]
    under: Vec<Under>,
    /// Only this configuration of the clients; both by default.
    #[arg(long, value_enum)]
    config: Option<Config>,
    /// How often each cell is measured; the median and the worst are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// Faults of 15 s rather than a minute, and of 30 s rather than five.
    #[arg(long)]
    quick: bool,
    /// Faults of about 5 s; only with --config best.
    #[arg(long, conflicts_with = "quick")]
    brief: bool,
    /// How many cells side by side; four for each processor by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Add to the figures of an earlier survey, a file that --json wrote: its other cells stay, those measured now take
    /// their places. It must have been made with the same faults, server, versions and kind of machine.
    #[arg(long, value_name = "FILE")]
    onto: Option<PathBuf>,
    /// Measure only what that survey lacks: cells that it does not have, and of each cell as many runs as it has fewer than
    /// --runs. They are added to its own.
    #[arg(long, requires = "onto")]
    missing: bool,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the heat map to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keep what was seen in each cell, a file each, in this directory.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Config {
    /// The client's defaults. romaine notices dead peers within 10 s.
    Default,
    /// Its documented best for noticing dead peers. romaine's `Liveness::fast()`: within 2 s.
    Best,
}

/// Runs the matrix and shows it.
pub(crate) async fn run(args: &Args) -> Outcome {
    let plan = plan(args)?;
    for contestant in &plan.contestants {
        if let Some(missing) = &contestant.missing {
            eprintln!("{} is left out: {missing}", contestant.name);
        }
    }
    plan.fits().map_err(Failure::usage)?;
    let count = plan.count();
    eprintln!("{count} runs of cells, about {}", in_words(plan.estimate()));
    let (tell, progress) = mpsc::channel(64);
    let (survey, ()) = tokio::join!(plan.run(tell, stopped()), show(progress, count));
    let survey = survey?;
    write_all(args, &survey)?;
    say!("\n{}", summary(&survey));
    if let Some(done) = survey.sittings.last().and_then(|sitting| sitting.stopped_after) {
        let error = anyhow!("stopped after {done} of {count} runs; what was measured is above and written");
        return Err(Failure::negative(error));
    }
    Ok(survey.is_kept())
}

/// Ctrl-C. It reaches the servers and the other clients, too: what is under way is of no use any more.
async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn plan(args: &Args) -> Result<SurveyPlan, Failure> {
    if args.brief && args.config != Some(Config::Best) {
        let error = "--brief: a fault of 5 s ends before the default liveness notices it; add --config best";
        return Err(Failure::usage(anyhow!(error)));
    }
    let cells = Selection { faults: args.faults.clone(), under: args.under.clone() }.cells();
    if cells.is_empty() {
        let error = "no cell is left: that fault is not measured under that load";
        return Err(Failure::usage(anyhow!(error)));
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(SurveyPlan {
        contestants: contestants(args)?,
        configs: match args.config {
            None => vec![Pace::Default, Pace::Fast],
            Some(Config::Default) => vec![Pace::Default],
            Some(Config::Best) => vec![Pace::Fast],
        },
        cells,
        scale: match (args.quick, args.brief) {
            (_, true) => Scale::Brief,
            (true, false) => Scale::Quick,
            (false, false) => Scale::Full,
        },
        runs: usize::from(args.runs),
        jobs: args.jobs.map_or(processors * 4, usize::from),
        logs: args.logs.clone(),
        command: command(),
        onto: match &args.onto {
            Some(path) => {
                let survey = Survey::read(path).map_err(Failure::usage)?;
                Some(Onto { survey, only_missing: args.missing })
            }
            None => None,
        },
    })
}

fn contestants(args: &Args) -> Result<Vec<Contestant>, Failure> {
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let mut all = vec![Contestant::romaine(program, &["drive"])];
    if let Some(path) = &args.peers {
        let peers = Peers::read(path).map_err(Failure::usage)?;
        all.extend(peers.contestants(path.parent().unwrap_or_else(|| Path::new("."))));
    }
    let names: Vec<_> = all.iter().map(|contestant| contestant.name.clone()).collect();
    for wanted in &args.clients {
        if !names.contains(wanted) {
            let error = anyhow!("--clients: there is no {wanted}, but {}", names.join(", "));
            return Err(Failure::usage(error));
        }
    }
    all.retain(|contestant| args.clients.is_empty() || args.clients.contains(&contestant.name));
    Ok(all)
}

/// What a stranger types to have the same, without the paths of this machine.
fn command() -> String {
    let mut words = vec!["cargo xtask matrix".to_owned()];
    let mut rest = std::env::args().skip(2);
    while let Some(word) = rest.next() {
        if word == "--peers" {
            rest.next();
            continue;
        }
        let is_path = Path::new(&word).is_absolute();
        words.push(if is_path { "…".to_owned() } else { word });
    }
    words.join(" ")
}

fn write_all(args: &Args, survey: &Survey) -> anyhow::Result<()> {
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(survey).context("cannot write JSON")?;
        json.push('\n');
        write(path, &json)?;
    }
    if let Some(path) = &args.svg {
        write(path, &survey.heat_map())?;
    }
    if let Some(page) = &args.markdown {
        let from_page = |path: &PathBuf| seen_from(page, path);
        let (logs, picture) = (args.logs.as_ref().map(from_page), args.svg.as_ref().map(from_page));
        write(page, &survey.markdown(logs.as_deref(), picture.as_deref()))?;
    }
    Ok(())
}

/// A path as a link on a page: relative where the page's directory is above it, else only its name.
fn seen_from(page: &Path, path: &Path) -> String {
    let relative = page.parent().and_then(|dir| path.strip_prefix(dir).ok());
    let name = || path.file_name().map_or(path, Path::new);
    relative.unwrap_or_else(name).display().to_string()
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How each client did, in a line each, and what romaine did not keep.
fn summary(survey: &Survey) -> String {
    let mut out = String::new();
    for (who, config) in survey.columns() {
        let entries = survey.entries.iter().filter(|entry| entry.client == who.name && entry.config == config);
        let (mut grades, mut skipped, mut failed) = ([0usize; 5], 0, 0);
        for entry in entries {
            match entry.summary {
                Some(summary) => {
                    let place = Grade::ALL.iter().position(|grade| *grade == summary.grade);
                    if let Some(count) = place.and_then(|place| grades.get_mut(place)) {
                        *count += 1;
                    }
                }
                None if entry.has_failed() => failed += 1,
                None => skipped += 1,
            }
        }
        let words = Grade::ALL.iter().zip(grades).map(|(grade, count)| format!("{} {count}", grade.word()));
        let name = format!("{} {}", who.name, romaine_faultlab::scenario::matrix::config_name(config));
        let words = words.collect::<Vec<_>>().join(", ");
        out.push_str(&format!("{name:<24} {words}; {skipped} skipped, {failed} failed\n"));
    }
    for entry in survey.entries.iter().filter(|entry| entry.client == "romaine") {
        for broken in entry.broken() {
            out.push_str(&format!("BROKEN  {}: {broken}\n", entry.cell));
        }
    }
    for entry in survey.entries.iter().filter(|entry| entry.has_failed()) {
        out.push_str(&format!("FAILED  {} {}: {}\n", entry.client, entry.cell, entry.reason().unwrap_or_default()));
    }
    let verdict = match (survey.entries.iter().any(|entry| entry.client == "romaine"), survey.is_kept()) {
        (false, _) => "measured",
        (true, true) => "romaine kept every promise",
        (true, false) => "romaine: PROMISES WERE BROKEN",
    };
    let took_s = survey.sittings.last().map_or(0.0, |sitting| sitting.took_s);
    out.push_str(&format!("\n{verdict} ({took_s:.0} s)"));
    out
}

async fn show(mut progress: mpsc::Receiver<SurveyStep>, count: usize) {
    let watch = Watch::new(count);
    let mut running = BTreeSet::new();
    let (mut ended, mut remaining) = (0, None);
    while let Some(step) = progress.recv().await {
        match step {
            SurveyStep::Begins(name) => drop(running.insert(name)),
            SurveyStep::Ended { name, line, done, left } => {
                running.remove(&name);
                (ended, remaining) = (done, Some(left));
                watch.done(done);
                watch.line(&format!("{done:>4}/{count}  {line}"));
            }
        }
        let names: Vec<_> = running.iter().map(String::as_str).collect();
        let left = remaining.map_or_else(String::new, |left| format!(", {} left", in_words(left)));
        watch.doing(format!("{ended}/{count}{left}; under way: {}", names.join("; ")));
    }
    watch.end();
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5_400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{:.1} h", Duration::from_secs(seconds).as_secs_f64() / 3_600.0),
    }
}
