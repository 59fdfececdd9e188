//! One cell: one client, one workload, measured once in a process of its own.
//!
//! A process per cell gives every client a fresh allocator and runtime, makes its processor time the client's alone and its
//! resident memory meaningful.

mod blocked;
mod closed_loop;
mod delivery;
mod operation;
mod slow_shard;

use std::{hint, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

#[cfg(feature = "romaine")]
use crate::peer::Romaine;
use crate::{
    address::Address,
    data,
    peer::{
        Bare, Block, Fred, Peer, PeerName, Redis1Cluster, Redis1Single, Redis2, Redis2Cluster, Redis2NoTimeout,
        Redis2Timeout, Rustis, Subscribe,
    },
    sample::Sample,
    usage,
    workload::{Action, Workload},
};

/// A cell that takes longer has hung; SIGALRM ends it.
const LONGEST_CELL_S: u32 = 60;

/// Freeing a block of this size makes glibc's malloc return memory to the system only beyond twice of it, as in any program
/// that has run for a while. A fresh process gives back and faults in again the top of its heap at every reply of 64 KiB:
/// measured, that costs up to 60 µs each and hides the differences between the clients.
const LARGEST_FREED_BYTES: usize = 16 * 1_024 * 1_024;

/// The tokio runtime the client and its callers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flavour {
    /// `current_thread`.
    Ct,
    /// `multi_thread` with two workers.
    Mt2,
}

impl Flavour {
    /// The name as it is written on the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Ct => "ct",
            Self::Mt2 => "mt2",
        }
    }

    fn build(self) -> Result<Runtime> {
        let mut builder = match self {
            Self::Ct => Builder::new_current_thread(),
            Self::Mt2 => Builder::new_multi_thread(),
        };
        if self == Self::Mt2 {
            builder.worker_threads(2);
        }
        builder.enable_all().build().context("tokio runtime")
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Subcommand)]
pub(crate) enum Measure {
    /// Throughput, processor time and latency of one connection shared by a number of callers.
    Speed {
        /// The command.
        #[arg(long)]
        workload: Workload,
        /// Tasks that share the connection.
        #[arg(long)]
        callers: usize,
    },
    /// Allocations per command, of the same.
    Allocations {
        /// The command.
        #[arg(long)]
        workload: Workload,
        /// Tasks that share the connection.
        #[arg(long)]
        callers: usize,
    },
    /// Receiving messages that redis-benchmark publishes.
    Delivery {
        /// How many; a multiple of 64, the publisher's pipeline.
        #[arg(long)]
        messages: u64,
    },
    /// Memory and set-up of connections that each wait in `BRPOP key 0`.
    Blocked {
        /// How many.
        #[arg(long)]
        connections: usize,
        /// How long they wait before memory is read.
        #[arg(long)]
        settle_ms: u64,
    },
    /// GETs of keys all over a cluster.
    Mixed {
        /// Tasks that share the client.
        #[arg(long)]
        callers: usize,
    },
    /// The same, by half of the callers, before and while the cluster's last primary, on which the other half calls, is
    /// frozen.
    SlowShard {
        /// Tasks that share the client.
        #[arg(long)]
        callers: usize,
        /// How long it is frozen, and how long calls are measured before that.
        #[arg(long)]
        frozen_ms: u64,
    },
}

/// A cell, as one process is told it.
#[derive(Clone, Debug, Args)]
pub(crate) struct CellArgs {
    /// The client.
    #[arg(long)]
    pub(crate) peer: PeerName,
    /// The runtime.
    #[arg(long)]
    pub(crate) runtime: Flavour,
    /// tcp:HOST:PORT, unix:PATH, or cluster:HOST:PORT,HOST:PORT… with all primaries.
    #[arg(long)]
    pub(crate) address: Address,
    /// Time before the measured window.
    #[arg(long, default_value_t = 120)]
    pub(crate) warm_up_ms: u64,
    /// The measured window.
    #[arg(long, default_value_t = 400)]
    pub(crate) window_ms: u64,
    /// The publisher of `delivery`.
    #[arg(long, default_value = "redis-benchmark")]
    pub(crate) redis_benchmark: PathBuf,
    /// Print the result as one line of JSON rather than for reading.
    #[arg(long)]
    pub(crate) json: bool,
    /// What to measure.
    #[command(subcommand)]
    pub(crate) measure: Measure,
}

