//! The task that keeps the map true: asks who serves what, when there is reason to and from time to time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use romaine_commands::cmd;
use romaine_proto::ReadFrom;

use super::{Fleet, cluster, discover, sentinel};
use crate::call::{Target, ask};
use crate::circuit::Patience;
use crate::clock;
use crate::config_topology::Topology;
use crate::error::{Error, Result};
use crate::events::Event;

use super::map::Layout;

/// Runs until the client is closed.
pub(super) async fn keep(fleet: Arc<Fleet>) {
    let mut looking = Looking::of(&fleet);
    let mut redirects = Redirects::default();
    let mut has_changed = false;
    while !fleet.common.is_closed() {
        let next = fleet.refresh().next();
        match next {
            Some(at) if at <= clock::now() => {}
            Some(at) => {
                let _triggered_or_due = tokio::time::timeout_at(at.into(), fleet.triggered.notified()).await;
            }
            None => fleet.triggered.notified().await,
        }
        if !fleet.refresh().poll(clock::now()) {
            continue;
        }
        let (ok, changed) = match looking.look(&fleet).await {
            Ok(layout) => (true, fleet.install(layout)),
            Err(error) => {
                tracing::warn!(%error, "the topology cannot be learned; what was known stays");
                fleet.tell_failure(&error);
                (false, false)
            }
        };
        // What changed need not be what was doubted: a silent primary is asked about until it answers or is replaced.
        has_changed |= changed;
        let is_settled = has_changed && fleet.map().is_well();
        has_changed &= !is_settled;
        fleet.refresh().done(clock::now(), ok, is_settled);
        redirects.tell(&fleet);
        if fleet.common.config.read_from == ReadFrom::Nearest {
            measure(&fleet);
        }
    }
}

/// Tells how many redirects were followed, once a second at most: a storm is one event.
#[derive(Default)]
struct Redirects {
    told: u64,
    at: Option<Instant>,
}

impl Redirects {
    fn tell(&mut self, fleet: &Fleet) {
        let (now, followed) = (clock::now(), fleet.redirects());
        if followed > self.told && self.at.is_none_or(|at| now >= at + Duration::from_secs(1)) {
            fleet.common.events.tell(Event::Redirected { count: followed - self.told });
            (self.told, self.at) = (followed, Some(now));
        }
    }
}

/// Measures the round trip to every server, for whoever reads from the nearest.
fn measure(fleet: &Fleet) {
    for server in fleet.map().servers.values().cloned() {
        fleet.common.spawn(async move {
            let began = clock::now();
            let ping = cmd::<()>("PING");
            let target = Target::of(&server, &server.commands);
            if ask(target, ping, Patience::For(Some(Duration::from_secs(1)))).await.is_ok() {
                server.measured(clock::now().saturating_duration_since(began));
            }
        });
    }
}

/// How this client learns who serves what.
enum Looking {
    Sentinel(sentinel::Watch),
    Discover(discover::Roles),
    Cluster(cluster::Believed),
}

impl Looking {
    fn of(fleet: &Arc<Fleet>) -> Self {
        match &fleet.common.config.topology {
            Topology::Sentinel { .. } => Self::Sentinel(sentinel::Watch::new(fleet)),
            Topology::Cluster { .. } => Self::Cluster(cluster::Believed::default()),
            Topology::Single | Topology::Discover { .. } => Self::Discover(discover::Roles::default()),
        }
    }

    async fn look(&mut self, fleet: &Arc<Fleet>) -> Result<Layout> {
        let looked = match self {
            Self::Sentinel(watch) => watch.look(fleet).await,
            Self::Discover(roles) => roles.look(fleet).await,
            Self::Cluster(believed) => believed.look(fleet).await,
        };
        looked.map_err(|error: Error| error.with_command("topology"))
    }
}
