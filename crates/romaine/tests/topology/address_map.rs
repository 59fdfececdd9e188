//! Servers whose addresses do not lead to them from here: what they announce is what they are called, and not what is
//! dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Config, ErrorKind, Event, ReadFrom};
use romaine_faultlab::{
    Cluster, FailoverKind, FaultProxy, Port, Replicated, SentinelSetup, Server, ServerBuilder, TlsFiles, eventually,
    slot_of,
};

use crate::cluster_lab::{NAME, connect_with, connections, key_of_each, named, other_primary};
use crate::sentinel_fake::{FakeSentinel, Says};
use crate::support::{PATIENCE, background, config, event, node, within};

/// A name that leads nowhere.
const INSIDE: &str = "inside.invalid";

/// Nodes that are called so in MOVED, ASK and CLUSTER SLOTS.
fn from_inside(server: ServerBuilder) -> ServerBuilder {
    server
        .config_line(format!("cluster-announce-hostname {INSIDE}"))
        .config_line("cluster-preferred-endpoint-type hostname")
}

/// A client of which only the first node's address is right.
fn outside(lab: &Cluster) -> Config {
    named(&format!("redis-cluster://{}", lab.nodes()[0].address()))
}

fn table(lab: &Cluster) -> Vec<(String, String)> {
    lab.nodes().iter().map(|node| (format!("{INSIDE}:{}", node.port()), node.address().to_string())).collect()
}

async fn reaches_every_node(lab: &Cluster, client: &Client) {
    for (owner, key) in key_of_each(lab, "key").await {
        within(PATIENCE, "a write", client.set(&key, "value")).await.unwrap();
        assert_eq!(owner.command(&["GET", &key]).await.unwrap().text(), "value");
    }
}

#[tokio::test]
async fn a_cluster_is_reached_by_other_addresses_than_it_announces_and_is_called_by_its_own() {
    let lab = Cluster::builder().server(from_inside(Server::builder())).start().await.unwrap();
    let client = connect_with(outside(&lab).address_map(table(&lab)).unwrap()).await;
    let mut told = client.events();
    let nodes = client.nodes();
    assert!(nodes.iter().all(|node| node.node.starts_with(INSIDE)), "{nodes:?}");
    reaches_every_node(&lab, &client).await;
    let on = client.on(&format!("{INSIDE}:{}", lab.nodes()[1].port())).unwrap();
    assert_eq!(on.config_get(["port"]).await.unwrap()["port"], lab.nodes()[1].port().to_string());
    // ASK and MOVED, for calls and for who is blocked.
    let waiting = background({
        let client = client.clone();
        async move { client.brpop::<String, String>(["jobs"], 0.0).await }
    });
    let other = other_primary(&lab, "jobs").await;
    let migration = lab.begin_migration(slot_of("jobs"), &other).await.unwrap();
    client.lpush("jobs", ["during"]).await.unwrap();
    assert_eq!(within(PATIENCE, "the element", waiting).await.unwrap().unwrap().unwrap().1, "during");
    client.lpush("jobs", ["asked"]).await.unwrap();
    migration.finish().await.unwrap();
    client.lpush("jobs", ["moved"]).await.unwrap();
    assert_eq!(other.command(&["LLEN", "jobs"]).await.unwrap().text(), "2");
    // A failover.
    let mut events = client.events();
    let replica = lab.replica_of("jobs").await.unwrap();
    lab.failover(&replica, FailoverKind::Manual).await.unwrap();
    within(PATIENCE, "a write", client.lpush("jobs", ["failed over"])).await.unwrap();
    let names = event(&mut events, "the failover", |event| match event {
        Event::Failover { from, to } => Some([from.to_string(), to.to_string()]),
        _ => None,
    })
    .await;
    assert_eq!(names, [&other, &replica].map(|node| format!("{INSIDE}:{}", node.port())));
    // Of what was opened and ended: each by its own name, and its errors too.
    for node in lab.nodes() {
        node.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    }
    let is_end = |event: &Event| matches!(event, Event::Disconnected { .. });
    loop {
        let found = event(&mut told, "an end", |event| names_of(event).map(|names| (names, is_end(event)))).await;
        assert!(found.0.iter().all(|name| name.starts_with(INSIDE)), "{found:?}");
        if found.1 {
            break;
        }
    }
    client.close().await;
}

/// What a server is called when its connections are told of.
fn names_of(event: &Event) -> Option<Vec<String>> {
    match event {
        Event::ConnectAttempt { node, .. }
        | Event::Connected { node, .. }
        | Event::Activated { node, .. }
        | Event::RoleVerified { node } => Some(vec![node.to_string()]),
        Event::Disconnected { node, cause, .. } => {
            Some(vec![node.to_string(), cause.node().unwrap_or_default().to_string()])
        }
        _ => None,
    }
}

