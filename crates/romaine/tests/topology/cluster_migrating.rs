//! Blocking commands on a slot that is on its way: blocked before, during and after.

use std::sync::Arc;
use std::time::Duration;

use romaine::commands::*;
use romaine::{Client, Cmd, ConnectionLimits, Event, EventStream, Lane, Liveness, Value, cmd};
use romaine_faultlab::{Cluster, Migration, Server, eventually, slot_of};
use tokio::task::JoinHandle;

use crate::cluster_lab::{calls, connect_with, named, other_primary};
use crate::support::{PATIENCE, background, event, within};

type Popped = JoinHandle<romaine::Result<Value>>;

fn command(words: &[&str]) -> Cmd<Value> {
    let (name, args) = words.split_first().unwrap();
    cmd(name).args(args.to_vec())
}

/// Issues a blocking command in a task of its own.
fn blocks(client: &Client, words: &[&str]) -> Popped {
    let (client, command) = (client.clone(), command(words));
    background(async move { client.issue(command).await })
}

fn pop(client: &Client) -> Popped {
    blocks(client, &["BRPOP", "jobs", "0"])
}

async fn gets(popped: Popped, element: &str) {
    let got = within(PATIENCE, element, popped).await.unwrap().unwrap();
    assert!(format!("{got:?}").contains(element), "{got:?}");
}

/// The numbers of those who are blocked at a node.
async fn who_is_blocked(node: &Server) -> Vec<String> {
    let list = node.command(&["CLIENT", "LIST"]).await.unwrap().text();
    let blocked = list.lines().filter(|line| line.contains(" flags=b "));
    blocked.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

async fn blocked(node: &Server, count: usize) {
    let what = format!("{count} blocked at {}", node.address());
    eventually(PATIENCE, &what, async || who_is_blocked(node).await.len() == count).await.unwrap();
}

/// Waits until connections that are blocked at the node have been asked so many times more whether they live.
async fn probed(node: &Server, times: u64) {
    let before = calls(node, "client|unblock").await;
    eventually(PATIENCE, "probes", async || calls(node, "client|unblock").await >= before + times).await.unwrap();
}

/// How often a node has answered with an error.
async fn errors(node: &Server, code: &str) -> u64 {
    let stats = node.command(&["INFO", "errorstats"]).await.unwrap().text();
    let count =
        stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")).map(str::to_owned));
    count.map_or(0, |count| count.parse().unwrap())
}

struct Setup {
    lab: Cluster,
    client: Client,
    from: Arc<Server>,
    to: Arc<Server>,
}

impl Setup {
    /// Nodes that are not missed while they are frozen.
    async fn start() -> Self {
        let lab = Cluster::builder().replicas(0).node_timeout(Duration::from_secs(60)).start().await.unwrap();
        let client = connect_with(named(&lab.url())).await;
        let from = lab.primary_of("jobs").await.unwrap();
        let to = other_primary(&lab, "jobs").await;
        Self { lab, client, from, to }
    }

    async fn begin(&self) -> Migration<'_> {
        self.lab.begin_migration(slot_of("jobs"), &self.to).await.unwrap()
    }
}

// Blocked at the old owner when the move begins: the element is put at the new one, where nobody waits yet.
#[tokio::test]
async fn who_was_blocked_before_the_move_is_served_during_it() {
    let setup = Setup::start().await;
    let waiting = pop(&setup.client);
    blocked(&setup.from, 1).await;
    let migration = setup.begin().await;
    setup.client.lpush("jobs", ["pushed during"]).await.unwrap();
    gets(waiting, "pushed during").await;
    migration.finish().await.unwrap();
    setup.client.close().await;
}

