//! Generates one group: constructors, options, and the method trait.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;

use super::emit::{self, HEADER};
use super::model::{Group, Method, Model};
use super::names;
use super::syntax::{Choice, Part};

/// Types that a reply can name and that are imported from elsewhere than `replies`.
const COMMON: [(&str, &str); 6] = [
    ("Bytes", "bytes::Bytes"),
    ("HashMap", "std::collections::HashMap"),
    ("Value", "romaine_resp::Value"),
    ("Vec", ""),
    ("Option", ""),
    ("String", ""),
];

/// The source of a group's file.
pub(super) fn source(model: &Model, group: &Group) -> Result<String> {
    let mut body = String::new();
    for method in &group.methods {
        constructor(&mut body, method);
        options(&mut body, method);
    }
    method_trait(&mut body, group);
    let mut out = format!("{HEADER}//! {}\n\n", group.doc);
    imports(&mut out, model, group, &body);
    out.push_str(&body);
    Ok(out)
}

fn imports(out: &mut String, model: &Model, group: &Group, body: &str) {
    let has = |word: &str| names::words(body).any(|have| have == word);
    let mut replies = BTreeSet::new();
    for ty in group.methods.iter().flat_map(|method| {
        let retyped = method.retype.values().flatten().flat_map(|retype| [&retype.from, &retype.to]);
        std::iter::once(&method.reply).chain(retyped)
    }) {
        for word in names::words(ty).filter(|word| word.len() > 1 && word.starts_with(char::is_uppercase)) {
            match COMMON.iter().find(|(name, _)| *name == word) {
                Some((_, "")) => {}
                Some((_, path)) => {
                    replies.insert((*path).to_owned());
                }
                None => {
                    replies.insert(format!("crate::replies::{word}"));
                }
            }
        }
    }
    for path in replies {
        let _infallible = writeln!(out, "use {path};");
    }
    for words in model.overrides.words.keys().filter(|words| has(words)) {
        let _infallible = writeln!(out, "use super::options::{words};");
    }
    for (_, own) in model.overrides.types.iter().filter(|(name, _)| has(name)) {
        let _infallible = writeln!(out, "use {};", own.path);
    }
    for (word, path) in [
        ("ToArg", "crate::arg::ToArg"),
        ("ToArgs", "crate::args::ToArgs"),
        ("FromValue", "crate::convert::FromValue"),
        ("Command", "crate::executor::Command"),
        ("Executor", "crate::executor::Executor"),
        ("Cmd", "crate::request::Cmd"),
        ("Request", "crate::request::Request"),
    ] {
        if has(word) || (word == "ToArg" && body.contains(".write_to(")) {
            let _infallible = writeln!(out, "use {path};");
        }
    }
    out.push_str("use super::table;\n\n");
}

/// Whether required arguments follow the options, so that these are inserted.
fn inserts(method: &Method) -> bool {
    !method.syntax.options.is_empty() && !method.syntax.after.is_empty()
}

fn usage(method: &Method) -> String {
    let mut words = vec![method.command.clone()];
    words.extend(method.syntax.before.iter().map(Part::usage));
    if !method.syntax.options.is_empty() {
        words.push("[…]".to_owned());
    }
    words.extend(method.syntax.after.iter().map(Part::usage));
    words.join(" ")
}

fn documentation(method: &Method, see: &str) -> String {
    let mut text = format!("{}\n\n`{}`, since {}.", emit::sentence(&method.doc), usage(method), method.since);
    if !method.complexity.is_empty() {
        // The first sentence: the rest is about the server's insides.
        let complexity = method.complexity.split_once(". ").map_or(method.complexity.as_str(), |(first, _)| first);
        let complexity = emit::sentence(complexity);
        text.push_str(&format!(" {complexity}"));
    }
    if method.deprecated {
        text.push_str("\n\nThe server's documentation calls this command deprecated.");
    }
    if !method.syntax.options.is_empty() {
        text.push_str(see);
    }
    emit::doc(&text)
}

fn constructor(out: &mut String, method: &Method) {
    let Method { name, reply, syntax, .. } = method;
    let generics = emit::generics(&names::type_parameters(reply));
    let parameters = emit::parameters(syntax.required());
    let row = method.row.as_ref().map_or_else(|| names::row(&method.command), |(row, _)| row.clone());
    let doc = documentation(method, &format!("\n\nOptions: see [`{0}`](struct@{0}).", names::camel(name)));
    let new = format!("Cmd::new(&table::{row})");
    let _infallible = if syntax.options.is_empty() {
        let calls = emit::calls(syntax.required());
        write!(out, "{doc}pub fn {name}{generics}({parameters}) -> Cmd<{reply}> {{ {new}{calls} }}\n\n")
    } else if inserts(method) {
        let (before, after) = (emit::calls(&syntax.before), emit::calls(&syntax.after));
        let ty = names::camel(name);
        write!(
            out,
            "{doc}pub fn {name}{generics}({parameters}) -> {ty}<{reply}> {{ let cmd = {new}{before}; \
             let at = cmd.mark(); {ty} {{ cmd: cmd{after}, at }} }}\n\n"
        )
    } else {
        let calls = emit::calls(&syntax.before);
        let ty = names::camel(name);
        write!(
            out,
            "{doc}pub fn {name}{generics}({parameters}) -> {ty}<{reply}> {{ {ty} {{ cmd: {new}{calls} }} }}\n\n"
        )
    };
}

