use proptest::prelude::*;

use super::captured::{FAILED_OVER, FAILED_OVER_3, HEALTHY, NO_ENDPOINT, NO_HOSTNAME, RETURNED, SUSPECTED};
use super::*;
use crate::topology::{ClusterNode, ViewError};

fn node(port: u16) -> NodeAddress {
    NodeAddress::new("127.0.0.1", port)
}

fn read(frames: [&[u8]; 2], asked: u16) -> ClusterAnswer {
    ClusterAnswer::parse(&node(asked), frames[0], frames[1]).unwrap()
}

fn fresh(answers: &[ClusterAnswer]) -> ClusterView {
    ClusterView::believe(&ClusterView::empty(), answers)
}

fn refused() -> Vec<u8> {
    b"-NOPERM this user has no permissions to run the 'cluster|nodes' command\r\n".to_vec()
}

/// Primary, replicas and epoch of each shard.
fn shape(view: &ClusterView) -> Vec<(u16, Vec<u16>, u64)> {
    let ports = |nodes: &[NodeAddress]| nodes.iter().map(NodeAddress::port).collect();
    view.shards().iter().map(|shard| (shard.primary.port(), ports(&shard.replicas), shard.epoch)).collect()
}

/// One node of an invented cluster: `name` is its id, and its host.
#[derive(Clone, Default)]
struct Invented {
    name: &'static str,
    flags: &'static str,
    of: &'static str,
    epoch: u64,
    is_cut_off: bool,
    slots: &'static [(u16, u16)],
}

fn primary(name: &'static str, epoch: u64, slots: &'static [(u16, u16)]) -> Invented {
    Invented { name, flags: "master", of: "-", epoch, slots, is_cut_off: false }
}

fn replica(name: &'static str, of: &'static str, epoch: u64) -> Invented {
    Invented { name, flags: "slave", of, epoch, ..Invented::default() }
}

fn host(name: &str, port: u16) -> String {
    format!("*3\r\n${}\r\n{name}\r\n:{port}\r\n${}\r\n{name}\r\n", name.len(), name.len())
}

fn frames(nodes: &[Invented]) -> [Vec<u8>; 2] {
    let mut entries = Vec::new();
    for owner in nodes {
        let replicas: Vec<_> = nodes.iter().filter(|node| node.of == owner.name).collect();
        for (first, last) in owner.slots {
            let replicas: String = replicas.iter().map(|replica| host(replica.name, 1)).collect();
            let count = 3 + nodes.iter().filter(|node| node.of == owner.name).count();
            entries.push(format!("*{count}\r\n:{first}\r\n:{last}\r\n{}{replicas}", host(owner.name, 1)));
        }
    }
    let slots = format!("*{}\r\n{}", entries.len(), entries.concat());
    let mut text = String::new();
    for node in nodes {
        let link = if node.is_cut_off { "disconnected" } else { "connected" };
        text.push_str(&format!("{0} {0}:1@10001 {1} {2} 0 0 {3} {link}", node.name, node.flags, node.of, node.epoch));
        for (first, last) in node.slots {
            text.push_str(&format!(" {first}-{last}"));
        }
        text.push('\n');
    }
    [slots.into_bytes(), format!("${}\r\n{text}\r\n", text.len()).into_bytes()]
}

fn says(nodes: &[Invented]) -> ClusterAnswer {
    let [slots, nodes] = frames(nodes);
    ClusterAnswer::parse(&NodeAddress::new("asked", 1), &slots, &nodes).unwrap()
}

fn owner(view: &ClusterView, slot: u16) -> Option<&str> {
    view.shard_of(slot).map(|shard| shard.primary.host())
}

const ALL: &[(u16, u16)] = &[(0, 16_383)];
const LOW: &[(u16, u16)] = &[(0, 8_191)];
const HIGH: &[(u16, u16)] = &[(8_192, 16_383)];
const NONE: &[(u16, u16)] = &[];

