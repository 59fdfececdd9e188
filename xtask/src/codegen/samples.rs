//! Generates one minimal and one maximal request per constructor, for the tests of wire bytes and arity.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::emit::HEADER;
use super::model::{Group, Method, Model};
use super::names;
use super::syntax::{Part, Type};

/// The source of `tests/wire/requests/mod.rs`.
pub(super) fn index(model: &Model) -> String {
    let mut out = format!("{HEADER}//! One minimal and one maximal request per constructor.\n\n");
    for group in &model.groups {
        let _infallible = writeln!(out, "mod {};", group.file);
    }
    out.push_str(
        "\nuse romaine_commands::Request;\n\n/// All of them, with the constructor's name.\n\
         pub(crate) fn all() -> Vec<(&'static str, Request)> {\nlet mut requests = Vec::new();\n",
    );
    for group in &model.groups {
        let _infallible = writeln!(out, "{}::add(&mut requests);", group.file);
    }
    out.push_str("requests\n}\n");
    out
}

/// The source of a group's file beside it.
pub(super) fn source(model: &Model, group: &Group) -> Result<String> {
    let mut body = String::new();
    let out = &mut body;
    out.push_str("pub(super) fn add(requests: &mut Vec<(&'static str, Request)>) {\n");
    for method in &group.methods {
        let parameters = names::type_parameters(&method.reply);
        let turbofish = if parameters.is_empty() {
            String::new()
        } else {
            format!("::<{}>", vec!["Bytes"; parameters.len()].join(", "))
        };
        let minimal =
            format!("commands::{}{turbofish}({})", method.name, samples(model, method.syntax.required(), false)?);
        let _infallible = writeln!(out, "requests.push(({:?}, {minimal}.into_request()));", method.name);
        let options = maximal(model, method)?;
        let has_lists = method.syntax.required().any(|part| matches!(part, Part::Many { .. }));
        if !options.is_empty() || has_lists {
            let maximal = samples(model, method.syntax.required(), true)?;
            let _infallible = writeln!(
                out,
                "requests.push(({:?}, commands::{}{turbofish}({maximal}){options}.into_request()));",
                method.name, method.name
            );
        }
    }
    out.push_str("}\n");
    let bytes = if body.contains("Bytes") { "use bytes::Bytes;\n" } else { "" };
    Ok(format!("{HEADER}{bytes}use romaine_commands::{{Command, Request, commands}};\n\n{body}"))
}

/// The calls of all options that keep the reply's type.
fn maximal(model: &Model, method: &Method) -> Result<String> {
    let mut out = String::new();
    for choice in &method.syntax.options {
        if !method.retype.contains_key(&choice.method) {
            let _infallible = write!(out, ".{}({})", choice.method, samples(model, choice.parts.iter(), true)?);
        }
    }
    Ok(out)
}

fn samples<'a>(model: &Model, parts: impl Iterator<Item = &'a Part>, lists: bool) -> Result<String> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Part::Literal(_) => {}
            Part::One { name, ty: Type::Arg } => all.push(format!("{name:?}")),
            Part::One { ty: Type::Int | Type::Uint, .. } => all.push("1".to_owned()),
            Part::One { ty: Type::Float, .. } => all.push("1.5".to_owned()),
            Part::One { ty: Type::Words(own), .. } if model.overrides.types.contains_key(own) => {
                all.extend(model.overrides.types.get(own).map(|own| own.sample.clone()));
            }
            Part::One { ty: Type::Words(words), .. } => {
                let variants = &model.overrides.words.get(words).context("an enum of words")?.variants;
                let first = variants.keys().next().context("an enum has words")?;
                all.push(format!("commands::{words}::{}", names::camel(first)));
            }
            Part::Many { names, .. } => {
                let group = |suffix: &str| {
                    let words: Vec<_> = names.iter().map(|name| format!("\"{name}{suffix}\"")).collect();
                    if words.len() == 1 { words.concat() } else { format!("({})", words.join(", ")) }
                };
                all.push(if lists { format!("[{}, {}]", group("1"), group("2")) } else { group("1") });
            }
        }
    }
    Ok(all.join(", "))
}
