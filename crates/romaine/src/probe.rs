//! Asks the server about a blocked connection, through the control connection.
//!
//! `CLIENT UNBLOCK id ERROR` makes the blocked connection itself answer (`-UNBLOCKED …`). Cautions, all measured:
//! never while the control connection itself may be dead (the request could arrive minutes later), so a PING goes
//! first; never during a `CLIENT PAUSE` (servers up to mid-2025 unblock a *paused* client and run its command all the
//! same, or crash, redis#14164), so it travels in a transaction with a script, which the server holds back while writes
//! are paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use romaine_commands::{Command, cmd};
use romaine_proto::retry::RetryPolicy;
use romaine_proto::{Autopsy, Ghost, GhostVerdict, Inquest, Link, ProbeAnswer, Standing, autopsy_requests, retry};
use romaine_resp::{Reader, ServerError, Token};

use crate::batch::{self, Batch};
use crate::call::{Call, Target, ask};
use crate::circuit::{Patience, State};
use crate::clock;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::server::Server;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// What is known of the permission to probe; asked once, and again after a refusal of a probe.
#[derive(Debug, Default)]
pub(crate) struct Permission(AtomicU8);

/// 0 is: not known yet.
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;

impl Permission {
    fn set(&self, answer: ProbeAnswer) {
        match answer {
            ProbeAnswer::Refused => self.0.store(REFUSED, Ordering::Relaxed),
            ProbeAnswer::Unblocked | ProbeAnswer::NotBlocked => self.0.store(GRANTED, Ordering::Relaxed),
            ProbeAnswer::Busy | ProbeAnswer::Lost => {}
        }
    }

    /// Whether probing is permitted. Where that is not known yet and cannot be learned at once, it is taken as refused
    /// for this time: a sliced wait is always safe.
    pub(crate) async fn is_granted(&self, server: &Arc<Server>) -> bool {
        if let Some(known) = self.known() {
            return known;
        }
        if !server.names_its_clients() {
            // Without a number nobody can be asked about.
            self.set(ProbeAnswer::Refused);
            return false;
        }
        server.start_control();
        let asked = tokio::time::timeout(Duration::from_secs(1), permitted(server));
        self.set(asked.await.unwrap_or(ProbeAnswer::Lost));
        self.known().unwrap_or(false)
    }

    /// The answer, where it is known already.
    pub(crate) fn known(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            GRANTED => Some(true),
            REFUSED => Some(false),
            _ => None,
        }
    }
}

/// Whether unblocking is permitted, and whether it could be told whom it would unblock.
async fn permitted(server: &Arc<Server>) -> ProbeAnswer {
    // No client has the number 0: a server that permits the question answers that it was not blocked.
    let answer = unblock(server, 0, |state| state.connection.link() == Link::Ready).await;
    if !matches!(answer, ProbeAnswer::Unblocked | ProbeAnswer::NotBlocked) {
        return answer;
    }
    let (id, run_id, address, since) = {
        let state = server.control.lock();
        (state.client_id, state.run_id.clone(), state.local_address, state.opened)
    };
    let (Some(client_id), None) = (id, run_id) else { return answer };
    // Without a run id only the address tells whose a number is: where the list is permitted, and shows the address that
    // we have ourselves. The asking connection is as good as any for finding out.
    let address = address.map(|address| address.to_string());
    match look(server, &Ghost { client_id, run_id: None, address, since }).await {
        Ok(true) => answer,
        Ok(false) => ProbeAnswer::Refused,
        Err(error) => unseen(&error),
    }
}

/// What it means that a client could not be looked at.
fn unseen(error: &Error) -> ProbeAnswer {
    match error.server() {
        Some(error) if retry::is_passing(error) => ProbeAnswer::Busy,
        Some(_) => ProbeAnswer::Refused,
        None => ProbeAnswer::Lost,
    }
}

/// Probes a connection, at the server that gave it its number and at no other: where a name leads elsewhere by now, a
/// stranger has that number.
pub(crate) async fn probe(server: Arc<Server>, blocked: Ghost) -> ProbeAnswer {
    if !server.control.is_ready() {
        server.start_control();
        return ProbeAnswer::Lost;
    }
    let (asked_by, autopsy) = autopsy(&server, &blocked);
    match autopsy {
        Autopsy::Fence => {}
        Autopsy::Look => match look(&server, &blocked).await {
            Ok(true) => {}
            Ok(false) => return ProbeAnswer::Lost,
            Err(error) => return unseen(&error),
        },
        Autopsy::Misled => {
            server.control.leave();
            return ProbeAnswer::Lost;
        }
        Autopsy::Known(_elsewhere) => return ProbeAnswer::Lost,
    }
    let answer = unblock(&server, blocked.client_id, |state| asked_by.is(state)).await;
    server.probes.set(answer);
    answer
}

