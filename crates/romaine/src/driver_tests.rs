//! The driver over memory and on a paused clock: every byte and every millisecond is the test's.
#![expect(clippy::disallowed_methods, reason = "the peer of a driver under test is a task of the test")]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use romaine_commands::{Command as _, Request, cmd};
use romaine_proto::{
    CloseReason, Connection, ConnectionLimits, Delivery, FailureKind, Greeting, Lane as WireLane, Liveness, Verdict,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cells::Ended;
use crate::circuit::{Circuit, GreetingLimits, Issue, Patience, Ticketed, WhileDown};
use crate::clock;
use crate::error::Error;
use crate::events::Lane;
use crate::notice::Notice;
use crate::session::{Ending, Session};
use crate::socket::Socket;

const HELLO: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";

/// A circuit, its driver at work, and the other end of its socket.
struct Rig {
    circuit: Arc<Circuit>,
    peer: DuplexStream,
    session: JoinHandle<Ending>,
    verdicts: Arc<Mutex<Vec<Verdict>>>,
}

/// When nothing can happen any more the paused clock leaps, and what hangs has failed.
async fn ends<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(3_600), work).await.unwrap()
}

/// How a call ended, in one line.
fn told(ended: Ended) -> String {
    match ended {
        Ended::Reply(bytes) => bytes.as_slice().escape_ascii().to_string(),
        Ended::Batch(bytes) => bytes.escape_ascii().to_string(),
        Ended::Failed(kind, delivery) => format!("{kind:?}, {delivery:?}"),
    }
}

fn failed(kind: FailureKind, delivery: Delivery) -> String {
    format!("{kind:?}, {delivery:?}")
}

impl Rig {
    /// Greeted and ready; each direction holds `capacity` bytes.
    async fn ready(capacity: usize, liveness: Liveness) -> Self {
        let now = clock::now();
        let connection = Connection::new(WireLane::Requests, ConnectionLimits::default(), liveness, now);
        let circuit = Arc::new(Circuit::new(Lane::Commands, connection, None, WhileDown::WAIT, true, now));
        let (ours, mut peer) = tokio::io::duplex(capacity);
        let verdicts = Arc::new(Mutex::new(Vec::new()));
        let (driven, seen) = (circuit.clone(), verdicts.clone());
        circuit.opened(
            Greeting::default(),
            None,
            GreetingLimits { most: Duration::from_secs(5), lost: None, hurried: None },
        );
        let session = tokio::spawn(async move {
            let notice = |notice| {
                if let Notice::Verdict(verdict) = notice {
                    seen.lock().unwrap().push(verdict);
                }
            };
            let ending = Session::new(&driven, Socket::Memory(ours), true, notice).await;
            driven.closed(ending.unwritten, false, &Error::closed_by(&ending.reason));
            ending
        });
        let mut hello = vec![0; HELLO.len()];
        peer.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, HELLO);
        peer.write_all(b"%0\r\n").await.unwrap();
        while !circuit.is_ready() {
            tokio::task::yield_now().await;
        }
        Self { circuit, peer, session, verdicts }
    }

    fn issue(&self, request: &Request) -> Ticketed {
        let issue = Issue { patience: Patience::For(None), replies: 1, batch: false, blocking: false };
        self.circuit.issue(request, issue, Waker::noop()).unwrap()
    }

    async fn ended(&self, ticketed: Ticketed) -> String {
        told(ends(self.circuit.outcome(ticketed)).await)
    }

    /// Reads exactly the bytes of `request`.
    async fn expect(&mut self, request: &Request) {
        let mut expected = bytes::BytesMut::new();
        request.write_to(&mut expected);
        let mut read = vec![0; expected.len()];
        ends(self.peer.read_exact(&mut read)).await.unwrap();
        assert_eq!(read.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    async fn say(&mut self, bytes: &[u8]) {
        ends(self.peer.write_all(bytes)).await.unwrap();
    }
}

fn request(name: &str, arg: &[u8]) -> Request {
    cmd::<()>(name).arg(arg).into_request()
}

fn echo(number: usize) -> Request {
    request("ECHO", number.to_string().as_bytes())
}

/// Lets everything that can run do so, without any time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn virtual_time<F: Future>(work: F) -> (Duration, F::Output) {
    let before = Instant::now();
    let output = ends(work).await;
    (before.elapsed(), output)
}

