//! What became of a ghost: a server-side client whose peer (us) is gone, blocked in a command that takes elements.
//!
//! `MULTI; CLIENT LIST ID g; CLIENT KILL ID g; EXEC` is an atomic autopsy and fence: it tells whether the ghost was
//! still blocked (nothing lost) or had been served (an element was handed to a dead socket), and ends it. Ids start
//! from 1 again when a server restarts, so the fence is only applied to the process that issued the id (`run_id`), or,
//! where that is unknown, to a client with the ghost's own address.

use std::time::{Duration, Instant};

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
    /// When that connection was made.
    pub since: Instant,
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
    /// The connection that asks was made before the ghost's and leads to another process: their name leads elsewhere by
    /// now. It is to be made anew.
    Misled,
}

impl Ghost {
    /// How to go about it, given the run id of the server that the asking connection leads to, and when that was made.
    #[must_use]
    pub fn autopsy(&self, asked: Option<&str>, asked_since: Instant) -> Autopsy {
        match (self.run_id.as_deref(), asked) {
            (Some(own), Some(asked)) if own == asked => Autopsy::Fence,
            (Some(_), Some(_)) if asked_since < self.since => Autopsy::Misled,
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

    /// Judges the line of CLIENT LIST ID for a connection of ours that is silent though nothing blocking was sent over it:
    /// whether the server has its request and holds it back, as it does with writes during a `CLIENT PAUSE` or a manual
    /// failover. Such clients are listed as blocked, with flag `b`.
    #[must_use]
    pub fn is_held(&self, line: &str) -> bool {
        self.is_ours(line) && judge(line) == GhostVerdict::StillBlocked
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

/// How long a server that is no part of the topology any more is asked about a ghost: its address may never answer again,
/// and each ghost keeps a connection attempt going.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(180);

/// What the server that has a ghost is to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A part of it. However long it is away, it is asked when it is back.
    Member,
    /// Left for another server; asked for as long as it is worth it.
    Left,
    /// Left, and the connection by which it was asked is closed for good.
    Closed,
}

/// Whether to go on asking a server about one ghost that has not been seen yet.
#[derive(Debug, Default)]
pub struct Inquest {
    left_since: Option<Instant>,
}

impl Inquest {
    /// Looked at before each question. `Some`: it ends with this verdict, because nobody will tell any more.
    pub fn verdict(&mut self, now: Instant, standing: Standing) -> Option<GhostVerdict> {
        match standing {
            Standing::Member => {
                self.left_since = None;
                None
            }
            Standing::Left => {
                let left_since = *self.left_since.get_or_insert(now);
                (now >= left_since + FORGOTTEN_AFTER).then_some(GhostVerdict::Gone)
            }
            Standing::Closed => Some(GhostVerdict::Gone),
        }
    }
}

/// How long a server that was left for another gets to say what became of a ghost, while its command waits for that.
const FORSAKEN_AFTER: Duration = Duration::from_secs(1);

/// For how long a command waits for the word of the server that has its ghost: as long as it takes from a member of the
/// topology, a moment from one that was left. Then it goes on elsewhere, and the inquest without it.
#[derive(Debug, Default)]
pub struct Parting {
    left_since: Option<Instant>,
}

impl Parting {
    /// When to look again, whatever happens before; `None` when the server has had its moment.
    pub fn look_again(&mut self, now: Instant, standing: Standing) -> Option<Instant> {
        let until = match standing {
            Standing::Member => {
                self.left_since = None;
                now + FORSAKEN_AFTER
            }
            Standing::Left | Standing::Closed => *self.left_since.get_or_insert(now) + FORSAKEN_AFTER,
        };
        (now < until).then_some(until)
    }
}

/// How late a server's own timer is taken to be at most where nothing else ends a ghost.
const TIMER_LATE: Duration = Duration::from_millis(100);

/// When a ghost that nobody may end has ended by itself, with the time-out that the server was asked for.
#[must_use]
pub fn ends_by_itself(server_until: Instant) -> Instant {
    server_until + TIMER_LATE
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
        let (run_id, since) = (run_id.map(str::to_owned), Instant::now());
        Ghost { client_id: 7, run_id, address: Some("10.0.0.1:5000".into()), since }
    }

    fn exec(line: &str, killed: u8) -> Vec<u8> {
        format!("*2\r\n${}\r\n{line}\r\n:{killed}\r\n", line.len()).into_bytes()
    }

    #[test]
    fn a_ghost_is_fenced_only_in_the_process_that_named_it() {
        let (known, unknown) = (ghost(Some("aa")), ghost(None));
        let (later, earlier) = (known.since + Duration::from_secs(1), known.since - Duration::from_secs(1));
        for since in [earlier, later] {
            assert_eq!(known.autopsy(Some("aa"), since), Autopsy::Fence);
            assert_eq!(unknown.autopsy(Some("bb"), since), Autopsy::Look);
            assert_eq!(known.autopsy(None, since), Autopsy::Look);
        }
        assert_eq!(known.autopsy(Some("bb"), later), Autopsy::Known(GhostVerdict::Restarted));
        assert_eq!(known.autopsy(Some("bb"), earlier), Autopsy::Misled, "who was there before it did not follow it");
    }

    #[test]
    fn without_run_ids_only_our_own_address_is_ours() {
        assert!(ghost(None).is_ours("id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6379 flags=b"));
        assert!(!ghost(None).is_ours("id=7 addr=10.0.0.9:5000 laddr=10.0.0.1:5000 flags=b"));
        assert!(!ghost(None).is_ours(""));
    }

    // Measured, 7.0.15 during CLIENT PAUSE 4000 WRITE.
    #[test]
    fn a_write_that_the_server_holds_back_is_no_silence_of_the_path() {
        let ghost = ghost(None);
        assert!(ghost.is_held("id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6379 name= flags=b db=0 argv-mem=7 cmd=incr"));
        assert!(!ghost.is_held("id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6379 name= flags=N db=0 cmd=incr"), "not held");
        assert!(!ghost.is_held("id=7 addr=10.0.0.9:5000 laddr=10.0.0.2:6379 name= flags=b db=0 cmd=incr"), "not ours");
        assert!(!ghost.is_held(""), "gone");
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
    fn a_server_of_the_topology_is_asked_for_ever_and_one_that_has_left_for_three_minutes() {
        let (mut inquest, start) = (Inquest::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for hour in 0..24 {
            assert_eq!(inquest.verdict(at(hour * 3_600), Standing::Member), None);
        }
        let left = 24 * 3_600;
        for seconds in [0, 30, 179] {
            assert_eq!(inquest.verdict(at(left + seconds), Standing::Left), None, "{seconds}");
        }
        assert_eq!(inquest.verdict(at(left + 180), Standing::Left), Some(GhostVerdict::Gone));
        assert!(GhostVerdict::Gone.may_have_lost(), "what became of it is not known");
    }

    #[test]
    fn a_server_that_comes_back_has_its_time_anew() {
        let (mut inquest, start) = (Inquest::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(inquest.verdict(at(0), Standing::Left), None);
        assert_eq!(inquest.verdict(at(170), Standing::Member), None);
        assert_eq!(inquest.verdict(at(200), Standing::Left), None);
        assert_eq!(inquest.verdict(at(380), Standing::Left), Some(GhostVerdict::Gone));
    }

    #[test]
    fn nobody_is_asked_over_a_connection_that_is_closed_for_good() {
        assert_eq!(Inquest::default().verdict(Instant::now(), Standing::Closed), Some(GhostVerdict::Gone));
    }

    #[test]
    fn a_command_waits_for_the_word_of_a_member_for_ever_and_a_moment_for_that_of_a_server_that_was_left() {
        let (mut parting, start) = (Parting::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for hour in 0..24 {
            assert!(parting.look_again(at(hour * 3_600_000), Standing::Member) > Some(at(hour * 3_600_000)));
        }
        let left = 24 * 3_600_000;
        assert_eq!(parting.look_again(at(left), Standing::Left), Some(at(left + 1_000)));
        assert_eq!(parting.look_again(at(left + 999), Standing::Closed), Some(at(left + 1_000)));
        assert_eq!(parting.look_again(at(left + 1_000), Standing::Left), None);
        assert!(parting.look_again(at(left + 1_001), Standing::Member).is_some(), "it is back");
        assert_eq!(parting.look_again(at(left + 5_000), Standing::Left), Some(at(left + 6_000)));
    }

    #[test]
    fn only_a_ghost_seen_blocked_lost_nothing() {
        for verdict in [GhostVerdict::Served, GhostVerdict::Gone, GhostVerdict::Restarted, GhostVerdict::Stranger] {
            assert!(verdict.may_have_lost());
        }
        assert!(!GhostVerdict::StillBlocked.may_have_lost());
    }
}
