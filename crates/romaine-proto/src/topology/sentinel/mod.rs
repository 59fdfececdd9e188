//! What Sentinels say of a primary, and what is believed when they disagree.

mod belief;
#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use romaine_resp::{Reader, Value};

pub use belief::Belief;

use super::address::NodeAddress;
use super::fields::field;
use super::view_error::ViewError;

/// What one Sentinel says of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SentinelAnswer {
    /// Where it is, by SENTINEL GET-MASTER-ADDR-BY-NAME.
    pub primary: Option<NodeAddress>,
    /// The configuration epoch: the higher, the newer. 0 when SENTINEL MASTER was refused.
    pub epoch: u64,
    /// Replicas that this Sentinel can reach.
    pub replicas: Vec<NodeAddress>,
    /// The other Sentinels it knows, reachable or not.
    pub sentinels: Vec<NodeAddress>,
    /// Whether this Sentinel is at a failover.
    pub failover_in_progress: bool,
    /// Whether the failover has promoted a replica already, which no other Sentinel may know yet:
    /// [`primary`](Self::primary) is that replica.
    pub has_promoted: bool,
    /// Whether it holds the primary to be down, alone or with others.
    pub primary_is_down: bool,
}

impl SentinelAnswer {
    /// Reads the frames of SENTINEL GET-MASTER-ADDR-BY-NAME, MASTER, REPLICAS and SENTINELS, asked in one write, in
    /// RESP2 or RESP3.
    ///
    /// Only the first must be answered: some services that speak as a Sentinel know nothing else.
    ///
    /// # Errors
    /// When nobody watches a primary of this name, the Sentinel refuses to say, or the frames are not of the form that
    /// the servers document.
    pub fn parse(frames: [&[u8]; 4]) -> Result<Self, ViewError> {
        let [address, primary, replicas, sentinels] = frames;
        let primary = Reader::new(primary).value()?;
        let address = match Reader::new(address).value()? {
            Value::Error(error) => return Err(ViewError::Refused(error)),
            Value::Null if is_unknown(&primary) => return Err(ViewError::UnknownPrimary),
            Value::Null => None,
            value => Some(pair(&value).ok_or(ViewError::Form("a host and a port"))?),
        };
        let flags = field(&primary, "flags").unwrap_or_default();
        let failover_in_progress = has_any(&flags, &["failover_in_progress"]);
        let monitored = named(&primary);
        Ok(Self {
            epoch: field(&primary, "config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
            replicas: instances(replicas, |flags| !has_any(flags, &["s_down", "o_down", "disconnected"]))?
                .into_iter()
                .filter(|replica| Some(replica) != address.as_ref())
                .collect(),
            sentinels: instances(sentinels, |_| true)?,
            failover_in_progress,
            has_promoted: failover_in_progress && address.is_some() && monitored.is_some() && address != monitored,
            // What is down is the old one.
            primary_is_down: has_any(&flags, &["s_down", "o_down"]) && (monitored.is_none() || address == monitored),
            primary: address,
        })
    }

    /// The newest first: by epoch, and within one by who has promoted.
    const fn rank(&self) -> (u64, bool) {
        (self.epoch, self.has_promoted)
    }
}

/// `No such master with that name`, and whatever else SENTINEL MASTER may say to a name it does not know.
fn is_unknown(primary: &Value) -> bool {
    matches!(primary, Value::Error(error) if error.as_str().contains("No such master")) || primary.is_null()
}

fn has_any(flags: &str, wanted: &[&str]) -> bool {
    flags.split(',').any(|flag| wanted.contains(&flag))
}

/// `[host, port]`.
fn pair(value: &Value) -> Option<NodeAddress> {
    let [host, port] = value.as_elements()? else { return None };
    Some(NodeAddress::new(host.as_str()?, port.as_str()?.parse().ok()?))
}

/// The fields `ip` and `port` of an instance.
fn named(instance: &Value) -> Option<NodeAddress> {
    let host = field(instance, "ip").filter(|host| !host.is_empty())?;
    let port = field(instance, "port")?.parse().ok().filter(|port| *port > 0)?;
    Some(NodeAddress::new(host, port))
}

/// The addresses of those instances whose flags pass; none when the Sentinel refuses to list them.
fn instances(frame: &[u8], mut pass: impl FnMut(&str) -> bool) -> Result<Vec<NodeAddress>, ViewError> {
    let value = match Reader::new(frame).value()? {
        Value::Error(_) | Value::Null => return Ok(Vec::new()),
        value => value,
    };
    let instances = value.as_elements().ok_or(ViewError::Form("a list of instances"))?;
    let passing = instances.iter().filter(|instance| pass(&field(instance, "flags").unwrap_or_default()));
    Ok(passing.filter_map(named).collect())
}

/// What is believed of a primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelView {
    /// Where writes go.
    pub primary: NodeAddress,
    /// The configuration epoch.
    pub epoch: u64,
    /// Where reads may go. Ordered.
    pub replicas: Vec<NodeAddress>,
}

/// Whether the answers so far are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement {
    /// They are: believe this, and wait for no others.
    Now(SentinelView),
    /// They are not: wait for the rest of the round. After its last answer: nothing is to be believed but what was.
    NotYet,
}

/// What to believe after these answers of one round; `known` is how many Sentinels there are, reachable or not, and
/// `last` says that no further answer will come.
///
/// - The highest configuration epoch is right, and within it who has just promoted a replica: the leader of a failover
///   knows of it before all others. Among equals the address with the most votes is right, then what was believed (then
///   the highest address, so that all clients choose the same).
/// - Before the end of a round a majority of all known Sentinels must name the address, and nobody a newer one.
/// - At its end the best answer is right even if it is the only one: a majority may be cut off. But an epoch below the
///   believed one takes a majority of the known: a Sentinel that was away for a while is not news.
/// - Answers that name no primary count for nothing.
#[must_use]
pub fn agree(before: Option<&SentinelView>, known: usize, answers: &[SentinelAnswer], last: bool) -> Agreement {
    let votes_for =
        |primary: &NodeAddress| answers.iter().filter(|other| other.primary.as_ref() == Some(primary)).count();
    let named = answers.iter().filter_map(|answer| Some((answer, answer.primary.as_ref()?)));
    let best = named.max_by_key(|(answer, primary)| {
        (answer.rank(), votes_for(primary), before.is_some_and(|before| before.primary == **primary), *primary)
    });
    let Some((answer, primary)) = best else { return Agreement::NotYet };
    let has_majority = votes_for(primary) * 2 > known.max(1);
    let is_older = before.is_some_and(|before| answer.epoch < before.epoch);
    if has_majority || (last && !is_older) {
        let replicas = replicas(primary, answers);
        Agreement::Now(SentinelView { primary: primary.clone(), epoch: answer.epoch, replicas })
    } else {
        Agreement::NotYet
    }
}

/// Those that at least half of the Sentinels that agree on the primary can reach.
fn replicas(primary: &NodeAddress, answers: &[SentinelAnswer]) -> Vec<NodeAddress> {
    let mut votes: BTreeMap<&NodeAddress, usize> = BTreeMap::new();
    let agreeing = answers.iter().filter(|answer| answer.primary.as_ref() == Some(primary));
    for replica in agreeing.clone().flat_map(|answer| &answer.replicas) {
        *votes.entry(replica).or_default() += 1;
    }
    let enough = agreeing.count().div_ceil(2);
    let chosen = votes.into_iter().filter(|(replica, votes)| *votes >= enough && *replica != primary);
    chosen.map(|(replica, _)| replica.clone()).collect()
}
