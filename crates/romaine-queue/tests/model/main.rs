//! The protocol of the queue, checked exhaustively: every order of what producers, workers, the clock and the faults may
//! do, for two jobs, two workers and two attempts. Every rule has a mutation without it, and each must be found.
//!
//! Time at the server is the server's own, so clocks of clients are not part of it.

#![expect(clippy::cast_possible_truncation, reason = "two jobs and two workers fit into a byte")]

mod checks;
mod server;
mod state;

use server::{Broken, End, Mark, Server, Token};
use stateright::{Checker as _, Model, Property};

pub(crate) const JOBS: usize = 2;
pub(crate) const WORKERS: usize = 2;
/// Attempts that a job has.
pub(crate) const MOST: u8 = 2;

/// What the scripts could get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    NoTokenCheck,
    NoNonce,
    CountsAtTheEnd,
    NoIdCheck,
    ForgetsIds,
    NoBell,
    KeepsTheBell,
    KeepsUniqueKey,
    ClaimsWhilePaused,
    NoPlaceCheck,
    NoSweep,
    SaysDurableTooEarly,
    ForgetsTheTokenWithTheLease,
    KeepsTheTokenForTheNextLease,
    KeepsTheTokenThroughARevival,
    CountsWhatIsGivenBack,
}

/// What happens in a scenario besides the ordinary.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Answers lost after their effect, claims and reports and enqueues together.
    lost_answers: u8,
    /// Workers that die and come back; the connection they were blocked on stays as a ghost.
    crashes: u8,
    /// Restarts or failovers that lose what was not copied.
    failovers: u8,
    pauses: u8,
    cancels: u8,
    /// Leases that run out under a living worker.
    expiries: u8,
    /// Ids of finished jobs that are forgotten, and used again.
    forgets: u8,
    /// Attempts that a handler gives back.
    give_backs: u8,
    /// Dead letters that somebody puts back.
    revivals: u8,
}

