//! The next step of a rollout, from what is known. Decisions only: no clock, no server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::record::{self, Tried, Wellness};
use crate::rollout::plan::{Away, Budget, Order, Phase, Plan, Progress, Stage, Target};

/// Something that happened, for the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, by the hub's clock.
    pub at_ms: i64,
    /// To which edge, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// What.
    pub text: String,
}

/// An edge as it is seen now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) online: bool,
    pub(crate) image: Option<Image>,
    pub(crate) generation: u64,
    pub(crate) tried: Option<Tried>,
    pub(crate) health: Wellness,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
    pub(crate) targets: BTreeMap<String, Target>,
}

/// Where an edge was observed to be.
struct Found {
    phase: Phase,
    note: Option<String>,
}

impl Engine {
    /// Takes what can be taken of steps at `now_ms`.
    pub(crate) fn step(&mut self, seen: &BTreeMap<String, Seen>, order: Option<Order>, now_ms: i64) -> Vec<Line> {
        let mut story = Vec::new();
        if self.progress.stage.is_over() {
            return story;
        }
        self.obey(order, now_ms, &mut story);
        self.observe(seen, now_ms, &mut story);
        if self.progress.stage == Stage::Running {
            self.keep_budget(now_ms, &mut story);
        }
        match self.progress.stage {
            Stage::Running => self.advance(seen, now_ms, &mut story),
            Stage::Aborting => self.go_back(seen, now_ms, &mut story),
            Stage::Paused | Stage::Aborted | Stage::Done => {}
        }
        story
    }

    /// Edges whose state matters for the next step.
    pub(crate) fn watched(&self) -> impl Iterator<Item = &String> {
        let wave = self.progress.wave;
        self.targets
            .iter()
            .filter(move |(_, target)| match target.phase {
                Phase::Pending => target.wave <= wave,
                Phase::Done => target.wave == wave && self.plan.soak_ms > 0,
                Phase::Sent | Phase::Running | Phase::Away | Phase::TimedOut | Phase::Reverting => true,
                Phase::Skipped
                | Phase::Failed
                | Phase::Superseded
                | Phase::Reverted
                | Phase::Stuck
                | Phase::Cancelled => false,
            })
            .map(|(id, _)| id)
    }

    /// What edges were told may be lost. To be told twice does no harm: what is wanted has a generation.
    pub(crate) fn tell_again(&mut self) {
        for target in self.targets.values_mut() {
            target.delivered = false;
        }
    }

    /// Edges that must be told what is wanted of them, with the image and its generation.
    pub(crate) fn undelivered(&self) -> Vec<(String, Image, u64, record::Reason)> {
        let all = self.targets.iter().filter(|(_, target)| !target.delivered);
        all.filter_map(|(id, target)| match target.phase {
            Phase::Sent | Phase::Running | Phase::Away | Phase::Done => {
                Some((id.clone(), self.plan.image.clone(), self.plan.generation, record::Reason::Rollout))
            }
            Phase::Reverting => Some((id.clone(), target.previous.clone()?, self.plan.back, record::Reason::Rollback)),
            Phase::Pending
            | Phase::Skipped
            | Phase::Failed
            | Phase::TimedOut
            | Phase::Superseded
            | Phase::Reverted
            | Phase::Stuck
            | Phase::Cancelled => None,
        })
        .collect()
    }

    fn obey(&mut self, order: Option<Order>, now_ms: i64, story: &mut Vec<Line>) {
        let failed = self.count(Phase::is_failure);
        let progress = &mut self.progress;
        let (stage, reason) = match (order, progress.stage) {
            (Some(Order::Pause), Stage::Running) => (Stage::Paused, "paused by hand"),
            (Some(Order::Resume), Stage::Paused) => (Stage::Running, "resumed by hand"),
            (Some(Order::Abort), Stage::Running | Stage::Paused) => (Stage::Aborting, "aborted by hand"),
            (Some(_) | None, _) => return,
        };
        if stage == Stage::Running {
            progress.forgiven = failed;
        }
        progress.stage = stage;
        progress.reason = Some(reason.to_owned());
        story.push(Line { at_ms: now_ms, edge: None, text: reason.to_owned() });
    }

