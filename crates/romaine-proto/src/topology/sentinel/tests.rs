use super::captured::{HEALTHY, HEALTHY_3, PRIMARY_DOWN, PROMOTING, REPLICA_DOWN, UNKNOWN};
use super::*;

fn node(port: u16) -> NodeAddress {
    NodeAddress::new("127.0.0.1", port)
}

/// A Sentinel that names the node at `port`.
fn says(port: u16, epoch: u64) -> SentinelAnswer {
    SentinelAnswer { primary: Some(node(port)), epoch, ..SentinelAnswer::default() }
}

fn view(port: u16, epoch: u64) -> SentinelView {
    SentinelView { primary: node(port), epoch, replicas: Vec::new() }
}

fn believed(before: Option<&SentinelView>, known: usize, answers: &[SentinelAnswer], last: bool) -> Option<(u16, u64)> {
    // The order in which answers arrive decides nothing.
    let reversed: Vec<_> = answers.iter().rev().cloned().collect();
    let agreement = agree(before, known, answers, last);
    assert_eq!(agreement, agree(before, known, &reversed, last));
    match agreement {
        Agreement::Now(view) => Some((view.primary.port(), view.epoch)),
        Agreement::NotYet => None,
    }
}

#[test]
fn real_answers_are_read_in_both_protocols() {
    for frames in [HEALTHY, HEALTHY_3] {
        let answer = SentinelAnswer::parse(frames).unwrap();
        let expected = SentinelAnswer {
            primary: Some(node(22001)),
            replicas: answer.replicas.clone(),
            sentinels: vec![node(23002), node(23003)],
            ..SentinelAnswer::default()
        };
        assert_eq!(answer, expected);
        assert_eq!(answer.replicas.len(), 1);
    }
}

#[test]
fn the_leader_of_a_failover_tells_the_new_primary_first() {
    let answer = SentinelAnswer::parse(PROMOTING).unwrap();
    assert_eq!((answer.primary.clone(), answer.epoch), (Some(node(22003)), 1));
    assert!(answer.failover_in_progress && answer.has_promoted && !answer.primary_is_down);
    assert_eq!(answer.replicas, [node(22002)], "the promoted one is no replica any more");
}

#[test]
fn when_a_replica_was_promoted_it_is_the_old_primary_that_is_down() {
    let flags =
        ["$42\r\nmaster,failover_in_progress,force_failover", "$41\r\no_down,master,failover_in_progress,s_down"];
    let primary = String::from_utf8(PROMOTING[1].to_vec()).unwrap().replace(flags[0], flags[1]);
    let answer = SentinelAnswer::parse([PROMOTING[0], primary.as_bytes(), PROMOTING[2], PROMOTING[3]]).unwrap();
    assert!(answer.has_promoted && !answer.primary_is_down);
    let waiting = SentinelAnswer::parse([HEALTHY[0], primary.as_bytes(), PROMOTING[2], PROMOTING[3]]).unwrap();
    assert!(waiting.failover_in_progress && !waiting.has_promoted && waiting.primary_is_down);
}

#[test]
fn a_replica_that_is_down_is_not_read_from() {
    let answer = SentinelAnswer::parse(REPLICA_DOWN).unwrap();
    assert_eq!((answer.primary, answer.replicas), (Some(node(22003)), vec![node(22001)]));
}

#[test]
fn a_primary_that_is_down_is_named_all_the_same() {
    let answer = SentinelAnswer::parse(PRIMARY_DOWN).unwrap();
    assert_eq!(answer.primary, Some(node(22003)));
    assert!(answer.primary_is_down && !answer.has_promoted);
}

#[test]
fn an_unknown_name_is_told_apart_from_a_sentinel_that_refuses() {
    assert_eq!(SentinelAnswer::parse(UNKNOWN), Err(ViewError::UnknownPrimary));
    let refusal = b"-NOPERM this user has no permissions to run the 'sentinel' command\r\n";
    assert!(matches!(SentinelAnswer::parse([refusal; 4]), Err(ViewError::Refused(error)) if error.code() == "NOPERM"));
    for garbage in [&b":1\r\n"[..], b"*0\r\n", b"*2\r\n$1\r\nh\r\n$1\r\nx\r\n", b"*2\r\n$1\r\nh\r\n$5\r\n65536\r\n"] {
        assert!(matches!(SentinelAnswer::parse([garbage; 4]), Err(ViewError::Form(_))), "{garbage:?}");
    }
    assert!(matches!(SentinelAnswer::parse([b"*2\r\n"; 4]), Err(ViewError::Undecodable(_))));
}

#[test]
fn a_service_that_only_knows_the_address_is_enough() {
    let refusal = b"-ERR unknown subcommand\r\n";
    let answer = SentinelAnswer::parse([HEALTHY[0], refusal, refusal, refusal]).unwrap();
    assert_eq!(answer, says(22001, 0));
    assert_eq!(believed(None, 1, &[answer], false), Some((22001, 0)));
}

