//! Every typed method against a real server, in both versions of the protocol.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bits_and_places;
mod child;
mod hashes;
mod keys;
mod link;
mod lists;
mod scripts;
mod servers;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod table;

use child::Server;
use link::Link;
use romaine_commands::ServerCommands;

/// Runs a test on a fresh server over RESP2, then over RESP3 on empty data.
fn in_both_protocols(test: impl Fn(&Link)) {
    let server = Server::start();
    for protocol in [2, 3] {
        let link = Link::open(server.port, protocol);
        link.flushall().unwrap();
        test(&link);
    }
}
