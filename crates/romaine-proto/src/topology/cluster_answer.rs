//! What one node of a cluster says of it.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use romaine_resp::{Reader, Value};

use super::address::{NodeAddress, host_and_port};
use super::fields::field;
use super::slot::SLOTS;
use super::view_error::ViewError;

/// A node as the asked one describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its id, 40 hexadecimal digits; where a server tells none, its address.
    pub id: String,
    /// Where clients reach it. Nothing for a node whose address is not known.
    pub address: Option<NodeAddress>,
    /// The id of the primary that it replicates; nothing for a primary.
    pub replica_of: Option<String>,
    /// Its configuration epoch (a replica's is that of its primary); 0 when CLUSTER NODES was refused.
    pub epoch: u64,
    /// Whether the cluster has agreed that it is down (`fail`; not `fail?`, which is one node's suspicion).
    pub has_failed: bool,
    /// Whether the asked node has a connection to it.
    pub is_connected: bool,
    /// Whether CLUSTER SLOTS lists it. Servers leave out replicas that have failed or have no data yet.
    pub is_listed: bool,
    /// Whether it is the asked node itself.
    pub is_myself: bool,
    /// The slots it owns, as the asked node says.
    pub slots: Vec<RangeInclusive<u16>>,
}

/// What one node says of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAnswer {
    nodes: Vec<ClusterNode>,
}

/// How CLUSTER SLOTS names a host.
enum Host {
    Named(String),
    /// As the asked node itself is called.
    Asked,
    /// `?`, and the IP given beside it.
    Unknown(Option<String>),
}

impl ClusterAnswer {
    /// Reads the frames of CLUSTER SLOTS and CLUSTER NODES, asked of `asked` in one write.
    ///
    /// SLOTS tells what clients are to call the nodes, NODES their epochs and health. If NODES was refused, all epochs
    /// are 0 and nobody has failed. An endpoint that is null or empty is the asked node's own host; `?` (a name is
    /// wanted that nobody configured) is the IP that the answer gives beside it, else the asked node's own host.
    ///
    /// # Errors
    /// When CLUSTER SLOTS was refused, or is not of the form that the servers document.
    pub fn parse(asked: &NodeAddress, slots_frame: &[u8], nodes_frame: &[u8]) -> Result<Self, ViewError> {
        let mut nodes = match Reader::new(nodes_frame).value()? {
            Value::Error(_) => Vec::new(),
            value => lines(value.as_str().ok_or(ViewError::Form("the text of CLUSTER NODES"))?),
        };
        let mut places: HashMap<String, usize> =
            nodes.iter().enumerate().map(|(place, node)| (node.id.clone(), place)).collect();
        for entry in entries(slots_frame)? {
            let primary = entry.nodes.first().map(|named| named.id.clone());
            for (rank, named) in entry.nodes.into_iter().enumerate() {
                let place = *places.entry(named.id.clone()).or_insert_with(|| {
                    nodes.push(ClusterNode::unknown(&named.id));
                    nodes.len() - 1
                });
                let Some(node) = nodes.get_mut(place) else { continue };
                node.address = Some(named.address(asked, node.ip()));
                node.is_listed = true;
                if rank == 0 {
                    node.replica_of = None;
                    node.slots.push(entry.slots.clone());
                } else {
                    node.replica_of.clone_from(&primary);
                }
            }
        }
        for node in &mut nodes {
            // A node that has not learned its own IP yet.
            if node.address.is_some() && node.ip().is_none() {
                node.address = node.is_myself.then(|| asked.clone());
            }
        }
        Ok(Self { nodes })
    }

    /// Every node that the answer names.
    #[must_use]
    pub fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// Whether it names an owner for any slot.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        self.nodes.iter().any(|node| !node.slots.is_empty())
    }
}

