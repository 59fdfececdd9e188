//! What is known of a command before it is sent.

use std::fmt;

/// One row of the command table.
///
/// Rows are generated (`cargo xtask codegen`) from a running server's `COMMAND DOCS` and `COMMAND INFO`, with the
/// corrections of `data/overrides.toml`.
#[derive(Debug)]
pub struct Spec {
    /// The name in capitals, the subcommand after a space: `GET`, `CLIENT LIST`.
    pub name: &'static str,
    /// The words of the name as bulk strings: how every request for it starts.
    pub wire: &'static [u8],
    /// How many words the name has.
    pub words: u8,
    /// Its place in the table, from 1; 0 is for commands that are not in it. What counters per command are indexed by
    /// (see [`table::COUNT`](crate::table::COUNT)).
    pub index: u16,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i16,
    /// Properties that decide retry, routing and lanes.
    pub flags: Flags,
    /// Where the keys are.
    pub keys: KeySpec,
    /// Where the time-out of a blocking command is.
    pub wait: Wait,
    /// How a cluster client splits the request (the server's `request_policy` tip), or an empty string.
    pub request_policy: &'static str,
    /// How a cluster client merges the replies (the server's `response_policy` tip), or an empty string.
    pub response_policy: &'static str,
    /// The server version that introduced it.
    pub since: &'static str,
}

impl Spec {
    /// What is assumed of a command that is not in the table: it may write, must not be sent twice, and its keys are
    /// unknown.
    pub const UNLISTED: Self = Self {
        name: "command",
        wire: b"",
        words: 0,
        index: 0,
        arity: -1,
        flags: Flags::WRITE,
        keys: KeySpec::Unknown,
        wait: Wait::None,
        request_policy: "",
        response_policy: "",
        since: "",
    };

    /// Whether it is safe to send again when nobody knows whether it was executed.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        self.flags.has(Flags::READ_ONLY) || self.flags.has(Flags::IDEMPOTENT) || self.flags.has(Flags::STALE_OK)
    }
}

/// Properties of a command, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// No property.
    pub const NONE: Self = Self(0);
    /// Reads only: safe to send again, may go to a replica.
    pub const READ_ONLY: Self = Self(1);
    /// May change data.
    pub const WRITE: Self = Self(1 << 1);
    /// May hold its connection until something happens elsewhere.
    pub const BLOCKING: Self = Self(1 << 2);
    /// Executing it twice leaves the same state and gives the same reply as executing it once.
    pub const IDEMPOTENT: Self = Self(1 << 3);
    /// Changes the state of its connection (SUBSCRIBE, SELECT, MULTI, WATCH, …): not on a shared connection.
    pub const CONNECTION_STATE: Self = Self(1 << 4);
    /// An administrator's command.
    pub const ADMIN: Self = Self(1 << 5);
    /// Removes elements for whoever asked: a lost reply is a lost element (BLPOP, BZPOPMIN, …).
    pub const TAKES: Self = Self(1 << 6);
    /// Not allowed inside a transaction.
    pub const NO_MULTI: Self = Self(1 << 7);
    /// Makes no change and reads no key (PING, ECHO, TIME, …).
    pub const STALE_OK: Self = Self(1 << 8);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 9] = [
            (Flags::READ_ONLY, "read_only"),
            (Flags::WRITE, "write"),
            (Flags::BLOCKING, "blocking"),
            (Flags::IDEMPOTENT, "idempotent"),
            (Flags::CONNECTION_STATE, "connection_state"),
            (Flags::ADMIN, "admin"),
            (Flags::TAKES, "takes"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::STALE_OK, "stale_ok"),
        ];
        f.debug_set().entries(NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name)).finish()
    }
}

/// Where a command's keys are among its arguments. Positions count the name as 0 (`CLIENT` of `CLIENT LIST` is 0,
/// `LIST` is 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySpec {
    /// It has none.
    None,
    /// From `first` to `last` (negative: from the end, -1 is the last argument), every `step`-th.
    Range {
        /// Position of the first key.
        first: u8,
        /// Position of the last key; negative counts from the end.
        last: i8,
        /// Distance between keys.
        step: u8,
    },
    /// A count at `count`, the keys from `first` on.
    Counted {
        /// Position of the number of keys.
        count: u8,
        /// Position of the first key.
        first: u8,
    },
    /// A destination at `store`, then a count at `count` and the keys from `first` on (ZUNIONSTORE).
    StoreCounted {
        /// Position of the destination key.
        store: u8,
        /// Position of the number of source keys.
        count: u8,
        /// Position of the first source key.
        first: u8,
    },
    /// After the word `keyword`: the first half of the remaining arguments (XREAD's STREAMS).
    AfterKeyword {
        /// The word.
        keyword: &'static str,
    },
    /// Cannot be told from the arguments alone.
    Unknown,
}

/// Where the time-out of a blocking command is, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It does not block.
    None,
    /// The last argument, in seconds (BLPOP, BRPOP, BLMOVE, BZPOPMIN, …).
    LastSeconds,
    /// The first argument after the name, in seconds (BLMPOP, BZMPOP).
    FirstSeconds,
    /// The argument after the word `BLOCK`, in milliseconds; without the word it does not block (XREAD, XREADGROUP).
    BlockMillis,
    /// The last argument, in milliseconds (WAIT, WAITAOF).
    LastMillis,
}