/// Whether the server is alive and holds writes back, or executes nothing else now: [`ProbeAnswer::Busy`] if so.
///
/// During a `CLIENT PAUSE` a PING is answered and a script is not: it might write.
pub(crate) async fn inquire(server: Arc<Server>) -> ProbeAnswer {
    server.start_control();
    let patience = Patience::For(Some(server.config.liveness.slice_grace / 4));
    let control = || Target::of(&server, &server.control);
    let ping = Call::<()>::new(control(), cmd::<()>("PING").into_request(), patience).retry(RetryPolicy::Never);
    if let Err(no_answer) = answered(ping.await) {
        return no_answer;
    }
    let script = cmd::<()>("EVAL").arg("return 0").arg(0).into_request();
    match Call::<i64>::new(control(), script, patience).retry(RetryPolicy::Never).await {
        Ok(_) => ProbeAnswer::NotBlocked,
        Err(error) if error.kind() == ErrorKind::Timeout => ProbeAnswer::Busy,
        Err(error) if error.server().is_some_and(retry::is_passing) => ProbeAnswer::Busy,
        Err(_refused_or_lost) => ProbeAnswer::Refused,
    }
}

/// Whether the control connection is alive and the server at work. A refusal is an answer as well: of a user who may not
/// PING (`-NOPERM`), by a server that cannot write its disk (`-MISCONF`).
fn answered(ping: Result<()>) -> Result<(), ProbeAnswer> {
    match ping {
        Ok(()) => Ok(()),
        Err(error) if error.server().is_some_and(retry::is_passing) => Err(ProbeAnswer::Busy),
        Err(error) if error.server().is_some() => Ok(()),
        Err(_lost) => Err(ProbeAnswer::Lost),
    }
}

/// Unblocks a client, if the control connection is still `same` when the server has shown that it is there.
async fn unblock(server: &Arc<Server>, client_id: u64, same: impl FnOnce(&State) -> bool) -> ProbeAnswer {
    let patience = Patience::For(Some(server.config.liveness.suspect_after));
    // The first answer counts: -BUSY says all that is to be known.
    let ping = Call::<()>::new(Target::of(server, &server.control), cmd::<()>("PING").into_request(), patience);
    if let Err(no_answer) = answered(ping.retry(RetryPolicy::Never).await) {
        return no_answer;
    }
    let mut batch = Batch::default();
    batch.push_raw(MULTI);
    batch.push(&cmd::<()>("CLIENT").arg("UNBLOCK").arg(client_id).arg("ERROR").into_request());
    batch.push(&cmd::<()>("EVAL").arg("return 0").arg(0).into_request());
    batch.push_raw(EXEC);
    let Some(Ok(ticketed)) = batch.issue_if(&server.control, same) else {
        return ProbeAnswer::Lost;
    };
    // No deadline: it ends with its reply or with the control connection, which has a watchdog of its own. A second
    // probe behind a first that is held back would unblock twice.
    let Ok(replies) = batch.collect(&server.control, ticketed).await else {
        return ProbeAnswer::Lost;
    };
    let Some(exec) = replies.frame(3) else { return ProbeAnswer::Lost };
    let mut reader = Reader::new(exec);
    match (reader.token(), reader.token()) {
        (Ok(Token::Array(2)), Ok(Token::Integer(1))) => ProbeAnswer::Unblocked,
        (Ok(Token::Array(2)), Ok(Token::Integer(_))) => ProbeAnswer::NotBlocked,
        // A script that began behind the PING.
        _ if is_busy(&replies) => ProbeAnswer::Busy,
        _ => ProbeAnswer::Refused,
    }
}

/// Whether one of the four was refused for now only.
fn is_busy(replies: &batch::Replies) -> bool {
    (0..4).filter_map(|index| replies.frame(index)).any(|frame| match Reader::new(frame).token() {
        Ok(Token::Error(text)) => retry::is_passing(&ServerError::new(text)),
        _ => false,
    })
}

/// How long one question about a ghost waits for a connection before it is looked at anew whether to ask.
const ASKED_FOR: Duration = Duration::from_secs(30);