fn options(out: &mut String, method: &Method) {
    if method.syntax.options.is_empty() {
        return;
    }
    let (ty, name) = (names::camel(&method.name), &method.name);
    let at = if inserts(method) { "/// Where the options go.\nat: usize," } else { "" };
    let _infallible = write!(
        out,
        "/// `{}` with its options; made by [`{name}`](fn@{name}).\n#[derive(Debug, Clone)]\n#[must_use = \"a command does nothing \
         until it is issued\"]\npub struct {ty}<R> {{ cmd: Cmd<R>, {at} }}\n\n\
         impl<R: FromValue> Command for {ty}<R> {{ type Reply = R;\n\
         fn into_request(self) -> Request {{ self.cmd.into_request() }} }}\n\n",
        method.command,
    );
    let plain: Vec<_> =
        method.syntax.options.iter().filter(|choice| !method.retype.contains_key(&choice.method)).collect();
    if !plain.is_empty() {
        let _infallible = writeln!(out, "impl<R: FromValue> {ty}<R> {{");
        for choice in plain {
            option(out, method, choice, None);
        }
        out.push_str("}\n\n");
    }
    for choice in &method.syntax.options {
        for retype in method.retype.get(&choice.method).into_iter().flatten() {
            let outer = names::type_parameters(&retype.from);
            let _infallible = writeln!(out, "impl{} {ty}<{}> {{", emit::generics(&outer), retype.from);
            let inner: Vec<_> =
                names::type_parameters(&retype.to).into_iter().filter(|name| !outer.contains(name)).collect();
            option(out, method, choice, (retype.from != retype.to).then_some((retype.to.as_str(), inner)));
            out.push_str("}\n\n");
        }
    }
}

fn option(out: &mut String, method: &Method, choice: &Choice, retype: Option<(&str, Vec<String>)>) {
    let ty = names::camel(&method.name);
    let usage = choice.parts.iter().map(Part::usage).collect::<Vec<_>>().join(" ");
    let parameters = emit::parameters(choice.parts.iter());
    let separator = if parameters.is_empty() { "" } else { ", " };
    let (reply, generics, returning, doc) = match &retype {
        None => ("Self".to_owned(), String::new(), String::new(), format!("Adds `{usage}`.")),
        Some((to, inner)) => (
            format!("{ty}<{to}>"),
            emit::generics(inner),
            ".returning()".to_owned(),
            format!("Adds `{usage}`; the reply becomes `{to}`."),
        ),
    };
    let leaves_row = method.row.as_ref().is_some_and(|(_, kept_by)| !kept_by.contains(&choice.method));
    let returning =
        if leaves_row { format!(".for_row(&table::{}){returning}", names::row(&method.command)) } else { returning };
    let head = format!("{}pub fn {}{generics}(self{separator}{parameters}) -> {reply}", emit::doc(&doc), choice.method);
    let _infallible = if inserts(method) {
        let writes = emit::writes(&choice.parts);
        let field = if returning.is_empty() { "cmd".to_owned() } else { format!("cmd: cmd{returning}") };
        write!(
            out,
            "{head} {{ let Self {{ cmd, mut at }} = self; let cmd = cmd.insert(&mut at, |out| {{ {writes} }}); \
             {ty} {{ {field}, at }} }}\n\n"
        )
    } else {
        let calls = emit::calls(&choice.parts);
        write!(out, "{head} {{ {ty} {{ cmd: self.cmd{calls}{returning} }} }}\n\n")
    };
}

fn method_trait(out: &mut String, group: &Group) {
    let Group { trait_name, doc, .. } = group;
    let _infallible = write!(out, "/// {doc}\npub trait {trait_name}: Executor {{\n");
    for method in &group.methods {
        let Method { name, reply, syntax, .. } = method;
        let generics = emit::generics(&names::type_parameters(reply));
        let parameters = emit::parameters(syntax.required());
        let separator = if parameters.is_empty() { "" } else { ", " };
        let arguments = emit::arguments(syntax.required());
        let doc = documentation(
            method,
            &format!("\n\nWith options: issue [`commands::{name}`](fn@crate::commands::{name})."),
        );
        let parameters_of_reply = names::type_parameters(reply);
        let turbofish = if parameters_of_reply.is_empty() {
            String::new()
        } else {
            format!("::<{}>", parameters_of_reply.join(", "))
        };
        let _infallible = write!(
            out,
            "{doc}fn {name}{generics}(self{separator}{parameters}) -> Self::Issued<{reply}> {{ \
             self.issue({name}{turbofish}({arguments})) }}\n\n"
        );
    }
    let _infallible = write!(out, "}}\n\nimpl<E: Executor> {trait_name} for E {{}}\n");
}

/// The source of `generated/mod.rs`.
pub(super) fn index(model: &Model) -> String {
    let mut out =
        format!("{HEADER}//! The generated part of the crate.\n\npub(crate) mod options;\npub(crate) mod table;\n");
    for group in &model.groups {
        let _infallible = writeln!(out, "pub(crate) mod {};", group.file);
    }
    out.push_str("\n/// Every constructor and its options.\npub(crate) mod all {\n");
    for group in &model.groups {
        let _infallible = writeln!(out, "pub use super::{}::*;", group.file);
    }
    out.push_str("pub use super::options::*;\n}\n\n/// Every method trait.\npub(crate) mod traits {\n");
    for group in &model.groups {
        let _infallible = writeln!(out, "pub use super::{}::{};", group.file, group.trait_name);
    }
    out.push_str("}\n");
    out
}