#[test]
fn a_healthy_cluster_is_believed_as_it_describes_itself() {
    let view = fresh(&[read(HEALTHY, 21002)]);
    assert_eq!(shape(&view), [(21001, vec![21004], 1), (21002, vec![21005], 2), (21003, vec![21006], 3)]);
    assert!(view.covers_all() && !view.is_empty());
    assert_eq!(view.shards()[1].slots, [5_461..=10_922]);
    assert_eq!(view.shards()[0].id, "32eece4fc4366a864885f43eeb92b87ea5d5d6d5");
    for (slot, index) in [(0, 0), (5_460, 0), (5_461, 1), (10_922, 1), (10_923, 2), (16_383, 2)] {
        assert_eq!(view.shard_index_of(slot), Some(index), "{slot}");
        assert_eq!(view.shard_of(slot), Some(&view.shards()[usize::from(index)]));
    }
    assert_eq!(view.shard_of(16_384), None);
    assert_eq!(view.nodes().map(NodeAddress::port).collect::<Vec<_>>(), [21001, 21004, 21002, 21005, 21003, 21006]);
}

#[test]
fn one_nodes_suspicion_changes_nothing() {
    let healthy = fresh(&[read(HEALTHY, 21002)]);
    assert_eq!(ClusterView::believe(&healthy, &[read(SUSPECTED, 21002)]), healthy);
}

#[test]
fn a_dead_former_primary_without_slots_upsets_nothing() {
    let healthy = fresh(&[read(HEALTHY, 21002)]);
    for frames in [FAILED_OVER, FAILED_OVER_3] {
        let answer = read(frames, 21002);
        let dead = answer.nodes().iter().find(|named| named.address == Some(node(21001))).unwrap();
        assert!(dead.has_failed && dead.replica_of.is_none() && dead.slots.is_empty());
        let view = ClusterView::believe(&healthy, &[answer]);
        assert_eq!(shape(&view), [(21004, vec![], 7), (21002, vec![21005], 2), (21003, vec![21006], 3)]);
        assert!(view.covers_all());
    }
}

#[test]
fn who_has_not_heard_of_a_failover_is_not_believed_however_many_they_are() {
    let stale = || read(HEALTHY, 21002);
    let answers = [stale(), read(FAILED_OVER_3, 21003), stale()];
    let expected = [(21004, vec![], 7), (21002, vec![21005], 2), (21003, vec![21006], 3)];
    assert_eq!(shape(&fresh(&answers)), expected);
    // Nor when only they are asked, later.
    let newer = fresh(&[read(FAILED_OVER, 21002)]);
    let view = ClusterView::believe(&newer, &[stale()]);
    assert_eq!(view.shard_of(0).map(|shard| (shard.primary.port(), shard.epoch)), Some((21004, 7)));
}

#[test]
fn a_former_primary_that_returns_is_a_replica() {
    let view = ClusterView::believe(&fresh(&[read(FAILED_OVER, 21002)]), &[read(RETURNED, 21001)]);
    assert_eq!(shape(&view), [(21004, vec![21001], 7), (21002, vec![21005], 2), (21003, vec![21006], 3)]);
}

#[test]
fn endpoints_that_are_left_out_are_the_host_that_was_asked() {
    let asked = NodeAddress::new("balancer.example", 1);
    let answer = ClusterAnswer::parse(&asked, NO_ENDPOINT[0], NO_ENDPOINT[1]).unwrap();
    let view = fresh(&[answer]);
    assert!(view.covers_all());
    assert_eq!(view.nodes().count(), 6);
    assert!(view.nodes().all(|node| node.host() == "balancer.example" && node.port() > 21000), "{view:?}");
}

