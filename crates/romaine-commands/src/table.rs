//! Finds a command's row by name.

use std::cmp::Ordering;

pub use crate::generated::table::*;
use crate::spec::Spec;

/// How many places an array indexed by [`Spec::index`] needs. Place 0 is for commands that are not in the table.
pub const COUNT: usize = ROWS.len() + 1;

/// All rows in the order of their names.
pub fn all() -> impl ExactSizeIterator<Item = &'static Spec> {
    ROWS.iter().copied()
}

/// The row of a command; `name` in any case, words separated by one space.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    let row = ROWS.binary_search_by(|row| compare(row.name, name)).ok()?;
    ROWS.get(row).copied()
}

/// `row` is in capitals already.
fn compare(row: &str, name: &str) -> Ordering {
    row.bytes().cmp(name.bytes().map(|byte| byte.to_ascii_uppercase()))
}

/// Whether subcommands hang below this name (`CLIENT`, `CONFIG`, …).
pub(crate) fn is_container(spec: &'static Spec) -> bool {
    usize::from(spec.index).checked_sub(1).and_then(|row| CONTAINERS.get(row)).is_some_and(|container| *container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Flags, Request, cmd, commands};

    #[test]
    fn every_row_is_found_by_its_name_in_any_case_and_knows_its_place() {
        for (place, row) in all().enumerate() {
            assert_eq!(find(row.name).map(|found| found.name), Some(row.name));
            assert_eq!(find(&row.name.to_ascii_lowercase()).map(|found| found.name), Some(row.name));
            assert_eq!(usize::from(row.index), place + 1);
            assert!(usize::from(row.index) < COUNT);
        }
        assert!(find("NO SUCH COMMAND").is_none());
    }

    #[test]
    fn the_wire_form_of_a_row_is_its_name() {
        for row in all() {
            let request = Request::new(row);
            let words: Vec<_> = request.args().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            assert_eq!(words.join(" "), row.name);
            assert_eq!(words.len(), usize::from(row.words));
            assert_eq!(request.arg_count() as usize, words.len());
        }
    }

    #[test]
    fn a_container_called_by_name_finds_the_row_of_its_subcommand() {
        let request = cmd::<String>("client").arg("list").into_request();
        assert_eq!(request.spec().name, "CLIENT LIST");
        let request = cmd::<()>("GET").arg("LIST").into_request();
        assert_eq!(request.spec().name, "GET");
    }

    #[test]
    fn only_a_plain_set_may_be_repeated() {
        let is_repeatable = |command: Request| command.spec().is_repeatable();
        assert!(is_repeatable(commands::set("k", "v").into_request()));
        assert!(is_repeatable(commands::set("k", "v").pxat(1).keep_ttl().into_request()));
        assert!(!is_repeatable(commands::set("k", "v").ex(1).into_request()));
        assert!(!is_repeatable(commands::set("k", "v").nx().keep_ttl().into_request()));
        assert!(!is_repeatable(commands::set("k", "v").get::<String>().into_request()));
        assert!(!is_repeatable(commands::set_nx("k", "v").into_request()));
        assert!(!is_repeatable(cmd::<()>("SET").arg("k").arg("v").into_request()));
        assert_eq!(SET.index, SET_PLAIN.index);
    }

    #[test]
    fn blocking_commands_know_where_their_time_out_is() {
        let waits = [
            (commands::blpop::<String, String>(["a", "b"], 2.5).into_request(), "2.5"),
            (commands::blmpop::<String, String>(2.5, "BLOCK", commands::Side::Left).into_request(), "2.5"),
            (commands::xread::<String>([("s", "$")]).count(1).block(77).into_request(), "77"),
            (commands::wait(1, 77).into_request(), "77"),
        ];
        for (request, timeout) in waits {
            assert!(request.is_blocking(), "{request:?}");
            let position = request.wait_position().and_then(|position| request.arg(position));
            assert_eq!(position, Some(timeout.as_bytes()), "{request:?}");
        }
        let plain = commands::xread::<String>([("BLOCK", "0")]).into_request();
        assert!(!plain.is_blocking());
        for row in all().filter(|row| row.flags.has(Flags::BLOCKING)) {
            assert_ne!(row.wait, crate::Wait::None, "{} blocks, but where is its time-out?", row.name);
        }
    }

    #[test]
    fn nothing_is_both_repeatable_and_taking() {
        for row in all() {
            assert!(!(row.flags.has(Flags::TAKES) && row.is_repeatable()), "{}", row.name);
            assert!(!(row.flags.has(Flags::READ_ONLY) && row.flags.has(Flags::WRITE)), "{}", row.name);
        }
    }
}
