//! What Sentinels tell each other through the data nodes.

use super::address::NodeAddress;

/// The channel on every data node on which each Sentinel names the primary every two seconds, and at once when it has
/// promoted a replica. It is how Sentinels agree; whoever cannot reach them can still listen there.
pub const SENTINEL_HELLO: &str = "__sentinel__:hello";

/// What one message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelHello {
    /// The primary, as the Sentinel that speaks believes.
    pub primary: NodeAddress,
    /// The epoch of that belief. Only the elected leader of a failover makes a new one, so the highest is right.
    pub epoch: u64,
}

impl SentinelHello {
    /// Reads a message on [`SENTINEL_HELLO`]: `ip,port,runid,current-epoch,name,ip,port,config-epoch`, of which the
    /// first four are the Sentinel's own. Nothing when it is about another primary than `name`, or of another form.
    #[must_use]
    pub fn parse(payload: &[u8], name: &str) -> Option<Self> {
        let fields: Vec<&str> = std::str::from_utf8(payload).ok()?.split(',').collect();
        let [_, _, _, _, about, host, port, epoch] = fields[..] else { return None };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        if about != name || host.is_empty() {
            return None;
        }
        Some(Self { primary: NodeAddress::new(host, port), epoch: epoch.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Sentinel of Redis 7.0.15 published it.
    const HELLO: &str = "127.0.0.1,23001,2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb,1,mymaster,127.0.0.1,22003,1";

    fn at(port: u16) -> NodeAddress {
        NodeAddress::new("127.0.0.1", port)
    }

    fn hello(port: u16, epoch: u64) -> SentinelHello {
        SentinelHello { primary: at(port), epoch }
    }

    #[test]
    fn a_hello_names_the_primary_and_its_epoch() {
        assert_eq!(SentinelHello::parse(HELLO.as_bytes(), "mymaster"), Some(hello(22003, 1)));
        let of_ipv6 = "::1,23001,2adeb7b5cde2a7cbd1e831d574a7a3672f105ceb,1,mymaster,::1,22003,7";
        let parsed = SentinelHello::parse(of_ipv6.as_bytes(), "mymaster");
        assert_eq!(parsed, Some(SentinelHello { primary: NodeAddress::new("::1", 22003), epoch: 7 }));
    }

    #[test]
    fn what_is_about_another_primary_or_of_another_form_says_nothing() {
        assert_eq!(SentinelHello::parse(HELLO.as_bytes(), "other"), None);
        for wrong in [
            "",
            "127.0.0.1,23001,2ade,1,mymaster,127.0.0.1,22003",
            "127.0.0.1,23001,2ade,1,mymaster,127.0.0.1,22003,1,more",
            "127.0.0.1,23001,2ade,1,mymaster,127.0.0.1,0,1",
            "127.0.0.1,23001,2ade,1,mymaster,127.0.0.1,99999,1",
            "127.0.0.1,23001,2ade,1,mymaster,,22003,1",
            "127.0.0.1,23001,2ade,1,mymaster,127.0.0.1,22003,-1",
        ] {
            assert_eq!(SentinelHello::parse(wrong.as_bytes(), "mymaster"), None, "{wrong}");
        }
        assert_eq!(SentinelHello::parse(b"\xff,1,1,1,mymaster,a,1,1", "mymaster"), None);
    }
}
