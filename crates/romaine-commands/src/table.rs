//! Finds a command's row by name.

use crate::spec::Spec;

/// The row of a command; `name` in any case, words separated by one space.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    let _ = name;
    None
}

/// Whether subcommands hang below this name (`CLIENT`, `CONFIG`, …).
pub(crate) fn is_container(_spec: &'static Spec) -> bool {
    true
}
