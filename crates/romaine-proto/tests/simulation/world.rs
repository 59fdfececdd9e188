//! Time, the network, and the driver.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use romaine_commands::Spec;
use romaine_proto::{
    CloseReason, Connection, ConnectionLimits, Deadlines, Greeting, Lane, Link, Liveness, Refusal, RequestOptions,
};

use crate::callers::{Ask, Callers};
use crate::server::{Server, Session};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What may happen in a run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) steps: u32,
    pub(crate) limits: ConnectionLimits,
    pub(crate) liveness: Liveness,
    pub(crate) faults: bool,
    pub(crate) drops: bool,
    pub(crate) deadlines: bool,
}

impl Settings {
    pub(crate) fn any(random: &mut fastrand::Rng) -> Self {
        let limits = ConnectionLimits {
            queued_requests_max: random.usize(1..40),
            queued_bytes_max: random.usize(200..4_000),
            in_flight_max: random.usize(1..30),
            ..ConnectionLimits::default()
        };
        let liveness = if random.bool() { Liveness::default() } else { Liveness::fast() };
        Self { steps: random.u32(100..1_000), limits, liveness, faults: true, drops: true, deadlines: true }
    }
}

/// What happened in all runs.
#[derive(Debug, Default)]
pub(crate) struct Total {
    replies: u64,
    connections: u64,
    expired: u64,
    refused: u64,
    failed_unknown: usize,
    failed_unsent: usize,
    dropped: usize,
    dead: u64,
    recovered: u64,
    stalled: u64,
    faulty: bool,
}

impl std::ops::AddAssign for Total {
    fn add_assign(&mut self, more: Self) {
        self.replies += more.replies;
        self.connections += more.connections;
        self.expired += more.expired;
        self.refused += more.refused;
        self.failed_unknown += more.failed_unknown;
        self.failed_unsent += more.failed_unsent;
        self.dropped += more.dropped;
        self.dead += more.dead;
        self.recovered += more.recovered;
        self.stalled += more.stalled;
        self.faulty |= more.faulty;
    }
}

impl Total {
    /// Whether everything that can happen did happen.
    pub(crate) const fn is_eventful(&self) -> bool {
        let calm = self.replies > 1_000 && self.connections > 100 && self.refused > 100;
        let failures = self.failed_unknown > 100 && self.failed_unsent > 100 && self.expired > 100;
        let faults = self.dropped > 100 && self.dead > 10 && self.recovered > 10 && self.stalled > 10;
        calm && (!self.faulty || (failures && faults))
    }
}

/// One socket: what the transport accepted and the server has not read, and the other way.
struct Wire {
    session: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// Bytes arrive nowhere any more, and nobody is told.
    dead: bool,
}

pub(crate) struct World {
    settings: Settings,
    random: fastrand::Rng,
    tells: bool,
    start: Instant,
    now: Instant,
    connection: Connection,
    callers: Callers,
    server: Server,
    wire: Option<Wire>,
    /// Taken and not accepted by the transport.
    writing: BytesMut,
    /// Received and not consumed.
    reading: Vec<u8>,
    refused: u64,
    /// Whether every byte arrives at once.
    prompt: bool,
}