    fn observe(&mut self, seen: &BTreeMap<String, Seen>, now_ms: i64, story: &mut Vec<Line>) {
        let (plan, wave) = (&self.plan, self.progress.wave);
        for (id, target) in &mut self.targets {
            let Some(seen) = seen.get(id) else { continue };
            let found = match target.phase {
                Phase::Sent | Phase::Running | Phase::Away => {
                    under_way(target, seen, plan.generation, plan.timeout_ms, now_ms)
                }
                Phase::Reverting => reverting(target, seen, plan, now_ms),
                Phase::TimedOut if seen.generation == plan.generation => {
                    Some(Found { phase: Phase::Done, note: Some("late".to_owned()) })
                }
                Phase::Done
                    if target.wave == wave && plan.soak_ms > 0 && seen.online && seen.health == Wellness::Failing =>
                {
                    Some(Found { phase: Phase::Failed, note: Some("it became ill after it was done".to_owned()) })
                }
                Phase::Pending
                | Phase::Skipped
                | Phase::Done
                | Phase::Failed
                | Phase::TimedOut
                | Phase::Superseded
                | Phase::Reverted
                | Phase::Stuck
                | Phase::Cancelled => None,
            };
            let Some(Found { phase, note }) = found else { continue };
            if phase == Phase::Running && target.phase != Phase::Running {
                target.begun_ms = Some(now_ms);
            }
            if phase == Phase::Sent {
                target.sent_ms = Some(now_ms);
            }
            turn(id, target, phase, note, now_ms, story);
        }
    }

    fn keep_budget(&mut self, now_ms: i64, story: &mut Vec<Line>) {
        let failed = self.count(Phase::is_failure);
        let reached = self.count(|phase| {
            matches!(phase, Phase::Sent | Phase::Running | Phase::Done | Phase::Failed | Phase::TimedOut)
        });
        let budget = self.plan.budget;
        let stage = if Budget::is_over(budget.abort_over, failed, reached) {
            Stage::Aborting
        } else if failed > self.progress.forgiven && Budget::is_over(budget.pause_over, failed, reached) {
            Stage::Paused
        } else {
            return;
        };
        let what = if stage == Stage::Aborting { "aborted" } else { "paused" };
        let reason = format!("{what}: {failed} of {reached} reached edges failed");
        self.progress.stage = stage;
        self.progress.reason = Some(reason.clone());
        story.push(Line { at_ms: now_ms, edge: None, text: reason });
    }

    fn advance(&mut self, seen: &BTreeMap<String, Seen>, now_ms: i64, story: &mut Vec<Line>) {
        loop {
            self.send_wave(seen, now_ms, story);
            let wave = self.progress.wave;
            let of_wave = |wanted: Phase| self.targets.values().filter(|t| t.wave == wave && t.phase == wanted).count();
            let busy = of_wave(Phase::Pending) + of_wave(Phase::Sent) + of_wave(Phase::Running);
            let last = usize::try_from(wave).is_ok_and(|wave| wave + 1 >= self.plan.waves.len());
            let (done, away) = (of_wave(Phase::Done), of_wave(Phase::Away));
            // A wave that reached nobody has taught nothing: the next, larger one waits for it.
            if busy > 0 || (away > 0 && done == 0 && !last) {
                self.progress.settled_ms = None;
                return;
            }
            let settled_ms = *self.progress.settled_ms.get_or_insert(now_ms);
            if now_ms - settled_ms < self.plan.soak_ms {
                return;
            }
            if last {
                self.finish(now_ms, story);
                return;
            }
            let text = format!("wave {} is through: {done} done, {away} away", wave + 1);
            story.push(Line { at_ms: now_ms, edge: None, text });
            self.progress.wave += 1;
            self.progress.settled_ms = None;
        }
    }

