//! A slot on its way from one node to another.

use std::sync::Arc;

use anyhow::Context as _;

use super::cluster::Cluster;
use crate::{Reply, Server};

/// How long `MIGRATE` may take, in milliseconds.
const MIGRATE_MS: &str = "5000";

/// A slot that is moving. Between the steps a test sees what the cluster says meanwhile: ASK for a key that has moved or
/// never was, TRYAGAIN for several keys of which only some have.
#[derive(Debug)]
pub struct Migration<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: Arc<Server>,
    to: Arc<Server>,
}

impl<'a> Migration<'a> {
    pub(super) async fn begin(
        cluster: &'a Cluster,
        slot: u16,
        from: Arc<Server>,
        to: Arc<Server>,
    ) -> anyhow::Result<Self> {
        let slot = slot.to_string();
        let (from_id, to_id) = (cluster.id_of(&from).await?, cluster.id_of(&to).await?);
        // The importing end first: a client that is sent there with ASK must find the door open.
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await?;
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await?;
        Ok(Self { cluster, slot, from, to })
    }

    /// The node that gives the slot.
    #[must_use]
    pub const fn from(&self) -> &Arc<Server> {
        &self.from
    }

    /// The node that gets it.
    #[must_use]
    pub const fn to(&self) -> &Arc<Server> {
        &self.to
    }

    /// Moves at most so many keys, and tells how many it found.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub async fn move_keys(&self, count: usize) -> anyhow::Result<usize> {
        let reply = self.from.command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, &count.to_string()]).await?;
        let Reply::Array(keys) = reply else { return Ok(0) };
        let keys: Vec<_> = keys.iter().map(Reply::text).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        if !keys.is_empty() {
            self.migrate(&keys).await?;
        }
        Ok(keys.len())
    }

    /// Moves one key.
    ///
    /// # Errors
    ///
    /// When it is not there, or a node refuses.
    pub async fn move_key(&self, key: &str) -> anyhow::Result<()> {
        let reply = self.migrate(&[key]).await?;
        anyhow::ensure!(reply.text() == "OK", "{key} is not at the old place: {}", reply.text());
        Ok(())
    }

    async fn migrate(&self, keys: &[&str]) -> anyhow::Result<Reply> {
        let (ip, port) = (self.to.address().ip().to_string(), self.to.port().to_string());
        let mut words = vec!["MIGRATE", &ip, &port, "", "0", MIGRATE_MS, "REPLACE"];
        if let Some(password) = self.cluster.password() {
            words.extend(["AUTH", password]);
        }
        words.push("KEYS");
        words.extend(keys);
        self.from.command(&words).await.context("MIGRATE")
    }

    /// Gives the slot to its new owner for good. All keys must have moved.
    ///
    /// # Errors
    ///
    /// When a node refuses: the old owner, while it has keys of the slot.
    pub async fn finish(self) -> anyhow::Result<()> {
        let id = self.cluster.id_of(&self.to).await?;
        // The new owner first, as the specification says: if the rest fails, the slot has an owner.
        let mut told = vec![self.to.clone(), self.from.clone()];
        let others = self.cluster.primaries().await;
        told.extend(
            others.into_iter().filter(|node| ![self.to.address(), self.from.address()].contains(&node.address())),
        );
        for node in told {
            node.command(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]).await?;
        }
        Ok(())
    }

    /// Gives it up: the old owner keeps the slot. Keys that have moved are moved back.
    ///
    /// # Errors
    ///
    /// When a node refuses.
    pub async fn abandon(self) -> anyhow::Result<()> {
        let Self { cluster, slot, from, to } = self;
        let back = Self { cluster, slot: slot.clone(), from: to.clone(), to: from.clone() };
        from.command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]).await?;
        while back.move_keys(100).await? > 0 {}
        to.command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]).await?;
        Ok(())
    }
}
