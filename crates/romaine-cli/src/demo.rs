//! `romaine demo`: five faults on a real server, live.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use romaine_faultlab::scenario::demo::{self, FAULTS, Progress};
use romaine_faultlab::scenario::{Calls, Moment, Observation};
use tokio::sync::mpsc;

use crate::exit::Outcome;
use crate::watch::Watch;

/// What `romaine demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the result to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the demo and shows it.
pub(crate) async fn run(args: &Args) -> Outcome {
    let (tell, mut progress) = mpsc::channel(4_096);
    let showing = async {
        let mut screen = Screen::new();
        while let Some(progress) = progress.recv().await {
            screen.show(progress);
        }
        screen.watch.end();
    };
    let (report, ()) = tokio::join!(demo::run(tell), showing);
    let report = report?;
    println!("\n{}", report.text());
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        json.push('\n');
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let verdict = if report.is_kept() { "every promise was kept" } else { "PROMISES WERE BROKEN" };
    println!("{verdict} ({:.0} s)", report.took_s);
    Ok(report.is_kept())
}

struct Screen {
    watch: Watch,
    fault: Option<(usize, &'static str)>,
    begin: Moment,
    healed: bool,
    elements: u64,
    messages: u64,
    calls: Calls,
}

impl Screen {
    fn new() -> Self {
        let watch = Watch::new(FAULTS);
        watch.doing("starting a redis-server".into());
        let (fault, begin, healed) = (None, Moment::now(), false);
        Self { watch, fault, begin, healed, elements: 0, messages: 0, calls: Calls::default() }
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Note(text) => self.watch.line(&text),
            Progress::Fault(number, title) => {
                self.fault = Some((number, title));
                self.begin = Moment::now();
                self.healed = false;
                self.watch.line(&format!("\n{number}/{FAULTS} {title}"));
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
            Some((number, title)) if !self.healed => format!("{number}/{FAULTS} {title}"),
            Some((number, _)) => format!("{number}/{FAULTS} over, back to normal"),
        };
        let Self { elements, messages, calls, .. } = self;
        self.watch.doing(format!(
            "{doing} │ elements {elements} │ messages {messages} │ INCR {} acknowledged, {} waiting",
            calls.acked, calls.open
        ));
    }
}
