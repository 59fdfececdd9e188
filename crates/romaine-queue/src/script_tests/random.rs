//! Random courses of a queue: after each step the real server must hold exactly what the reference holds, and the
//! invariants must be true of it. `ROMAINE_SEED=… cargo test -p romaine-queue random -- --nocapture` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::keys::Key;
use crate::new_job::NewJob;
use crate::priority::Priority;
use crate::script_tests::reference::{Answer, Job, Place, Reference};
use crate::script_tests::{Bench, Turn, elements, words};
use crate::scripts;

const STEPS: usize = 150;
const COURSES: u64 = 12;

struct Course {
    bench: Bench,
    reference: Reference,
    random: fastrand::Rng,
    /// Every claim ever made, those that are over too: their tokens must not be believed any more.
    claims: Vec<(String, String)>,
    ids: u64,
    nonces: u64,
}

#[tokio::test]
async fn random_courses_of_the_real_scripts_agree_with_the_reference() {
    let seeds: Vec<u64> = match std::env::var("ROMAINE_SEED") {
        Ok(seed) => vec![seed.parse().expect("ROMAINE_SEED is a number")],
        Err(_none) => (0..COURSES).map(|_| fastrand::u64(..)).collect(),
    };
    let mut bench = Bench::new().await;
    for seed in seeds {
        println!("ROMAINE_SEED={seed}");
        bench = run(bench, seed).await;
    }
}

async fn run(mut bench: Bench, seed: u64) -> Bench {
    bench.server.command(&["FLUSHALL"]).await.unwrap();
    bench.pass(0).await;
    let reference = Reference { now: bench.now, ..Reference::default() };
    let random = fastrand::Rng::with_seed(seed);
    let mut course = Course { bench, reference, random, claims: Vec::new(), ids: 0, nonces: 0 };
    for _ in 0..STEPS {
        course.step().await;
        course.compare().await;
    }
    course.bench
}

/// What the comparison is worth: a rule taken out of a real script is noticed.
#[tokio::test]
async fn a_rule_taken_out_of_a_real_script_is_noticed() {
    for mutation in [
        ("if redis.call('HGET', states, id) ~= state then", "if not redis.call('HGET', states, id) then"),
        ("if found[i] == ARGV[13 + 2 * i] then", "if found[i] then"),
        ("or redis.call('HEXISTS', jobs, id) == 1 then return 1", "then return 1"),
        ("if found == before .. 'x' .. token then", "if where(found) == DEAD then"),
        ("if since and found == before .. 'w' .. since .. ':' .. token then", "if since then"),
        ("if found == before .. 'x' .. token then return DEAD end", ""),
        ("if since and found == before .. 'w' .. since .. ':' .. token then return WAITS end", ""),
        ("if place == WAITS then count('ghosts', 1) end", ""),
        (
            "again(id, priority, attempts - 1, most, tonumber(a), true)",
            "again(id, priority, attempts, most, tonumber(a), true)",
        ),
        ("if left[id] then return 1 end", ""),
        ("elseif attempts >= most then", "elseif attempts > most then"),
        ("local attempts = 0\n", "local attempts = 1\n"),
        ("redis.call('SISMEMBER', cancels, id) == 1", "false"),
        ("  release(unique_key, id)\nend\n\n-- To the dead", "end\n\n-- To the dead"),
        ("flags, want = 1, 0", "flags = 1"),
        ("    flags = 8\n    ring()", "    flags = 8"),
        ("if older and older ~= id and generation_kind == 1 then give_way(older) end", ""),
    ] {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut bench = Bench::mutated(mutation).await;
            for seed in 0..150 {
                bench = run(bench, seed).await;
            }
        });
        let ended = tasks.join_next().await.unwrap();
        assert!(ended.is_err_and(|error| error.is_panic()), "nothing notices without {:?}", mutation.0);
    }
}

