//! What the scripts are to do, written a second time and plainly.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::script_tests::LEASE;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Since when, if it was elsewhere before.
    Waiting(Option<i64>),
    Delayed(i64),
    Leased {
        until: i64,
        state: String,
    },
    Dead(i64),
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) priority: usize,
    pub(crate) attempts: u32,
    pub(crate) most: u32,
    pub(crate) unique: String,
    pub(crate) generation: Option<(String, u64)>,
    /// 0: never.
    pub(crate) expires: i64,
    pub(crate) place: Place,
    /// The state of the lease that ran out, until somebody else has the job or it is put back.
    pub(crate) left: Option<String>,
}

impl Job {
    /// The token of that lease, as it is written behind a mark.
    fn token(&self) -> Option<&str> {
        self.left.as_deref()?.splitn(4, ':').nth(3)
    }

    fn state(&self, mark: &str) -> String {
        format!("{}:{}:{}:{mark}", self.priority, self.attempts, self.most)
    }
}

/// A queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reference {
    pub(crate) now: i64,
    pub(crate) jobs: BTreeMap<String, Job>,
    /// With the ids of those that were cancelled while they waited.
    pub(crate) lists: [VecDeque<String>; 3],
    pub(crate) unique: BTreeMap<String, String>,
    pub(crate) generations: BTreeMap<String, (u64, String)>,
    pub(crate) seen: BTreeSet<String>,
    pub(crate) cancels: BTreeSet<String>,
    pub(crate) paused: bool,
    pub(crate) cap: Option<usize>,
    /// For the invariants over time: effective acknowledgements and starts of each id.
    pub(crate) acks: BTreeMap<String, u32>,
    pub(crate) starts: BTreeMap<String, u32>,
}

/// What enqueueing one job answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Known,
    Superseded,
    Held(String),
}

impl Reference {
    pub(crate) fn enqueue(&mut self, id: &str, mut job: Job, due: Option<i64>) -> Answer {
        if self.seen.contains(id) || self.jobs.contains_key(id) {
            return Answer::Known;
        }
        if let Some(holder) = self.unique.get(&job.unique) {
            return Answer::Held(holder.clone());
        }
        if let Some((key, number)) = &job.generation
            && let Some((newest, older)) = self.generations.get(key).cloned()
        {
            if *number <= newest {
                return Answer::Superseded;
            }
            let gives_way = |job: &Job| matches!(job.place, Place::Waiting(_) | Place::Delayed(_));
            if self.jobs.get(&older).is_some_and(gives_way) {
                self.finish(&older);
            }
        }
        if !job.unique.is_empty() {
            self.unique.insert(job.unique.clone(), id.to_owned());
        }
        if let Some((key, number)) = &job.generation {
            self.generations.insert(key.clone(), (*number, id.to_owned()));
        }
        match due.filter(|due| *due > self.now) {
            Some(due) => job.place = Place::Delayed(due),
            None => {
                job.place = Place::Waiting(None);
                self.lists[job.priority].push_back(id.to_owned());
            }
        }
        self.jobs.insert(id.to_owned(), job);
        // Where the id was forgotten, it is another job.
        self.acks.remove(id);
        self.starts.remove(id);
        Answer::Accepted
    }

    fn release(&mut self, id: &str) {
        self.unique.retain(|_, holder| holder != id);
    }

    fn finish(&mut self, id: &str) {
        self.jobs.remove(id);
        self.cancels.remove(id);
        self.seen.insert(id.to_owned());
        self.release(id);
    }

    fn bury(&mut self, id: &str) {
        let now = self.now;
        if let Some(job) = self.jobs.get_mut(id) {
            job.place = Place::Dead(now);
        }
        self.cancels.remove(id);
        self.release(id);
    }

    fn wait_again(&mut self, id: &str, since: i64, front: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.place = Place::Waiting(Some(since));
        let list = &mut self.lists[job.priority];
        if front { list.push_front(id.to_owned()) } else { list.push_back(id.to_owned()) }
    }

