//! What an error reply says about the node that gave it.

use romaine_resp::ServerError;

use super::address::{NodeAddress, host_and_port};
use super::slot::SLOTS;

/// Another node is right for a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Redirect {
    /// For good: the view is out of date.
    Moved {
        /// The slot.
        slot: u16,
        /// Where to; nothing when the server does not know what it is called (`?`): ask for a new view.
        to: Option<NodeAddress>,
    },
    /// For this one request, with ASKING before it: the slot is being moved, and the key may be there already.
    Ask {
        /// The slot.
        slot: u16,
        /// Where to; nothing when the server does not know what it is called (`?`).
        to: Option<NodeAddress>,
    },
}

/// What a call does about an error reply in a topology that can move.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reroute {
    /// Not about the topology: the ordinary retry rules apply.
    No,
    /// Another node owns the slot: go there, and ask for a new view. A target equal to the node that answered means
    /// that something else answers at this address now: leave the connection.
    Moved {
        /// The slot.
        slot: u16,
        /// Where to, if the server knows what it is called.
        to: Option<NodeAddress>,
    },
    /// Go there this once, ASKING first.
    Ask {
        /// The slot.
        slot: u16,
        /// Where to, if the server knows what it is called.
        to: Option<NodeAddress>,
    },
    /// Wait a little and ask the same route again.
    Later,
    /// The node is no primary any more: leave it, and ask for a new view.
    WrongRole,
}

/// Reads MOVED and ASK. A host that is left out (`MOVED 1 :7000`) is that of the node that answered.
#[must_use]
pub fn redirect_of(error: &ServerError, answered_by: &NodeAddress) -> Option<Redirect> {
    let mut words = error.as_str().split_ascii_whitespace();
    let code = words.next()?;
    if code != "MOVED" && code != "ASK" {
        return None;
    }
    let slot = words.next()?.parse().ok().filter(|slot| usize::from(*slot) < SLOTS)?;
    let to = match host_and_port(words.next()?)? {
        (_, 0) | ("?", _) => None,
        ("", port) => Some(answered_by.with_port(port)),
        (host, port) => Some(NodeAddress::new(host, port)),
    };
    Some(if code == "ASK" { Redirect::Ask { slot, to } } else { Redirect::Moved { slot, to } })
}

/// What a call does about an error reply of `answered_by`.
#[must_use]
pub fn reroute(error: &ServerError, answered_by: &NodeAddress) -> Reroute {
    match error.code() {
        "MOVED" | "ASK" => match redirect_of(error, answered_by) {
            Some(Redirect::Moved { slot, to }) => Reroute::Moved { slot, to },
            Some(Redirect::Ask { slot, to }) => Reroute::Ask { slot, to },
            None => Reroute::No,
        },
        "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" => Reroute::Later,
        // REDIRECT is what a Valkey server says to those who announced that they understand it.
        "READONLY" | "REDIRECT" => Reroute::WrongRole,
        // "force unblock from blocking operation, instance state changed (master -> replica?)". The same code with
        // "client unblocked via CLIENT UNBLOCK" is somebody's wish.
        "UNBLOCKED" if error.message().starts_with("force") => Reroute::WrongRole,
        _ => Reroute::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> ServerError {
        ServerError::new(text.as_bytes())
    }

    fn asked() -> NodeAddress {
        NodeAddress::new("10.0.0.1", 7000)
    }

    fn moved(slot: u16, host: &str, port: u16) -> Option<Redirect> {
        Some(Redirect::Moved { slot, to: Some(NodeAddress::new(host, port)) })
    }

    #[test]
    fn redirects_are_read_with_names_and_both_kinds_of_ip() {
        for (text, expected) in [
            ("MOVED 3999 127.0.0.1:6381", moved(3999, "127.0.0.1", 6381)),
            ("MOVED 0 node-1.cache.svc:6381", moved(0, "node-1.cache.svc", 6381)),
            ("MOVED 16383 ::1:6381", moved(16_383, "::1", 6381)),
            ("MOVED 1 [fe80::1]:6381", moved(1, "fe80::1", 6381)),
            ("ASK 7 h:1", Some(Redirect::Ask { slot: 7, to: Some(NodeAddress::new("h", 1)) })),
        ] {
            assert_eq!(redirect_of(&error(text), &asked()), expected, "{text}");
        }
    }

    #[test]
    fn a_host_that_is_left_out_is_that_of_the_node_that_answered() {
        assert_eq!(redirect_of(&error("MOVED 1 :7001"), &asked()), moved(1, "10.0.0.1", 7001));
    }

    #[test]
    fn a_host_that_the_server_does_not_know_is_no_target_but_still_a_redirect() {
        for target in ["?:7001", ":0", "10.0.0.2:0"] {
            let expected = Some(Redirect::Moved { slot: 1, to: None });
            assert_eq!(redirect_of(&error(&format!("MOVED 1 {target}")), &asked()), expected, "{target}");
        }
    }

    #[test]
    fn what_only_looks_like_a_redirect_is_told_to_the_caller() {
        for text in ["MOVED", "MOVED 1", "MOVED x h:1", "MOVED 16384 h:1", "ASK 1 h", "ASK -1 h:1", "MOVEDX 1 h:1"] {
            assert_eq!(redirect_of(&error(text), &asked()), None, "{text}");
            assert_eq!(reroute(&error(text), &asked()), Reroute::No, "{text}");
        }
    }

    #[test]
    fn each_error_has_its_way() {
        let to = Some(NodeAddress::new("h", 1));
        for (text, expected) in [
            ("MOVED 5 h:1", Reroute::Moved { slot: 5, to: to.clone() }),
            ("ASK 5 h:1", Reroute::Ask { slot: 5, to }),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Reroute::Later),
            ("CLUSTERDOWN Hash slot not served", Reroute::Later),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Reroute::Later),
            ("LOADING Redis is loading the dataset in memory", Reroute::Later),
            ("READONLY You can't write against a read only replica.", Reroute::WrongRole),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                Reroute::WrongRole,
            ),
            ("UNBLOCKED client unblocked via CLIENT UNBLOCK", Reroute::No),
            ("CROSSSLOT Keys in request don't hash to the same slot", Reroute::No),
            ("BUSY Redis is busy running a script.", Reroute::No),
            ("NOPERM no", Reroute::No),
            ("WRONGTYPE x", Reroute::No),
            ("", Reroute::No),
        ] {
            assert_eq!(reroute(&error(text), &asked()), expected, "{text}");
        }
    }

    #[test]
    fn a_move_to_the_node_itself_can_be_told() {
        let Reroute::Moved { to, .. } = reroute(&error("MOVED 5 10.0.0.1:7000"), &asked()) else { panic!("moved") };
        assert_eq!(to, Some(asked()));
    }
}