// Where nobody may be asked whether it lives, the end of a slice finds out.
#[tokio::test]
async fn who_waits_in_slices_is_served_during_the_move_too() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -client|unblock");
    let lab = Cluster::builder().replicas(0).server(server).start().await.unwrap();
    let client = connect_with(named(&lab.url()).user("app", "pw")).await;
    let waiting = pop(&client);
    let from = lab.primary_of("jobs").await.unwrap();
    blocked(&from, 1).await;
    let to = other_primary(&lab, "jobs").await;
    let migration = lab.begin_migration(slot_of("jobs"), &to).await.unwrap();
    blocked(&to, 1).await;
    let slices = calls(&to, "brpop").await;
    eventually(PATIENCE, "slices", async || calls(&to, "brpop").await >= slices + 2).await.unwrap();
    client.lpush("jobs", ["sliced"]).await.unwrap();
    gets(waiting, "sliced").await;
    migration.finish().await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn who_blocks_during_the_move_waits_at_the_new_owner_and_is_served_during_and_after_it() {
    let setup = Setup::start().await;
    let migration = setup.begin().await;
    for element in ["one", "two"] {
        let waiting = pop(&setup.client);
        blocked(&setup.to, 1).await;
        blocked(&setup.from, 0).await;
        // It lives, and waits there on: with each sign of life the old owner is asked, and sends it there again.
        let sent_away = errors(&setup.from, "ASK").await;
        eventually(PATIENCE, "the old owner", async || errors(&setup.from, "ASK").await >= sent_away + 2)
            .await
            .unwrap();
        blocked(&setup.to, 1).await;
        setup.client.lpush("jobs", [element]).await.unwrap();
        gets(waiting, element).await;
    }
    let waiting = pop(&setup.client);
    blocked(&setup.to, 1).await;
    migration.finish().await.unwrap();
    probed(&setup.to, 2).await;
    blocked(&setup.to, 1).await;
    setup.client.lpush("jobs", ["after"]).await.unwrap();
    gets(waiting, "after").await;
    let waiting = pop(&setup.client);
    blocked(&setup.to, 1).await;
    setup.client.lpush("jobs", ["as ever"]).await.unwrap();
    gets(waiting, "as ever").await;
    setup.client.close().await;
}

#[tokio::test]
async fn who_is_blocked_at_the_new_owner_goes_back_when_the_move_is_given_up() {
    let setup = Setup::start().await;
    let migration = setup.begin().await;
    let waiting = pop(&setup.client);
    blocked(&setup.to, 1).await;
    migration.abandon().await.unwrap();
    blocked(&setup.from, 1).await;
    blocked(&setup.to, 0).await;
    setup.client.lpush("jobs", ["back"]).await.unwrap();
    gets(waiting, "back").await;
    setup.client.close().await;
}

// The new owner is not told, and goes on taking the slot: the map does not change. Watched by probes; by nobody.
#[tokio::test]
async fn who_is_blocked_at_the_new_owner_goes_back_when_only_the_old_one_gives_the_move_up() {
    tokio::join!(goes_back_to_the_owner(Liveness::fast()), goes_back_to_the_owner(Liveness::off()));
}

async fn goes_back_to_the_owner(liveness: Liveness) {
    let mut setup = Setup::start().await;
    setup.client = connect_with(named(&setup.lab.url()).liveness(liveness)).await;
    let _migration = setup.begin().await;
    let waiting = pop(&setup.client);
    blocked(&setup.to, 1).await;
    let slot = slot_of("jobs").to_string();
    setup.from.command(&["CLUSTER", "SETSLOT", &slot, "STABLE"]).await.unwrap();
    setup.from.command(&["LPUSH", "jobs", "not moved"]).await.unwrap();
    gets(waiting, "not moved").await;
    setup.client.close().await;
}

