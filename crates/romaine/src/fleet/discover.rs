//! Asks servers for their role, where nobody else can be asked: a primary and its replicas without Sentinel.

use std::sync::Arc;

use futures_util::future::join_all;
use romaine_commands::replies::Role as RoleReply;
use romaine_commands::{Command as _, FromValue as _, cmd};
use romaine_proto::{NodeAddress, SentinelView};
use romaine_resp::Reader;

use super::Fleet;
use super::ask::ask;
use super::map::Layout;
use crate::config_topology::Topology;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::server::{Role, Server};

/// Who was the primary last.
#[derive(Default)]
pub(super) struct Roles {
    view: Option<SentinelView>,
}

impl Roles {
    /// Asks everyone at once.
    pub(super) async fn look(&mut self, fleet: &Arc<Fleet>) -> Result<Layout> {
        let Topology::Discover { hosts } = &fleet.common.config.topology else {
            return Err(Error::config("there is nothing to discover"));
        };
        let answers = join_all(hosts.iter().map(|address| role_of(fleet, address))).await;
        let mut primaries = Vec::new();
        let mut replicas = Vec::new();
        let (mut followed, mut silent) = (Vec::new(), Vec::new());
        let mut last_error = None;
        for (address, answer) in hosts.iter().zip(answers) {
            match answer {
                Ok(RoleReply::Primary { replicas, offset, .. }) => primaries.push((replicas.len(), offset, address)),
                Ok(RoleReply::Replica { host, port, .. }) => {
                    replicas.push(address.clone());
                    followed.push(NodeAddress::new(host, port));
                }
                Ok(_) => {}
                Err(error) => {
                    silent.push(address);
                    last_error = Some(error);
                }
            }
        }
        // Two that say so: a former primary that has come back alone. The one that others follow, then the one with more
        // history, is believed; a tie stays with the one before.
        let before = self.view.as_ref().map(|view| view.primary.clone());
        let best = primaries
            .iter()
            .max_by_key(|(followers, offset, address)| (*followers, *offset, Some(*address) == before.as_ref()));
        // Nobody says so: the one that is silent and was it, or is followed. Its replicas can be read meanwhile.
        // Replicas name it by what they know it by, which need not be what it is called here.
        let followers = |address: &NodeAddress| {
            let to = fleet.dialled(address);
            followed.iter().filter(|primary| fleet.dialled(primary) == to).count()
        };
        let of_silent = || {
            let known =
                silent.iter().copied().filter(|address| Some(*address) == before.as_ref() || followers(address) > 0);
            known.max_by_key(|address| (Some(*address) == before.as_ref(), followers(address)))
        };
        let Some(primary) = best.map(|(_, _, address)| *address).or_else(of_silent) else {
            return Err(last_error.unwrap_or_else(|| {
                Error::new(ErrorKind::Unavailable, Delivery::NotSent, "none of the hosts is a primary (yet)")
            }));
        };
        let view = SentinelView { primary: primary.clone(), epoch: 0, replicas };
        let layout = Layout::of_pair(&view);
        self.view = Some(view);
        Ok(layout)
    }
}

async fn role_of(fleet: &Arc<Fleet>, address: &NodeAddress) -> Result<RoleReply> {
    let found = fleet.map().servers.get(address).cloned();
    let server: Arc<Server> = found.unwrap_or_else(|| fleet.new_server(address, Role::Any));
    let replies = ask(&server, &[cmd::<()>("ROLE").into_request()]).await?;
    let frame = replies.frame(0).unwrap_or_default();
    RoleReply::from_value(&mut Reader::new(frame)).map_err(|error| Error::conversion(error).with_node(&server.node))
}
