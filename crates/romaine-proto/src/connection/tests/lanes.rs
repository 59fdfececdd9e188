use super::*;

const PING: &str = "*1\r\n$4\r\nPING\r\n";

fn subscriber() -> Rig {
    Rig::new(Lane::Subscriber, ConnectionLimits::default(), Liveness::off())
}

/// SUBSCRIBE with token 1, the PING behind it with token 2, both sent.
fn subscribe(mut rig: Rig) -> Rig {
    rig.request(RequestOptions { refusal_only: true, ..options(1) }, "<1>");
    rig.ask([2]);
    rig.take();
    rig
}

fn monitor(liveness: Liveness) -> Rig {
    Rig::new(Lane::Monitor, ConnectionLimits::default(), liveness).up()
}

#[test]
fn in_resp2_messages_and_confirmations_are_pushes_and_pongs_are_replies() {
    let mut rig = subscribe(subscriber().up_in_resp2());
    rig.feed("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\npong\r\n").unwrap();
    rig.feed("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n").unwrap();
    assert_eq!(
        rig.told(),
        [
            r"push *3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            r"push *3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\npong\r\n",
            r"push *4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$2\r\nhi\r\n",
            r"2: *2\r\n$4\r\npong\r\n$0\r\n\r\n",
        ]
    );
    assert_eq!(rig.connection.in_flight(), 0);
    rig.feed("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n").unwrap();
    assert_eq!(rig.told(), [r"push *3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"], "nobody need have asked");
}

#[test]
fn on_an_ordinary_connection_the_same_bytes_are_a_reply() {
    let bytes = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n";
    for mut rig in [Rig::down().up_in_resp2(), subscriber().up()] {
        rig.ask([1]);
        rig.take();
        rig.feed(bytes).unwrap();
        assert_eq!(rig.told(), [format!("1: {}", bytes.as_bytes().escape_ascii())]);
    }
}

#[test]
fn in_resp3_confirmations_are_pushes_and_the_ping_tells_that_nothing_was_refused() {
    let mut rig = subscribe(subscriber().up());
    rig.feed(">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n+PONG\r\n").unwrap();
    assert_eq!(rig.told(), [r"push >3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", r"2: +PONG\r\n"]);
}

#[test]
fn a_refusal_goes_to_the_subscribe_and_the_pong_to_the_ping() {
    for refusal in ["-NOPERM no\r\n", "!9\r\nNOPERM no\r\n", "|1\r\n+a\r\n:1\r\n-NOPERM no\r\n"] {
        let mut rig = subscribe(subscriber().up());
        rig.feed(refusal).unwrap();
        rig.feed("+PONG\r\n").unwrap();
        assert_eq!(rig.told(), [format!("1: {}", refusal.as_bytes().escape_ascii()), r"2: +PONG\r\n".into()]);
        assert_eq!(rig.connection.in_flight(), 0);
    }
}

#[test]
fn several_subscribes_before_one_ping_are_told_apart_from_their_refusals() {
    let mut rig = subscriber().up();
    for token in 1..=3 {
        rig.request(RequestOptions { refusal_only: true, ..options(token) }, "<s>");
    }
    rig.ask([4]);
    rig.take();
    // Which one was refused cannot be told by the bytes: it is the oldest that may be.
    rig.feed("-NOPERM no\r\n+PONG\r\n").unwrap();
    assert_eq!(rig.told(), [r"1: -NOPERM no\r\n", r"4: +PONG\r\n"]);
    assert_eq!(rig.connection.in_flight(), 0);
}

// All of them SUBSCRIBE's flags let it pass, or its permission.
#[test]
fn an_error_that_only_a_ping_can_get_refuses_no_subscription_and_is_the_pings() {
    for error in [
        "-MISCONF Errors writing to the AOF file\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MASTERDOWN Link with MASTER is down\r\n",
        "-NOPERM User app has no permissions to run the 'ping' command\r\n",
    ] {
        let mut rig = subscribe(subscriber().up());
        rig.feed(error).unwrap();
        assert_eq!(rig.told(), [format!("2: {}", error.escape_debug())]);
        assert_eq!(rig.connection.in_flight(), 0, "{error}");
    }
}

#[test]
fn an_abandoned_subscribe_still_takes_its_refusal() {
    let mut rig = subscriber().up();
    let subscribe = rig.request(RequestOptions { refusal_only: true, ..options(1) }, "<1>");
    rig.ask([2]);
    rig.take();
    rig.connection.abandon(subscribe);
    rig.feed("-NOPERM no\r\n+PONG\r\n").unwrap();
    assert_eq!(rig.told(), [r"2: +PONG\r\n"]);
}