    fn send_wave(&mut self, seen: &BTreeMap<String, Seen>, now_ms: i64, story: &mut Vec<Line>) {
        let wave = self.progress.wave;
        let due = self.targets.iter_mut().filter(|(_, target)| target.wave <= wave && target.phase == Phase::Pending);
        let (mut sent, head) = (0, story.len());
        for (id, target) in due {
            // Without a look there is no decision.
            let Some(seen) = seen.get(id) else { continue };
            target.previous = seen.image.clone();
            target.sent_ms = Some(now_ms);
            let (phase, note) = match (seen.online, self.plan.offline) {
                (true, _) => (Phase::Sent, None),
                (false, Away::Wait) => {
                    (Phase::Away, Some("away when its wave came; it gets it when it is back".to_owned()))
                }
                (false, Away::Skip) => (Phase::Skipped, Some("away when its wave came".to_owned())),
            };
            sent += 1;
            turn(id, target, phase, note, now_ms, story);
        }
        if sent > 0 {
            let text = format!("wave {} of {}: {sent} edges", wave + 1, self.plan.waves.len());
            story.insert(head, Line { at_ms: now_ms, edge: None, text });
        }
    }

    fn finish(&mut self, now_ms: i64, story: &mut Vec<Line>) {
        let away = self.count(|phase| phase == Phase::Away);
        // An edge of an earlier wave that was away when the wave was through may only now be at it.
        let busy = self.count(|phase| matches!(phase, Phase::Pending | Phase::Sent | Phase::Running));
        if away + busy > 0 {
            self.progress.reason = Some(match (busy, away) {
                (0, away) => format!("all who are there have it; waiting for {away} that are away"),
                (busy, 0) => format!("all waves are out; waiting for {busy} that came back"),
                (busy, away) => {
                    format!("all waves are out; waiting for {busy} that came back and {away} that are away")
                }
            });
            return;
        }
        let (done, failed) = (self.count(|phase| phase == Phase::Done), self.count(Phase::is_failure));
        let text = format!("done: {done} of {} edges run it, {failed} failed", self.targets.len());
        self.end(Stage::Done, text, now_ms, story);
    }

    fn go_back(&mut self, seen: &BTreeMap<String, Seen>, now_ms: i64, story: &mut Vec<Line>) {
        let (image, rollback) = (&self.plan.image, self.plan.rollback);
        for (id, target) in &mut self.targets {
            let (phase, note) = match target.phase {
                Phase::Pending => (Phase::Cancelled, None),
                Phase::Sent | Phase::Running | Phase::Away | Phase::Done | Phase::Failed | Phase::TimedOut
                    if rollback =>
                {
                    match &target.previous {
                        None => (Phase::Stuck, Some("nobody knows what it ran before: left as it is".to_owned())),
                        Some(previous) if previous == image => continue,
                        Some(previous) => (Phase::Reverting, Some(format!("back to {}", previous.short()))),
                    }
                }
                Phase::Sent
                | Phase::Running
                | Phase::Away
                | Phase::Done
                | Phase::Failed
                | Phase::TimedOut
                | Phase::Skipped
                | Phase::Superseded
                | Phase::Reverting
                | Phase::Reverted
                | Phase::Stuck
                | Phase::Cancelled => continue,
            };
            target.delivered = phase != Phase::Reverting;
            target.sent_ms = Some(now_ms);
            turn(id, target, phase, note, now_ms, story);
        }
        let there = |id: &String| seen.get(id).is_none_or(|seen| seen.online);
        let busy = self
            .targets
            .iter()
            .any(|(id, target)| target.phase == Phase::Reverting && (!target.delivered || there(id)));
        if !busy {
            let (back, away) =
                (self.count(|phase| phase == Phase::Reverted), self.count(|phase| phase == Phase::Reverting));
            let text =
                format!("aborted: {back} edges run again what they ran; {away} that are away go back when they return");
            self.end(Stage::Aborted, text, now_ms, story);
        }
    }

    fn end(&mut self, stage: Stage, text: String, now_ms: i64, story: &mut Vec<Line>) {
        self.progress.stage = stage;
        self.progress.ended_ms = Some(now_ms);
        if stage == Stage::Done {
            self.progress.reason = None;
        }
        story.push(Line { at_ms: now_ms, edge: None, text });
    }

