//! P7: a subscriber that does not keep up costs the application its oldest messages, never the server its memory.

use romaine::commands::*;
use romaine::{Client, ErrorKind, Event, Incoming, Overflow};
use romaine_faultlab::{Server, eventually};

use crate::support::{PATIENCE, ask, connect, event, incoming, message, plain, told, within};

/// Small buffers: a client that does not read is thrown out.
async fn strict_server() -> Server {
    let lines = Server::builder().config_line("client-output-buffer-limit pubsub 2mb 1mb 1");
    lines.start().await.unwrap()
}

async fn flood(publisher: &Client, messages: u32) {
    for chunk in 0..messages / 500 {
        let mut pipeline = publisher.pipeline();
        for n in 0..500 {
            let text = format!("{:08}{}", chunk * 500 + n, "x".repeat(1_000));
            let _receivers = pipeline.publish("news", text);
        }
        pipeline.execute().await.unwrap();
    }
}

fn number(incoming: &Incoming) -> u32 {
    match incoming {
        Incoming::Message(message) => std::str::from_utf8(&message.payload[..8]).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

// F15: the socket is read whether or not the application consumes.
#[tokio::test]
async fn the_oldest_are_dropped_and_counted_while_the_servers_buffer_stays_small() {
    let server = strict_server().await;
    let client = connect(plain(server.address()).subscription_backlog(1_000, Overflow::DropOldest)).await;
    let mut events = client.events();
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    let publisher = connect(plain(server.address())).await;
    flood(&publisher, 20_000).await;
    eventually(PATIENCE, "the last message", async || client.metrics().subscriptions.pushes >= 20_001).await.unwrap();
    let client_list = ask(&server, &["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let buffered = client_list.split_ascii_whitespace().find_map(|field| field.strip_prefix("omem=")).unwrap();
    assert!(buffered.parse::<u32>().unwrap() < 1 << 20, "{client_list}");

    let Incoming::Dropped(dropped) = incoming(&mut subscription).await else { panic!("the count first") };
    assert_eq!(dropped, 19_000);
    for expected in 19_000..20_000 {
        assert_eq!(number(&incoming(&mut subscription).await), expected);
    }
    ask(&server, &["PUBLISH", "news", "and on"]).await;
    assert_eq!(message(&mut subscription).await, "and on");
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::Disconnected { .. })));
}

// P7: a few large messages are as many bytes as many small ones.
#[tokio::test]
async fn the_backlog_is_bounded_in_bytes_too() {
    let server = Server::start().await.unwrap();
    let client = connect(plain(server.address()).subscription_backlog_bytes(100_000)).await;
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    let publisher = connect(plain(server.address())).await;
    let large = "x".repeat(30_000);
    for n in 0..20 {
        publisher.publish("news", format!("{n:08}{large}")).await.unwrap();
    }
    // Larger than the limit alone: held, and everything before it dropped.
    eventually(PATIENCE, "the last message", async || client.metrics().subscriptions.pushes >= 21).await.unwrap();
    assert!(subscription.ended_by().is_none());
    let Incoming::Dropped(dropped) = incoming(&mut subscription).await else { panic!("the count first") };
    assert_eq!(dropped, 17);
    for expected in 17..20 {
        assert_eq!(number(&incoming(&mut subscription).await), expected);
    }
    publisher.publish("news", format!("{:08}{}", 20, "y".repeat(200_000))).await.unwrap();
    assert_eq!(number(&incoming(&mut subscription).await), 20);
}

#[tokio::test]
async fn with_the_close_policy_the_stream_ends_after_what_it_held_and_says_why() {
    let server = strict_server().await;
    let config = plain(server.address()).subscription_backlog(10, Overflow::Close);
    let client = connect(config).await;
    let mut events = client.events();
    let mut slow = client.subscribe(["news"]).await.unwrap();
    let publisher = connect(plain(server.address())).await;
    flood(&publisher, 500).await;
    let count = event(&mut events, "the overflow", |event| match event {
        Event::MessagesDropped { topic, count } if topic == "news" => Some(*count),
        _ => None,
    })
    .await;
    assert!(count > 0);
    for expected in 0..10 {
        assert_eq!(number(&incoming(&mut slow).await), expected);
    }
    assert!(within(PATIENCE, "the end", slow.next()).await.is_none());
    assert_eq!(slow.ended_by().unwrap().kind(), ErrorKind::Overloaded);
    assert!(slow.ended_by().unwrap().to_string().contains("subscription_backlog"));
    // Another subscriber of the same channel begins afresh.
    eventually(PATIENCE, "the flood's end", async || client.metrics().subscriptions.pushes >= 501).await.unwrap();
    let mut other = client.subscribe(["news"]).await.unwrap();
    ask(&server, &["PUBLISH", "news", "hello"]).await;
    assert_eq!(message(&mut other).await, "hello");
}

// A RESP3 connection with subscriptions counts as a subscriber for the server's limits, big replies included.
#[tokio::test]
async fn big_replies_do_not_touch_the_subscriptions() {
    let server = strict_server().await;
    let client = connect(plain(server.address())).await;
    let mut events = client.events();
    let mut subscription = client.subscribe(["news"]).await.unwrap();
    client.set("big", vec![b'x'; 24 << 20]).await.unwrap();
    for _ in 0..3 {
        let big: Vec<u8> = client.get("big").await.unwrap().unwrap();
        assert_eq!(big.len(), 24 << 20);
    }
    ask(&server, &["PUBLISH", "news", "calm"]).await;
    assert_eq!(message(&mut subscription).await, "calm");
    assert!(!told(&mut events).iter().any(|event| matches!(event, Event::Disconnected { .. })));
}
