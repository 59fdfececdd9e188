//! Watching over connections that mostly wait.

use std::time::Duration;

use romaine::{Keepalive, Liveness};

/// For clients of workers that are mostly idle, by the hundred: no probes beyond what the workers ask themselves.
///
/// A worker that waits for its bell asks every 25 s or so, and a lost bell loses nothing. So a blocked connection need
/// not be probed: packets that are lost and machines that are gone are found by the kernel's keepalive within 9 s, at no
/// cost for the server; a frozen server or a proxy that lies when the wait does not end by its own time-out, within 4 s
/// after it. Two commands per block time are all that an idle worker sends.
#[must_use]
pub fn idle_liveness() -> Liveness {
    Liveness {
        keepalive: Some(Keepalive { idle: Duration::from_secs(5), interval: Duration::from_secs(2), count: 2 }),
        // The turn at the end of each block is the heartbeat of the shared connection.
        heartbeat: Some(Duration::from_secs(60)),
        // Waits are as long as the block, in one slice, ended by our own deadline.
        probe_after: None,
        slice: Duration::from_secs(3_600),
        ..Liveness::default()
    }
}
