//! This process as the kernel sees it.

use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many open files as we may have; servers that are started inherit it.
pub(crate) fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit of open files")
}

/// Open files that one process may have.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What is in memory of a process, in bytes.
pub(crate) fn resident(pid: Option<u32>) -> Result<u64> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let path = Path::new("/proc").join(pid).join("status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is not a number")?;
    Ok(kib * 1024)
}

/// Processor time this process has used, in seconds.
pub(crate) fn processor() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    // After the name, which may contain anything: state is field 3, user time 14, system time 15, in hundredths.
    let after = text.rsplit(')').next().unwrap_or_default();
    let mut ticks = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().unwrap_or(0.0));
    Ok((ticks.next().unwrap_or(0.0) + ticks.next().unwrap_or(0.0)) / 100.0)
}
