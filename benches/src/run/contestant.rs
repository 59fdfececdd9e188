//! Who is measured, and how one measurement of each is made.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    plan::{Cell, Plan},
    reference::Reference,
    server::{CLIENT_CPU, pinned},
    servers::Servers,
};
use crate::{
    cell::{CellArgs, Measure},
    peer::PeerName,
    sample::Sample,
};

/// Whoever runs a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// The limit of what one connection can do.
    RedisBenchmark,
    /// A client, or a socket without one.
    Client(PeerName),
}

impl Contestant {
    /// Its name on the command line and in JSON.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::RedisBenchmark => "redis-benchmark",
            Self::Client(peer) => peer.id(),
        }
    }

    /// Its name in the tables.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::RedisBenchmark => "redis-benchmark",
            Self::Client(peer) => peer.label(),
        }
    }

    /// Whether it sets the limit rather than competes.
    pub(super) fn is_reference(self) -> bool {
        matches!(self, Self::RedisBenchmark | Self::Client(PeerName::Bare))
    }

    /// Whether it is a client that romaine is compared with.
    pub(super) fn is_rival(self) -> bool {
        match self {
            Self::RedisBenchmark => false,
            Self::Client(peer) => peer.is_rival(),
        }
    }
}

/// The servers, and all that a measurement needs besides.
pub(super) struct Arena<'a> {
    servers: &'a Servers,
    plan: &'a Plan,
    program: PathBuf,
    reference: Reference,
    pin: bool,
}

impl<'a> Arena<'a> {
    /// Prepares.
    pub(super) fn new(servers: &'a Servers, plan: &'a Plan, pin: bool) -> Result<Self> {
        let program = env::current_exe().context("path of this program")?;
        let reference = Reference::new(servers.redis_benchmark()?.to_owned(), plan.window, pin);
        Ok(Self { servers, plan, program, reference, pin })
    }

    /// One measurement.
    pub(super) fn measure(&self, cell: &Cell, contestant: Contestant) -> Result<Sample> {
        match (contestant, cell.measure) {
            (Contestant::RedisBenchmark, Measure::Speed { workload, callers }) => {
                self.reference.measure(self.servers.address(cell.transport)?, workload, callers)
            }
            (Contestant::RedisBenchmark, _) => anyhow::bail!("redis-benchmark has no {}", cell.topic()),
            (Contestant::Client(peer), _) => {
                let outcome = self.measure_client(cell, peer);
                if matches!(cell.measure, Measure::SlowShard { .. }) {
                    self.servers.recover()?;
                }
                outcome
            }
        }
    }

    fn measure_client(&self, cell: &Cell, peer: PeerName) -> Result<Sample> {
        let arguments = CellArgs {
            peer,
            runtime: cell.runtime,
            address: self.servers.address(cell.transport)?.clone(),
            warm_up_ms: u64::try_from(self.plan.warm_up.as_millis())?,
            window_ms: u64::try_from(self.plan.window.as_millis())?,
            redis_benchmark: self.servers.redis_benchmark()?.to_owned(),
            json: true,
            measure: cell.measure,
        };
        let mut command: Command = pinned(&self.program, self.pin.then_some(CLIENT_CPU));
        let output = command.args(arguments.to_arguments()).stdin(Stdio::null()).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", output.status, complaint.trim().replace('\n', " "));
        serde_json::from_slice(&output.stdout).context("output of the cell")
    }
}
