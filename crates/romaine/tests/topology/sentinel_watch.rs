//! What is missed while nobody listens, and how it is found out all the same: real Sentinels, broken links.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Event, EventStream, Lane};
use romaine_faultlab::{Accept, Direction, Fault, FaultProxy, SentinelSetup, Sentinels, Server, eventually};

use crate::support::{PATIENCE, PROMISE, Writer, background, config, event, node, now, within};

const HOUR: Duration = Duration::from_secs(3_600);

/// A client that asks only when it has a reason.
async fn without_polling(url: &str) -> Client {
    let config = config(url).refresh_every(HOUR);
    within(PATIENCE, "the connection", Client::connect(config)).await.unwrap()
}

async fn failover_to(events: &mut EventStream, primary: &Server) {
    let to = event(events, "the failover", |event| match event {
        Event::Failover { to, .. } => Some(to.clone()),
        _ => None,
    })
    .await;
    assert_eq!(*to, *node(primary));
}

async fn listens_to(lab: &Sentinels, listeners: usize) {
    eventually(PATIENCE, "the watches", async || {
        let mut count = 0;
        for sentinel in lab.sentinels().iter().filter(|sentinel| sentinel.is_up()) {
            let list = sentinel.command(&["CLIENT", "LIST"]).await.unwrap().text();
            count += list.lines().filter(|line| line.contains("name=subject") && !line.contains(" sub=0 ")).count();
        }
        count == listeners
    })
    .await
    .unwrap();
}

fn named(url: &str) -> romaine::Config {
    config(url).client_name("subject").unwrap()
}

// Hole 19, #1296, S0: nothing but the push tells. The old primary lives, its connection is not closed for ten seconds.
#[tokio::test]
async fn the_announcement_alone_moves_the_client_before_the_old_primary_is_even_demoted() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client =
        within(PATIENCE, "the connection", Client::connect(named(&lab.url()).refresh_every(HOUR))).await.unwrap();
    listens_to(&lab, 3).await;
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let failed_over = now();
    failover_to(&mut events, &new).await;
    assert!(now() - failed_over < PROMISE, "{:?}", now() - failed_over);
    let role = old.command(&["ROLE"]).await.unwrap().text();
    assert!(role.starts_with("master"), "the old one was not demoted yet: {role}");
    client.set("key", "value").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// Hole 19 (Lettuce #2007), F12: all Sentinel links cut, failover, links restored.
