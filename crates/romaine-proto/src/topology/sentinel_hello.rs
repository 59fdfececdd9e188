//! What Sentinels tell each other through the data nodes.

use std::time::{Duration, Instant};

use super::address::NodeAddress;
use super::sentinel::SentinelView;

/// The channel on every data node on which each Sentinel names the primary every two seconds, and at once when it has
/// promoted a replica. It is how Sentinels agree; whoever cannot reach them can still listen there.
pub const SENTINEL_HELLO: &str = "__sentinel__:hello";

/// For how long what was said counts: five times the Sentinels' interval. Sentinels that are set up anew begin with a
/// low epoch, and would else be overruled for ever by what their predecessors said.
const COUNTS_FOR: Duration = Duration::from_secs(10);

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

/// The newest of what was overheard.
#[derive(Debug, Clone, Default)]
pub struct Overheard {
    newest: Option<(SentinelHello, Instant)>,
}

impl Overheard {
    /// One more message. Whether it is news to who takes `primary` for the primary: a reason to look.
    pub fn hear(&mut self, now: Instant, hello: SentinelHello, primary: Option<&NodeAddress>) -> bool {
        let known = self.newest(now).map(|newest| newest.epoch);
        if known.is_some_and(|epoch| hello.epoch < epoch) {
            return false;
        }
        let is_news = known.is_none_or(|epoch| hello.epoch > epoch) && Some(&hello.primary) != primary;
        self.newest = Some((hello, now));
        is_news
    }

    /// What was said last with the highest epoch, as long as it counts.
    fn newest(&self, now: Instant) -> Option<&SentinelHello> {
        let (newest, at) = self.newest.as_ref()?;
        (now < *at + COUNTS_FOR).then_some(newest)
    }

    /// What is to be believed without asking anybody: another primary, of a newer epoch than the view's. The nodes are
    /// the same, in other roles, until the Sentinels say more.
    #[must_use]
    pub fn overrules(&self, now: Instant, view: &SentinelView) -> Option<SentinelView> {
        let newest = self.newest(now).filter(|newest| newest.epoch > view.epoch && newest.primary != view.primary)?;
        let replicas = view.replicas.iter().filter(|replica| **replica != newest.primary).cloned().collect();
        Some(SentinelView { primary: newest.primary.clone(), epoch: newest.epoch, replicas })
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

    fn view(port: u16, epoch: u64) -> SentinelView {
        SentinelView { primary: at(port), epoch, replicas: vec![at(2), at(3)] }
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

    #[test]
    fn another_primary_is_news_once_and_the_same_never() {
        let (now, mut overheard) = (Instant::now(), Overheard::default());
        assert!(!overheard.hear(now, hello(1, 4), Some(&at(1))));
        assert!(overheard.hear(now, hello(2, 5), Some(&at(1))));
        assert!(!overheard.hear(now, hello(2, 5), Some(&at(1))), "the look is under way");
        assert!(!overheard.hear(now, hello(1, 4), Some(&at(2))), "one that does not know yet");
    }

    #[test]
    fn a_newer_epoch_overrules_the_view_and_an_older_one_does_not() {
        let (now, mut overheard) = (Instant::now(), Overheard::default());
        overheard.hear(now, hello(2, 5), Some(&at(1)));
        let believed = SentinelView { primary: at(2), epoch: 5, replicas: vec![at(3)] };
        assert_eq!(overheard.overrules(now, &view(1, 4)), Some(believed));
        assert_eq!(overheard.overrules(now, &view(1, 5)), None);
        assert_eq!(overheard.overrules(now, &view(1, 6)), None);
        assert_eq!(overheard.overrules(now, &view(2, 4)), None, "nothing else to do");
    }

    #[test]
    fn what_nobody_repeats_counts_no_more() {
        let (now, mut overheard) = (Instant::now(), Overheard::default());
        overheard.hear(now, hello(2, 9), Some(&at(1)));
        let later = now + COUNTS_FOR;
        assert!(overheard.overrules(now, &view(1, 0)).is_some());
        assert_eq!(overheard.overrules(later, &view(1, 0)), None);
        assert!(overheard.hear(later, hello(3, 1), Some(&at(1))), "Sentinels that began anew are heard");
    }
}