#[test]
fn a_name_that_nobody_configured_is_the_ip_beside_it() {
    let view = fresh(&[read(NO_HOSTNAME, 21003)]);
    let hosts: Vec<_> = view.shards().iter().map(|shard| shard.primary.host()).collect();
    assert_eq!(hosts, ["127.0.0.1", "node2.cache", "127.0.0.1"]);
    // Without metadata (older servers), CLUSTER NODES knows the IP; and if that is refused, there is only what was asked.
    let slots = b"*1\r\n*3\r\n:0\r\n:1\r\n*3\r\n$1\r\n?\r\n:7000\r\n$1\r\na\r\n";
    let nodes = b"$52\r\na 10.0.0.9:7000@17000 myself,master - 0 0 1 connected\r\n";
    let length = nodes.len() - 7;
    let nodes = [format!("${length}\r\n").as_bytes(), &nodes[5..]].concat();
    for (nodes, expected) in [(nodes, "10.0.0.9:7000"), (refused(), "127.0.0.1:7000")] {
        let answer = ClusterAnswer::parse(&node(1), slots, &nodes).unwrap();
        assert_eq!(fresh(&[answer]).shards()[0].primary.to_string(), expected);
    }
}

#[test]
fn a_node_that_does_not_know_its_own_ip_yet_is_where_it_was_asked() {
    let slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$0\r\n\r\n:7000\r\n$1\r\na\r\n";
    let text = "a :7000@17000 myself,master - 0 0 1 connected 0-16383\nb :0@0 master,noaddr - 0 0 0 disconnected\n";
    let nodes = format!("${}\r\n{text}\r\n", text.len());
    let answer = ClusterAnswer::parse(&NodeAddress::new("::1", 7000), slots, nodes.as_bytes()).unwrap();
    assert_eq!(answer.nodes()[1].address, None);
    assert_eq!(fresh(&[answer]).shards()[0].primary.to_string(), "[::1]:7000");
}

#[test]
fn without_cluster_nodes_the_slots_are_enough() {
    let answer = ClusterAnswer::parse(&node(21002), HEALTHY[0], &refused()).unwrap();
    let view = fresh(&[answer]);
    assert_eq!(shape(&view), [(21001, vec![21004], 0), (21002, vec![21005], 0), (21003, vec![21006], 0)]);
    // An epoch from earlier proves nothing against an answer without one.
    let before = fresh(&[read(HEALTHY, 21002)]);
    let after = ClusterAnswer::parse(&node(21002), FAILED_OVER[0], &refused()).unwrap();
    assert_eq!(ClusterView::believe(&before, &[after]).shard_of(0).map(|shard| shard.primary.port()), Some(21004));
}

#[test]
fn without_epochs_the_most_answers_decide_and_then_what_was_believed() {
    let plain = |nodes: &[Invented]| {
        ClusterAnswer::parse(&NodeAddress::new("asked", 1), &frames(nodes)[0], &refused()).unwrap()
    };
    let a = plain(&[primary("a", 0, ALL)]);
    let b = plain(&[primary("b", 0, ALL)]);
    assert_eq!(owner(&fresh(&[a.clone(), b.clone(), b.clone()]), 5), Some("b"));
    for before in [&a, &b] {
        let before = fresh(std::slice::from_ref(before));
        assert_eq!(ClusterView::believe(&before, &[a.clone(), b.clone()]), before);
    }
}

#[test]
fn an_answer_without_slots_never_replaces_a_view() {
    let before = fresh(&[read(HEALTHY, 21002)]);
    let alone = says(&[primary("x", 9, NONE)]);
    let empty = ClusterAnswer::parse(&node(1), b"*0\r\n", &refused()).unwrap();
    assert_eq!(ClusterView::believe(&before, &[]), before);
    assert_eq!(ClusterView::believe(&before, &[alone, empty.clone()]), before);
    assert!(fresh(&[empty]).is_empty());
    let ownerless = b"*1\r\n*3\r\n:0\r\n:16383\r\n*-1\r\n";
    let answer = ClusterAnswer::parse(&node(1), ownerless, &refused()).unwrap();
    assert_eq!(ClusterView::believe(&before, &[answer]), before);
}

