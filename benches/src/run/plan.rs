//! Which cells are measured, how long and how often.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{ValueEnum as _, builder::PossibleValuesParser};

use super::{RunArgs, Transport, contestant::Contestant};
use crate::{
    cell::{Flavour, Measure},
    peer::PeerName,
    workload::Workload,
};

const PUBSUB: &str = "pubsub";
const BLOCKED: &str = "blocked";
const ALLOCS: &str = "allocs";
const MIXED: &str = "mixed";
const SLOW_SHARD: &str = "slow-shard";

/// One cell, for all contestants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// What is measured.
    pub(super) measure: Measure,
    /// The clients' runtime.
    pub(super) runtime: Flavour,
    /// The way to the server.
    pub(super) transport: Transport,
    /// Repetitions.
    pub(super) runs: usize,
}

impl Cell {
    /// Its name in the tables and on the command line.
    pub(super) fn topic(&self) -> &'static str {
        match self.measure {
            Measure::Speed { workload, .. } => workload.id(),
            Measure::Allocations { .. } => ALLOCS,
            Measure::Delivery { .. } => PUBSUB,
            Measure::Blocked { .. } => BLOCKED,
            Measure::Mixed { .. } => MIXED,
            Measure::SlowShard { .. } => SLOW_SHARD,
        }
    }

    /// The workload, callers or connections that make the cell out among those of the same topic.
    pub(super) fn detail(&self) -> (Option<Workload>, usize) {
        match self.measure {
            Measure::Speed { workload, callers } | Measure::Allocations { workload, callers } => {
                (Some(workload), callers)
            }
            Measure::Delivery { .. } => (None, 1),
            Measure::Blocked { connections, .. } => (None, connections),
            Measure::Mixed { callers } | Measure::SlowShard { callers, .. } => (None, callers),
        }
    }
}

/// The whole run.
#[derive(Debug)]
pub(super) struct Plan {
    /// Cells in the order in which they are measured.
    pub(super) cells: Vec<Cell>,
    /// The clients.
    pub(super) peers: Vec<PeerName>,
    /// Repetitions of a cell that measures speed.
    pub(super) runs: usize,
    /// Time before each window.
    pub(super) warm_up: Duration,
    /// Each window.
    pub(super) window: Duration,
}

/// All names that `--workloads` knows.
pub(super) fn topics() -> PossibleValuesParser {
    Workload::value_variants()
        .iter()
        .map(|workload| workload.id())
        .chain([PUBSUB, BLOCKED, ALLOCS, MIXED, SLOW_SHARD])
        .into()
}

/// What is asked for, with the defaults filled in.
struct Selection<'a> {
    arguments: &'a RunArgs,
    runtimes: Vec<Flavour>,
    transports: Vec<Transport>,
    runs: usize,
}

impl Plan {
    /// The cells that were asked for.
    pub(super) fn new(arguments: &RunArgs) -> Result<Self> {
        let quick = arguments.quick;
        let selection = Selection {
            arguments,
            runtimes: or(&arguments.runtime, if arguments.pin { &[Flavour::Ct] } else { Flavour::value_variants() }),
            transports: or(&arguments.transport, if quick { &[Transport::Tcp] } else { Transport::value_variants() }),
            runs: arguments.runs.unwrap_or(if quick { 3 } else { 5 }),
        };
        let cells = if arguments.cluster {
            selection.cluster()
        } else {
            [selection.speed_and_delivery(), selection.blocked(), selection.allocations()].concat()
        };
        ensure!(!cells.is_empty(), "nothing to measure: no cell is of the chosen workloads and callers");
        let mut peers = or(&arguments.peers, &PeerName::defaults());
        peers.retain(|peer| !arguments.cluster || peer.knows_clusters());
        ensure!(!peers.is_empty(), "nothing to measure: none of the chosen clients is one for a cluster");
        let (warm_up_ms, window_ms) = if quick { (80, 200) } else { (120, 400) };
        Ok(Self {
            cells,
            peers,
            runs: selection.runs,
            warm_up: Duration::from_millis(warm_up_ms),
            window: Duration::from_millis(window_ms),
        })
    }

    /// Who takes part in a cell: first the reference, then the clients.
    pub(super) fn contestants(&self, cell: &Cell) -> Vec<Contestant> {
        let reference = match cell.measure {
            Measure::Speed { .. } => Some(Contestant::RedisBenchmark),
            Measure::Delivery { .. } | Measure::Blocked { .. } => Some(Contestant::Client(PeerName::Bare)),
            Measure::Allocations { .. } | Measure::Mixed { .. } | Measure::SlowShard { .. } => None,
        };
        let clients = self.peers.iter().filter(|peer| **peer != PeerName::Bare);
        reference.into_iter().chain(clients.map(|peer| Contestant::Client(*peer))).collect()
    }
}