impl ClusterNode {
    fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            address: None,
            replica_of: None,
            epoch: 0,
            has_failed: false,
            is_connected: true,
            is_listed: false,
            is_myself: false,
            slots: Vec::new(),
        }
    }

    /// The host of the address line of CLUSTER NODES, which is an IP.
    fn ip(&self) -> Option<&str> {
        self.address.as_ref().map(NodeAddress::host).filter(|host| !host.is_empty())
    }
}

/// CLUSTER NODES: `id ip:port@bus[,hostname] flags primary ping pong epoch link slot …`. Lines that are not of this
/// form are stepped over: one strange node must not hide the others.
fn lines(text: &str) -> Vec<ClusterNode> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<ClusterNode> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(8).collect();
    let &[id, address, flags, primary, _ping, _pong, epoch, link] = &words[..] else { return None };
    let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
    // Not met yet: its id is made up.
    if has("handshake") {
        return None;
    }
    let address = address.split(['@', ',']).next().and_then(host_and_port);
    Some(ClusterNode {
        address: if has("noaddr") { None } else { address.map(|(host, port)| NodeAddress::new(host, port)) },
        replica_of: (primary != "-").then(|| primary.to_owned()),
        epoch: epoch.parse().ok()?,
        has_failed: has("fail"),
        is_connected: link == "connected",
        is_myself: has("myself"),
        ..ClusterNode::unknown(id)
    })
}

/// A range of slots in CLUSTER SLOTS.
struct Entry {
    slots: RangeInclusive<u16>,
    /// The owner first.
    nodes: Vec<Named>,
}

struct Named {
    id: String,
    host: Host,
    port: u16,
}

impl Named {
    /// `ip`: what CLUSTER NODES says.
    fn address(&self, asked: &NodeAddress, ip: Option<&str>) -> NodeAddress {
        match &self.host {
            Host::Named(host) => NodeAddress::new(host.as_str(), self.port),
            Host::Asked => asked.with_port(self.port),
            Host::Unknown(beside) => beside
                .as_deref()
                .or(ip)
                .map_or_else(|| asked.with_port(self.port), |ip| NodeAddress::new(ip, self.port)),
        }
    }
}

fn entries(frame: &[u8]) -> Result<Vec<Entry>, ViewError> {
    const FORM: ViewError = ViewError::Form("the ranges of CLUSTER SLOTS");
    let value = match Reader::new(frame).value()? {
        Value::Error(error) => return Err(ViewError::Refused(error)),
        value => value,
    };
    let entries = value.as_elements().ok_or(FORM)?;
    entries.iter().filter_map(|value| entry(value).ok_or(FORM).transpose()).collect()
}

/// Nothing when it has not the form; nothing inside when nobody owns the range.
fn entry(value: &Value) -> Option<Option<Entry>> {
    let [first, last, nodes @ ..] = value.as_elements()? else { return None };
    let bound = |value: &Value| u16::try_from(value.as_integer()?).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let slots = bound(first)?..=bound(last)?;
    // Clients are told to expect an owner that is null.
    match nodes.first() {
        None | Some(Value::Null) => return Some(None),
        Some(_) => {}
    }
    let nodes = nodes.iter().map(named).collect::<Option<Vec<_>>>()?;
    Some(Some(Entry { slots, nodes }))
}

fn named(value: &Value) -> Option<Named> {
    let [endpoint, port, rest @ ..] = value.as_elements()? else { return None };
    let port = u16::try_from(port.as_integer()?).ok()?;
    let [id, metadata] = [rest.first(), rest.get(1)];
    let host = match endpoint {
        Value::Null => Host::Asked,
        text => match text.as_str()? {
            "" => Host::Asked,
            "?" => Host::Unknown(metadata.and_then(|metadata| field(metadata, "ip")).filter(|ip| !ip.is_empty())),
            host => Host::Named(host.to_owned()),
        },
    };
    let id = match (id.and_then(Value::as_str), &host) {
        (Some(id), _) => id.to_owned(),
        (None, Host::Named(host)) => NodeAddress::new(host.as_str(), port).to_string(),
        (None, Host::Asked | Host::Unknown(_)) => format!(":{port}"),
    };
    Some(Named { id, host, port })
}
