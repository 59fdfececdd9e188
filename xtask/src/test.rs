//! Every test of the workspace, and one line at the end that says how it went.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::{cargo, options, setup};

/// The file in which tests that cannot run here say so: a line each, the test's name, a tab, the reason.
const SKIPPED: &str = "ROMAINE_SKIPPED";

/// Runs the tests.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut args = args.to_vec();
    let server = options::server(&mut args)?;
    setup::redis_server()?;
    setup::namespaces();
    let skipped = std::env::temp_dir().join(format!("romaine-skipped-{}", std::process::id()));
    let outcome = run_tests(&args, server, &skipped);
    // Nobody needs it any more, whether it was written or not.
    let _ = std::fs::remove_file(&skipped);
    let summary = outcome?;
    println!("{summary}");
    std::io::stdout().flush()?;
    Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_tests(args: &[String], server: Option<PathBuf>, skipped: &PathBuf) -> Result<Summary> {
    let mut command = cargo::command(&["test", "--workspace", "--features", cargo::FEATURES, "--no-fail-fast"]);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        // Most tests wait for real time-outs of real servers: more of them at once than there are cores.
        command.env("RUST_TEST_THREADS", "4");
    }
    if let Some(server) = server {
        command.env(setup::OVERRIDE, server);
    }
    let mut child =
        command.args(args).env(SKIPPED, skipped).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut summary = Summary::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        summary.add(&line);
    }
    let status = child.wait()?;
    let skips = std::fs::read_to_string(skipped).unwrap_or_default();
    let skips: BTreeMap<_, _> = skips.lines().filter_map(|line| line.split_once('\t')).collect();
    println!();
    for (test, reason) in &skips {
        println!("skipped: {test}: {reason}");
    }
    summary.skip(skips.len());
    if !status.success() && summary.failed == 0 {
        println!("cargo test failed without a failed test ({status}): it did not build, or a test ended its process");
        summary.failed = 1;
    }
    Ok(summary)
}

/// What became of all tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Summary {
    /// Adds what a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …` says; other lines say nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for part in counts.split("; ") {
            let Some((count, what)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<usize>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// So many that counted as passed have not run at all.
    fn skip(&mut self, count: usize) {
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.00s",
            "a test printed: test result: ok. 99 passed",
        ] {
            summary.add(line);
        }
        assert_eq!(summary, Summary { passed: 15, failed: 2, skipped: 1 });
        summary.skip(4);
        assert_eq!(summary.to_string(), "11 passed, 2 failed, 5 skipped");
    }
}
