//! The commands that are measured in a closed loop.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::data;

/// One command, repeated by every caller as soon as its reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// GET of 16 bytes.
    Get16,
    /// SET of 16 bytes.
    Set16,
    /// GET of 1 KiB.
    Get1k,
    /// SET of 1 KiB.
    Set1k,
    /// 100 GETs of 16 bytes in one explicit pipeline.
    Pipe100,
    /// GET of 64 KiB.
    Get64k,
    /// GET of 1 MiB.
    Get1m,
    /// MGET of 1,000 keys of 16 bytes.
    Mget,
    /// HGETALL of 1,000 fields of 16 bytes.
    Hgetall,
}

/// What a workload does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// GET of so many bytes.
    Get(usize),
    /// SET of so many bytes.
    Set(usize),
    /// So many GETs of 16 bytes in a pipeline.
    Pipeline(usize),
    /// MGET.
    Mget,
    /// HGETALL.
    Hgetall,
}

impl Workload {
    /// What it does.
    pub(crate) fn action(self) -> Action {
        match self {
            Self::Get16 => Action::Get(16),
            Self::Set16 => Action::Set(16),
            Self::Get1k => Action::Get(1_024),
            Self::Set1k => Action::Set(1_024),
            Self::Pipe100 => Action::Pipeline(100),
            Self::Get64k => Action::Get(64 * 1_024),
            Self::Get1m => Action::Get(1_024 * 1_024),
            Self::Mget => Action::Mget,
            Self::Hgetall => Action::Hgetall,
        }
    }

    /// The name as it is written on the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Get16 => "get16",
            Self::Set16 => "set16",
            Self::Get1k => "get1k",
            Self::Set1k => "set1k",
            Self::Pipe100 => "pipe100",
            Self::Get64k => "get64k",
            Self::Get1m => "get1m",
            Self::Mget => "mget",
            Self::Hgetall => "hgetall",
        }
    }

    /// How many callers share the connection, one cell each.
    pub(crate) fn callers(self, quick: bool) -> &'static [usize] {
        match self {
            Self::Get16 if quick => &[1, 64, 256, 1_024],
            Self::Get16 => &[1, 16, 64, 256, 1_024],
            Self::Set16 | Self::Get1k | Self::Set1k if quick => &[64],
            Self::Set16 => &[1, 16, 64, 256, 1_024],
            Self::Get1k | Self::Set1k => &[1, 64, 1_024],
            Self::Pipe100 => &[1],
            Self::Get64k | Self::Mget | Self::Hgetall => &[4],
            Self::Get1m => &[2],
        }
    }

    /// Whether a quick run measures it without being asked to.
    pub(crate) fn is_quick(self) -> bool {
        !matches!(self, Self::Get1k | Self::Set1k | Self::Get1m)
    }

    /// Commands per turn of a caller. Throughput and processor time are per command, latency per turn.
    pub(crate) fn commands_per_turn(self) -> usize {
        match self.action() {
            Action::Pipeline(commands) => commands,
            Action::Get(_) | Action::Set(_) | Action::Mget | Action::Hgetall => 1,
        }
    }

    /// The same command for redis-benchmark.
    pub(crate) fn command(self) -> Vec<String> {
        match self.action() {
            Action::Get(bytes) => vec!["GET".into(), data::string_key(bytes)],
            Action::Set(bytes) => vec!["SET".into(), data::string_key(bytes), data::value(bytes)],
            Action::Pipeline(_) => vec!["GET".into(), data::string_key(16)],
            Action::Mget => [vec!["MGET".into()], data::collection_keys()].concat(),
            Action::Hgetall => vec!["HGETALL".into(), data::HASH_KEY.into()],
        }
    }

    /// Sizes of the strings that the workloads read or write.
    pub(crate) fn string_sizes() -> impl Iterator<Item = usize> {
        Self::value_variants().iter().filter_map(|workload| match workload.action() {
            Action::Get(bytes) | Action::Set(bytes) => Some(bytes),
            Action::Pipeline(_) | Action::Mget | Action::Hgetall => None,
        })
    }
}
