//! Asks the Sentinels who is the primary, and listens to what they tell.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use romaine_commands::{Command as _, Request, cmd};
use romaine_proto::{
    Agreement, Backoff, NodeAddress, SENTINEL_EVENTS, SentinelAnswer, SentinelEvent, SentinelView, Trigger, ViewError,
    agree, sentinel_event,
};

use super::Fleet;
use super::ask::{PATIENCE, ask};
use super::map::Layout;
use super::overhear::{Heard, Listening};
use crate::clock;
use crate::config::{Address, Config};
use crate::config_topology::Topology;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::server::{Part, Role, Server};

/// Sentinels that are remembered beside those of the URL.
const LEARNED_MAX: usize = 32;

/// Who is asked, and where it is listened.
pub(super) struct Watch {
    name: Arc<str>,
    watched: HashSet<NodeAddress>,
    /// Other names of those that are watched, and where they led.
    twins: HashMap<NodeAddress, Arc<str>>,
    listening: Listening,
}

impl Watch {
    pub(super) fn new(fleet: &Arc<Fleet>) -> Self {
        let mut watch =
            Self { name: "".into(), watched: HashSet::new(), twins: HashMap::new(), listening: Listening::default() };
        if let Topology::Sentinel { sentinels, name, .. } = &fleet.common.config.topology {
            watch.name = name.as_str().into();
            for address in sentinels {
                watch.add(fleet, address);
            }
        }
        watch
    }

    /// One more Sentinel to ask and to listen to.
    fn add(&mut self, fleet: &Arc<Fleet>, address: &NodeAddress) {
        if self.watched.len() >= LEARNED_MAX || !self.watched.insert(address.clone()) {
            return;
        }
        let config = settings(&fleet.common.config, address);
        let server = Server::new(fleet.common.clone(), Arc::new(config), Part::Sentinel(fleet.me.clone()), Role::Any);
        fleet.remember(&server);
        server.start_commands();
        fleet.sentinels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(server.clone());
        fleet.common.spawn(listen(fleet.clone(), server, self.name.clone()));
    }

    /// Learned Sentinels that are gone for good: away, and named by nobody any more. They would count as silent votes for
    /// ever, and after an installation or two nobody had a majority (Lettuce #1147).
    fn forget(&mut self, fleet: &Fleet, answers: usize, others: &[NodeAddress]) {
        let Topology::Sentinel { sentinels: given, .. } = &fleet.common.config.topology else { return };
        if answers * 2 <= given.len() {
            return;
        }
        let mut sentinels = fleet.sentinels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sentinels.retain(|server| {
            let stays =
                given.contains(&server.address) || others.contains(&server.address) || server.commands.is_ready();
            if !stays {
                tracing::info!(node = %server.node, "no Sentinel any more");
                self.watched.remove(&server.address);
                server.retire();
                server.end();
            }
            stays
        });
    }

    /// A learned Sentinel that turned out to be one of those before it, by another name: it would have two votes. Where a
    /// dead one was, another may be by now, so only those that are there are compared.
    fn leave_twins(&mut self, fleet: &Fleet) {
        let Topology::Sentinel { sentinels: given, .. } = &fleet.common.config.topology else { return };
        let mut met = HashSet::new();
        let mut sentinels = fleet.sentinels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sentinels.retain(|server| {
            let Some(reached) = server.reached().filter(|_| server.commands.is_ready()) else { return true };
            let stays = met.insert(reached.clone()) || given.contains(&server.address);
            if !stays {
                tracing::info!(node = %server.node, "a Sentinel that is known by another name");
                self.watched.remove(&server.address);
                self.twins.insert(server.address.clone(), reached);
                server.retire();
                server.end();
            }
            stays
        });
        // Bounded by what is announced now and can be met.
        self.twins.retain(|_, reached| sentinels.iter().any(|server| server.reached().as_ref() == Some(reached)));
    }

    /// Who is the primary: by what was overheard, if that is news, or else by asking.
    pub(super) async fn look(&mut self, fleet: &Arc<Fleet>) -> Result<Layout> {
        let looked = loop {
            let news = fleet.belief().news(clock::now());
            if let Some(view) = news {
                tracing::info!(primary = %view.primary, epoch = view.epoch, "the Sentinels tell each other of a new primary");
                // The rest is asked for afterwards.
                fleet.trigger(Trigger::Event);
                break Ok(view);
            }
            // Sentinels that are silent are waited for, unless they are heard elsewhere meanwhile.
            tokio::select! {
                biased;
                () = fleet.news.notified() => {}
                asked = self.ask(fleet) => break asked.and_then(|view| believed(fleet, view)),
            }
        };
        // While the Sentinels are silent, also where the next primary is.
        let is_deaf = looked.is_err();
        if let Some(view) = fleet.belief().view()
            && fleet.common.config.sentinel_hello
        {
            let replicas = view.replicas.iter().filter(|_| is_deaf);
            self.listening.only_at(fleet, &self.name, std::iter::once(&view.primary).chain(replicas));
        }
        looked.map(|view| Layout::of_pair(&view))
    }

