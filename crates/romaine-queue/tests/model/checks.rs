//! The invariants, by their numbers.

use stateright::{Model as _, Property};

use crate::server::{Broken, Mark};
use crate::{JOBS, MOST, Mutation, Queue, State, Worker};

pub(crate) fn properties() -> Vec<Property<Queue>> {
    vec![
        Property::always("Q1 every unfinished job is in exactly one place", |_, state: &State| q1(state)),
        Property::always("Q2 only the owner of a lease finishes its job, and once", |_, state: &State| {
            !matches!(state.broken, Some(Broken::FinishedByAnother | Broken::FinishedTwice | Broken::HeldTwice))
        }),
        Property::always("Q3 a finished job is never started again", |_, state: &State| {
            state.broken != Some(Broken::StartedAfterItsEnd)
        }),
        Property::always("Q4 no job is started more often than it may", |_, state: &State| {
            state.broken != Some(Broken::StartedTooOften) && state.server.jobs.iter().all(|job| job.attempts <= MOST)
        }),
        Property::always(
            "Q5 when nothing can happen any more, every job has come to its end",
            |queue, state: &State| {
                let mut actions = Vec::new();
                queue.actions(state, &mut actions);
                let moves = actions.iter().any(|action| state_changes(queue, state, *action));
                let ends = moves || state.server.jobs.iter().all(|job| !job.record || job.mark == Mark::Dead);
                ends && state.broken != Some(Broken::LeftBehind)
            },
        ),
        Property::always("Q6 while work waits nobody sleeps without a bell", |_, state: &State| {
            let sleeps = state.workers.contains(&Worker::Blocked);
            let looks = state.workers.iter().any(|worker| matches!(worker, Worker::Awake | Worker::Unsure { .. }));
            let server = &state.server;
            let unserved = server.waiting() && !server.paused && !looks;
            !(sleeps && unserved) || server.bell || state.bell_lost
        }),
        Property::always(
            "Q7 a unique key belongs to one unfinished job or to nobody",
            |queue: &Queue, state: &State| {
                let holds = |id: u8| {
                    let job = state.server.job(id);
                    job.record && job.mark != Mark::Dead
                };
                let unfinished = (0..JOBS as u8).filter(|id| holds(*id)).count();
                !queue.unique || (unfinished <= 1 && state.server.lock.is_none_or(holds))
            },
        ),
        Property::always("Q9 nothing is started while the queue is paused", |_, state: &State| {
            state.broken != Some(Broken::StartedWhilePaused)
        }),
        Property::always("Q10 what was accepted after a copy survives a failover", |queue: &Queue, state: &State| {
            let there = |id: usize| state.server.jobs[id].record || state.server.jobs[id].seen;
            !queue.durable || (0..JOBS).all(|id| state.answered[id] != Some(true) || there(id))
        }),
        Property::always("Q11 what a job came to counts while nobody else has had it since", |_, state: &State| {
            state.broken != Some(Broken::OutcomeLost)
        }),
        Property::always("Q12 an attempt that is given back is not counted", |queue: &Queue, state: &State| {
            queue.mutation == Mutation::CountsAtTheEnd || state.server.jobs.iter().all(|job| job.attempts <= job.starts)
        }),
        Property::sometimes("both jobs are done", |_, state: &State| state.server.jobs.iter().all(|job| job.acks == 1)),
    ]
}

fn state_changes(queue: &Queue, state: &State, action: crate::Action) -> bool {
    queue.next_state(state, action).is_some_and(|next| next != *state)
}

/// A waiting job has its id in the list; a job that is elsewhere is found by its mark. No two workers hold the same
/// lease.
fn q1(state: &State) -> bool {
    let server = &state.server;
    let listed = |id: u8| server.list.iter().filter(|listed| **listed == id).count();
    let placed = (0..JOBS as u8).all(|id| {
        let job = server.job(id);
        !job.record || job.mark != Mark::Waiting || listed(id) >= 1
    });
    let holders = |id: u8| {
        let valid = |worker: &&Worker| match (worker, server.job(id).mark) {
            (Worker::Holding { id: held, token }, Mark::Leased { token: current, .. }) => {
                *held == id && *token == current
            }
            _ => false,
        };
        state.workers.iter().filter(valid).count()
    };
    placed && (0..JOBS as u8).all(|id| holders(id) <= 1)
}