#[test]
fn a_slot_that_nobody_owns_leaves_the_others_alone() {
    let view = fresh(&[says(&[primary("a", 1, LOW)])]);
    assert_eq!((owner(&view, 8_191), owner(&view, 8_192)), (Some("a"), None));
    assert!(!view.covers_all());
}

#[test]
fn what_was_believed_stands_against_older_answers_until_nobody_names_its_node_or_it_denies_itself() {
    let before = fresh(&[says(&[primary("a", 7, ALL), primary("b", 3, NONE)])]);
    let older = [primary("b", 3, ALL), replica("a", "b", 3)];
    assert_eq!(owner(&ClusterView::believe(&before, &[says(&older)]), 0), Some("a"));
    let forgotten = [primary("b", 3, ALL)];
    assert_eq!(owner(&ClusterView::believe(&before, &[says(&forgotten)]), 0), Some("b"));
    let mut denied = older.clone();
    denied[1].flags = "myself,slave";
    assert_eq!(owner(&ClusterView::believe(&before, &[says(&older), says(&denied)]), 0), Some("b"));
}

#[test]
fn of_equal_epochs_a_node_that_most_hold_to_have_failed_stands_back() {
    let failed = Invented { flags: "master,fail", ..primary("a", 5, NONE) };
    let says_b = || says(&[failed.clone(), primary("b", 5, ALL)]);
    let says_a = || says(&[primary("a", 5, ALL), primary("b", 5, NONE)]);
    let failed_too = || says(&[Invented { flags: "master,fail", ..primary("a", 5, ALL) }, primary("b", 5, NONE)]);
    assert_eq!(owner(&fresh(&[failed_too(), says_b(), failed_too()]), 0), Some("b"));
    assert_eq!(owner(&fresh(&[says_a(), says_b(), says_a()]), 0), Some("a"), "a minority's opinion");
    // Nobody newer: it is the owner still.
    assert_eq!(owner(&fresh(&[failed_too()]), 0), Some("a"));
}

