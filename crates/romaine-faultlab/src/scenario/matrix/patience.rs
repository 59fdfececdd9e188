//! F15–F17: nobody is dead here, only slow.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::cell::Lab;
use super::report::{Grade, Outcome};
use super::trial::{Expect, Trial, Verdict};
use crate::deadline::look_again;
use crate::scenario::field::Field;
use crate::scenario::line::Line;
use crate::scenario::moment::Moment;
use crate::scenario::protocol::{BIG, Control, Load, NEWS, Observation};
use crate::scenario::subject::Driver;
use crate::{Direction, Fault, Server};

/// A subscriber that was told of nothing for so long is told of nothing more.
const QUIET: Duration = Duration::from_secs(5);

/// F15: with messages of 1 KiB the default backlog of 65,536 messages holds 64 MiB and what belongs to them.
pub(super) async fn slow_reader(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    const SIZE: usize = 1_000;
    const PER_SECOND: u64 = 50_000;
    let field = Field::behind_proxy(Server::builder()).await?;
    let mut order = lab.order(field.url());
    order.consume = false;
    let stage = lab.stage_with(&field, order).await?;
    let mut line = Line::connect(&field.server.unix_path()).await?;
    let mut trial = Trial::begin(stage, lab.settings).await?;
    let (begin, length) = (Moment::now(), lab.settings.scale.seconds(60, 15, 5));
    let ballast = "x".repeat(SIZE);
    let (mut published, mut most_buffered) = (0u64, 0u64);
    while Moment::now().since(begin) < length {
        let due = Moment::now().since(begin).as_millis() * u128::from(PER_SECOND) / 1_000;
        let count = u64::try_from(due)?.saturating_sub(published).min(500);
        for _ in 0..count {
            published += 1;
            line.put(&["PUBLISH", NEWS, &format!("{published} {ballast}")]);
        }
        line.send().await?;
        for _ in 0..count {
            line.answer().await?;
        }
        if published.is_multiple_of(5_000) {
            most_buffered = most_buffered.max(output_buffers(&mut line).await?);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    trial.stage.subject.tell(Control::Consume).await?;
    let told = |trial: &Trial| {
        trial.stage.record.read(|all| {
            let mut told = (0, 0);
            for seen in all {
                match seen.what {
                    Observation::Message(_) => told.0 += 1,
                    Observation::Dropped(count) => told.1 += count,
                    _ => {}
                }
            }
            told
        })
    };
    // As long as something comes; a subscriber that was thrown out gets nothing more.
    let (mut received, mut dropped) = told(&trial);
    let mut last = Moment::now();
    while received + dropped < published && Moment::now().since(last) < QUIET {
        look_again().await;
        let now = told(&trial);
        if now != (received, dropped) {
            ((received, dropped), last) = (now, Moment::now());
        }
    }
    let megabytes = published * SIZE as u64 / 1_000_000;
    // The server throws out who does not read: that is no verdict of the client's, and shows in what it did not get.
    let mut expect = Expect::new(Verdict::Any).note(format!(
        "{megabytes} MB published at {} MB/s; {received} messages received and {dropped} told as dropped, of {published}; \
         the server buffered {} KiB at most",
        megabytes / length.as_secs(),
        most_buffered >> 10
    ));
    expect.memory_max = Some(192 << 20);
    let is_balanced = received + dropped == published;
    // Nothing more is published, so nothing more has to arrive.
    trial.stage.loads.clear();
    let mut outcome = trial.healed(expect).await?;
    if let Outcome::Measured(measured) = &mut outcome {
        let unannounced = published.saturating_sub(received + dropped);
        let flow = &mut measured.messages;
        (flow.produced, flow.lost, flow.unannounced) = (published, published - received, unannounced);
        if !is_balanced {
            let grade = if unannounced > 0 { Grade::Loses } else { Grade::Late };
            measured.breaks(grade, format!("{received} received and {dropped} dropped are not {published} published"));
        }
        if most_buffered > 8 << 20 {
            let what = format!("we were a slow reader: the server buffered {} MiB", most_buffered >> 20);
            measured.breaks(Grade::Late, what);
        }
    }
    Ok(outcome)
}

/// What the server holds for subscribers that do not read.
async fn output_buffers(line: &mut Line) -> anyhow::Result<u64> {
    let list = line.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).await?.text();
    let sizes = list.split_ascii_whitespace().filter_map(|pair| pair.strip_prefix("omem=")?.parse::<u64>().ok());
    Ok(sizes.max().unwrap_or(0))
}

/// F16.
pub(super) async fn slow_server(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    match lab.cell.variant {
        "script" => script(lab).await,
        "CLIENT PAUSE" => pause(lab).await,
        _ => trickle(lab).await,
    }
}

async fn trickle(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let length = lab.settings.scale.seconds(60, 15, 5);
    let field = Field::behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { bail!("no proxy") };
    field.server.command(&["SET", BIG, "small"]).await?;
    let mut order = lab.order(field.url());
    order.loads = vec![Load::Fetch];
    let stage = lab.stage_with(&field, order).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    proxy.set(Direction::ToClient, Fault::Bandwidth(1_024));
    let size = usize::try_from(length.as_secs())? * 1_024;
    field.server.command(&["SET", BIG, &"x".repeat(size)]).await?;
    tokio::time::sleep(length).await;
    field.heal().await?;
    trial.healed(Expect::new(Verdict::Alive).note(format!("a value of {} KiB", size >> 10))).await
}

async fn script(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let length = lab.settings.scale.seconds(20, 12, 12);
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let mut line = Line::connect(&field.server.unix_path()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    let spin = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                local stop = now() + tonumber(ARGV[1]) while now() < stop do end return 1";
    line.ask(&["EVAL", spin, "0", &length.as_millis().to_string()]).await.context("the script failed")?;
    let note = format!("a script of {} s; the server answers -BUSY after 5 s, as by default", length.as_secs());
    trial.healed(Expect::new(Verdict::Alive).note(note)).await
}

async fn pause(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let length = Duration::from_secs(8);
    let (field, stage) = lab.behind_proxy(Server::builder()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    field.server.command(&["CLIENT", "PAUSE", &length.as_millis().to_string(), "WRITE"]).await?;
    tokio::time::sleep(length).await;
    trial.healed(Expect::new(Verdict::Alive).note(format!("a pause of {} s", length.as_secs()))).await
}

/// F17.
pub(super) async fn stopped(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    if matches!(lab.settings.driver, Driver::Here) {
        return Ok(Outcome::Skipped("the client has no process of its own here".into()));
    }
    let (_field, stage) = lab.behind_proxy(Server::builder()).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    trial.stage.subject.set_stopped(true)?;
    tokio::time::sleep(lab.settings.scale.seconds(30, 15, 5)).await;
    trial.stage.subject.set_stopped(false)?;
    let mut expect = Expect::new(Verdict::Alive);
    expect.may_be_late = true;
    trial.healed(expect).await
}
