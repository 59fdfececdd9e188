//! Options of ours among those that are passed on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// Takes `name VALUE` or `name=VALUE` out of `args`.
pub(crate) fn take(args: &mut Vec<String>, name: &str) -> Result<Option<String>> {
    let Some(place) = args.iter().position(|arg| is_it(arg, name)) else { return Ok(None) };
    let word = args.remove(place);
    if let Some((_, value)) = word.split_once('=') {
        return Ok(Some(value.to_owned()));
    }
    if place >= args.len() {
        bail!("{name} needs a value");
    }
    Ok(Some(args.remove(place)))
}

/// The value of `name VALUE` or `name=VALUE`.
pub(crate) fn look(args: &[String], name: &str) -> Option<String> {
    take(&mut args.to_vec(), name).ok().flatten()
}

fn is_it(arg: &str, name: &str) -> bool {
    arg == name || arg.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

/// Takes `--server NAME` out: the program of that name among those that were fetched, or at that path.
pub(crate) fn server(args: &mut Vec<String>) -> Result<Option<PathBuf>> {
    let Some(name) = take(args, "--server")? else { return Ok(None) };
    let path = Path::new(&name);
    if path.components().count() > 1 {
        let path = path.canonicalize().with_context(|| format!("--server {name}"))?;
        return Ok(Some(path));
    }
    let path = cargo::workspace()?.join("target/servers").join(&name).join("redis-server");
    if !path.exists() {
        bail!("--server {name}: it is not there; fetch it with\n\n    scripts/fetch-servers.sh {name}");
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_options_are_taken_out_and_the_others_stay() {
        let mut args: Vec<_> = ["--quick", "--png", "a.png", "--clients=one,two"].map(str::to_owned).to_vec();
        assert_eq!(take(&mut args, "--png").unwrap().as_deref(), Some("a.png"));
        assert_eq!(look(&args, "--clients").as_deref(), Some("one,two"));
        assert_eq!(args, ["--quick", "--clients=one,two"]);
        assert_eq!(take(&mut args, "--pn").unwrap(), None);
        assert!(take(&mut vec!["--png".to_owned()], "--png").is_err());
    }

    #[test]
    fn a_server_that_was_not_fetched_is_said_how_to_get() {
        let mut args = vec!["--server".to_owned(), "redis-0.1".to_owned()];
        let error = server(&mut args).unwrap_err().to_string();
        assert!(error.contains("scripts/fetch-servers.sh redis-0.1"), "{error}");
    }
}
