//! What each action changes.

use crate::server::{self, Broken, End, Mark, Token};
use crate::{
    Action, CANCELS, CRASHES, EXPIRIES, FAILOVERS, FORGETS, GIVE_BACKS, JOBS, LOST_ANSWERS, Mutation, PAUSES, Queue,
    REVIVALS, State, Worker,
};

impl State {
    pub(crate) fn is_held(&self, id: u8) -> bool {
        self.workers.iter().any(|worker| matches!(worker, Worker::Holding { id: held, .. } if *held == id))
    }

    fn spend(&mut self, fault: usize) {
        self.left[fault] -= 1;
    }

    fn breaks(&mut self, broken: Option<Broken>) {
        self.broken = self.broken.or(broken);
    }

    pub(crate) fn apply(&mut self, queue: &Queue, action: Action) {
        let mutation = queue.mutation;
        match action {
            Action::Enqueue(id) => {
                self.enqueue(queue, id);
                let copies = queue.durable && mutation != Mutation::SaysDurableTooEarly;
                if copies && self.copy.is_some() {
                    self.copy = Some(self.server.clone());
                }
                let job = self.server.job(id);
                self.answered[usize::from(id)] = Some(job.record || job.seen);
            }
            Action::EnqueueUnanswered(id) => {
                self.spend(LOST_ANSWERS);
                self.enqueue(queue, id);
            }
            Action::Claim(worker) => {
                let claimed = self.claim(queue, worker);
                self.workers[usize::from(worker)] = match claimed {
                    Some((id, token)) => Worker::Holding { id, token },
                    None => Worker::Blocked,
                };
            }
            Action::ClaimUnanswered(worker) => {
                self.spend(LOST_ANSWERS);
                if self.claim(queue, worker).is_none() {
                    self.nonce += 1;
                }
                self.workers[usize::from(worker)] = Worker::Unsure { nonce: self.nonce };
            }
            Action::Recover(worker) => self.recover(worker),
            Action::Finish(worker, end) => {
                self.finish(mutation, worker, end);
                self.workers[usize::from(worker)] = Worker::Awake;
            }
            Action::FinishUnanswered(worker, end) => {
                self.spend(LOST_ANSWERS);
                self.finish(mutation, worker, end);
            }
            Action::Beat(worker) => self.beat(worker),
            Action::Wake(worker) => {
                self.server.bell = false;
                self.workers[usize::from(worker)] = Worker::Awake;
            }
            Action::GhostTakesBell => {
                self.server.bell = false;
                self.ghost = false;
                self.bell_lost = true;
            }
            Action::BlockEnds(worker) => self.workers[usize::from(worker)] = Worker::Awake,
            Action::Crash(worker) => {
                self.spend(CRASHES);
                self.ghost |= self.workers[usize::from(worker)] == Worker::Blocked;
                self.workers[usize::from(worker)] = Worker::Awake;
            }
            Action::LeaseRunsOut(id) => self.lease_runs_out(id),
            Action::Due(id) => self.server.jobs[usize::from(id)].mark = Mark::Delayed { due: true },
            Action::Pause => {
                self.spend(PAUSES);
                self.server.paused = true;
            }
            Action::Resume => {
                self.server.paused = false;
                self.server.pass_on(Mutation::None);
            }
            Action::Cancel(id) => {
                self.spend(CANCELS);
                self.server.cancel(id);
            }
            Action::Forget(id) => {
                self.spend(FORGETS);
                self.server.jobs[usize::from(id)] = server::NEW;
                self.answered[usize::from(id)] = None;
            }
            Action::Revive(id) => {
                self.spend(REVIVALS);
                self.server.revive(id, queue.unique, mutation);
            }
            Action::Copy => self.copy = Some(self.server.clone()),
            Action::Failover => {
                self.spend(FAILOVERS);
                if let Some(copy) = &self.copy {
                    self.server = copy.clone();
                }
                self.bell_lost = true;
            }
        }
    }

    fn enqueue(&mut self, queue: &Queue, id: u8) {
        let delayed = queue.delayed && id == 1;
        self.server.enqueue(id, delayed, queue.unique, queue.mutation);
    }

    fn claim(&mut self, queue: &Queue, worker: u8) -> Option<(u8, Token)> {
        let (claimed, broken) = self.server.claim(worker, self.nonce + 1, queue.mutation);
        self.breaks(broken);
        let due = |mark: &Mark| matches!(mark, Mark::Leased { over: true, .. } | Mark::Delayed { due: true });
        if self.server.jobs.iter().any(|job| due(&job.mark)) {
            self.breaks(Some(Broken::LeftBehind));
        }
        self.nonce += u8::from(claimed.is_some());
        claimed
    }

    fn recover(&mut self, worker: u8) {
        let Worker::Unsure { nonce } = self.workers[usize::from(worker)] else { return };
        let found = (0..JOBS as u8).find_map(|id| match self.server.job(id).mark {
            Mark::Leased { token, .. } if token.nonce == nonce => Some(Worker::Holding { id, token }),
            _ => None,
        });
        self.workers[usize::from(worker)] = found.unwrap_or(Worker::Awake);
    }

    fn finish(&mut self, mutation: Mutation, worker: u8, end: End) {
        if end == End::GivenBack {
            self.spend(GIVE_BACKS);
        }
        if let Worker::Holding { id, token } = self.workers[usize::from(worker)] {
            let broken = self.server.finish(worker, id, token, end, mutation);
            self.breaks(broken);
            self.server.pass_on(mutation);
        }
    }

    fn beat(&mut self, worker: u8) {
        if let Worker::Holding { id, token } = self.workers[usize::from(worker)]
            && let Mark::Leased { token: current, over, .. } = &mut self.server.jobs[usize::from(id)].mark
            && *current == token
        {
            *over = false;
        }
    }

    fn lease_runs_out(&mut self, id: u8) {
        if self.is_held(id) {
            self.spend(EXPIRIES);
        }
        if let Mark::Leased { over, .. } = &mut self.server.jobs[usize::from(id)].mark {
            *over = true;
        }
    }
}
