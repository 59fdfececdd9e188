//! The second opinion on a silent connection: is the server itself busy, or does it hold the request back?
//!
//! A long script answers other connections with `-BUSY`, a loading server with `-LOADING`: the silent connection is
//! excused for as long as that goes on. During a `CLIENT PAUSE`, or a manual failover, the server holds writes back and
//! lists who sent them as blocked: they are excused as well. An ordinary answer excuses nothing: then it is the
//! connection that is dead.

use std::sync::Arc;
use std::time::Instant;

use romaine_commands::{Command, cmd};
use romaine_proto::retry::RetryPolicy;
use romaine_proto::{Ghost, Lane as WireLane};

use crate::call::{Call, Target, ask};
use crate::circuit::{Circuit, Patience};
use crate::clock;
use crate::dedicated::Dedicated;
use crate::events::Lane;
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
    tokio::select! {
        () = while_suspect(&server, &circuit) => {}
        // Ends with the suspicion: it may be dialling a server that does not answer.
        () = look_for_it(&server, &circuit) => {}
    }
}

/// Asks again and again whether the server is busy.
async fn while_suspect(server: &Arc<Server>, circuit: &Circuit) {
    loop {
        let opened = {
            let mut state = circuit.lock();
            if !state.connection.is_suspect() || server.is_closed() {
                state.asked_about = false;
                return;
            }
            state.opened
        };
        if is_busy(server, circuit).await {
            excuse(circuit, opened);
        }
        tokio::time::sleep(server.liveness.second_opinion_every()).await;
    }
}

/// Forgives the silence of the socket that was opened then.
fn excuse(circuit: &Circuit, opened: Instant) {
    let now = clock::now();
    let mut state = circuit.lock();
    if state.opened == opened {
        state.connection.excuse(now);
    }
}

/// Whether the server says so over the control connection.
async fn is_busy(server: &Arc<Server>, circuit: &Circuit) -> bool {
    // Behind what is unanswered nothing is answered.
    if circuit.lane == Lane::Control {
        return false;
    }
    // Asked once each time: a refusal is the answer here, not something to be waited out.
    let ping = cmd::<()>("PING").into_request();
    let patience = Patience::For(Some(server.config.liveness.suspect_after));
    let answer = Call::<()>::new(Target::of(server, &server.control), ping, patience).retry(RetryPolicy::Never).await;
    answer.is_err_and(|error| {
        error.server().is_some_and(|error| matches!(error.code(), "BUSY" | "LOADING" | "MASTERDOWN"))
    })
}

/// Looks again and again whether the server lists the connection as held back. Ends only with the server.
///
/// Asked over a connection made for it, because the control connection may be held back, too, with the probe that it
/// sent; and only about what may be held back at all: an idle fleet whose server stands still must not dial it for this.
async fn look_for_it(server: &Arc<Server>, circuit: &Circuit) {
    let mut asker = None;
    while !server.is_closed() {
        if let Some(ghost) = may_be_held(circuit) {
            asker = match asker.take().filter(Dedicated::is_usable) {
                Some(asker) => Some(asker),
                None => Dedicated::open(server, Lane::Topology, WireLane::Requests).await.ok(),
            };
            if let Some(asker) = &asker {
                let list = cmd::<String>("CLIENT").arg("LIST").arg("ID").arg(ghost.client_id);
                let patience = Patience::For(Some(server.config.handshake_timeout));
                let line = ask(Target::of(server, &asker.circuit), list, patience).await;
                if line.is_ok_and(|line| ghost.is_held(&line)) {
                    excuse(circuit, ghost.since);
                }
            }
        }
        tokio::time::sleep(server.liveness.second_opinion_every()).await;
    }
}

/// What the server would list it as, if it may be held back.
fn may_be_held(circuit: &Circuit) -> Option<Ghost> {
    if circuit.lane == Lane::Topology {
        return None;
    }
    let state = circuit.lock();
    let (client_id, address) = (state.client_id?, state.local_address?.to_string());
    let ghost = Ghost { client_id, run_id: None, address: Some(address), since: state.opened };
    state.connection.may_be_held().then_some(ghost)
}
