//! Where and when something was measured, and nothing that is only this machine's.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// This moment, in UTC, as `2026-01-31T23:59:59Z`.
#[expect(clippy::disallowed_methods, reason = "results bear the date of the day")]
pub(super) fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// The date of a day since 1970 (Howard Hinnant's `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, day)
}

/// The server's own words, without its build.
pub(super) fn server() -> String {
    let program = crate::server_builder::default_program();
    let output = Command::new(program).arg("--version").output();
    let line = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    line.split(" sha=").next().unwrap_or_default().trim().to_owned()
}

/// The kernel, the processors.
pub(super) fn describe() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, model)| model.trim());
    format!("{processors} processors ({model}), {} {}", read("/proc/sys/kernel/ostype").trim(), kernel.trim())
}

/// The revision of what is measured, where there is one; `-dirty` with changes to what measures or is measured.
pub(super) fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Results are written while it runs, and are no change.
    let changed = git(&["status", "--porcelain", "--", "crates", "peers", "xtask", "Cargo.lock"]);
    match (git(&["rev-parse", "--short", "HEAD"]), changed) {
        (Some(revision), Some(changed)) if changed.is_empty() => revision,
        (Some(revision), _) => format!("{revision}-dirty"),
        (None, _) => "unknown".to_owned(),
    }
}

/// What makes figures of two machines comparable: all of it but the kernel's build, which its makers number behind a dash.
pub(super) fn kind(machine: &str) -> &str {
    let release = machine.rfind(' ').map_or(0, |space| space + 1);
    machine.get(release..).and_then(|text| text.find('-')).map_or(machine, |dash| &machine[..release + dash])
}

/// Without directories of this machine.
pub(super) fn scrub(text: &str) -> String {
    let mut text = text.to_owned();
    let here = std::env::current_dir().ok();
    let home = std::env::var_os("HOME").map(Into::into);
    for dir in [here, home].into_iter().flatten() {
        let dir = dir.display().to_string();
        if dir.len() > 1 {
            text = text.replace(&format!("{dir}/"), "").replace(&dir, ".");
        }
    }
    let words = text.split_inclusive([' ', '\n', '"', '\'', ':', ',', ';', '(', ')']);
    words.map(|word| if is_path(word) { word.rsplit('/').next().unwrap_or(word) } else { word }).collect()
}

/// An absolute path of more than one part; `TCP/IP` and URLs are none.
fn is_path(word: &str) -> bool {
    word.starts_with('/') && !word.starts_with("//") && word.matches('/').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }

    #[test]
    fn builds_of_one_kernel_are_of_a_kind_and_versions_are_not() {
        let machine = |kernel: &str| format!("2 processors (AMD EPYC-Rome), Linux {kernel}");
        assert_eq!(kind(&machine("6.1.0-13-amd64")), kind(&machine("6.1.0-18-amd64")));
        assert_eq!(kind(&machine("6.18.44")), machine("6.18.44"));
        assert_ne!(kind(&machine("6.18.44-a")), kind(&machine("6.18.45-a")));
    }

    #[test]
    fn what_is_the_machines_own_is_left_out() {
        assert_eq!(scrub("cannot start /opt/x/bin/driver: no such file"), "cannot start driver: no such file");
        assert_eq!(scrub("redis://127.0.0.1:10/0 and and/or /0"), "redis://127.0.0.1:10/0 and and/or /0");
    }
}
