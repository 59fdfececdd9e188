//! P4: subscribers are never fooled.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use romaine::commands::*;
use romaine::{Client, ErrorKind, Event, Incoming, Lane, Protocol, Subscription, SubscriptionKind, cmd};
use romaine_faultlab::{Direction, Fault, FaultProxy, ScriptedServer, Server, eventually};

use crate::support::{
    FAST, PATIENCE, Stopwatch, activated, ask, background, connect, disconnected, event, fast, gap, incoming, message,
    plain, told, within,
};

const KINDS: [SubscriptionKind; 3] = [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard];

async fn subscribed(client: &Client, kind: SubscriptionKind) -> Subscription {
    let subscription = match kind {
        SubscriptionKind::Channel => client.subscribe(["news"]).await,
        SubscriptionKind::Pattern => client.psubscribe(["n?ws"]).await,
        SubscriptionKind::Shard => client.ssubscribe(["news"]).await,
    };
    subscription.unwrap()
}

async fn publish(server: &Server, kind: SubscriptionKind, text: &str) {
    let command = if kind == SubscriptionKind::Shard { "SPUBLISH" } else { "PUBLISH" };
    assert_eq!(ask(server, &[command, "news", text]).await, "1", "one subscriber");
}

// 52, 53, 54, 102.
#[tokio::test]
async fn every_kind_of_subscription_is_restored_after_a_kill_and_the_stream_says_what_may_be_missing() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for kind in KINDS {
            let server = Server::start().await.unwrap();
            let client = connect(plain(server.address()).protocol(protocol)).await;
            let mut subscription = subscribed(&client, kind).await;
            publish(&server, kind, "before").await;
            assert_eq!(message(&mut subscription).await, "before");
            for round in 0..3 {
                ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                let cause = gap(&mut subscription).await;
                assert_eq!(cause.kind(), ErrorKind::Closed, "{cause}");
                let text = format!("after {round}");
                publish(&server, kind, &text).await;
                assert_eq!(message(&mut subscription).await, text);
            }
        }
    }
}

// 52, 53, 54, 55.
#[tokio::test]
async fn subscriptions_survive_a_restart_with_a_password_and_with_a_user() {
    let server = Server::builder().password("s3cret").acl("sub on >pw ~* &* +@all").start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let by_password = connect(plain(server.address()).protocol(protocol).password("s3cret")).await;
        let by_user = connect(plain(server.address()).protocol(protocol).user("sub", "pw")).await;
        for client in [by_password, by_user] {
            for kind in KINDS {
                let mut subscription = subscribed(&client, kind).await;
                server.restart().await.unwrap();
                gap(&mut subscription).await;
                publish(&server, kind, "again").await;
                assert_eq!(message(&mut subscription).await, "again");
            }
        }
    }
}

// 102.
#[tokio::test]
async fn a_gap_begins_no_later_than_the_interruption_and_ends_no_earlier_than_the_confirmation() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the marker carries wall-clock time")]
    let wall_clock = SystemTime::now;
    let before = wall_clock();
    server.kill();
    disconnected(&mut events, Lane::Subscriptions).await;
    let down = wall_clock();
    server.restart().await.unwrap();
    let Incoming::Gap { topic, since, until, .. } = incoming(&mut subscription).await else { panic!("a gap") };
    assert_eq!(topic, "news");
    assert!(since <= down && since + Duration::from_secs(2) >= before, "the last proof of life");
    assert!(until >= down);
    let duration = event(&mut events, "the gap", |event| match event {
        Event::Gap { topic, duration } if topic == "news" => Some(*duration),
        _ => None,
    })
    .await;
    assert!(duration > Duration::ZERO);
    let topics = event(&mut events, "the end of it", |event| match event {
        Event::Resubscribed { topics } => Some(*topics),
        _ => None,
    })
    .await;
    assert_eq!(topics, 1);
}

// 102: a refusal is an error, not a log line and not a hang.
#[tokio::test]
async fn what_the_acl_forbids_is_an_error_and_harms_no_other_subscription() {
    let server = Server::builder().acl("sub on >pw resetchannels &open* +@all").start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let client = connect(plain(server.address()).protocol(protocol).user("sub", "pw")).await;
        let (refused, granted, both) = within(Duration::from_secs(5), "both answers", async {
            tokio::join!(
                client.subscribe(["secret"]),
                client.subscribe(["open"]),
                client.subscribe(["open2", "secret2"])
            )
        })
        .await;
        for error in [refused.unwrap_err(), both.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(error.to_string().contains("SUBSCRIBE") && error.to_string().contains("NOPERM"), "{error}");
        }
        let mut granted = granted.unwrap();
        ask(&server, &["PUBLISH", "open", "hello"]).await;
        assert_eq!(message(&mut granted).await, "hello");
        eventually(PATIENCE, "the end of what was half granted", async || {
            ask(&server, &["PUBSUB", "CHANNELS"]).await == "open"
        })
        .await
        .unwrap();
    }
}