    fn count(&self, counts: impl Fn(Phase) -> bool) -> u32 {
        u32::try_from(self.targets.values().filter(|target| counts(target.phase)).count()).unwrap_or(u32::MAX)
    }
}

/// Where an edge is that something is wanted of; nothing where nothing has changed.
fn under_way(target: &Target, seen: &Seen, generation: u64, timeout_ms: i64, now_ms: i64) -> Option<Found> {
    let found = |phase, note| Some(Found { phase, note });
    let tried = seen.tried.as_ref();
    if seen.generation == generation {
        let attempt = tried.filter(|tried| tried.generation == generation).map_or(1, |tried| tried.attempt);
        return found(Phase::Done, (attempt > 1).then(|| format!("in attempt {attempt}")));
    }
    if seen.generation > generation || tried.is_some_and(|tried| tried.generation > generation) {
        return found(Phase::Superseded, Some("something newer is wanted of it".to_owned()));
    }
    let tried = tried.filter(|tried| tried.generation == generation);
    if let Some(tried) = tried.filter(|tried| tried.progress == record::Progress::Failed) {
        return found(Phase::Failed, tried.error.clone());
    }
    let (phase, since) = match tried {
        Some(_) => (Phase::Running, target.begun_ms),
        None => (Phase::Sent, target.sent_ms),
    };
    if !seen.online {
        let note = if tried.is_some() { "lost while it worked on it" } else { "lost before it took its job" };
        return if target.phase == Phase::Away { None } else { found(Phase::Away, Some(note.to_owned())) };
    }
    if target.phase != phase {
        let note = (target.phase == Phase::Away).then(|| "it is back".to_owned());
        return found(phase, note);
    }
    let waited = now_ms - since.unwrap_or(target.since_ms);
    let note =
        if phase == Phase::Running { "it did not end in time" } else { "it is there and did not take its job in time" };
    if waited > timeout_ms { found(Phase::TimedOut, Some(note.to_owned())) } else { None }
}

fn reverting(target: &Target, seen: &Seen, plan: &Plan, now_ms: i64) -> Option<Found> {
    let found = |phase, note: Option<&str>| Some(Found { phase, note: note.map(str::to_owned) });
    let tried = seen.tried.as_ref().filter(|tried| tried.generation >= plan.back);
    if seen.generation == plan.back {
        return found(Phase::Reverted, None);
    }
    match tried {
        _ if seen.generation > plan.back => found(Phase::Superseded, None),
        Some(tried) if tried.generation > plan.back => found(Phase::Superseded, None),
        Some(tried) if tried.progress == record::Progress::Failed => found(Phase::Stuck, tried.error.as_deref()),
        _ if seen.online && now_ms - target.sent_ms.unwrap_or(target.since_ms) > plan.timeout_ms.saturating_mul(2) => {
            found(Phase::Stuck, Some("it did not go back in time"))
        }
        _ => None,
    }
}

fn turn(id: &str, target: &mut Target, phase: Phase, note: Option<String>, now_ms: i64, story: &mut Vec<Line>) {
    let took = match phase {
        Phase::Done | Phase::Failed | Phase::TimedOut | Phase::Reverted => target.begun_ms.or(target.sent_ms),
        Phase::Pending
        | Phase::Sent
        | Phase::Running
        | Phase::Away
        | Phase::Skipped
        | Phase::Superseded
        | Phase::Reverting
        | Phase::Stuck
        | Phase::Cancelled => None,
    };
    let took = took.and_then(|begun| u64::try_from(now_ms - begun).ok()).map(std::time::Duration::from_millis);
    let mut text = phase.name().to_owned();
    if let Some(took) = took {
        text = format!("{text} after {}", crate::show_span(took));
    }
    if let Some(note) = &note {
        text = format!("{text}: {note}");
    }
    story.push(Line { at_ms: now_ms, edge: Some(id.to_owned()), text });
    target.phase = phase;
    target.since_ms = now_ms;
    target.note = note;
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
