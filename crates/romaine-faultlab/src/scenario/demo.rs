//! Five faults, one after the other, under one client with a consumer, a subscriber and 64 callers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::field::{Cut, Field, Path};
use super::host::Host;
use super::moment::Moment;
use super::producer::EVERY;
use super::promises::{BACK_WITHIN, Balance, check_delay, check_flow};
use super::protocol::{Link, Load, Observation, Order, Pace, Seen};
use super::record::{Flow, Record};
use super::stage::{Eyes, Remains, Stage};
use super::subject::Driver;
use super::table::{Table, seconds};
use crate::Server;

const LOADS: [Load; 3] = [Load::Blocked, Load::Subscribed, Load::Callers];

/// Longer than a dead peer may take to be noticed.
const CUT_FOR: Duration = Duration::from_secs(12);

/// How long the server is down after a kill.
const DOWN_FOR: Duration = Duration::from_secs(3);

/// Between a recovery and the next fault.
const CALM: Duration = Duration::from_secs(3);

/// How long the client is waited for after a fault, far beyond what is promised.
const BACK_AT_LAST: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    DropBoth,
    DropToClient,
    Freeze,
    Kill,
    KillClients,
}

impl Fault {
    const ALL: [Self; 5] = [Self::DropBoth, Self::DropToClient, Self::Freeze, Self::Kill, Self::KillClients];

    const fn title(self) -> &'static str {
        match self {
            Self::DropBoth => "packets dropped both ways, 12 s",
            Self::DropToClient => "packets dropped server → client, 12 s",
            Self::Freeze => "server frozen (SIGSTOP), 12 s",
            Self::Kill => "server killed (kill -9), restarted after 3 s",
            Self::KillClients => "CLIENT KILL of every connection",
        }
    }

    /// Inflicts it and ends it; when it was in force.
    async fn inflict(self, field: &Field) -> anyhow::Result<Moment> {
        match self {
            Self::DropBoth => Self::cut(field, Cut::Both).await,
            Self::DropToClient => Self::cut(field, Cut::ToClient).await,
            Self::Freeze => {
                field.server.freeze().await?;
                let in_force = Moment::now();
                tokio::time::sleep(CUT_FOR).await;
                field.server.thaw()?;
                Ok(in_force)
            }
            Self::Kill => {
                let in_force = Moment::now();
                field.server.kill();
                tokio::time::sleep(DOWN_FOR).await;
                field.server.restart().await?;
                Ok(in_force)
            }
            Self::KillClients => {
                let in_force = Moment::now();
                field.kill_clients().await?;
                Ok(in_force)
            }
        }
    }

    async fn cut(field: &Field, cut: Cut) -> anyhow::Result<Moment> {
        field.cut(cut).await?;
        // The packet filter's tools take their time on a loaded machine; the fault begins when they are done.
        let in_force = Moment::now();
        tokio::time::sleep(CUT_FOR).await;
        field.heal().await?;
        Ok(in_force)
    }
}

/// What happens while the demo runs.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Something worth a line.
    Note(String),
    /// A fault begins: its number from 1, and its name.
    Fault(usize, &'static str),
    /// The client under test did or said something.
    Seen(Seen),
    /// The fault is over.
    Healed,
    /// All loads work again, so long after the fault was over.
    Working(Duration),
}

/// How many faults there are.
pub const FAULTS: usize = Fault::ALL.len();

/// What one fault did.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The fault.
    pub fault: &'static str,
    /// How long it lasted, in seconds.
    pub lasted_s: f64,
    /// For each load: how long after the fault's begin its connection was lost or declared dead, in seconds.
    pub noticed_s: BTreeMap<Load, f64>,
    /// For each load: how long after the fault's end it worked again, in seconds.
    pub working_s: BTreeMap<Load, f64>,
    /// The limit of that: two seconds and the back-off in force, in seconds.
    pub working_limit_s: f64,
    /// The elements pushed between the fault's begin and the next fault's.
    pub elements: Flow,
    /// The messages published in that time.
    pub messages: Flow,
    /// Ghosts examined and ended.
    pub ghosts_fenced: usize,
    /// Promises that were not kept.
    pub broken: Vec<String>,
}

