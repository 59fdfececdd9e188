//! What became of a ghost: a server-side client whose peer (us) is gone, blocked in a command that takes elements.
//!
//! `MULTI; CLIENT LIST ID g; CLIENT KILL ID g; EXEC` is an atomic autopsy and fence: it tells whether the ghost was
//! still blocked (nothing lost) or had been served (an element was handed to a dead socket), and ends it. Ids start
//! from 1 again when a server restarts, so the fence is only applied to the process that issued the id (`run_id`), or,
//! where that is unknown, to a client with the ghost's own address.

use romaine_commands::{Request, cmd};
use romaine_resp::{Reader, Token};

/// A connection of ours that died while blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ghost {
    /// The server's number for it.
    pub client_id: u64,
    /// The server process that issued the number, if known.
    pub run_id: Option<String>,
    /// Our own address of that connection, as `ip:port`, if known.
    pub address: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GhostVerdict {
    /// It was still blocked: nothing was lost. It is gone now.
    StillBlocked,
    /// A reply had been produced for it that we did not receive: an element may be lost.
    Served,
    /// The server had already dropped it; whether it was served before is unknown.
    Gone,
    /// The server process is another one: its clients ended with it.
    Restarted,
    /// The id may belong to a stranger now (run id unknown and the address differs): left alone.
    Stranger,
}

impl GhostVerdict {
    /// Whether an element may have been handed to nobody.
    #[must_use]
    pub const fn may_have_lost(self) -> bool {
        match self {
            Self::StillBlocked => false,
            Self::Served | Self::Gone | Self::Restarted | Self::Stranger => true,
        }
    }
}

/// What to do next in an autopsy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Autopsy {
    /// Send the requests of [`autopsy_requests`] as a transaction.
    Fence,
    /// Look first (CLIENT LIST ID), because the id cannot be trusted by itself.
    Look,
    /// No need to ask.
    Known(GhostVerdict),
}

impl Ghost {
    /// How to go about it, given the run id of the server we are connected to now.
    #[must_use]
    pub fn autopsy(&self, run_id_now: Option<&str>) -> Autopsy {
        match (self.run_id.as_deref(), run_id_now) {
            (Some(then), Some(now)) if then == now => Autopsy::Fence,
            (Some(_), Some(_)) => Autopsy::Known(GhostVerdict::Restarted),
            _ => Autopsy::Look,
        }
    }

    /// Judges the line of CLIENT LIST ID for a ghost whose run id is unknown: is it ours?
    #[must_use]
    pub fn is_ours(&self, line: &str) -> bool {
        match (&self.address, field(line, "addr")) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }

    /// The verdict from EXEC's reply to [`autopsy_requests`]. `None` when the reply has another form (refused).
    #[must_use]
    pub fn verdict(&self, exec_reply: &[u8]) -> Option<GhostVerdict> {
        let mut reader = Reader::new(exec_reply);
        let Token::Array(2) = reader.token().ok()? else { return None };
        let (Token::Bulk(line) | Token::Simple(line)) = reader.token().ok()? else { return None };
        let Token::Integer(_killed) = reader.token().ok()? else { return None };
        Some(judge(std::str::from_utf8(line).ok()?))
    }
}

/// What a line of CLIENT LIST says of a ghost.
fn judge(line: &str) -> GhostVerdict {
    match field(line, "flags") {
        None => GhostVerdict::Gone,
        Some(flags) if flags.contains('b') => GhostVerdict::StillBlocked,
        Some(_) => GhostVerdict::Served,
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_ascii_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// CLIENT LIST and CLIENT KILL of one id: the body of the autopsy's transaction.
#[must_use]
pub fn autopsy_requests(client_id: u64) -> [Request; 2] {
    use romaine_commands::Command;
    [
        cmd::<()>("CLIENT").arg("LIST").arg("ID").arg(client_id).into_request(),
        cmd::<()>("CLIENT").arg("KILL").arg("ID").arg(client_id).into_request(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ghost(run_id: Option<&str>) -> Ghost {
        Ghost { client_id: 7, run_id: run_id.map(str::to_owned), address: Some("10.0.0.1:5000".into()) }
    }

    fn exec(line: &str, killed: u8) -> Vec<u8> {
        format!("*2\r\n${}\r\n{line}\r\n:{killed}\r\n", line.len()).into_bytes()
    }

    #[test]
    fn a_ghost_is_fenced_only_in_the_process_that_named_it() {
        assert_eq!(ghost(Some("aa")).autopsy(Some("aa")), Autopsy::Fence);
        assert_eq!(ghost(Some("aa")).autopsy(Some("bb")), Autopsy::Known(GhostVerdict::Restarted));
        assert_eq!(ghost(None).autopsy(Some("bb")), Autopsy::Look);
        assert_eq!(ghost(Some("aa")).autopsy(None), Autopsy::Look);
    }

    #[test]
    fn without_run_ids_only_our_own_address_is_ours() {
        assert!(ghost(None).is_ours("id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6379 flags=b"));
        assert!(!ghost(None).is_ours("id=7 addr=10.0.0.9:5000 laddr=10.0.0.1:5000 flags=b"));
        assert!(!ghost(None).is_ours(""));
    }

    #[test]
    fn the_flags_tell_whether_an_element_was_handed_out() {
        let ghost = ghost(Some("aa"));
        let blocked = "id=7 addr=10.0.0.1:5000 name= flags=b db=0 cmd=brpop user=default";
        assert_eq!(ghost.verdict(&exec(blocked, 1)), Some(GhostVerdict::StillBlocked));
        let served = "id=7 addr=10.0.0.1:5000 name= flags=N db=0 cmd=brpop user=default";
        assert_eq!(ghost.verdict(&exec(served, 1)), Some(GhostVerdict::Served));
        assert_eq!(ghost.verdict(&exec("", 0)), Some(GhostVerdict::Gone));
        assert_eq!(ghost.verdict(b"-EXECABORT Transaction discarded\r\n"), None);
        assert_eq!(ghost.verdict(b"*2\r\n-NOPERM no\r\n:0\r\n"), None);
    }

    #[test]
    fn only_a_ghost_seen_blocked_lost_nothing() {
        for verdict in [GhostVerdict::Served, GhostVerdict::Gone, GhostVerdict::Restarted, GhostVerdict::Stranger] {
            assert!(verdict.may_have_lost());
        }
        assert!(!GhostVerdict::StillBlocked.may_have_lost());
    }
}
