//! Rollouts in simulated time.

use super::*;

const NEW: &str = "2";
const OLD: &str = "1";

fn image(digit: &str) -> Image {
    format!("registry/app@sha256:{}", digit.repeat(64)).parse().unwrap()
}

fn plan(waves: &[u32]) -> Plan {
    Plan {
        id: "r".into(),
        image: image(NEW),
        generation: 5,
        back: 6,
        targets: "*".into(),
        waves: waves.to_vec(),
        budget: Budget { abort_over: Some(2_000), pause_over: None },
        timeout_ms: 1_000,
        offline: Away::Wait,
        soak_ms: 0,
        retries: 0,
        rollback: true,
        created_ms: 0,
    }
}

/// Edges e0, e1, … and a rollout to them.
struct World {
    engine: Engine,
    seen: BTreeMap<String, Seen>,
    now: i64,
    story: Vec<String>,
}

impl World {
    fn new(plan: Plan) -> Self {
        let (mut targets, mut seen) = (BTreeMap::new(), BTreeMap::new());
        let mut next = 0;
        for (wave, size) in plan.waves.iter().enumerate() {
            for _ in 0..*size {
                targets.insert(format!("e{next}"), Target::new(u32::try_from(wave).unwrap(), 0));
                let there = Seen { online: true, image: Some(image(OLD)), generation: 1, ..Seen::default() };
                seen.insert(format!("e{next}"), there);
                next += 1;
            }
        }
        let progress =
            Progress { stage: Stage::Running, wave: 0, settled_ms: None, reason: None, forgiven: 0, ended_ms: None };
        Self { engine: Engine { plan, progress, targets }, seen, now: 0, story: Vec::new() }
    }

    fn step(&mut self) {
        self.order(None);
    }

    fn order(&mut self, order: Option<Order>) {
        self.now += 100;
        let lines = self.engine.step(&self.seen, order, self.now);
        self.story.extend(lines.into_iter().map(|line| line.text));
        for (id, ..) in self.engine.undelivered() {
            self.engine.targets.get_mut(&id).unwrap().delivered = true;
        }
    }

    fn edge(&mut self, id: &str) -> &mut Seen {
        self.seen.get_mut(id).unwrap()
    }

    fn done(&mut self, id: &str, generation: u64) {
        self.edge(id).generation = generation;
        self.tried(id, generation, record::Progress::Done);
    }

    fn tried(&mut self, id: &str, generation: u64, progress: record::Progress) {
        self.edge(id).tried = Some(Tried { generation, progress, attempt: 1, error: Some("no".into()) });
    }

    fn phase(&self, id: &str) -> Phase {
        self.engine.targets[id].phase
    }

    fn stage(&self) -> Stage {
        self.engine.progress.stage
    }
}

#[test]
fn waves_go_out_one_after_the_other() {
    let mut world = World::new(plan(&[1, 2]));
    world.step();
    assert_eq!((world.phase("e0"), world.phase("e1")), (Phase::Sent, Phase::Pending));
    world.tried("e0", 5, record::Progress::Running);
    world.step();
    assert_eq!((world.phase("e0"), world.phase("e1")), (Phase::Running, Phase::Pending));
    world.done("e0", 5);
    world.step();
    assert_eq!((world.phase("e0"), world.phase("e1"), world.phase("e2")), (Phase::Done, Phase::Sent, Phase::Sent));
    world.done("e1", 5);
    world.done("e2", 5);
    world.step();
    assert_eq!(world.stage(), Stage::Done);
    assert_eq!(world.story.last().unwrap(), "done: 3 of 3 edges run it, 0 failed");
}

#[test]
fn a_wave_is_watched_before_the_next() {
    let mut world = World::new(Plan { soak_ms: 250, ..plan(&[1, 1]) });
    world.step();
    world.done("e0", 5);
    world.step();
    assert_eq!(world.phase("e1"), Phase::Pending);
    world.edge("e0").health = Wellness::Failing;
    world.step();
    // One of one: over the budget.
    assert_eq!(world.stage(), Stage::Aborting);
    assert_eq!(world.phase("e0"), Phase::Reverting);
}

#[test]
fn too_many_failures_bring_everybody_back_to_what_they_ran() {
    let mut world = World::new(plan(&[4, 2]));
    world.step();
    world.done("e0", 5);
    world.tried("e1", 5, record::Progress::Failed);
    world.step();
    // 1 of 4 is more than a fifth.
    assert_eq!(world.stage(), Stage::Aborting);
    assert_eq!(
        (world.phase("e0"), world.phase("e3"), world.phase("e4")),
        (Phase::Reverting, Phase::Reverting, Phase::Cancelled)
    );
    world.engine.targets.get_mut("e0").unwrap().delivered = false;
    assert_eq!(world.engine.undelivered(), [("e0".into(), image(OLD), 6, record::Reason::Rollback)]);
    world.engine.targets.get_mut("e0").unwrap().delivered = true;
    for id in ["e0", "e1", "e2"] {
        world.done(id, 6);
    }
    world.edge("e3").online = false;
    world.step();
    assert_eq!((world.stage(), world.phase("e3")), (Stage::Aborted, Phase::Reverting));
}