/// What the demo has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The client.
    pub client: &'static str,
    /// How packets were lost.
    pub path: &'static str,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// Fault by fault.
    pub rows: Vec<Row>,
    /// All elements.
    pub elements: Flow,
    /// All messages.
    pub messages: Flow,
    /// All calls of INCR against the counter.
    pub calls: Balance,
    /// Promises of the whole that were not kept.
    pub broken: Vec<String>,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.broken.is_empty() && self.rows.iter().all(|row| row.broken.is_empty())
    }

    /// The table and what follows from it, for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let heading =
            ["fault", "noticed after", "working again after", "elements lost", "duplicates", "ghosts fenced", "kept"];
        let mut table = Table::new(&heading);
        for row in &self.rows {
            let longest = |times: &BTreeMap<Load, f64>| {
                let longest = times.values().copied().reduce(f64::max);
                seconds(longest.map(Duration::from_secs_f64))
            };
            table.row(vec![
                row.fault.to_owned(),
                longest(&row.noticed_s),
                longest(&row.working_s),
                lost(row.elements),
                row.elements.duplicates.to_string(),
                row.ghosts_fenced.to_string(),
                if row.broken.is_empty() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        let mut out = table.text();
        let Self { elements, messages, calls, .. } = self;
        out.push_str(&format!(
            "\nconsumer    {} elements pushed; {}; {} delivered twice\n\
             subscriber  {} messages published; {} missed in {} announced gaps, {} missed without a word; \
             {} delivered twice\n\
             64 callers  {} calls acknowledged, {} unknown, {} not executed; the counter says {}; \
             {} never returned; the longest took {:.1} s\n",
            elements.produced,
            lost(*elements),
            elements.duplicates,
            messages.produced,
            messages.lost - messages.unannounced,
            messages.announced,
            messages.unannounced,
            messages.duplicates,
            calls.acked,
            calls.unknown,
            calls.refused,
            calls.counter,
            calls.never_returned,
            Duration::from_millis(calls.slowest_ms).as_secs_f64(),
        ));
        let of_rows = self.rows.iter().flat_map(|row| row.broken.iter().map(move |broken| (row.fault, broken)));
        for (fault, broken) in of_rows.chain(self.broken.iter().map(|broken| ("the whole", broken))) {
            out.push_str(&format!("BROKEN  {fault}: {broken}\n"));
        }
        out
    }
}

fn lost(flow: Flow) -> String {
    match (flow.lost, flow.lost - flow.unannounced) {
        (0, _) if flow.announced == 0 => "0".to_owned(),
        (0, _) => format!("0 ({} announced as possible)", flow.announced),
        (lost, announced) => format!("{lost} ({announced} announced)"),
    }
}

/// One fault's time, and that of what follows it until the next.
struct Window {
    fault: Fault,
    begin: Moment,
    /// When the fault was in force; what is produced between `begin` and then may suffer from it already.
    in_force: Moment,
    healed: Moment,
}

/// Runs the demo. What happens meanwhile goes to `progress`.
///
/// # Errors
///
/// When the lab itself fails: no server, no client. A broken promise is no error, but in the report.
pub async fn run(progress: mpsc::Sender<Progress>) -> anyhow::Result<Report> {
    let began = Moment::now();
    let note = async |text: String| drop(progress.send(Progress::Note(text)).await);
    let (field, path) = match Field::in_namespace(Server::builder().persistent()).await {
        Ok(field) => (field, "network namespace: the kernel drops packets"),
        Err(reason) => {
            note(format!("no network namespace here ({reason:#}): a proxy holds the bytes back instead")).await;
            (Field::behind_proxy(Server::builder().persistent()).await?, "proxy: bytes are held back")
        }
    };
    note(format!("redis-server at {} ({path})", field.url())).await;
    let order = Order::new(field.url(), Pace::Default, &LOADS);
    let mut forwarding = tokio::task::JoinSet::new();
    let tell = onlooker(&progress, &mut forwarding);
    let eyes = Eyes { onlooker: Some(tell), ..Eyes::default() };
    let stage = Stage::set(&Driver::Here, order, Host::Real(field.server.clone()), EVERY, eyes).await?;
    note("one client: a consumer in BRPOP jobs 0, a subscriber, 64 callers of INCR".into()).await;
    let mut windows = Vec::new();
    for (number, fault) in (1..).zip(Fault::ALL) {
        let _ = progress.send(Progress::Fault(number, fault.title())).await;
        let begin = Moment::now();
        let in_force = fault.inflict(&field).await?;
        let healed = Moment::now();
        let _ = progress.send(Progress::Healed).await;
        match stage.all_work(healed, BACK_AT_LAST).await {
            Ok(()) => drop(progress.send(Progress::Working(Moment::now().since(healed))).await),
            Err(error) => note(format!("{error:#}")).await,
        }
        windows.push(Window { fault, begin, in_force, healed });
        tokio::time::sleep(CALM).await;
    }
    note("no more faults: the rest is delivered, and everything ends".into()).await;
    let (record, remains) = stage.strike().await?;
    Ok(report(&field, path, began, &windows, &record, &remains))
}

/// Where a stage tells what it sees, for whoever watches `progress`.
pub(super) fn onlooker(progress: &mpsc::Sender<Progress>, tasks: &mut tokio::task::JoinSet<()>) -> mpsc::Sender<Seen> {
    let (tell, mut seen) = mpsc::channel(4_096);
    let forward = progress.clone();
    tasks.spawn(async move {
        while let Some(seen) = seen.recv().await {
            if forward.send(Progress::Seen(seen)).await.is_err() {
                return;
            }
        }
    });
    tell
}

fn report(
    field: &Field,
    path: &'static str,
    began: Moment,
    windows: &[Window],
    record: &Record,
    remains: &Remains,
) -> Report {
    let by_proxy = matches!(field.path, Path::Proxy(_));
    let rows = windows.iter().enumerate().map(|(index, window)| {
        let until = windows.get(index + 1).map_or(Moment::MAX, |next| next.begin);
        row(window, until, record, remains, by_proxy)
    });
    let rows: Vec<_> = rows.collect();
    let always = (Moment::default(), Moment::MAX);
    let elements = record.elements(&remains.produced, always.0, always.1).to_the_word();
    let messages = record.messages(&remains.produced, always.0, always.1).to_the_word();
    let calls = Balance::new(remains.calls, remains.counter);
    let mut broken = record.troubles(always.0, always.1);
    check_flow(&mut broken, "elements", elements);
    check_flow(&mut broken, "messages", messages);
    calls.check_calls(&mut broken);
    calls.check_counter(&mut broken);
    if remains.undelivered > 0 {
        broken.push(format!("{} elements were left in the queue", remains.undelivered));
    }
    broken.dedup();
    let took_s = Moment::now().since(began).as_secs_f64();
    Report { client: "romaine", path, took_s, rows, elements, messages, calls, broken }
}

fn row(window: &Window, until: Moment, record: &Record, remains: &Remains, by_proxy: bool) -> Row {
    let Window { fault, begin, in_force, healed } = *window;
    let noticed = record.noticed(&LOADS, begin, until);
    let working = record.working(&remains.produced, &LOADS, healed);
    let limit = BACK_WITHIN + record.backoff(healed, until).min(Duration::from_secs(2));
    let mut broken = Vec::new();
    for load in LOADS {
        let link = load.link();
        let after = noticed.get(&load).map(|at| at.since(in_force));
        let bound = Pace::Default.bound() + record.stalled(begin, noticed.get(&load).copied().unwrap_or(until));
        check_delay(&mut broken, &format!("{link}: noticed"), after, bound);
        let after = working.get(&load).filter(|at| **at < until).map(|at| at.since(healed));
        check_delay(&mut broken, &format!("{link}: working again"), after, limit);
    }
    let elements = record.elements(&remains.produced, begin, until).to_the_word();
    let messages = record.messages(&remains.produced, begin, until).to_the_word();
    check_flow(&mut broken, "elements", elements);
    check_flow(&mut broken, "messages", messages);
    let since = |times: BTreeMap<Load, Moment>, start: Moment| {
        times.into_iter().map(|(load, at)| (load, at.since(start).as_secs_f64())).collect()
    };
    let title = match (by_proxy, fault) {
        (true, Fault::DropBoth) => "bytes held back both ways, 12 s",
        (true, Fault::DropToClient) => "bytes held back server → client, 12 s",
        _ => fault.title(),
    };
    Row {
        fault: title,
        lasted_s: healed.since(in_force).as_secs_f64(),
        noticed_s: since(noticed, in_force),
        working_s: since(working, healed),
        working_limit_s: limit.as_secs_f64(),
        elements,
        messages,
        ghosts_fenced: record.count(begin, until, |what| matches!(what, Observation::Fenced { .. })),
        broken,
    }
}

/// What an observation says to someone who watches, if it is worth a line.
#[must_use]
pub fn describe(what: &Observation) -> Option<String> {
    let to = |link: &Link| format!("{link:<13}");
    Some(match what {
        Observation::Suspect { link, silent_for } => {
            format!("{} suspect: silent for {:.1} s", to(link), silent_for.as_secs_f64())
        }
        Observation::Recovered { link } => format!("{} answers again", to(link)),
        Observation::Disconnected { link, cause } => format!("{} given up: {cause}", to(link)),
        Observation::Activated { link } => format!("{} connected", to(link)),
        Observation::Fenced { verdict } => format!("{} ghost fenced: {verdict}", to(&Link::Blocking)),
        Observation::Broken { link, cause } => format!("{link:<13} call ended, its effect unknown: {cause}"),
        Observation::ElementMayBeLost => {
            format!("{} the consumer is told: an element may have been lost", to(&Link::Blocking))
        }
        Observation::Gap { since, until } => format!(
            "{} the subscriber is told: a gap of {:.1} s",
            to(&Link::Subscriptions),
            until.since(*since).as_secs_f64()
        ),
        Observation::Stalled { link, late_by } => {
            format!("{} our own process was late by {:.1} s", to(link), late_by.as_secs_f64())
        }
        Observation::Failover { from, to } => format!("{:<13} the primary is {to}, no longer {from}", "topology"),
        Observation::Trouble(text) => format!("TROUBLE: {text}"),
        _ => return None,
    })
}