    /// A report; whether it was believed.
    pub(crate) fn report(&mut self, op: &str, id: &str, state: &str, delay: i64) -> bool {
        let Some(job) = self.jobs.get(id).cloned() else { return false };
        if !matches!(&job.place, Place::Leased { state: current, .. } if current == state) {
            return job.left.as_deref() == Some(state) && self.late(op, id, &job.place, delay);
        }
        match op {
            "A" => {
                *self.acks.entry(id.to_owned()).or_default() += 1;
                self.finish(id);
            }
            _ if self.cancels.contains(id) => self.finish(id),
            "R" if job.attempts < job.most && delay > 0 => {
                let due = self.now + delay;
                if let Some(job) = self.jobs.get_mut(id) {
                    job.place = Place::Delayed(due);
                }
            }
            "R" if job.attempts < job.most => self.wait_again(id, self.now, false),
            "R" | "X" => self.bury(id),
            _ => {
                let due = self.now + delay;
                if let Some(job) = self.jobs.get_mut(id) {
                    job.attempts -= 1;
                    job.place = Place::Delayed(due);
                }
                *self.starts.entry(id.to_owned()).or_default() -= 1;
                if delay == 0 {
                    self.wait_again(id, self.now, true);
                }
            }
        }
        true
    }

    /// A report after the lease, while nobody else has had the job.
    fn late(&mut self, op: &str, id: &str, place: &Place, delay: i64) -> bool {
        match (op, place) {
            ("A", _) => {
                *self.acks.entry(id.to_owned()).or_default() += 1;
                self.finish(id);
            }
            ("X", Place::Waiting(_)) => {
                self.bury(id);
                self.leave(id, None);
            }
            // It is dead already; the reason is all that changes.
            ("X" | "R", Place::Dead(_)) => {}
            ("G", Place::Waiting(_)) => self.uncount(id),
            ("G", Place::Dead(_)) => {
                let unique = self.jobs[id].unique.clone();
                if !unique.is_empty() {
                    if self.unique.contains_key(&unique) {
                        return false;
                    }
                    self.unique.insert(unique, id.to_owned());
                }
                self.uncount(id);
                if delay == 0 {
                    self.wait_again(id, self.now, true);
                } else if let Some(job) = self.jobs.get_mut(id) {
                    job.place = Place::Delayed(self.now + delay);
                }
            }
            _ => return false,
        }
        true
    }

