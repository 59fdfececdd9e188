//! The second opinion on a silent connection: is the server itself busy?
//!
//! A long script answers other connections with `-BUSY`, a loading server with `-LOADING`: the silent connection is
//! excused for as long as that goes on. An ordinary answer excuses nothing: then it is the connection that is dead.

use std::sync::Arc;
use std::time::Duration;

use romaine_commands::cmd;

use crate::call::{Target, ask};
use crate::circuit::{Circuit, Patience};
use crate::error::ErrorKind;
use crate::shared::Shared;

/// Asks, in a task of its own, until the connection is no longer suspect.
pub(crate) fn second_opinion(shared: &Arc<Shared>, circuit: &Arc<Circuit>) {
    shared.start_control();
    let task = opinions(shared.clone(), circuit.clone());
    shared.spawn(task);
}

async fn opinions(shared: Arc<Shared>, circuit: Arc<Circuit>) {
    let every = shared.config.liveness.suspect_after.min(Duration::from_secs(1));
    while circuit.lock().connection.is_suspect() && !shared.is_closed() {
        let ping = cmd::<()>("PING");
        let patience = Patience::For(Some(shared.config.liveness.suspect_after));
        let busy = match ask(Target::of(&shared, &shared.control), ping, patience).await {
            Ok(_pong) => false,
            Err(error) => {
                error.kind() == ErrorKind::Unavailable && error.server().is_some_and(|error| error.code() != "READONLY")
            }
        };
        if busy {
            let now = crate::clock::now();
            circuit.lock().connection.excuse(now);
        }
        tokio::time::sleep(every).await;
    }
}
