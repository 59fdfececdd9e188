//! The scripts: their texts, their digests, and how they are run.

use std::sync::LazyLock;
use std::time::Duration;

use romaine::{Call, Client, Cmd, Exclusive, Executor as _, FromValue, RetryPolicy, Script, cmd};

use crate::keys::{Key, Keys};

/// A script with the keys it is given.
#[derive(Debug)]
pub(crate) struct Lua {
    name: &'static str,
    text: String,
    digest: String,
    keys: &'static [Key],
}

/// Where a script runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On<'a> {
    /// On the connection that all share.
    Shared(&'a Client),
    /// On a connection of its own, whose writes WAIT can wait for.
    Own(&'a Exclusive),
}

impl<'a> On<'a> {
    pub(crate) fn issue<R: FromValue>(self, command: Cmd<R>) -> Call<'a, R> {
        match self {
            Self::Shared(client) => client.issue(command),
            Self::Own(exclusive) => exclusive.issue(command),
        }
    }
}

/// What a script starts with: its flags, the names of its keys, and the functions it shares with others.
fn assemble(flags: &str, keys: &[Key], parts: &[&str]) -> String {
    let mut text = if flags.is_empty() { "#!lua\n".to_owned() } else { format!("#!lua flags={flags}\n") };
    for (index, key) in keys.iter().enumerate() {
        text.push_str(&format!("local {} = KEYS[{}]\n", key.local(), index + 1));
    }
    for part in parts {
        text.push_str(part);
    }
    text
}

const CLOCK: &str = include_str!("../scripts/clock.lua");
const RECORDS: &str = include_str!("../scripts/records.lua");
const LEAVE: &str = include_str!("../scripts/leave.lua");

impl Lua {
    fn new(name: &'static str, flags: &str, keys: &'static [Key], parts: &[&str]) -> Self {
        let text = assemble(flags, keys, parts);
        let digest = Script::new(&text).digest().to_owned();
        Self { name, text, digest, keys }
    }

    #[cfg(test)]
    pub(crate) fn with_text(&self, change: impl FnOnce(&str) -> String) -> Self {
        let text = change(&self.text);
        let digest = Script::new(&text).digest().to_owned();
        Self { name: self.name, text, digest, keys: self.keys }
    }

    fn command<R: FromValue>(&self, by_digest: bool, keys: &Keys) -> Cmd<R> {
        let start = if by_digest {
            cmd::<R>("EVALSHA").arg(self.digest.as_str())
        } else {
            cmd::<R>("EVAL").arg(self.text.as_str())
        };
        let count = i64::try_from(self.keys.len()).unwrap_or(0);
        self.keys.iter().fold(start.arg(count), |command, key| command.arg(keys.key(*key)))
    }

    /// Runs it by its digest, and by its text where the server does not have it (after SCRIPT FLUSH, a restart, a
    /// failover). `arguments` adds what comes after the keys; it is called once or twice.
    ///
    /// Nothing whose fate is unknown is repeated here: who knows that a repetition does no harm repeats it.
    pub(crate) async fn run<R: FromValue>(
        &self,
        on: On<'_>,
        keys: &Keys,
        limit: Option<Duration>,
        arguments: impl Fn(Cmd<R>) -> Cmd<R>,
    ) -> romaine::Result<R> {
        let mut by_digest = true;
        loop {
            let mut call = on.issue(arguments(self.command(by_digest, keys)));
            if let Some(limit) = limit {
                call = call.timeout(limit);
            }
            match call.await {
                Err(error) if by_digest && is_missing(&error) => {
                    tracing::debug!(script = self.name, "the server does not have it; sending its text");
                    by_digest = false;
                }
                other => return other,
            }
        }
    }

    /// The same for a script that only reads or may be repeated freely.
    pub(crate) async fn run_again<R: FromValue>(
        &self,
        client: &Client,
        keys: &Keys,
        arguments: impl Fn(Cmd<R>) -> Cmd<R>,
    ) -> romaine::Result<R> {
        self.run_again_within(client, keys, None, arguments).await
    }

