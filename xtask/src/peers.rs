//! Builds the drivers of the other clients, and of the other work queues.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::setup;

/// What this task needs of an entry of the list.
#[derive(Debug, PartialEq, Eq)]
struct Peer {
    name: String,
    dir: String,
    tools: Vec<String>,
    /// Commands, one after the other.
    build: Vec<Vec<String>>,
}

/// Builds the drivers of `list` that are wanted; all of them when no `clients` are named. What cannot be built is said,
/// and left to whoever runs it.
pub(crate) fn build(list: &Path, clients: Option<String>) -> Result<()> {
    let text = std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let wanted: Option<Vec<_>> = clients.as_deref().map(|names| names.split(',').collect());
    let root = list.parent().unwrap_or_else(|| Path::new("."));
    for peer in read(&text)? {
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&peer.name.as_str())) {
            continue;
        }
        if peer.build.is_empty() {
            continue;
        }
        let missing: Vec<_> = peer.tools.iter().filter(|tool| !setup::is_in_path(tool)).map(String::as_str).collect();
        if !missing.is_empty() {
            eprintln!("{}: cannot be built here: there is no {}", peer.name, missing.join(", no "));
            continue;
        }
        eprintln!("{}: building its driver", peer.name);
        for words in &peer.build {
            if let Err(error) = run(words, &root.join(&peer.dir)) {
                eprintln!("{}: not built: {error:#}", peer.name);
                break;
            }
        }
    }
    Ok(())
}

fn run(words: &[String], dir: &Path) -> Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    // Cargo sets variables for its children that another workspace's build must not see.
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).env_remove("CARGO_TARGET_DIR");
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
        anyhow::bail!("`{}` failed ({}):\n{tail}", words.join(" "), output.status);
    }
    Ok(())
}

fn read(text: &str) -> Result<Vec<Peer>> {
    let list: toml::Table = toml::from_str(text).context("the list of clients is not TOML")?;
    let tables = list.values().filter_map(toml::Value::as_array).flatten().filter_map(toml::Value::as_table);
    Ok(tables.filter_map(peer).collect())
}

fn peer(table: &toml::Table) -> Option<Peer> {
    let text = |name: &str| table.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    Some(Peer {
        name: text("name")?,
        dir: text("dir").unwrap_or_default(),
        tools: table.get("tools").map(words).unwrap_or_default(),
        build: table.get("build").map(commands).unwrap_or_default(),
    })
}

fn words(value: &toml::Value) -> Vec<String> {
    let of = |value: &toml::Value| value.as_str().map(str::to_owned);
    value.as_array().map(|array| array.iter().filter_map(of).collect()).unwrap_or_default()
}

/// One command as its words, several as an array of these, or one as a shell understands it.
fn commands(value: &toml::Value) -> Vec<Vec<String>> {
    if let Some(line) = value.as_str() {
        return vec![vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()]];
    }
    let several = value.as_array().is_some_and(|array| array.iter().any(toml::Value::is_array));
    if several { value.as_array().into_iter().flatten().map(words).collect() } else { vec![words(value)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_each_form() {
        let text = r#"
            [[peer]]
            name = "one"
            dir = "a"
            tools = ["cargo"]
            build = ["cargo", "build"]
            [[peer]]
            name = "two"
            build = [["npm", "ci"], ["npm", "test"]]
            [[peer]]
            name = "three"
            build = "make && make install"
        "#;
        let peers = read(text).unwrap();
        let builds: Vec<_> = peers.iter().map(|peer| peer.build.concat().join(" ")).collect();
        assert_eq!(builds, ["cargo build", "npm ci npm test", "sh -c make && make install"]);
        assert_eq!((peers[0].dir.as_str(), peers[0].tools.len()), ("a", 1));
    }
}