impl World {
    pub(crate) fn new(settings: Settings, random: fastrand::Rng, tells: bool) -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(Lane::Requests, settings.limits, settings.liveness.clone(), now),
            settings,
            random,
            tells,
            start: now,
            now,
            callers: Callers::default(),
            server: Server::default(),
            wire: None,
            writing: BytesMut::new(),
            reading: Vec::new(),
            refused: 0,
            prompt: false,
        }
    }

    /// The whole run: trouble, healing, the end.
    pub(crate) fn run(mut self) -> Total {
        for _ in 0..self.settings.steps {
            self.step();
            self.check();
        }
        let calm = !self.settings.faults && !self.settings.deadlines;
        self.heal();
        assert!(!calm || self.callers.failed == 0, "nothing gave a reason to fail");
        let callers = &self.callers;
        let total = Total {
            replies: callers.replies,
            connections: callers.ready,
            expired: callers.expired,
            refused: self.refused,
            failed_unknown: callers.unknown.len(),
            failed_unsent: callers.unsent.len(),
            dropped: callers.dropped.len(),
            dead: callers.dead,
            recovered: callers.recovered,
            stalled: callers.stalled,
            faulty: self.settings.faults,
        };
        self.end();
        total
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            eprintln!("{:>7} ms  {}", (self.now - self.start).as_millis(), what());
        }
    }

    fn step(&mut self) {
        match self.random.u32(0..100) {
            0..30 => self.ask(),
            30..45 => self.write(),
            45..60 => self.serve(),
            60..75 => self.read(),
            75..85 => self.pass_time(),
            85..90 => self.dial(),
            90..94 if self.settings.drops => self.drop_one(),
            94..97 if self.settings.faults => self.fault(),
            97..98 if self.settings.faults => self.oversleep(),
            _ => {
                if let Some(wire) = self.wire.as_mut().filter(|wire| !wire.dead) {
                    wire.session.push(&mut wire.to_client);
                }
            }
        }
    }

    /// What is true at all times.
    fn check(&self) {
        let ConnectionLimits { queued_requests_max, queued_bytes_max, in_flight_max, .. } = self.settings.limits;
        assert!(self.connection.queued() <= queued_requests_max);
        // The largest request fits, so none passes alone.
        assert!(self.connection.queued_bytes() <= queued_bytes_max);
        assert!(self.connection.in_flight() <= in_flight_max);
        let acknowledged = self.callers.acknowledged.len() as u64;
        let may = acknowledged + (self.callers.unknown.len() + self.callers.dropped.len()) as u64;
        let open = self.callers.open.values().filter(|call| call.ask == Ask::Increment).count() as u64;
        assert!((acknowledged..=may + open).contains(&self.server.counter), "{}", self.server.counter);
        assert!(self.callers.unsent.is_disjoint(&self.server.executed), "a request that was not sent was executed");
    }

    fn ask(&mut self) {
        let token = self.callers.next_token();
        let ask = match self.random.u32(0..10) {
            0..4 => Ask::Increment,
            4 => Ask::Get,
            _ => Ask::Echo(if self.random.bool() { 1 } else { self.random.u32(2..5) }),
        };
        let timeout = self.random.u64(0..3_000);
        let deadline = (self.settings.deadlines && self.random.bool()).then(|| self.now + ms(timeout));
        let options = RequestOptions { token, deadline, replies: ask.replies(), blocking: false, refusal_only: false };
        let bytes = ask.bytes(token);
        let write = |out: &mut BytesMut| out.extend_from_slice(bytes.as_bytes());
        match self.connection.request(self.now, &Spec::UNLISTED, options, bytes.len(), write) {
            Ok((id, _)) => {
                self.tell(|| format!("ask {token}: {ask:?} within {:?}", deadline.map(|_| timeout)));
                self.callers.asked(token, ask, id, deadline);
            }
            Err(Refusal::QueuedRequests | Refusal::QueuedBytes) => self.refused += 1,
            Err(Refusal::Closed) => panic!("nobody closed it"),
        }
    }

    fn drop_one(&mut self) {
        let open: Vec<u32> = self.callers.open.keys().copied().collect();
        if let Some(token) = self.random.choice(open) {
            self.tell(|| format!("drop {token}"));
            let id = self.callers.drop_call(token);
            self.connection.abandon(id);
        }
    }

    fn dial(&mut self) {
        if self.connection.link() != Link::Down {
            return;
        }
        self.tell(|| "dial".into());
        let refuses = self.settings.faults && self.random.u32(0..5) == 0;
        let database = self.random.u32(0..2);
        self.wire = Some(Wire {
            session: Session::new(refuses),
            to_server: Vec::new(),
            to_client: Vec::new(),
            dead: self.settings.faults && self.random.u32(0..10) == 0,
        });
        self.callers.reconnected();
        self.connection.opened(
            self.now,
            Greeting { database, ..Greeting::default() },
            Deadlines::only(self.now + ms(3_000)),
        );
    }

    /// The transport accepts some of what is taken.
    fn write(&mut self) {
        let more = self.writing.is_empty() || self.random.u32(0..3) == 0;
        if more && self.connection.has_outgoing() {
            self.connection.take(self.now, &mut self.writing);
        }
        let Some(wire) = &mut self.wire else { return };
        let least = if self.prompt { self.writing.len() } else { 0 };
        let accepted = self.random.usize(least..=self.writing.len());
        wire.to_server.extend_from_slice(&self.writing.split_to(accepted));
    }

    /// The server reads some of it, and answers.
    fn serve(&mut self) {
        if let Some(wire) = self.wire.as_mut().filter(|wire| !wire.dead) {
            let least = if self.prompt { wire.to_server.len() } else { 0 };
            let arrived = self.random.usize(least..=wire.to_server.len());
            let arrived: Vec<u8> = wire.to_server.drain(..arrived).collect();
            wire.session.receive(&mut self.server, &arrived, &mut wire.to_client);
        }
    }

    /// Some of the answers arrive.
    fn read(&mut self) {
        let Some(wire) = self.wire.as_mut().filter(|wire| !wire.dead && !wire.to_client.is_empty()) else { return };
        self.reading.extend(wire.to_client.drain(..self.random.usize(1..=wire.to_client.len())));
        match self.connection.received(self.now, &self.reading, &mut self.callers) {
            Ok((consumed, _)) => drop(self.reading.drain(..consumed)),
            Err(reason) => self.lose(&reason),
        }
    }

    /// Time passes; the driver's clock rings when it was asked to.
    fn pass_time(&mut self) {
        let longest = if self.prompt { 10 } else { [10, 100, 1_000][self.random.usize(0..3)] };
        let until = self.now + ms(self.random.u64(0..longest));
        let mut ticks = 0;
        while let Some(at) = self.connection.next_timeout().filter(|at| *at <= until) {
            ticks += 1;
            assert!(ticks < 1_000, "the driver spins");
            self.now = self.now.max(at);
            self.tick();
        }
        self.now = until;
        self.callers.check_deadlines(until);
    }

    /// Our own process was paused: it finds out late how much time has passed.
    fn oversleep(&mut self) {
        self.now += ms(self.random.u64(0..20_000));
        self.tell(|| "we were paused".into());
        if self.random.bool() {
            // Sockets may be served before clocks.
            self.read();
            self.write();
        }
        self.tick();
        self.callers.check_deadlines(self.now);
    }

    fn tick(&mut self) {
        self.callers.now = Some(self.now);
        if let Err(reason) = self.connection.timeout(self.now, &mut self.callers) {
            self.lose(&reason);
        } else if self.connection.is_suspect() && self.settings.faults && self.random.u32(0..20) == 0 {
            self.connection.excuse(self.now);
        }
        // Rule 2 of the contract: what is to be sent is taken after each input.
        if self.connection.has_outgoing() && self.wire.is_some() {
            self.connection.take(self.now, &mut self.writing);
        }
    }

    fn fault(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        match self.random.u32(0..5) {
            0 => wire.dead = true,
            1 => wire.to_client.extend_from_slice(b"\0garbage"),
            2 => {
                self.callers.now = Some(self.now);
                self.connection.fail_queued(&mut self.callers);
            }
            _ => self.lose(&CloseReason::PeerClosed),
        }
    }

    /// The socket is gone. What the transport accepted may still reach the server, all of it or a part.
    fn lose(&mut self, reason: &CloseReason) {
        self.callers.now = Some(self.now);
        self.tell(|| format!("lost: {reason:?}, {} bytes unwritten", self.writing.len()));
        if let Some(mut wire) = self.wire.take() {
            let arrived = self.random.usize(0..=wire.to_server.len());
            wire.session.receive(&mut self.server, &wire.to_server[..arrived], &mut Vec::new());
        }
        self.connection.closed(self.writing.len(), false, &mut self.callers);
        self.writing.clear();
        self.reading.clear();
    }

    /// The network is well from here on: everything ends, and soon.
    fn heal(&mut self) {
        self.tell(|| "the network heals".into());
        self.settings.faults = false;
        self.prompt = true;
        let healed = self.now;
        while !self.callers.open.is_empty() {
            self.healthy_step();
            // A dead socket has to be noticed first, or a handshake on one.
            assert!(self.now < healed + ms(30_000), "still open: {:?}", self.callers.open);
        }
        // A healthy connection answers, and nothing is left in the line but our own PING.
        let before = self.callers.replies;
        self.settings.deadlines = false;
        while self.callers.replies == before {
            if self.callers.open.is_empty() {
                self.ask();
            }
            self.healthy_step();
            assert!(self.now < healed + ms(60_000), "it does not answer any more");
        }
    }

    fn healthy_step(&mut self) {
        self.dial();
        self.write();
        self.serve();
        self.read();
        self.pass_time();
        self.check();
    }

    /// The account at the end.
    fn end(mut self) {
        self.connection.closed(self.writing.len(), true, &mut self.callers);
        assert!(self.callers.open.is_empty());
        assert_eq!(self.connection.link(), Link::Closed);
        let Callers { acknowledged, unknown, unsent, dropped, .. } = &self.callers;
        let executed = &self.server.executed;
        assert!(acknowledged.is_subset(executed), "an acknowledged request was not executed");
        assert!(unsent.is_disjoint(executed), "a request that was not sent was executed");
        assert!(executed.iter().all(|token| [acknowledged, unknown, dropped].iter().any(|set| set.contains(token))));
    }
}
