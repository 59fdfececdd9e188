//! Identifiers.

/// Words Rust keeps for itself.
const KEYWORDS: [&str; 12] =
    ["type", "move", "match", "where", "ref", "in", "for", "loop", "async", "self", "static", "enum"];

/// The name of a parameter or function: `min-idle-time` → `min_idle_time`, `type` → `type_`.
pub(super) fn snake(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if KEYWORDS.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// The name of a type: `client_kill` → `ClientKill`, `LEFT` → `Left`.
pub(super) fn camel(name: &str) -> String {
    name.split(['_', '-', ' '])
        .map(|word| {
            let word = word.to_ascii_lowercase();
            let (first, rest) = word.split_at_checked(1).unwrap_or_default();
            format!("{}{rest}", first.to_ascii_uppercase())
        })
        .collect()
}

/// The name of a command's row: `CLIENT LIST` → `CLIENT_LIST`.
pub(super) fn row(command: &str) -> String {
    command.replace([' ', '-'], "_")
}

/// Text as a Rust string literal.
pub(super) fn literal(text: &str) -> String {
    format!("{text:?}")
}

/// The type parameters in a type: single capital letters, in order of appearance.
pub(super) fn type_parameters(ty: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in words(ty) {
        if word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase()) && !found.iter().any(|have| have == word) {
            found.push(word.to_owned());
        }
    }
    found
}

/// The identifiers in a type.
pub(super) fn words(ty: &str) -> impl Iterator<Item = &str> {
    ty.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}
