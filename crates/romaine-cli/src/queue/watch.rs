//! `romaine queue watch`: queues as they change.

use std::collections::{HashMap, VecDeque};
use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use futures_util::future::{Fuse, FusedFuture as _};
use futures_util::{FutureExt as _, StreamExt as _};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use romaine::Client;
use romaine_edge::parse_span;
use romaine_faultlab::scenario::table;
use romaine_queue::{ErrorKind, Queue, Status};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};

use super::{failure, queue, show};
use crate::exit::Outcome;
use crate::out::say;

/// What `watch` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The queues.
    #[arg(required = true)]
    queues: Vec<String>,
    /// How often they are looked at.
    #[arg(long, default_value = "1s", value_parser = parse_span)]
    every: Duration,
    /// A line of JSON a time: an array with what `status --json` says of each queue, or an object with an error.
    #[arg(long)]
    json: bool,
}

/// Moments that are remembered for the curves.
const MEMORY: usize = 240;

/// Shows until `q`; where there is no terminal, prints a table a time. A server that is away is waited for.
pub(crate) async fn run(client: &Client, args: &Args) -> Outcome {
    let queues = args.queues.iter().map(|name| queue(client, name)).collect::<Result<Vec<_>, _>>()?;
    if args.json || !std::io::stdout().is_terminal() {
        return print(&queues, args).await;
    }
    let mut terminal = ratatui::init();
    let shown = Screen::new(args.every).run(&mut terminal, &queues).await;
    ratatui::restore();
    shown.map(|()| true).map_err(Into::into)
}

async fn look(queues: &[Queue]) -> romaine_queue::Result<Vec<Status>> {
    let mut all = Vec::with_capacity(queues.len());
    for queue in queues {
        all.push(queue.status().await?);
    }
    Ok(all)
}

async fn print(queues: &[Queue], args: &Args) -> Outcome {
    let mut ticks = every(args.every);
    loop {
        ticks.tick().await;
        match (look(queues).await, args.json) {
            (Ok(now), true) => say!("{}", Value::Array(now.iter().map(show::as_json).collect())),
            (Ok(now), false) => {
                let mut table = table::Table::new(&show::HEADING);
                now.iter().for_each(|status| table.row(show::row(status)));
                say!("{}", table.text());
            }
            // What no time mends.
            (Err(error), _) if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full) => {
                return Err(failure(error));
            }
            (Err(error), true) => say!("{}", json!({ "error": error.to_string() })),
            (Err(error), false) => say!("not up to date: {error}\n"),
        }
    }
}

/// A look that takes long is followed by a pause, not by those that were missed.
fn every(span: Duration) -> Interval {
    let mut ticks = tokio::time::interval(span);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is on the screen.
struct Screen {
    every: Duration,
    statuses: Vec<Status>,
    /// Jobs done per second and jobs waiting, by queue, the newest last.
    rates: HashMap<String, VecDeque<u64>>,
    depths: HashMap<String, VecDeque<u64>>,
    /// Why the last look failed.
    trouble: Option<String>,
}

impl Screen {
    fn new(every: Duration) -> Self {
        Self { every, statuses: Vec::new(), rates: HashMap::new(), depths: HashMap::new(), trouble: None }
    }

    async fn run(mut self, terminal: &mut DefaultTerminal, queues: &[Queue]) -> anyhow::Result<()> {
        let mut keys = EventStream::new();
        let mut ticks = every(self.every);
        // The look goes on beside the keys: in an outage it takes as long as the client waits.
        let mut looking = pin!(Fuse::terminated());
        loop {
            terminal.draw(|frame| self.draw(frame)).context("cannot draw")?;
            tokio::select! {
                key = keys.next() => match key {
                    Some(Ok(Event::Key(key))) if is_end(key) => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error).context("cannot read the keyboard"),
                    None => return Ok(()),
                },
                _ = ticks.tick(), if looking.is_terminated() => looking.set(look(queues).fuse()),
                looked = &mut looking => match looked {
                    Ok(statuses) => {
                        self.trouble = None;
                        self.learn(statuses);
                    }
                    // What was known stays on the screen, and that it is old is said.
                    Err(error) => self.trouble = Some(error.to_string()),
                },
            }
        }
    }

    fn learn(&mut self, statuses: Vec<Status>) {
        for status in &statuses {
            let before = self.statuses.iter().find(|before| before.queue == status.queue);
            if let Some(before) = before
                && status.time_ms > before.time_ms
            {
                let done = status.totals.done.saturating_sub(before.totals.done);
                let span = u64::try_from(status.time_ms - before.time_ms).unwrap_or(1).max(1);
                remember(&mut self.rates, &status.queue, done * 1_000 / span);
            }
            remember(&mut self.depths, &status.queue, status.waiting);
        }
        self.statuses = statuses;
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let height = u16::try_from(self.statuses.len()).unwrap_or(u16::MAX).saturating_add(3);
        let parts = [Constraint::Length(height), Constraint::Min(4), Constraint::Length(1)];
        let [top, middle, bottom] = Layout::vertical(parts).areas(frame.area());
        self.table(frame, top);
        self.curves(frame, middle);
        let line = match &self.trouble {
            Some(why) => Line::from(format!(" not up to date: {why}")).red(),
            None => Line::from(format!(" every {} s · q ends", self.every.as_secs_f32())).dim(),
        };
        frame.render_widget(Paragraph::new(line), bottom);
    }

    fn table(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.statuses.iter().map(|status| {
            let cells = show::row(status);
            let style = if show::trouble(status).is_some() { Style::new().fg(Color::Red).bold() } else { Style::new() };
            Row::new(cells.into_iter().map(Cell::from)).style(style)
        });
        let widths = [16, 10, 12, 10, 10, 8, 12, 9, 24].map(Constraint::Length);
        let heading = Row::new(show::HEADING.map(Cell::from)).bold();
        frame.render_widget(Table::new(rows, widths).header(heading).block(Block::bordered().title(" queues ")), area);
    }

    fn curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let count = u32::try_from(self.statuses.len().max(1)).unwrap_or(1);
        let lines = Layout::vertical((0..count).map(|_| Constraint::Ratio(1, count))).split(area);
        for (status, area) in self.statuses.iter().zip(lines.iter()) {
            let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(*area);
            curve(frame, left, &format!(" {}: waiting ", status.queue), self.depths.get(&status.queue), Color::Yellow);
            curve(
                frame,
                right,
                &format!(" {}: done per second ", status.queue),
                self.rates.get(&status.queue),
                Color::Green,
            );
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
}

fn remember(curves: &mut HashMap<String, VecDeque<u64>>, name: &str, value: u64) {
    let curve = curves.entry(name.to_owned()).or_default();
    if curve.len() == MEMORY {
        curve.pop_front();
    }
    curve.push_back(value);
}

fn curve(frame: &mut Frame<'_>, area: Rect, title: &str, values: Option<&VecDeque<u64>>, color: Color) {
    let width = usize::from(area.width.saturating_sub(2));
    let values: Vec<u64> = values
        .map(|values| values.iter().skip(values.len().saturating_sub(width)).copied().collect())
        .unwrap_or_default();
    let now = values.last().copied().unwrap_or(0);
    let block = Block::bordered().title(format!("{title}{now} "));
    frame.render_widget(Sparkline::default().block(block).data(values).style(Style::new().fg(color)), area);
}
