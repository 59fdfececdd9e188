//! Q8: a script that ends in an error has written nothing. `ROMAINE_SEED=… cargo test -p romaine-queue whole -- --nocapture`
//! repeats a course.

use bytes::Bytes;
use romaine::Value;

use crate::keys::Key;
use crate::new_job::NewJob;
use crate::record;
use crate::script_tests::{Bench, Turn, words};
use crate::scripts::{self, Lua};

const COURSES: u64 = 6;
const CALLS: usize = 120;

/// Scripts whose arguments are made wrong.
fn all() -> [&'static Lua; 12] {
    [
        &scripts::ENQUEUE_JOBS,
        &scripts::TURN,
        &scripts::EXTEND_LEASES,
        &scripts::RECOVER_CLAIMS,
        &scripts::CANCEL,
        &scripts::CHANGE_SETTINGS,
        &scripts::REVIVE,
        &scripts::PURGE,
        &scripts::TIDY,
        &scripts::RESULT,
        &scripts::STATUS,
        &scripts::PEEK,
    ]
}

struct Course {
    bench: Bench,
    random: fastrand::Rng,
    ids: u64,
    claims: Vec<(String, String)>,
    errors: usize,
}

#[tokio::test]
async fn a_script_that_ends_in_an_error_has_written_nothing_whatever_it_was_given() {
    let seeds: Vec<u64> = match std::env::var("ROMAINE_SEED") {
        Ok(seed) => vec![seed.parse().expect("ROMAINE_SEED is a number")],
        Err(_none) => (0..COURSES).map(|_| fastrand::u64(..)).collect(),
    };
    let mut bench = Bench::new().await;
    let mut errors = 0;
    for seed in seeds {
        println!("ROMAINE_SEED={seed}");
        let (used, count) = run(bench, seed).await;
        bench = used;
        errors += count;
    }
    assert!(errors > 20, "only {errors} calls were wrong enough to fail");
}

/// What it is worth: a check that is taken out is noticed.
#[tokio::test]
async fn a_check_taken_out_of_a_real_script_is_noticed() {
    for mutation in [
        ("for i = 3, 13 do assert(natural(ARGV[i]), 'an argument that is no number') end", ""),
        ("for i = first_report, #ARGV, 6 do assert(natural(ARGV[i + 4]), 'an argument that is no number') end", ""),
        ("assert(heads[i][1] <= 2 and heads[i][2] > 0, 'a head that makes no sense')", ""),
    ] {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut bench = Bench::mutated(mutation).await;
            for seed in 0..200 {
                bench = run(bench, seed).await.0;
            }
        });
        let ended = tasks.join_next().await.unwrap();
        assert!(ended.is_err_and(|error| error.is_panic()), "nothing notices without {:?}", mutation.0);
    }
}

#[tokio::test]
async fn a_server_out_of_memory_refuses_before_anything_is_written() {
    let bench = Bench::new().await;
    bench.enqueue((0..20).map(|n| NewJob::new("k", "p").id(format!("j{n}"))).collect()).await;
    bench.server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let before = digest(&bench).await;
    let mut arguments = words(&["1000000", "10000"]);
    arguments.extend(of_job(NewJob::new("k", "p"), "new"));
    let error = bench.attempt(&scripts::ENQUEUE_JOBS, &arguments).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "OOM");
    assert_eq!(digest(&bench).await, before);
    // What ends or moves work has no errors for that.
    assert_eq!(bench.turn(Turn::default()).await.claims.len(), 10);
}

async fn run(bench: Bench, seed: u64) -> (Bench, usize) {
    bench.server.command(&["FLUSHALL"]).await.unwrap();
    let mut course = Course { bench, random: fastrand::Rng::with_seed(seed), ids: 0, claims: Vec::new(), errors: 0 };
    course.bench.pass(0).await;
    for _ in 0..CALLS {
        course.work().await;
        course.wrong_call().await;
    }
    (course.bench, course.errors)
}

/// Everything that the server holds, in one word.
async fn digest(bench: &Bench) -> String {
    bench.server.command(&["DEBUG", "DIGEST"]).await.unwrap().text()
}

fn of_job(job: NewJob, id: &str) -> [Bytes; 3] {
    let encoded = record::encode(job, id.to_owned()).unwrap();
    [Bytes::from(encoded.id), encoded.head, encoded.body]
}

impl Course {
    /// Something right, so that there is something to be spoiled. It must never fail, whatever wrong calls left behind.
    async fn work(&mut self) {
        if self.random.bool() {
            let id = format!("j{}", self.ids);
            self.ids += 1;
            let mut job = NewJob::new("k", "p").id(id).attempts(3);
            if self.random.u8(0..3) == 0 {
                job = job.delay(std::time::Duration::from_millis(self.random.u64(0..900)));
            }
            if self.random.u8(0..3) == 0 {
                job = job.unique(format!("u{}", self.random.u8(0..3)));
            }
            if self.random.u8(0..3) == 0 {
                job = job.generation(format!("g{}", self.random.u8(0..2)), self.ids);
            }
            self.bench.enqueue(vec![job]).await;
        }
        if self.random.u8(0..3) == 0 {
            let nonce = format!("n{}", self.ids);
            let turned = self.bench.turn(Turn { nonce: &nonce, want: 2, ..Turn::default() }).await;
            self.claims.extend(turned.claims);
        }
        if self.random.u8(0..4) == 0 {
            self.bench.pass([1, 100, 1_100][self.random.usize(0..3)]).await;
        }
    }

