//! Whom a client believes when Sentinels disagree, are few, or ask for a password.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, ErrorKind, Event};
use romaine_faultlab::{Accept, Direction, FaultProxy, Port, SentinelSetup, Server, TlsFiles, eventually};

use crate::sentinel_fake::{FakeSentinel, Says};
use crate::support::{PATIENCE, PROMISE, config, connect, event, node, now, within};

async fn port_of(client: &Client) -> String {
    client.config_get(["port"]).await.unwrap().into_values().next().unwrap()
}

// Case 65
#[tokio::test]
async fn one_sentinel_of_three_is_enough_to_connect() {
    let lab = SentinelSetup::new().start().await.unwrap();
    lab.sentinels()[0].kill();
    lab.sentinels()[1].freeze().await.unwrap();
    let began = now();
    let client = connect(&lab.url()).await;
    assert!(now() - began < Duration::from_secs(4), "{:?}", now() - began);
    client.set("key", "value").await.unwrap();
    assert_eq!(port_of(&client).await, lab.data().nodes()[0].port().to_string());
    client.close().await;
}

// Case 66: nobody answers, in each way of not answering.
#[tokio::test]
async fn sentinels_that_say_nothing_fail_the_first_attempt_in_bounded_time_and_are_tried_again() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let proxy = FaultProxy::start(lab.sentinels()[0].address()).await.unwrap();
    proxy.accept(Accept::Silent).await.unwrap();
    let url = lab.url_of(&[proxy.address().to_string()]);
    let began = now();
    let error = within(PATIENCE, "the error", Client::connect(config(&url))).await.unwrap_err();
    assert!(now() - began < Duration::from_secs(6), "{:?}", now() - began);
    // Whichever limit comes first: the silence of the connection, or the question's.
    assert!(error.to_string().contains("nothing was received") || error.kind() == ErrorKind::Timeout, "{error}");
    // A lazy client goes on asking: as soon as one answers, commands flow.
    let client = Client::connect(config(&url).lazy()).await.unwrap();
    let error = client.get::<String>("key").timeout(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    proxy.heal().await.unwrap();
    proxy.reset_all().await.unwrap();
    within(PATIENCE, "the connection", client.connected()).await.unwrap();
    client.set("key", "value").await.unwrap();
}

