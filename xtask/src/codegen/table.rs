//! Generates the table of all commands.

use std::fmt::Write;

use super::data::CommandData;
use super::emit::HEADER;
use super::model::Model;
use super::{names, row};

/// The source of `table.rs`.
pub(super) fn source(model: &Model) -> String {
    let mut out = format!(
        "{HEADER}//! Every command the described server lists, and newer ones: one row each.\n\n\
         use crate::spec::{{Flags, KeySpec, Spec, Wait}};\n\n"
    );
    for (index, (name, command)) in model.commands.iter().enumerate() {
        row_source(&mut out, model, &Row { ident: &names::row(name), name, index, command, more: &[] });
        for (ident, second) in model.overrides.rows.iter().filter(|(_, second)| second.of == *name) {
            row_source(&mut out, model, &Row { ident, name, index, command, more: &second.flags });
        }
    }
    let rows: Vec<_> = model.commands.keys().map(|name| format!("&{}", names::row(name))).collect();
    let containers: Vec<_> = model.commands.values().map(|command| command.container.to_string()).collect();
    let _infallible = write!(
        out,
        "\n/// All rows in the order of their names.\npub(crate) static ROWS: [&Spec; {n}] = [{}];\n\n\
         /// Whether subcommands hang below a row.\npub(crate) static CONTAINERS: [bool; {n}] = [{}];\n",
        rows.join(", "),
        containers.join(", "),
        n = rows.len(),
    );
    out
}

struct Row<'a> {
    ident: &'a str,
    name: &'a str,
    index: usize,
    command: &'a CommandData,
    /// Flags in addition.
    more: &'a [String],
}

fn row_source(out: &mut String, model: &Model, row: &Row<'_>) {
    let Row { ident, name, index, command, more } = row;
    let words: Vec<_> = name.split(' ').collect();
    let wire: String = words.iter().map(|word| format!("${}\\r\\n{word}\\r\\n", word.len())).collect();
    let note = if more.is_empty() { String::new() } else { format!(" as a row that is also {}", more.join(", ")) };
    let _infallible = writeln!(
        out,
        "/// `{name}`{note}.\npub static {ident}: Spec = Spec {{ name: {name:?}, wire: b\"{wire}\", words: {}, \
         index: {}, arity: {}, flags: {}, keys: {}, wait: {}, request_policy: {:?}, response_policy: {:?}, since: {:?} }};\n",
        words.len(),
        index + 1,
        command.arity,
        row::flags(model, name, command, more),
        row::keys(model, name, command),
        row::wait(model, name),
        row::tip(command, "request_policy"),
        row::tip(command, "response_policy"),
        command.since,
    );
}
