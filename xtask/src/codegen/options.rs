//! Generates the enums of words.

use std::fmt::Write;

use super::emit::{self, HEADER};
use super::model::Model;
use super::names;

/// The source of `options.rs`.
pub(super) fn source(model: &Model) -> String {
    let mut out = format!(
        "{HEADER}//! Words that stand for each other as one argument.\n\nuse crate::arg::{{ArgWriter, ToArg}};\n\n"
    );
    for (name, words) in &model.overrides.words {
        let mut variants = String::new();
        let mut arms = String::new();
        for (word, doc) in &words.variants {
            let variant = names::camel(word);
            variants.push_str(&emit::doc(doc.as_str().unwrap_or_default()));
            let _infallible = writeln!(variants, "{variant},");
            let _infallible = writeln!(arms, "Self::{variant} => {word:?},");
        }
        let _infallible = write!(
            out,
            "{}#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]\n#[non_exhaustive]\npub enum {name} {{ {variants} }}\n\n\
             impl {name} {{ /// The word on the wire.\n#[must_use] pub const fn as_str(self) -> &'static str {{ match self {{ {arms} }} }} }}\n\n\
             impl ToArg for {name} {{ fn write_to(&self, out: &mut ArgWriter<'_>) {{ out.write(self.as_str().as_bytes()); }} }}\n\n",
            emit::doc(&words.doc),
        );
    }
    out
}
