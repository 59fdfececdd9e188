use romaine_resp::DecodeErrorKind;

use super::*;
use crate::handshake::{HandshakeError, Step};

#[test]
fn no_callers_byte_leaves_before_the_handshake_ends_then_all_in_order() {
    let mut rig = Rig::down();
    rig.ask([1]);
    assert_eq!(rig.take(), "");
    assert!(!rig.connection.has_outgoing());
    rig.connection.opened(
        rig.now,
        Greeting { database: 2, ..Greeting::default() },
        Deadlines::only(rig.now + ms(5_000)),
    );
    rig.ask([2]);
    assert!(rig.connection.has_outgoing());
    assert_eq!(rig.take(), "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
    rig.feed("%0\r\n").unwrap();
    rig.ask([3]);
    assert_eq!(rig.take(), "*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n");
    assert_eq!((rig.connection.link(), rig.connection.queued()), (Link::Greeting, 3));
    assert!(!rig.connection.has_outgoing());
    rig.feed("+OK\r\n").unwrap();
    assert_eq!(rig.connection.link(), Link::Ready);
    assert!(rig.connection.has_outgoing());
    assert_eq!(rig.take(), "<1><2><3>");
    assert_eq!((rig.connection.in_flight(), rig.connection.queued()), (3, 0));
}

#[test]
fn any_cut_of_the_handshakes_bytes_changes_nothing() {
    let bytes = b">2\r\n+invalidate\r\n_\r\n%2\r\n+proto\r\n:3\r\n+id\r\n:7\r\n>1\r\n+x\r\n";
    for cut in 0..=bytes.len() {
        let mut rig = Rig::down();
        rig.ask([1]);
        rig.open();
        rig.feed(&bytes[..cut]).unwrap();
        assert!(
            rig.connection.link() == Link::Greeting || rig.told.0.first().is_some_and(|told| told == "ready Resp3")
        );
        rig.feed(&bytes[cut..]).unwrap();
        assert_eq!(rig.told(), ["ready Resp3", r"push >1\r\n+x\r\n"], "a push before the end is not for anybody");
        assert_eq!(rig.take(), "<1>");
    }
}

#[test]
fn a_reply_behind_the_handshakes_last_is_unsolicited() {
    let mut rig = Rig::down();
    rig.ask([1]);
    rig.open();
    assert!(matches!(rig.feed("%0\r\n+OK\r\n"), Err(CloseReason::Unsolicited)));
}

#[test]
fn a_reply_to_a_step_that_was_not_sent_is_unsolicited() {
    let mut rig = Rig::down();
    rig.connection.opened(
        rig.now,
        Greeting { database: 2, ..Greeting::default() },
        Deadlines::only(rig.now + ms(5_000)),
    );
    rig.take();
    // SELECT was written for the transport only with the first of these replies.
    assert!(matches!(rig.feed("%0\r\n+OK\r\n"), Err(CloseReason::Unsolicited)));
}

#[test]
fn a_server_that_turns_everybody_away_is_heard_before_anything_was_sent() {
    let mut rig = Rig::down();
    rig.connection.opened(rig.now, Greeting::default(), Deadlines::only(rig.now + ms(5_000)));
    let refused = rig.feed("-ERR max number of clients reached\r\n").unwrap_err();
    let CloseReason::Handshake(HandshakeError::Refused { error, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(error.as_str(), "ERR max number of clients reached");
}

#[test]
fn garbage_as_the_first_byte_ends_the_attempt() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\x15\x03\x01\0\x02\x02\x50", b"\n"] {
        let mut rig = Rig::down();
        rig.open();
        let Err(CloseReason::Malformed(error)) = rig.feed(garbage) else { panic!() };
        assert_eq!(error.kind(), DecodeErrorKind::UnknownType(garbage[0]));
    }
}

#[test]
fn what_the_server_refuses_in_the_handshake_ends_the_attempt_with_its_words() {
    let mut rig = Rig::down();
    rig.open();
    let refused = rig.feed("-ERR max number of clients reached\r\n").unwrap_err();
    let CloseReason::Handshake(HandshakeError::Refused { step: Step::Hello, error }) = refused else { panic!() };
    assert_eq!(error.as_str(), "ERR max number of clients reached");
}

#[test]
fn a_handshake_that_hangs_names_the_step() {
    let greeting = Greeting { database: 2, run_id: true, ..Greeting::default() };
    for (replies, step) in [("", "HELLO"), ("%0\r\n", "SELECT"), ("%0\r\n+OK\r\n", "INFO")] {
        let mut rig = Rig::down();
        rig.connection.opened(rig.now, greeting.clone(), Deadlines::only(rig.now + ms(3_000)));
        rig.take();
        for reply in replies.split_inclusive("\r\n") {
            rig.feed(reply).unwrap();
            rig.take();
        }
        rig.idle_for(2_999).unwrap();
        let Err(CloseReason::HandshakeTimeout(name)) = rig.idle_for(1) else { panic!("{step}") };
        assert_eq!(name, step);
    }
}

#[test]
fn a_silent_handshake_does_not_make_the_driver_spin() {
    // `idle_for` counts the ticks.
    let mut rig = Rig::new(Lane::Requests, ConnectionLimits::default(), Liveness::default());
    rig.open();
    assert!(matches!(rig.idle_for(60_000), Err(CloseReason::HandshakeTimeout("HELLO"))));
    assert_eq!(rig.now, rig.start + ms(5_000));
    assert!(rig.told().is_empty(), "a connection that cannot be used yet is not suspect");
}

#[test]
fn a_slow_handshake_is_no_recovery() {
    let mut rig = Rig::new(Lane::Requests, ConnectionLimits::default(), Liveness::default());
    rig.open();
    rig.take();
    rig.idle_for(3_000).unwrap();
    rig.feed("%0\r\n").unwrap();
    assert_eq!(rig.connection.link(), Link::Ready);
    assert_eq!(rig.told(), ["ready Resp3"]);
}

#[test]
fn a_handshake_that_was_long_is_given_up_by_the_watchdog() {
    let mut rig = Rig::new(Lane::Requests, ConnectionLimits::default(), Liveness::default());
    rig.connection.opened(rig.now, Greeting::default(), Deadlines::only(rig.now + ms(60_000)));
    assert!(matches!(rig.idle_for(60_000), Err(CloseReason::Silent(silent)) if silent == ms(8_500)));
}

/// A handshake of at most five seconds, or one as soon as somebody waits who comes now.
fn greeting_silence(mut rig: Rig) -> Rig {
    let now = rig.now;
    rig.connection.dialling();
    rig.connection.opened(
        now,
        Greeting::default(),
        Deadlines { hurried: Some(now + ms(1_000)), ..Deadlines::only(now + ms(5_000)) },
    );
    rig.take();
    rig
}

// Fault lab, F05 idle: a proxy accepts for a server that is gone, and the call comes when it is back.
#[test]
fn a_call_does_not_wait_out_a_handshake_that_nobody_had_waited_for() {
    let mut rig = greeting_silence(Rig::down());
    rig.idle_for(1_500).unwrap();
    let (_, wake) = rig.try_request(options(1), "a").unwrap();
    assert!(wake, "the driver looks at the clock");
    assert!(matches!(rig.idle_for(1), Err(CloseReason::HandshakeTimeout("HELLO"))));
    assert_eq!(rig.now, rig.start + ms(1_500));
    assert!(rig.connection.is_wanted(), "the next dial is for it");
    rig.connection.dialling();
    assert!(!rig.connection.is_wanted());
}

#[test]
fn a_greeting_from_before_the_server_was_back_is_not_waited_for() {
    for (silent_for, is_lost) in [(999, false), (1_000, true)] {
        let mut rig = Rig::down();
        let (now, lost) = (rig.now, Some(rig.now + ms(1_000)));
        rig.connection.opened(now, Greeting::default(), Deadlines { lost, ..Deadlines::only(now + ms(5_000)) });
        rig.take();
        rig.idle_for(silent_for).unwrap();
        assert_eq!(rig.connection.back(rig.now), is_lost, "{silent_for}");
        assert_eq!(matches!(rig.idle_for(1), Err(CloseReason::HandshakeTimeout("HELLO"))), is_lost);
    }
    assert!(!Rig::ready().connection.back(Instant::now()), "it has been answered");
}

#[test]
fn a_call_that_comes_early_gives_a_handshake_its_time() {
    let mut rig = greeting_silence(Rig::down());
    rig.try_request(options(1), "a").unwrap();
    rig.idle_for(999).unwrap();
    rig.feed("%0\r\n").unwrap();
    assert!(!rig.connection.is_wanted(), "it has what it wanted");
    rig.idle_for(60_000).unwrap();
}

#[test]
fn calls_that_waited_before_a_dial_do_not_hurry_it() {
    let mut rig = Rig::down();
    rig.try_request(options(1), "a").unwrap();
    assert!(rig.connection.is_wanted());
    let mut rig = greeting_silence(rig);
    rig.try_request(options(2), "b").unwrap();
    assert!(!rig.connection.is_wanted());
    rig.idle_for(4_999).unwrap();
}

#[test]
fn after_the_handshake_its_deadline_is_over() {
    let mut rig = Rig::ready();
    rig.idle_for(60_000).unwrap();
    assert_eq!(rig.connection.link(), Link::Ready);
}
