//! What Sentinels tell, and when they are asked: exact, with Sentinels that say what they are told to.

use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Event, EventStream};
use romaine_faultlab::{Server, eventually};

use crate::sentinel_fake::{FakeSentinel, Says};
use crate::support::{PATIENCE, PROMISE, background, config, event, node, now, within};

const HOUR: Duration = Duration::from_secs(3_600);

/// A client that asks only when it has a reason, and has asked all that there is to ask at its start.
async fn quiet_client(sentinel: &FakeSentinel) -> Client {
    let config = config(&sentinel.url()).refresh_every(HOUR);
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    // The first question is the start's, the second the new subscription's: what was told before it is not known.
    eventually(PATIENCE, "the question after the subscription", async || sentinel.asked() >= 2).await.unwrap();
    client
}

async fn failover_to(events: &mut EventStream, primary: &Server) {
    let to = event(events, "the failover", |event| match event {
        Event::Failover { to, .. } => Some(to.clone()),
        _ => None,
    })
    .await;
    assert_eq!(*to, *node(primary));
}

// Case 69, holes 19 and 21: the real names, with their signs.
#[tokio::test]
async fn each_event_about_the_primary_makes_the_client_ask_at_once() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let of_primary = format!("master mymaster 127.0.0.1 {}", one.port());
    let of_replica = format!("slave 127.0.0.1:1 127.0.0.1 1 @ mymaster 127.0.0.1 {}", one.port());
    let switched = format!("mymaster 127.0.0.1 {} 127.0.0.1 {}", one.port(), other.port());
    for (channel, payload) in [
        ("+switch-master", &switched),
        ("+elected-leader", &of_primary),
        ("+reset-master", &of_primary),
        ("+slave", &of_replica),
        ("+sdown", &of_primary),
        ("-sdown", &of_replica),
        ("+odown", &of_primary),
        ("+convert-to-slave", &of_replica),
        ("+role-change", &of_replica),
        ("+fix-slave-config", &of_replica),
        ("+promoted-slave", &of_replica),
        ("+failover-end", &of_primary),
        ("+failover-end-for-timeout", &of_primary),
    ] {
        let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
        let client = quiet_client(&sentinel).await;
        let mut events = client.events();
        sentinel.says(Says::primary(other.address(), 2));
        sentinel.tells(channel, payload);
        let told = now();
        failover_to(&mut events, &other).await;
        assert!(now() - told < PROMISE, "{channel}: {:?}", now() - told);
        client.set("key", channel).await.unwrap();
        assert_eq!(other.command(&["GET", "key"]).await.unwrap().text(), channel);
        client.close().await;
    }
}

// Case 70
#[tokio::test]
async fn events_about_another_primary_are_no_reason_to_ask() {
    let one = Server::start().await.unwrap();
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&sentinel).await;
    let before = sentinel.asked();
    for n in 0..100 {
        sentinel.tells("+switch-master", &format!("other{n} 127.0.0.1 1 127.0.0.1 2"));
        sentinel.tells("+sdown", "slave 127.0.0.1:1 127.0.0.1 1 @ mymaster2 127.0.0.1 2");
        sentinel.tells("+selected-slave", "slave mymaster 127.0.0.1 1 @ other 127.0.0.1 2");
        sentinel.tells("+tilt", "#tilt mode entered");
    }
    let asked = eventually(Duration::from_secs(1), "a question", async || sentinel.asked() > before).await;
    assert!(asked.is_err(), "it asked {} times", sentinel.asked() - before);
    // And they were no reason to hold anything back either.
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
}

// Case 71
#[tokio::test]
async fn a_burst_of_events_makes_few_questions_and_the_last_event_is_never_lost() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&sentinel).await;
    let mut events = client.events();
    let before = sentinel.asked();
    let began = now();
    let payload = format!("slave 127.0.0.1:1 127.0.0.1 1 @ mymaster 127.0.0.1 {}", one.port());
    for _ in 0..1_000 {
        sentinel.tells("+slave", &payload);
    }
    eventually(PATIENCE, "a question", async || sentinel.asked() > before).await.unwrap();
    sentinel.says(Says::primary(other.address(), 2));
    sentinel.tells("+switch-master", &format!("mymaster 127.0.0.1 {} 127.0.0.1 {}", one.port(), other.port()));
    failover_to(&mut events, &other).await;
    // Not one for each: they are at least 100 ms apart.
    let tenths = usize::try_from((now() - began).as_millis() / 100).unwrap();
    assert!(sentinel.asked() - before <= tenths + 2, "{} in {tenths} tenths of a second", sentinel.asked() - before);
}