// The client's health, and the replicas' word for a primary that is not there.
#[tokio::test]
async fn a_dead_primary_is_known_by_its_replicas_whatever_they_call_it() {
    let lab = Replicated::builder().replicas(2).start().await.unwrap();
    let primary = lab.primary().await.unwrap();
    primary.command(&["SET", "key", "value"]).await.unwrap();
    primary.command(&["WAIT", "2", "5000"]).await.unwrap();
    let inside = |server: &Server| format!("{INSIDE}:{}", server.port());
    let hosts: Vec<_> = lab.nodes().iter().map(|node| inside(node)).collect();
    let map: Vec<_> = lab.nodes().iter().map(|node| (inside(node), node.address().to_string())).collect();
    let outside = config(&format!("redis://{}?role=discover", hosts.join(","))).address_map(map).unwrap();
    let client = connect_with(outside.clone()).await;
    assert_eq!(client.health().borrow().node.as_deref(), Some(&*inside(&primary)));
    client.close().await;
    primary.kill();
    let client = Client::connect(outside.read_from(ReadFrom::ReplicaPreferred).lazy()).await.unwrap();
    let value: Option<String> = within(PATIENCE, "the value", client.get("key")).await.unwrap();
    assert_eq!(value.as_deref(), Some("value"));
    client.close().await;
}