    /// Asks all at once; enough agreeing answers end the round, the last of them at the latest.
    async fn ask(&mut self, fleet: &Arc<Fleet>) -> Result<SentinelView> {
        let sentinels = fleet.sentinels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let known = different(&sentinels);
        let mut asked: FuturesUnordered<_> =
            sentinels.into_iter().map(|server| ask_one(server, self.name.clone())).collect();
        let mut answers = Vec::new();
        let mut last_error = None;
        let deadline = clock::now() + PATIENCE;
        let mut agreed = None;
        while let Ok(Some(answer)) = tokio::time::timeout_at(deadline.into(), asked.next()).await {
            match answer {
                Ok(answer) => {
                    fleet.belief().hear(clock::now(), answer.epoch);
                    answers.push(answer);
                    if let Agreement::Now(view) = agree(fleet.belief().view(), known, &answers, false) {
                        agreed = Some(view);
                        break;
                    }
                }
                Err(error) => last_error = Some(error),
            }
        }
        if agreed.is_none()
            && let Agreement::Now(view) = agree(fleet.belief().view(), known, &answers, true)
        {
            agreed = Some(view);
        }
        let others: Vec<NodeAddress> = answers.iter().flat_map(|answer| &answer.sentinels).cloned().collect();
        self.forget(fleet, answers.len(), &others);
        self.leave_twins(fleet);
        for address in others {
            // One of the URL's by another name is met already.
            let sentinels = fleet.sentinels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            let to = fleet.dialled(&address);
            let twin = self.twins.get(&address);
            let is_met = |known: &Arc<Server>| {
                let is_twin = twin.is_some() && known.reached().as_ref() == twin;
                // Where a dead one was last, another may be by now.
                let is_there = known.commands.is_ready() && known.has_reached(&to);
                is_twin || is_there || fleet.dialled(&known.address) == to
            };
            if !sentinels.iter().any(is_met) {
                self.add(fleet, &address);
            }
        }
        agreed.ok_or_else(|| {
            last_error.unwrap_or_else(|| {
                Error::new(ErrorKind::Unavailable, Delivery::NotSent, "the Sentinels do not agree on a primary (yet)")
            })
        })
    }
}

/// How many they are: one that is away may be known by its name and by its address.
fn different(sentinels: &[Arc<Server>]) -> usize {
    let places = sentinels.iter().map(|server| server.reached().unwrap_or_else(|| server.node.clone()));
    places.collect::<HashSet<_>>().len()
}

/// What a round ended with, unless one of them knew better a moment ago.
fn believed(fleet: &Fleet, view: SentinelView) -> Result<SentinelView> {
    if fleet.belief().adopt(clock::now(), &view) {
        return Ok(view);
    }
    let message = "the Sentinels name a primary of an older epoch than one of them did a moment ago";
    Err(Error::new(ErrorKind::Unavailable, Delivery::NotSent, message))
}

/// A Sentinel is not a data node: its own credentials, no database, no limit of ours on its backlog.
fn settings(data: &Config, address: &NodeAddress) -> Config {
    let mut config = data.clone();
    config.address = Address::Tcp { host: address.host().to_owned(), port: address.port() };
    config.database = 0;
    config.offline = crate::config::Offline::Wait;
    config.timeout = Some(Duration::from_secs(5));
    // Dead Sentinels are tried for ever; there is no hurry, others answer.
    config.backoff = Backoff::default();
    config.credentials = None;
    if let Topology::Sentinel { credentials, .. } = &data.topology {
        config.credentials.clone_from(credentials);
    }
    config
}

fn requests(name: &str) -> [Request; 4] {
    ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS"]
        .map(|what| cmd::<()>("SENTINEL").arg(what).arg(name).into_request())
}

async fn ask_one(server: Arc<Server>, name: Arc<str>) -> Result<SentinelAnswer> {
    let replies = ask(&server, &requests(&name)).await?;
    let frame = |index| replies.frame(index).unwrap_or_default();
    SentinelAnswer::parse([frame(0), frame(1), frame(2), frame(3)]).map_err(|error| {
        let message = match &error {
            ViewError::UnknownPrimary => format!("the Sentinel knows no primary by the name {name:?}"),
            _ => "the Sentinel does not say who is the primary".to_owned(),
        };
        Error::new(ErrorKind::Unavailable, Delivery::Executed, message).with_source(error).with_node(&server.node)
    })
}

/// Listens to one Sentinel for ever. Every beginning and every gap may have hidden an event, so each is a reason to ask.
async fn listen(fleet: Arc<Fleet>, server: Arc<Server>, name: Arc<str>) {
    super::overhear::listen(&server, SENTINEL_EVENTS, |heard| match heard {
        Heard::Message(message) => match sentinel_event(&message.channel, &message.payload, &name) {
            SentinelEvent::Refresh | SentinelEvent::SentinelFound => fleet.trigger(Trigger::Event),
            SentinelEvent::FailoverBegins => {
                fleet.hold(&message.payload);
                fleet.trigger(Trigger::Event);
            }
            SentinelEvent::FailoverAborted => {
                fleet.release();
                fleet.trigger(Trigger::Event);
            }
            SentinelEvent::Nothing => {}
        },
        Heard::Restored => fleet.trigger(Trigger::WatchRestored),
    })
    .await;
}