// Case 72, hole 20: Lettuce closes the healthy watches.
#[tokio::test]
async fn a_sentinel_that_appears_is_listened_to_and_one_that_cannot_be_reached_harms_nobody() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let first = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let second = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&first).await;
    let nobody = romaine_faultlab::Port::claim().unwrap();
    let sentinels = vec![second.address(), nobody.address()];
    first.says(Says { sentinels, ..Says::primary(one.address(), 1) });
    let payload = format!("sentinel abc 127.0.0.1 {} @ mymaster 127.0.0.1 {}", second.address().port(), one.port());
    first.tells("+sentinel", &payload);
    eventually(PATIENCE, "the new one to be listened to", async || second.listeners() == 1).await.unwrap();
    let connections = (first.connections(), second.connections());
    // The one that cannot be reached is tried again meanwhile: the connections to the others stay.
    for _ in 0..5 {
        let asked = first.asked();
        first.tells("-sdown", &payload);
        eventually(PATIENCE, "a question", async || first.asked() > asked).await.unwrap();
    }
    assert_eq!((first.listeners(), second.listeners()), (1, 1));
    assert_eq!((first.connections(), second.connections()), connections);
    // What only the new one tells is heard.
    let mut events = client.events();
    for sentinel in [&first, &second] {
        sentinel.says(Says::primary(other.address(), 2));
    }
    second.tells("+switch-master", &format!("mymaster 127.0.0.1 {} 127.0.0.1 {}", one.port(), other.port()));
    failover_to(&mut events, &other).await;
}

// Case 99, hole 23 (Lettuce #3017)
#[tokio::test]
async fn sentinels_that_know_nothing_any_more_do_not_make_the_client_forget() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&sentinel).await;
    let nodes = client.nodes();
    sentinel.says(Says::default());
    for _ in 0..5 {
        let asked = sentinel.asked();
        sentinel.tells("+reset-master", &format!("master mymaster 127.0.0.1 {}", one.port()));
        eventually(PATIENCE, "a question", async || sentinel.asked() > asked).await.unwrap();
        client.set("key", "value").await.unwrap();
        assert_eq!(client.nodes(), nodes);
    }
    // It is asked again by itself until somebody knows.
    let mut events = client.events();
    sentinel.says(Says::primary(other.address(), 2));
    let known = now();
    failover_to(&mut events, &other).await;
    assert!(now() - known < Duration::from_secs(4), "{:?}", now() - known);
}

// Hole 28 (Lettuce #3920): services that speak as a Sentinel without events.
#[tokio::test]
async fn without_events_asking_from_time_to_time_finds_the_new_primary() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let sentinel = FakeSentinel::without_events(Says::primary(one.address(), 1)).await;
    let config = config(&sentinel.url()).refresh_every(Duration::from_secs(1));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    let mut events = client.events();
    sentinel.says(Says::primary(other.address(), 2));
    let changed = now();
    failover_to(&mut events, &other).await;
    assert!(now() - changed < Duration::from_secs(3), "{:?}", now() - changed);
    client.set("key", "value").await.unwrap();
    assert_eq!(other.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// F18: a thousand clients with one dead Sentinel among three must not become a load for the other two.
#[tokio::test]
async fn a_dead_sentinel_is_tried_for_ever_and_the_others_are_not_asked_for_it() {
    let one = Server::start().await.unwrap();
    let nobody = romaine_faultlab::Port::claim().unwrap();
    let says = Says { sentinels: vec![nobody.address()], ..Says::primary(one.address(), 1) };
    let sentinel = FakeSentinel::start(says).await;
    let client = quiet_client(&sentinel).await;
    let mut events = client.events();
    let dialled = |event: &Event| match event {
        Event::ConnectAttempt { node, attempt, .. } if **node == *nobody.address().to_string() => Some(*attempt),
        _ => None,
    };
    while event(&mut events, "an attempt", dialled).await < 4 {}
    let before = sentinel.asked();
    while event(&mut events, "an attempt", dialled).await < 7 {}
    assert!(sentinel.asked() - before <= 1, "it was asked {} times", sentinel.asked() - before);
}

// Case 95, READONLY: the old primary is demoted and alive, and still named.
#[tokio::test]
async fn a_demoted_primary_is_left_at_once_and_not_stormed_while_it_is_still_named() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&sentinel).await;
    let mut events = client.events();
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            background(async move {
                for _ in 0..200 {
                    client.incr(format!("key:{n}")).await?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok::<_, romaine::Error>(())
            })
        })
        .collect();
    let made = async || field(&one, "stats", "total_connections_received").await;
    // What the demotion itself brings: the replication's handshake is the other server's.
    one.command(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await.unwrap();
    let (before, asked_before) = (made().await, sentinel.asked());
    for _ in 0..3 {
        event(&mut events, "the refusal of its role", |event| match event {
            Event::RoleRefused { node: at, .. } if **at == *node(&one) => Some(()),
            _ => None,
        })
        .await;
    }
    let began = now();
    while now() - began < Duration::from_secs(2) {
        event(&mut events, "an event", |_| Some(())).await;
    }
    let (connections, asked) = (made().await - before, sentinel.asked() - asked_before);
    assert!(connections <= 20, "{connections} connections");
    assert!(asked <= 40, "{asked} questions");
    sentinel.says(Says::primary(other.address(), 2));
    other.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    sentinel.tells("+switch-master", &format!("mymaster 127.0.0.1 {} 127.0.0.1 {}", one.port(), other.port()));
    let switched = now();
    failover_to(&mut events, &other).await;
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
    assert!(now() - switched < PROMISE, "{:?}", now() - switched);
    for writer in writers {
        within(PATIENCE, "the writer", writer).await.unwrap().expect("a refused write is repeated at the right server");
    }
}

