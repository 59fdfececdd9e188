use romaine_resp::{DecodeErrorKind, Limits};

use super::*;

fn limits(queued_requests_max: usize, queued_bytes_max: usize, in_flight_max: usize) -> ConnectionLimits {
    ConnectionLimits { queued_requests_max, queued_bytes_max, in_flight_max, ..ConnectionLimits::default() }
}

fn down_with(limits: ConnectionLimits) -> Rig {
    Rig::new(Lane::Requests, limits, Liveness::off())
}

#[test]
fn the_request_past_the_limit_is_refused_and_those_before_it_run() {
    let mut rig = down_with(limits(3, 1_000, 10));
    rig.ask([1, 2, 3]);
    assert_eq!(rig.try_request(options(4), "<4>"), Err(Refusal::QueuedRequests));
    rig.open();
    assert_eq!(rig.try_request(options(4), "<4>"), Err(Refusal::QueuedRequests), "the handshake counts for nothing");
    rig.greet();
    assert_eq!(rig.take(), "<1><2><3>");
    rig.ask([5, 6, 7]);
    assert_eq!(rig.try_request(options(8), "<8>"), Err(Refusal::QueuedRequests), "in flight is not queued");
}

#[test]
fn bytes_are_limited_but_a_single_larger_request_passes_alone() {
    let mut rig = down_with(limits(100, 10, 10));
    rig.ask([1, 2, 3]);
    assert_eq!(rig.try_request(options(4), "<4>"), Err(Refusal::QueuedBytes));
    rig.request(options(4), "4");
    assert_eq!(rig.connection.queued_bytes(), 10);

    let mut rig = down_with(limits(100, 10, 10));
    let large = "x".repeat(1_000);
    rig.request(options(1), &large);
    assert_eq!(rig.try_request(options(2), "2"), Err(Refusal::QueuedBytes));
    let mut rig = rig.up();
    assert_eq!(rig.take(), large);
    rig.ask([2]);
}

#[test]
fn withdrawn_requests_do_not_count() {
    let mut rig = down_with(limits(3, 9, 10));
    let ids = rig.ask([1, 2, 3]);
    rig.connection.abandon(ids[1]);
    assert_eq!((rig.connection.queued(), rig.connection.queued_bytes()), (2, 6));
    let [fourth] = rig.ask([4]);
    assert_eq!(rig.try_request(options(5), "<5>"), Err(Refusal::QueuedRequests));
    for id in [ids[0], ids[1], ids[2], fourth] {
        rig.connection.abandon(id);
    }
    let large = "x".repeat(100);
    rig.request(options(6), &large);
    assert_eq!(rig.try_request(options(7), "7"), Err(Refusal::QueuedBytes));
    let mut rig = rig.up();
    assert_eq!(rig.take(), large);
}

#[test]
fn expired_requests_make_room() {
    let mut rig = down_with(limits(2, 1_000, 10));
    rig.ask_within(1, 100);
    rig.ask_within(2, 200);
    assert_eq!(rig.try_request(options(3), "<3>"), Err(Refusal::QueuedRequests));
    rig.idle_for(100).unwrap();
    assert_eq!(rig.told(), ["1: Expired, NotSent"]);
    rig.ask([3]);
    assert_eq!(rig.up().take(), "<2><3>");
}

#[test]
fn an_outage_of_any_length_does_not_grow_the_queue_whoever_gives_up() {
    // By deadline and by abandon; small ones by number, large ones by size.
    let large = "x".repeat(10_000);
    let mut rig = down_with(limits(100, 200_000, 10));
    rig.ask([1]);
    for round in 0..50_000_u32 {
        let bytes = if round.is_multiple_of(50) { &large[..] } else { "<2>" };
        if round.is_multiple_of(3) {
            let deadline = Some(rig.now + ms(1));
            rig.request(RequestOptions { deadline, ..options(2) }, bytes);
            rig.sleep(1);
            rig.timeout().unwrap();
        } else {
            let id = rig.request(options(2), bytes);
            rig.connection.abandon(id);
        }
        assert!(rig.connection.line.places_held() <= 1_100, "{round}");
        assert!(rig.connection.line.bytes_held() <= 80_000, "{round}");
        rig.told();
    }
    assert_eq!(rig.connection.queued(), 1);
    assert_eq!(rig.up().take(), "<1>");
}