// What Redis 7.0 tells who is blocked there only where the slot has nobody any more. Watched by probes; by nobody.
#[tokio::test]
async fn who_is_blocked_at_the_new_owner_goes_to_another_one_that_gets_the_slot_instead() {
    for liveness in [Liveness::off(), Liveness::fast()] {
        let lab = Cluster::builder().replicas(0).start().await.unwrap();
        let (from, to) = (lab.primary_of("jobs").await.unwrap(), other_primary(&lab, "jobs").await);
        let is_third = |node: &Arc<Server>| ![from.address(), to.address()].contains(&node.address());
        let third = lab.primaries().await.into_iter().find(is_third).unwrap();
        let client = connect_with(named(&lab.url()).liveness(liveness).refresh_every(REFRESH_EVERY)).await;
        let _migration = lab.begin_migration(slot_of("jobs"), &to).await.unwrap();
        let waiting = pop(&client);
        blocked(&to, 1).await;
        let mut events = client.events();
        let (slot, from_id) = (slot_of("jobs").to_string(), lab.id_of(&from).await.unwrap());
        let id = lab.id_of(&third).await.unwrap();
        for (node, state, id) in [(&third, "IMPORTING", &from_id), (&third, "NODE", &id), (&from, "NODE", &id)] {
            node.command(&["CLUSTER", "SETSLOT", &slot, state, id]).await.unwrap();
        }
        third.command(&["LPUSH", "jobs", "at the third"]).await.unwrap();
        gets(waiting, "at the third").await;
        nothing_was_lost(&mut events);
        client.close().await;
    }
}

// Else two servers would send it to each other without an end.
#[tokio::test]
async fn who_may_not_say_asking_is_told_so() {
    let server = Server::builder().acl("app on >pw ~* &* +@all -asking");
    let lab = Cluster::builder().replicas(0).server(server).start().await.unwrap();
    let client = connect_with(named(&lab.url()).user("app", "pw")).await;
    let to = other_primary(&lab, "jobs").await;
    let migration = lab.begin_migration(slot_of("jobs"), &to).await.unwrap();
    let blocked = client.brpop::<String, String>(["jobs"], 0.0);
    let blocked = within(PATIENCE, "the error", blocked).await.unwrap_err();
    let called = within(PATIENCE, "the error", client.llen("jobs")).await.unwrap_err();
    for error in [blocked, called] {
        assert_eq!(error.server().unwrap().code(), "NOPERM", "{error:?}");
    }
    migration.finish().await.unwrap();
    client.close().await;
}

