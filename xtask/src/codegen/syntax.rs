//! How a command is written: a small notation, and its derivation from the server's description.
//!
//! `key value:int [EX seconds:int | NX] FIELDS #field... (field value)...`: words with a small letter are parameters (an
//! argument of any kind unless a type follows: `int`, `uint`, `float`, or an enum of `words`), others are literal. `...` takes
//! a list, `(a b)...` a list of groups, `#` writes the count first, `%(key id)...` writes all keys and then all ids.
//! `[a | b]` are options: a method each, named after its first word unless `name=` says otherwise. All options stand
//! in one place.

use anyhow::{Result, bail, ensure};

use super::data::ArgumentData;
use super::names;

/// The type of a single parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Arg,
    Int,
    Uint,
    Float,
    Words(String),
}

/// One piece of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Literal(String),
    One { name: String, ty: Type },
    Many { names: Vec<String>, counted: bool, transposed: bool },
}

/// An option: a builder method.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) method: String,
    pub(super) parts: Vec<Part>,
}

/// A whole command behind its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Syntax {
    pub(super) before: Vec<Part>,
    pub(super) options: Vec<Choice>,
    pub(super) after: Vec<Part>,
}

impl Syntax {
    fn push(&mut self, part: Part) {
        if self.options.is_empty() { self.before.push(part) } else { self.after.push(part) }
    }

    fn push_choice(&mut self, choice: Choice) -> Result<()> {
        ensure!(self.after.is_empty(), "options in more than one place");
        self.options.push(choice);
        Ok(())
    }

    /// The required parts, in order.
    pub(super) fn required(&self) -> impl Iterator<Item = &Part> {
        self.before.iter().chain(&self.after)
    }
}

impl Part {
    /// As shown in documentation.
    pub(super) fn usage(&self) -> String {
        match self {
            Self::Literal(word) => word.clone(),
            Self::One { name, .. } => name.clone(),
            Self::Many { names, counted, .. } => {
                let group = names.join(" ");
                let count = if *counted { "count " } else { "" };
                format!("{count}{group} [{group} …]")
            }
        }
    }
}

/// Parses the notation.
pub(super) fn parse(text: &str) -> Result<Syntax> {
    let spaced = ["[", "]", "|", ")..."].iter().fold(text.to_owned(), |t, sign| t.replace(sign, &format!(" {sign} ")));
    let spaced = spaced.replace('(', "( ").replace("#( ", "#(").replace("%( ", "%(");
    let mut words = spaced.split_whitespace().peekable();
    let mut syntax = Syntax::default();
    while let Some(word) = words.next() {
        if word != "[" {
            let part = parse_part(word, &mut words)?;
            syntax.push(part);
            continue;
        }
        let mut method = None;
        let mut parts = Vec::new();
        loop {
            let Some(word) = words.next() else { bail!("a `[` without its `]`") };
            if word == "|" || word == "]" {
                let name = match method.take() {
                    Some(name) => name,
                    None => choice_name(&parts)?,
                };
                syntax.push_choice(Choice { method: name, parts: std::mem::take(&mut parts) })?;
                if word == "]" {
                    break;
                }
                continue;
            }
            let word = match word.split_once('=') {
                Some((name, rest)) => {
                    method = Some(name.to_owned());
                    rest
                }
                None => word,
            };
            parts.push(parse_part(word, &mut words)?);
        }
    }
    Ok(syntax)
}

fn choice_name(parts: &[Part]) -> Result<String> {
    match parts.first() {
        Some(Part::Literal(word)) => Ok(names::snake(word)),
        Some(Part::One { name, .. }) => Ok(name.clone()),
        _ => bail!("an option without a name"),
    }
}

