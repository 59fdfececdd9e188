//! The scripts, as the model sees them: each is one step of the server.

use crate::{JOBS, MOST, Mutation};

/// What a claim is known by: the counter is the server's and can be lost with it, the nonce is the claimer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) number: u8,
    pub(crate) nonce: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    Waiting,
    Delayed {
        due: bool,
    },
    Dead,
    /// `owner` is not in the real server: it is the truth that the token is checked against.
    Leased {
        token: Token,
        owner: u8,
        over: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) record: bool,
    pub(crate) mark: Mark,
    pub(crate) attempts: u8,
    /// Its id is remembered as finished.
    pub(crate) seen: bool,
    pub(crate) cancel: bool,
    /// The token of the lease that ran out, while it stands in the state.
    pub(crate) left: Option<Token>,
    /// For the checks: effective acknowledgements, and starts that were not given back.
    pub(crate) acks: u8,
    pub(crate) starts: u8,
    /// For the checks: whose outcome counts. Who claimed it last, unless that was reported, or somebody put it back since.
    pub(crate) last: Option<(Token, u8)>,
}

pub(crate) const NEW: Job = Job {
    record: false,
    mark: Mark::Waiting,
    attempts: 0,
    seen: false,
    cancel: false,
    left: None,
    acks: 0,
    starts: 0,
    last: None,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) jobs: [Job; JOBS],
    /// The waiting list; ids of cancelled jobs stay in it.
    pub(crate) list: Vec<u8>,
    pub(crate) bell: bool,
    pub(crate) paused: bool,
    /// Who has the unique key that all jobs share, where they do.
    pub(crate) lock: Option<u8>,
    /// Whether they do.
    pub(crate) unique: bool,
    pub(crate) counter: u8,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Done,
    Again,
    Dead,
    GivenBack,
}

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    FinishedByAnother,
    FinishedTwice,
    StartedAfterItsEnd,
    StartedTooOften,
    StartedWhilePaused,
    HeldTwice,
    /// Work that was done by whom the job belonged to did not count.
    OutcomeLost,
    /// A turn did not see to what was due.
    LeftBehind,
}

impl Server {
    pub(crate) fn new(unique: bool) -> Self {
        Self { jobs: [NEW; JOBS], list: Vec::new(), bell: false, paused: false, lock: None, unique, counter: 0 }
    }

    pub(crate) fn waiting(&self) -> bool {
        self.list.iter().any(|id| self.job(*id).record && self.job(*id).mark == Mark::Waiting)
    }

    pub(crate) fn job(&self, id: u8) -> &Job {
        &self.jobs[usize::from(id)]
    }

    fn job_mut(&mut self, id: u8) -> &mut Job {
        &mut self.jobs[usize::from(id)]
    }

    /// `enqueue.lua`. Whether it was accepted.
    pub(crate) fn enqueue(&mut self, id: u8, delayed: bool, unique: bool, mutation: Mutation) -> bool {
        let job = *self.job(id);
        let known = (job.record && mutation != Mutation::NoIdCheck) || (job.seen && mutation != Mutation::ForgetsIds);
        if known || (unique && self.lock.is_some_and(|holder| holder != id)) {
            return false;
        }
        if unique {
            self.lock = Some(id);
        }
        let job = self.job_mut(id);
        *job = Job { acks: job.acks, starts: job.starts, seen: job.seen, record: true, ..NEW };
        if delayed {
            job.mark = Mark::Delayed { due: false };
        } else {
            self.list.push(id);
        }
        if mutation != Mutation::NoBell {
            self.bell = true;
        }
        true
    }

    fn release(&mut self, id: u8) {
        if self.lock == Some(id) {
            self.lock = None;
        }
    }

    fn erase(&mut self, id: u8) {
        self.release(id);
        let job = self.job_mut(id);
        *job = Job { record: false, seen: true, acks: job.acks, starts: job.starts, ..NEW };
    }

    fn bury(&mut self, id: u8, mutation: Mutation) {
        if mutation != Mutation::KeepsUniqueKey {
            self.release(id);
        }
        let job = self.job_mut(id);
        job.mark = Mark::Dead;
        job.cancel = false;
    }

    /// A report in `turn.lua`.
    pub(crate) fn finish(&mut self, worker: u8, id: u8, token: Token, end: End, mutation: Mutation) -> Option<Broken> {
        let job = *self.job(id);
        let Mark::Leased { token: current, owner, .. } = job.mark else {
            // Without the check of the token it would be believed.
            if mutation == Mutation::NoTokenCheck && job.record && job.mark != Mark::Dead {
                self.erase(id);
                return Some(Broken::FinishedByAnother);
            }
            return self.late(worker, id, token, end, mutation);
        };
        if mutation == Mutation::KeepsTheTokenForTheNextLease && job.left == Some(token) {
            return self.late(worker, id, token, end, mutation);
        }
        let ours = match mutation {
            Mutation::NoTokenCheck => true,
            Mutation::NoNonce => current.number == token.number,
            _ => current == token,
        };
        if !ours {
            return None;
        }
        let broken = if owner == worker { None } else { Some(Broken::FinishedByAnother) };
        match end {
            End::Done => {
                self.erase(id);
                let job = self.job_mut(id);
                job.acks += 1;
                if job.acks > 1 {
                    return Some(Broken::FinishedTwice);
                }
            }
            End::Again | End::Dead | End::GivenBack if job.cancel => self.erase(id),
            End::GivenBack => {
                self.list.insert(0, id);
                let job = self.job_mut(id);
                job.mark = Mark::Waiting;
                job.starts -= 1;
                if mutation != Mutation::CountsWhatIsGivenBack {
                    job.attempts -= 1;
                }
            }
            End::Again if job.attempts < MOST => self.job_mut(id).mark = Mark::Delayed { due: false },
            End::Again | End::Dead => self.bury(id, mutation),
        }
        self.job_mut(id).last = None;
        if mutation == Mutation::CountsAtTheEnd {
            let job = self.job_mut(id);
            job.attempts = (job.attempts + 1).min(MOST);
        }
        broken
    }

