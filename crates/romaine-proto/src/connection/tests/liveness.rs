use super::*;

const PING: &str = "*1\r\n$4\r\nPING\r\n";

fn watched() -> Rig {
    Rig::new(Lane::Requests, ConnectionLimits::default(), Liveness::default()).up()
}

#[test]
fn an_idle_connection_is_asked_for_a_sign_of_life_and_the_answer_reaches_nobody() {
    let mut rig = watched();
    for _ in 0..5 {
        assert_eq!(rig.idle_for(999).unwrap(), "");
        assert_eq!(rig.idle_for(1).unwrap(), PING);
        assert_eq!(rig.connection.in_flight(), 1);
        rig.feed("+PONG\r\n").unwrap();
        assert_eq!(rig.connection.in_flight(), 0);
    }
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn a_refused_sign_of_life_is_one() {
    let mut rig = watched();
    for _ in 0..20 {
        assert_eq!(rig.idle_for(1_000).unwrap(), PING);
        rig.feed("-NOPERM this user has no permissions to run the 'ping' command\r\n").unwrap();
    }
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn the_place_of_our_ping_shifts_no_reply() {
    let mut rig = watched();
    rig.idle_for(1_000).unwrap();
    rig.ask([1]);
    assert_eq!(rig.take(), "<1>");
    rig.feed("+PONG\r\n+one\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +one\r\n"]);
}

#[test]
fn our_ping_is_nobodys_when_the_connection_closes() {
    let mut rig = watched();
    rig.idle_for(1_000).unwrap();
    rig.ask([1]);
    rig.take();
    assert_eq!(rig.close(3), ["1: Disconnected, NotSent"]);
}

#[test]
fn our_ping_passes_no_limit_of_the_queue() {
    let limits = ConnectionLimits { queued_requests_max: 1, queued_bytes_max: 3, ..ConnectionLimits::default() };
    let mut rig = Rig::new(Lane::Requests, limits, Liveness::default()).up();
    rig.sleep(1_000);
    rig.ask([1]);
    rig.timeout().unwrap();
    assert_eq!((rig.connection.queued(), rig.connection.queued_bytes()), (1, 3));
    assert_eq!(rig.take(), "<1>", "it will be answered just as well");
}

#[test]
fn a_peer_that_answers_nothing_is_suspect_then_dead() {
    let mut rig = watched();
    rig.ask([1]);
    rig.take();
    assert_eq!(rig.idle_for(1_999).unwrap(), "");
    assert_eq!(rig.told(), Vec::<String>::new());
    rig.idle_for(1).unwrap();
    assert_eq!(rig.told(), ["suspect"]);
    assert!(rig.connection.is_suspect());
    rig.idle_for(6_499).unwrap();
    assert!(matches!(rig.idle_for(1), Err(CloseReason::Silent(silent)) if silent == ms(8_500)));
    assert_eq!(rig.told(), ["dead"]);
    assert_eq!(rig.close(0), ["1: Disconnected, Unknown"]);
    assert_eq!(rig.connection.next_timeout(), None, "without a socket nothing is watched");
}

#[test]
fn a_dead_idle_connection_is_found_within_the_promise() {
    for (liveness, promise) in [(Liveness::default(), 10_000), (Liveness::fast(), 2_000), (Liveness::frugal(), 60_000)]
    {
        let mut rig = Rig::new(Lane::Requests, ConnectionLimits::default(), liveness).up();
        assert!(matches!(rig.idle_for(promise), Err(CloseReason::Silent(_))));
    }
}

#[test]
fn a_steady_writer_does_not_keep_a_dead_connection_alive() {
    let mut rig = watched();
    let dead = (0..1_000_u32).find_map(|_| {
        rig.ask([1]);
        rig.idle_for(10).err()
    });
    assert!(matches!(dead, Some(CloseReason::Silent(_))));
    assert!(rig.now - rig.start <= ms(8_600));
}

#[test]
fn a_suspect_that_speaks_has_recovered() {
    let mut rig = watched();
    rig.ask([1]);
    rig.take();
    rig.idle_for(3_000).unwrap();
    rig.feed("$100").unwrap();
    assert_eq!(rig.told(), ["suspect", "recovered"], "any byte is proof");
    assert!(!rig.connection.is_suspect());
    rig.idle_for(3_000).unwrap();
    rig.feed("0\r\n").unwrap();
    assert_eq!(rig.told(), ["suspect", "recovered"]);
}

#[test]
fn a_server_that_is_known_to_be_busy_is_excused_as_often_as_a_second_opinion_says_so() {
    let mut rig = watched();
    rig.ask([1]);
    rig.take();
    for _ in 0..30 {
        rig.idle_for(2_000).unwrap();
        assert_eq!(rig.told(), ["suspect"], "another opinion is asked for");
        rig.connection.excuse(rig.now);
        assert!(rig.connection.is_suspect(), "it did not answer yet");
    }
    rig.feed("+1\r\n").unwrap();
    assert_eq!(rig.told(), ["recovered", r"1: +1\r\n"]);
}

#[test]
fn a_blocking_request_at_the_front_quiets_the_watchdog() {
    let mut rig = watched();
    rig.request(RequestOptions { blocking: true, ..options(1) }, "<1>");
    rig.ask([2]);
    rig.take();
    assert_eq!(rig.idle_for(3_600_000).unwrap(), "");
    rig.feed("*-1\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: *-1\r\n"]);
    // Now an ordinary one is awaited again.
    assert!(matches!(rig.idle_for(60_000), Err(CloseReason::Silent(silent)) if silent == ms(8_500)));
}

