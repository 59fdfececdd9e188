use super::*;

#[test]
fn what_the_transport_accepted_decides_between_unknown_and_not_sent() {
    // Three requests of 3 bytes were taken; a half-written one may be completed by nobody, but who knows.
    for unwritten in 0..=9 {
        let mut rig = Rig::ready();
        rig.ask([1, 2, 3]);
        assert_eq!(rig.take(), "<1><2><3>");
        rig.ask([4]);
        let written = 9 - unwritten;
        let expected: Vec<String> = (1..=4)
            .map(|token| {
                let first_byte = (usize::try_from(token).unwrap() - 1) * 3;
                let delivery = if written > first_byte { "Unknown" } else { "NotSent" };
                format!("{token}: Disconnected, {delivery}")
            })
            .collect();
        assert_eq!(rig.close(unwritten), expected, "{unwritten} bytes not written");
        assert_eq!((rig.connection.in_flight(), rig.connection.queued()), (0, 0));
        assert_eq!(rig.connection.queued_bytes(), 0);
    }
}

#[test]
fn what_was_accepted_is_counted_anew_on_the_next_connection() {
    let mut rig = Rig::ready();
    rig.ask([1, 2]);
    rig.take();
    rig.feed("+1\r\n").unwrap();
    rig.ask([3]);
    assert_eq!(rig.told(), [r"1: +1\r\n"]);
    assert_eq!(rig.close(0), ["2: Disconnected, Unknown", "3: Disconnected, NotSent"]);
    rig.ask([4]);
    let mut rig = rig.up();
    rig.ask([5]);
    assert_eq!(rig.take(), "<4><5>");
    assert_eq!(rig.close(4), ["4: Disconnected, Unknown", "5: Disconnected, NotSent"]);
}

#[test]
fn the_bytes_of_withdrawn_requests_do_not_shift_the_account() {
    for unwritten in 0..=6 {
        let mut rig = Rig::ready();
        let [_, second, _] = rig.ask([1, 2, 3]);
        rig.connection.abandon(second);
        assert_eq!(rig.take(), "<1><3>");
        let delivery = |first_byte| if 6 - unwritten > first_byte { "Unknown" } else { "NotSent" };
        let expected = [format!("1: Disconnected, {}", delivery(0)), format!("3: Disconnected, {}", delivery(3))];
        assert_eq!(rig.close(unwritten), expected);
    }
}

#[test]
fn a_request_has_one_outcome_whatever_happened_to_it_before() {
    let mut rig = Rig::ready();
    let [_, abandoned] = rig.ask([1, 2]);
    rig.ask_within(3, 100);
    rig.request(RequestOptions { replies: 2, ..options(4) }, "<4><4>");
    rig.take();
    let [withdrawn, _] = rig.ask([5, 6]);
    rig.ask_within(7, 100);
    rig.connection.abandon(abandoned);
    rig.connection.abandon(withdrawn);
    rig.sleep(100);
    rig.timeout().unwrap();
    assert_eq!(rig.told(), ["3: Expired, Unknown", "7: Expired, NotSent"]);
    rig.feed("+1\r\n+2\r\n+3\r\n+4\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: +1\r\n", r"4: +4\r\n (1 left)"]);
    assert_eq!(rig.close(0), ["4: Disconnected, Unknown", "6: Disconnected, NotSent"]);
    assert_eq!(rig.close_for_good(0), Vec::<String>::new());
}

#[test]
fn a_failed_attempt_keeps_the_queue_and_its_deadlines() {
    let mut rig = Rig::down();
    rig.ask([1]);
    rig.ask_within(2, 1_000);
    for _ in 0..3 {
        rig.open();
        rig.sleep(100);
        assert_eq!(rig.close(5), Vec::<String>::new());
        assert_eq!((rig.connection.link(), rig.connection.queued()), (Link::Down, 2));
        assert_eq!(rig.connection.next_timeout(), Some(rig.start + ms(1_000)));
    }
    rig.idle_for(700).unwrap();
    assert_eq!(rig.told(), ["2: Expired, NotSent"]);
    let mut rig = rig.up();
    assert_eq!(rig.take(), "<1>");
}

#[test]
fn after_the_end_every_request_is_refused_and_every_input_ignored() {
    for state in [Link::Down, Link::Greeting, Link::Ready] {
        let mut rig = Rig::down();
        let [first] = rig.ask([1]);
        match state {
            Link::Down | Link::Closed => {}
            Link::Greeting => rig.open(),
            Link::Ready => {
                rig = rig.up();
                rig.take();
            }
        }
        rig.ask_within(2, 100);
        let first_delivery = if state == Link::Ready { "Unknown" } else { "NotSent" };
        assert_eq!(rig.close_for_good(0), [format!("1: Closed, {first_delivery}"), "2: Closed, NotSent".into()]);
        assert_eq!(rig.connection.link(), Link::Closed);
        assert!(matches!(rig.try_request(options(3), "<3>"), Err(Refusal::Closed)));

        rig.connection.abandon(first);
        rig.connection.opened(rig.now, Greeting::default(), Deadlines::only(rig.now + ms(10)));
        rig.feed("+late\r\n").unwrap();
        rig.sleep(60_000);
        rig.timeout().unwrap();
        assert_eq!(rig.close(0), Vec::<String>::new());
        rig.connection.fail_queued(&mut rig.told);
        assert_eq!((rig.take(), rig.connection.next_timeout()), (String::new(), None));
        assert!(!rig.connection.has_outgoing());
        assert_eq!(rig.connection.link(), Link::Closed, "a late report of the socket's end does not revive it");
        assert_eq!(rig.told(), Vec::<String>::new());
    }
}

#[test]
fn the_queue_can_be_told_at_once_that_there_is_no_connection() {
    let mut rig = Rig::down();
    let [withdrawn, _] = rig.ask([1, 2]);
    rig.ask_within(3, 100);
    rig.connection.abandon(withdrawn);
    rig.open();
    rig.connection.fail_queued(&mut rig.told);
    assert_eq!(rig.told(), ["2: Disconnected, NotSent", "3: Disconnected, NotSent"]);
    assert_eq!((rig.connection.queued(), rig.connection.queued_bytes()), (0, 0));
    rig.greet();
    rig.ask([4]);
    rig.connection.fail_queued(&mut rig.told);
    assert_eq!(rig.told(), ["ready Resp3"], "there is a connection");
    assert_eq!(rig.take(), "<4>");
    assert_eq!(rig.close(3), ["4: Disconnected, NotSent"]);
}
