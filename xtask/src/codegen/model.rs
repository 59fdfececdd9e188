//! Everything that is generated from, put together.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::data::{CommandData, GroupData, KeyData, MethodData, Overrides, Retype};
use super::names;
use super::syntax::{self, Part, Syntax, Type};

/// The model of the command layer.
pub(super) struct Model {
    pub(super) commands: BTreeMap<String, CommandData>,
    pub(super) overrides: Overrides,
    pub(super) groups: Vec<Group>,
}

/// One generated file.
pub(super) struct Group {
    pub(super) file: String,
    pub(super) trait_name: String,
    pub(super) doc: String,
    pub(super) methods: Vec<Method>,
}

/// One constructor and trait method.
pub(super) struct Method {
    pub(super) name: String,
    pub(super) command: String,
    pub(super) doc: String,
    pub(super) since: String,
    pub(super) complexity: String,
    pub(super) deprecated: bool,
    pub(super) syntax: Syntax,
    pub(super) reply: String,
    /// A row of its own, and the options with which it holds.
    pub(super) row: Option<(String, Vec<String>)>,
    pub(super) retype: BTreeMap<String, Vec<Retype>>,
}

impl Model {
    /// Reads and checks the data.
    pub(super) fn load(data: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = data.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut commands: BTreeMap<String, CommandData> =
            serde_json::from_str(&read("commands.json")?).context("data/commands.json")?;
        let mut overrides: Overrides = toml::from_str(&read("overrides.toml")?).context("data/overrides.toml")?;
        for (name, newer) in std::mem::take(&mut overrides.newer) {
            let mut keys = newer.keys;
            keys.extend(newer.key.map(|first| KeyData::Range { first, last: first.cast_signed(), step: 1 }));
            let command = CommandData {
                summary: newer.summary,
                since: newer.since,
                group: newer.group,
                complexity: newer.complexity,
                container: newer.container,
                arity: newer.arity,
                flags: newer.flags,
                tips: newer.tips,
                keys,
                ..CommandData::default()
            };
            ensure!(commands.insert(name.clone(), command).is_none(), "{name} is in commands.json already");
        }
        for (name, arity) in &overrides.arity {
            commands.get_mut(name).with_context(|| format!("there is no command {name}"))?.arity = *arity;
        }
        for listed in overrides.flags.values().flatten().chain(overrides.wait.keys()).chain(overrides.keys.keys()) {
            ensure!(commands.contains_key(listed), "overrides.toml names {listed}, which is no command");
        }
        let mut groups = Vec::new();
        let mut failures = Vec::new();
        for (file, table) in &overrides.groups {
            let data: GroupData = table.clone().try_into().with_context(|| format!("group {file}"))?;
            let mut methods = Vec::new();
            for (name, table) in &data.methods {
                match method(&commands, &overrides, name, table.clone()) {
                    Ok(method) => methods.push(method),
                    Err(error) => failures.push(format!("{file}.{name}: {error:#}")),
                }
            }
            groups.push(Group { file: file.clone(), trait_name: data.trait_name, doc: data.doc, methods });
        }
        if !failures.is_empty() {
            bail!("overrides.toml:\n  {}", failures.join("\n  "));
        }
        Ok(Self { commands, overrides, groups })
    }
}

fn method(
    commands: &BTreeMap<String, CommandData>,
    overrides: &Overrides,
    name: &str,
    table: toml::Value,
) -> Result<Method> {
    let data: MethodData = match table {
        // `get = "Option<V>"`: all but the reply type is derived.
        toml::Value::String(reply) => MethodData { reply, ..MethodData::default() },
        table => table.try_into()?,
    };
    let command = match data.command {
        Some(command) => command,
        None => command_of(commands, name)?,
    };
    let known = commands.get(&command).with_context(|| format!("there is no command {command}"))?;
    let syntax = match &data.syntax {
        Some(text) => syntax::parse(text)?,
        None => syntax::derive(&known.arguments).context("needs `syntax`")?,
    };
    for part in syntax.required().chain(syntax.options.iter().flat_map(|choice| &choice.parts)) {
        if let Part::One { ty: Type::Words(words), .. } = part {
            ensure!(
                overrides.words.contains_key(words) || overrides.types.contains_key(words),
                "there is no enum {words}"
            );
        }
    }
    if let Some(row) = &data.row {
        ensure!(overrides.rows.contains_key(row), "there is no row {row}");
    }
    for option in data.retype.keys().chain(&data.row_kept_by) {
        ensure!(syntax.options.iter().any(|choice| choice.method == *option), "there is no option {option}");
    }
    Ok(Method {
        name: names::snake(name),
        command,
        doc: data.doc.unwrap_or_else(|| known.summary.clone()),
        since: known.since.clone(),
        complexity: known.complexity.clone(),
        deprecated: known.deprecated,
        syntax,
        reply: data.reply,
        row: data.row.map(|row| (row, data.row_kept_by)),
        retype: data.retype,
    })
}

/// The command a method is named after: `client_no_evict` is `CLIENT NO-EVICT`.
fn command_of(commands: &BTreeMap<String, CommandData>, method: &str) -> Result<String> {
    let plain = method.trim_end_matches('_');
    commands
        .keys()
        .find(|command| names::row(command).eq_ignore_ascii_case(plain))
        .cloned()
        .context("no command is called so; needs `command`")
}
