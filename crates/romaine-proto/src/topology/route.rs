//! Where a request may go in a cluster.

use romaine_commands::{KeySpec, Request, Spec};

use super::slot::slot_of;

/// Where a request may go in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// It has no key: any primary.
    AnyNode,
    /// To the owner of this slot.
    Slot(u16),
    /// Its keys are in several slots, and [`split`](super::split) makes one request for each.
    Split,
    /// To every primary; the replies are [merged](super::merge).
    AllPrimaries,
    /// To every node, replicas too; the replies are [merged](super::merge).
    AllNodes,
    /// It cannot work in a cluster, for this reason.
    Impossible(&'static str),
}

const SEVERAL_SLOTS: &str = "its keys are in several slots, and the command cannot be split; a {hash tag} in the keys \
    puts them into one slot";
const NOT_ATOMIC: &str = "its keys are in several slots, and all-or-nothing cannot be kept over several nodes; a \
    {hash tag} in the keys puts them into one slot";
const CURSOR: &str = "a cursor is of use only at the node that gave it; scan the whole cluster, or one node";

impl Route {
    /// The route of a request, by its row in the command table and its keys. Allocates nothing.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let spec = request.spec();
        match spec.keys {
            KeySpec::None => without_keys(spec),
            KeySpec::Unknown => guessed(request),
            // Nearly every command: one key at a fixed place.
            KeySpec::Range { first, last, .. } if i8::try_from(first) == Ok(last) => {
                request.arg(usize::from(first)).map_or(Self::AnyNode, |key| Self::Slot(slot_of(key)))
            }
            KeySpec::Range { .. }
            | KeySpec::Counted { .. }
            | KeySpec::StoreCounted { .. }
            | KeySpec::AfterKeyword { .. } => of_slots(spec, request.keys_iter().map(slot_of)),
        }
    }
}

fn of_slots(spec: &Spec, mut slots: impl Iterator<Item = u16>) -> Route {
    // A script without keys, or too few arguments: any server can run it or say what is wrong.
    let Some(first) = slots.next() else { return Route::AnyNode };
    if slots.all(|slot| slot == first) {
        return Route::Slot(first);
    }
    match is_split(spec) {
        true => Route::Split,
        false if spec.name == "MSETNX" => Route::Impossible(NOT_ATOMIC),
        false => Route::Impossible(SEVERAL_SLOTS),
    }
}

/// Whether a request with keys in several slots can become several requests.
pub(super) fn is_split(spec: &Spec) -> bool {
    // The server's table says "multi_shard" of MSETNX too; what it promises would be broken.
    spec.request_policy == "multi_shard" && spec.name != "MSETNX"
}

fn without_keys(spec: &Spec) -> Route {
    // INFO, LATENCY and their like are reports of one node: there is no reply that means several.
    if spec.response_policy == "special" {
        return Route::AnyNode;
    }
    match spec.request_policy {
        "all_shards" => Route::AllPrimaries,
        "all_nodes" => Route::AllNodes,
        "special" if spec.name == "SCAN" => Route::Impossible(CURSOR),
        _ => Route::AnyNode,
    }
}

/// Commands whose keys the table does not know.
fn guessed(request: &Request) -> Route {
    let spec = request.spec();
    if spec.name == "MIGRATE" {
        return of_slots(spec, migrated(request).map(slot_of));
    }
    // A command that is not in the table (a module's, a newer server's) nearly always has its key as the first
    // argument. If it has not, the owner of that "slot" is as good as any node; if its key is elsewhere, MOVED says so.
    match request.arg(1) {
        Some(first) if spec.words == 0 => Route::Slot(slot_of(first)),
        _ => Route::AnyNode,
    }
}

