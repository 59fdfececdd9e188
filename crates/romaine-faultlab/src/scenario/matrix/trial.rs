//! A fault's course in one cell, and what is read off it.

use std::time::Duration;

use super::report::{Measured, Outcome};
use crate::scenario::moment::Moment;
use crate::scenario::promises::{BACK_WITHIN, Balance, check_delay, check_flow};
use crate::scenario::protocol::{Load, Observation, Pace};
use crate::scenario::stage::Stage;

/// How long the client is waited for after a fault, far beyond what is promised.
const BACK_AT_LAST: Duration = Duration::from_secs(25);

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
    pace: Pace,
    begin: Moment,
}

impl Trial {
    /// The fault begins.
    pub(super) fn begin(stage: Stage, pace: Pace) -> Self {
        Self { stage, pace, begin: Moment::now() }
    }

    /// The fault is over: waits until the client works again, ends everything, and judges.
    pub(super) async fn healed(self, expect: Expect) -> anyhow::Result<Outcome> {
        let healed = Moment::now();
        let Self { stage, pace, begin } = self;
        stage.probe(healed).await?;
        // Not coming back is a measurement, not a failure of the lab.
        let _measured_below = stage.all_work(healed, BACK_AT_LAST).await;
        tokio::time::sleep(CALM).await;
        let loads = stage.loads.clone();
        let (record, remains) = stage.strike().await?;

        let mut broken = record.troubles(Moment::default(), Moment::MAX);
        let noticed = record.noticed(&loads, begin, Moment::MAX);
        let longest = noticed.values().max().map(|at| at.since(begin));
        let lost_links = record.count(begin, Moment::MAX, |what| matches!(what, Observation::Disconnected { .. }));
        let mut false_verdicts = 0;
        match expect.verdict {
            Verdict::Dead => {
                for load in &loads {
                    let at = noticed.get(load).copied();
                    let heard = record.last_delivery(at.unwrap_or(Moment::MAX)).filter(|_| expect.from_last_heard);
                    let silent_since = heard.unwrap_or(begin).max(begin);
                    let after = at.map(|at| at.since(silent_since));
                    let bound = pace.bound() + record.stalled(begin, at.unwrap_or(Moment::MAX));
                    check_delay(&mut broken, &format!("{}: noticed", load.link()), after, bound);
                }
            }
            Verdict::Alive => {
                false_verdicts = lost_links;
                if false_verdicts > 0 {
                    broken.push(format!("{false_verdicts} connections given up without need"));
                }
            }
            Verdict::Any => {}
        }
        let working = record.working(&remains.produced, &loads, healed);
        let limit = BACK_WITHIN + expect.back_allowance + record.backoff(healed, Moment::MAX).min(BACK_WITHIN);
        for load in &loads {
            let after = working.get(load).map(|at| at.since(healed));
            check_delay(&mut broken, &format!("{}: working again", load.link()), after, limit);
        }
        let back = working.values().max().filter(|_| working.len() == loads.len()).map(|at| at.since(healed));

        let elements = record.elements(&remains.produced, Moment::default(), Moment::MAX);
        let messages = record.messages(&remains.produced, Moment::default(), Moment::MAX);
        check_flow(&mut broken, "elements", elements);
        check_flow(&mut broken, "messages", messages);
        if remains.undelivered > 0 {
            broken.push(format!("{} elements were left in the queue", remains.undelivered));
        }
        let mut calls = Balance::new(remains.calls, remains.counter);
        if expect.may_be_late {
            calls.late = 0;
        }
        calls.check_calls(&mut broken);
        if loads.iter().any(|load| matches!(load, Load::Callers | Load::Torrent)) {
            calls.check_counter(&mut broken);
        }
        let grown = remains.peak.map(|peak| peak.saturating_sub(remains.base));
        if let (Some(max), Some(grown)) = (expect.memory_max, grown)
            && grown > max
        {
            broken.push(format!("memory grew by {} MiB (limit {} MiB)", grown >> 20, max >> 20));
        }
        broken.dedup();
        let course = if broken.is_empty() { Vec::new() } else { record.course(begin) };
        Ok(Outcome::Measured(Box::new(Measured {
            noticed_s: longest.map(|after| after.as_secs_f64()),
            working_s: back.map(|after| after.as_secs_f64()),
            working_limit_s: limit.as_secs_f64(),
            false_verdicts,
            elements,
            messages,
            calls,
            ghosts_fenced: record.count(begin, Moment::MAX, |what| matches!(what, Observation::Fenced { .. })),
            peak_memory: remains.peak,
            memory_grown: grown,
            note: expect.note,
            broken,
            course,
        })))
    }
}
