//! Keeps one circuit connected, for ever: dial, greet, drive, wait, again. There is no last attempt and no state that
//! only the next command would leave.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use romaine_proto::{Attempt, CloseReason, Greeting, Reconnect, SubscriptionKind, Trigger, Verdict};
use tracing::Instrument as _;

use crate::circuit::Circuit;
use crate::clock;
use crate::error::{Error, Result};
use crate::events::{Event, Lane};
use crate::health::Status;
use crate::notice::Notice;
use crate::server::Server;
use crate::session::{Ending, Session};
use crate::socket::Dialled;
use crate::witness;

/// Supervises `circuit` until the client is closed.
pub(crate) async fn supervise(server: Arc<Server>, circuit: Arc<Circuit>) {
    let config = &server.config;
    let mut reconnect = Reconnect::new(config.backoff.clone(), config.stable_after, fastrand::Rng::new());
    let mut delay = Duration::ZERO;
    let lane = circuit.lane;
    let told = server.lane(lane);
    loop {
        let attempt = reconnect.attempt();
        let span = tracing::info_span!("connection", %lane, node = %server.node, attempt);
        server.tell(Event::ConnectAttempt { lane: told, node: server.node.clone(), attempt, after: delay });
        // Boxed, so that an established connection does not carry the size of its making.
        let opening = Box::pin(open(&server, &circuit).instrument(span.clone()));
        let (error, was_ready) = match tend(&circuit, opening).await {
            None => break,
            Some(Err(error)) => {
                circuit.closed(0, false, &error);
                (error, false)
            }
            Some(Ok((dialled, opening, greeting))) => {
                let node = dialled.node.clone();
                let session = one_session(&server, &circuit, dialled, opening, greeting).instrument(span);
                let ended = session.await;
                if let Some(since) = ended.ready_since
                    && !ended.ours
                {
                    reconnect.ready(since);
                    server.tell(Event::Disconnected { lane: told, node, cause: ended.error.clone() });
                }
                if ended.ours {
                    break;
                }
                (ended.error, ended.ready_since.is_some())
            }
        };
        delay = reconnect.failed(clock::now());
        tracing::debug!(%lane, %error, ?delay, "not connected; next attempt after the delay");
        if lane == Lane::Commands {
            server.update_health(|health| {
                health.status = Status::Disconnected;
                health.attempts = attempt;
                health.last_error = Some(error.clone());
            });
        }
        // The end of a connection that was usable has been told; it was no failed attempt.
        if !was_ready {
            server.dialler.not_opened();
            server.tell(Event::ReconnectFailed { lane: told, attempt, cause: error, next_in: delay });
        }
        server.trigger(Trigger::Reconnecting { attempts: attempt });
        let until = clock::after(delay);
        // What was usable and ended goes by its delay alone: two connections that a server greets and closes would else
        // call each other back without one.
        let pause = async {
            let over = async {
                if was_ready { tokio::time::sleep_until(until.into()).await } else { server.dialler.back(until).await }
            };
            let cut_short = std::future::poll_fn(|_cx| {
                if circuit.is_wanted() && reconnect.cut_short(clock::now()) { Poll::Ready(()) } else { Poll::Pending }
            });
            tokio::select! {
                biased;
                () = over => {}
                () = cut_short => {}
            }
        };
        let began = clock::now();
        if tend(&circuit, pause).await.is_none() {
            break;
        }
        delay = delay.min(clock::now().saturating_duration_since(began));
    }
    let closed = Error::closed_by(&CloseReason::Ours);
    circuit.closed(0, true, &closed);
    if lane == Lane::Commands {
        server.update_health(|health| health.status = Status::Closed);
    }
}

struct Ended {
    error: Error,
    ready_since: Option<Instant>,
    /// We ended it because the client is closed.
    ours: bool,
}

async fn open(server: &Server, circuit: &Circuit) -> Result<(Dialled, Attempt, Greeting)> {
    // Here, too: where there are no credentials nothing is dialled.
    circuit.dialling();
    let greeting = server.greeting(circuit.lane).await.map_err(|error| error.with_node(&server.node))?;
    let (dialled, attempt) = server.dialler.dial(Some(circuit)).await?;
    Ok((dialled, attempt, greeting))
}

async fn one_session(
    server: &Arc<Server>,
    circuit: &Arc<Circuit>,
    dialled: Dialled,
    attempt: Attempt,
    greeting: Greeting,
) -> Ended {
    let Dialled { socket, node, began, .. } = dialled;
    let node = &node;
    let lane = circuit.lane;
    server.tell(Event::Connected { lane: server.lane(lane), node: node.clone() });
    circuit.opened(greeting, socket.local_address(), server.dialler.greeting_limits(attempt));
    let mut ready_since = None;
    let notice = |notice| {
        if matches!(notice, Notice::Ready(_)) {
            ready_since = Some(clock::now());
            server.opened(began);
        }
        act(server, circuit, node, notice);
    };
    let gathers = lane == Lane::Commands && server.fleet().is_some_and(|fleet| fleet.is_cluster());
    let Ending { reason, unwritten, cut: _ } = Session::new(circuit, socket, gathers, notice).await;
    let error = Error::closed_by(&reason).with_node(node);
    server.ended_by(&reason, node);
    if lane == Lane::Subscriptions {
        let last_received = circuit.lock().last_received;
        server.hub.disconnected(last_received, &error);
    }
    if matches!(reason, CloseReason::HandshakeTimeout(_)) && circuit.lock().connection.was_hurried() {
        server.dialler.hurried();
    }
    let ours = matches!(reason, CloseReason::Ours);
    circuit.closed(unwritten, ours, &error);
    Ended { error, ready_since, ours }
}

