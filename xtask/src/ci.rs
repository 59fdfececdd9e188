//! What must hold before something is merged.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo, codegen, test, tidy};

/// Runs every check, all of them even when one fails, and the tests last.
pub(crate) fn run() -> Result<ExitCode> {
    let mut failed = Vec::new();
    let mut check = |name: &'static str, outcome: Result<bool>| match outcome {
        Ok(true) => println!("ok: {name}"),
        Ok(false) => failed.push(name),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    };
    check("formatting", cargo::succeeds(&mut cargo::command(&["fmt", "--all", "--check"])));
    let lints = ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
    check("lints", cargo::succeeds(&mut cargo::command(&lints)));
    let mut doc = cargo::command(&["doc", "--workspace", "--all-features", "--no-deps", "--quiet"]);
    check("documentation", cargo::succeeds(doc.env("RUSTDOCFLAGS", "-D warnings")));
    check("generated code", codegen::check_only().map(|()| true));
    check("tidiness", tidy::run());
    for name in &failed {
        println!("FAILED: {name}");
    }
    let tested = test::run(&[])?;
    Ok(if failed.is_empty() { tested } else { ExitCode::FAILURE })
}
