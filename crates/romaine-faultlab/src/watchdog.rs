//! Cleaning up after a test process that was itself killed, when no `Drop` runs any more.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// A small shell that does its script when this process ends without having dropped the watchdog.
///
/// It reads from a pipe whose only other end we hold; the kernel closes that end however we die. (The parent-death
/// signal would be the other way; it is unsafe, and follows the *thread* that spawned the child, which in a test runner
/// ends long before the process.)
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// `script` sees `arguments` as `$1`, `$2`, …
    pub(crate) fn start<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> anyhow::Result<Self> {
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("read -r _; {script}"))
            .arg("faultlab-watchdog")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C in the terminal must not end the one that cleans up after Ctrl-C.
            .process_group(0)
            .spawn()
            .context("cannot start the watchdog shell")?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe closes, so that the script does not run.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