    /// The attempt of a lease that ran out was given back.
    fn uncount(&mut self, id: &str) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.attempts -= 1;
            job.left = None;
        }
        *self.starts.entry(id.to_owned()).or_default() -= 1;
    }

    fn leave(&mut self, id: &str, state: Option<String>) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.left = state;
        }
    }

    /// Expired leases, then due jobs, each in the order of their times.
    pub(crate) fn sweep(&mut self) {
        let (mut over, mut due) = (Vec::new(), Vec::new());
        for (id, job) in &self.jobs {
            match job.place {
                Place::Leased { until, .. } if until <= self.now => over.push((until, id.clone())),
                Place::Delayed(at) if at <= self.now => due.push((at, id.clone())),
                _ => {}
            }
        }
        over.sort();
        due.sort();
        for (_, id) in over {
            let job = &self.jobs[&id];
            let left = if let Place::Leased { state, .. } = &job.place { Some(state.clone()) } else { None };
            if self.cancels.contains(&id) {
                self.finish(&id);
            } else if job.attempts >= job.most {
                self.bury(&id);
            } else {
                self.wait_again(&id, self.now, true);
            }
            self.leave(&id, left);
        }
        for (at, id) in due {
            self.wait_again(&id, at, false);
        }
    }

    /// The next job that may start.
    pub(crate) fn next(&mut self) -> Option<String> {
        for priority in 0..3 {
            while let Some(id) = self.lists[priority].pop_front() {
                let Some(job) = self.jobs.get(&id) else { continue };
                if !matches!(job.place, Place::Waiting(_)) {
                    continue;
                }
                let newest =
                    job.generation.as_ref().and_then(|(key, _)| self.generations.get(key)).map(|(newest, _)| *newest);
                let superseded =
                    job.generation.as_ref().is_some_and(|(_, number)| newest.is_some_and(|newest| newest > *number));
                if superseded || (job.expires > 0 && job.expires <= self.now) {
                    self.finish(&id);
                    continue;
                }
                return Some(id);
            }
        }
        None
    }

    /// How many ids in the lists stand for no job.
    pub(crate) fn ghosts(&self) -> usize {
        let waiting = self.jobs.values().filter(|job| matches!(job.place, Place::Waiting(_))).count();
        self.lists.iter().map(VecDeque::len).sum::<usize>() - waiting
    }

    /// How many of `want` may be claimed.
    pub(crate) fn allowed(&self, want: usize) -> usize {
        if self.paused {
            return 0;
        }
        let leased = self.jobs.values().filter(|job| matches!(job.place, Place::Leased { .. })).count();
        self.cap.map_or(want, |cap| want.min(cap.saturating_sub(leased)))
    }

    /// It was claimed; `state` is what the script wrote.
    pub(crate) fn claimed(&mut self, id: &str, state: &str) {
        let until = self.now + LEASE;
        *self.starts.entry(id.to_owned()).or_default() += 1;
        let job = self.jobs.get_mut(id).unwrap();
        job.attempts += 1;
        assert!(state.starts_with(&job.state("")), "{state}");
        job.place = Place::Leased { until, state: state.to_owned() };
        job.left = None;
    }

    /// What the heartbeat answers.
    pub(crate) fn extend(&mut self, id: &str, state: &str) -> i64 {
        let until = self.now + LEASE;
        let asked = self.cancels.contains(id);
        match self.jobs.get_mut(id).map(|job| &mut job.place) {
            Some(Place::Leased { until: old, state: current }) if current == state => {
                *old = until.max(*old);
                1 + i64::from(asked)
            }
            _ => 0,
        }
    }

    /// What cancelling answers.
    pub(crate) fn cancel(&mut self, id: &str) -> i64 {
        match self.jobs.get(id).map(|job| &job.place) {
            None => 0,
            Some(Place::Leased { .. }) => {
                self.cancels.insert(id.to_owned());
                2
            }
            Some(Place::Waiting(_) | Place::Delayed(_) | Place::Dead(_)) => {
                self.finish(id);
                1
            }
        }
    }

    /// Puts a dead job back.
    pub(crate) fn revive(&mut self, id: &str) -> bool {
        let now = self.now;
        let Some(job) = self.jobs.get(id) else { return false };
        let free = job.unique.is_empty() || !self.unique.contains_key(&job.unique);
        if !matches!(job.place, Place::Dead(_)) || !free {
            return false;
        }
        let unique = job.unique.clone();
        if !unique.is_empty() {
            self.unique.insert(unique, id.to_owned());
        }
        self.starts.remove(id);
        if let Some(job) = self.jobs.get_mut(id) {
            job.attempts = 0;
            job.left = None;
        }
        self.wait_again(id, now, false);
        true
    }

    /// The states that the server must hold.
    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        let state = |(id, job): (&String, &Job)| {
            let state = match &job.place {
                Place::Waiting(None) => return None,
                Place::Waiting(Some(since)) => match job.token() {
                    Some(token) => job.state(&format!("w{since}:{token}")),
                    None => job.state(&format!("w{since}")),
                },
                Place::Delayed(_) => job.state("d"),
                Place::Dead(_) => job.state(&format!("x{}", job.token().unwrap_or_default())),
                Place::Leased { state, .. } => state.clone(),
            };
            Some((id.clone(), state))
        };
        self.jobs.iter().filter_map(state).collect()
    }
}
