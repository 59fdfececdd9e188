//! A work queue on Redis and Valkey that loses nothing it acknowledged and never falls silent.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use romaine::Client;
//! use romaine_queue::{Failure, Job, NewJob, Queue};
//!
//! let client = Client::connect("redis://localhost:6379").await?;
//! let queue = Queue::new(&client, "mail")?;
//!
//! queue.producer().enqueue(NewJob::new("welcome", "ada@example.org")).await?;
//!
//! let worker = queue
//!     .worker(async |job: Job| {
//!         println!("{} for {:?}", job.kind(), job.payload());
//!         Ok::<_, Failure>(())
//!     })
//!     .concurrency(32)
//!     .start()?;
//! # worker.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | for | use |
//! |---|---|
//! | bringing work in | [`Producer`], [`NewJob`] |
//! | doing it | [`Queue::worker`], [`Worker`], [`Router`] |
//! | looking, cancelling, pausing, repairing | [`Queue`] |
//! | lag and liveness | [`Status`], [`Watch`], [`prometheus`] |
//! | jobs by cron patterns | `Schedule`, `Scheduler` (feature `cron`, on by default) |
//! | jobs written to a database first | [`Outbox`], [`Relay`], `SqliteOutbox` (feature `sqlite`) |
//! | alerts by HTTP | `Webhook` (feature `webhook`) |
//!
//! Delivery is at least once. A job is run by one worker at a time, as far as leases can tell; its [`Token`] lets what it
//! changes elsewhere refuse a worker that was cut off.

/// The guide's examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/queue.md")]
struct Guide;

mod alarm;
mod clock;
mod durability;
mod error;
mod gather;
mod keys;
mod liveness;
mod look;
mod new_job;
mod outbox;
#[cfg(feature = "sqlite")]
mod outbox_sqlite;
mod priority;
mod producer;
mod prometheus;
mod queue;
mod record;
mod results;
mod retry;
#[cfg(feature = "cron")]
mod schedule;
#[cfg(test)]
mod script_tests;
mod scripts;
mod send;
mod status;
mod telling;
mod watch;
#[cfg(feature = "webhook")]
mod webhook;
mod worker;

pub use alarm::{Alarm, Alert, Thresholds, Trouble};
pub use durability::Durability;
pub use error::{Error, ErrorKind, Result};
pub use liveness::idle_liveness;
pub use look::{JobInfo, Place};
pub use new_job::NewJob;
pub use outbox::{Entry, Outbox, OutboxFuture, Relay};
#[cfg(feature = "sqlite")]
pub use outbox_sqlite::SqliteOutbox;
pub use priority::Priority;
pub use producer::{Enqueued, Outcome, Producer};
pub use prometheus::prometheus;
pub use queue::{Cancelled, Purge, Queue, Revived};
pub use results::JobResult;
#[cfg(feature = "cron")]
pub use schedule::{Schedule, Scheduler};
pub use status::{Consumer, Status, Totals};
pub use watch::{Notifier, Watch, WatchBuilder};
#[cfg(feature = "webhook")]
pub use webhook::Webhook;
pub use worker::{
    Done, Failure, Handler, Interruption, Job, LostLease, Router, Token, Worker, WorkerBuilder, WorkerStats,
};
