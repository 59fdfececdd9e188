//! A handler's process: its own group, a time limit, its output's end.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// What is kept of the output, in bytes and lines.
const TAIL_BYTES: usize = 16 * 1024;
const TAIL_LINES: usize = 200;

/// What a process gets between being asked and being made to end.
const GRACE: Duration = Duration::from_secs(5);

/// How long output is awaited once the handler has ended: something it left behind may hold the pipe.
const DRAIN: Duration = Duration::from_millis(500);

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// For `/bin/sh -c`.
    pub(crate) command: String,
    pub(crate) input: Vec<u8>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) limit: Duration,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    /// It was told to.
    Stopped,
    NotStarted,
    /// The shell's exit code where what it was to run is not there, or not executable.
    Missing(i32),
    /// It was started, and nobody knows how it ended.
    Unknown,
}

/// What it was.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) how: How,
    pub(crate) tail: String,
}

/// Runs it to its end. `started` is called with the mark of its process.
pub(crate) async fn run<F: Future<Output = ()>>(
    order: Order,
    stop: &CancellationToken,
    started: impl FnOnce(String) -> F,
) -> Ran {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let mut child = match spawn(&order) {
        Ok(child) => child,
        Err(error) => return Ran { how: How::NotStarted, tail: error.to_string() },
    };
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    if let Some(mark) = child.id().and_then(mark) {
        started(mark).await;
    }
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talking = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A handler that does not read its input is within its rights.
                let _unread = stdin.write_all(&order.input).await;
            }
        };
        let output = read(stdout, tail.clone());
        let errors = read(stderr, tail.clone());
        tokio::join!(feed, output, errors);
    };
    tokio::pin!(talking);
    let mut talked = false;
    let waiting = wait(&mut child, group.0, order.limit, stop);
    tokio::pin!(waiting);
    let how = loop {
        tokio::select! {
            () = &mut talking, if !talked => talked = true,
            how = &mut waiting => break how,
        }
    };
    if !talked {
        let _held = tokio::time::timeout(DRAIN, &mut talking).await;
    }
    drop(group);
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner).text();
    let how = match how {
        // A script that ends with a command that is missing ends so, too, and has done what came before that.
        How::Exited(code @ (126 | 127)) if is_missing(&order.command) => How::Missing(code),
        how => how,
    };
    Ran { how, tail }
}

/// A handler's group. What it left behind ends with it, and all of it when nobody waits for it any more: dropping the
/// child kills the shell alone.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        signal(self.0, Signal::KILL);
    }
}

/// What the shell knows without a file of that name, as far as a handler may begin with it.
const OF_THE_SHELL: [&str; 26] = [
    ".", ":", "alias", "case", "cd", "command", "eval", "exec", "exit", "export", "for", "getopts", "if", "read",
    "readonly", "return", "set", "shift", "test", "trap", "type", "ulimit", "umask", "until", "wait", "while",
];

/// Whether what this begins with, for `/bin/sh -c`, is not there now, or is nothing that we may execute. `false` where only
/// the shell can tell.
pub(crate) fn is_missing(command: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    let is_plain = first.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/'));
    if first.is_empty() || !is_plain || OF_THE_SHELL.contains(&first) {
        return false;
    }
    if first.contains('/') {
        return !is_executable(Path::new(first));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    !std::env::split_paths(&path).any(|dir| is_executable(&dir.join(first)))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn spawn(order: &Order) -> std::io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&order.command);
    command.envs(order.environment.iter().map(|(name, value)| (*name, value)));
    // The address of the hub may hold a password: it is not the handler's.
    command.env_remove("REDIS_URL").env_remove("ROMAINE_HUB");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true).spawn()
}

async fn wait(child: &mut Child, group: Option<Pid>, limit: Duration, stop: &CancellationToken) -> How {
    let how = tokio::select! {
        status = child.wait() => return status.map_or(How::Unknown, how_it_exited),
        () = tokio::time::sleep(limit) => How::TimedOut,
        () = stop.cancelled() => How::Stopped,
    };
    signal(group, Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        signal(group, Signal::KILL);
        let _reaped = child.wait().await;
    }
    how
}

fn how_it_exited(status: ExitStatus) -> How {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exited(code),
        (None, Some(signal)) => How::Signalled(signal),
        (None, None) => How::Unknown,
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // It may have ended meanwhile.
        let _gone = kill_process_group(group, signal);
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, tail: Arc<Mutex<Tail>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { return };
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// The end of an output of any length.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.is_cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        let mut kept = lines.get(from..).unwrap_or_default().join("\n");
        if self.is_cut || from > 0 {
            kept.insert_str(0, "[…]\n");
        }
        kept
    }
}

