//! One stable name whose target moves, as managed services have: here a proxy's address, which leads elsewhere.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Event, Incoming};
use romaine_faultlab::{FaultProxy, Replicated, Server, eventually};
use std::sync::Arc;

use crate::cluster_lab::calls;
use crate::support::{PATIENCE, PROMISE, Writer, background, connect, event, now, within};

struct Name {
    lab: Replicated,
    old: Arc<Server>,
    new: Arc<Server>,
    proxy: FaultProxy,
}

impl Name {
    async fn new() -> Self {
        let lab = Replicated::builder().start().await.unwrap();
        let (old, new) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap().remove(0));
        let proxy = FaultProxy::start(old.address()).await.unwrap();
        Self { lab, old, new, proxy }
    }

    async fn client(&self) -> Client {
        connect(&format!("redis://{}", self.proxy.address())).await
    }

    /// The roles change; the connections stay where they are, at the old primary.
    async fn demote(&self) {
        self.lab.promote(&self.new).await.unwrap();
    }

    fn moves(&self) {
        self.proxy.set_upstream(self.new.address());
    }
}

// Case 96, hole 30 (spring #3431): the old primary lives, and nobody closes anything.
#[tokio::test]
async fn the_first_readonly_leads_to_the_new_target_of_the_name() {
    let name = Name::new().await;
    let client = name.client().await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    name.moves();
    name.demote().await;
    let demoted = now();
    within(PATIENCE, "a write", writer.works()).await;
    assert!(now() - demoted < PROMISE, "{:?}", now() - demoted);
    let (_, errors) = writer.stop().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(client.config_get(["port"]).await.unwrap()["port"], name.new.port().to_string());
}

// Case 96: the name moves later than the role, as DNS does.
#[tokio::test]
async fn while_the_name_still_leads_to_the_demoted_server_it_is_dialled_with_growing_pauses() {
    let name = Name::new().await;
    let client = name.client().await;
    name.demote().await;
    let before = name.proxy.connections();
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            background(async move { client.incr(format!("key:{n}")).timeout(PATIENCE).await })
        })
        .collect();
    let began = now();
    let mut events = client.events();
    while now() - began < Duration::from_secs(5) {
        event(&mut events, "an event", |_| Some(())).await;
    }
    let dialled = name.proxy.connections() - before;
    assert!((1..=20).contains(&dialled), "{dialled} connections in five seconds");
    name.moves();
    let moved = now();
    for writer in writers {
        within(PATIENCE, "the write", writer).await.unwrap().unwrap();
    }
    // The back-off is 2 s at most, and a refused call pauses less than that.
    assert!(now() - moved < Duration::from_secs(6), "{:?}", now() - moved);
}

// P4, P6: who subscribed by a name subscribed to what it leads to.
#[tokio::test]
async fn subscriptions_follow_a_name_that_was_left_and_are_told_of_the_gap() {
    let name = Name::new().await;
    let client = name.client().await;
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    name.moves();
    name.demote().await;
    client.set("key", "value").await.unwrap();
    let resumed = async {
        loop {
            if let Incoming::Resumed { .. } = subscription.next().await.unwrap() {
                return;
            }
        }
    };
    within(PATIENCE, "the resumption", resumed).await;
    assert_eq!(name.new.command(&["PUBSUB", "NUMSUB", "news"]).await.unwrap().text(), "news\n1");
    name.new.command(&["PUBLISH", "news", "hello"]).await.unwrap();
    let message = within(PATIENCE, "the message", subscription.next_message()).await.unwrap();
    assert_eq!(&message.payload[..], b"hello");
}

fn consumer(client: &Client) -> tokio::task::JoinHandle<romaine::Result<Option<(String, String)>>> {
    let client = client.clone();
    background(async move { client.brpop::<String, String>(["jobs"], 0.0).await })
}

// UNBLOCKED, then the name's new target.
#[tokio::test]
async fn a_blocked_consumer_follows_the_name() {
    let name = Name::new().await;
    let client = name.client().await;
    let consumer = consumer(&client);
    let blocked = async |server: &Server| {
        let info = server.command(&["INFO", "clients"]).await.unwrap().text();
        info.contains("blocked_clients:1\r")
    };
    eventually(PATIENCE, "the blocked client", async || blocked(&name.old).await).await.unwrap();
    name.moves();
    name.demote().await;
    let demoted = now();
    eventually(PATIENCE, "the client at the new one", async || blocked(&name.new).await).await.unwrap();
    assert!(now() - demoted < Duration::from_secs(4), "{:?}", now() - demoted);
    name.new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    assert_eq!(within(PROMISE, "the element", consumer).await.unwrap().unwrap().unwrap().1, "one");
}

// Who asks whether a blocked connection lives must ask the server that it is blocked at: another one knows nothing of it,
// or has a stranger by the same number.
#[tokio::test]
async fn a_consumer_that_followed_the_name_is_watched_at_the_new_target() {
    let name = Name::new().await;
    let client = name.client().await;
    let consumer = consumer(&client);
    let blocked = async |server: &Server| {
        let list = server.command(&["CLIENT", "LIST"]).await.unwrap().text();
        list.lines().filter(|line| line.contains(" flags=b ")).count()
    };
    eventually(PATIENCE, "the blocked client", async || blocked(&name.old).await == 1).await.unwrap();
    let mut events = client.events();
    name.moves();
    name.demote().await;
    eventually(PATIENCE, "the client at the new one", async || blocked(&name.new).await == 1).await.unwrap();
    let asked_of_old = calls(&name.old, "client|unblock").await;
    eventually(PATIENCE, "probes", async || calls(&name.new, "client|unblock").await >= 3).await.unwrap();
    name.new.command(&["LPUSH", "jobs", "one"]).await.unwrap();
    assert_eq!(within(PROMISE, "the element", consumer).await.unwrap().unwrap().unwrap().1, "one");
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::ElementMayBeLost { .. }), "{event:?}");
    }
    assert_eq!(calls(&name.old, "client|unblock").await, asked_of_old);
    client.close().await;
}

// A replica that was asked for by its own name is no demoted primary: READONLY is the caller's error.
#[tokio::test]
async fn readonly_of_a_server_that_never_was_a_primary_is_told_and_the_connection_stays() {
    let name = Name::new().await;
    name.moves();
    let client = name.client().await;
    let before = name.proxy.connections();
    let error = within(PROMISE, "the error", client.set("key", "value")).await.unwrap_err();
    assert_eq!(error.server().unwrap().code(), "READONLY");
    assert_eq!(client.get::<String>("key").await.unwrap(), None);
    assert_eq!(name.proxy.connections(), before);
    let mut events = client.events();
    assert!(!matches!(events.try_next(), Some(Event::Disconnected { .. })));
}

// A program that writes by pipelines or transactions only.
#[tokio::test]
async fn a_readonly_within_a_pipeline_or_a_transaction_leads_to_the_new_target_of_the_name() {
    for is_transaction in [false, true] {
        let name = Name::new().await;
        let client = name.client().await;
        client.set("key", "old").await.unwrap();
        name.moves();
        name.demote().await;
        let written = async || {
            if is_transaction {
                let mut transaction = client.transaction();
                let _written = transaction.set("key", "new");
                return transaction.execute().await.is_ok();
            }
            let mut pipeline = client.pipeline();
            let written = pipeline.set("key", "new");
            pipeline.execute().await.is_ok_and(|mut replies| replies.take(written).is_ok())
        };
        eventually(PATIENCE, "a write", written).await.unwrap();
        assert_eq!(name.new.command(&["GET", "key"]).await.unwrap().text(), "new");
    }
}