// 102.
#[tokio::test]
async fn a_subscription_that_may_not_be_resumed_says_so_and_comes_back_with_the_permission() {
    let server = Server::builder().acl("sub on >pw allchannels +@all").start().await.unwrap();
    let client = connect(plain(server.address()).user("sub", "pw")).await;
    let mut events = client.events();
    let mut news = client.subscribe(["news"]).await.unwrap();
    let mut other = client.subscribe(["other"]).await.unwrap();
    // The server itself ends the connection of a user that has lost a channel it is subscribed to.
    ask(&server, &["ACL", "SETUSER", "sub", "resetchannels", "&other"]).await;
    gap(&mut other).await;
    match incoming(&mut news).await {
        Incoming::Refused { topic, cause } => {
            assert_eq!(topic, "news");
            assert_eq!(cause.kind(), ErrorKind::Auth);
        }
        marker => panic!("{marker:?}"),
    }
    event(&mut events, "the refusal", |event| match event {
        Event::SubscriptionRefused { topic, .. } if topic == "news" => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(client.subscribe(["news"]).await.unwrap_err().kind(), ErrorKind::Auth, "told at once");
    ask(&server, &["PUBLISH", "other", "goes on"]).await;
    assert_eq!(message(&mut other).await, "goes on");
    ask(&server, &["ACL", "SETUSER", "sub", "&news"]).await;
    gap(&mut news).await;
    ask(&server, &["PUBLISH", "news", "back"]).await;
    assert_eq!(message(&mut news).await, "back");
}

// A least-privilege subscriber has no PING.
#[tokio::test]
async fn a_user_who_may_only_subscribe_stays_connected() {
    let server = Server::builder().acl("sub on >pw allchannels -@all +@pubsub").start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let client = connect(fast(server.address()).protocol(protocol).user("sub", "pw")).await;
        let mut events = client.events();
        let mut first = client.subscribe(["a", "b"]).await.unwrap();
        // Idle for longer than a dead peer is given.
        let quiet = tokio::time::timeout(FAST, first.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        let _second = client.psubscribe(["c*"]).await.unwrap();
        ask(&server, &["PUBLISH", "b", "hello"]).await;
        assert_eq!(message(&mut first).await, "hello");
        let ends: Vec<_> =
            told(&mut events).into_iter().filter(|event| matches!(event, Event::Disconnected { .. })).collect();
        assert!(ends.is_empty(), "{ends:?}");
    }
}

// 101, on one server: the unsolicited end of a shard subscription.
#[tokio::test]
async fn an_unsolicited_sunsubscribe_is_answered_with_a_new_subscription_and_a_gap() {
    let server = ScriptedServer::start(|mut conn| async move {
        conn.greet_resp3().await?;
        if conn.index() == 0 {
            return conn.answer_all(b"+PONG\r\n").await;
        }
        conn.expect("SSUBSCRIBE").await?;
        conn.send(b">3\r\n$10\r\nssubscribe\r\n$5\r\norder\r\n:1\r\n").await?;
        conn.expect("PING").await?;
        conn.send(b"+PONG\r\n>3\r\n$12\r\nsunsubscribe\r\n$5\r\norder\r\n:0\r\n").await?;
        conn.expect("SSUBSCRIBE").await?;
        conn.send(b">3\r\n$10\r\nssubscribe\r\n$5\r\norder\r\n:1\r\n").await?;
        conn.expect("PING").await?;
        conn.send(b"+PONG\r\n>3\r\n$8\r\nsmessage\r\n$5\r\norder\r\n$2\r\nhi\r\n").await?;
        conn.answer_all(b"+PONG\r\n").await
    })
    .await
    .unwrap();
    let client = connect(plain(server.address())).await;
    let mut subscription = client.ssubscribe(["order"]).await.unwrap();
    let cause = gap(&mut subscription).await;
    assert!(cause.to_string().contains("ended the subscription"), "{cause}");
    assert_eq!(message(&mut subscription).await, "hi");
    assert_eq!(server.failures(), Vec::<String>::new());
}

// 57.
#[tokio::test]
async fn subscribers_of_one_channel_share_it_and_the_server_is_told_when_the_last_one_leaves() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut first = client.subscribe([b"news".to_vec(), b"news".to_vec()]).await.unwrap();
    let mut second = client.subscribe(["news", "sport"]).await.unwrap();
    assert_eq!(ask(&server, &["PUBLISH", "news", "1"]).await, "1", "one subscription at the server");
    assert_eq!(message(&mut first).await, "1");
    assert_eq!(message(&mut second).await, "1");
    drop(first);
    assert_eq!(ask(&server, &["PUBLISH", "news", "2"]).await, "1");
    assert_eq!(message(&mut second).await, "2", "a topic named twice is delivered once");
    drop(second);
    eventually(PATIENCE, "no channel", async || ask(&server, &["PUBSUB", "CHANNELS"]).await.is_empty()).await.unwrap();
}

// 61.
#[tokio::test]
async fn what_was_dropped_is_not_restored() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let dropped = client.subscribe(["a", "b"]).await.unwrap();
    let mut kept = client.subscribe(["c"]).await.unwrap();
    activated(&mut events, Lane::Subscriptions).await;
    drop(dropped);
    ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    gap(&mut kept).await;
    assert_eq!(ask(&server, &["PUBSUB", "CHANNELS"]).await, "c");
    drop(kept);
    server.restart().await.unwrap();
    activated(&mut events, Lane::Subscriptions).await;
    assert_eq!(ask(&server, &["PUBSUB", "CHANNELS"]).await, "");
}

