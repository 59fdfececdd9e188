//! One server's connections, with a real one at the other end.

use std::sync::Arc;
use std::time::Duration;

use romaine_faultlab::eventually;
use romaine_proto::{Lane as WireLane, Liveness};

use crate::common::Common;
use crate::config::Config;
use crate::dedicated::Dedicated;
use crate::events::Lane;
use crate::server::{Part, Role, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection as a blocking command leaves it.
async fn idle(server: &Arc<Server>) -> Dedicated {
    let dedicated = Dedicated::open(server, Lane::Blocking, WireLane::Requests).await.unwrap();
    eventually(PATIENCE, "the handshake", async || dedicated.is_usable()).await.unwrap();
    dedicated
}

#[tokio::test]
async fn a_server_that_was_left_keeps_no_idle_connection_before_or_after() {
    let real = romaine_faultlab::Server::start().await.unwrap();
    let config = Config::new("127.0.0.1", real.port()).client_name("idle").unwrap();
    let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
    let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
    let at_server = async || {
        let list = real.command(&["CLIENT", "LIST"]).await.unwrap().text();
        list.lines().filter(|line| line.contains("name=idle ")).count()
    };
    let (before, after) = (idle(&server).await, idle(&server).await);
    server.keep(before);
    assert_eq!(at_server().await, 2);
    server.retire();
    // A command that ended when its server had been left.
    server.keep(after);
    assert!(server.pool.take().is_none());
    eventually(PATIENCE, "no connection", async || at_server().await == 0).await.unwrap();
}

/// So much later, with nothing done in between.
async fn leap(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

// ASK named it, and no view tells that it is gone: it is dialled for as long as a node may fall silent, no longer.
#[tokio::test]
async fn a_node_without_slots_is_stayed_with_while_it_is_well_and_given_up_when_it_is_dialled_in_vain() {
    for blocks in [true, false] {
        let real = romaine_faultlab::Server::start().await.unwrap();
        // A leap would set off its timers.
        let config = Config::new("127.0.0.1", real.port()).liveness(Liveness::off());
        let common = Arc::new(Common::new(config, tokio::runtime::Handle::current()));
        let server = Server::new(common.clone(), common.config.clone(), Part::Only, Role::Any);
        // Who blocks there has made the one, who asks there has made the other.
        let circuit = if blocks {
            server.start_control();
            &*server.control
        } else {
            server.start_commands();
            &server.commands
        };
        eventually(PATIENCE, "the connection", async || circuit.is_ready()).await.unwrap();
        let waiting = server.course();
        assert!(!server.outlives_views(), "no ASK has named it");
        server.set_importing(true);
        assert!(server.outlives_views());
        leap(Duration::from_secs(3_600)).await;
        assert!(server.outlives_views(), "it is well");
        real.kill();
        eventually(PATIENCE, "the loss", async || !circuit.is_ready()).await.unwrap();
        assert!(server.outlives_views(), "it may be back soon");
        leap(Duration::from_secs(5)).await;
        assert!(server.outlives_views());
        leap(Duration::from_secs(10)).await;
        assert!(!server.outlives_views(), "nobody else would tell");
        real.restart().await.unwrap();
        eventually(PATIENCE, "the connection", async || circuit.is_ready()).await.unwrap();
        assert!(server.outlives_views(), "it is back");
        drop(waiting);
        assert!(!server.outlives_views(), "nobody waits there");
        server.retire();
        server.end();
    }
}