#[test]
fn replicas_that_failed_or_are_cut_off_for_most_are_left_out() {
    let with = |flags, is_cut_off| {
        let mut nodes = vec![primary("a", 1, ALL), replica("r", "a", 1), replica("s", "a", 1)];
        nodes[1].flags = flags;
        nodes[1].is_cut_off = is_cut_off;
        says(&nodes)
    };
    let well = || with("slave", false);
    let replicas = |answers: &[ClusterAnswer]| {
        let view = fresh(answers);
        view.shards()[0].replicas.iter().map(|node| node.host().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(replicas(&[well()]), ["r", "s"]);
    assert_eq!(replicas(&[with("slave,fail", false)]), ["s"]);
    assert_eq!(replicas(&[with("slave,fail?", false)]), ["r", "s"]);
    assert_eq!(replicas(&[with("slave", true)]), ["s"]);
    assert_eq!(replicas(&[with("slave", true), well(), well()]), ["r", "s"]);
    assert_eq!(replicas(&[with("slave", true), with("slave,fail", false), well()]), ["s"]);
}

#[test]
fn an_epoch_from_earlier_proves_nothing_against_answers_without_any() {
    let before = fresh(&[says(&[primary("a", 7, ALL)])]);
    let [slots, _] = frames(&[primary("b", 0, ALL), replica("a", "b", 0)]);
    let answer = ClusterAnswer::parse(&NodeAddress::new("asked", 1), &slots, &refused()).unwrap();
    assert_eq!(owner(&ClusterView::believe(&before, &[answer]), 0), Some("b"));
}

#[test]
fn replicas_are_those_of_the_owners_newest_configuration_and_never_primaries() {
    let replicas = |answers: &[ClusterAnswer]| {
        let view = fresh(answers);
        view.shards()[0].replicas.iter().map(|node| node.host().to_owned()).collect::<Vec<_>>()
    };
    let older = || says(&[primary("a", 1, ALL), replica("r", "a", 1)]);
    let newer = says(&[primary("a", 2, ALL), replica("s", "a", 2)]);
    assert_eq!(replicas(&[older(), newer]), ["s"]);
    let promoted = says(&[primary("a", 1, LOW), primary("r", 2, HIGH)]);
    assert!(replicas(&[older(), promoted]).is_empty());
}

#[test]
fn a_node_that_moved_to_another_address_is_believed_about_itself() {
    let [slots, nodes] = frames(&[Invented { flags: "myself,master", ..primary("a", 1, LOW) }, primary("b", 1, HIGH)]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let slots = text(slots).replacen("$1\r\na\r\n:1", "$8\r\n10.0.0.7\r\n:1", 1);
    let own = ClusterAnswer::parse(&NodeAddress::new("10.0.0.7", 1), slots.as_bytes(), &nodes).unwrap();
    let other = || says(&[primary("a", 1, LOW), primary("b", 1, HIGH)]);
    assert_eq!(owner(&fresh(&[other(), own, other()]), 0), Some("10.0.0.7"));
}

#[test]
fn a_node_that_was_reset_is_one_shard_under_both_its_ids() {
    let renamed = says(&[primary("a", 1, LOW), primary("b", 1, HIGH)]);
    let [slots, nodes] = frames(&[primary("a", 1, LOW), primary("b", 1, HIGH)]);
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap().replace("$1\r\na\r\n:1\r\n$1\r\na", "$1\r\nb\r\n:1\r\n$1\r\na")
    };
    let answer = ClusterAnswer::parse(&NodeAddress::new("asked", 1), text(slots).as_bytes(), &nodes).unwrap();
    let view = fresh(&[answer]);
    assert_eq!(view.shards().len(), 1, "{view:?}");
    assert!(view.covers_all());
    assert_eq!(fresh(&[renamed]).shards().len(), 2);
}

#[test]
fn strange_answers_are_errors_and_never_panics() {
    let asked = node(1);
    let disabled = b"-ERR This instance has cluster support disabled\r\n";
    assert!(matches!(ClusterAnswer::parse(&asked, disabled, disabled), Err(ViewError::Refused(_))));
    for slots in [
        &b"+OK\r\n"[..],
        b"*1\r\n:1\r\n",
        b"*1\r\n*1\r\n:1\r\n",
        b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        b"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
        b"*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
    ] {
        assert!(matches!(ClusterAnswer::parse(&asked, slots, &refused()), Err(ViewError::Form(_))), "{slots:?}");
    }
    assert!(matches!(ClusterAnswer::parse(&asked, b"*1\r\n", &refused()), Err(ViewError::Undecodable(_))));
    assert!(matches!(ClusterAnswer::parse(&asked, b"*0\r\n", b"*0\r\n"), Err(ViewError::Form(_))));
    // A range backwards owns nothing; a line that is no node's is stepped over.
    let backwards = b"*1\r\n*3\r\n:9\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n";
    let answer = ClusterAnswer::parse(&asked, backwards, b"$9\r\nno node\r\n\r\n").unwrap();
    assert!(fresh(&[answer]).is_empty());
}

#[test]
fn handshakes_are_no_nodes() {
    let text = "x 10.0.0.1:1@2 handshake - 0 0 0 disconnected\n";
    let nodes = format!("${}\r\n{text}\r\n", text.len());
    let answer = ClusterAnswer::parse(&node(1), b"*0\r\n", nodes.as_bytes()).unwrap();
    assert_eq!(answer.nodes(), <&[ClusterNode]>::default());
}

#[test]
fn one_slot_is_learned_from_a_move_before_the_view_is_asked_for() {
    let mut view = fresh(&[read(HEALTHY, 21002)]);
    assert!(!view.moved(100, &node(21001)), "known");
    assert!(!view.moved(16_384, &node(21002)), "no slot");
    assert!(view.moved(100, &node(21002)));
    assert_eq!(view.shard_of(100).map(|shard| shard.primary.port()), Some(21002));
    assert_eq!(view.shard_of(100).map(|shard| &shard.slots[..]), Some(&[100..=100, 5_461..=10_922][..]));
    assert_eq!(view.shard_of(99).map(|shard| &shard.slots[..]), Some(&[0..=99, 101..=5_460][..]));
    // A replica that was promoted is a shard of its own from now on.
    assert!(view.moved(101, &node(21004)));
    assert_eq!(view.shard_of(101).map(|shard| (shard.primary.port(), shard.slots.len())), Some((21004, 1)));
    assert_eq!(view.nodes().filter(|address| **address == node(21004)).count(), 1);
    assert!(view.covers_all());
    // The next answers are believed over it.
    assert_eq!(shape(&ClusterView::believe(&view, &[read(HEALTHY, 21002)])), shape(&fresh(&[read(HEALTHY, 21002)])));
    let mut empty = ClusterView::empty();
    assert!(empty.moved(5, &node(1)));
    assert_eq!((empty.shard_index_of(5), empty.shard_index_of(6)), (Some(0), None));
}

/// What one node may say: who owns each half of the slots, and the epochs of three nodes.
fn statement() -> impl Strategy<Value = (usize, usize, [u64; 3])> {
    (0..3_usize, 0..3_usize, [0..4_u64, 0..4, 0..4])
}

fn stated((low, high, epochs): (usize, usize, [u64; 3])) -> ClusterAnswer {
    let slots = |name| match (low == name, high == name) {
        (true, true) => ALL,
        (true, false) => LOW,
        (false, true) => HIGH,
        (false, false) => NONE,
    };
    let nodes = [0, 1, 2].map(|name| primary(["a", "b", "c"][name], epochs[name], slots(name)));
    says(&nodes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_nodes_say_the_highest_epoch_owns_a_slot(
        earlier in prop::collection::vec(statement(), 0..2),
        statements in prop::collection::vec(statement(), 1..5),
    ) {
        let before = fresh(&earlier.into_iter().map(stated).collect::<Vec<_>>());
        let mut answers: Vec<_> = statements.iter().copied().map(stated).collect();
        let view = ClusterView::believe(&before, &answers);
        prop_assert!(view.covers_all());
        for (slot, half) in [(0, 0), (16_383, 1)] {
            let claims = statements.iter().map(|(low, high, epochs)| {
                let owner = [*low, *high][half];
                (epochs[owner], ["a", "b", "c"][owner])
            });
            let newest = claims.clone().map(|(epoch, _)| epoch).max().unwrap();
            let believed = before.shard_of(slot).map(|shard| (shard.epoch, shard.primary.host()));
            let owner = owner(&view, slot).unwrap();
            prop_assert!(
                claims.clone().any(|claim| claim == (newest, owner))
                    || believed.is_some_and(|(epoch, host)| host == owner && epoch >= newest),
                "{slot} {owner} {statements:?} {before:?}"
            );
        }
        prop_assert_eq!(&ClusterView::believe(&view, &answers), &view, "the same answers again change nothing");
        answers.reverse();
        prop_assert_eq!(ClusterView::believe(&before, &answers), view, "nor does their order");
    }

    #[test]
    fn any_moves_leave_each_slot_with_who_got_it_last(moves in prop::collection::vec((0..40_u16, 0..5_u16), 0..80)) {
        let mut view = ClusterView::empty();
        let mut expected = [None; 40];
        for (slot, port) in moves {
            let is_news = expected[usize::from(slot)] != Some(port);
            expected[usize::from(slot)] = Some(port);
            prop_assert_eq!(view.moved(slot, &node(port)), is_news);
        }
        for (slot, port) in (0..).zip(expected) {
            prop_assert_eq!(view.shard_of(slot).map(|shard| shard.primary.port()), port);
        }
        for shard in view.shards() {
            prop_assert!(!shard.slots.is_empty());
            prop_assert_eq!(&shard.slots, &ranged(shard.slots.iter().cloned().flatten()), "ascending and not adjacent");
        }
    }
}