// The ports are others too, as where containers' ports are forwarded; and the map is a function.
#[tokio::test]
async fn announced_ports_that_nobody_listens_on_are_mapped_by_a_function() {
    let lab = Cluster::builder().replicas(0).start().await.unwrap();
    let mut pairs = Vec::new();
    for node in lab.nodes() {
        let port = Port::claim().unwrap();
        node.command(&["CONFIG", "SET", "cluster-announce-port", &port.number().to_string()]).await.unwrap();
        pairs.push((port, node.port()));
    }
    let announced: Vec<_> = pairs.iter().map(|(port, _)| port.address()).collect();
    for node in lab.nodes() {
        eventually(PATIENCE, "the announcement", async || {
            let view = lab.view_of(node).await.unwrap();
            view.iter().all(|other| other.address.is_some_and(|address| announced.contains(&address)))
        })
        .await
        .unwrap();
    }
    let ports: Vec<_> = pairs.iter().map(|(announced, real)| (announced.number(), *real)).collect();
    let map = move |host: &str, port: u16| {
        let (_, real) = ports.iter().find(|(announced, _)| *announced == port)?;
        Some((host.to_owned(), *real))
    };
    let client = connect_with(outside(&lab).address_map_with(map)).await;
    reaches_every_node(&lab, &client).await;
    assert!(client.nodes().iter().all(|node| announced.contains(&node.node.parse().unwrap())), "{:?}", client.nodes());
    let other = other_primary(&lab, "jobs").await;
    lab.migrate_slot(slot_of("jobs"), &other).await.unwrap();
    within(PATIENCE, "a write", client.lpush("jobs", ["moved"])).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn tls_verifies_the_announced_name_unless_another_is_given() {
    let files = TlsFiles::generate().unwrap();
    let encrypted =
        from_inside(Server::builder().tls(&files)).config_line("tls-cluster yes").config_line("tls-replication yes");
    let lab = Cluster::builder().replicas(0).server(encrypted).start().await.unwrap();
    let addresses: Vec<SocketAddr> = lab.nodes().iter().map(|node| node.tls_address().unwrap()).collect();
    let pairs = || addresses.iter().map(|at| (format!("{INSIDE}:{}", at.port()), format!("localhost:{}", at.port())));
    let url = format!("rediss-cluster://localhost:{}?ca={}", addresses[0].port(), files.ca_cert().display());
    let strict = named(&url).address_map(pairs()).unwrap();
    let error = within(PATIENCE, "the error", Client::connect(strict)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    let client = connect_with(named(&format!("{url}&sni=localhost")).address_map(pairs()).unwrap()).await;
    reaches_every_node(&lab, &client).await;
    client.close().await;
}

// Real Sentinels and data nodes can only announce what leads to them; here it leads around the proxies, which nobody may.
#[tokio::test]
async fn sentinels_and_what_they_announce_are_reached_by_other_addresses() {
    let lab = SentinelSetup::new().replicas(1).start().await.unwrap();
    let mut ways: Vec<(Arc<Server>, FaultProxy)> = Vec::new();
    for server in lab.data().nodes().iter().chain(lab.sentinels()) {
        ways.push((server.clone(), FaultProxy::start(server.address()).await.unwrap()));
    }
    let map = ways.iter().map(|(server, proxy)| (server.address().to_string(), proxy.address().to_string()));
    // One Sentinel by the address that is dialled, one by what it announces: neither is met a second time.
    let (by_way, by_name) = (ways[2].1.address().to_string(), lab.sentinels()[1].address().to_string());
    let config = config(&lab.url_of(&[by_way, by_name])).client_name(NAME).unwrap();
    let client = connect_with(config.address_map(map).unwrap()).await;
    client.set("key", "value").await.unwrap();
    let old = lab.primary().await.unwrap();
    let mut events = client.events();
    lab.failover().await.unwrap();
    let new = lab.wait_for_new_primary(old.address()).await.unwrap();
    let names = event(&mut events, "the failover", |event| match event {
        Event::Failover { from, to } => Some([from.to_string(), to.to_string()]),
        _ => None,
    })
    .await;
    assert_eq!(names, [node(&old), node(&new)]);
    within(PATIENCE, "a write", client.set("key", "failed over")).await.unwrap();
    for (server, proxy) in &ways {
        eventually(PATIENCE, "no connection around the proxy", async || {
            connections(server).await == proxy.open_connections()
        })
        .await
        .unwrap();
    }
    two_connections_to_each(lab.sentinels()).await;
    client.close().await;
}

/// One that asks and one that listens: none is taken for two.
async fn two_connections_to_each(sentinels: &[Arc<Server>]) {
    for sentinel in sentinels {
        eventually(PATIENCE, "two connections to each Sentinel", async || connections(sentinel).await == 2)
            .await
            .unwrap();
    }
}

// Where it leads is known when it is connected: by then it was taken for another one.
#[tokio::test]
async fn a_sentinel_that_the_map_calls_by_a_third_name_is_not_kept_twice() {
    let lab = SentinelSetup::new().start().await.unwrap();
    let port = lab.sentinels()[0].port();
    let looks = Arc::new(AtomicU64::new(0));
    let map = {
        let looks = looks.clone();
        move |host: &str, of: u16| {
            let is_it = (host, of) == ("127.0.0.1", port);
            looks.fetch_add(u64::from(is_it), Ordering::SeqCst);
            is_it.then(|| ("127.1".to_owned(), port))
        }
    };
    let config = config(&lab.url_of(&[format!("localhost:{port}")])).client_name(NAME).unwrap();
    let config = config.address_map_with(map).refresh_every(Duration::from_millis(200));
    // Nothing runs between these two.
    let client = Client::connect(config.lazy()).await.unwrap();
    let mut told = client.events();
    // Two of the one of the URL; the next one is by the other name.
    let mut connected = 0;
    event(&mut told, "the third name", |event| {
        let reached = format!("127.0.0.1:{port}");
        connected += usize::from(matches!(event, Event::Connected { node, .. } if **node == *reached));
        (connected == 3).then_some(())
    })
    .await;
    // It is looked at where it leads each time that another one names it.
    let before = looks.load(Ordering::SeqCst);
    eventually(PATIENCE, "looks", async || looks.load(Ordering::SeqCst) >= before + 12).await.unwrap();
    two_connections_to_each(lab.sentinels()).await;
    client.close().await;
}

// A Sentinel that names what only it can reach.
#[tokio::test]
async fn a_primary_whose_announced_port_is_dead_is_reached_by_the_mapped_one() {
    let server = Server::start().await.unwrap();
    let port = Port::claim().unwrap();
    let sentinel = FakeSentinel::start(Says::primary(port.address(), 1)).await;
    let map = [(port.address().to_string(), format!("localhost:{}", server.port()))];
    let client = connect_with(config(&sentinel.url()).address_map(map).unwrap()).await;
    client.set("key", "value").await.unwrap();
    assert_eq!(server.command(&["GET", "key"]).await.unwrap().text(), "value");
    assert_eq!(client.nodes()[0].node.to_string(), port.address().to_string());
    client.close().await;
}

#[tokio::test]
async fn a_map_that_leads_nowhere_and_one_that_panics_are_errors_that_say_so() {
    let server = Server::start().await.unwrap();
    let dead = Port::claim().unwrap();
    let single = || Config::new("inside.invalid", 6379).connect_timeout(Duration::from_secs(1));
    let there = single().address_map([("inside.invalid:6379", server.address().to_string())]).unwrap();
    let client = connect_with(there).await;
    client.ping().await.unwrap();
    client.close().await;
    let nowhere = single().address_map([("inside.invalid:6379", dead.address().to_string())]).unwrap();
    let error = within(PATIENCE, "the error", Client::connect(nowhere)).await.unwrap_err();
    let text = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
    assert!(text.contains(&dead.address().to_string()) && text.contains("inside.invalid:6379"), "{text}");
    let panics = single().address_map_with(|_, _| panic!("a bug of the user's"));
    let error = within(PATIENCE, "the error", Client::connect(panics)).await.unwrap_err();
    assert!(format!("{error:?}").contains("address_map panicked"), "{error:?}");
    for wrong in ["localhost", "localhost:", ":6379", "localhost:0"] {
        let error = single().address_map([("a:1", wrong)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("host:port"), "{error}");
    }
}
