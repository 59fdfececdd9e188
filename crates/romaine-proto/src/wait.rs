//! How a blocking command is probed, sliced and ended.
//!
//! A connection blocked in `BRPOP key 0` cannot answer PING. Where the server permits `CLIENT UNBLOCK`, the blocked
//! connection is asked through a second one: its own answer (`-UNBLOCKED …`) is the echo that proves both directions of
//! *that* socket, and the command is issued again with the time that is left. Where it is not permitted, the wait is
//! cut into slices, each with a deadline of our own. The caller sees neither.

use std::time::{Duration, Instant};

use romaine_resp::ServerError;

use crate::liveness::Liveness;

/// The shortest wait ever asked of a server: 0 means for ever, and 0.001 did too before 7.0.8 (redis#11732).
const WAIT_MIN: Duration = Duration::from_millis(10);

/// The longest single wait at a server that is getting the slot: it does not tell when it will not.
const VISIT: Duration = Duration::from_secs(5);

/// A connection for a command that asks the server for less time than this has this long to come about: one with a
/// time-out of 10 ms is worth a connection too.
const CONNECT_LEAST: Duration = Duration::from_secs(1);

/// Until when one blocking command is waited for, fixed when it is issued.
#[derive(Debug, Clone, Copy)]
pub struct WaitLimits {
    /// The caller's own limit: passing it is an error, not nil.
    pub own: Option<Instant>,
    /// When the wait is over: the command's time-out or the caller's limit.
    pub deadline: Option<Instant>,
    /// Until when it must be at a server.
    pub issued_by: Option<Instant>,
}

impl WaitLimits {
    /// Of a command that asks the server for `timeout`, issued now; `None` is "for ever".
    #[must_use]
    pub fn new(now: Instant, timeout: Option<Duration>, own: Option<Instant>) -> Self {
        let until = |of_command: Option<Instant>| [own, of_command].into_iter().flatten().min();
        Self {
            own,
            deadline: until(timeout.map(|timeout| now + timeout)),
            issued_by: until(timeout.map(|timeout| now + timeout.max(CONNECT_LEAST))),
        }
    }
}

/// How one blocking command waits.
#[derive(Debug, Clone)]
pub struct WaitSettings {
    /// The caller's own time-out; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// When a silent wait is probed; `None`: slices instead.
    pub probe_after: Option<Duration>,
    /// How long the echo may take after the server has answered the probe.
    pub probe_grace: Duration,
    /// The longest single wait without probes; `None`: unlimited.
    pub slice: Option<Duration>,
    /// How late the server's own timer may be.
    pub slice_grace: Duration,
    /// The server is getting the slot (ASKING), and does not tell when it will not: with each proof that the connection
    /// lives, the owner is asked again.
    pub visits: bool,
}

impl WaitSettings {
    /// Derived from the connection's settings.
    #[must_use]
    pub fn new(liveness: &Liveness, timeout: Option<Duration>, may_probe: bool) -> Self {
        let probe_after = liveness.probe_after.filter(|_| may_probe);
        Self {
            timeout,
            probe_after,
            probe_grace: liveness.probe_grace,
            slice: if probe_after.is_none() && liveness.dead_after.is_some() { Some(liveness.slice) } else { None },
            slice_grace: liveness.slice_grace,
            visits: false,
        }
    }

    /// At a server that is getting the slot. Where nothing else watches, the ends of slices are the occasions.
    #[must_use]
    pub const fn visiting(mut self) -> Self {
        self.visits = true;
        if self.probe_after.is_none() && self.slice.is_none() {
            self.slice = Some(VISIT);
        }
        self
    }
}

/// What the probe brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The server unblocked the client: its echo must arrive.
    Unblocked,
    /// The client was not blocked: it was served and the reply is on its way, or the server does not know it.
    NotBlocked,
    /// Not permitted here: slices from now on.
    Refused,
    /// The server is alive and executes nothing now (`-BUSY`, `-LOADING`): nobody can be told to be silent.
    Busy,
    /// The control connection is gone or cannot be reached: no answer.
    Lost,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the command with this time-out; `None` is the server's "for ever".
    Issue {
        /// The server's time-out.
        timeout: Option<Duration>,
    },
    /// Ask the server through the control connection.
    Probe,
    /// Ask the server, without touching the blocked connection, whether it holds writes back (CLIENT PAUSE): it then
    /// reports no slice's end. The answer is [`ProbeAnswer::Busy`] if so, any other if not.
    Inquire,
    /// The wait is over.
    End(Outcome),
    /// Wait for the next input.
    Continue,
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The reply that arrived is the caller's.
    Deliver,
    /// The caller's time-out passed: nil.
    TimedOut,
    /// Nothing was taken, and the owner is to be asked again (see [`WaitSettings::visits`]).
    Return,
    /// The connection is dead. `unblocked`: the server has said that it unblocked the client, so nothing can have been
    /// taken; else its ghost must be examined.
    Dead {
        /// How long nothing was received.
        silent_for: Duration,
        /// Whether the ghost is known to be harmless.
        unblocked: bool,
    },
}

