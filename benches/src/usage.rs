//! What this process has used: processor time, memory, threads.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    time::TimeVal,
};

/// Processor time (user and system) of this process so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu(UsageWho::RUSAGE_SELF)
}

/// Processor time of all children this process has waited for so far.
pub(crate) fn children_cpu() -> Result<Duration> {
    cpu(UsageWho::RUSAGE_CHILDREN)
}

fn cpu(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).context("getrusage")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    let microseconds = time.tv_sec().saturating_mul(1_000_000).saturating_add(time.tv_usec());
    Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}

/// One number of `/proc/self/status`: `VmRSS` (in KiB) or `Threads`.
pub(crate) fn own_status(field: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number =
        line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("{field} of this process"))?;
    number.parse().with_context(|| format!("{field} of this process: {number}"))
}

/// Allows as many open files as the system lets this process and its children have.
pub(crate) fn raise_open_files_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("setrlimit")
}