#[test]
fn a_subscribe_without_refusal_and_without_ping_leaves_a_reply_unsolicited() {
    let mut rig = subscriber().up();
    rig.request(RequestOptions { refusal_only: true, ..options(1) }, "<1>");
    rig.take();
    assert!(matches!(rig.feed("+PONG\r\n"), Err(CloseReason::Unsolicited)));
}

#[test]
fn a_subscriber_is_watched_by_pings_of_ours_in_both_protocols() {
    for resp2 in [false, true] {
        let rig = Rig::new(Lane::Subscriber, ConnectionLimits::default(), Liveness::default());
        let (mut rig, pong) =
            if resp2 { (rig.up_in_resp2(), "*2\r\n$4\r\npong\r\n$0\r\n\r\n") } else { (rig.up(), "+PONG\r\n") };
        for _ in 0..3 {
            assert_eq!(rig.idle_for(1_000).unwrap(), PING);
            rig.feed(pong).unwrap();
        }
        assert_eq!(rig.told(), Vec::<String>::new());
        assert!(matches!(rig.idle_for(10_000), Err(CloseReason::Silent(_))));
    }
}

#[test]
fn a_monitors_lines_go_to_it_and_the_pong_among_them_to_nobody() {
    let mut rig = monitor(Liveness::default());
    let line = "+1700000000.1 [0 127.0.0.1:1] \"PING\"\r\n";
    rig.request(RequestOptions { replies: u32::MAX, ..options(1) }, "<1>");
    rig.take();
    rig.feed("+OK\r\n").unwrap();
    for _ in 0..5 {
        assert_eq!(rig.idle_for(1_000).unwrap(), PING);
        rig.feed(line).unwrap();
        assert_eq!(rig.connection.in_flight(), 2);
        rig.feed("+PONG\r\n").unwrap();
        rig.feed(line).unwrap();
        assert_eq!(rig.connection.in_flight(), 1);
    }
    let told = rig.told();
    assert_eq!(told.len(), 11);
    assert_eq!(told[0], format!(r"1: +OK\r\n ({} left)", u32::MAX));
    assert!(told[1..].iter().all(|told| told.starts_with("1: +1700000000.1")));
}

#[test]
fn a_monitor_without_lines_is_watched_by_its_pings() {
    for (blocking, in_flight_max) in [(false, 100), (true, 100), (false, 1)] {
        let limits = ConnectionLimits { in_flight_max, ..ConnectionLimits::default() };
        let mut rig = Rig::new(Lane::Monitor, limits, Liveness::default()).up();
        rig.request(RequestOptions { replies: u32::MAX, blocking, ..options(1) }, "<1>");
        rig.take();
        rig.feed("+OK\r\n").unwrap();
        rig.told();
        for pong in ["+PONG\r\n", "-NOPERM no\r\n", "+PONG\r\n"] {
            assert_eq!(rig.idle_for(1_000).unwrap(), PING);
            rig.feed(pong).unwrap();
            assert_eq!((rig.connection.in_flight(), rig.told()), (1, vec![]));
        }
        assert_eq!(rig.idle_for(1_000).unwrap(), PING);
        assert!(matches!(rig.idle_for(60_000), Err(CloseReason::Silent(silent)) if silent == ms(8_500)));
        rig.told();
        assert_eq!(rig.close(0), ["1: Disconnected, Unknown"]);
    }
}

#[test]
fn a_monitor_that_is_refused_is_told_even_behind_a_ping() {
    let mut rig = monitor(Liveness::default());
    rig.idle_for(1_000).unwrap();
    rig.feed("+PONG\r\n").unwrap();
    assert_eq!(rig.connection.in_flight(), 0, "our PING before the MONITOR is answered too");
    rig.request(RequestOptions { replies: u32::MAX, ..options(1) }, "<1>");
    assert_eq!(rig.idle_for(1_000).unwrap(), format!("<1>{PING}"));
    rig.feed("-NOPERM no\r\n").unwrap();
    assert_eq!(rig.told(), [format!(r"1: -NOPERM no\r\n ({} left)", u32::MAX)]);
    rig.feed("+PONG\r\n").unwrap();
    assert_eq!((rig.connection.in_flight(), rig.told()), (1, vec![]));
}