    /// The same, for no longer than this at a time.
    pub(crate) async fn run_again_within<R: FromValue>(
        &self,
        client: &Client,
        keys: &Keys,
        limit: Option<Duration>,
        arguments: impl Fn(Cmd<R>) -> Cmd<R>,
    ) -> romaine::Result<R> {
        let mut by_digest = true;
        loop {
            let mut call = client.issue(arguments(self.command(by_digest, keys))).retry(RetryPolicy::Idempotent);
            if let Some(limit) = limit {
                call = call.timeout(limit);
            }
            match call.await {
                Err(error) if by_digest && is_missing(&error) => {
                    tracing::debug!(script = self.name, "the server does not have it; sending its text");
                    by_digest = false;
                }
                other => return other,
            }
        }
    }

    /// A request for a pipeline.
    pub(crate) fn request<R: FromValue>(&self, keys: &Keys) -> Cmd<R> {
        self.command(true, keys)
    }

    /// What it is called in errors and tests.
    #[cfg(test)]
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }
}

/// Whether the server does not have the script.
pub(crate) fn is_missing(error: &romaine::Error) -> bool {
    error.server().is_some_and(|error| error.code() == "NOSCRIPT")
}

const ALL: &[Key] = &[
    Key::Jobs,
    Key::States,
    Key::High,
    Key::Normal,
    Key::Low,
    Key::Delayed,
    Key::Leases,
    Key::Dead,
    Key::Meta,
    Key::Bell,
    Key::Consumers,
    Key::Unique,
    Key::Generations,
    Key::Seen0,
    Key::Seen1,
    Key::Results,
    Key::ResultsUntil,
    Key::Errors,
    Key::Cancels,
];

const ENQUEUE: &[Key] = &[
    Key::Jobs,
    Key::States,
    Key::High,
    Key::Normal,
    Key::Low,
    Key::Delayed,
    Key::Leases,
    Key::Dead,
    Key::Meta,
    Key::Bell,
    Key::Unique,
    Key::Generations,
    Key::Seen0,
    Key::Seen1,
    Key::Errors,
    Key::Cancels,
];

const EXTEND: &[Key] = &[Key::States, Key::Leases, Key::Cancels];
const RECOVER: &[Key] = &[Key::Jobs, Key::States, Key::Leases, Key::Errors];
const RESULT_KEYS: &[Key] = &[Key::Results, Key::ResultsUntil];
const SETTINGS: &[Key] = &[Key::High, Key::Normal, Key::Low, Key::Meta, Key::Bell];

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal, $flags:literal, $keys:expr, [$($part:expr),*];)*) => {$(
        $(#[$doc])*
        pub(crate) static $name: LazyLock<Lua> = LazyLock::new(|| {
            let parts: &[&str] = &[$($part,)* include_str!(concat!("../scripts/", $file, ".lua"))];
            Lua::new($file, $flags, $keys, parts)
        });
    )*};
}

// What finishes, moves or frees work must run when memory is short, or it would stay short: `allow-oom`. What brings
// work in must not.
scripts! {
    /// Accepts jobs.
    ENQUEUE_JOBS = "enqueue", "", ENQUEUE, [CLOCK, RECORDS, LEAVE];
    /// Reports, sweeps, claims.
    TURN = "turn", "allow-oom", ALL, [CLOCK, RECORDS, LEAVE];
    /// Renews leases.
    EXTEND_LEASES = "extend", "allow-oom", EXTEND, [CLOCK];
    /// Finds what a lost answer claimed.
    RECOVER_CLAIMS = "recover", "allow-oom", RECOVER, [CLOCK];
    /// Cancels by id.
    CANCEL = "cancel", "allow-oom", ALL, [CLOCK, RECORDS, LEAVE];
    /// Pause, resume, limits.
    CHANGE_SETTINGS = "settings", "allow-oom", SETTINGS, [LEAVE];
    /// Dead jobs back.
    REVIVE = "revive", "allow-oom", ALL, [CLOCK, RECORDS, LEAVE];
    /// Takes jobs away.
    PURGE = "purge", "allow-oom", ALL, [CLOCK, RECORDS, LEAVE];
    /// Forgets what is old.
    TIDY = "tidy", "allow-oom", ALL, [CLOCK, RECORDS, LEAVE];
    /// What a job left behind.
    RESULT = "result", "no-writes", RESULT_KEYS, [CLOCK];
    /// How the queue is.
    STATUS = "status", "no-writes", ALL, [CLOCK, RECORDS];
    /// Shows jobs.
    PEEK = "peek", "no-writes", ALL, [CLOCK, RECORDS];
}
