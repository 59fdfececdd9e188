//! A server of 100,000 edges restarts: how they come back, with each delay policy, in virtual time.
//!
//! The delays are those of `Reconnect`, which the client itself uses. The server refuses every dial while it is down; up,
//! it greets so many connections a second and lets others wait in its accept queue, where a dial that waits for longer
//! than the connect and handshake deadlines gives up, which costs its place and is an attempt more.
//!
//! `cargo run --release -p romaine-proto --example reconnect_storm -- [--svg FILE]` prints the table, and draws the dials
//! per second.
#![expect(clippy::disallowed_methods, reason = "virtual time counts from one real instant")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use romaine_proto::{Backoff, Reconnect};

/// Edges of one hub.
const EDGES: usize = 100_000;
/// How long the server is away.
const DOWN: Duration = Duration::from_secs(10);
/// Connections that it greets in a second, TLS and AUTH included.
const GREETED_PER_SECOND: u64 = 5_000;
/// Connections that wait to be accepted (`tcp-backlog` and the sockets behind it); further ones are not answered.
const ACCEPT_QUEUE: usize = 4_096;
/// How long a dial waits for its connection and its greeting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody looks for longer.
const END: Duration = Duration::from_secs(4 * 3_600);

/// How one policy brought the fleet back. Times count from the moment the server is up.
struct Course {
    name: &'static str,
    policy: String,
    /// Dials in each second from the restart's begin on.
    dials: Vec<u64>,
    back_50: Option<Duration>,
    back_99: Option<Duration>,
    back_all: Option<Duration>,
    failed: u64,
}

/// What happens at a moment.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The server greets whoever waits longest.
    Greet,
    /// An edge dials.
    Dial(u32),
    /// A dial that nobody answered is given up.
    GiveUp { edge: u32, attempt: u32 },
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let svg = arguments.by_ref().find(|argument| argument == "--svg").and_then(|_| arguments.next());
    let ms = Duration::from_millis;
    let max = Duration::from_secs(2);
    let policies = [
        ("constant", Backoff::Constant { delay: Duration::from_secs(1) }),
        ("linear", Backoff::Linear { base: ms(50), step: ms(50), max }),
        ("exponential", Backoff::Exponential { base: ms(50), max }),
        ("equal jitter", Backoff::EqualJitter { base: ms(50), max }),
        ("decorrelated jitter", Backoff::DecorrelatedJitter { base: ms(50), max }),
        ("full jitter (default)", Backoff::default()),
        ("full jitter to 30 s", Backoff::FullJitter { base: ms(50), max: Duration::from_secs(30) }),
        ("full jitter to 2 min", Backoff::FullJitter { base: ms(500), max: Duration::from_secs(120) }),
        (
            "exponential 1 min to 3 h",
            Backoff::Exponential { base: Duration::from_secs(60), max: Duration::from_secs(3 * 3_600) },
        ),
        (
            "full jitter 1 min to 3 h",
            Backoff::FullJitter { base: Duration::from_secs(60), max: Duration::from_secs(3 * 3_600) },
        ),
    ];
    println!(
        "{EDGES} edges; the server is away for {} s, then greets {GREETED_PER_SECOND} connections a second\n",
        DOWN.as_secs()
    );
    println!(
        "| policy | peak dials/s while down | peak dials/s once up | half back | 99 % back | all back | failed dials per edge |"
    );
    println!("|---|---|---|---|---|---|---|");
    let courses: Vec<Course> = policies.into_iter().map(|(name, backoff)| simulate(name, backoff)).collect();
    for course in &courses {
        println!("{}", course.row());
    }
    if let Some(path) = svg {
        if let Err(error) = std::fs::write(&path, plot(&courses)) {
            eprintln!("cannot write {path}: {error}");
            std::process::exit(1);
        }
        eprintln!("wrote {path}");
    }
}

/// One edge.
struct Edge {
    reconnect: Reconnect,
    dials: u32,
    is_waiting: bool,
    is_back: bool,
}