    /// A report when the lease has run out. It counts while the state still shows its token.
    fn late(&mut self, worker: u8, id: u8, token: Token, end: End, mutation: Mutation) -> Option<Broken> {
        let job = *self.job(id);
        let entitled = job.last == Some((token, worker));
        if job.left != Some(token) {
            return if entitled && end == End::Done { Some(Broken::OutcomeLost) } else { None };
        }
        match (end, job.mark) {
            (End::Done, _) => {
                self.erase(id);
                self.job_mut(id).acks += 1;
                if job.acks > 0 {
                    return Some(Broken::FinishedTwice);
                }
            }
            (End::Dead, Mark::Waiting) => {
                self.bury(id, mutation);
                let job = self.job_mut(id);
                (job.left, job.last) = (None, None);
            }
            (End::GivenBack, Mark::Dead) if !self.may_revive(id, self.unique) => return None,
            (End::GivenBack, mark) => {
                if mark == Mark::Dead {
                    self.lock = if self.unique { Some(id) } else { self.lock };
                    self.list.insert(0, id);
                }
                let job = self.job_mut(id);
                (job.mark, job.left, job.last) = (Mark::Waiting, None, None);
                job.starts -= 1;
                if mutation != Mutation::CountsWhatIsGivenBack {
                    job.attempts -= 1;
                }
            }
            // It waits already, or is dead already: at most the reason changes.
            (End::Again | End::Dead, _) => return None,
        }
        if entitled { None } else { Some(Broken::FinishedByAnother) }
    }

    /// The sweep and the claim of `turn.lua`, for one job.
    pub(crate) fn claim(&mut self, worker: u8, nonce: u8, mutation: Mutation) -> (Option<(u8, Token)>, Option<Broken>) {
        self.sweep(mutation);
        if self.paused && mutation != Mutation::ClaimsWhilePaused {
            return (None, None);
        }
        while !self.list.is_empty() {
            let id = self.list.remove(0);
            let job = *self.job(id);
            let waits = job.mark == Mark::Waiting || mutation == Mutation::NoPlaceCheck;
            if !job.record || !waits || (mutation == Mutation::NoPlaceCheck && job.mark == Mark::Dead) {
                continue;
            }
            let mut broken = None;
            if matches!(job.mark, Mark::Leased { over: false, .. }) {
                broken = Some(Broken::HeldTwice);
            } else if job.acks > 0 {
                broken = Some(Broken::StartedAfterItsEnd);
            } else if job.starts >= MOST {
                broken = Some(Broken::StartedTooOften);
            } else if self.paused {
                broken = Some(Broken::StartedWhilePaused);
            }
            self.counter += 1;
            let token = Token { number: self.counter, nonce };
            let job = self.job_mut(id);
            job.starts += 1;
            if mutation != Mutation::CountsAtTheEnd {
                job.attempts += 1;
            }
            job.mark = Mark::Leased { token, owner: worker, over: false };
            job.last = Some((token, worker));
            if mutation != Mutation::KeepsTheTokenForTheNextLease {
                job.left = None;
            }
            self.pass_on(mutation);
            return (Some((id, token)), broken);
        }
        (None, None)
    }

    /// Whoever leaves work behind wakes the next one.
    pub(crate) fn pass_on(&mut self, mutation: Mutation) {
        if !self.paused && !self.list.is_empty() && mutation != Mutation::KeepsTheBell {
            self.bell = true;
        }
    }

    pub(crate) fn sweep(&mut self, mutation: Mutation) {
        for id in 0..JOBS as u8 {
            match self.job(id).mark {
                Mark::Leased { over: true, token, .. } => {
                    let job = *self.job(id);
                    if mutation != Mutation::ForgetsTheTokenWithTheLease {
                        self.job_mut(id).left = Some(token);
                    }
                    if job.cancel {
                        self.erase(id);
                    } else if job.attempts >= MOST {
                        self.bury(id, mutation);
                    } else if mutation != Mutation::NoSweep {
                        self.list.insert(0, id);
                        self.job_mut(id).mark = Mark::Waiting;
                    }
                }
                Mark::Delayed { due: true } => {
                    self.job_mut(id).mark = Mark::Waiting;
                    self.list.push(id);
                }
                Mark::Waiting | Mark::Delayed { due: false } | Mark::Dead | Mark::Leased { over: false, .. } => {}
            }
        }
    }

    pub(crate) fn may_revive(&self, id: u8, unique: bool) -> bool {
        let free = !unique || self.lock.is_none_or(|holder| holder == id);
        self.job(id).record && self.job(id).mark == Mark::Dead && free
    }

    /// `revive.lua`.
    pub(crate) fn revive(&mut self, id: u8, unique: bool, mutation: Mutation) {
        if unique {
            self.lock = Some(id);
        }
        self.list.push(id);
        self.bell = true;
        let job = self.job_mut(id);
        (job.mark, job.attempts, job.starts, job.last) = (Mark::Waiting, 0, 0, None);
        if mutation != Mutation::KeepsTheTokenThroughARevival {
            job.left = None;
        }
    }

    /// `cancel.lua`.
    pub(crate) fn cancel(&mut self, id: u8) {
        let job = *self.job(id);
        if !job.record {
            return;
        }
        match job.mark {
            // Its id stays in the list.
            Mark::Waiting | Mark::Delayed { .. } | Mark::Dead => self.erase(id),
            Mark::Leased { .. } => self.job_mut(id).cancel = true,
        }
    }
}