// ASKING and the command are one request.
#[tokio::test]
async fn the_command_needs_no_more_room_than_without_asking() {
    let limits = ConnectionLimits { queued_requests_max: 1, in_flight_max: 1, ..ConnectionLimits::default() };
    let lab = Cluster::builder().replicas(0).start().await.unwrap();
    let client = connect_with(named(&lab.url()).limits(limits)).await;
    let to = other_primary(&lab, "jobs").await;
    let migration = lab.begin_migration(slot_of("jobs"), &to).await.unwrap();
    let waiting = pop(&client);
    blocked(&to, 1).await;
    client.lpush("jobs", ["element"]).await.unwrap();
    gets(waiting, "element").await;
    migration.finish().await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn every_command_with_one_key_waits_at_the_new_owner() {
    let setup = Setup::start().await;
    let migration = setup.begin().await;
    for (words, push) in [
        (&["BLPOP", "{jobs}l", "0"][..], &["LPUSH", "{jobs}l", "element"][..]),
        (&["BLMPOP", "0", "1", "{jobs}m", "LEFT"], &["LPUSH", "{jobs}m", "element"]),
        (&["BZPOPMIN", "{jobs}z", "0"], &["ZADD", "{jobs}z", "1", "element"]),
        (&["XREAD", "BLOCK", "0", "STREAMS", "{jobs}s", "$"], &["XADD", "{jobs}s", "*", "field", "element"]),
    ] {
        let waiting = blocks(&setup.client, words);
        blocked(&setup.to, 1).await;
        setup.client.issue(command(push)).await.unwrap();
        gets(waiting, "element").await;
    }
    while migration.move_keys(10).await.unwrap() > 0 {}
    migration.finish().await.unwrap();
    setup.client.close().await;
}

// XREADGROUP waits at a stream that is there, and is sent away when that is moved: up to 7.0 with an error of its own.
#[tokio::test]
async fn a_group_of_consumers_follows_its_stream_and_nobody_takes_it_for_a_demotion() {
    let setup = Setup::start().await;
    let (client, stream) = (&setup.client, "{jobs}s");
    client.issue(command(&["XGROUP", "CREATE", stream, "g", "$", "MKSTREAM"])).await.unwrap();
    let words = ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", stream, ">"];
    let waiting = blocks(client, &words);
    blocked(&setup.from, 1).await;
    // For longer than a connection is too new to be left.
    probed(&setup.from, 3).await;
    let mut events = client.events();
    let migration = setup.begin().await;
    migration.move_key(stream).await.unwrap();
    blocked(&setup.to, 1).await;
    client.issue(command(&["XADD", stream, "*", "field", "element"])).await.unwrap();
    gets(waiting, "element").await;
    migration.finish().await.unwrap();
    while let Some(event) = events.try_next() {
        let is_anew = matches!(event, Event::Activated { lane: Lane::Commands, .. });
        assert!(!is_anew && !matches!(event, Event::Disconnected { lane: Lane::Commands, .. }), "{event:?}");
    }
    setup.client.close().await;
}

// Several keys of which one is not there are refused by both nodes as long as the slot moves.
#[tokio::test]
async fn several_keys_wait_until_the_move_is_over_without_a_storm() {
    let setup = Setup::start().await;
    let mut events = setup.client.events();
    let migration = setup.begin().await;
    let waiting = blocks(&setup.client, &["BLMOVE", "{jobs}a", "{jobs}b", "LEFT", "RIGHT", "0"]);
    setup.client.lpush("{jobs}a", ["element"]).await.unwrap();
    eventually(PATIENCE, "refusals", async || errors(&setup.to, "TRYAGAIN").await >= 5).await.unwrap();
    migration.finish().await.unwrap();
    gets(waiting, "element").await;
    let told = std::iter::from_fn(|| events.try_next());
    let made = told.filter(|event| matches!(event, Event::Activated { lane: Lane::Blocking, .. })).count();
    assert!(made <= 2, "{made} connections for two nodes");
    setup.client.close().await;
}

#[tokio::test]
async fn a_ghost_at_the_new_owner_is_fenced_and_a_dropped_call_is_cancelled_there() {
    let setup = Setup::start().await;
    let migration = setup.begin().await;
    let waiting = pop(&setup.client);
    blocked(&setup.to, 1).await;
    let ghost = who_is_blocked(&setup.to).await;
    let mut events = setup.client.events();
    setup.to.freeze().await.unwrap();
    event(&mut events, "death", |event| {
        matches!(event, Event::Disconnected { lane: Lane::Blocking, .. }).then_some(())
    })
    .await;
    setup.to.thaw().unwrap();
    eventually(PATIENCE, "another one, and no ghost", async || {
        let now = who_is_blocked(&setup.to).await;
        now.len() == 1 && now != ghost
    })
    .await
    .unwrap();
    nothing_was_lost(&mut events);
    setup.client.lpush("jobs", ["after the ghost"]).await.unwrap();
    gets(waiting, "after the ghost").await;
    let dropped = pop(&setup.client);
    blocked(&setup.to, 1).await;
    dropped.abort();
    blocked(&setup.to, 0).await;
    migration.finish().await.unwrap();
    setup.client.close().await;
}

/// A node that was added and has no slot yet: no view has such a node.
async fn newcomer(lab: &Cluster) -> Arc<Server> {
    let from = lab.primary_of("jobs").await.unwrap();
    let fresh = lab.replica_of("jobs").await.unwrap();
    fresh.command(&["CLUSTER", "RESET", "SOFT"]).await.unwrap();
    let (port, bus) = (fresh.port().to_string(), fresh.bus_port().unwrap().to_string());
    from.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.unwrap();
    let id = lab.id_of(&fresh).await.unwrap();
    eventually(PATIENCE, "a primary without slots", async || {
        let view = lab.view_of(&from).await.unwrap();
        view.iter().any(|node| node.id == id && node.is("master") && node.is_linked)
    })
    .await
    .unwrap();
    let from_id = lab.id_of(&from).await.unwrap();
    eventually(PATIENCE, "that it knows the others", async || {
        let view = lab.view_of(&fresh).await.unwrap();
        view.iter().any(|node| node.id == from_id && node.is_linked) && view.len() == lab.nodes().len()
    })
    .await
    .unwrap();
    lab.wait_until_settled().await.unwrap();
    fresh
}

/// Often enough that a view comes while anything lasts.
const REFRESH_EVERY: Duration = Duration::from_millis(200);

async fn refreshed(node: &Server, times: u64) {
    let before = calls(node, "cluster|slots").await;
    eventually(PATIENCE, "refreshes", async || calls(node, "cluster|slots").await >= before + times).await.unwrap();
}

fn nothing_was_lost(events: &mut EventStream) {
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::ElementMayBeLost { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn who_waits_at_a_node_that_has_no_slot_yet_is_not_disturbed_by_a_refresh() {
    let lab = Cluster::start().await.unwrap();
    let from = lab.primary_of("jobs").await.unwrap();
    let fresh = newcomer(&lab).await;
    let migration = lab.begin_migration(slot_of("jobs"), &fresh).await.unwrap();
    // Watched by probes; by slices; by nobody.
    let in_slices = Liveness { probe_after: None, ..Liveness::fast() };
    for liveness in [Liveness::fast(), in_slices, Liveness::off()] {
        let client = connect_with(named(&lab.url()).liveness(liveness).refresh_every(REFRESH_EVERY)).await;
        let waiting = pop(&client);
        blocked(&fresh, 1).await;
        let mut events = client.events();
        refreshed(&from, 5).await;
        blocked(&fresh, 1).await;
        while let Some(event) = events.try_next() {
            assert!(!matches!(event, Event::GhostFenced { .. } | Event::ElementMayBeLost { .. }), "{event:?}");
        }
        client.lpush("jobs", ["element"]).await.unwrap();
        gets(waiting, "element").await;
        client.close().await;
    }
    migration.finish().await.unwrap();
}

#[tokio::test]
async fn a_ghost_at_a_node_that_has_no_slot_yet_is_fenced_after_a_stall_and_not_forsaken() {
    let lab = Cluster::start().await.unwrap();
    let from = lab.primary_of("jobs").await.unwrap();
    let fresh = newcomer(&lab).await;
    let client = connect_with(named(&lab.url()).refresh_every(REFRESH_EVERY)).await;
    let migration = lab.begin_migration(slot_of("jobs"), &fresh).await.unwrap();
    let waiting = pop(&client);
    blocked(&fresh, 1).await;
    let ghost = who_is_blocked(&fresh).await;
    let mut events = client.events();
    fresh.freeze().await.unwrap();
    event(&mut events, "death", |event| {
        matches!(event, Event::Disconnected { lane: Lane::Blocking, .. }).then_some(())
    })
    .await;
    // For longer than one that is left has for its word on a ghost.
    refreshed(&from, 10).await;
    fresh.thaw().unwrap();
    eventually(PATIENCE, "another one, and no ghost", async || {
        let now = who_is_blocked(&fresh).await;
        now.len() == 1 && now != ghost
    })
    .await
    .unwrap();
    nothing_was_lost(&mut events);
    client.lpush("jobs", ["after the stall"]).await.unwrap();
    gets(waiting, "after the stall").await;
    migration.finish().await.unwrap();
    client.close().await;
}

// Its word on the ghost would be waited for without an end: no view tells that it is gone.
#[tokio::test]
async fn who_waits_at_a_node_that_has_no_slot_yet_and_falls_silent_for_good_goes_back_to_the_owner() {
    let lab = Cluster::start().await.unwrap();
    let from = lab.primary_of("jobs").await.unwrap();
    let fresh = newcomer(&lab).await;
    let client = connect_with(named(&lab.url()).refresh_every(REFRESH_EVERY)).await;
    let _migration = lab.begin_migration(slot_of("jobs"), &fresh).await.unwrap();
    let waiting = pop(&client);
    blocked(&fresh, 1).await;
    let mut events = client.events();
    fresh.freeze().await.unwrap();
    from.command(&["CLUSTER", "SETSLOT", &slot_of("jobs").to_string(), "STABLE"]).await.unwrap();
    from.command(&["LPUSH", "jobs", "at the owner"]).await.unwrap();
    gets(waiting, "at the owner").await;
    event(&mut events, "what is not known", |event| matches!(event, Event::ElementMayBeLost { .. }).then_some(()))
        .await;
    client.close().await;
}