#[test]
fn a_majority_of_the_known_ends_a_round_early() {
    assert_eq!(believed(None, 3, &[says(1, 5)], false), None);
    assert_eq!(believed(None, 3, &[says(1, 5), says(1, 5)], false), Some((1, 5)));
    assert_eq!(believed(None, 4, &[says(1, 5), says(1, 5)], false), None, "half is no majority");
    assert_eq!(believed(None, 5, &[says(1, 5), says(1, 5), says(1, 4)], false), Some((1, 5)));
    assert_eq!(believed(None, 0, &[says(1, 5)], false), Some((1, 5)));
}

#[test]
fn a_newer_epoch_holds_an_old_majority_up_and_wins_at_the_end() {
    let answers = [says(1, 5), says(1, 5), says(2, 6)];
    assert_eq!(believed(Some(&view(1, 5)), 3, &answers, false), None);
    assert_eq!(believed(Some(&view(1, 5)), 3, &answers, true), Some((2, 6)));
}

#[test]
fn at_the_end_the_best_answer_wins_even_of_a_minority() {
    assert_eq!(believed(None, 5, &[says(1, 5)], true), Some((1, 5)));
    assert_eq!(believed(Some(&view(9, 4)), 5, &[says(1, 5), says(9, 4)], true), Some((1, 5)));
    assert_eq!(believed(None, 5, &[says(1, 5), says(2, 5), says(2, 5)], true), Some((2, 5)));
    assert_eq!(believed(Some(&view(1, 5)), 5, &[says(1, 5), says(2, 5)], true), Some((1, 5)), "a tie changes nothing");
}

#[test]
fn an_older_epoch_than_the_believed_needs_a_majority_of_the_known() {
    let before = view(2, 6);
    assert_eq!(believed(Some(&before), 3, &[says(1, 5)], true), None);
    assert_eq!(believed(Some(&before), 3, &[says(1, 5)], false), None);
    // All Sentinels were set up anew.
    assert_eq!(believed(Some(&before), 3, &[says(1, 0), says(1, 0)], true), Some((1, 0)));
}

#[test]
fn a_promotion_counts_as_newer_than_its_epoch() {
    let before = view(1, 5);
    let leader = SentinelAnswer { failover_in_progress: true, has_promoted: true, ..says(2, 5) };
    let answers = [says(1, 5), says(1, 5), leader];
    assert_eq!(believed(Some(&before), 3, &answers, false), None);
    assert_eq!(believed(Some(&before), 3, &answers, true), Some((2, 5)));
    // A Sentinel in a minority that only tries is not news.
    let candidate = SentinelAnswer { failover_in_progress: true, ..says(1, 5) };
    assert_eq!(believed(Some(&view(2, 6)), 3, &[candidate, says(2, 6)], true), Some((2, 6)));
}

#[test]
fn answers_without_a_primary_never_replace_a_view() {
    let nothing = SentinelAnswer { epoch: 9, ..SentinelAnswer::default() };
    for last in [false, true] {
        assert_eq!(believed(Some(&view(1, 5)), 3, &[], last), None);
        assert_eq!(believed(Some(&view(1, 5)), 3, &[nothing.clone(), nothing.clone()], last), None);
    }
    assert_eq!(believed(Some(&view(1, 5)), 3, &[nothing, says(1, 5)], true), Some((1, 5)));
}

#[test]
fn replicas_are_those_that_half_of_the_agreeing_can_reach() {
    let with = |primary, replicas: &[u16]| SentinelAnswer {
        replicas: replicas.iter().map(|port| node(*port)).collect(),
        ..says(primary, 5)
    };
    let answers = [with(1, &[3, 2]), with(1, &[4, 2]), with(1, &[3, 1]), with(9, &[5])];
    let Agreement::Now(view) = agree(None, 4, &answers, true) else { panic!("a majority") };
    assert_eq!(view.replicas, [node(2), node(3)]);
}

/// Every combination of what three Sentinels may say, for every earlier view.
#[test]
fn whatever_three_sentinels_say_the_rules_hold() {
    let mut possible = vec![None];
    for (port, epoch) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3)] {
        possible.push(Some(says(port, epoch)));
    }
    let befores = [None, Some(view(1, 1)), Some(view(1, 2)), Some(view(2, 2)), Some(view(3, 3))];
    for first in &possible {
        for second in &possible {
            for third in &possible {
                let answers: Vec<_> = [first, second, third].into_iter().flatten().cloned().collect();
                for before in &befores {
                    let early = believed(before.as_ref(), 3, &answers, false);
                    let late = believed(before.as_ref(), 3, &answers, true);
                    let newest = answers.iter().map(|answer| answer.epoch).max();
                    if let Some((port, epoch)) = early {
                        assert_eq!(late, early, "what was said early is not taken back");
                        assert_eq!(Some(epoch), newest);
                        assert!(answers.iter().filter(|answer| answer.primary == Some(node(port))).count() >= 2);
                    }
                    if let (Some((port, epoch)), Some(before)) = (late, before) {
                        let votes = answers.iter().filter(|answer| answer.primary == Some(node(port))).count();
                        assert!(epoch >= before.epoch || votes >= 2, "{answers:?} {before:?}");
                    }
                    assert!(late.is_some() || answers.is_empty() || before.is_some());
                }
            }
        }
    }
}