fn parse_part<'a>(word: &'a str, words: &mut impl Iterator<Item = &'a str>) -> Result<Part> {
    if let Some((sign, first)) = word.split_once('(') {
        let mut group = Vec::new();
        if !first.is_empty() {
            group.push(names::snake(first));
        }
        loop {
            match words.next() {
                Some(")...") => break,
                Some(name) => group.push(names::snake(name)),
                None => bail!("a `(` without its `)...`"),
            }
        }
        return Ok(Part::Many { names: group, counted: sign == "#", transposed: sign == "%" });
    }
    if !word.chars().any(|c| c.is_ascii_lowercase()) {
        return Ok(Part::Literal(word.to_owned()));
    }
    if let Some(name) = word.strip_suffix("...") {
        let counted = name.starts_with('#');
        return Ok(Part::Many { names: vec![names::snake(name.trim_start_matches('#'))], counted, transposed: false });
    }
    let (name, ty) = word.split_once(':').unwrap_or((word, "arg"));
    let ty = match ty {
        "arg" => Type::Arg,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "float" => Type::Float,
        words => Type::Words(words.to_owned()),
    };
    Ok(Part::One { name: names::snake(name), ty })
}

/// Derives the notation from the server's description. Fails where only a person can decide.
pub(super) fn derive(arguments: &[ArgumentData]) -> Result<Syntax> {
    let mut syntax = Syntax::default();
    let mut counted = false;
    for argument in arguments {
        if argument.name == "numkeys" {
            counted = true;
            continue;
        }
        if argument.has("optional") {
            for choice in choices(argument)? {
                syntax.push_choice(choice)?;
            }
            continue;
        }
        if let Some(token) = &argument.token {
            syntax.push(Part::Literal(token.clone()));
        }
        for part in parts(argument, std::mem::take(&mut counted))? {
            syntax.push(part);
        }
    }
    Ok(syntax)
}

fn choices(argument: &ArgumentData) -> Result<Vec<Choice>> {
    if argument.kind == "oneof" && argument.token.is_none() {
        return argument.arguments.iter().map(choice).collect();
    }
    Ok(vec![choice(argument)?])
}

fn choice(argument: &ArgumentData) -> Result<Choice> {
    let mut parts_of_choice: Vec<_> = argument.token.iter().cloned().map(Part::Literal).collect();
    let repeated = argument.has("multiple_token");
    let single = ArgumentData { flags: if repeated { Vec::new() } else { argument.flags.clone() }, ..argument.clone() };
    parts_of_choice.extend(parts(&single, false)?);
    let Some(Part::Literal(word)) = parts_of_choice.first() else {
        bail!("the option `{}` has no word", argument.name)
    };
    Ok(Choice { method: names::snake(word), parts: parts_of_choice })
}

fn parts(argument: &ArgumentData, counted: bool) -> Result<Vec<Part>> {
    let name = names::snake(&argument.name);
    let many = argument.has("multiple");
    ensure!(!argument.arguments.iter().any(|inner| inner.has("optional")), "`{name}` has optional pieces");
    let ty = match argument.kind.as_str() {
        "pure-token" => return Ok(Vec::new()),
        "key" | "string" | "pattern" => Type::Arg,
        "integer" | "unix-time" => Type::Int,
        "double" => Type::Float,
        "block" if many => {
            let names = argument.arguments.iter().map(|inner| names::snake(&inner.name)).collect();
            return Ok(vec![Part::Many { names, counted, transposed: false }]);
        }
        "block" => {
            let mut all = Vec::new();
            for inner in &argument.arguments {
                all.extend(inner.token.iter().cloned().map(Part::Literal));
                all.extend(parts(inner, false)?);
            }
            return Ok(all);
        }
        other => bail!("`{name}` is {other}"),
    };
    if many {
        return Ok(vec![Part::Many { names: vec![name], counted, transposed: false }]);
    }
    Ok(vec![Part::One { name, ty }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_reads_options_lists_and_counts() {
        let syntax = parse("key [NX | limit=LIMIT ~ n:int] FIELDS #field... (score member)... %(key id)...").unwrap();
        assert_eq!(syntax.before.len(), 1);
        assert_eq!(syntax.options.len(), 2);
        assert_eq!(syntax.options[1].method, "limit");
        assert_eq!(syntax.options[1].parts.len(), 3);
        let many = |names: &[&str], counted, transposed| Part::Many {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            counted,
            transposed,
        };
        assert_eq!(
            syntax.after,
            [
                Part::Literal("FIELDS".to_owned()),
                many(&["field"], true, false),
                many(&["score", "member"], false, false),
                many(&["key", "id"], false, true),
            ]
        );
    }

    #[test]
    fn options_in_two_places_are_refused() {
        assert!(parse("[NX] key [XX]").is_err());
        assert!(parse("[NX").is_err());
    }
}
