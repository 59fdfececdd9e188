use bytes::Buf as _;
use romaine_resp::DecodeErrorKind;

use super::*;

/// Replies of every shape, pushes between them and inside a pipeline.
const BYTES: &[u8] =
    b"+OK\r\n>2\r\n$7\r\nmessage\r\n$2\r\nhi\r\n:1\r\n$3\r\na\r\n\r\n>1\r\n+x\r\n*2\r\n:1\r\n*1\r\n$-1\r\n\
    -ERR no\r\n|1\r\n+ttl\r\n:9\r\n$2\r\nab\r\n%1\r\n+k\r\n_\r\n";

fn scenario() -> Rig {
    let mut rig = Rig::ready();
    rig.ask([1]);
    rig.request(RequestOptions { replies: 3, ..options(2) }, "<2><2><2>");
    rig.ask([3, 4, 5]);
    assert_eq!(rig.take(), "<1><2><2><2><3><4><5>");
    assert_eq!(rig.connection.in_flight(), 5);
    rig
}

fn expected() -> Vec<String> {
    let mut rig = scenario();
    rig.feed(BYTES).unwrap();
    assert_eq!(rig.connection.in_flight(), 0);
    rig.told()
}

#[test]
fn replies_go_to_their_requests_in_order_and_pushes_to_nobody() {
    assert_eq!(
        expected(),
        [
            r"1: +OK\r\n",
            r"push >2\r\n$7\r\nmessage\r\n$2\r\nhi\r\n",
            r"2: :1\r\n (2 left)",
            r"2: $3\r\na\r\n\r\n (1 left)",
            r"push >1\r\n+x\r\n",
            r"2: *2\r\n:1\r\n*1\r\n$-1\r\n",
            r"3: -ERR no\r\n",
            r"4: |1\r\n+ttl\r\n:9\r\n$2\r\nab\r\n",
            r"5: %1\r\n+k\r\n_\r\n",
        ]
    );
}

#[test]
fn any_two_cuts_of_the_bytes_change_nothing() {
    let expected = expected();
    for first in 0..=BYTES.len() {
        for second in first..=BYTES.len() {
            let mut rig = scenario();
            for part in [&BYTES[..first], &BYTES[first..second], &BYTES[second..]] {
                rig.feed(part).unwrap();
            }
            assert_eq!(rig.told(), expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn byte_by_byte_every_reply_is_told_with_its_last_byte() {
    let expected = expected();
    let mut rig = scenario();
    for end in 1..=BYTES.len() {
        let before = rig.told.0.len();
        rig.feed(&BYTES[end - 1..end]).unwrap();
        assert_eq!(rig.told.0, expected[..rig.told.0.len()]);
        assert_eq!(rig.unread.is_empty(), rig.told.0.len() == before + 1, "told when nothing of it is left");
    }
    assert_eq!(rig.told(), expected);
}

#[test]
fn the_answer_says_when_the_request_was_accepted_and_for_which_command() {
    struct Issued(Vec<(Instant, &'static str)>);
    impl Outcomes for Issued {
        fn reply(&mut self, answered: Answered, _: &[u8], _: Range<usize>) {
            self.0.push((answered.issued, answered.spec.name));
        }
        fn failed(&mut self, _: Failure) {}
        fn push(&mut self, _: &[u8]) {}
        fn ready(&mut self, _: &ServerIdentity) {}
        fn verdict(&mut self, _: Verdict) {}
        fn recovered(&mut self) {}
    }
    let mut rig = Rig::ready();
    rig.sleep(5);
    rig.ask([1]);
    rig.take();
    rig.sleep(7);
    let mut issued = Issued(Vec::new());
    rig.connection.received(rig.now, b"+OK\r\n", &mut issued).unwrap();
    assert_eq!(issued.0, [(rig.start + ms(5), Spec::UNLISTED.name)]);
}

#[test]
fn a_reply_nobody_asked_for_ends_the_connection() {
    let mut rig = Rig::ready();
    assert!(matches!(rig.feed("+OK\r\n"), Err(CloseReason::Unsolicited)));

    let mut rig = Rig::ready();
    rig.ask([1]);
    rig.take();
    rig.ask([2]);
    assert!(matches!(rig.feed("+OK\r\n+surplus\r\n"), Err(CloseReason::Unsolicited)));
    assert_eq!(rig.told(), [r"1: +OK\r\n"], "what was right is still told; 2 was not sent");
}

#[test]
fn bytes_that_are_not_resp_end_the_connection_after_the_replies_before_them() {
    let mut rig = Rig::ready();
    rig.ask([1, 2]);
    rig.take();
    let Err(CloseReason::Malformed(error)) = rig.feed("+OK\r\nHTTP/1.1 400\r\n") else { panic!() };
    assert_eq!(error.kind(), DecodeErrorKind::UnknownType(b'H'));
    assert_eq!(rig.told(), [r"1: +OK\r\n"]);
    assert_eq!(rig.close(0), ["2: Disconnected, Unknown"]);
}

#[test]
fn a_half_received_reply_does_not_reach_the_next_connection() {
    let mut rig = Rig::ready();
    rig.ask([1]);
    rig.take();
    rig.feed("*2\r\n$10\r\nabc").unwrap();
    assert_eq!(rig.close(0), ["1: Disconnected, Unknown"]);
    let mut rig = rig.up();
    rig.ask([2]);
    rig.take();
    rig.feed(":2\r\n").unwrap();
    assert_eq!(rig.told(), [r"2: :2\r\n"]);
}

#[test]
fn what_arrives_without_a_socket_is_ignored() {
    let mut rig = Rig::ready();
    rig.close(0);
    rig.feed("+late\r\n").unwrap();
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn one_request_after_the_other_needs_one_buffer() {
    let mut rig = Rig::ready();
    let mut sending = BytesMut::new();
    rig.ask([1]);
    rig.connection.take(rig.now, &mut sending);
    let first = sending.as_ptr().addr();
    rig.connection.give_back(&mut sending);
    assert_eq!(&sending[..], b"<1>", "not written yet");
    sending.advance(3);
    rig.connection.give_back(&mut sending);
    assert_eq!(sending.capacity(), 0, "the connection has it");
    rig.ask([2]);
    rig.connection.take(rig.now, &mut sending);
    assert_eq!(&sending[..], b"<2>");
    assert!((first..first + 64).contains(&sending.as_ptr().addr()), "the same memory");
}

#[test]
fn what_was_queued_while_a_buffer_was_written_is_not_lost_when_it_is_given_back() {
    let mut rig = Rig::ready();
    let mut sending = BytesMut::new();
    rig.ask([1]);
    rig.connection.take(rig.now, &mut sending);
    rig.ask([2]);
    sending.advance(3);
    rig.connection.give_back(&mut sending);
    rig.connection.take(rig.now, &mut sending);
    assert_eq!(&sending[..], b"<2>");
}

#[test]
fn a_large_buffer_is_kept_for_many_requests_and_not_for_one() {
    let mut rig = Rig::ready();
    let large = "x".repeat(1_000);
    let write = |rig: &mut Rig, tokens: &[u32]| {
        let mut sending = BytesMut::new();
        for token in tokens {
            rig.request(options(*token), &large);
        }
        rig.connection.take(rig.now, &mut sending);
        sending.clear();
        rig.connection.give_back(&mut sending);
        let held = rig.connection.line.capacity() + sending.capacity();
        rig.feed("+OK\r\n".repeat(tokens.len()).as_bytes()).unwrap();
        held
    };
    assert_eq!(write(&mut rig, &[1]), 0);
    assert!(write(&mut rig, &[2, 3, 4]) >= 3_000);
}