/// A number of INFO's.
async fn field(server: &Server, section: &str, name: &str) -> u64 {
    let info = server.command(&["INFO", section]).await.unwrap().text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim().parse().unwrap()
}

/// Whether a write is answered within half a second.
async fn is_held(client: &Client) -> bool {
    client.set("key", "value").timeout(Duration::from_millis(500)).await.is_err()
}

fn selected(primary: &Server) -> String {
    format!("slave 127.0.0.1:1 127.0.0.1 1 @ mymaster 127.0.0.1 {}", primary.port())
}

// What the old primary acknowledges after its successor was chosen would be lost.
#[tokio::test]
async fn writes_wait_while_a_failover_is_under_way_and_no_longer_than_the_limit() {
    let one = Server::start().await.unwrap();
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let config = config(&sentinel.url()).refresh_every(HOUR).failover_hold(Duration::from_millis(1_500));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    eventually(PATIENCE, "the watch", async || sentinel.listeners() == 1).await.unwrap();
    let told = now();
    sentinel.tells("+selected-slave", &selected(&one));
    eventually(PATIENCE, "the hold", async || is_held(&client).await).await.unwrap();
    client.set("key", "value").await.unwrap();
    assert!(now() - told >= Duration::from_millis(1_400), "{:?}", now() - told);
    assert!(now() - told < Duration::from_secs(4), "{:?}", now() - told);
}

#[tokio::test]
async fn a_failover_that_comes_to_nothing_lets_the_writes_go_at_once() {
    let one = Server::start().await.unwrap();
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let config = config(&sentinel.url()).refresh_every(HOUR).failover_hold(Duration::from_secs(30));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    eventually(PATIENCE, "the watch", async || sentinel.listeners() == 1).await.unwrap();
    sentinel.tells("+selected-slave", &selected(&one));
    eventually(PATIENCE, "the hold", async || is_held(&client).await).await.unwrap();
    sentinel.tells("-failover-abort-no-good-slave", &format!("master mymaster 127.0.0.1 {}", one.port()));
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
}

// A Sentinel behind a slow link tells of what is over.
#[tokio::test]
async fn what_is_told_late_of_the_failover_before_does_not_hold_the_new_primary() {
    let (one, other) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let sentinel = FakeSentinel::start(Says::primary(one.address(), 1)).await;
    let client = quiet_client(&sentinel).await;
    let mut events = client.events();
    sentinel.says(Says::primary(other.address(), 2));
    sentinel.tells("+switch-master", &format!("mymaster 127.0.0.1 {} 127.0.0.1 {}", one.port(), other.port()));
    failover_to(&mut events, &other).await;
    client.set("key", "value").await.unwrap();
    let asked = sentinel.asked();
    sentinel.tells("+failover-state-wait-promotion", &selected(&one));
    eventually(PATIENCE, "a question", async || sentinel.asked() > asked).await.unwrap();
    assert!(!is_held(&client).await);
}