fn simulate(name: &'static str, backoff: Backoff) -> Course {
    let policy = format!("{backoff:?}");
    let begin = Instant::now();
    let up = begin + DOWN;
    let mut seeds = fastrand::Rng::with_seed(7);
    let mut edges: Vec<Edge> = (0..EDGES)
        .map(|_| {
            let random = fastrand::Rng::with_seed(seeds.u64(..));
            let mut reconnect = Reconnect::new(backoff.clone(), Duration::from_secs(5), random);
            // It was connected for long.
            reconnect.ready(begin.checked_sub(Duration::from_secs(3_600)).unwrap_or(begin));
            Edge { reconnect, dials: 0, is_waiting: false, is_back: false }
        })
        .collect();
    let mut events = BinaryHeap::new();
    for (number, edge) in (0_u32..).zip(&mut edges) {
        events.push(Reverse((begin + edge.reconnect.failed(begin), Event::Dial(number))));
    }
    let between = Duration::from_secs(1) / u32::try_from(GREETED_PER_SECOND).unwrap_or(1);
    events.push(Reverse((up, Event::Greet)));
    let (mut queue, mut dials, mut back, mut failed) = (VecDeque::<(u32, u32)>::new(), Vec::new(), Vec::new(), 0);
    while let Some(Reverse((now, event))) = events.pop() {
        if now > up + END || back.len() == EDGES {
            break;
        }
        match event {
            Event::Dial(number) => {
                let second = (now - begin).as_secs() as usize;
                if dials.len() <= second {
                    dials.resize(second + 1, 0);
                }
                dials[second] += 1;
                let edge = &mut edges[number as usize];
                edge.dials += 1;
                if now < up {
                    failed += 1;
                    events.push(Reverse((now + edge.reconnect.failed(now), Event::Dial(number))));
                    continue;
                }
                // A full queue drops the SYN: the dialler learns it from its own deadline only.
                edge.is_waiting = true;
                if queue.len() < ACCEPT_QUEUE {
                    queue.push_back((number, edge.dials));
                }
                events.push(Reverse((now + PATIENCE, Event::GiveUp { edge: number, attempt: edge.dials })));
            }
            Event::GiveUp { edge: number, attempt } => {
                let edge = &mut edges[number as usize];
                if !edge.is_back && edge.is_waiting && edge.dials == attempt {
                    failed += 1;
                    edge.is_waiting = false;
                    events.push(Reverse((now + edge.reconnect.failed(now), Event::Dial(number))));
                }
            }
            Event::Greet => {
                // Connections whose dialler has gone are accepted too, and cost the same.
                if let Some((number, attempt)) = queue.pop_front() {
                    let edge = &mut edges[number as usize];
                    if edge.is_waiting && edge.dials == attempt {
                        edge.is_back = true;
                        back.push(now - up);
                    }
                }
                events.push(Reverse((now + between, Event::Greet)));
            }
        }
    }
    let at = |share: f64| back.get(((EDGES as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    Course { name, policy, dials, back_50: at(0.5), back_99: at(0.99), back_all: at(1.0), failed }
}

impl Course {
    fn row(&self) -> String {
        let down = DOWN.as_secs() as usize;
        let peak = |part: &[u64]| part.iter().max().copied().unwrap_or(0);
        let time = |time: Option<Duration>| match time {
            None => format!("not within {} h", END.as_secs() / 3_600),
            Some(time) if time < Duration::from_secs(120) => format!("{:.1} s", time.as_secs_f64()),
            Some(time) => format!("{:.0} min", time.as_secs_f64() / 60.0),
        };
        format!(
            "| {} `{}` | {} | {} | {} | {} | {} | {:.1} |",
            self.name,
            self.policy,
            peak(self.dials.get(..down.min(self.dials.len())).unwrap_or_default()),
            peak(self.dials.get(down..).unwrap_or_default()),
            time(self.back_50),
            time(self.back_99),
            time(self.back_all),
            self.failed as f64 / EDGES as f64,
        )
    }
}

/// Dials per second over the first minute, a small diagram for each policy; the height is logarithmic.
fn plot(courses: &[Course]) -> String {
    const SECONDS: usize = 60;
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 70.0;
    const TITLE: f64 = 20.0;
    let row = HEIGHT + TITLE + 14.0;
    let total = row * courses.len() as f64 + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{total}\" viewBox=\"0 0 680 {total}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"680\" height=\"{total}\" fill=\"#ffffff\"/>\n\
         <text x=\"40\" y=\"20\" font-size=\"14\">Dials per second of {EDGES} edges (logarithmic, 1 to 1,000,000); the \
         server is up from second {} on</text>\n",
        DOWN.as_secs()
    );
    for (index, course) in courses.iter().enumerate() {
        let top = 36.0 + row * index as f64;
        let base = top + TITLE + HEIGHT;
        let _ = writeln!(svg, "<text x=\"40\" y=\"{:.1}\">{}</text>", top + 12.0, course.name);
        let _ = writeln!(
            svg,
            "<line x1=\"40\" y1=\"{base:.1}\" x2=\"{:.1}\" y2=\"{base:.1}\" stroke=\"#888888\"/>",
            40.0 + WIDTH
        );
        let step = WIDTH / SECONDS as f64;
        for (second, dials) in course.dials.iter().take(SECONDS).enumerate() {
            let height = (*dials as f64).max(1.0).log10() / 6.0 * HEIGHT;
            let color = if second < DOWN.as_secs() as usize { "#d55e00" } else { "#0072b2" };
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>",
                40.0 + step * second as f64,
                base - height,
                step - 1.0,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