#[tokio::test(start_paused = true)]
async fn a_blocked_write_never_stops_reads() {
    let mut rig = Rig::ready(64, Liveness::off()).await;
    let (small, large) = (echo(1), request("SET", &vec![b'x'; 1 << 20]));
    let (first, second) = (rig.issue(&small), rig.issue(&large));
    rig.expect(&small).await;
    settle().await;
    // The large request fills the pipe, and is not read.
    rig.say(b"$1\r\n1\r\n").await;
    assert_eq!(rig.ended(first).await, r"$1\r\n1\r\n");
    assert!(rig.circuit.collect(second, Waker::noop()).is_none());
    // A reply longer than the pipe goes through too, while the write is still blocked.
    let third = rig.issue(&echo(3));
    rig.expect(&large).await;
    let long = [b"$1000\r\n", &[b'y'; 1_000][..], b"\r\n"].concat();
    rig.say(&long).await;
    assert_eq!(rig.ended(second).await, long.escape_ascii().to_string());
    rig.expect(&echo(3)).await;
    rig.say(b"$1\r\n3\r\n").await;
    assert_eq!(rig.ended(third).await, r"$1\r\n3\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_request_cut_in_half_is_unknown_and_what_no_byte_was_written_of_is_not_sent() {
    for accepted in [1, 40, 90] {
        let mut rig = Rig::ready(100, Liveness::off()).await;
        let whole = rig.issue(&echo(1));
        rig.expect(&echo(1)).await;
        let large = rig.issue(&request("SET", &vec![b'x'; 10_000]));
        settle().await;
        let behind = rig.issue(&echo(2));
        rig.peer.read_exact(&mut vec![0; accepted]).await.unwrap();
        settle().await;
        drop(rig.peer);
        let ending = rig.session.await.unwrap();
        assert!(ending.unwritten > 9_000, "{ending:?}");
        let outcomes = [whole, large, behind].map(|ticketed| rig.circuit.collect(ticketed, Waker::noop()).map(told));
        let [unknown, not_sent] =
            [Delivery::Unknown, Delivery::NotSent].map(|delivery| Some(failed(FailureKind::Disconnected, delivery)));
        assert_eq!(outcomes, [unknown.clone(), unknown, not_sent]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_accepted_is_not_sent() {
    let mut rig = Rig::ready(100, Liveness::off()).await;
    // One chunk of just the pipe's size, so that the next one waits at its edge.
    let filler = request("ECHO", &[b'x'; 79]);
    assert_eq!(filler.wire_len(), 100);
    let first = rig.issue(&filler);
    settle().await;
    let second = rig.issue(&echo(2));
    settle().await;
    drop(std::mem::replace(&mut rig.peer, tokio::io::duplex(1).0));
    let ending = rig.session.await.unwrap();
    assert_eq!(ending.unwritten, echo(2).wire_len());
    let outcomes = [first, second].map(|ticketed| rig.circuit.collect(ticketed, Waker::noop()).map(told));
    assert_eq!(outcomes[0], Some(failed(FailureKind::Disconnected, Delivery::Unknown)));
    assert_eq!(outcomes[1], Some(failed(FailureKind::Disconnected, Delivery::NotSent)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_is_closed_at_the_very_time() {
    for (liveness, dead_after) in
        [(Liveness::fast(), 1_400), (Liveness::default(), 8_500), (Liveness::frugal(), 35_000)]
    {
        let rig = Rig::ready(1_000, liveness).await;
        let ticketed = rig.issue(&echo(1));
        let (took, ending) = virtual_time(rig.session).await;
        assert!(matches!(ending.unwrap().reason, CloseReason::Silent(_)));
        assert_eq!(took, Duration::from_millis(dead_after));
        let outcome = rig.circuit.collect(ticketed, Waker::noop()).map(told);
        assert_eq!(outcome, Some(failed(FailureKind::Disconnected, Delivery::Unknown)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_that_does_not_answer_our_ping_is_closed_within_the_promise() {
    for (liveness, promise) in [(Liveness::fast(), 2), (Liveness::default(), 10), (Liveness::frugal(), 60)] {
        let rig = Rig::ready(1_000, liveness).await;
        let (took, ending) = virtual_time(rig.session).await;
        assert!(matches!(ending.unwrap().reason, CloseReason::Silent(_)));
        assert!(took <= Duration::from_secs(promise), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_steady_writer_does_not_keep_a_silent_peer_alive_nor_does_a_blocked_write() {
    for capacity in [200, 1 << 20] {
        let rig = Rig::ready(capacity, Liveness::fast()).await;
        let circuit = rig.circuit.clone();
        let writer = tokio::spawn(async move {
            loop {
                let issue = Issue { patience: Patience::For(None), replies: 1, batch: false, blocking: false };
                let _ticketed = circuit.issue(&echo(1), issue, Waker::noop()).unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let (took, ending) = virtual_time(rig.session).await;
        writer.abort();
        assert!(matches!(ending.unwrap().reason, CloseReason::Silent(_)));
        assert!(took <= Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_trickles_in_byte_by_byte_is_proof_of_life() {
    let mut rig = Rig::ready(1_000, Liveness::fast()).await;
    let ticketed = rig.issue(&echo(1));
    let frame = b"$20\r\nabcdefghijklmnopqrst\r\n";
    for byte in frame {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.say(&[*byte]).await;
    }
    assert_eq!(rig.ended(ticketed).await, frame.escape_ascii().to_string());
    assert!(!rig.session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_our_own_is_not_the_peers_silence() {
    let mut rig = Rig::ready(1_000, Liveness::fast()).await;
    let ticketed = rig.issue(&echo(1));
    rig.expect(&echo(1)).await;
    settle().await;
    // The whole process stands still; the reply had arrived before.
    rig.say(b"$1\r\n1\r\n").await;
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(rig.ended(ticketed).await, r"$1\r\n1\r\n");
    assert!(!rig.session.is_finished());

    // Once more without a reply: it is told, and only the silence after it counts.
    let ticketed = rig.issue(&echo(2));
    rig.expect(&echo(2)).await;
    settle().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    let (took, ending) = virtual_time(&mut rig.session).await;
    assert!(matches!(ending.unwrap().reason, CloseReason::Silent(_)));
    assert!(took >= Duration::from_secs(1) && took <= Duration::from_secs(2), "{took:?}");
    let stalled = |verdict: &Verdict| matches!(verdict, Verdict::Stalled { late_by } if late_by.as_secs() >= 29);
    let verdicts = rig.verdicts.lock().unwrap().clone();
    assert!(verdicts.iter().any(stalled), "{verdicts:?}");
    assert_eq!(rig.ended(ticketed).await, failed(FailureKind::Disconnected, Delivery::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_large_reply_cut_into_many_reads_is_whole_and_those_around_it_are_theirs() {
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..20 {
        let mut rig = Rig::ready(1 << 16, Liveness::fast()).await;
        let calls = [1, 2, 3].map(|number| rig.issue(&echo(number)));
        for number in 1..=3 {
            rig.expect(&echo(number)).await;
        }
        let body: Vec<u8> = std::iter::repeat_with(|| random.alphanumeric() as u8).take(300_000).collect();
        let large = [b"$300000\r\n", &body[..], b"\r\n"].concat();
        let wire = [b"$1\r\n1\r\n", &large[..], b"$1\r\n3\r\n"].concat();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let most = if round % 2 == 0 { 70_000 } else { 900 };
            let (piece, behind) = rest.split_at(random.usize(1..=most).min(rest.len()));
            rig.say(piece).await;
            if random.bool() {
                settle().await;
            }
            rest = behind;
        }
        assert_eq!(rig.ended(calls[0]).await, r"$1\r\n1\r\n");
        assert_eq!(rig.ended(calls[1]).await, large.escape_ascii().to_string());
        assert_eq!(rig.ended(calls[2]).await, r"$1\r\n3\r\n");
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_everything_in_flight_as_unknown_after_the_replies_before_it() {
    let mut rig = Rig::ready(1_000, Liveness::off()).await;
    let calls = [1, 2, 3].map(|number| rig.issue(&echo(number)));
    for number in 1..=3 {
        rig.expect(&echo(number)).await;
    }
    rig.say(b"$1\r\n1\r\ngarbage").await;
    assert_eq!(rig.ended(calls[0]).await, r"$1\r\n1\r\n");
    for call in &calls[1..] {
        assert_eq!(rig.ended(*call).await, failed(FailureKind::Disconnected, Delivery::Unknown));
    }
    assert!(matches!(rig.session.await.unwrap().reason, CloseReason::Malformed(_)));
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_at_any_time_shift_no_reply() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..50 {
        let mut rig = Rig::ready(random.usize(40..2_000), Liveness::off()).await;
        // The peer echoes whatever it reads, now and then.
        let mut peer = std::mem::replace(&mut rig.peer, tokio::io::duplex(1).0);
        let echoing = tokio::spawn(async move {
            let mut line = Vec::new();
            let mut byte = [0];
            let mut lines = 0;
            while peer.read_exact(&mut byte).await.is_ok() {
                line.push(byte[0]);
                if line.ends_with(b"\r\n") {
                    lines += 1;
                    // *2 $4 ECHO $n n: the last two lines are the reply.
                    if lines % 5 >= 4 || lines % 5 == 0 {
                        peer.write_all(&line).await.unwrap();
                    }
                    line.clear();
                }
            }
        });
        let mut waiting = Vec::new();
        for number in 0..200 {
            waiting.push((number, rig.issue(&echo(number))));
            match random.u8(0..4) {
                0 => settle().await,
                1 => {
                    let (_, ticketed) = waiting.swap_remove(random.usize(0..waiting.len()));
                    rig.circuit.abandon(ticketed);
                }
                _ => {}
            }
        }
        for (number, ticketed) in waiting {
            let text = number.to_string();
            assert_eq!(rig.ended(ticketed).await, format!(r"${}\r\n{text}\r\n", text.len()));
        }
        echoing.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_its_call_at_the_very_time_and_its_late_reply_reaches_nobody() {
    let mut rig = Rig::ready(1_000, Liveness::off()).await;
    let patience = Patience::For(Some(Duration::from_millis(250)));
    let issue = Issue { patience, replies: 1, batch: false, blocking: false };
    let late = rig.circuit.issue(&echo(1), issue, Waker::noop()).unwrap();
    let (took, outcome) = virtual_time(rig.ended(late)).await;
    assert_eq!((took, outcome), (Duration::from_millis(250), failed(FailureKind::Expired, Delivery::Unknown)));
    let next = rig.issue(&echo(2));
    rig.say(b"$1\r\n1\r\n").await;
    settle().await;
    assert!(rig.circuit.collect(next, Waker::noop()).is_none());
    rig.say(b"$1\r\n2\r\n").await;
    assert_eq!(rig.ended(next).await, r"$1\r\n2\r\n");
}

#[tokio::test(start_paused = true)]
async fn draining_ends_with_the_last_reply_and_ending_at_once() {
    let mut rig = Rig::ready(1_000, Liveness::off()).await;
    let last = rig.issue(&echo(1));
    rig.expect(&echo(1)).await;
    rig.circuit.drain();
    settle().await;
    assert!(!rig.session.is_finished());
    rig.say(b"$1\r\n1\r\n").await;
    assert_eq!(rig.ended(last).await, r"$1\r\n1\r\n");
    assert!(matches!(rig.session.await.unwrap().reason, CloseReason::Ours));

    let rig = Rig::ready(1_000, Liveness::off()).await;
    let _unanswered = rig.issue(&echo(1));
    rig.circuit.end();
    assert!(matches!(rig.session.await.unwrap().reason, CloseReason::Ours));
}
