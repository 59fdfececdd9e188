//! Connections of their own: for one blocking command at a time, for WATCH, for MONITOR.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use romaine_commands::Request;
use romaine_proto::{CloseReason, Connection, Lane as WireLane, Link};

use crate::cells::Ended;
use crate::circuit::{Circuit, GreetingLimits, Issue, Patience, Ticketed, WhileDown};
use crate::clock;
use crate::error::{Error, Result};
use crate::events::{Event, Lane};
use crate::fleet::ASKING;
use crate::notice::Notice;
use crate::server::Server;
use crate::session::{Ending, Session};
use crate::socket::Dialled;
use crate::witness;

/// One connection, made once; it is not dialled again. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Dedicated {
    pub(crate) circuit: Arc<Circuit>,
    pub(crate) node: Arc<str>,
}

impl Dedicated {
    /// Dials and greets. The handshake may still be under way: requests wait for it.
    pub(crate) async fn open(server: &Arc<Server>, lane: Lane, wire: WireLane) -> Result<Self> {
        let greeting = server.greeting(lane).await.map_err(|error| error.with_node(&server.node))?;
        // Who serves what is asked at once: behind those that dial a dead primary nobody would learn of the next one.
        let dialling = if lane == Lane::Topology { None } else { server.dialler.place().await };
        let (Dialled { socket, node, began, .. }, attempt) = Box::pin(server.dialler.dial(None)).await?;
        drop(dialling);
        let now = clock::now();
        let mut limits = server.config.limits;
        if wire == WireLane::Monitor {
            limits.queued_requests_max = 1;
        }
        let connection = Connection::new(wire, limits, server.liveness.clone(), now);
        let circuit = Arc::new(Circuit::new(lane, connection, None, WhileDown::WAIT, false, now));
        // The command that it is for waits from the beginning: nothing is to be hurried.
        let limits = GreetingLimits { hurried: None, ..server.dialler.greeting_limits(attempt) };
        circuit.opened(greeting, socket.local_address(), limits);
        server.register(&circuit)?;
        server.spawn(drive(server.clone(), circuit.clone(), socket, node.clone(), began));
        Ok(Self { circuit, node })
    }

    /// Sends `request`; its outcome is collected from the circuit.
    pub(crate) fn issue(&self, request: &Request, blocking: bool) -> Result<Ticketed> {
        let issue = Issue { patience: Patience::For(None), replies: 1, batch: false, blocking };
        self.circuit.issue(request, issue, Waker::noop())
    }

    /// Sends ASKING and `request` as one: its outcome is the batch of both replies.
    pub(crate) fn issue_asking(&self, request: &Request, blocking: bool) -> Result<Ticketed> {
        let issue = Issue { patience: Patience::For(None), replies: 2, batch: true, blocking };
        let length = ASKING.len() + request.wire_len();
        self.circuit.issue_bytes(request.spec(), issue, length, Waker::noop(), |out| {
            out.extend_from_slice(ASKING);
            request.write_to(out);
        })
    }

    /// Whether it can take a request now.
    pub(crate) fn is_usable(&self) -> bool {
        let state = self.circuit.lock();
        state.connection.link() == Link::Ready && state.is_empty() && !state.draining
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.circuit.end();
    }
}

async fn drive(
    server: Arc<Server>,
    circuit: Arc<Circuit>,
    socket: crate::socket::Socket,
    node: Arc<str>,
    began: Instant,
) {
    let lane = circuit.lane;
    let notice = |notice| match notice {
        Notice::Ready(identity) => {
            {
                let mut state = circuit.lock();
                state.client_id = identity.client_id;
                state.run_id = identity.run_id.as_deref().map(Arc::from);
            }
            server.opened(began);
            // Those that ask for the topology come and go by the dozen; what they learn is told.
            if lane != Lane::Topology {
                server.tell(Event::Activated { lane, node: node.clone(), client_id: identity.client_id });
            }
        }
        Notice::Verdict(romaine_proto::Verdict::Suspect { silent_for }) => {
            server.tell(Event::Suspect { lane, silent_for });
            witness::second_opinion(&server, &circuit);
        }
        Notice::Recovered => server.tell(Event::Recovered { lane }),
        Notice::Misplaced { .. }
        | Notice::Verdict(_)
        | Notice::Gap { .. }
        | Notice::Resubscribed(_)
        | Notice::Revoked { .. }
        | Notice::Apart { .. }
        | Notice::Refused { .. }
        | Notice::Dropped { .. } => {}
    };
    let Ending { reason, unwritten, cut } = Session::new(&circuit, socket, false, notice).await;
    let error = Error::closed_by(&reason).with_node(&node);
    server.ended_by(&reason, &node);
    {
        let mut state = circuit.lock();
        // The end of the stream comes after everything the server had to say; any other end may have swallowed it.
        state.orderly_end = matches!(reason, CloseReason::PeerClosed) && !cut;
    }
    circuit.closed(unwritten, true, &error);
    if !matches!(reason, CloseReason::Ours) && lane != Lane::Topology {
        server.tell(Event::Disconnected { lane, node, cause: error });
    }
}

/// Connections kept for the next blocking command.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Dedicated>>);

impl Pool {
    /// One that is usable, if there is one.
    pub(crate) fn take(&self) -> Option<Dedicated> {
        loop {
            let dedicated = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if dedicated.is_usable() {
                return Some(dedicated);
            }
        }
    }

    /// Keeps it, unless there are `max` already or it is not usable.
    pub(crate) fn give(&self, dedicated: Dedicated, max: usize) {
        if dedicated.is_usable() {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < max {
                idle.push(dedicated);
            }
        }
    }

    pub(crate) fn clear(&self) {
        let idle = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}

/// The reply of a request that ended well; else what went wrong.
pub(crate) fn reply(ended: Ended, circuit: &Circuit) -> Result<crate::cells::ReplyBytes> {
    match ended {
        Ended::Reply(bytes) => Ok(bytes),
        Ended::Batch(_) => Err(Error::usage("a pipeline's reply came to a single request")),
        Ended::Failed(kind, delivery) => {
            let error = Error::without_reply(kind, delivery);
            let cause = circuit.lock().last_error.clone();
            Err(match cause {
                Some(cause) => error.with_source(cause),
                None => error,
            })
        }
    }
}
