use super::*;

#[test]
fn an_expired_request_in_flight_keeps_its_place_and_its_late_reply_reaches_nobody() {
    let mut rig = Rig::ready();
    rig.ask_within(1, 100);
    rig.ask([2]);
    assert_eq!(rig.take(), "<1><2>");
    assert_eq!(rig.idle_for(1_000).unwrap(), "");
    assert_eq!(rig.told(), ["1: Expired, Unknown"], "told once");
    assert_eq!(rig.connection.in_flight(), 2);
    rig.feed("+late\r\n+two\r\n").unwrap();
    assert_eq!(rig.told(), [r"2: +two\r\n"]);
}

#[test]
fn a_pipeline_that_expires_halfway_swallows_the_rest_of_its_replies() {
    let mut rig = Rig::ready();
    let deadline = Some(rig.now + ms(100));
    rig.request(RequestOptions { replies: 3, deadline, ..options(1) }, "<1>");
    rig.ask([2]);
    rig.take();
    rig.feed(":1\r\n").unwrap();
    rig.idle_for(200).unwrap();
    rig.feed(":2\r\n:3\r\n:4\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: :1\r\n (2 left)", "1: Expired, Unknown", r"2: :4\r\n"]);
}

#[test]
fn a_request_that_expires_in_the_queue_is_cut_out_of_it_wherever_it_stands() {
    for expiring in 1..=4 {
        let mut rig = Rig::down();
        for token in 1..=4 {
            if token == expiring {
                rig.ask_within(token, 100);
            } else {
                rig.ask([token]);
            }
        }
        assert_eq!(rig.idle_for(100).unwrap(), "");
        assert_eq!(rig.told(), [format!("{expiring}: Expired, NotSent")]);
        assert_eq!((rig.connection.queued(), rig.connection.queued_bytes()), (3, 9));
        let mut rig = rig.up();
        rig.ask([5]);
        let rest: Vec<u32> = (1..=5).filter(|token| *token != expiring).collect();
        assert_eq!(rig.take(), rest.iter().map(|token| format!("<{token}>")).collect::<String>());
        rig.feed(":1\r\n:2\r\n:3\r\n:4\r\n").unwrap();
        let replies: Vec<String> = (1..).zip(&rest).map(|(n, token)| format!(r"{token}: :{n}\r\n")).collect();
        assert_eq!(rig.told(), replies);
    }
}

#[test]
fn deadlines_end_in_the_order_of_time_and_each_wakes_in_time() {
    let mut rig = Rig::down();
    for (token, timeout) in [(1, 300), (2, 100), (3, 200)] {
        rig.ask_within(token, timeout);
    }
    for (after, token) in [(100, 2), (200, 3), (300, 1)] {
        assert_eq!(rig.connection.next_timeout(), Some(rig.start + ms(after)));
        rig.now = rig.start + ms(after - 1);
        rig.timeout().unwrap();
        assert_eq!(rig.told(), Vec::<String>::new(), "an early call does nothing");
        rig.now = rig.start + ms(after);
        rig.timeout().unwrap();
        assert_eq!(rig.told(), [format!("{token}: Expired, NotSent")]);
    }
    assert_eq!(rig.connection.next_timeout(), None);
}

#[test]
fn a_late_tick_sends_nothing_that_has_expired() {
    let mut rig = Rig::down();
    rig.ask_within(1, 100);
    rig.ask([2]);
    rig.sleep(500);
    // Nobody called `timeout`: this process was paused.
    let mut rig = rig.up();
    assert_eq!(rig.take(), "<2>");
    assert_eq!(rig.connection.next_timeout(), Some(rig.start + ms(100)), "due at once");
    rig.timeout().unwrap();
    assert_eq!(rig.told(), ["1: Expired, NotSent"]);
    rig.feed("+two\r\n").unwrap();
    assert_eq!(rig.told(), [r"2: +two\r\n"]);
}

#[test]
fn a_request_found_expired_is_told_once_also_when_the_connection_closes_first() {
    let mut rig = Rig::ready();
    let [gone, _] = [rig.ask_within(1, 100), rig.ask_within(2, 100)];
    rig.ask([3]);
    rig.sleep(100);
    assert_eq!(rig.take(), "<3>");
    rig.connection.abandon(gone);
    assert_eq!(rig.close(0), ["2: Expired, NotSent", "3: Disconnected, Unknown"]);
    rig.idle_for(1_000).unwrap();
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn an_abandoned_request_that_was_sent_keeps_its_place() {
    let mut rig = Rig::ready();
    let [_, second, _] = rig.ask([1, 2, 3]);
    rig.take();
    rig.connection.abandon(second);
    rig.connection.abandon(second);
    assert_eq!(rig.connection.in_flight(), 3);
    rig.feed("+1\r\n+2\r\n+3\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +1\r\n", r"3: +3\r\n"]);
}

#[test]
fn an_abandoned_request_that_was_not_sent_never_is() {
    let mut rig = Rig::ready();
    rig.ask([1]);
    rig.take();
    let [_, third, _] = rig.ask([2, 3, 4]);
    rig.connection.abandon(third);
    assert_eq!(rig.take(), "<2><4>");
    rig.feed("+1\r\n+2\r\n+4\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +1\r\n", r"2: +2\r\n", r"4: +4\r\n"]);
    rig.connection.abandon(third);
    assert_eq!(rig.close(0), Vec::<String>::new());
}

#[test]
fn when_all_are_abandoned_nothing_is_sent_and_nothing_told() {
    let mut rig = Rig::down();
    for id in rig.ask([1, 2, 3]) {
        rig.connection.abandon(id);
    }
    assert_eq!((rig.connection.queued(), rig.connection.queued_bytes()), (0, 0));
    let mut rig = rig.up();
    assert_eq!(rig.take(), "");
    assert!(!rig.connection.has_outgoing());
    rig.ask([4]);
    assert_eq!(rig.take(), "<4>");
    rig.feed("+4\r\n").unwrap();
    assert_eq!(rig.told(), [r"4: +4\r\n"]);
}

#[test]
fn an_abandoned_request_does_not_expire() {
    let mut rig = Rig::ready();
    let sent = rig.ask_within(1, 100);
    rig.take();
    let queued = rig.ask_within(2, 100);
    rig.connection.abandon(sent);
    rig.connection.abandon(queued);
    rig.idle_for(1_000).unwrap();
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn a_request_that_was_answered_cannot_be_abandoned_any_more() {
    let mut rig = Rig::ready();
    let [first] = rig.ask([1]);
    rig.take();
    rig.feed("+1\r\n").unwrap();
    rig.ask([2]);
    rig.take();
    rig.connection.abandon(first);
    rig.feed("+2\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +1\r\n", r"2: +2\r\n"]);
}