// 60.
#[tokio::test]
async fn closing_the_client_ends_its_streams_and_says_why() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    ask(&server, &["PUBLISH", "news", "last"]).await;
    assert_eq!(message(&mut subscription).await, "last");
    assert!(subscription.ended_by().is_none());
    within(PATIENCE, "the close", client.close()).await;
    assert!(within(PATIENCE, "the end", subscription.next()).await.is_none());
    assert_eq!(subscription.ended_by().unwrap().kind(), ErrorKind::Closed);
    let error = client.subscribe(["news"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(ask(&server, &["PUBSUB", "CHANNELS"]).await, "");
}

// 58.
#[tokio::test]
async fn subscriptions_that_come_and_go_get_what_is_theirs() {
    let server = Server::start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let client = connect(fast(server.address()).protocol(protocol)).await;
        let mut steady = client.subscribe(["steady"]).await.unwrap();
        for round in 0..40 {
            let topic = format!("t{}", round % 4);
            let (mut one, mut all) =
                tokio::try_join!(client.subscribe([topic.clone()]), client.psubscribe(["t*"])).unwrap();
            let text = format!("{protocol:?} {round}");
            client.publish(&topic, &text).await.unwrap();
            client.publish("steady", &text).await.unwrap();
            assert_eq!(message(&mut one).await, text);
            assert_eq!(message(&mut all).await, text);
            assert_eq!(message(&mut steady).await, text);
        }
    }
}

// 59: a RESP2 connection with subscriptions takes no other commands; ours never carries any.
#[tokio::test]
async fn ordinary_commands_flow_beside_subscriptions_in_both_protocols() {
    let server = Server::start().await.unwrap();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let client = connect(plain(server.address()).protocol(protocol)).await;
        let _subscription = client.subscribe(["news"]).await.unwrap();
        client.set("k", "v").await.unwrap();
        assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "v");
        let error = client.issue(cmd::<()>("SUBSCRIBE").arg("news")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("client.subscribe()"), "{error}");
    }
}

// 56.
#[tokio::test]
async fn a_consumer_that_panics_takes_no_other_with_it() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut other = client.subscribe(["news"]).await.unwrap();
    let mut doomed = client.subscribe(["news"]).await.unwrap();
    let task = background(async move {
        doomed.next().await;
        panic!("a mistake in the application");
    });
    ask(&server, &["PUBLISH", "news", "1"]).await;
    assert!(task.await.is_err());
    ask(&server, &["PUBLISH", "news", "2"]).await;
    assert_eq!(message(&mut other).await, "1");
    assert_eq!(message(&mut other).await, "2");
}