#[tokio::test]
async fn a_failover_that_nobody_could_tell_of_is_found_when_the_links_are_back() {
    let lab = SentinelSetup::new().behind_proxies().start().await.unwrap();
    let client = without_polling(&lab.url()).await;
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    for proxy in lab.proxies() {
        proxy.accept(Accept::Refuse).await.unwrap();
        proxy.cut_all().await.unwrap();
    }
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    for proxy in lab.proxies() {
        proxy.heal().await.unwrap();
    }
    let restored = now();
    failover_to(&mut events, &new).await;
    // A Sentinel is dialled again after 2 s at most.
    assert!(now() - restored < Duration::from_secs(4), "{:?}", now() - restored);
    client.set("key", "value").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// The same with links that swallow everything: no socket is closed, and nothing is said.
#[tokio::test]
async fn a_failover_behind_silent_links_is_found_when_they_speak_again() {
    let lab = SentinelSetup::new().behind_proxies().start().await.unwrap();
    let client = without_polling(&lab.url()).await;
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    for proxy in lab.proxies() {
        proxy.keep_acknowledging_with_dead_upstream().await.unwrap();
    }
    event(&mut events, "a watch that is given up", |event| match event {
        Event::Disconnected { lane: Lane::Sentinel, .. } => Some(()),
        _ => None,
    })
    .await;
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    for proxy in lab.proxies() {
        proxy.heal().await.unwrap();
    }
    failover_to(&mut events, &new).await;
    client.set("key", "value").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// Hole 19, the other half: the watch never holds for long enough to hear anything, so only asking finds it.
#[tokio::test]
async fn a_failover_is_found_by_asking_while_the_watches_are_killed_again_and_again() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client = without_polling(&lab.url()).await;
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    let sentinels = lab.sentinels().to_vec();
    let killing = background(async move {
        loop {
            for sentinel in &sentinels {
                let _none_to_kill = sentinel.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    failover_to(&mut events, &new).await;
    killing.abort();
    client.set("key", "value").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// Hole 22 (Lettuce #1293): two Sentinels killed, the primary unreachable without a word; the Sentinel that is left
// learns of the promotion later.
#[tokio::test]
async fn with_most_sentinels_dead_and_a_silent_primary_the_new_primary_is_found() {
    let lab = SentinelSetup::new().quorum(1).start().await.unwrap();
    let client = without_polling(&lab.url()).await;
    let writer = Writer::start(&client, 1);
    writer.works().await;
    let old = lab.primary().await.unwrap();
    old.freeze().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    for sentinel in &lab.sentinels()[..2] {
        sentinel.kill();
    }
    within(PATIENCE, "a write", writer.works()).await;
    writer.stop().await;
    assert!(new.command(&["GET", "key:0"]).await.unwrap().text().parse::<u64>().unwrap() > 0);
}

// #1293: the Sentinels all die, the primary fails over by hand, the Sentinels come back.
#[tokio::test]
async fn sentinels_that_were_all_dead_are_listened_to_again() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let client =
        within(PATIENCE, "the connection", Client::connect(named(&lab.url()).refresh_every(HOUR))).await.unwrap();
    listens_to(&lab, 3).await;
    for sentinel in lab.sentinels() {
        sentinel.kill();
    }
    // What is known stays in use.
    client.set("key", "value").await.unwrap();
    for sentinel in lab.sentinels() {
        sentinel.restart().await.unwrap();
    }
    listens_to(&lab, 3).await;
    lab.wait_until_settled().await.unwrap();
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    old.kill();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    failover_to(&mut events, &new).await;
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
}

// Case 68: exact counts, and nothing left.
#[tokio::test]
async fn each_sentinel_and_the_primary_have_two_connections_and_none_has_any_after_closing() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let count = async |server: &Server| {
        let list = server.command(&["CLIENT", "LIST"]).await.unwrap().text();
        list.lines().filter(|line| line.contains("name=subject")).count()
    };
    let counts = async || {
        let mut counts = Vec::new();
        for server in lab.sentinels().iter().chain(lab.data().nodes()) {
            counts.push(count(server).await);
        }
        counts
    };
    let client = within(PATIENCE, "the connection", Client::connect(named(&lab.url()))).await.unwrap();
    listens_to(&lab, 3).await;
    eventually(PATIENCE, "two at each Sentinel and at the primary", async || counts().await == [2, 2, 2, 2, 0, 0])
        .await
        .unwrap();
    // They are kept, not made anew for each question.
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    // Asked anew in each look: on a busy machine the Sentinels may fail over once more.
    let settled = eventually(PATIENCE, "none at who is primary no more", async || {
        let Some(primary) = lab.named().await else { return false };
        let at_data = lab.data().nodes().iter().map(|server| 2 * usize::from(server.address() == primary.address()));
        counts().await == [2, 2, 2].into_iter().chain(at_data).collect::<Vec<_>>()
    })
    .await;
    assert!(settled.is_ok(), "{:?}, and the primary is {:?}", counts().await, lab.named().await);
    let began = now();
    client.close().await;
    assert!(now() - began < Duration::from_secs(1), "{:?}", now() - began);
    eventually(PATIENCE, "no connection", async || counts().await == [0; 6]).await.unwrap();
}

// Case 68: a URL has names, Sentinels announce themselves by addresses. Nobody is met twice.
#[tokio::test]
async fn a_sentinel_that_announces_itself_by_another_name_is_not_connected_to_twice() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let names: Vec<_> = lab.addresses().iter().map(|address| format!("localhost:{}", address.port())).collect();
    let client = within(PATIENCE, "the connection", Client::connect(named(&lab.url_of(&names)))).await.unwrap();
    listens_to(&lab, 3).await;
    // A failover makes it ask more than once, and all of them.
    let mut events = client.events();
    let old = lab.primary().await.unwrap();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    failover_to(&mut events, &new).await;
    for sentinel in lab.sentinels() {
        let list = sentinel.command(&["CLIENT", "LIST"]).await.unwrap().text();
        assert_eq!(list.lines().filter(|line| line.contains("name=subject")).count(), 2, "{list}");
    }
}

// Case 73: closing is not held up by a Sentinel that is dead, by one that is silent, or by a failover.
#[tokio::test]
async fn closing_in_the_middle_of_a_failover_ends_in_time() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let silent = FaultProxy::start(lab.sentinels()[0].address()).await.unwrap();
    silent.accept(Accept::Silent).await.unwrap();
    let nobody = romaine_faultlab::Port::claim().unwrap();
    let mut addresses: Vec<_> = lab.addresses().iter().map(ToString::to_string).collect();
    addresses.extend([silent.address().to_string(), nobody.address().to_string()]);
    let client = within(PATIENCE, "the connection", Client::connect(config(&lab.url_of(&addresses)))).await.unwrap();
    let mut events = client.events();
    let consumer = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let subscription = client.subscribe(["news"]).await.unwrap();
    let old = lab.primary().await.unwrap();
    old.freeze().await.unwrap();
    event(&mut events, "the end of the connection", |event| match event {
        Event::Disconnected { lane: Lane::Commands, .. } => Some(()),
        _ => None,
    })
    .await;
    let waiting = background({
        let client = client.clone();
        async move { client.set("key", "value").await }
    });
    tokio::task::yield_now().await;
    let began = now();
    client.close().await;
    // What waits has `close_timeout`, 2 s, and the tasks half a second.
    assert!(now() - began < Duration::from_secs(3), "{:?}", now() - began);
    let ended = within(PROMISE, "the write", waiting).await.unwrap();
    assert!(ended.is_ok() || ended.unwrap_err().kind() == romaine::ErrorKind::Closed);
    let ended = within(PROMISE, "the consumer", consumer).await.unwrap();
    assert!(ended.is_err());
    drop(subscription);
    assert_eq!(silent.bytes(Direction::ToClient), 0);
    silent.set_both(Fault::Pass);
}