impl Selection<'_> {
    fn wants(&self, topic: &str, by_default: bool) -> bool {
        if self.arguments.workloads.is_empty() {
            by_default
        } else {
            self.arguments.workloads.iter().any(|name| name == topic)
        }
    }

    fn wants_callers(&self, callers: usize) -> bool {
        self.arguments.callers.is_empty() || self.arguments.callers.contains(&callers)
    }

    fn speed_and_delivery(&self) -> Vec<Cell> {
        let quick = self.arguments.quick;
        let mut measures = Vec::new();
        for workload in Workload::value_variants() {
            if self.wants(workload.id(), !quick || workload.is_quick()) {
                let callers = workload.callers(quick).iter().filter(|callers| self.wants_callers(**callers));
                measures.extend(callers.map(|callers| Measure::Speed { workload: *workload, callers: *callers }));
            }
        }
        if self.wants(PUBSUB, true) && self.wants_callers(1) {
            // Multiples of 64, about half a second and a sixth of one.
            measures.push(Measure::Delivery { messages: if quick { 100_032 } else { 300_032 } });
        }
        let mut cells = Vec::new();
        for transport in &self.transports {
            for runtime in &self.runtimes {
                let cell = |measure| Cell { measure, runtime: *runtime, transport: *transport, runs: self.runs };
                cells.extend(measures.iter().copied().map(cell));
            }
        }
        cells
    }

    /// Memory hardly depends on runtime and transport and hardly varies: one of each, fewer runs.
    fn blocked(&self) -> Vec<Cell> {
        let quick = self.arguments.quick;
        let measure = if quick {
            Measure::Blocked { connections: 1_000, settle_ms: 300 }
        } else {
            Measure::Blocked { connections: 5_000, settle_ms: 2_000 }
        };
        let wanted = self.wants(BLOCKED, self.arguments.callers.is_empty());
        self.once(wanted.then_some(measure).as_slice(), if quick { 1 } else { 3 })
    }

    /// Allocations are counted, not timed: one run.
    fn allocations(&self) -> Vec<Cell> {
        let quick = self.arguments.quick;
        let mut measures = Vec::new();
        for workload in Workload::value_variants() {
            if self.wants(ALLOCS, self.arguments.callers.is_empty()) && (!quick || workload.is_quick()) {
                let callers = workload.callers(quick).iter().filter(|callers| matches!(**callers, 1..=4 | 64));
                let callers = callers.filter(|callers| self.wants_callers(**callers));
                measures.extend(callers.map(|callers| Measure::Allocations { workload: *workload, callers: *callers }));
            }
        }
        self.once(&measures, 1)
    }

    /// How many callers make a difference: a client's one task for all nodes, if it has one, fills up with them.
    fn cluster(&self) -> Vec<Cell> {
        let quick = self.arguments.quick;
        let frozen_ms = self.arguments.frozen_ms.unwrap_or(if quick { 1_000 } else { 3_000 });
        let slow: &[usize] = if quick { &[64] } else { &[64, 1_024] };
        let mixed = [1, 64, 256, 1_024].map(|callers| Measure::Mixed { callers });
        let slow = slow.iter().map(|callers| Measure::SlowShard { callers: *callers, frozen_ms });
        let mut cells = Vec::new();
        for runtime in &self.runtimes {
            let cell = |measure| Cell { measure, runtime: *runtime, transport: Transport::Cluster, runs: self.runs };
            cells.extend(mixed.into_iter().chain(slow.clone()).map(cell));
        }
        cells.retain(|cell| self.wants(cell.topic(), true) && self.wants_callers(cell.detail().1));
        cells
    }

    fn once(&self, measures: &[Measure], runs: usize) -> Vec<Cell> {
        let (Some(runtime), Some(transport)) = (self.runtimes.first(), self.transports.first()) else {
            return Vec::new();
        };
        let cell = |measure: &Measure| Cell { measure: *measure, runtime: *runtime, transport: *transport, runs };
        measures.iter().map(cell).collect()
    }
}

fn or<T: Copy>(chosen: &[T], default: &[T]) -> Vec<T> {
    if chosen.is_empty() { default.to_vec() } else { chosen.to_vec() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Command};

    fn plan(arguments: &[&str]) -> Result<Plan> {
        let Command::Run(run) = Cli::parse_from(["romaine-bench", "run"].iter().chain(arguments)).command else {
            panic!("not a run")
        };
        Plan::new(&run)
    }

    #[test]
    fn a_cluster_is_measured_by_the_clients_that_know_clusters_and_without_a_reference() {
        let plan = plan(&["--cluster", "--callers=64", "--runtime=ct"]).unwrap();
        assert_eq!(plan.cells.iter().map(Cell::topic).collect::<Vec<_>>(), [MIXED, SLOW_SHARD]);
        for cell in &plan.cells {
            let contestants = plan.contestants(cell);
            assert!(contestants.contains(&Contestant::Client(PeerName::Rustis)));
            assert!(!contestants.contains(&Contestant::Client(PeerName::Redis2NoTimeout)));
            assert!(!contestants.iter().any(|contestant| contestant.is_reference()));
        }
    }

    #[test]
    fn what_only_a_cluster_or_only_a_single_server_has_is_nothing_to_measure_on_the_other() {
        assert!(plan(&["--workloads=mixed,slow-shard"]).is_err());
        assert!(plan(&["--cluster", "--workloads=get16,pubsub"]).is_err());
        assert!(plan(&["--cluster", "--peers=redis2-no-timeout"]).is_err());
    }
}