/// Tells the world, and does what a notice asks for. Runs on the driver's task, outside every lock, and never waits.
fn act(server: &Arc<Server>, circuit: &Arc<Circuit>, node: &Arc<str>, notice: Notice) {
    let lane = circuit.lane;
    let told = server.lane(lane);
    match notice {
        Notice::Ready(identity) => {
            {
                let mut state = circuit.lock();
                state.client_id = identity.client_id;
                state.run_id = identity.run_id.as_deref().map(Arc::from);
                state.last_error = None;
                state.told_full = false;
            }
            if lane == Lane::Subscriptions {
                for asking in server.hub.restore() {
                    circuit.issue_subscription(&asking);
                }
            }
            server.identified(lane, identity.role.as_deref(), identity.zone.as_deref());
            if server.verifies_role() {
                server.tell(Event::RoleVerified { node: node.clone() });
            }
            if lane == Lane::Commands {
                server.update_health(|health| {
                    health.status = Status::Connected;
                    health.node = Some(node.clone());
                    health.connections += 1;
                    health.attempts = 0;
                });
                server.connected();
            }
            server.tell(Event::Activated { lane: told, node: node.clone(), client_id: identity.client_id });
        }
        Notice::Verdict(Verdict::Suspect { silent_for }) => {
            tracing::warn!(%lane, ?silent_for, "the server is silent; asking for a second opinion");
            server.tell(Event::Suspect { lane: told, silent_for });
            if lane == Lane::Commands {
                server.update_health(|health| health.status = Status::Suspect);
            }
            server.trigger(Trigger::Silent);
            witness::second_opinion(server, circuit);
        }
        Notice::Verdict(Verdict::Stalled { late_by }) => server.tell(Event::Stalled { lane: told, late_by }),
        // The disconnection that follows says it.
        Notice::Verdict(Verdict::Dead { .. } | Verdict::Ping) => {}
        Notice::Recovered => {
            if lane == Lane::Commands {
                server.update_health(|health| health.status = Status::Connected);
            }
            server.tell(Event::Recovered { lane: told });
        }
        Notice::Gap { topic, duration } => server.tell(Event::Gap { topic, duration }),
        Notice::Resubscribed(topics) => server.tell(Event::Resubscribed { topics }),
        Notice::Dropped { topic, count } => server.tell(Event::MessagesDropped { topic, count }),
        Notice::Misplaced { kind, topics } => {
            server.trigger(Trigger::Redirected);
            // The topology may turn out to be as it was, and the server to be late.
            let later = server.clone();
            server.spawn(async move {
                tokio::time::sleep(MISPLACED_FOR).await;
                for topic in topics {
                    ask_again(&later, kind, topic);
                }
            });
        }
        Notice::Revoked { kind, topic } => {
            if kind == SubscriptionKind::Shard {
                server.trigger(Trigger::Revoked);
            }
            ask_again(server, kind, topic);
        }
        Notice::Apart { kind, topic } => ask_again(server, kind, topic),
        Notice::Refused { kind, topic, cause } => {
            tracing::warn!(%cause, "the server refuses a subscription; it is asked again");
            server.tell(Event::SubscriptionRefused { topic: topic.clone(), cause });
            // A connection that was made anew meanwhile asks for it too, and is refused too: one is enough.
            if server.hub.is_first_to_ask_later(kind, &topic) {
                let later = server.clone();
                server.spawn(async move {
                    tokio::time::sleep(ASK_AGAIN_AFTER).await;
                    ask_again(&later, kind, topic);
                });
            }
        }
    }
}

/// How long after that a shard channel is asked for again where it is.
const MISPLACED_FOR: Duration = Duration::from_millis(250);

/// How long after a refusal a subscription is asked for again: permissions are given back by people.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

fn ask_again(server: &Server, kind: SubscriptionKind, topic: bytes::Bytes) {
    if let Some(asking) = server.hub.ask_again(kind, topic) {
        server.subscriptions.issue_subscription(&asking);
    }
}

/// Runs `work` and, meanwhile, lets queued calls expire. `None` when the client was closed.
async fn tend<F: Future>(circuit: &Circuit, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut timer: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
    std::future::poll_fn(|cx| {
        loop {
            let (next, over) = circuit.tend(cx);
            if over {
                return Poll::Ready(None);
            }
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let Some(next) = next else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next.into())));
            timer.as_mut().reset(next.into());
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}