#[test]
fn unlimited_is_a_limit_that_is_never_reached() {
    let mut rig = down_with(limits(usize::MAX, usize::MAX, usize::MAX));
    let [first, _] = rig.ask([1, 2]);
    rig.connection.abandon(first);
    rig.ask([3]);
    let mut rig = rig.up();
    assert_eq!(rig.take(), "<2><3>");
    rig.ask([4]);
    assert_eq!(rig.take(), "<4>");
}

#[test]
fn what_may_not_be_in_flight_yet_waits_and_follows_as_replies_arrive() {
    let mut rig = Rig::ready_with(limits(100, 1_000, 2));
    rig.ask([1, 2, 3, 4, 5]);
    assert_eq!(rig.take(), "<1><2>");
    assert!(!rig.connection.has_outgoing());
    assert_eq!(rig.take(), "");
    assert_eq!((rig.connection.in_flight(), rig.connection.queued(), rig.connection.queued_bytes()), (2, 3, 9));
    rig.feed("+1\r\n").unwrap();
    assert!(rig.connection.has_outgoing());
    assert_eq!(rig.take(), "<3>");
    rig.feed("+2\r\n+3\r\n").unwrap();
    assert_eq!(rig.take(), "<4><5>");
    rig.told();
    assert_eq!(rig.close(3), ["4: Disconnected, Unknown", "5: Disconnected, NotSent"]);
}

#[test]
fn the_places_of_abandoned_requests_in_flight_count_until_their_replies_arrive() {
    let mut rig = Rig::ready_with(limits(100, 1_000, 2));
    let [first, second] = rig.ask([1, 2]);
    rig.take();
    rig.connection.abandon(first);
    rig.connection.abandon(second);
    rig.ask([3]);
    assert_eq!(rig.take(), "");
    rig.feed("+1\r\n").unwrap();
    assert_eq!(rig.take(), "<3>");
}

#[test]
fn a_request_withdrawn_behind_a_full_line_is_not_sent_in_its_turn() {
    let mut rig = Rig::ready_with(limits(100, 1_000, 2));
    let ids = rig.ask([1, 2, 3, 4, 5]);
    rig.take();
    rig.connection.abandon(ids[2]);
    rig.feed("+1\r\n+2\r\n").unwrap();
    rig.told();
    assert_eq!(rig.take(), "<4><5>");
}

#[test]
fn a_limit_of_none_in_flight_still_lets_one_through() {
    let mut rig = Rig::ready_with(limits(100, 1_000, 0));
    rig.ask([1, 2]);
    assert_eq!(rig.take(), "<1>");
}

#[test]
fn what_is_handed_over_is_appended_to_what_is_there() {
    let mut rig = Rig::ready();
    let mut taken = BytesMut::from(&b"before"[..]);
    rig.ask([1]);
    rig.connection.take(rig.now, &mut taken);
    rig.ask([2]);
    rig.connection.take(rig.now, &mut taken);
    assert_eq!(&taken[..], b"before<1><2>");
}

#[test]
fn a_reply_past_its_limits_ends_the_connection() {
    let reply = Limits { reply_bytes_max: 100, depth_max: 2, ..Limits::default() };
    for (bytes, kind) in
        [("$1000\r\n", DecodeErrorKind::ReplyTooLarge), ("*1\r\n*1\r\n*1\r\n:1\r\n", DecodeErrorKind::TooDeep)]
    {
        let mut rig = Rig::ready_with(ConnectionLimits { reply, ..ConnectionLimits::default() });
        rig.ask([1]);
        rig.take();
        let Err(CloseReason::Malformed(error)) = rig.feed(bytes) else { panic!("{bytes}") };
        assert_eq!(error.kind(), kind);
        assert_eq!(rig.close(0), ["1: Disconnected, Unknown"]);
    }
}
