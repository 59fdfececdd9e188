//! Which fault is inflicted how.

use super::abuse;
use super::cluster;
use super::failover;
use super::fault::Fault;
use super::name;
use super::network;
use super::patience;
use super::plan::{Cell, Settings, Under};
use super::reconnect;
use super::report::Outcome;
use super::storm;
use crate::ServerBuilder;
use crate::scenario::cell_log::CellLog;
use crate::scenario::field::{Cut, Field};
use crate::scenario::host::Host;
use crate::scenario::protocol::Order;
use crate::scenario::stage::{Eyes, Stage};

/// Measures one cell. `no_namespace`: why there are no network namespaces here.
pub(super) async fn measure(
    cell: Cell,
    settings: &Settings,
    no_namespace: Option<String>,
    log: &CellLog,
) -> anyhow::Result<Outcome> {
    let lab = Lab { cell, settings, log };
    let dropping = matches!(cell.fault, Fault::F01 | Fault::F02 | Fault::F03);
    if let Some(reason) = no_namespace.filter(|_| dropping) {
        return Ok(Outcome::Skipped(format!("needs a network namespace: {reason}")));
    }
    match cell.fault {
        Fault::F01 => network::cut(lab, Cut::Both).await,
        Fault::F02 => network::cut(lab, Cut::ToClient).await,
        Fault::F03 => network::cut(lab, Cut::ToServer).await,
        Fault::F04 => network::frozen(lab).await,
        Fault::F05 => network::dead_upstream(lab).await,
        Fault::F06 => network::killed(lab).await,
        Fault::F07 => network::clients_killed(lab).await,
        Fault::F08 => reconnect::unanswered(lab).await,
        Fault::F09 => reconnect::unserved(lab).await,
        Fault::F10 => name::moved(lab).await,
        Fault::F11 => failover::sentinel(lab).await,
        Fault::F12 => failover::without_sentinels(lab).await,
        Fault::F13 => failover::with_a_bad_sentinel(lab).await,
        Fault::F14 => cluster::changed(lab).await,
        Fault::F15 => patience::slow_reader(lab).await,
        Fault::F16 => patience::slow_server(lab).await,
        Fault::F17 => patience::stopped(lab).await,
        Fault::F18 => storm::masses(lab).await,
        Fault::F19 => abuse::nonsense(lab).await,
        Fault::F20 => abuse::droppers(lab).await,
        Fault::F21 => abuse::torrent(lab).await,
    }
}

/// A cell about to be measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lab<'a> {
    pub(super) cell: Cell,
    pub(super) settings: &'a Settings,
    pub(super) log: &'a CellLog,
}

impl Lab<'_> {
    /// An order with the loads of the cell.
    pub(super) fn order(&self, url: impl Into<String>) -> Order {
        let mut order = Order::new(url, self.settings.pace, self.cell.under.loads());
        // Many cells run side by side: fewer calls than alone, and as many callers.
        order.pause = std::time::Duration::from_millis(if self.cell.under == Under::All { 80 } else { 50 });
        order
    }

    /// A client at work on a server behind a proxy.
    pub(super) async fn behind_proxy(&self, server: ServerBuilder) -> anyhow::Result<(Field, Stage)> {
        let field = Field::behind_proxy(server).await?;
        let stage = self.stage(&field).await?;
        Ok((field, stage))
    }

    /// A client at work on a server in a namespace.
    pub(super) async fn in_namespace(&self, server: ServerBuilder) -> anyhow::Result<(Field, Stage)> {
        let field = Field::in_namespace(server).await?;
        let stage = self.stage(&field).await?;
        Ok((field, stage))
    }

    async fn stage(&self, field: &Field) -> anyhow::Result<Stage> {
        self.stage_with(field, self.order(field.url())).await
    }

    pub(super) async fn stage_with(&self, field: &Field, order: Order) -> anyhow::Result<Stage> {
        self.stage_at(Host::Real(field.server.clone()), order).await
    }

    pub(super) async fn stage_at(&self, host: Host, order: Order) -> anyhow::Result<Stage> {
        self.log.say(&format!("{} of {}", self.cell, self.settings.driver.client()));
        let eyes = Eyes { log: self.log.clone(), ..Eyes::default() };
        Stage::set(&self.settings.driver, order, host, self.settings.scale.between_goods(), eyes).await
    }
}
