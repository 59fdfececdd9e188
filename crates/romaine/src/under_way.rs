//! A blocking command on its connection: its reply, its probe, and its end when its caller has gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use romaine_commands::Request;
use romaine_proto::{Delivery, FailureKind, Ghost, GhostVerdict, Interruption, Link, ProbeAnswer, retry};
use romaine_resp::{Reader, ServerError, Token};
use tokio::time::Sleep;

use crate::asked::Asked;
use crate::batch::Replies;
use crate::call::refusal;
use crate::cells::{Ended, ReplyBytes};
use crate::circuit::Ticketed;
use crate::clock;
use crate::dedicated::Dedicated;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::fleet::behind_asking;
use crate::probe;
use crate::server::{Course, Server};

/// What a reply means to a wait.
pub(crate) enum Answer {
    Nil,
    Unblocked,
    RoleChanged,
    /// Another server is the right one, or this one cannot serve it now.
    Refused(ServerError),
    Other,
}

impl Answer {
    pub(crate) fn of(bytes: &ReplyBytes) -> Self {
        if let Some(error) = refusal(bytes) {
            return match Interruption::of(&error) {
                Some(Interruption::Unblocked) => Self::Unblocked,
                Some(Interruption::RoleChanged) => Self::RoleChanged,
                None if matches!(error.code(), "READONLY" | "MOVED" | "ASK") => Self::Refused(error),
                None if retry::is_passing(&error) => Self::Refused(error),
                None => Self::Other,
            };
        }
        match Reader::new(bytes.as_slice()).token() {
            Ok(Token::Null) => Self::Nil,
            _ => Self::Other,
        }
    }
}

pub(crate) enum Input {
    Ended(Ended),
    Probed(ProbeAnswer),
    Timer,
    /// The server is left for another.
    Left,
}

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It has the slot.
    Owner,
    /// It is getting the slot, and takes the command only with ASKING before it.
    Asking,
}

pub(crate) type Fencing = Pin<Box<dyn Future<Output = Result<Option<GhostVerdict>>> + Send>>;

type Probing = Pin<Box<dyn Future<Output = ProbeAnswer> + Send>>;

/// A command on its connection. Dropped while the command is at the server, it cancels it there.
pub(crate) struct UnderWay<'a> {
    pub(crate) server: &'a Arc<Server>,
    pub(crate) dedicated: Option<Dedicated>,
    pub(crate) ticketed: Option<Ticketed>,
    manner: Manner,
    pub(crate) ghost: Option<Ghost>,
    /// The handshake was done: the command has been sent.
    pub(crate) was_ready: bool,
    pub(crate) server_until: Option<Instant>,
    pub(crate) probing: Option<Probing>,
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
    /// Of several servers: ends when this one is left.
    leaving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(crate) command: &'static str,
    pub(crate) takes: bool,
    _course: Course,
}

impl<'a> UnderWay<'a> {
    pub(crate) fn new(
        server: &'a Arc<Server>,
        course: Course,
        (dedicated, manner): (Dedicated, Manner),
        command: &'static str,
        takes: bool,
    ) -> Self {
        Self {
            server,
            dedicated: Some(dedicated),
            ticketed: None,
            manner,
            ghost: None,
            was_ready: false,
            server_until: None,
            probing: None,
            timer: None,
            leaving: server.fleet().is_some().then(|| Box::pin(server.clone().left()) as _),
            command,
            takes,
            _course: course,
        }
    }

    pub(crate) fn issue(&mut self, request: &Request) -> Result<()> {
        let Some(dedicated) = &self.dedicated else { return Err(Error::usage("no connection")) };
        self.probing = None;
        self.server_until = Asked::of(request).and_then(|asked| asked.timeout).map(clock::after);
        self.ticketed = Some(match self.manner {
            Manner::Owner => dedicated.issue(request, true)?,
            Manner::Asking => dedicated.issue_asking(request, true)?,
        });
        Ok(())
    }

    /// Who we are to the server, as soon as the handshake has told.
    pub(crate) fn identify(&mut self) {
        let Some(dedicated) = &self.dedicated else { return };
        let state = dedicated.circuit.lock();
        self.was_ready |= state.connection.link() == Link::Ready;
        let (Some(client_id), None) = (state.client_id, &self.ghost) else { return };
        let (run_id, address) = (state.run_id.as_deref(), state.local_address);
        self.ghost = Some(Ghost {
            client_id,
            run_id: run_id.map(str::to_owned),
            address: address.map(|address| address.to_string()),
            since: state.opened,
        });
    }

    pub(crate) fn probe(&mut self) {
        self.identify();
        self.probing = Some(match self.ghost.clone() {
            Some(blocked) => Box::pin(probe::probe(self.server.clone(), blocked)),
            None => Box::pin(async { ProbeAnswer::Lost }),
        });
    }

    /// Asks whether the server holds writes back.
    pub(crate) fn inquire(&mut self) {
        self.probing = Some(Box::pin(probe::inquire(self.server.clone())));
    }

