//! A fault's course in one cell, and what is read off it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::plan::Settings;
use super::report::{Grade, Measured, Outcome};
use crate::scenario::moment::Moment;
use crate::scenario::promises::{BACK_WITHIN, Balance, check_delay, check_flow};
use crate::scenario::protocol::{Load, Observation};
use crate::scenario::record::{Flow, Record};
use crate::scenario::sockets::SocketWatch;
use crate::scenario::stage::{Remains, Stage};
use crate::scenario::subject::CRASHED;

/// After the recovery, before everything ends.
const CALM: Duration = Duration::from_secs(1);

/// What the client is to make of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to give the connections of its loads up within the bound of its liveness.
    Dead,
    /// It must not give any connection up.
    Alive,
    /// Either.
    Any,
}

/// What is expected of a cell.
#[derive(Debug, Clone)]
pub(super) struct Expect {
    pub(super) verdict: Verdict,
    /// Allowed after the fault besides the two seconds and the back-off.
    pub(super) back_allowance: Duration,
    /// The most memory that the fault may cost the client's process, in bytes.
    pub(super) memory_max: Option<u64>,
    /// Whether silence begins with the last message that arrived rather than with the fault: what the server had sent
    /// before it ran out of acknowledgements still comes, and is proof of life.
    pub(super) from_last_heard: bool,
    /// Whether a call may end later than its deadline: the client was not running then.
    pub(super) may_be_late: bool,
    /// Whether servers may lose writes that they acknowledged, and counters go back: what a primary that dies or is demoted
    /// has not replicated is gone, whoever the client is. No promise is broken by that; how much it is depends on how soon
    /// the client turns to the new primary, so it is counted and shown.
    pub(super) may_lose_writes: bool,
    /// Something to say of how it was measured.
    pub(super) note: String,
}

impl Expect {
    pub(super) const fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            back_allowance: Duration::ZERO,
            memory_max: None,
            from_last_heard: false,
            may_be_late: false,
            may_lose_writes: false,
            note: String::new(),
        }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A cell under its fault.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) stage: Stage,
    bound: Duration,
    patience: Duration,
    begin: Moment,
    is_romaine: bool,
    /// The client's connections before the fault, unless its own word is enough.
    connections: Option<BTreeSet<u64>>,
    /// What the kernel says of them, of a client that may not tell itself.
    sockets: Option<SocketWatch>,
}

impl Trial {
    /// The fault begins.
    pub(super) async fn begin(stage: Stage, settings: &Settings) -> anyhow::Result<Self> {
        // romaine is held to its word: it tells of every connection that it gives up. Others need not.
        let (mut connections, mut sockets) = (None, None);
        if !settings.driver.is_romaine() {
            connections = stage.host.connections().await?;
            // Callers see for themselves; a pool that grows while they wait has noticed nothing.
            let calls = stage.loads.iter().all(|load| load.counts());
            sockets = stage.subject.pid().filter(|_| !calls).map(SocketWatch::start);
        }
        stage.log.say("the fault begins");
        let (bound, patience) = (settings.bound(), settings.scale.back_at_last());
        let is_romaine = settings.driver.is_romaine();
        Ok(Self { stage, bound, patience, begin: Moment::now(), connections, sockets, is_romaine })
    }

    /// The fault is over: waits until the client works again, ends everything, and judges.
    pub(super) async fn healed(self, expect: Expect) -> anyhow::Result<Outcome> {
        self.healed_then(expect, std::future::ready(Ok(()))).await
    }

