//! What one row of the table says.

use super::data::{CommandData, KeyData};
use super::model::Model;

/// The server's flags that matter, and ours.
const FLAGS: [(&str, &str); 5] = [
    ("readonly", "READ_ONLY"),
    ("write", "WRITE"),
    ("blocking", "BLOCKING"),
    ("admin", "ADMIN"),
    ("no_multi", "NO_MULTI"),
];

/// Our own flags, by the name of their list in `overrides.toml`.
const OWN_FLAGS: [(&str, &str); 6] = [
    ("may_write", "WRITE"),
    ("blocking", "BLOCKING"),
    ("idempotent", "IDEMPOTENT"),
    ("connection_state", "CONNECTION_STATE"),
    ("takes", "TAKES"),
    ("stale_ok", "STALE_OK"),
];

/// The expression for the flags of a command.
pub(super) fn flags(model: &Model, name: &str, command: &CommandData, more: &[String]) -> String {
    let mut flags: Vec<&str> = FLAGS
        .iter()
        .filter(|(server, _)| command.flags.iter().any(|flag| flag == server))
        .map(|(_, ours)| *ours)
        .collect();
    for (list, flag) in OWN_FLAGS {
        let listed = model.overrides.flags.get(list).is_some_and(|names| names.iter().any(|have| have == name));
        let listed = listed || more.iter().any(|have| have == list);
        if listed && !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    let mut flags = flags.into_iter();
    let first = flags.next().unwrap_or("NONE");
    flags.fold(format!("Flags::{first}"), |all, flag| format!("{all}.with(Flags::{flag})"))
}

/// The expression for the key positions of a command.
pub(super) fn keys(model: &Model, name: &str, command: &CommandData) -> String {
    let specs = match model.overrides.keys.get(name) {
        Some(own) => std::slice::from_ref(own),
        None => &command.keys,
    };
    match specs {
        [] => "KeySpec::None".to_owned(),
        [KeyData::Range { first, last, step }] => range(*first, *last, *step),
        // A key each, one after the other (RENAME), or a destination and then keys to the end (SUNIONSTORE).
        [KeyData::Range { first, last, step: 1 }, KeyData::Range { first: next, last: end, step: 1 }]
            if *last == first.cast_signed() && *next == first + 1 =>
        {
            range(*first, *end, 1)
        }
        [KeyData::Counted { count, first }] => format!("KeySpec::Counted {{ count: {count}, first: {first} }}"),
        [KeyData::Range { first: store, .. }, KeyData::Counted { count, first }] => {
            format!("KeySpec::StoreCounted {{ store: {store}, count: {count}, first: {first} }}")
        }
        [KeyData::Keyword { keyword, limit: 2 }] => format!("KeySpec::AfterKeyword {{ keyword: {keyword:?} }}"),
        // A key, and more that only options name (SORT … STORE): the first one decides the slot.
        [KeyData::Range { first, last, step }, ..] => range(*first, *last, *step),
        _ => "KeySpec::Unknown".to_owned(),
    }
}

fn range(first: u8, last: i8, step: u8) -> String {
    format!("KeySpec::Range {{ first: {first}, last: {last}, step: {step} }}")
}

/// The expression for the place of the time-out.
pub(super) fn wait(model: &Model, name: &str) -> String {
    format!("Wait::{}", model.overrides.wait.get(name).map_or("None", String::as_str))
}

/// A tip such as `request_policy:all_shards`.
pub(super) fn tip<'a>(command: &'a CommandData, name: &str) -> &'a str {
    command.tips.iter().find_map(|tip| tip.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
}