impl Course {
    async fn step(&mut self) {
        match self.random.u8(0..20) {
            0..=5 => self.enqueue().await,
            6..=12 => self.turn().await,
            13 => self.extend().await,
            14 => self.cancel().await,
            15 => self.revive().await,
            16 => self.settings().await,
            17 => self.forget().await,
            _ => {
                let ms = [1, 50, 400, 1_100][self.random.usize(0..4)];
                self.bench.pass(ms).await;
                self.reference.now = self.bench.now;
            }
        }
    }

    async fn enqueue(&mut self) {
        let (mut jobs, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..self.random.usize(1..5) {
            let repeated = self.ids > 0 && self.random.u8(0..5) == 0;
            let id = if repeated { self.random.u64(0..self.ids) } else { self.ids };
            self.ids += u64::from(!repeated);
            let (job, due, reference) = self.job();
            expected.push(self.reference.enqueue(&format!("j{id}"), reference, due));
            jobs.push(job.id(format!("j{id}")));
        }
        let answers = self.bench.enqueue(jobs).await;
        let answers: Vec<Answer> = answers[1..]
            .iter()
            .map(|answer| match answer.as_integer() {
                Some(0) => Answer::Accepted,
                Some(1) => Answer::Known,
                Some(2) => Answer::Superseded,
                _ => Answer::Held(answer.as_str().unwrap().to_owned()),
            })
            .collect();
        assert_eq!(answers, expected);
        if expected.contains(&Answer::Accepted) && self.reference.lists.iter().any(|list| !list.is_empty()) {
            let due_only = self.bench.number(&["LLEN", self.bench.key(Key::Bell)]).await;
            assert!(due_only <= 1, "Q6: one bell is enough");
        }
    }

    /// A random job; when it is due; and the same for the reference.
    fn job(&mut self) -> (NewJob, Option<i64>, Job) {
        let random = &mut self.random;
        let priority = random.u8(0..3);
        let most = random.u16(1..4);
        let mut job = NewJob::new("k", "p").priority(Priority::from_number(priority).unwrap()).attempts(most);
        let (mut due, mut unique, mut generation, mut expires) = (None, String::new(), None, 0);
        if random.u8(0..3) == 0 {
            let delay = random.i64(0..800);
            due = Some(self.bench.now + delay);
            job = job.delay(Duration::from_millis(delay.unsigned_abs()));
        }
        if random.u8(0..3) == 0 {
            unique = format!("u{}", random.u8(0..3));
            job = job.unique(&unique);
        }
        if random.u8(0..4) == 0 {
            let (key, number) = (format!("g{}", random.u8(0..2)), random.u64(1..30));
            job = job.generation(&key, number);
            generation = Some((key, number));
        }
        if random.u8(0..6) == 0 {
            let ttl = random.i64(1..1_500);
            expires = self.bench.now + ttl;
            job = job.expires_in(Duration::from_millis(ttl.unsigned_abs()));
        }
        let place = Place::Waiting(None);
        let (priority, most) = (usize::from(priority), u32::from(most));
        (job, due, Job { priority, attempts: 0, most, unique, generation, expires, place, left: None })
    }

    /// Reports of claims new and old, duplicates among them, then a claim.
    async fn turn(&mut self) {
        let (mut acks, mut reports) = (Vec::new(), Vec::new());
        for _ in 0..self.random.usize(0..4) {
            if self.claims.is_empty() {
                break;
            }
            // Mostly recent ones.
            let back = self.random.usize(0..self.claims.len().min(8));
            let (id, state) = self.claims[self.claims.len() - 1 - back].clone();
            // A worker does not report one lease twice in one turn; a repeated turn does.
            if acks.iter().any(|(known, _): &(String, String)| *known == id) {
                continue;
            }
            let unique = self.reference.jobs.get(&id).map(|job| job.unique.clone()).unwrap_or_default();
            match self.random.u8(0..6) {
                0..=2 if unique.is_empty() => acks.push((id, state)),
                0..=2 => reports.push(("A", id, state, unique, 0)),
                3 => reports.push(("R", id, state, unique, [0, 300][self.random.usize(0..2)])),
                4 => reports.push(("X", id, state, unique, 0)),
                _ => reports.push(("G", id, state, unique, [0, 300][self.random.usize(0..2)])),
            }
        }
        let mut lost = Vec::new();
        for (id, state) in &acks {
            if !self.reference.report("A", id, state, 0) {
                lost.push(id.clone());
            }
        }
        for (op, id, state, _, delay) in &reports {
            if !self.reference.report(op, id, state, *delay) {
                lost.push(id.clone());
            }
        }
        self.reference.sweep();
        let want = self.random.usize(0..5);
        let allowed = self.reference.allowed(want);
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        let acks: Vec<(&str, &str)> = acks.iter().map(|(id, state)| (id.as_str(), state.as_str())).collect();
        let reports: Vec<_> = reports
            .iter()
            .map(|(op, id, state, unique, delay)| (*op, id.as_str(), state.as_str(), unique.as_str(), *delay))
            .collect();
        let turned =
            self.bench.turn(Turn { nonce: &nonce, want, acks: &acks, reports: &reports, ..Turn::default() }).await;
        assert_eq!(
            turned.lost, lost,
            "Q2: exactly the reports are refused whose job another had since, or nobody any more"
        );
        assert!(!self.reference.paused || turned.claims.is_empty(), "Q9: nothing is claimed while paused");
        assert!(turned.claims.len() <= allowed, "the cap");
        for (id, state) in &turned.claims {
            assert_eq!(self.reference.next().as_ref(), Some(id));
            self.reference.claimed(id, state);
            assert!(!self.claims.contains(&(id.clone(), state.clone())), "Q2: a token is new");
        }
        if turned.claims.len() < allowed {
            assert_eq!(self.reference.next(), None, "something that waits was not claimed");
        }
        self.check_bell(turned.flags).await;
        self.claims.extend(turned.claims);
    }

    async fn check_bell(&mut self, flags: i64) {
        let bell = self.bench.number(&["LLEN", self.bench.key(Key::Bell)]).await;
        assert!(bell <= 1);
        assert!(flags & 8 == 0 || bell == 1, "Q6: whoever leaves work behind wakes the next one");
        if self.random.bool() {
            // Somebody heard it.
            self.bench.server.command(&["DEL", self.bench.key(Key::Bell)]).await.unwrap();
        }
    }

    async fn extend(&mut self) {
        let some: Vec<_> = self.claims.iter().rev().take(6).cloned().collect();
        if some.is_empty() {
            return;
        }
        let expected: Vec<i64> = some.iter().map(|(id, state)| self.reference.extend(id, state)).collect();
        let mut arguments = words(&["1000"]);
        for (id, state) in &some {
            arguments.extend(words(&[id, state]));
        }
        let answers = elements(self.bench.run(&scripts::EXTEND_LEASES, &arguments).await);
        let answers: Vec<i64> = answers.iter().filter_map(romaine::Value::as_integer).collect();
        assert_eq!(answers, expected);
    }

    /// The memory of finished ids runs out: all of them may be used again.
    async fn forget(&mut self) {
        self.bench.server.command(&["DEL", self.bench.key(Key::Seen0), self.bench.key(Key::Seen1)]).await.unwrap();
        self.reference.seen.clear();
    }

    fn any_id(&mut self) -> String {
        format!("j{}", self.random.u64(0..=self.ids))
    }

    async fn cancel(&mut self) {
        let id = self.any_id();
        let expected = self.reference.cancel(&id);
        let answer = elements(self.bench.run(&scripts::CANCEL, &words(&[&id])).await);
        assert_eq!(answer[0].as_integer(), Some(expected), "{id}");
    }

    async fn revive(&mut self) {
        let dead: Vec<String> = self
            .reference
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.place, Place::Dead(_)))
            .map(|(id, _)| id.clone())
            .collect();
        let Some(id) = self.random.choice(dead) else { return };
        let expected = i64::from(self.reference.revive(&id));
        let answer = elements(self.bench.run(&scripts::REVIVE, &words(&["0", &id])).await);
        assert_eq!(answer[0].as_integer(), Some(expected), "{id}");
    }

    async fn settings(&mut self) {
        let change = match self.random.u8(0..4) {
            0 => ["paused", "because"],
            1 => ["cap", ["0", "1", "3"][self.random.usize(0..3)]],
            2 => ["cap", ""],
            _ => ["paused", ""],
        };
        match change {
            ["paused", reason] => self.reference.paused = !reason.is_empty(),
            [_, cap] => self.reference.cap = cap.parse().ok(),
        }
        self.bench.run(&scripts::CHANGE_SETTINGS, &words(&change)).await;
    }

    /// The server holds what the reference holds, and the invariants are true of it.
    async fn compare(&self) {
        let bench = &self.bench;
        let jobs: BTreeSet<String> = bench.text(&["HKEYS", bench.key(Key::Jobs)]).await.into_iter().collect();
        assert_eq!(jobs, self.reference.jobs.keys().cloned().collect(), "Q1: a record for every unfinished job");
        for (key, list) in [Key::High, Key::Normal, Key::Low].into_iter().zip(&self.reference.lists) {
            let ids = bench.text(&["LRANGE", bench.key(key), "0", "-1"]).await;
            assert!(ids.iter().eq(list.iter()), "{key:?}: {ids:?}, not {list:?}");
        }
        let ghosts = bench.server.command(&["HGET", bench.key(Key::Meta), "ghosts"]).await.unwrap().text();
        assert_eq!(ghosts.parse().unwrap_or(0), self.reference.ghosts(), "what waits is counted");
        let states = pairs(bench.text(&["HGETALL", bench.key(Key::States)]).await);
        assert_eq!(states, self.reference.states(), "Q1: every job is in one place");
        let zset = async |key: Key| -> BTreeMap<String, String> {
            let ids = bench.text(&["ZRANGE", bench.key(key), "0", "-1"]).await;
            let mut scores = BTreeMap::new();
            for id in ids {
                let score = bench.server.command(&["ZSCORE", bench.key(key), &id]).await.unwrap().text();
                scores.insert(id, score);
            }
            scores
        };
        let at = |pick: fn(&Place) -> Option<i64>| -> BTreeMap<String, String> {
            let jobs = self.reference.jobs.iter();
            jobs.filter_map(|(id, job)| Some((id.clone(), pick(&job.place)?.to_string()))).collect()
        };
        let delayed = at(|place| if let Place::Delayed(at) = place { Some(*at) } else { None });
        let leased = at(|place| if let Place::Leased { until, .. } = place { Some(*until) } else { None });
        let dead = at(|place| if let Place::Dead(at) = place { Some(*at) } else { None });
        assert_eq!(zset(Key::Delayed).await, delayed);
        assert_eq!(zset(Key::Leases).await, leased);
        assert_eq!(zset(Key::Dead).await, dead);
        let unique = pairs(bench.text(&["HGETALL", bench.key(Key::Unique)]).await);
        assert_eq!(unique, self.reference.unique, "Q7: unique keys");
        for (key, holder) in &unique {
            let holder = &self.reference.jobs[holder];
            assert!(holder.unique == *key && !matches!(holder.place, Place::Dead(_)), "Q7: no orphaned key");
        }
        assert!(self.reference.acks.values().all(|acks| *acks == 1), "Q2, Q3: acknowledged once");
        for (id, job) in &self.reference.jobs {
            assert!(job.attempts <= job.most, "Q4");
            assert!(self.reference.starts.get(id).is_none_or(|starts| *starts <= job.most), "Q4");
        }
    }
}

fn pairs(flat: Vec<String>) -> BTreeMap<String, String> {
    flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}