    /// The same with something that happens once the client works again, before all ends.
    pub(super) async fn healed_then(
        self,
        expect: Expect,
        then: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Outcome> {
        let healed = Moment::now();
        let Self { stage, bound, patience, begin, is_romaine, connections, sockets } = self;
        let sockets = sockets.and_then(|sockets| sockets.noticed());
        let log = stage.log.clone();
        log.say("the fault is over");
        // A driver that has died cannot be asked, which the wait below shows.
        let _ = stage.probe(healed).await;
        // Not coming back is a measurement, not a failure of the lab.
        let back = stage.all_work(healed, patience).await;
        log.say(if back.is_ok() { "all loads work again" } else { "not all loads came back" });
        then.await?;
        tokio::time::sleep(CALM).await;
        let closed = match connections.filter(|_| expect.verdict == Verdict::Alive) {
            Some(before) => {
                let now = stage.host.connections().await?.unwrap_or_default();
                Some(before.difference(&now).count())
            }
            None => None,
        };
        let loads = stage.loads.clone();
        let (record, remains) = stage.strike().await?;
        log.say("all has ended");
        let (record, remains, loads) = (&record, &remains, &loads[..]);
        let judge = Judge { expect, is_romaine, bound, begin, healed, closed, sockets, loads, record, remains };
        let measured = judge.judge();
        measured.broken.iter().for_each(|broken| log.say(&format!("BROKEN: {broken}")));
        Ok(Outcome::Measured(Box::new(measured)))
    }
}

/// All that is known when everything has ended.
struct Judge<'a> {
    expect: Expect,
    is_romaine: bool,
    /// Within this a dead peer is to be noticed.
    bound: Duration,
    begin: Moment,
    healed: Moment,
    /// How many of the connections that it had before the fault are closed, where that was looked at.
    closed: Option<usize>,
    /// When the kernel knew that those which it had before the fault were dead, or it dialled anew.
    sockets: Option<Moment>,
    loads: &'a [Load],
    record: &'a Record,
    remains: &'a Remains,
}