// Case 67
#[tokio::test]
async fn sentinels_have_a_user_of_their_own_and_the_data_nodes_another_password() {
    let lab = SentinelSetup::new()
        .server(Server::builder().password("of_the_data"))
        .sentinel_auth("watcher", "of_the_sentinels")
        .start()
        .await
        .unwrap();
    let addresses: Vec<_> = lab.addresses().iter().map(|at| (at.ip().to_string(), at.port())).collect();
    let data = |password: &str| {
        romaine::Config::sentinel(addresses.clone(), "mymaster")
            .unwrap()
            .liveness(romaine::Liveness::fast())
            .password(password)
    };
    let with_both = data("of_the_data").sentinel_user("watcher", "of_the_sentinels").unwrap();
    let client = within(PATIENCE, "the connection", Client::connect(with_both)).await.unwrap();
    client.set("key", "value").await.unwrap();
    // Both are kept over a failover.
    let old = lab.primary().await.unwrap();
    old.kill();
    lab.wait_for_new_primary(old.address()).await.unwrap();
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
    client.close().await;

    for (wrong, whose) in [
        (data("of_the_data").sentinel_user("watcher", "wrong").unwrap(), "the Sentinels'"),
        (data("wrong").sentinel_user("watcher", "of_the_sentinels").unwrap(), "the data nodes'"),
    ] {
        let error = within(PATIENCE, "the error", Client::connect(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{whose}: {error:?}");
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
}

// Case 67: TLS to both.
#[tokio::test]
async fn sentinels_and_data_nodes_are_reached_by_tls() {
    let files = TlsFiles::generate().unwrap();
    let encrypted = || Server::builder().tls(&files).config_line("tls-replication yes");
    let primary = encrypted().start().await.unwrap();
    let sentinel = encrypted()
        .sentinel()
        .config_line("sentinel resolve-hostnames yes")
        .config_line("sentinel announce-hostnames yes")
        .config_line(format!("sentinel monitor mymaster localhost {} 1", primary.tls_address().unwrap().port()))
        .start()
        .await
        .unwrap();
    let url = format!(
        "rediss-sentinel://localhost:{}/mymaster?ca={}",
        sentinel.tls_address().unwrap().port(),
        files.ca_cert().display()
    );
    let client = connect(&url).await;
    client.set("key", "value").await.unwrap();
    assert_eq!(primary.command(&["GET", "key"]).await.unwrap().text(), "value");
}

// Hole 27 (Lettuce #661): the first of the URL knows nothing of the failover.
#[tokio::test]
async fn a_blind_sentinel_that_comes_first_is_not_believed() {
    let lab = SentinelSetup::new().with_blind_sentinel().start().await.unwrap();
    let old = lab.primary().await.unwrap();
    let before = connect(&lab.url()).await;
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    // The old primary is still one, for ten seconds: nothing but the Sentinels' epochs tells.
    let after = connect(&lab.url()).await;
    assert_eq!(port_of(&after).await, new.port().to_string());
    eventually(PROMISE, "the earlier client to be there too", async || {
        port_of(&before).await == new.port().to_string()
    })
    .await
    .unwrap();
    // Nor is it when it alone is left: what it says is older than what is known.
    for sentinel in lab.sentinels() {
        sentinel.kill();
    }
    let mut events = after.events();
    event(&mut events, "an attempt at a dead Sentinel", |event| match event {
        Event::ReconnectFailed { attempt, .. } if *attempt > 3 => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(port_of(&after).await, new.port().to_string());
}

// F13: one Sentinel of three missed the failover, and answers first.
#[tokio::test]
async fn one_stale_sentinel_of_three_is_outvoted_at_the_start() {
    let (old, new) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let stale = FakeSentinel::start(Says::primary(old.address(), 1)).await;
    let fresh = [
        FakeSentinel::start(Says::primary(new.address(), 2)).await,
        FakeSentinel::start(Says::primary(new.address(), 2)).await,
    ];
    let url = format!("redis-sentinel://{},{},{}/mymaster", stale.address(), fresh[0].address(), fresh[1].address());
    for _ in 0..10 {
        let client = connect(&url).await;
        assert_eq!(port_of(&client).await, new.port().to_string());
        client.close().await;
    }
    // One fresh one and one that is dead: the newer epoch counts, not the first answer.
    let nobody = Port::claim().unwrap();
    let url = format!("redis-sentinel://{},{},{}/mymaster", stale.address(), nobody.address(), fresh[0].address());
    let client = connect(&url).await;
    assert_eq!(port_of(&client).await, new.port().to_string());
}

// The leader of a failover is alone with its epoch at first, and the old primary may be back as one: what the majority does
// not know yet is not taken back.
#[tokio::test]
async fn a_failover_is_not_undone_by_sentinels_that_do_not_know_of_it_yet() {
    let (old, new) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let says = Says::primary(old.address(), 1);
    let leader = FakeSentinel::start(says.clone()).await;
    let others = [FakeSentinel::start(says.clone()).await, FakeSentinel::start(says).await];
    let url = format!("redis-sentinel://{},{},{}/mymaster", leader.address(), others[0].address(), others[1].address());
    let config = config(&url).refresh_every(Duration::from_millis(100));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    assert_eq!(port_of(&client).await, old.port().to_string());
    leader.says(Says::primary(new.address(), 2));
    eventually(PATIENCE, "the failover", async || port_of(&client).await == new.port().to_string()).await.unwrap();
    let mut events = client.events();
    let asked = others[0].asked();
    eventually(PATIENCE, "more questions", async || others[0].asked() > asked + 20).await.unwrap();
    others.iter().for_each(|other| other.says(Says::primary(new.address(), 2)));
    client.set("key", "value").await.unwrap();
    assert_eq!(new.command(&["GET", "key"]).await.unwrap().text(), "value");
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Failover { .. }), "{event:?}");
    }
}

// A Sentinel that names a server which is none: its handshake tells.
#[tokio::test]
async fn a_replica_that_is_named_the_primary_is_refused_and_events_say_so() {
    let lab = romaine_faultlab::Replicated::builder().start().await.unwrap();
    let (primary, replica) = (lab.primary().await.unwrap(), lab.replicas().await.unwrap().remove(0));
    let sentinel = FakeSentinel::start(Says::primary(replica.address(), 1)).await;
    let client = Client::connect(config(&sentinel.url()).lazy()).await.unwrap();
    let mut events = client.events();
    let refused = event(&mut events, "the refusal", |event| match event {
        Event::RoleRefused { node, found } => Some((node.clone(), found.clone())),
        _ => None,
    })
    .await;
    assert_eq!((&*refused.0, refused.1.as_str()), (&*node(&replica), "replica"));
    assert!(!client.health().borrow().is_connected());
    sentinel.says(Says::primary(primary.address(), 2));
    let verified = event(&mut events, "the verification", |event| match event {
        Event::RoleVerified { node } => Some(node.clone()),
        _ => None,
    })
    .await;
    assert_eq!(*verified, *node(&primary));
    within(PROMISE, "a write", client.set("key", "value")).await.unwrap();
}

// Hole 26 (Lettuce #1147): everything is installed anew behind the same names, again and again. The epochs begin with 0
// again, and the addresses that were learned lead nowhere for ever.
#[tokio::test]
async fn a_deployment_that_was_installed_anew_behind_the_same_names_is_found() {
    let install = async || {
        let primary = Server::start().await.unwrap();
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(FakeSentinel::start(Says::default()).await);
        }
        let all: Vec<_> = sentinels.iter().map(FakeSentinel::address).collect();
        (primary, sentinels, all)
    };
    let says = |primary: &Server, all: &[std::net::SocketAddr], epoch| Says {
        sentinels: all.to_vec(),
        ..Says::primary(primary.address(), epoch)
    };
    let (mut primary, mut sentinels, all) = install().await;
    sentinels.iter().for_each(|sentinel| sentinel.says(says(&primary, &all, 30)));
    let mut names = Vec::new();
    for sentinel in &sentinels {
        names.push(FaultProxy::start(sentinel.address()).await.unwrap());
    }
    let of_names: Vec<_> = names.iter().map(|name| name.address().to_string()).collect();
    let client = connect(&format!("redis-sentinel://{}/mymaster", of_names.join(","))).await;
    assert_eq!(port_of(&client).await, primary.port().to_string());
    // Each has lived through fewer failovers than the one before: its epoch alone is no reason to believe it.
    for (generation, epoch) in [(1, 20), (2, 10), (3, 0)] {
        let (new_primary, new_sentinels, all) = install().await;
        new_sentinels.iter().for_each(|sentinel| sentinel.says(says(&new_primary, &all, epoch)));
        for (name, sentinel) in names.iter().zip(&new_sentinels) {
            name.set_upstream(sentinel.address());
        }
        drop((std::mem::replace(&mut primary, new_primary), std::mem::replace(&mut sentinels, new_sentinels)));
        for name in &names {
            name.reset_all().await.unwrap();
        }
        let set = client.set("generation", generation).timeout(Duration::from_secs(15));
        set.await.unwrap_or_else(|error| panic!("generation {generation}: {error:?}"));
        assert_eq!(port_of(&client).await, primary.port().to_string());
    }
    assert!(names.iter().all(|name| name.bytes(Direction::ToClient) > 0));
}

// Kubernetes: a Sentinel that was started anew has the address that a dead one had.
#[tokio::test]
async fn a_sentinel_at_the_address_that_a_dead_one_had_is_not_taken_for_that() {
    let primary = Server::start().await.unwrap();
    let says = Says::primary(primary.address(), 1);
    let started_anew = FakeSentinel::start(says.clone()).await;
    // The address of the first one and then of the second: who is behind it makes no difference here.
    let address = FaultProxy::start(started_anew.address()).await.unwrap();
    let other = FakeSentinel::start(Says { sentinels: vec![address.address()], ..says }).await;
    let (is_dead, nowhere) = (Arc::new(AtomicBool::new(false)), Port::claim().unwrap());
    let (dead, ports) = (is_dead.clone(), [address.port(), nowhere.number()]);
    let map = move |host: &str, _port| {
        let port = ports[usize::from(dead.load(Ordering::SeqCst))];
        (host == "sentinel-0.invalid").then(|| ("127.0.0.1".to_owned(), port))
    };
    let url = format!("redis-sentinel://sentinel-0.invalid:26379,{}/mymaster", other.address());
    let config = config(&url).address_map_with(map).refresh_every(Duration::from_millis(100));
    let client = within(PATIENCE, "the connection", Client::connect(config)).await.unwrap();
    let listened_to = async || started_anew.listeners() == 1;
    eventually(PATIENCE, "the first one to be listened to", listened_to).await.unwrap();
    is_dead.store(true, Ordering::SeqCst);
    address.cut_all().await.unwrap();
    eventually(PATIENCE, "the end of that", async || !listened_to().await).await.unwrap();
    eventually(PATIENCE, "the second one to be listened to", listened_to).await.unwrap();
    // And it stays, round after round.
    let (asked, connections) = (other.asked(), started_anew.connections());
    eventually(PATIENCE, "five rounds", async || other.asked() > asked + 5).await.unwrap();
    assert_eq!((started_anew.listeners(), started_anew.connections()), (1, connections));
    client.close().await;
}
