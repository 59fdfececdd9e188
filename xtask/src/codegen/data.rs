//! The shape of `data/commands.json` and `data/overrides.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One command as a server describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CommandData {
    pub(super) summary: String,
    pub(super) since: String,
    pub(super) group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) complexity: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) deprecated: bool,
    /// Has subcommands.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) container: bool,
    pub(super) arity: i16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) flags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) acl: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<KeyData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) arguments: Vec<ArgumentData>,
}

/// One of a command's key specifications.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum KeyData {
    /// From `first` to `last` (negative: from the end), every `step`-th.
    Range { first: u8, last: i8, step: u8 },
    /// A count at `count`, keys from `first` on.
    Counted { count: u8, first: u8 },
    /// Behind a word.
    Keyword { keyword: String, limit: u8 },
    /// Only the server can tell.
    Unknown,
}

/// One argument as `COMMAND DOCS` describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ArgumentData {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) flags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) arguments: Vec<ArgumentData>,
}

impl ArgumentData {
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }
}

/// `data/overrides.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overrides {
    /// Commands the described server does not have.
    pub(super) newer: BTreeMap<String, NewerData>,
    /// Rows for a command as only one constructor sends it.
    pub(super) rows: BTreeMap<String, RowData>,
    /// Commands by flag.
    pub(super) flags: BTreeMap<String, Vec<String>>,
    /// Where the time-out of a blocking command is.
    pub(super) wait: BTreeMap<String, String>,
    /// Key positions that differ from what can be derived.
    pub(super) keys: BTreeMap<String, KeyData>,
    /// Arities that newer servers widened.
    pub(super) arity: BTreeMap<String, i16>,
    /// Words that stand for each other as one argument: enum name → documentation and variants.
    pub(super) words: BTreeMap<String, WordsData>,
    /// Hand-written types that stand for several arguments.
    pub(super) types: BTreeMap<String, TypeData>,
    /// Method groups by file name, in order.
    pub(super) groups: toml::Table,
}

/// A command that is not in `commands.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewerData {
    pub(super) since: String,
    pub(super) group: String,
    pub(super) summary: String,
    pub(super) arity: i16,
    #[serde(default)]
    pub(super) flags: Vec<String>,
    /// Position of the only key, if it has one.
    #[serde(default)]
    pub(super) key: Option<u8>,
    #[serde(default)]
    pub(super) keys: Vec<KeyData>,
    #[serde(default)]
    pub(super) tips: Vec<String>,
    #[serde(default)]
    pub(super) complexity: String,
    #[serde(default)]
    pub(super) container: bool,
}

/// A second row for a command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowData {
    pub(super) of: String,
    /// Our flags it has in addition.
    pub(super) flags: Vec<String>,
}

/// A hand-written argument type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypeData {
    /// Where it is.
    pub(super) path: String,
    /// An expression for tests.
    pub(super) sample: String,
}

/// An enum of words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WordsData {
    pub(super) doc: String,
    /// Word on the wire → what it means.
    pub(super) variants: toml::Table,
}

/// A group of methods: one file, one trait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupData {
    #[serde(rename = "trait")]
    pub(super) trait_name: String,
    pub(super) doc: String,
    pub(super) methods: toml::Table,
}

/// One constructor and method.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MethodData {
    /// Default: the method's name in capitals.
    #[serde(default)]
    pub(super) command: Option<String>,
    /// Default: derived from the server's description.
    #[serde(default)]
    pub(super) syntax: Option<String>,
    pub(super) reply: String,
    /// Default: the command's own row.
    #[serde(default)]
    pub(super) row: Option<String>,
    /// Options with which a `row` of its own still holds.
    #[serde(default)]
    pub(super) row_kept_by: Vec<String>,
    /// Options that change the reply.
    #[serde(default)]
    pub(super) retype: BTreeMap<String, Vec<Retype>>,
    /// Default: the server's summary.
    #[serde(default)]
    pub(super) doc: Option<String>,
}

/// With this option, a reply of type `from` becomes one of type `to`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retype {
    pub(super) from: String,
    pub(super) to: String,
}