/// Names a process so that no other is taken for it: its number, when it started, and in which life of the machine.
pub(crate) fn mark(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 22nd field, counted after the name in parentheses.
    let start = stat.rsplit_once(") ")?.1.split(' ').nth(19)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{pid} {start} {}", boot.trim()))
}

/// Ends what a handler's group still has running after its agent died, if it is still that process.
pub(crate) fn end_leftover(marked: &str) -> bool {
    let pid = marked.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
    let Some(pid) = pid.filter(|pid| mark(*pid).as_deref() == Some(marked)) else { return false };
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    signal(group, Signal::KILL);
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Waits until a process has ended. It has its signal; when it gets to die is the scheduler's affair.
    pub(crate) async fn is_gone(pid: u32) {
        let is_gone = async || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z")
        };
        romaine_faultlab::eventually(Duration::from_secs(20), "a process's end", is_gone).await.unwrap();
    }

    /// Waits for the number that a handler writes into this file.
    pub(crate) async fn number_in(path: &Path) -> u32 {
        let number = async || std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        romaine_faultlab::eventually(Duration::from_secs(20), "the handler's number", number).await.unwrap()
    }

    fn order(command: &str) -> Order {
        let input = b"{\"n\":1}".to_vec();
        Order { command: command.into(), input, environment: vec![("X", "y".into())], limit: Duration::from_secs(20) }
    }

    async fn ran(order: Order) -> Ran {
        run(order, &CancellationToken::new(), async |_mark| {}).await
    }

    #[tokio::test]
    async fn a_handler_reads_its_job_and_its_output_is_kept() {
        let ran = ran(order("cat; echo $X >&2; exit 3")).await;
        assert_eq!(ran.how, How::Exited(3));
        assert!(ran.tail.contains("{\"n\":1}") && ran.tail.contains('y'), "{}", ran.tail);
    }

    #[tokio::test]
    async fn of_much_output_the_end_is_kept() {
        let ran = ran(order("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")).await;
        assert_eq!(ran.how, How::Exited(0));
        assert!(ran.tail.starts_with("[…]\n") && ran.tail.ends_with("line 4999"));
        assert!(ran.tail.len() <= TAIL_BYTES + 8 && ran.tail.lines().count() <= TAIL_LINES + 1);
    }

    #[tokio::test]
    async fn past_its_time_the_whole_group_ends() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let command = format!("sleep 100 & echo $! > {}; wait", pid.display());
        let ran = ran(Order { limit: Duration::from_secs(1), ..order(&command) }).await;
        assert_eq!(ran.how, How::TimedOut);
        let grandchild: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        is_gone(grandchild).await;
    }

    #[tokio::test]
    async fn with_nobody_to_wait_for_it_the_whole_group_ends() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let command = format!("sleep 100 & echo $! > {}; wait", pid.display());
        let grandchild = tokio::select! {
            ran = ran(order(&command)) => panic!("{ran:?}"),
            grandchild = number_in(&pid) => grandchild,
        };
        is_gone(grandchild).await;
    }

    #[tokio::test]
    async fn a_handler_that_is_not_there_says_so() {
        let ran = ran(order("no-such-handler-at-all")).await;
        assert_eq!(ran.how, How::Missing(127));
        assert!(ran.tail.contains("not found"), "{}", ran.tail);
    }

    #[tokio::test]
    async fn a_command_that_a_handler_misses_is_not_the_handler_missing() {
        let dir = tempfile::tempdir().unwrap();
        let [script, text] = ["script", "text"].map(|name| dir.path().join(name));
        std::fs::write(&script, "echo begun; no-such-command-at-all\n").unwrap();
        std::fs::write(&text, "").unwrap();
        let (script, text) = (script.display(), text.display());
        for (command, how) in [
            (format!("sh {script}"), How::Exited(127)),
            ("cd /; no-such-command-at-all".to_owned(), How::Exited(127)),
            ("X=1 no-such-command-at-all".to_owned(), How::Exited(127)),
            ("{ exit 126; }".to_owned(), How::Exited(126)),
            (format!("{text} x"), How::Missing(126)),
            (format!("{text}-gone x"), How::Missing(127)),
        ] {
            assert_eq!(ran(order(&command)).await.how, how, "{command}");
        }
    }

    #[tokio::test]
    async fn a_leftover_is_ended_only_if_it_is_the_process_that_was_noted() {
        use std::os::unix::process::CommandExt as _;
        let mut child = std::process::Command::new("sleep").arg("100").process_group(0).spawn().unwrap();
        let marked = mark(child.id()).unwrap();
        let (pid, rest) = marked.split_once(' ').unwrap();
        assert!(!end_leftover(&format!("{pid} 1{rest}")));
        assert!(end_leftover(&marked));
        assert!(!child.wait().unwrap().success());
    }
}
