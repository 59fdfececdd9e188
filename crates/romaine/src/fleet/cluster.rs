//! Asks the nodes of a Cluster who serves which slots.

use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use romaine_commands::{Command as _, cmd};
use romaine_proto::{ClusterAnswer, ClusterView, NodeAddress, Opinions};

use super::Fleet;
use super::ask::{ask, next_of};
use super::map::Layout;
use crate::clock;
use crate::config_topology::Topology;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::server::{Role, Server};

/// What is believed of the Cluster.
#[derive(Default)]
pub(super) struct Believed {
    view: Option<ClusterView>,
}

impl Believed {
    /// Asks several nodes at once: those with a connection first, then everyone known, the seeds last.
    pub(super) async fn look(&mut self, fleet: &Arc<Fleet>) -> Result<Layout> {
        let mut candidates = self.candidates(fleet).into_iter();
        let mut answers = Vec::new();
        let mut last_error = None;
        let mut asked: FuturesUnordered<_> = candidates.by_ref().take(Opinions::WANTED).map(ask_one).collect();
        let mut opinions = Opinions::default();
        while let Some(answer) = next_of(&mut asked, opinions.until()).await {
            match answer {
                Ok(answer) => {
                    answers.push(answer);
                    opinions.answered(clock::now());
                }
                Err(error) => {
                    last_error = Some(error);
                    // Somebody else is asked in its place.
                    asked.extend(candidates.next().map(ask_one));
                }
            }
        }
        let before = self.view.clone().unwrap_or_else(ClusterView::empty);
        if answers.is_empty() {
            let error = last_error.unwrap_or_else(|| {
                Error::new(ErrorKind::Connect, Delivery::NotSent, "the URL names no node of the Cluster")
            });
            return Err(error);
        }
        let view = ClusterView::believe(&before, &answers);
        if view.is_empty() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                Delivery::NotSent,
                "no node of the Cluster serves any slot (yet)",
            ));
        }
        let layout = Layout::of_cluster(&view);
        self.view = Some(view);
        Ok(layout)
    }

    fn candidates(&self, fleet: &Arc<Fleet>) -> Vec<Arc<Server>> {
        let map = fleet.map();
        let mut connected: Vec<Arc<Server>> = map.servers.values().cloned().collect();
        fastrand::shuffle(&mut connected);
        let mut others: Vec<NodeAddress> = self.view.iter().flat_map(ClusterView::nodes).cloned().collect();
        fastrand::shuffle(&mut others);
        if let Topology::Cluster { seeds } = &fleet.common.config.topology {
            let mut seeds = seeds.clone();
            fastrand::shuffle(&mut seeds);
            others.extend(seeds);
        }
        for address in others {
            if !connected.iter().any(|server| server.address == address) {
                connected.push(fleet.new_server(&address, Role::Any));
            }
        }
        // Those that were tried in vain come last. Each is looked at once: connections come and go meanwhile, and a sort
        // whose order changes while it sorts may panic.
        connected
            .sort_by_cached_key(|server| (!server.commands.is_ready(), server.commands.lock().last_error.is_some()));
        connected
    }
}

async fn ask_one(server: Arc<Server>) -> Result<ClusterAnswer> {
    let requests = ["SLOTS", "NODES"].map(|what| cmd::<()>("CLUSTER").arg(what).into_request());
    let replies = ask(&server, &requests).await?;
    let frame = |index| replies.frame(index).unwrap_or_default();
    ClusterAnswer::parse(&server.address, frame(0), frame(1)).map_err(|error| {
        Error::new(ErrorKind::Protocol, Delivery::Executed, "the node does not say who serves which slots")
            .with_source(error)
            .with_node(&server.node)
    })
}
