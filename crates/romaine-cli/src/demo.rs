//! `romaine demo`: faults on real servers, live.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use romaine_faultlab::scenario::demo::{self, FAULTS, Progress};
use romaine_faultlab::scenario::demo_topology::{self, Kind};
use romaine_faultlab::scenario::{Calls, Moment, Observation};
use tokio::sync::mpsc;

use crate::exit::Outcome;
use crate::out::say;
use crate::watch::Watch;

/// What `romaine demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The servers: one, a primary with replicas and Sentinels, or a Cluster.
    #[arg(long, value_enum, default_value = "standalone")]
    topology: Topology,
    /// Write the result to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Which servers the demo starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Topology {
    /// One server: packets lost, a frozen server, a killed one, killed connections.
    Standalone,
    /// Failovers by Sentinels.
    Sentinel,
    /// Failovers and moving slots in a Cluster.
    Cluster,
}

impl Topology {
    const fn faults(self) -> usize {
        match self {
            Self::Standalone => FAULTS,
            Self::Sentinel => Kind::Sentinel.fault_count(),
            Self::Cluster => Kind::Cluster.fault_count(),
        }
    }

    async fn demo(self, tell: mpsc::Sender<Progress>) -> anyhow::Result<demo::Report> {
        match self {
            Self::Standalone => demo::run(tell).await,
            Self::Sentinel => demo_topology::run(Kind::Sentinel, tell).await,
            Self::Cluster => demo_topology::run(Kind::Cluster, tell).await,
        }
    }
}

/// Runs the demo and shows it.
pub(crate) async fn run(args: &Args) -> Outcome {
    let (tell, mut progress) = mpsc::channel(4_096);
    let showing = async {
        let mut screen = Screen::new(args.topology.faults());
        while let Some(progress) = progress.recv().await {
            screen.show(progress);
        }
        screen.watch.end();
    };
    let (report, ()) = tokio::join!(args.topology.demo(tell), showing);
    let report = report?;
    say!("\n{}", report.text());
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        json.push('\n');
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let verdict = if report.is_kept() { "every promise was kept" } else { "PROMISES WERE BROKEN" };
    say!("{verdict} ({:.0} s)", report.took_s);
    Ok(report.is_kept())
}

struct Screen {
    watch: Watch,
    faults: usize,
    fault: Option<(usize, &'static str)>,
    begin: Moment,
    healed: bool,
    elements: u64,
    messages: u64,
    calls: Calls,
}

impl Screen {
    fn new(faults: usize) -> Self {
        let watch = Watch::new(faults);
        watch.doing("starting the servers".into());
        let (fault, begin, healed) = (None, Moment::now(), false);
        Self { watch, faults, fault, begin, healed, elements: 0, messages: 0, calls: Calls::default() }
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Note(text) => self.watch.line(&text),
            Progress::Fault(number, title) => {
                self.fault = Some((number, title));
                self.begin = Moment::now();
                self.healed = false;
                self.watch.line(&format!("\n{number}/{} {title}", self.faults));
            }
            Progress::Healed => {
                self.healed = true;
                self.say(Moment::now(), "── the fault is over");
            }
            Progress::Working(after) => {
                self.say(Moment::now(), &format!("── all work again, {:.2} s after the fault", after.as_secs_f64()));
                if let Some((number, _)) = self.fault {
                    self.watch.done(number);
                }
            }
            Progress::Seen(seen) => match seen.what {
                Observation::Element(_) => self.elements += 1,
                Observation::Message(_) => self.messages += 1,
                Observation::Calls(calls) => self.calls = calls,
                ref what => {
                    if let Some(text) = demo::describe(what) {
                        self.say(seen.at, &text);
                    }
                }
            },
        }
        self.refresh();
    }

    fn say(&self, at: Moment, text: &str) {
        let after: Duration = at.since(self.begin);
        let prefix = if self.fault.is_some() { format!("  +{:6.2} s  ", after.as_secs_f64()) } else { String::new() };
        self.watch.line(&format!("{prefix}{text}"));
    }

    fn refresh(&self) {
        let doing = match self.fault {
            None => "no fault yet".to_owned(),
            Some((number, title)) if !self.healed => format!("{number}/{} {title}", self.faults),
            Some((number, _)) => format!("{number}/{} over, back to normal", self.faults),
        };
        let Self { elements, messages, calls, .. } = self;
        self.watch.doing(format!(
            "{doing} │ elements {elements} │ messages {messages} │ INCR {} acknowledged, {} waiting",
            calls.acked, calls.open
        ));
    }
}