/// What ended a wait at the server without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It is to be issued again, and the server will say what is the case: `CLIENT UNBLOCK` (the echo of a probe, or
    /// somebody else's doing), or the stream that XREADGROUP waited at is gone, which up to 7.0 a slot's move to another
    /// node looks like too.
    Unblocked,
    /// The server is a replica now.
    RoleChanged,
}

impl Interruption {
    /// `None`: the error means something else.
    #[must_use]
    pub fn of(error: &ServerError) -> Option<Self> {
        if error.code() != "UNBLOCKED" {
            return None;
        }
        // "force unblock from blocking operation, instance state changed (master -> replica?)"
        Some(if error.message().starts_with("force") { Self::RoleChanged } else { Self::Unblocked })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The command is at the server; its own time-out ends at `server_until`.
    Blocked {
        server_until: Option<Instant>,
    },
    /// A probe is on its way to the server.
    Probing {
        server_until: Option<Instant>,
    },
    /// The server has answered the probe; the echo must arrive by `until`.
    Echo {
        until: Instant,
        unblocked: bool,
    },
    Over,
}

/// Watches one blocking command on one connection.
#[derive(Debug)]
pub struct Wait {
    settings: WaitSettings,
    deadline: Option<Instant>,
    /// Last proof of life of this connection.
    alive_at: Instant,
    probe_at: Option<Instant>,
    /// The last probe had no answer: another one is not waited for past the time of the verdict.
    unreachable: bool,
    state: State,
    armed: Option<Instant>,
}

impl Wait {
    /// A wait that begins now. `deadline` is the caller's, fixed at its first issue.
    #[must_use]
    pub fn new(settings: WaitSettings, now: Instant, deadline: Option<Instant>) -> Self {
        Self { settings, deadline, alive_at: now, probe_at: None, unreachable: false, state: State::Over, armed: None }
    }

