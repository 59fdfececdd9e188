//! F19–F21: a server that talks nonsense, callers that do not wait, and more calls than an outage can hold.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;

use super::cell::Lab;
use super::report::Outcome;
use super::trial::{Expect, Trial, Verdict};
use crate::scenario::field::Field;
use crate::scenario::protocol::{Load, NEWS};
use crate::{Accept, Direction, Fault, Outburst, Server};

/// F19.
pub(super) async fn nonsense(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let (outburst, verdict, note) = outburst(lab.cell.variant);
    let field = Field::behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { bail!("no proxy") };
    let mut order = lab.order(field.url());
    order.shard = lab.cell.variant == "sunsubscribe";
    let stage = lab.stage_with(&field, order).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    proxy.burst_out(Direction::ToClient, outburst);
    // What is wrong shows at once, or never.
    tokio::time::sleep(Duration::from_secs(1)).await;
    trial.healed(Expect::new(verdict).note(note)).await
}

fn outburst(variant: &str) -> (Outburst, Verdict, &'static str) {
    let say = |bytes: &[u8]| Outburst { bytes: Bytes::copy_from_slice(bytes), closes: false };
    match variant {
        "garbage" => (say(b"?!\x00garbage\r\n"), Verdict::Dead, "bytes that are not RESP"),
        "truncated" => {
            let outburst = Outburst { bytes: Bytes::from_static(b"$100\r\nabc"), closes: true };
            (outburst, Verdict::Dead, "the end of the stream in the middle of a reply")
        }
        "oversized" => (say(b"$99999999999999\r\n"), Verdict::Dead, "a length past every limit"),
        "nested" => (say(&b"*1\r\n".repeat(10_000)), Verdict::Dead, "10,000 arrays in each other"),
        "reply" => (say(b":42\r\n"), Verdict::Dead, "a reply that nobody asked for"),
        "push" => (say(b">2\r\n$7\r\nnovelty\r\n$1\r\nx\r\n"), Verdict::Alive, "an unknown push is no reason to leave"),
        _ => {
            let push = format!(">3\r\n$12\r\nsunsubscribe\r\n${}\r\n{NEWS}\r\n:0\r\n", NEWS.len());
            (say(push.as_bytes()), Verdict::Alive, "the server ends a subscription: it is asked for again, with a gap")
        }
    }
}

/// F20.
pub(super) async fn droppers(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let field = Field::behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { bail!("no proxy") };
    // About as long as the callers' patience.
    proxy.set_both(Fault::Delay(Duration::from_micros(500)));
    let mut order = lab.order(field.url());
    order.loads = vec![Load::Droppers];
    let stage = lab.stage_with(&field, order).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    tokio::time::sleep(lab.settings.scale.seconds(300, 15, 5)).await;
    let mut outcome = trial.healed(Expect::new(Verdict::Alive)).await?;
    if let Outcome::Measured(measured) = &mut outcome {
        measured.note = format!("{} replies came to their own callers", measured.calls.acked);
    }
    Ok(outcome)
}

/// F21.
pub(super) async fn torrent(lab: Lab<'_>) -> anyhow::Result<Outcome> {
    let field = Field::behind_proxy(Server::builder()).await?;
    let Some(proxy) = field.proxy() else { bail!("no proxy") };
    let mut order = lab.order(field.url());
    order.loads = vec![Load::Torrent];
    let stage = lab.stage_with(&field, order).await?;
    let trial = Trial::begin(stage, lab.settings).await?;
    proxy.accept(Accept::Refuse).await?;
    proxy.cut_all().await?;
    tokio::time::sleep(lab.settings.scale.seconds(300, 30, 8)).await;
    proxy.heal().await?;
    // 64 MiB of queued bytes, 65,536 queued requests, and the tasks of this driver that wait for them.
    let mut expect = Expect::new(Verdict::Dead);
    expect.memory_max = Some(256 << 20);
    let mut outcome = trial.healed(expect).await?;
    if let Outcome::Measured(measured) = &mut outcome {
        measured.note = format!(
            "{} calls refused or not sent, {} acknowledged; memory grew by {} MiB",
            measured.calls.refused,
            measured.calls.acked,
            measured.memory_grown.unwrap_or(0) >> 20
        );
    }
    Ok(outcome)
}
