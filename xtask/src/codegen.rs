//! Generates the command layer of `romaine-commands`.
//!
//! Input: `data/commands.json` (what a running server says of itself, written by `cargo xtask codegen fetch`) and
//! `data/overrides.toml` (ours: names, reply types, corrections, newer commands). Output: the table of all commands and
//! one file per group with constructors, options and a method trait. The output is committed; a test compares it.

mod data;
mod emit;
mod fetch;
mod group;
mod model;
mod names;
mod options;
mod row;
mod samples;
mod syntax;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What `cargo xtask codegen` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a generated file is stale.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Debug, clap::Subcommand)]
enum Mode {
    /// Start a redis-server and store what it says of its commands as `data/commands.json`.
    #[command(hide = true)]
    Fetch,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let home = home()?;
    if matches!(args.mode, Some(Mode::Fetch)) {
        return fetch::run(&home.join("data/commands.json"));
    }
    let files = generate(&home)?;
    if args.check {
        return check(&home, &files);
    }
    for (path, text) in &files {
        let path = home.join(path);
        if std::fs::read_to_string(&path).ok().as_ref() == Some(text) {
            continue;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Fails when a generated file is stale.
pub(crate) fn check_only() -> Result<()> {
    run(&Args { check: true, mode: None })
}

/// The directory of the crate that is generated into.
fn home() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    Ok(workspace.join("crates/romaine-commands"))
}

/// All generated files, by path below the crate.
fn generate(home: &Path) -> Result<BTreeMap<String, String>> {
    let model = model::Model::load(&home.join("data"))?;
    let mut files = BTreeMap::new();
    files.insert("src/generated/table.rs".to_owned(), table::source(&model));
    for group in &model.groups {
        files.insert(format!("src/generated/{}.rs", group.file), group::source(&model, group)?);
        files.insert(format!("tests/wire/requests/{}.rs", group.file), samples::source(&model, group)?);
    }
    files.insert("src/generated/options.rs".to_owned(), options::source(&model));
    files.insert("src/generated/mod.rs".to_owned(), group::index(&model));
    files.insert("tests/wire/requests/mod.rs".to_owned(), samples::index(&model));
    files.into_iter().map(|(path, text)| Ok((path, format_source(home, &text)?))).collect()
}

/// Fails, with the command to run, when a file differs from what would be generated.
fn check(home: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    let stale: Vec<_> = files
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(home.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.as_str())
        .collect();
    if !stale.is_empty() {
        bail!("generated code is stale: {}; run `cargo xtask codegen`", stale.join(", "));
    }
    Ok(())
}

/// Through rustfmt with the workspace's settings.
fn format_source(home: &Path, text: &str) -> Result<String> {
    let config = home.join("../../rustfmt.toml");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start rustfmt")?;
    let mut input = child.stdin.take().context("rustfmt has a stdin")?;
    let owned = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(owned.as_bytes()));
    let output = child.wait_with_output()?;
    let written = writer.join().map_err(|_panic| anyhow::anyhow!("writing to rustfmt panicked"))?;
    written.context("cannot write to rustfmt")?;
    if !output.status.success() {
        bail!("rustfmt refused generated code:\n{text}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_generated_code_is_up_to_date() {
        let home = super::home().unwrap();
        let files = super::generate(&home).unwrap();
        super::check(&home, &files).unwrap();
    }
}