    /// What to send first.
    pub fn start(&mut self, now: Instant) -> Action {
        self.alive_at = now;
        self.unreachable = false;
        let left = match self.deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(now);
                if left < WAIT_MIN && self.state != State::Over {
                    return self.end(Outcome::TimedOut);
                }
                Some(left.max(WAIT_MIN))
            }
            None => None,
        };
        let timeout = match (left, self.settings.slice) {
            (Some(left), Some(slice)) => Some(left.min(slice)),
            (None, Some(slice)) => Some(slice),
            (left, None) => left,
        };
        let server_until = timeout.map(|timeout| now + timeout);
        self.state = State::Blocked { server_until };
        self.probe_at = match self.settings.probe_after {
            Some(after) => Some(now + after),
            None => self.inquire_at(server_until),
        };
        Action::Issue { timeout }
    }

    /// A reply with something in it, or an error that is the caller's.
    pub fn replied(&mut self) -> Action {
        self.end(Outcome::Deliver)
    }

    /// Nil: the server's time-out passed.
    pub fn nil(&mut self, now: Instant) -> Action {
        self.alive_at = now;
        match self.deadline {
            Some(deadline) if now + WAIT_MIN >= deadline => self.end(Outcome::TimedOut),
            _ => self.again(now),
        }
    }

    /// [`Interruption::Unblocked`].
    pub fn unblocked(&mut self, now: Instant) -> Action {
        self.again(now)
    }

    /// The connection lives, and the command is not at the server any more.
    fn again(&mut self, now: Instant) -> Action {
        match self.start(now) {
            Action::Issue { .. } if self.settings.visits => self.end(Outcome::Return),
            action => action,
        }
    }

    /// The probe's answer.
    pub fn probed(&mut self, now: Instant, answer: ProbeAnswer) -> Action {
        let State::Probing { server_until } = self.state else {
            return Action::Continue;
        };
        if self.settings.slice.is_some() {
            let mut server_until = server_until;
            if answer == ProbeAnswer::Busy {
                self.alive_at = now;
                server_until = server_until.map(|until| until.max(now));
                self.probe_at = self.inquire_at(server_until);
            }
            self.state = State::Blocked { server_until };
            return Action::Continue;
        }
        self.unreachable = answer == ProbeAnswer::Lost;
        match answer {
            ProbeAnswer::Unblocked => {
                self.state = State::Echo { until: now + self.settings.probe_grace, unblocked: true };
            }
            ProbeAnswer::NotBlocked => {
                self.state = State::Echo { until: now + self.settings.probe_grace, unblocked: false };
            }
            ProbeAnswer::Refused => {
                // This wait is already at the server without a slice: it keeps its form, with the kernel's watch only;
                // the next one is sliced.
                self.settings.probe_after = None;
                self.probe_at = None;
                self.state = State::Blocked { server_until };
            }
            ProbeAnswer::Busy => {
                self.alive_at = now;
                self.probe_at = Some(now + Duration::from_millis(250));
                let server_until = server_until.map(|until| until.max(now));
                self.state = State::Blocked { server_until };
            }
            ProbeAnswer::Lost => {
                let verdict_at = self.verdict_at();
                if verdict_at <= now {
                    let silent_for = now - self.alive_at;
                    return self.end(Outcome::Dead { silent_for, unblocked: false });
                }
                self.probe_at = Some((now + Duration::from_millis(250)).min(verdict_at));
                self.state = State::Blocked { server_until };
            }
        }
        Action::Continue
    }

    /// When [`timeout`](Self::timeout) wants to be called.
    pub fn next_timeout(&mut self) -> Option<Instant> {
        self.armed = match self.state {
            State::Blocked { server_until } => {
                [self.probe_at, self.server_deadline(server_until)].into_iter().flatten().min()
            }
            State::Probing { server_until } => {
                let verdict_at = self.unreachable.then(|| self.verdict_at());
                [verdict_at, self.server_deadline(server_until)].into_iter().flatten().min()
            }
            State::Echo { until, .. } => Some(until),
            State::Over => None,
        };
        self.armed
    }

    /// Time has passed. Early calls do nothing.
    pub fn timeout(&mut self, now: Instant) -> Action {
        let Some(due) = self.armed.filter(|due| *due <= now) else {
            return Action::Continue;
        };
        // A late tick is our own stall: whatever arrived meanwhile lies unread, so the peer gets its grace anew.
        let late_by = now - due;
        let stalled = late_by > self.settings.probe_grace.min(Duration::from_secs(1)) / 2;
        match &mut self.state {
            State::Over => Action::Continue,
            State::Echo { until, unblocked } => {
                if stalled {
                    *until = now + self.settings.probe_grace;
                    return Action::Continue;
                }
                let unblocked = *unblocked;
                let silent_for = now - self.alive_at;
                self.end(Outcome::Dead { silent_for, unblocked })
            }
            State::Blocked { server_until } | State::Probing { server_until } => {
                let server_until = *server_until;
                let is_unreachable = matches!(self.state, State::Probing { .. }) && self.unreachable;
                let verdict_at = is_unreachable.then(|| self.verdict_at());
                let deadlines = [verdict_at, self.server_deadline(server_until)];
                if deadlines.into_iter().flatten().any(|deadline| deadline <= now) {
                    if stalled {
                        self.state = State::Echo { until: now + self.settings.slice_grace, unblocked: false };
                        return Action::Continue;
                    }
                    let silent_for = now - self.alive_at;
                    return self.end(Outcome::Dead { silent_for, unblocked: false });
                }
                if matches!(self.state, State::Blocked { .. }) && self.probe_at.is_some_and(|at| at <= now) {
                    self.state = State::Probing { server_until };
                    self.probe_at = None;
                    return if self.settings.slice.is_some() { Action::Inquire } else { Action::Probe };
                }
                Action::Continue
            }
        }
    }

    /// When a silence is long enough that a server which cannot be asked is taken for dead.
    fn verdict_at(&self) -> Instant {
        self.alive_at + self.settings.probe_after.unwrap_or_default() + self.settings.probe_grace
    }

    /// When a slice whose end the server has not reported is worth a question: halfway to the verdict.
    fn inquire_at(&self, server_until: Option<Instant>) -> Option<Instant> {
        self.settings.slice.and(server_until).map(|until| until + self.settings.slice_grace / 2)
    }

    /// How much longer than the server's own time-out we wait for it.
    fn server_deadline(&self, server_until: Option<Instant>) -> Option<Instant> {
        server_until.map(|until| until + self.settings.slice_grace)
    }

    fn end(&mut self, outcome: Outcome) -> Action {
        self.state = State::Over;
        Action::End(outcome)
    }
}

#[cfg(test)]
mod tests;
