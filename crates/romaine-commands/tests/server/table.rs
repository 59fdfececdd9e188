//! The table against what a server says of itself.

use romaine_commands::replies::CommandInfo;
use romaine_commands::{Flags, KeySpec, Spec, cmd, table};

use super::*;
use romaine_commands::Executor;

fn check_flags(info: &CommandInfo, row: &Spec) {
    for (word, flag) in [
        ("readonly", Flags::READ_ONLY),
        ("write", Flags::WRITE),
        ("blocking", Flags::BLOCKING),
        ("admin", Flags::ADMIN),
        ("no_multi", Flags::NO_MULTI),
    ] {
        if info.flags.iter().any(|have| have == word) {
            assert!(row.flags.has(flag), "{}: the server says {word}, the row {:?}", row.name, row.flags);
        }
    }
    let is_read_only = info.flags.iter().any(|flag| flag == "readonly");
    assert_eq!(row.flags.has(Flags::READ_ONLY), is_read_only, "{}: {:?}", row.name, row.flags);
}

fn check_keys(info: &CommandInfo, row: &Spec) {
    let is_movable = info.flags.iter().any(|flag| flag == "movablekeys");
    match row.keys {
        KeySpec::None => assert!(info.first_key == 0 && !is_movable, "{} has keys", row.name),
        KeySpec::Range { first, last, step } => {
            let said = (info.first_key, info.last_key, info.key_step);
            assert_eq!((i64::from(first), i64::from(last), i64::from(step)), said, "{}", row.name);
        }
        KeySpec::Counted { .. } | KeySpec::StoreCounted { .. } | KeySpec::AfterKeyword { .. } | KeySpec::Unknown => {
            assert!(is_movable, "{}: {:?}", row.name, row.keys);
        }
    }
}

/// Newer servers may take more arguments, never fewer.
fn check_arity(info: &CommandInfo, row: &Spec) {
    let row_arity = i64::from(row.arity);
    let is_same = info.arity == row_arity;
    let is_wider = |one: i64, other: i64| one < 0 && one.abs() <= other.abs();
    assert!(
        is_same || is_wider(info.arity, row_arity) || is_wider(row_arity, info.arity),
        "{}: the server says {}, the row {row_arity}",
        row.name,
        info.arity
    );
}

#[test]
fn arity_flags_and_keys_are_what_the_server_says() {
    in_both_protocols(|link| {
        let commands: Vec<CommandInfo> = link.issue(cmd("COMMAND")).unwrap();
        let subcommands = commands.iter().flat_map(|command| &command.subcommands);
        let mut compared = 0;
        for info in commands.iter().chain(subcommands) {
            let name = info.name.replace('|', " ");
            let Some(row) = table::find(&name) else {
                // Modules, and servers newer than the table.
                continue;
            };
            check_arity(info, row);
            check_flags(info, row);
            check_keys(info, row);
            compared += 1;
        }
        assert!(compared > 300, "only {compared} commands were compared");
    });
}

#[test]
fn a_server_of_the_described_version_has_no_command_that_the_table_has_not() {
    in_both_protocols(|link| {
        if link.hello.version != "7.0.15" {
            return;
        }
        let commands: Vec<CommandInfo> = link.issue(cmd("COMMAND")).unwrap();
        for info in commands.iter().flat_map(|command| command.subcommands.iter().chain([command])) {
            assert!(table::find(&info.name.replace('|', " ")).is_some(), "{} is missing", info.name);
        }
    });
}