    pub(crate) async fn next(&mut self, at: Option<Instant>) -> Input {
        std::future::poll_fn(|cx| self.poll_next(cx, at)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<Input> {
        if let Some(ended) = self.poll_ended(cx) {
            return Poll::Ready(Input::Ended(ended));
        }
        if let Some(probing) = &mut self.probing
            && let Poll::Ready(answer) = probing.as_mut().poll(cx)
        {
            self.probing = None;
            return Poll::Ready(Input::Probed(answer));
        }
        if let Some(leaving) = &mut self.leaving
            && leaving.as_mut().poll(cx).is_ready()
        {
            self.leaving = None;
            return Poll::Ready(Input::Left);
        }
        let Some(at) = at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if timer.deadline() != at.into() {
            timer.as_mut().reset(at.into());
        }
        timer.as_mut().poll(cx).map(|()| Input::Timer)
    }

    pub(crate) fn poll_ended(&mut self, cx: &Context<'_>) -> Option<Ended> {
        self.identify();
        let (dedicated, ticketed) = (self.dedicated.as_ref()?, self.ticketed?);
        let ended = dedicated.circuit.collect(ticketed, cx.waker())?;
        self.ticketed = None;
        Some(of_command(ended))
    }

    /// Waits for whatever still comes; for ever if nothing can.
    pub(crate) async fn late_reply(&mut self) -> Ended {
        std::future::poll_fn(|cx| self.poll_ended(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The connection is free again: it is kept for the next command.
    pub(crate) fn keep(&mut self) {
        if self.ticketed.is_none()
            && let Some(dedicated) = self.dedicated.take()
        {
            self.server.keep(dedicated);
        }
    }

    /// Nothing is to be cancelled any more. What the kernel still holds of the command must not arrive later.
    pub(crate) fn give_up(&mut self) {
        let Some(dedicated) = self.dedicated.take() else { return };
        if let Some(ticketed) = self.ticketed.take() {
            dedicated.circuit.abandon(ticketed);
        }
        dedicated.circuit.lock().aborting = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Nobody may have looked since the handshake.
        self.identify();
        let (Some(dedicated), Some(ticketed)) = (self.dedicated.take(), self.ticketed.take()) else { return };
        if self.server.common.is_closed() {
            // Nobody can be asked any more.
            if self.takes && self.was_ready {
                self.server.tell(Event::ElementMayBeLost { command: self.command });
            }
            return;
        }
        let (ghost, was_sent) = (self.ghost.clone(), self.was_ready);
        // Before this one's ends: the control connection must outlive the cancelling.
        let course = self.server.course();
        let of = (self.command, self.takes);
        let cancelling = cancel(self.server.clone(), dedicated, ticketed, ghost, was_sent, of);
        self.server.spawn(async move {
            cancelling.await;
            drop(course);
        });
    }
}

/// Whether a reply has something in it.
fn has_taken(bytes: &ReplyBytes) -> bool {
    matches!(Answer::of(bytes), Answer::Other) && refusal(bytes).is_none()
}

/// How the command ended, also where ASKING went before it.
fn of_command(ended: Ended) -> Ended {
    let Ended::Batch(bytes) = ended else { return ended };
    match Replies::new(bytes.into(), 2) {
        Some(replies) => Ended::Reply(behind_asking(&replies)),
        None => Ended::Failed(FailureKind::Disconnected, Delivery::Unknown),
    }
}

/// Ends a blocking command whose caller has gone, so that it takes nothing any more; says so if it just had.
async fn cancel(
    server: Arc<Server>,
    dedicated: Dedicated,
    ticketed: Ticketed,
    ghost: Option<Ghost>,
    was_sent: bool,
    (command, takes): (&'static str, bool),
) {
    let grace = server.config.liveness.probe_grace;
    let lost = || {
        if takes {
            server.tell(Event::ElementMayBeLost { command });
        }
    };
    if ghost.is_none() && !was_sent {
        // The handshake was not even done: the command has not been sent, and never will be.
        dedicated.circuit.abandon(ticketed);
        return;
    }
    // Without a number nobody can be asked about.
    let granted = if ghost.is_some() { server.probes.is_granted(&server).await } else { false };
    let Some(ghost) = ghost.filter(|_| granted) else {
        // Closing is the best fence there is without permissions: on a living path the server drops the client within
        // 50 ms. What arrives before that is lost, and told.
        let ended = tokio::time::timeout(Duration::from_millis(20), dedicated.circuit.outcome(ticketed)).await;
        if let Ok(Ended::Reply(bytes)) = ended.map(of_command)
            && has_taken(&bytes)
        {
            lost();
        }
        return;
    };
    let answer = probe::probe(server.clone(), ghost.clone()).await;
    if matches!(answer, ProbeAnswer::Unblocked | ProbeAnswer::NotBlocked)
        && let Ok(ended) = tokio::time::timeout(grace, dedicated.circuit.outcome(ticketed)).await
    {
        match of_command(ended) {
            Ended::Reply(bytes) => {
                if has_taken(&bytes) {
                    lost();
                }
                server.keep(dedicated);
            }
            // It had been served, and its reply will not come any more.
            Ended::Failed(..) if answer == ProbeAnswer::NotBlocked => lost(),
            Ended::Failed(..) | Ended::Batch(_) => {}
        }
        return;
    }
    if answer == ProbeAnswer::Unblocked {
        return;
    }
    let asking = server.clone();
    let fencing = Box::pin(async move { probe::fence(&asking, &ghost).await });
    fence_in_the_end(&server, fencing, command, takes).await;
}

/// Fences a ghost whose caller has gone, however long the outage is; says what became of it.
pub(crate) async fn fence_in_the_end(server: &Arc<Server>, fencing: Fencing, command: &'static str, takes: bool) {
    let verdict = match fencing.await {
        Ok(Some(verdict)) => verdict,
        Ok(None) => GhostVerdict::Stranger,
        Err(_closed) => {
            // What the server did in the last moment nobody can tell any more.
            if takes {
                server.tell(Event::ElementMayBeLost { command });
            }
            return;
        }
    };
    server.tell(Event::GhostFenced { command, verdict });
    if verdict.may_have_lost() && takes {
        server.tell(Event::ElementMayBeLost { command });
    }
}