impl CellArgs {
    /// The arguments that tell another process of this program the same.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = vec![
            "cell".into(),
            format!("--peer={}", self.peer.id()),
            format!("--runtime={}", self.runtime.id()),
            format!("--address={}", self.address),
            format!("--warm-up-ms={}", self.warm_up_ms),
            format!("--window-ms={}", self.window_ms),
            format!("--redis-benchmark={}", self.redis_benchmark.display()),
        ];
        if self.json {
            arguments.push("--json".into());
        }
        arguments.extend(match self.measure {
            Measure::Speed { workload, callers } => {
                vec!["speed".into(), format!("--workload={}", workload.id()), format!("--callers={callers}")]
            }
            Measure::Allocations { workload, callers } => {
                vec!["allocations".into(), format!("--workload={}", workload.id()), format!("--callers={callers}")]
            }
            Measure::Delivery { messages } => vec!["delivery".into(), format!("--messages={messages}")],
            Measure::Blocked { connections, settle_ms } => {
                vec!["blocked".into(), format!("--connections={connections}"), format!("--settle-ms={settle_ms}")]
            }
            Measure::Mixed { callers } => vec!["mixed".into(), format!("--callers={callers}")],
            Measure::SlowShard { callers, frozen_ms } => {
                vec!["slow-shard".into(), format!("--callers={callers}"), format!("--frozen-ms={frozen_ms}")]
            }
        });
        arguments
    }

    /// Measures, in this process.
    pub(crate) fn run(&self) -> Result<Sample> {
        nix::unistd::alarm::set(LONGEST_CELL_S);
        usage::raise_open_files_limit()?;
        let runtime = self.runtime.build()?;
        let sample = runtime.block_on(self.measure_named())?;
        runtime.shutdown_background();
        Ok(sample)
    }

    async fn measure_named(&self) -> Result<Sample> {
        match self.peer {
            #[cfg(feature = "romaine")]
            PeerName::Romaine => self.measure_peer::<Romaine>().await,
            PeerName::Redis1 if self.address.is_cluster() => self.measure_peer::<Redis1Cluster>().await,
            PeerName::Redis1 => self.measure_peer::<Redis1Single>().await,
            PeerName::Redis2 if self.address.is_cluster() => self.measure_peer::<Redis2<Redis2Cluster>>().await,
            PeerName::Redis2 => self.measure_peer::<Redis2<Redis2Timeout>>().await,
            PeerName::Redis2NoTimeout => self.measure_peer::<Redis2<Redis2NoTimeout>>().await,
            PeerName::Fred => self.measure_peer::<Fred>().await,
            PeerName::Rustis => self.measure_peer::<Rustis>().await,
            PeerName::Bare => self.measure_socket::<Bare>().await,
        }
    }

    async fn measure_peer<P: Peer>(&self) -> Result<Sample> {
        let connect = async || {
            drop(hint::black_box(Vec::<u8>::with_capacity(LARGEST_FREED_BYTES)));
            P::connect(&self.address).await.context("connecting")
        };
        let (warm_up, window) = (Duration::from_millis(self.warm_up_ms), Duration::from_millis(self.window_ms));
        match self.measure {
            Measure::Speed { workload, callers } | Measure::Allocations { workload, callers } => {
                let commands_per_turn = workload.commands_per_turn();
                let count_allocations = matches!(self.measure, Measure::Allocations { .. });
                let load = closed_loop::Load { callers, commands_per_turn, warm_up, window, count_allocations };
                measure_workload(connect().await?, workload, load).await
            }
            Measure::Mixed { callers } => {
                let (commands_per_turn, count_allocations) = (1, false);
                let load = closed_loop::Load { callers, commands_per_turn, warm_up, window, count_allocations };
                closed_loop::measure(connect().await?, operation::MixedGet::new(data::mixed_keys()), load).await
            }
            Measure::SlowShard { callers, frozen_ms } => {
                let load = slow_shard::Load { callers, warm_up, window: Duration::from_millis(frozen_ms) };
                slow_shard::measure(connect().await?, &self.address, load).await
            }
            Measure::Delivery { .. } | Measure::Blocked { .. } => self.measure_socket::<P>().await,
        }
    }
    async fn measure_socket<S: Subscribe + Block>(&self) -> Result<Sample> {
        match self.measure {
            Measure::Delivery { messages } => {
                delivery::measure::<S>(&self.address, &self.redis_benchmark, messages).await
            }
            Measure::Blocked { connections, settle_ms } => {
                blocked::measure::<S>(&self.address, connections, Duration::from_millis(settle_ms)).await
            }
            Measure::Speed { .. } | Measure::Allocations { .. } | Measure::Mixed { .. } | Measure::SlowShard { .. } => {
                bail!("{} runs no commands", self.peer.label())
            }
        }
    }
}

async fn measure_workload<P: Peer>(peer: P, workload: Workload, load: closed_loop::Load) -> Result<Sample> {
    match workload.action() {
        Action::Get(bytes) => closed_loop::measure(peer, operation::Get::new(bytes), load).await,
        Action::Set(bytes) => closed_loop::measure(peer, operation::Set::new(bytes), load).await,
        Action::Pipeline(count) => closed_loop::measure(peer, operation::Pipeline::new(count), load).await,
        Action::Mget => closed_loop::measure(peer, operation::Mget::new(), load).await,
        Action::Hgetall => closed_loop::measure(peer, operation::Hgetall, load).await,
    }
}