    /// A call that was right, with one thing about it that is not.
    async fn wrong_call(&mut self) {
        let script = self.random.choice(all()).unwrap();
        let mut arguments = self.right(script);
        let at = self.random.usize(0..=arguments.len());
        let nonsense = ["", "x", "-1", "0", "1e400", "99999999999999999999", "0.5", "nan", "\u{0}\u{7}"];
        match self.random.u8(0..6) {
            0 => arguments.truncate(at),
            1 => arguments.insert(at, Bytes::from_static(b"1")),
            2 if at < arguments.len() => drop(arguments.remove(at)),
            3 if at < arguments.len() => {
                let half = arguments[at].len() / 2;
                arguments[at].truncate(half);
            }
            4 if at < arguments.len() && !arguments[at].is_empty() => {
                let mut bytes = arguments[at].to_vec();
                // The first one says most: a priority, a length.
                let place = if self.random.bool() { 0 } else { self.random.usize(0..bytes.len()) };
                bytes[place] = self.random.u8(..);
                arguments[at] = bytes.into();
            }
            _ if at < arguments.len() => {
                arguments[at] = Bytes::from_static(self.random.choice(nonsense).unwrap().as_bytes());
            }
            _ => arguments.extend(words(&nonsense)),
        }
        let before = digest(&self.bench).await;
        if let Err(error) = self.bench.attempt(script, &arguments).await {
            self.errors += 1;
            let after = digest(&self.bench).await;
            assert_eq!(after, before, "Q8: {} failed and had written something: {error:?}", script.name());
        }
        // Taken back now and then: under a pause there would be nothing to spoil.
        if self.random.u8(0..4) == 0 {
            let none = words(&["paused", "", "cap", "", "rate", "", "burst", "", "tokens", "", "tokens_at", ""]);
            self.bench.run(&scripts::CHANGE_SETTINGS, &none).await;
        }
    }

    /// What a client would send now.
    fn right(&mut self, script: &Lua) -> Vec<Bytes> {
        let id = format!("j{}", self.random.u64(0..=self.ids));
        let (claimed, state) =
            self.random.choice(self.claims.clone()).unwrap_or_else(|| ("j0".into(), "0:1:1:1-n:c".into()));
        match script.name() {
            "enqueue" => {
                let mut arguments = words(&["1000000", "10000"]);
                for n in 0..self.random.usize(1..4) {
                    let job = NewJob::new("k", "p").unique(format!("u{n}")).generation("g0", self.ids + 1_000);
                    arguments.extend(of_job(job, &format!("w{}-{n}", self.random.u16(..))));
                }
                arguments
            }
            "turn" => {
                let mut arguments =
                    words(&["c", "n", "1000", "2", "1000", "100", "3600000", "100000", "5", "60000", "100", "0"]);
                arguments.extend(words(&["1", &claimed, &state]));
                for op in ["R", "X", "S", "G", "H"] {
                    if self.random.bool()
                        && let Some((id, state)) = self.random.choice(self.claims.clone())
                    {
                        arguments.extend(words(&[op, &id, &state, "u0", "100", "because"]));
                    }
                }
                arguments
            }
            "extend" => words(&["1000", &claimed, &state]),
            "recover" => words(&["1000", "n", "n1"]),
            "cancel" => words(&[&id, &claimed]),
            "settings" => words(&["rate", "10", "burst", "2", "cap", "3"]),
            "revive" if self.random.bool() => words(&["2", ["", "999999999"][self.random.usize(0..2)], "0"]),
            "revive" => words(&["0", &id, &claimed]),
            "purge" => words(&[["waiting", "delayed", "dead"][self.random.usize(0..3)], "2"]),
            "tidy" => words(&["100000", "90000"]),
            "peek" => words(&["waiting", "0", "10"]),
            _ => Vec::new(),
        }
    }
}

/// The largest calls that Lua can be given: it hands over no more than some thousands of values at once.
#[tokio::test]
async fn calls_with_thousands_of_jobs_do_all_or_nothing() {
    let bench = Bench::new().await;
    for batch in 0..8 {
        let jobs = (0..1_000).map(|n| NewJob::new("k", "p").id(format!("j{batch}-{n}")));
        bench.enqueue(jobs.collect()).await;
    }
    let ids: Vec<String> = bench.text(&["HKEYS", bench.key(Key::Jobs)]).await;
    let arguments: Vec<Bytes> = ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
    let before = digest(&bench).await;
    match bench.attempt(&scripts::CANCEL, &arguments).await {
        Ok(Value::Array(answers)) => assert!(answers.iter().all(|answer| answer.as_integer() == Some(1))),
        Ok(other) => panic!("{other:?}"),
        Err(error) => assert_eq!(digest(&bench).await, before, "Q8: {error:?}"),
    }
}
