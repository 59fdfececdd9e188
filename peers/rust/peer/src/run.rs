//! The course of a driver: the order, the load, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter, Lines, Stdin};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::{Client, Reader};
use crate::loads::{self, Ground};
use crate::protocol::{Control, Load, Observation, Order, Seen};
use crate::tally::Tally;
use crate::target::Target;
use crate::witness::Witness;

/// How long calls are waited for after the order to stop: those that have not ended then are counted as never returned. Ten
/// seconds more than the longest limit that any client sets a call by default (Lettuce: 60 s).
const CALLS_END_WITHIN: Duration = Duration::from_secs(70);

/// How many of many clients connect at the same time.
const CONNECTING_MAX: usize = 8;

/// Drives the client by what comes on standard input, until it is told to stop or the input ends.
///
/// # Errors
///
/// When no runtime can be made, or the output is closed.
pub fn main<C: Client>() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve::<C>())?;
    // Standard input cannot be cancelled: a blocked read would hold the process.
    std::process::exit(0)
}

async fn serve<C: Client>() -> anyhow::Result<()> {
    let (out, seen) = mpsc::channel(4_096);
    let mut writing = JoinSet::new();
    writing.spawn(write(seen));
    let witness = Witness::new(out);
    let lines = BufReader::new(tokio::io::stdin()).lines();
    if let Err(error) = drive::<C>(lines, &witness).await {
        witness.tell(Observation::Trouble(format!("{error:#}"))).await;
    }
    witness.tell(Observation::Finished).await;
    drop(witness);
    // A client may keep what holds a witness: the last line is what is waited for, not the end of the channel.
    while let Some(written) = writing.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(mut seen: mpsc::Receiver<Seen>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(tokio::io::stdout());
    while let Some(observation) = seen.recv().await {
        let mut line = serde_json::to_vec(&observation)?;
        line.push(b'\n');
        out.write_all(&line).await?;
        if seen.is_empty() {
            out.flush().await?;
        }
        if observation.what == Observation::Finished {
            break;
        }
    }
    out.flush().await?;
    Ok(())
}

async fn drive<C: Client>(mut lines: Lines<BufReader<Stdin>>, witness: &Witness) -> anyhow::Result<()> {
    let order = lines.next_line().await?.context("no order came")?;
    let order: Order = serde_json::from_str(&order).context("the order is not understood")?;
    let target = Target::parse(&order.url)?;
    let client = C::connect(&order, &target, witness).await.context("the client cannot connect")?;
    let (read, reading) = watch::channel(order.consume);
    let ground = Ground {
        client,
        order: Arc::new(order),
        witness: witness.clone(),
        tally: Arc::<Tally>::default(),
        stop: Arc::<AtomicBool>::default(),
    };
    let mut callers = JoinSet::new();
    let mut others = JoinSet::new();
    let mut grounds = vec![ground.clone()];
    grounds.extend(connect_others(&ground, &target).await?);
    for each in &grounds {
        start(each, &mut callers, &mut others, reading.clone()).await?;
    }
    others.spawn(loads::tell_totals(ground.tally.clone(), witness.clone()));
    witness.tell(Observation::Ready).await;

    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(Control::Probe) => drop(others.spawn(loads::probe(ground.clone()))),
            Ok(Control::Consume) => drop(read.send(true)),
            Ok(Control::Stop) => break,
            // A newer lab may know more.
            Err(_) => eprintln!("not a control: {line}"),
        }
    }
    ground.stop.store(true, Ordering::Relaxed);
    let ended = async { while callers.join_next().await.is_some() {} };
    if tokio::time::timeout(CALLS_END_WITHIN, ended).await.is_err() {
        ground.tally.give_up();
        callers.shutdown().await;
    }
    others.shutdown().await;
    witness.tell(Observation::Calls(ground.tally.read())).await;
    Ok(())
}

/// Connects the other clients, some at a time: there may be a thousand.
async fn connect_others<C: Client>(ground: &Ground<C>, target: &Target) -> anyhow::Result<Vec<Ground<C>>> {
    let mut connecting = JoinSet::new();
    let mut connected = Vec::new();
    for _ in 1..ground.order.clients {
        if connecting.len() >= CONNECTING_MAX
            && let Some(another) = connecting.join_next().await
        {
            connected.push(another??);
        }
        let (ground, target, witness) = (ground.clone(), target.clone(), ground.witness.for_another());
        connecting.spawn(async move {
            let client = C::connect(&ground.order, &target, &witness).await.context("one of many cannot connect")?;
            anyhow::Ok(Ground { client, witness, ..ground })
        });
    }
    while let Some(another) = connecting.join_next().await {
        connected.push(another??);
    }
    Ok(connected)
}

async fn start<C: Client>(
    ground: &Ground<C>,
    callers: &mut JoinSet<()>,
    others: &mut JoinSet<()>,
    reading: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    for load in ground.order.loads.clone() {
        match load {
            Load::Idle => {}
            Load::Callers => (0..ground.order.callers).for_each(|_| drop(callers.spawn(loads::call(ground.clone())))),
            Load::Spread => (0..ground.order.callers).for_each(|_| drop(callers.spawn(loads::spread(ground.clone())))),
            Load::Droppers => (0..ground.order.callers)
                .for_each(|caller| drop(callers.spawn(loads::drop_calls(ground.clone(), caller)))),
            Load::Torrent => drop(callers.spawn(loads::torrent(ground.clone()))),
            Load::Fetch => drop(callers.spawn(loads::fetch(ground.clone()))),
            Load::Blocked => drop(others.spawn(loads::consume(ground.clone()))),
            Load::Subscribed => {
                let subscription = ground.client.subscribe().await.context("cannot subscribe")?;
                let reader = Reader { witness: ground.witness.clone(), reading: reading.clone() };
                let client = ground.client.clone();
                others.spawn(async move { client.listen(subscription, reader).await });
            }
        }
    }
    Ok(())
}
