//! Real Redis servers, faults and scenarios: the ground on which romaine is tested.
//!
//! | for | use |
//! |---|---|
//! | a real server that can be frozen, killed and restarted | [`Server`], [`ServerBuilder`] |
//! | a primary with replicas | [`Replicated`] |
//! | the same with Sentinels that fail it over | [`Sentinels`], [`SentinelSetup`] |
//! | a cluster whose slots can move and whose nodes can go | [`Cluster`] |
//! | one or the other, where a test is the same for both | [`Deployment`] |
//! | certificates for it | [`TlsFiles`] |
//! | a connection that stalls, corrupts, delays, breaks | [`FaultProxy`] with a [`Fault`] for each direction |
//! | packets lost by the kernel, without any notice | [`Namespace`] |
//! | a server that does what no real one does | [`ScriptedServer`] |
//! | a port on which nobody listens | [`Port`] |
//! | waiting for something | [`eventually`] |
//! | a client under load while all this happens to it | [`scenario`] |
//!
//! Everything cleans up after itself when it is dropped, and, where that is a process or a namespace, also when the test
//! process is killed. Every server has its own port and directory; tests run in parallel, in threads and in processes.
//! Nothing here but the driver in [`scenario`] knows romaine: the lab has its own few lines of RESP, and judges any client.
//!
//! # A test with a fault
//!
//! ```
//! use std::time::Duration;
//! use romaine_faultlab::{Direction, Fault, FaultProxy, Server, eventually};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let server = Server::start().await?;
//! let proxy = FaultProxy::start(server.address()).await?;
//! let mut client = tokio::net::TcpStream::connect(proxy.address()).await?; // the client under test
//!
//! proxy.set(Direction::ToClient, Fault::Stall); // requests arrive, replies do not
//! client.write_all(b"INCR counter\r\n").await?;
//! eventually(Duration::from_secs(5), "the increment", async || {
//!     server.command(&["GET", "counter"]).await.is_ok_and(|reply| reply.text() == "1")
//! })
//! .await?;
//!
//! proxy.heal().await?;
//! let mut reply = [0; 4];
//! client.read_exact(&mut reply).await?;
//! assert_eq!(&reply, b":1\r\n");
//! # Ok(())
//! # }
//! ```
//!
//! # A new fault
//!
//! A fault of one direction is a variant of [`Fault`], and what it does to bytes is a few lines in `pump.rs`: `admit` for
//! what happens to them when they are read, `next_chunk` and `write_due` for how and when they go out, `planned_ending`
//! for how the connection ends. The compiler names the places. For a fault that duplicates every chunk:
//!
//! ```text
//! // fault.rs
//! /// Everything arrives twice.
//! Duplicate,
//!
//! // pump.rs, in `admit`
//! Fault::Duplicate => [&bytes[..], &bytes[..]].concat().into(),
//!
//! // tests/proxy.rs
//! #[tokio::test]
//! async fn a_duplicating_proxy_says_everything_twice() {
//!     let (proxy, mut client, mut server) = connected().await;
//!     proxy.set(Direction::ToServer, Fault::Duplicate);
//!     client.write_all(b"ab").await.unwrap();
//!     assert_eq!(read(&mut server, 4).await, b"abab");
//! }
//! ```

mod admin;
mod claim;
mod deadline;
mod fault;
mod namespace;
mod proxy;
mod pump;
mod resp;
pub mod scenario;
mod scripted;
mod scripted_connection;
mod server;
mod server_builder;
mod sockets;
mod tls_files;
mod topology;
mod watchdog;

pub use claim::Port;
pub use deadline::{Verdict, eventually};
pub use fault::{Accept, Direction, Fault, Outburst};
pub use namespace::{DropDirection, Namespace};
pub use proxy::FaultProxy;
pub use resp::Reply;
pub use scripted::ScriptedServer;
pub use scripted_connection::ScriptedConnection;
pub use server::Server;
pub use server_builder::ServerBuilder;
pub use tls_files::TlsFiles;
pub use topology::{
    Cluster, ClusterBuilder, Deployment, FailoverKind, Migration, NodeView, Replicated, ReplicatedBuilder, SLOTS,
    SentinelSetup, Sentinels, slot_of,
};

/// The guide's code is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/fault-lab.md")]
struct Guide;
