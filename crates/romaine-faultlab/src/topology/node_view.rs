//! What one node of a cluster says of another: a line of `CLUSTER NODES`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// A line of `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name in the cluster.
    pub id: String,
    /// Where clients reach it; none while it is not known.
    pub address: Option<SocketAddr>,
    /// `master`, `slave`, `myself`, `fail?`, `fail`, `handshake`, …
    pub flags: Vec<String>,
    /// Whom it follows.
    pub primary: Option<String>,
    /// Of its slots.
    pub epoch: u64,
    /// Whether the bus has a link to it.
    pub is_linked: bool,
    /// Its slots, without those on their way.
    pub slots: Vec<RangeInclusive<u16>>,
}

impl NodeView {
    /// Reads all lines; a line that cannot be read is left out.
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::read).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let id = words.next()?.to_owned();
        // `ip:port@bus-port[,name]`
        let address = words.next()?.split('@').next()?.parse().ok();
        let flags = words.next()?.split(',').map(ToOwned::to_owned).collect();
        let primary = words.next().filter(|id| *id != "-").map(ToOwned::to_owned);
        let epoch = words.nth(2)?.parse().ok()?;
        let is_linked = words.next()? == "connected";
        Some(Self { id, address, flags, primary, epoch, is_linked, slots: words.filter_map(range).collect() })
    }

    /// Whether it has a flag.
    #[must_use]
    pub fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Whether it serves the slot, by this view.
    #[must_use]
    pub fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }
}

/// `7` or `5-10`; a slot that is moving, `[5->-…]`, is none.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cluster_nodes_is_read() {
        let text = "07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426238317239 4 connected\n\
                    e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 7000 [93->-07c3]\n\
                    6ec2 :0@0 master,noaddr - 1426238316232 1426238316230 2 disconnected\n";
        let [replica, primary, lost] = NodeView::read_all(text).try_into().unwrap();
        assert_eq!((replica.primary.as_deref(), replica.epoch, replica.is_linked), (Some("e7d1"), 4, true));
        assert!(primary.is("myself") && primary.has(5460) && primary.has(7000) && !primary.has(5461));
        assert_eq!((lost.address, lost.is_linked, lost.slots.len()), (None, false, 0));
    }
}