impl Faults {
    /// In the order of the constants below.
    const fn budget(self) -> [u8; 9] {
        let Self { lost_answers, crashes, failovers, pauses, cancels, expiries, forgets, give_backs, revivals } = self;
        [lost_answers, crashes, failovers, pauses, cancels, expiries, forgets, give_backs, revivals]
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    mutation: Mutation,
    faults: Faults,
    /// The second job is delayed.
    delayed: bool,
    /// Both jobs share a unique key.
    unique: bool,
    /// Enqueueing waits for a copy.
    durable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Worker {
    Awake,
    Blocked,
    Holding {
        id: u8,
        token: Token,
    },
    /// The answer to a claim was lost.
    Unsure {
        nonce: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    server: Server,
    /// What a restart or failover comes back with.
    copy: Option<Server>,
    workers: [Worker; WORKERS],
    /// The producer has its answer.
    answered: [Option<bool>; JOBS],
    ghost: bool,
    /// A bell was lost: to a ghost, or with the server. Then the end of a block has to do.
    bell_lost: bool,
    nonce: u8,
    left: [u8; 9],
    broken: Option<Broken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Enqueue(u8),
    EnqueueUnanswered(u8),
    Claim(u8),
    ClaimUnanswered(u8),
    Recover(u8),
    Finish(u8, End),
    FinishUnanswered(u8, End),
    Beat(u8),
    Wake(u8),
    GhostTakesBell,
    BlockEnds(u8),
    Crash(u8),
    LeaseRunsOut(u8),
    Due(u8),
    Pause,
    Resume,
    Cancel(u8),
    Forget(u8),
    Revive(u8),
    Copy,
    Failover,
}

const LOST_ANSWERS: usize = 0;
const CRASHES: usize = 1;
const FAILOVERS: usize = 2;
const PAUSES: usize = 3;
const CANCELS: usize = 4;
const EXPIRIES: usize = 5;
const FORGETS: usize = 6;
const GIVE_BACKS: usize = 7;
const REVIVALS: usize = 8;

impl Model for Queue {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let faults = self.faults;
        let server = Server::new(self.unique);
        vec![State {
            copy: if faults.failovers > 0 { Some(server.clone()) } else { None },
            server,
            workers: [Worker::Awake; WORKERS],
            answered: [None; JOBS],
            ghost: false,
            bell_lost: false,
            nonce: 0,
            left: faults.budget(),
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may = |fault: usize| state.left[fault] > 0;
        for id in 0..JOBS as u8 {
            if state.answered[usize::from(id)].is_none() {
                actions.push(Action::Enqueue(id));
                if may(LOST_ANSWERS) {
                    actions.push(Action::EnqueueUnanswered(id));
                }
            }
            match state.server.job(id).mark {
                Mark::Delayed { due: false } => actions.push(Action::Due(id)),
                Mark::Leased { over: false, .. } if may(EXPIRIES) || !state.is_held(id) => {
                    actions.push(Action::LeaseRunsOut(id));
                }
                Mark::Waiting | Mark::Delayed { due: true } | Mark::Dead | Mark::Leased { .. } => {}
            }
            if may(CANCELS) && state.server.job(id).record {
                actions.push(Action::Cancel(id));
            }
            if may(REVIVALS) && state.server.may_revive(id, self.unique) {
                actions.push(Action::Revive(id));
            }
            if may(FORGETS) && state.server.job(id).seen {
                actions.push(Action::Forget(id));
            }
        }
        let swept = state
            .server
            .jobs
            .iter()
            .any(|job| matches!(job.mark, Mark::Delayed { due: true } | Mark::Leased { over: true, .. }));
        for (worker, doing) in (0..).zip(state.workers) {
            match doing {
                Worker::Awake => {
                    actions.push(Action::Claim(worker));
                    if may(LOST_ANSWERS) {
                        actions.push(Action::ClaimUnanswered(worker));
                    }
                }
                Worker::Blocked if state.server.bell => actions.push(Action::Wake(worker)),
                Worker::Blocked if swept || (state.bell_lost && state.server.waiting() && !state.server.paused) => {
                    actions.push(Action::BlockEnds(worker));
                }
                Worker::Blocked => {}
                Worker::Unsure { .. } => actions.push(Action::Recover(worker)),
                Worker::Holding { .. } => {
                    actions.push(Action::Beat(worker));
                    for end in [End::Done, End::Again, End::Dead, End::GivenBack] {
                        if end == End::GivenBack && !may(GIVE_BACKS) {
                            continue;
                        }
                        actions.push(Action::Finish(worker, end));
                        if may(LOST_ANSWERS) {
                            actions.push(Action::FinishUnanswered(worker, end));
                        }
                    }
                }
            }
            if may(CRASHES) && doing != Worker::Awake {
                actions.push(Action::Crash(worker));
            }
        }
        if state.ghost && state.server.bell {
            actions.push(Action::GhostTakesBell);
        }
        if state.server.paused {
            actions.push(Action::Resume);
        } else if may(PAUSES) {
            actions.push(Action::Pause);
        }
        if let Some(copy) = &state.copy
            && may(FAILOVERS)
            && *copy != state.server
        {
            actions.extend([Action::Copy, Action::Failover]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.apply(self, action);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

fn check(queue: Queue) -> impl stateright::Checker<Queue> {
    queue.checker().threads(1).target_state_count(4_000_000).spawn_bfs().join()
}

const PLAIN: Queue = Queue {
    mutation: Mutation::None,
    faults: Faults {
        lost_answers: 0,
        crashes: 0,
        failovers: 0,
        pauses: 0,
        cancels: 0,
        expiries: 0,
        forgets: 0,
        give_backs: 0,
        revivals: 0,
    },
    delayed: false,
    unique: false,
    durable: false,
};

/// The scenarios: each adds faults until the states are as many as a test may take.
fn scenarios() -> [(&'static str, Queue); 10] {
    let none = Faults::default();
    [
        ("answers lost, leases run out", Queue { faults: Faults { lost_answers: 1, expiries: 1, ..none }, ..PLAIN }),
        ("crashes and ghosts", Queue { faults: Faults { crashes: 2, ..none }, delayed: true, ..PLAIN }),
        ("failover", Queue { faults: Faults { failovers: 1, ..none }, ..PLAIN }),
        ("failover after a copy", Queue { faults: Faults { failovers: 1, ..none }, durable: true, ..PLAIN }),
        ("pauses and cancellations", Queue { faults: Faults { pauses: 1, cancels: 1, forgets: 1, ..none }, ..PLAIN }),
        (
            "a unique key",
            Queue { faults: Faults { lost_answers: 1, crashes: 1, cancels: 1, ..none }, unique: true, ..PLAIN },
        ),
        (
            "late reports and dead letters that are put back",
            Queue { faults: Faults { expiries: 2, revivals: 1, ..none }, ..PLAIN },
        ),
        (
            "late reports of cancelled jobs with a unique key",
            Queue { faults: Faults { expiries: 1, cancels: 1, revivals: 1, ..none }, unique: true, ..PLAIN },
        ),
        (
            "attempts given back",
            Queue { faults: Faults { lost_answers: 1, expiries: 1, give_backs: 1, ..none }, ..PLAIN },
        ),
        (
            "dead letters that are given back late, with a unique key",
            Queue { faults: Faults { expiries: 2, give_backs: 1, ..none }, unique: true, ..PLAIN },
        ),
    ]
}

#[test]
fn the_protocol_keeps_its_promises_under_every_order_of_faults() {
    for (name, queue) in scenarios() {
        let checker = check(queue);
        println!("{name}: {} states", checker.unique_state_count());
        checker.assert_properties();
    }
}

#[test]
fn every_rule_is_needed_its_absence_is_found() {
    let mutations = [
        (Mutation::NoTokenCheck, 0),
        (Mutation::NoNonce, 2),
        (Mutation::CountsAtTheEnd, 1),
        (Mutation::NoIdCheck, 0),
        (Mutation::ForgetsIds, 0),
        (Mutation::NoBell, 1),
        (Mutation::KeepsTheBell, 1),
        (Mutation::KeepsUniqueKey, 5),
        (Mutation::ClaimsWhilePaused, 4),
        (Mutation::NoPlaceCheck, 4),
        (Mutation::NoSweep, 1),
        (Mutation::SaysDurableTooEarly, 3),
        (Mutation::ForgetsTheTokenWithTheLease, 0),
        (Mutation::KeepsTheTokenForTheNextLease, 0),
        (Mutation::KeepsTheTokenThroughARevival, 6),
        (Mutation::CountsWhatIsGivenBack, 8),
    ];
    for (mutation, scenario) in mutations {
        let (name, queue) = scenarios()[scenario];
        let checker = check(Queue { mutation, ..queue });
        let found: Vec<&str> = checker.discoveries().into_keys().filter(|name| name.starts_with('Q')).collect();
        println!("{mutation:?} in {name}: {found:?}");
        assert!(!found.is_empty(), "{mutation:?} was not found in the scenario of {name}");
    }
}