#[test]
fn an_edge_that_is_away_holds_up_no_wave_and_counts_for_no_budget() {
    let mut world = World::new(plan(&[2, 1]));
    world.edge("e1").online = false;
    world.step();
    assert_eq!(world.phase("e1"), Phase::Away);
    world.done("e0", 5);
    world.step();
    assert_eq!(world.phase("e2"), Phase::Sent);
    world.done("e2", 5);
    for _ in 0..50 {
        world.step();
    }
    // It does not end before it is back.
    assert_eq!(world.stage(), Stage::Running);
    world.edge("e1").online = true;
    world.step();
    // Nor before it has it: nobody would look after it.
    assert_eq!((world.phase("e1"), world.stage()), (Phase::Sent, Stage::Running));
    world.tried("e1", 5, record::Progress::Running);
    world.step();
    assert_eq!((world.phase("e1"), world.stage()), (Phase::Running, Stage::Running));
    world.done("e1", 5);
    world.step();
    assert_eq!(world.stage(), Stage::Done);
    assert_eq!(world.story.last().unwrap(), "done: 3 of 3 edges run it, 0 failed");
}

#[test]
fn an_edge_that_fails_after_it_came_back_counts_although_all_waves_are_out() {
    let budget = Budget { abort_over: Some(3_000), pause_over: None };
    let mut world = World::new(Plan { budget, ..plan(&[2, 1]) });
    world.step();
    world.tried("e1", 5, record::Progress::Running);
    world.done("e0", 5);
    world.step();
    world.edge("e1").online = false;
    world.step();
    world.done("e2", 5);
    world.step();
    assert_eq!((world.phase("e1"), world.phase("e2"), world.stage()), (Phase::Away, Phase::Done, Stage::Running));
    world.edge("e1").online = true;
    world.step();
    assert_eq!((world.phase("e1"), world.stage()), (Phase::Running, Stage::Running));
    world.tried("e1", 5, record::Progress::Failed);
    world.step();
    // One of three is more than 30 %.
    assert_eq!((world.phase("e1"), world.stage()), (Phase::Reverting, Stage::Aborting));
}

#[test]
fn a_wave_that_reached_nobody_is_waited_for() {
    let mut world = World::new(plan(&[1, 1]));
    world.edge("e0").online = false;
    for _ in 0..20 {
        world.step();
    }
    assert_eq!((world.phase("e0"), world.phase("e1")), (Phase::Away, Phase::Pending));
    let mut skipping = World::new(Plan { offline: Away::Skip, ..plan(&[1, 1]) });
    skipping.edge("e0").online = false;
    skipping.step();
    assert_eq!((skipping.phase("e0"), skipping.phase("e1")), (Phase::Skipped, Phase::Sent));
}

#[test]
fn an_edge_lost_at_work_gets_its_time_anew_when_it_is_back() {
    let budget = Budget { abort_over: None, pause_over: None };
    let mut world = World::new(Plan { budget, ..plan(&[1]) });
    world.step();
    world.tried("e0", 5, record::Progress::Running);
    world.step();
    world.edge("e0").online = false;
    for _ in 0..50 {
        world.step();
    }
    assert_eq!(world.phase("e0"), Phase::Away);
    world.edge("e0").online = true;
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(world.phase("e0"), Phase::Running);
    world.step();
    world.step();
    assert_eq!((world.phase("e0"), world.stage()), (Phase::TimedOut, Stage::Done));
}

#[test]
fn a_pause_sends_nothing_new_and_a_resumed_rollout_forgives_what_was_seen() {
    let budget = Budget { abort_over: None, pause_over: Some(0) };
    let mut world = World::new(Plan { budget, ..plan(&[2, 1]) });
    world.step();
    world.done("e0", 5);
    world.tried("e1", 5, record::Progress::Failed);
    world.step();
    assert_eq!((world.stage(), world.phase("e2")), (Stage::Paused, Phase::Pending));
    world.order(Some(Order::Resume));
    assert_eq!((world.stage(), world.phase("e2")), (Stage::Running, Phase::Sent));
    world.order(Some(Order::Abort));
    assert_eq!(world.stage(), Stage::Aborting);
}

#[test]
fn a_newer_wish_supersedes() {
    let mut world = World::new(plan(&[2]));
    world.step();
    world.done("e0", 9);
    world.tried("e1", 9, record::Progress::Received);
    world.step();
    assert_eq!((world.phase("e0"), world.phase("e1")), (Phase::Superseded, Phase::Superseded));
    assert_eq!(world.stage(), Stage::Done);
}

#[test]
fn every_rollout_ends_whatever_edges_do_as_long_as_they_come_back() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(plan(&[1, 3, 4]));
        let ids: Vec<String> = world.seen.keys().cloned().collect();
        for round in 0..400 {
            for id in &ids {
                let wanted = match world.phase(id) {
                    Phase::Sent | Phase::Running => 5,
                    Phase::Reverting => 6,
                    _ => 0,
                };
                let seen = world.edge(id);
                seen.online = round > 300 || random.u8(..) > 80;
                if wanted > 0 && seen.online && random.u8(..) < 60 {
                    match random.u8(..) {
                        0..10 => world.tried(id, wanted, record::Progress::Failed),
                        10..128 => world.tried(id, wanted, record::Progress::Running),
                        _ => world.done(id, wanted),
                    }
                }
            }
            let order = if random.u8(..) == 0 { Some(Order::Abort) } else { None };
            world.order(order);
            let sent_early = world.engine.targets.values().any(|target| {
                target.wave > world.engine.progress.wave && !matches!(target.phase, Phase::Pending | Phase::Cancelled)
            });
            assert!(!sent_early, "seed {seed}: a later wave went out");
        }
        assert!(world.stage().is_over(), "seed {seed}: {:?}\n{:#?}", world.engine.progress, world.engine.targets);
        let left =
            world.engine.count(|phase| matches!(phase, Phase::Pending | Phase::Sent | Phase::Running | Phase::Away));
        assert!(
            world.stage() != Stage::Done || left == 0,
            "seed {seed}: {left} were left\n{:#?}",
            world.engine.targets
        );
    }
}