/// What the server is to the client now.
pub(crate) fn standing(server: &Server) -> Standing {
    match server.is_retired() {
        false => Standing::Member,
        true if server.control.lock().draining => Standing::Closed,
        true => Standing::Left,
    }
}

/// Examines and ends a ghost. `Ok(None)`: not permitted here. Waits for the control connection as long as it takes, or as
/// long as it makes sense.
pub(crate) async fn fence(server: &Arc<Server>, ghost: &Ghost) -> Result<Option<GhostVerdict>> {
    let _course = server.course();
    server.start_control();
    let mut failed = false;
    let mut inquest = Inquest::default();
    loop {
        if server.common.is_closed() {
            return Err(Error::without_reply(romaine_proto::FailureKind::Closed, Delivery::Unknown));
        }
        if let Some(verdict) = inquest.verdict(clock::now(), standing(server)) {
            return Ok(Some(verdict));
        }
        // Waits in the control connection's queue until there is one.
        // Every turn but the first comes after a failure.
        if std::mem::replace(&mut failed, true) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let patience = Patience::For(Some(ASKED_FOR));
        let ping = ask(Target::of(server, &server.control), cmd::<()>("PING"), patience).await;
        if answered(ping).is_err() {
            continue;
        }
        let (asked_by, autopsy) = autopsy(server, ghost);
        match autopsy {
            Autopsy::Known(verdict) => return Ok(Some(verdict)),
            Autopsy::Misled => {
                server.control.leave();
                continue;
            }
            Autopsy::Look => match look(server, ghost).await {
                Ok(true) => {}
                Ok(false) => return Ok(Some(GhostVerdict::Stranger)),
                // Whose the number is cannot be told: nobody is ended by it.
                Err(error) if unseen(&error) == ProbeAnswer::Refused => return Ok(None),
                Err(_lost_or_busy) => continue,
            },
            Autopsy::Fence => {}
        }
        let mut batch = Batch::default();
        batch.push_raw(MULTI);
        for request in autopsy_requests(ghost.client_id) {
            batch.push(&request);
        }
        batch.push_raw(EXEC);
        let Some(Ok(ticketed)) = batch.issue_if(&server.control, |state| asked_by.is(state)) else { continue };
        let Ok(replies) = batch.collect(&server.control, ticketed).await else { continue };
        if let Some(verdict) = replies.frame(3).and_then(|exec| ghost.verdict(exec)) {
            return Ok(Some(verdict));
        }
        if let Some(verdict) = by_unblock(server, ghost.client_id, asked_by).await {
            return Ok(verdict);
        }
    }
}

/// One socket of the control connection: it leads to the same server process as long as it lives, and so do the answers
/// that were had by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AskedBy {
    opened: Instant,
}

impl AskedBy {
    fn is(self, state: &State) -> bool {
        state.connection.link() == Link::Ready && state.opened == self.opened
    }
}

/// By which connection is asked, and what that means for one that is or was blocked.
fn autopsy(server: &Server, ghost: &Ghost) -> (AskedBy, Autopsy) {
    let state = server.control.lock();
    let autopsy = ghost.autopsy(state.run_id.as_deref(), state.opened);
    (AskedBy { opened: state.opened }, autopsy)
}

/// Whether the id is ours, judged by the address, where the server process cannot be told.
async fn look(server: &Arc<Server>, ghost: &Ghost) -> Result<bool> {
    let list = cmd::<String>("CLIENT").arg("LIST").arg("ID").arg(ghost.client_id);
    let patience = Patience::For(Some(Duration::from_secs(2)));
    let line = ask(Target::of(server, &server.control), list, patience).await?;
    Ok(ghost.is_ours(&line))
}

/// Where KILL is refused: unblocking ends the ghost's wait just as well. `Some(None)`: not permitted either; `None`: no
/// answer, to be asked again.
async fn by_unblock(server: &Arc<Server>, client_id: u64, asked_by: AskedBy) -> Option<Option<GhostVerdict>> {
    match unblock(server, client_id, |state| asked_by.is(state)).await {
        ProbeAnswer::Unblocked => Some(Some(GhostVerdict::StillBlocked)),
        ProbeAnswer::NotBlocked => Some(Some(GhostVerdict::Gone)),
        ProbeAnswer::Refused => Some(None),
        ProbeAnswer::Busy | ProbeAnswer::Lost => None,
    }
}
