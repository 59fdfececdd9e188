//! Jobs that come from a database, here one in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use romaine_faultlab::{Server, eventually};
use romaine_queue::{Durability, Entry, NewJob, Outbox, OutboxFuture, Place, Relay};

use crate::support::{PATIENCE, queue};

#[derive(Default)]
struct Memory {
    entries: Mutex<Vec<Entry>>,
    looks: AtomicUsize,
}

impl Memory {
    fn put(&self, queue: &str, job: NewJob) {
        let mut entries = self.entries.lock().unwrap();
        let number = entries.last().map_or(1, |last| last.number + 1);
        entries.push(Entry { number, queue: queue.to_owned(), job });
    }

    fn left(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    /// So many looks later: what was answered before is over.
    async fn looked_at(&self, times: usize) {
        let enough = self.looks.load(Ordering::Acquire) + times;
        eventually(PATIENCE, "looks at the outbox", async || self.looks.load(Ordering::Acquire) >= enough)
            .await
            .unwrap();
    }
}

impl Outbox for Memory {
    fn pending(&self, most: usize) -> OutboxFuture<'_, Vec<Entry>> {
        self.looks.fetch_add(1, Ordering::AcqRel);
        let entries = self.entries.lock().unwrap().iter().take(most).cloned().collect();
        Box::pin(async { Ok(entries) })
    }

    fn relayed<'a>(&'a self, numbers: &'a [i64]) -> OutboxFuture<'a, ()> {
        self.entries.lock().unwrap().retain(|entry| !numbers.contains(&entry.number));
        Box::pin(async { Ok(()) })
    }

    fn refused<'a>(&'a self, number: i64, _why: &'a str) -> OutboxFuture<'a, ()> {
        self.relayed_one(number)
    }
}

impl Memory {
    fn relayed_one(&self, number: i64) -> OutboxFuture<'_, ()> {
        self.entries.lock().unwrap().retain(|entry| entry.number != number);
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn a_queue_that_refuses_holds_up_no_other_queue_s_entries() {
    let (server, queue) = queue().await;
    server.command(&["SET", "rq:{broken}:j", "no queue"]).await.unwrap();
    let outbox = Arc::new(Memory::default());
    // More than are read at once.
    for n in 0..600 {
        outbox.put("broken", NewJob::new("k", "").id(format!("b{n}")));
    }
    outbox.put("test", NewJob::new("k", "").id("a"));
    outbox.put("a name that is none", NewJob::new("k", "").id("never"));
    let _relay = Relay::start(queue.client(), outbox.clone());
    eventually(PATIENCE, "the others to be relayed", async || outbox.left() == 600).await.unwrap();
    assert_eq!(queue.job("a").await.unwrap().unwrap().place, Place::Waiting);
    server.command(&["DEL", "rq:{broken}:j"]).await.unwrap();
    eventually(PATIENCE, "an empty outbox", async || outbox.left() == 0).await.unwrap();
    assert_eq!(server.command(&["HLEN", "rq:{broken}:j"]).await.unwrap().as_int(), Some(600));
}

#[tokio::test]
async fn each_entry_leaves_the_outbox_by_its_own_answer() {
    let (server, queue) = queue().await;
    let fill = "for i = 1, 10000 do redis.call('HSET', KEYS[1], i, '1:x') end";
    server.command(&["EVAL", fill, "1", "rq:{test}:g"]).await.unwrap();
    let outbox = Arc::new(Memory::default());
    outbox.put("test", NewJob::new("k", "").id("one-key-too-many").generation("new", 1));
    outbox.put("test", NewJob::new("k", "").id("a"));
    outbox.put("test", NewJob::new("k", vec![0; 300 * 1024]).id("too-large"));
    outbox.put("test", NewJob::new("k", "").id("b"));
    let _relay = Relay::start(queue.client(), outbox.clone());
    eventually(PATIENCE, "the others to be relayed", async || outbox.left() == 1).await.unwrap();
    assert_eq!(queue.status().await.unwrap().waiting, 2);
    server.command(&["HDEL", "rq:{test}:g", "1"]).await.unwrap();
    eventually(PATIENCE, "an empty outbox", async || outbox.left() == 0).await.unwrap();
    assert_eq!(queue.status().await.unwrap().waiting, 3);
}

#[tokio::test]
async fn an_entry_stays_until_its_job_is_as_durable_as_asked_for() {
    let (server, queue) = queue().await;
    let outbox = Arc::new(Memory::default());
    outbox.put("test", NewJob::new("k", "").id("a"));
    let durability = Durability::Replicated { replicas: 1, timeout: Duration::from_millis(50) };
    let _relay = Relay::start_with(queue.client(), outbox.clone(), durability);
    outbox.looked_at(3).await;
    assert_eq!(outbox.left(), 1, "no replica has it");
    assert_eq!(queue.status().await.unwrap().waiting, 1);
    let follow = format!("replicaof 127.0.0.1 {}", server.port());
    let replica = Server::builder().config_line(follow).start().await.unwrap();
    eventually(PATIENCE, "an empty outbox", async || outbox.left() == 0).await.unwrap();
    assert_eq!(replica.command(&["HEXISTS", "rq:{test}:j", "a"]).await.unwrap().as_int(), Some(1));
}
