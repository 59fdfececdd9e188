//! The driver for romaine: puts it under load through its public API, and tells what it sees.

mod callers;
mod events;
mod lines;
mod streams;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use romaine::commands::*;
use romaine::{Client, Config, Credentials, Liveness};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::moment::Moment;
use super::protocol::{CALLS_END_WITHIN, Control, Load, Observation, Order, Pace, Seen};
use callers::Tally;

pub use lines::serve_lines;

/// The deadline of every call: romaine's default, said here because what is late is counted by it.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the totals are told.
const TOTALS_EVERY: Duration = Duration::from_millis(100);

/// Where observations go.
#[derive(Debug, Clone)]
pub(crate) struct Witness(mpsc::Sender<Seen>);

impl Witness {
    pub(crate) async fn tell(&self, what: Observation) {
        self.tell_at(Moment::now(), what).await;
    }

    pub(crate) async fn tell_at(&self, at: Moment, what: Observation) {
        // Nobody listens any more: the scenario is over, and so will this driver be.
        let _ = self.0.send(Seen { at, what }).await;
    }
}

/// What every load of one driver shares.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) client: Client,
    pub(crate) order: Arc<Order>,
    pub(crate) witness: Witness,
    pub(crate) tally: Arc<Tally>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) reading: watch::Receiver<bool>,
}

/// Drives romaine by `order` until [`Control::Stop`] or the end of `controls`.
///
/// # Errors
///
/// When the first connection cannot be made.
pub async fn drive(
    order: Order,
    mut controls: mpsc::Receiver<Control>,
    observations: mpsc::Sender<Seen>,
) -> anyhow::Result<()> {
    let witness = Witness(observations);
    let first = Client::connect(config(&order)?).await.context("the client under test cannot connect")?;
    let mut clients = vec![first.clone()];
    for _ in 1..order.clients {
        clients.push(Client::connect(config(&order)?).await.context("one of many clients cannot connect")?);
    }
    let (read, reading) = watch::channel(order.consume);
    let ground = Ground {
        client: first,
        order: Arc::new(order),
        witness: witness.clone(),
        tally: Arc::default(),
        stop: Arc::default(),
        reading,
    };
    let mut watching = JoinSet::new();
    let mut streams = JoinSet::new();
    let mut callers = JoinSet::new();
    for client in &clients {
        watching.spawn(events::watch(client.events(), witness.clone()));
        let ground = Ground { client: client.clone(), ..ground.clone() };
        start(&ground, &mut callers, &mut streams).await?;
    }
    watching.spawn(callers::tell_totals(ground.tally.clone(), witness.clone(), TOTALS_EVERY));
    witness.tell(Observation::Ready).await;

    let mut probes = JoinSet::new();
    while let Some(control) = controls.recv().await {
        match control {
            Control::Probe => drop(probes.spawn(probe(ground.clone()))),
            Control::Consume => drop(read.send(true)),
            Control::Stop => break,
        }
    }
    end(&ground, callers, streams).await;
    probes.shutdown().await;
    for client in clients {
        client.close().await;
    }
    watching.shutdown().await;
    witness.tell(Observation::Calls(ground.tally.read())).await;
    witness.tell(Observation::Finished).await;
    Ok(())
}

async fn start(ground: &Ground, callers: &mut JoinSet<()>, streams: &mut JoinSet<()>) -> anyhow::Result<()> {
    for load in &ground.order.loads {
        match load {
            Load::Idle => {}
            Load::Callers => callers::start_callers(callers, ground),
            Load::Spread => callers::start_spread(callers, ground),
            Load::Droppers => callers::start_droppers(callers, ground),
            Load::Torrent => drop(callers.spawn(callers::torrent(ground.clone()))),
            Load::Fetch => drop(callers.spawn(callers::fetch(ground.clone()))),
            Load::Blocked => drop(streams.spawn(streams::consume(ground.clone()))),
            Load::Subscribed => {
                let subscription = streams::subscribe(ground).await?;
                streams.spawn(streams::listen(ground.clone(), subscription));
            }
        }
    }
    Ok(())
}

/// Ends the load, as soon as no call is open.
async fn end(ground: &Ground, mut callers: JoinSet<()>, mut streams: JoinSet<()>) {
    ground.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let ended = async { while callers.join_next().await.is_some() {} };
    if tokio::time::timeout(CALLS_END_WITHIN, ended).await.is_err() {
        ground.tally.give_up();
        callers.shutdown().await;
    }
    streams.shutdown().await;
}

fn config(order: &Order) -> anyhow::Result<Config> {
    let liveness = match order.pace {
        Pace::Default => Liveness::default(),
        Pace::Fast => Liveness::fast(),
        Pace::Off => Liveness::off(),
    };
    let config = Config::from_url(&order.url)?.liveness(liveness).timeout(CALL_TIMEOUT).client_name("under-test")?;
    let Some(file) = order.password_file.clone() else { return Ok(config) };
    Ok(config.credentials(move || {
        // An unreadable file is an empty password, which the server refuses: that is retried too.
        let password = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(Credentials::password(password.trim()))
    }))
}

async fn probe(ground: Ground) {
    let since = Moment::now();
    match ground.client.ping().await {
        Ok(_pong) => ground.witness.tell(Observation::Worked { since }).await,
        Err(error) => ground.witness.tell(Observation::Trouble(format!("the probe failed: {error}"))).await,
    }
}
