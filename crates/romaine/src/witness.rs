//! The second opinion on a silent connection: is the server itself busy?
//!
//! A long script answers other connections with `-BUSY`, a loading server with `-LOADING`: the silent connection is
//! excused for as long as that goes on. An ordinary answer excuses nothing: then it is the connection that is dead.

use std::sync::Arc;
use std::time::Duration;

use romaine_commands::{Command, cmd};
use romaine_proto::retry::RetryPolicy;

use crate::call::{Call, Target};
use crate::circuit::{Circuit, Patience};
use crate::server::Server;

/// Asks, in a task of its own, until the connection is no longer suspect. One task for each connection: every silence
/// that is forgiven is followed by another suspicion, which finds it at work.
pub(crate) fn second_opinion(server: &Arc<Server>, circuit: &Arc<Circuit>) {
    if std::mem::replace(&mut circuit.lock().asked_about, true) {
        return;
    }
    server.start_control();
    server.spawn(opinions(server.clone(), circuit.clone()));
}

async fn opinions(server: Arc<Server>, circuit: Arc<Circuit>) {
    let every = server.config.liveness.suspect_after.min(Duration::from_secs(1));
    loop {
        {
            let mut state = circuit.lock();
            if !state.connection.is_suspect() || server.is_closed() {
                state.asked_about = false;
                return;
            }
        }
        // Asked once each time: a refusal is the answer here, not something to be waited out.
        let ping = cmd::<()>("PING").into_request();
        let patience = Patience::For(Some(server.config.liveness.suspect_after));
        let target = Target::of(&server, &server.control);
        let answer = Call::<()>::new(target, ping, patience).retry(RetryPolicy::Never).await;
        let is_busy = answer.is_err_and(|error| {
            error.server().is_some_and(|error| matches!(error.code(), "BUSY" | "LOADING" | "MASTERDOWN"))
        });
        if is_busy {
            let now = crate::clock::now();
            circuit.lock().connection.excuse(now);
        }
        tokio::time::sleep(every).await;
    }
}
