//! The cluster of a run: three primaries, with the keys of the mixed GETs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};

use super::server::{Role, Server};
use crate::{
    address::Address,
    admin::{Admin, Reply},
    data,
};

const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;
/// The nodes must agree within this time, and answer again within it after one was frozen.
const WELL_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A running cluster. Stopped when dropped.
pub(super) struct Cluster {
    nodes: Vec<Server>,
    address: Address,
}

impl Cluster {
    /// Starts the servers, makes a cluster of them, and writes the data.
    pub(super) fn start(pin: bool) -> Result<Self> {
        let nodes: Vec<Server> =
            (0..PRIMARIES).map(|_| Server::start(Role::ClusterNode, pin)).collect::<Result<_>>()?;
        let address = Address::Cluster(nodes.iter().map(Server::host_and_port).collect());
        let cluster = Self { nodes, address };
        cluster.form().context("forming the cluster")?;
        cluster.seed().context("writing the cluster's data")?;
        Ok(cluster)
    }

    /// The address to reach all nodes by.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The nodes.
    pub(super) fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Lets a node go on that a measurement has left frozen, and waits until all are well.
    pub(super) fn thaw(&self) -> Result<()> {
        for node in &self.nodes {
            kill(node.process()?, Signal::SIGCONT)?;
        }
        self.wait_until_well()
    }

    fn admins(&self) -> Result<Vec<Admin>> {
        self.nodes.iter().map(|node| Admin::connect(node.unix())).collect()
    }

    fn form(&self) -> Result<()> {
        let mut admins = self.admins()?;
        for (at, admin) in admins.iter_mut().enumerate() {
            admin.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
            let slots: Vec<String> =
                (0..SLOTS).filter(|slot| owner(*slot) == at).map(|slot| slot.to_string()).collect();
            let command = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
            admin.command(&command.collect::<Vec<_>>())?;
        }
        for (at, admin) in admins.iter_mut().enumerate() {
            for other in self.nodes.iter().skip(at + 1) {
                let (host, port) = other.host_and_port();
                admin.command(&["CLUSTER", "MEET", &host, &port.to_string()])?;
            }
        }
        self.wait_until_well()
    }

    fn seed(&self) -> Result<()> {
        let mut admins = self.admins()?;
        let value = data::value(data::MIXED_VALUE_BYTES);
        for key in data::mixed_keys() {
            let asked = admins.first_mut().context("no node")?.command(&["CLUSTER", "KEYSLOT", &key])?;
            let Reply::Integer(slot) = asked else { bail!("CLUSTER KEYSLOT: {asked:?}") };
            let admin = admins.get_mut(owner(usize::try_from(slot)?)).context("a slot without an owner")?;
            admin.command(&["SET", &key, &value])?;
        }
        Ok(())
    }

    fn wait_until_well(&self) -> Result<()> {
        let deadline = Instant::now() + WELL_WITHIN;
        for admin in &mut self.admins()? {
            while !is_well(admin)? {
                ensure!(Instant::now() < deadline, "the nodes do not agree after {WELL_WITHIN:?}");
                thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

/// Whether a node knows all nodes and an owner for every slot.
fn is_well(admin: &mut Admin) -> Result<bool> {
    let primaries = PRIMARIES.to_string();
    Ok(admin.cluster_info("cluster_state")? == "ok"
        && admin.cluster_info("cluster_known_nodes")? == primaries
        && admin.cluster_info("cluster_size")? == primaries)
}

/// Which node owns a slot: equal shares, in order.
fn owner(slot: usize) -> usize {
    slot * PRIMARIES / SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_are_shared_out_evenly_and_all_of_them() {
        let mut shares = [0; PRIMARIES];
        for slot in 0..SLOTS {
            shares[owner(slot)] += 1;
        }
        assert_eq!(shares.iter().sum::<usize>(), SLOTS);
        assert!(shares.iter().all(|share| (SLOTS / PRIMARIES..=SLOTS / PRIMARIES + 1).contains(share)), "{shares:?}");
    }
}