impl Judge<'_> {
    fn judge(self) -> Measured {
        let Self { record, remains, loads, begin, .. } = self;
        let mut broken = record.troubles(Moment::default(), Moment::MAX);
        let noticed = self.noticed();
        let has_crashed = broken.iter().any(|words| words.starts_with(CRASHED));
        let false_verdicts = self.check_verdict(&noticed, &mut broken);
        let (working_s, limit) = self.check_return(&mut broken);

        let flow = |flow: Flow| if self.is_romaine { flow.to_the_word() } else { flow };
        let elements = flow(record.elements(&remains.produced, Moment::default(), Moment::MAX));
        let messages = flow(record.messages(&remains.produced, Moment::default(), Moment::MAX));
        check_flow(&mut broken, "elements", elements);
        check_flow(&mut broken, "messages", messages);
        if remains.undelivered > 0 {
            broken.push(format!("{} elements were left in the queue", remains.undelivered));
        }
        let Counted { calls, acked_lost, repeated } = self.check_calls(&mut broken);
        let grown = remains.peak.map(|peak| peak.saturating_sub(remains.base));
        if let (Some(max), Some(grown)) = (self.expect.memory_max, grown)
            && grown > max
        {
            broken.push(format!("memory grew by {} MiB (limit {} MiB)", grown >> 20, max >> 20));
        }
        broken.dedup();
        let grade = if has_crashed {
            Grade::Crashes
        } else if calls.never_returned > 0 || (working_s.is_none() && !loads.is_empty()) {
            Grade::Hangs
        } else if loses(elements) || loses(messages) || acked_lost + repeated + calls.foreign + remains.undelivered > 0
        {
            Grade::Loses
        } else if false_verdicts > 0 {
            Grade::Misjudges
        } else if !broken.is_empty() {
            Grade::Late
        } else {
            Grade::Good
        };
        Measured {
            grade,
            noticed_s: noticed.values().max().map(|at| at.since(begin).as_secs_f64()),
            working_s: working_s.map(|after| after.as_secs_f64()),
            working_limit_s: limit.as_secs_f64(),
            false_verdicts,
            elements,
            messages,
            calls,
            acked_lost,
            repeated,
            storm: None,
            ghosts_fenced: record.count(begin, Moment::MAX, |what| matches!(what, Observation::Fenced { .. })),
            peak_memory: remains.peak,
            memory_grown: grown,
            note: self.expect.note,
            course: if broken.is_empty() { Vec::new() } else { record.course(begin) },
            broken,
        }
    }

    /// When each load noticed.
    fn noticed(&self) -> BTreeMap<Load, Moment> {
        let mut noticed = self.record.noticed(self.loads, self.begin, Moment::MAX);
        let dead = self.sockets.filter(|_| self.expect.verdict == Verdict::Dead);
        if let Some(at) = dead {
            for load in self.loads.iter().filter(|load| !load.counts()) {
                noticed.entry(*load).and_modify(|told| *told = at.min(*told)).or_insert(at);
            }
        }
        noticed
    }

    /// Whether the client took its peer for what it was; how many connections it gave up without need.
    fn check_verdict(&self, noticed: &BTreeMap<Load, Moment>, broken: &mut Vec<String>) -> usize {
        let Self { record, begin, .. } = *self;
        match self.expect.verdict {
            Verdict::Dead => {
                for load in self.loads {
                    let at = noticed.get(load).copied();
                    let heard = record.last_delivery(at.unwrap_or(Moment::MAX)).filter(|_| self.expect.from_last_heard);
                    let silent_since = heard.unwrap_or(begin).max(begin);
                    let after = at.map(|at| at.since(silent_since));
                    let bound = self.bound + record.stalled(begin, at.unwrap_or(Moment::MAX));
                    check_delay(broken, &format!("{}: noticed", load.link()), after, bound);
                }
                0
            }
            Verdict::Alive => {
                let lost = |what: &Observation| matches!(what, Observation::Disconnected { .. });
                let told = record.count(begin, Moment::MAX, lost);
                // A call that took too long has failed, and its connection need not have been given up for that.
                let count = self.closed.map_or(told, |closed| told.min(closed));
                if count > 0 {
                    broken.push(format!("{count} connections given up without need"));
                }
                count
            }
            Verdict::Any => 0,
        }
    }

    /// When all loads worked again, and the limit of that.
    fn check_return(&self, broken: &mut Vec<String>) -> (Option<Duration>, Duration) {
        let Self { record, healed, loads, .. } = *self;
        let working = record.working(&self.remains.produced, loads, healed);
        // Who does not tell of attempts is given as much as anybody may have.
        let is_told =
            record.has(|what| matches!(what, Observation::Attempt { .. } | Observation::ReconnectFailed { .. }));
        let backoff = if is_told || self.is_romaine { record.backoff(healed, Moment::MAX) } else { BACK_WITHIN };
        let backoff = backoff.min(BACK_WITHIN);
        let limit = BACK_WITHIN + self.expect.back_allowance + backoff;
        for load in loads {
            let after = working.get(load).map(|at| at.since(healed));
            check_delay(broken, &format!("{}: working again", load.link()), after, limit);
        }
        let last = working.values().max().filter(|_| working.len() == loads.len());
        (last.map(|at| at.since(healed)), limit)
    }

    /// The calls against what they counted.
    fn check_calls(&self, broken: &mut Vec<String>) -> Counted {
        let record = self.record;
        let mut calls = Balance::new(self.remains.calls, self.remains.counter);
        if self.expect.may_be_late {
            calls.late = 0;
        }
        if self.expect.may_lose_writes {
            // Counters that go back look to the callers like other callers' replies.
            calls.foreign = 0;
        }
        calls.check_calls(broken);
        // A driver that crashed has not told what became of its last calls.
        let has_crashed = record.has(|what| matches!(what, Observation::Trouble(words) if words.starts_with(CRASHED)));
        if has_crashed || !self.loads.iter().any(|load| load.counts()) {
            return Counted { calls, acked_lost: 0, repeated: 0 };
        }
        // Each call once, whatever became of it.
        let most = calls.acked + calls.unknown + self.remains.calls.open.max(calls.never_returned);
        let acked_lost = calls.acked.saturating_sub(calls.counter);
        let repeated = calls.counter.saturating_sub(most);
        if acked_lost > 0 && !self.expect.may_lose_writes {
            broken.push(format!("{acked_lost} acknowledged writes lost: the counter is {}", calls.counter));
        }
        if repeated > 0 {
            broken.push(format!(
                "{repeated} calls were executed more than once: the counter is {}, not at most {most}",
                calls.counter
            ));
        }
        Counted { calls, acked_lost, repeated }
    }
}

/// What became of the calls.
struct Counted {
    calls: Balance,
    /// Acknowledged, and not there any more.
    acked_lost: u64,
    /// There more often than they were made.
    repeated: u64,
}

const fn loses(flow: Flow) -> bool {
    flow.unannounced > 0 || flow.duplicates > 0
}
