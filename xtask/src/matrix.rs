//! The fault matrix: builds the drivers of the other clients, measures, draws.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::{cargo, options, peers, setup};

/// Runs it. What is not said here goes to `romaine matrix`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut args = args.to_vec();
    setup::redis_server()?;
    setup::namespaces();
    let is_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
    let server = options::server(&mut args)?;
    let png = options::take(&mut args, "--png")?.map(PathBuf::from);
    if !is_help && !args.iter().any(|arg| arg == "--peers") {
        let list = cargo::workspace()?.join("peers/peers.toml");
        if list.exists() {
            peers::build(&list, options::look(&args, "--clients"))?;
            args.extend(["--peers".to_owned(), "peers/peers.toml".to_owned()]);
        }
    }
    // The PNG is the SVG, drawn.
    let mut drawn = None;
    if png.is_some() && options::look(&args, "--svg").is_none() {
        let svg = std::env::temp_dir().join(format!("romaine-matrix-{}.svg", std::process::id()));
        args.extend(["--svg".to_owned(), svg.display().to_string()]);
        drawn = Some(svg);
    }
    let svg = options::look(&args, "--svg").map(PathBuf::from);
    eprintln!("building the program (release)");
    let mut romaine = cargo::command(&["run", "--release", "--quiet", "--package", "romaine-cli", "--", "matrix"]);
    if let Some(server) = server {
        romaine.env(setup::OVERRIDE, server);
    }
    let code = cargo::exit_code(romaine.args(&args))?;
    if let (Some(svg), Some(png)) = (svg, png)
        && svg.exists()
    {
        draw(&svg, &png)?;
    }
    if let Some(svg) = drawn {
        // It was a step on the way.
        let _ = std::fs::remove_file(svg);
    }
    if is_help {
        println!("Besides, of cargo xtask:\n{HELP}");
    }
    Ok(code)
}

const HELP: &str =
    "      --server <NAME>    redis-8.0 or valkey-8.1, fetched by scripts/fetch-servers.sh, or a program's path
      --png <FILE>       Write the heat map to this file, too, as a picture of dots";

/// With a crate that nothing else is linked to, built only when it is asked for.
fn draw(svg: &Path, png: &Path) -> Result<()> {
    let arguments = ["run", "--release", "--quiet", "--package", "romaine-faultlab", "--features", "png", "--bin"];
    let mut command = cargo::command(&arguments);
    command.args(["faultlab-png", "--"]).arg(svg).arg(png).stdin(Stdio::null());
    anyhow::ensure!(cargo::succeeds(&mut command)?, "{} could not be drawn", png.display());
    Ok(())
}

/// Runs one of the program's subcommands.
pub(crate) fn romaine(subcommand: &str, args: &[String]) -> Result<ExitCode> {
    let mut args = args.to_vec();
    setup::redis_server()?;
    setup::namespaces();
    let server = options::server(&mut args)?;
    // Not optimized: what is shown are seconds, and a newcomer's first build takes a quarter of the time.
    let mut command: Command = cargo::command(&["run", "--package", "romaine-cli", "--", subcommand]);
    if let Some(server) = server {
        command.env(setup::OVERRIDE, server);
    }
    cargo::exit_code(command.args(args)).with_context(|| format!("romaine {subcommand}"))
}