/// `MIGRATE host port key …`, or an empty key there and `KEYS key [key …]` at the end.
fn migrated(request: &Request) -> impl Iterator<Item = &[u8]> {
    let single = request.arg(3).filter(|key| !key.is_empty());
    let first = if single.is_some() {
        3
    } else {
        request.args().position(|arg| arg.eq_ignore_ascii_case(b"KEYS")).map_or(usize::MAX, |word| word + 1)
    };
    let count = if single.is_some() { 1 } else { usize::MAX };
    request.args().skip(first).take(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use romaine_commands::{Command, cmd, table};

    fn request(line: &str) -> Request {
        let words: Vec<_> = line.split(' ').collect();
        cmd::<()>(words[0]).args(words[1..].to_vec()).into_request()
    }

    fn route(line: &str) -> Route {
        Route::of(&request(line))
    }

    fn slot(key: &str) -> Route {
        Route::Slot(slot_of(key.as_bytes()))
    }

    #[test]
    fn a_request_with_keys_of_one_slot_goes_to_that_slot() {
        for (line, key) in [
            ("GET foo", "foo"),
            ("SET foo bar", "foo"),
            ("MGET {a}1 {a}2", "a"),
            ("MSETNX {a}1 x {a}2 y", "a"),
            ("SORT foo BY w_* STORE dst", "foo"),
            ("OBJECT ENCODING foo", "foo"),
            ("XINFO STREAM foo", "foo"),
            ("EVAL script 2 {a}1 {a}2 b c", "a"),
            ("FCALL f 1 foo bar", "foo"),
            ("XREAD COUNT 1 STREAMS {a}1 {a}2 0 0", "a"),
            ("XREADGROUP GROUP g c STREAMS foo 0", "foo"),
            ("ZUNIONSTORE {a}d 2 {a}1 {a}2 WEIGHTS 1 2", "a"),
            ("BLMPOP 0 2 {a}1 {a}2 LEFT", "a"),
            ("BLPOP {a}1 {a}2 0", "a"),
            ("SPUBLISH news hello", "news"),
            ("SSUBSCRIBE {n}1 {n}2", "n"),
            ("MIGRATE h 1 foo 0 100", "foo"),
            ("MIGRATE h 1  0 100 REPLACE KEYS {a}1 {a}2", "a"),
            ("BITOP AND {a}d {a}1 {a}2", "a"),
            ("PFCOUNT {a}1 {a}2", "a"),
            ("GEOSEARCHSTORE {a}d {a}s FROMLONLAT 0 0 BYRADIUS 1 m", "a"),
        ] {
            assert_eq!(route(line), slot(key), "{line}");
        }
    }

    #[test]
    fn what_the_table_can_split_is_split() {
        for line in ["MGET a b", "DEL a b", "UNLINK a b", "TOUCH a b", "EXISTS a b", "MSET a 1 b 2"] {
            assert_eq!(route(line), Route::Split, "{line}");
        }
    }

    #[test]
    fn several_slots_where_nothing_can_be_split_is_said_before_sending() {
        for line in [
            "MSETNX a 1 b 2",
            "EVAL script 2 a b",
            "BLPOP a b 0",
            "XREAD STREAMS a b 0 0",
            "RENAME a b",
            "COPY a b",
            "SMOVE a b m",
            "SUNION a b",
            "ZUNIONSTORE d 1 s",
            "LMOVE a b LEFT RIGHT",
            "PFMERGE a b",
            "SSUBSCRIBE a b",
            "WATCH a b",
            "MIGRATE h 1  0 100 KEYS a b",
        ] {
            assert!(matches!(route(line), Route::Impossible(reason) if reason.contains("hash tag")), "{line}");
        }
    }

    #[test]
    fn keyless_commands_go_where_the_servers_tips_say() {
        for (line, expected) in [
            ("DBSIZE", Route::AllPrimaries),
            ("KEYS *", Route::AllPrimaries),
            ("FLUSHALL", Route::AllPrimaries),
            ("SCRIPT EXISTS abc", Route::AllPrimaries),
            ("SCRIPT LOAD abc", Route::AllNodes),
            ("CONFIG SET maxmemory 1", Route::AllNodes),
            ("SLOWLOG GET", Route::AllNodes),
            ("TIME", Route::AnyNode),
            ("PUBLISH a b", Route::AnyNode),
            ("SUBSCRIBE a b", Route::AnyNode),
            ("CLUSTER NODES", Route::AnyNode),
            ("EVAL script 0 a b", Route::AnyNode),
            ("XREAD COUNT 1", Route::AnyNode),
            ("GET", Route::AnyNode),
        ] {
            assert_eq!(route(line), expected, "{line}");
        }
    }

    #[test]
    fn the_report_of_one_node_is_asked_of_one_node() {
        for spec in table::all().filter(|spec| spec.response_policy == "special") {
            assert_eq!(Route::of(&Request::new(spec)), Route::AnyNode, "{}", spec.name);
        }
    }

    #[test]
    fn a_cursor_is_not_sent_to_a_node_that_never_gave_it() {
        assert_eq!(route("SCAN 0"), Route::Impossible(CURSOR));
        assert_eq!(route("HSCAN foo 0"), slot("foo"));
    }

    #[test]
    fn an_unlisted_command_is_taken_to_have_its_key_first() {
        assert_eq!(route("JSON.GET foo $"), slot("foo"));
        assert_eq!(route("NOSUCHCOMMAND"), Route::AnyNode);
    }

    #[test]
    fn the_iterated_keys_are_the_keys_of_every_command() {
        for spec in table::all() {
            for count in 0..6 {
                let mut request = Request::new(spec);
                for word in ["STREAMS", "2", "2", "a", "b", "c"].iter().take(count) {
                    request.push(*word);
                }
                assert_eq!(request.keys_iter().collect::<Vec<_>>(), request.keys(), "{} {count}", spec.name);
            }
        }
    }
}