#[test]
fn a_blocking_request_behind_an_unanswered_one_hides_nothing() {
    let mut rig = watched();
    rig.ask([1]);
    rig.request(RequestOptions { blocking: true, ..options(2) }, "<2>");
    rig.take();
    assert!(matches!(rig.idle_for(60_000), Err(CloseReason::Silent(_))));
}

#[test]
fn a_stall_of_our_own_is_not_the_peers_silence() {
    let mut rig = watched();
    rig.ask([1]);
    rig.take();
    rig.connection.next_timeout();
    rig.sleep(60_000);
    rig.timeout().unwrap();
    assert_eq!(rig.told(), ["stalled"]);
    rig.feed("+1\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +1\r\n"]);
}

#[test]
fn the_driver_is_woken_only_for_the_first_of_those_who_wait_and_the_first_byte_of_a_ready_connection() {
    let mut rig = Rig::down();
    rig.connection.next_timeout();
    assert!(rig.try_request(options(0), "<0>").unwrap().1, "whoever dials learns that it is missed");
    assert!(!rig.try_request(options(1), "<1>").unwrap().1, "there is nothing to write to");
    rig.open();
    assert!(!rig.try_request(options(2), "<2>").unwrap().1);
    rig.greet();
    assert!(!rig.try_request(options(3), "<3>").unwrap().1, "there was something already");
    rig.take();
    assert!(rig.try_request(options(4), "<4>").unwrap().1);
    assert!(!rig.try_request(options(5), "<5>").unwrap().1);
    rig.take();
    assert!(rig.try_request(options(6), "<6>").unwrap().1);
}

#[test]
fn the_driver_is_woken_for_a_deadline_that_is_earlier_than_what_it_sleeps_for() {
    for up in [false, true] {
        let mut rig = if up { Rig::ready() } else { Rig::down() };
        rig.ask([1]);
        rig.connection.next_timeout();
        let wakes = |rig: &mut Rig, timeout| {
            let deadline = Some(rig.now + ms(timeout));
            rig.try_request(RequestOptions { deadline, ..options(2) }, "<2>").unwrap().1
        };
        assert!(wakes(&mut rig, 500), "it sleeps for ever");
        assert_eq!(rig.connection.next_timeout(), Some(rig.now + ms(500)));
        assert!(!wakes(&mut rig, 500));
        assert!(!wakes(&mut rig, 600));
        assert!(wakes(&mut rig, 499));
        assert_eq!(rig.connection.next_timeout(), Some(rig.now + ms(499)));
    }
}

// Whoever asks for second opinions asks for as long as it is suspect.
#[test]
fn a_connection_that_died_of_silence_is_not_suspect_any_more() {
    let mut rig = watched();
    rig.ask([1]);
    rig.take();
    rig.idle_for(3_000).unwrap();
    assert!(rig.connection.is_suspect());
    assert!(rig.idle_for(10_000).is_err(), "dead");
    rig.close(0);
    assert!(!rig.connection.is_suspect());
}

#[test]
fn what_a_server_answers_in_any_case_is_not_held_back() {
    let mut rig = Rig::ready();
    assert!(!rig.connection.may_be_held(), "nothing is unanswered");
    let read = romaine_commands::table::find("GET").unwrap();
    let request = |rig: &mut Rig, spec| {
        let write = |out: &mut BytesMut| out.extend_from_slice(b"x");
        rig.connection.request(rig.now, spec, options(1), 1, write).unwrap();
    };
    request(&mut rig, read);
    rig.take();
    request(&mut rig, &Spec::UNLISTED);
    assert!(!rig.connection.may_be_held(), "the read comes first, and the rest is not sent");
    rig.take();
    rig.feed("$-1\r\n").unwrap();
    assert!(rig.connection.may_be_held());
}
