//! The scripts alone, on a real server, with a clock that the tests set.

mod alone;
mod late;
mod random;
mod reference;
mod whole;

use bytes::Bytes;
use romaine::{Client, Value};
use romaine_faultlab::Server;

use crate::keys::{Key, Keys};
use crate::new_job::NewJob;
use crate::record;
use crate::scripts::{self, Lua, On};

/// What a script's clock is replaced by: a key that the test sets.
const REAL: &str = "local time = redis.call('TIME')\n  return time[1] * 1000 + math.floor(time[2] / 1000)";
const SET: &str = "return tonumber(redis.call('GET', 'test:clock'))";

/// A server with a queue and a clock.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) now: i64,
    /// A rule taken out of the scripts: what is replaced by what.
    pub(crate) mutation: (&'static str, &'static str),
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::mutated(("", "")).await
    }

    pub(crate) async fn mutated(mutation: (&'static str, &'static str)) -> Self {
        let server = Server::start().await.unwrap();
        let client = Client::connect(server.url()).await.unwrap();
        let mut bench = Self { server, client, keys: Keys::new("q").unwrap(), now: 1_000_000, mutation };
        bench.pass(0).await;
        bench
    }

    /// Time passes.
    pub(crate) async fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.server.command(&["SET", "test:clock", &self.now.to_string()]).await.unwrap();
    }

    /// Runs a script with the test's clock.
    pub(crate) async fn run(&self, script: &Lua, arguments: &[Bytes]) -> Value {
        self.attempt(script, arguments).await.unwrap_or_else(|error| panic!("{}: {error:?}", script.name()))
    }

    /// The same where it may fail.
    pub(crate) async fn attempt(&self, script: &Lua, arguments: &[Bytes]) -> romaine::Result<Value> {
        let script = script.with_text(|text| {
            assert!(text.contains(REAL) || !text.contains("clock()"), "{} has another clock", script.name());
            let text = text.replace(REAL, SET);
            let (rule, without) = self.mutation;
            if rule.is_empty() { text } else { text.replace(rule, without) }
        });
        let on = On::Shared(&self.client);
        let add =
            |command| arguments.iter().fold(command, |command: romaine::Cmd<Value>, argument| command.arg(argument));
        script.run(on, &self.keys, None, add).await
    }

    pub(crate) async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Value> {
        let mut arguments = words(&["1000000", "10000"]);
        for mut job in jobs {
            let id = job.id.take().unwrap();
            let encoded = record::encode(job, id).unwrap();
            arguments.extend([Bytes::from(encoded.id), encoded.head, encoded.body]);
        }
        elements(self.run(&scripts::ENQUEUE_JOBS, &arguments).await)
    }

    pub(crate) async fn turn(&self, turn: Turn<'_>) -> Turned {
        let mut arguments = words(&[turn.consumer, turn.nonce, &LEASE.to_string(), &turn.want.to_string()]);
        arguments.extend(words(&["1000", "100", "3600000", "100000", &turn.dead_max.to_string(), "60000", "100", "0"]));
        arguments.push(turn.acks.len().to_string().into());
        for (id, state) in turn.acks {
            arguments.extend(words(&[id, state]));
        }
        for (op, id, state, unique, delay) in turn.reports {
            arguments.extend(words(&[op, id, state, unique, &delay.to_string(), "because"]));
        }
        let answer = elements(self.run(&scripts::TURN, &arguments).await);
        let text = |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap()).into_owned();
        let claims = elements(answer[4].clone());
        Turned {
            next_in: answer[1].as_integer().unwrap(),
            flags: answer[2].as_integer().unwrap(),
            lost: elements(answer[3].clone()).iter().map(text).collect(),
            claims: claims.chunks(4).map(|claim| (text(&claim[0]), text(&claim[1]))).collect(),
        }
    }

    pub(crate) async fn text(&self, words: &[&str]) -> Vec<String> {
        let mut command = romaine::cmd::<Vec<String>>(words[0]);
        for word in &words[1..] {
            command = command.arg(*word);
        }
        use romaine::Executor as _;
        (&self.client).issue(command).await.unwrap()
    }

    pub(crate) async fn number(&self, words: &[&str]) -> i64 {
        self.server.command(words).await.unwrap().as_int().unwrap()
    }

    pub(crate) fn key(&self, key: Key) -> &str {
        self.keys.key(key)
    }
}

pub(crate) const LEASE: i64 = 1_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) consumer: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) want: usize,
    pub(crate) dead_max: usize,
    pub(crate) acks: &'a [(&'a str, &'a str)],
    pub(crate) reports: &'a [Report<'a>],
}

/// Op, id, state, unique key, delay.
pub(crate) type Report<'a> = (&'a str, &'a str, &'a str, &'a str, i64);

impl Default for Turn<'_> {
    fn default() -> Self {
        Self { consumer: "c", nonce: "n", want: 10, dead_max: 1_000, acks: &[], reports: &[] }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    pub(crate) next_in: i64,
    pub(crate) flags: i64,
    pub(crate) lost: Vec<String>,
    pub(crate) claims: Vec<(String, String)>,
}

pub(crate) fn words(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

pub(crate) fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        other => panic!("not an array: {other:?}"),
    }
}