// 64, P1.
#[tokio::test]
async fn a_silent_path_to_a_subscriber_is_noticed_within_two_seconds_and_its_gap_told() {
    let server = Server::start().await.unwrap();
    let mut tests = tokio::task::JoinSet::new();
    for (direction, fault) in [
        (None, Fault::Stall),
        (None, Fault::Swallow),
        (Some(Direction::ToClient), Fault::Stall),
        (Some(Direction::ToServer), Fault::Swallow),
    ] {
        let proxy = FaultProxy::start(server.address()).await.unwrap();
        tests.spawn(async move {
            let client = connect(fast(proxy.address())).await;
            let mut events = client.events();
            let mut subscription = client.subscribe(["news"]).await.unwrap();
            let watch = Stopwatch::start();
            match direction {
                None => proxy.set_both(fault),
                Some(direction) => proxy.set(direction, fault),
            }
            let cause = disconnected(&mut events, Lane::Subscriptions).await;
            watch.within(FAST, &format!("{fault:?} {direction:?} {cause}"));
            proxy.heal().await.unwrap();
            gap(&mut subscription).await;
        });
    }
    while let Some(test) = tests.join_next().await {
        test.unwrap();
    }
}

// P1: the kernel of a frozen process goes on acknowledging.
#[tokio::test]
async fn a_frozen_server_is_noticed_by_its_subscribers_and_they_come_back() {
    let server = Server::start().await.unwrap();
    let client = connect(fast(server.address())).await;
    let mut events = client.events();
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    let watch = Stopwatch::start();
    server.freeze().await.unwrap();
    disconnected(&mut events, Lane::Subscriptions).await;
    watch.within(FAST, "noticed after");
    server.thaw().unwrap();
    gap(&mut subscription).await;
    ask(&server, &["PUBLISH", "news", "thawed"]).await;
    assert_eq!(message(&mut subscription).await, "thawed");
}

#[tokio::test]
async fn subscribing_while_there_is_no_server_ends_with_the_reason_and_leaves_nothing_behind() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address()).timeout(Duration::from_millis(300))).await;
    server.kill();
    let error = within(PATIENCE, "the error", client.subscribe(["news"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let mut events = client.events();
    server.restart().await.unwrap();
    activated(&mut events, Lane::Subscriptions).await;
    assert_eq!(ask(&server, &["PUBSUB", "CHANNELS"]).await, "");
    // What is made after the outage has no part in it.
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    ask(&server, &["PUBLISH", "news", "first"]).await;
    assert_eq!(message(&mut subscription).await, "first");
}

#[tokio::test]
async fn one_who_subscribes_during_an_outage_is_told_of_no_gap_that_is_not_his() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let mut old = client.subscribe(["news"]).await.unwrap();
    server.kill();
    disconnected(&mut events, Lane::Subscriptions).await;
    let (young, restarted) = tokio::join!(client.subscribe(["news"]), server.restart());
    restarted.unwrap();
    let mut young = young.unwrap();
    gap(&mut old).await;
    ask(&server, &["PUBLISH", "news", "hello"]).await;
    assert_eq!(message(&mut young).await, "hello");
    assert_eq!(message(&mut old).await, "hello");
}

#[tokio::test]
async fn thousands_of_topics_are_restored_in_a_few_requests() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let topics: Vec<String> = (0..3_000).map(|n| format!("t{n}")).collect();
    let mut subscription = client.subscribe(topics).await.unwrap();
    ask(&server, &["CONFIG", "RESETSTAT"]).await;
    ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let topics = event(&mut events, "everything", |event| match event {
        Event::Resubscribed { topics } if *topics > 0 => Some(*topics),
        _ => None,
    })
    .await;
    assert_eq!(topics, 3_000);
    assert_eq!(crate::support::calls(&server, "subscribe").await, 6);
    let gaps = (&mut subscription).take(6_000).filter(|item| {
        let is_gap = matches!(item, Incoming::Gap { .. });
        std::future::ready(is_gap)
    });
    assert_eq!(within(PATIENCE, "the gaps", gaps.count()).await, 3_000);
}

#[tokio::test]
async fn a_subscribe_that_waits_ends_with_the_client_however_long_it_would_wait() {
    let server = Server::start().await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let client = connect(plain(proxy.address()).no_timeout()).await;
    let before = proxy.connections();
    proxy.set_both(Fault::Stall);
    let waiting = client.clone();
    let call = background(async move { waiting.subscribe(["news"]).await.map(drop) });
    proxy.wait_for_connections(before + 1).await.unwrap();
    within(PATIENCE, "the end", client.close()).await;
    assert_eq!(crate::support::ended(call).await.unwrap_err().kind(), ErrorKind::Closed);
}
