//! Labels of edges, and the selection by them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Labels that an edge may have.
const LABELS_MAX: usize = 64;

/// The longest name or value, in bytes.
const TEXT_MAX: usize = 100;

/// What an edge is known by: `region=kr,rack=3`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromStr for Labels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut labels = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').filter(|(name, value)| is_name(name) && is_value(value));
            let Some((name, value)) = pair else {
                return Err(Error::usage(format!(
                    "the label '{part}' is not name=value (up to {TEXT_MAX} bytes each, no '!', '|' and spaces); expected \
                     for example region=kr,rack=3"
                )));
            };
            if name == "id" {
                return Err(Error::usage("the label 'id' is the edge's id already: leave it out"));
            }
            labels.insert(name.to_owned(), value.to_owned());
        }
        if labels.len() > LABELS_MAX {
            return Err(Error::usage(format!("an edge has at most {LABELS_MAX} labels")));
        }
        Ok(Self(labels))
    }
}

fn is_name(text: &str) -> bool {
    is_value(text) && !text.is_empty()
}

fn is_value(text: &str) -> bool {
    text.len() <= TEXT_MAX
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '=' | '!' | '|' | ','))
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.pad(&all.join(","))
    }
}

/// A choice of edges: `region=kr,rack!=3`, `id=a|b`, `gpu` (has the label), `*` (all).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, Vec<String>),
    IsNot(String, Vec<String>),
    Has(String),
}

impl Selector {
    /// Whether an edge is chosen.
    #[must_use]
    pub fn matches(&self, id: &str, labels: &Labels) -> bool {
        let value = |name: &str| if name == "id" { Some(id) } else { labels.get(name) };
        self.0.iter().all(|term| match term {
            Term::Is(name, any) => value(name).is_some_and(|value| any.iter().any(|one| one == value)),
            Term::IsNot(name, any) => value(name).is_none_or(|value| any.iter().all(|one| one != value)),
            Term::Has(name) => value(name).is_some(),
        })
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text == "*" || text == "all" {
            return Ok(Self::default());
        }
        let wrong = |part: &str| {
            Error::usage(format!(
                "'{part}' selects nothing; expected for example 'region=kr,rack!=3', 'id=edge-1|edge-2', or '*' for all"
            ))
        };
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim) {
            let values = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
            let term = match (part.split_once("!="), part.split_once('=')) {
                (Some((name, value)), _) if is_name(name) => Term::IsNot(name.to_owned(), values(value)),
                (None, Some((name, value))) if is_name(name) => Term::Is(name.to_owned(), values(value)),
                (None, None) if is_name(part) => Term::Has(part.to_owned()),
                _ => return Err(wrong(part)),
            };
            terms.push(term);
        }
        Ok(Self(terms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_they_are_read() {
        let labels: Labels = "region=kr, rack=3".parse().unwrap();
        assert_eq!(labels.get("rack"), Some("3"));
        assert_eq!(labels.to_string(), "rack=3,region=kr");
        for wrong in ["region", "a b=c", "x=!", "id=7", "=v"] {
            assert!(wrong.parse::<Labels>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_selector_chooses_by_labels_and_by_id() {
        let kr: Labels = "region=kr,rack=3".parse().unwrap();
        let chosen = |selector: &str| selector.parse::<Selector>().unwrap().matches("edge-1", &kr);
        assert!(
            chosen("*") && chosen("region=kr") && chosen("region=jp|kr,rack") && chosen("rack!=4") && chosen("gpu!=a")
        );
        assert!(!chosen("region=jp") && !chosen("gpu") && !chosen("rack!=3|4") && !chosen("id=edge-2"));
        assert!(chosen("id=edge-1|edge-2"));
        assert!("".parse::<Selector>().is_err() && "=x".parse::<Selector>().is_err());
    }
}
