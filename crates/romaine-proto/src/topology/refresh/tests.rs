use super::*;

const GAP: Duration = Duration::from_millis(100);

const ALL: [Trigger; 11] = [
    Trigger::Start,
    Trigger::Redirected,
    Trigger::Revoked,
    Trigger::UnknownNode,
    Trigger::Uncovered,
    Trigger::Reconnecting { attempts: 2 },
    Trigger::Silent,
    Trigger::ReadOnly,
    Trigger::WatchRestored,
    Trigger::Event,
    Trigger::Failed,
];

fn machine(seed: u64) -> Refresh {
    Refresh::new(RefreshSettings::default(), fastrand::Rng::with_seed(seed))
}

/// A machine at rest: one refresh has ended at the returned time, and nothing happened for a second.
fn rested(seed: u64) -> (Refresh, Instant) {
    let mut refresh = machine(seed);
    let now = Instant::now();
    refresh.trigger(now, Trigger::Start);
    assert!(refresh.poll(now));
    refresh.done(now, true, true);
    (refresh, now + Duration::from_secs(1))
}

/// Runs every refresh that begins before `until`; each takes 10 ms and gives what `result` says. When they began.
fn run(refresh: &mut Refresh, until: Instant, mut result: impl FnMut(usize) -> (bool, bool)) -> Vec<Instant> {
    let mut begun = Vec::new();
    while let Some(due) = refresh.next().filter(|due| *due < until) {
        assert!(!refresh.poll(due - Duration::from_nanos(1)), "an early one does nothing");
        assert!(refresh.poll(due));
        begun.push(due);
        let (ok, changed) = result(begun.len());
        refresh.done(due + Duration::from_millis(10), ok, changed);
    }
    begun
}

#[test]
fn nothing_is_asked_before_the_first_reason_and_then_at_once() {
    let mut refresh = machine(1);
    let now = Instant::now();
    assert_eq!(refresh.next(), None);
    assert!(!refresh.poll(now));
    refresh.trigger(now, Trigger::Start);
    assert_eq!(refresh.next(), Some(now));
    assert!(refresh.poll(now));
    assert!(refresh.is_in_flight());
}

#[test]
fn every_reason_makes_a_refresh_within_the_spread() {
    for why in ALL {
        let (mut refresh, now) = rested(2);
        refresh.trigger(now, why);
        let due = refresh.next().unwrap();
        assert!(due >= now && due <= now + GAP, "{why:?}");
    }
}

#[test]
fn a_single_reconnect_is_no_reason() {
    let (mut refresh, now) = rested(3);
    let before = refresh.next();
    refresh.trigger(now, Trigger::Reconnecting { attempts: 1 });
    assert_eq!(refresh.next(), before);
    refresh.trigger(now, Trigger::Reconnecting { attempts: 2 });
    assert_ne!(refresh.next(), before);
}

#[test]
fn there_is_one_refresh_at_a_time() {
    let (mut refresh, now) = rested(4);
    refresh.trigger(now, Trigger::Event);
    let due = refresh.next().unwrap();
    assert!(refresh.poll(due));
    for why in ALL {
        refresh.trigger(due, why);
        assert_eq!(refresh.next(), None);
        assert!(!refresh.poll(due + Duration::from_secs(3_600)), "not even a late one");
    }
    refresh.done(due, true, true);
    assert!(refresh.next().is_some());
    refresh.done(due, false, false);
    assert_eq!(refresh.failures(), 0, "what is not in flight cannot end");
}

#[test]
fn a_burst_of_reasons_makes_one_refresh_and_those_that_came_during_it_one_more() {
    let (mut refresh, now) = rested(5);
    for _ in 0..1_000 {
        refresh.trigger(now, Trigger::Redirected);
    }
    let begun = refresh.next().unwrap();
    assert!(refresh.poll(begun));
    for _ in 0..1_000 {
        refresh.trigger(begun + Duration::from_millis(1), Trigger::Event);
    }
    refresh.done(begun + Duration::from_millis(2), true, true);
    let second = refresh.next().unwrap();
    assert!(second >= begun + GAP && second <= begun + GAP * 2, "{:?}", second - begun);
    assert!(refresh.poll(second));
    refresh.done(second, true, true);
    assert!(refresh.next().unwrap() > second + Duration::from_secs(20), "and then it is quiet");
}

#[test]
fn an_endless_storm_of_reasons_asks_no_faster_than_the_gap() {
    let (mut refresh, start) = rested(6);
    let mut begun = Vec::new();
    for millis in 0..10_000 {
        let now = start + Duration::from_millis(millis);
        refresh.trigger(now, Trigger::Redirected);
        if refresh.poll(now) {
            begun.push(now);
            refresh.trigger(now, Trigger::Redirected);
            refresh.done(now, true, begun.len().is_multiple_of(2));
        }
    }
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= GAP));
    assert!((50..=101).contains(&begun.len()), "{}", begun.len());
}

#[test]
fn without_a_reason_it_asks_from_time_to_time_and_not_in_step_with_others() {
    let (mut refresh, now) = rested(7);
    let begun = run(&mut refresh, now + Duration::from_secs(3_600), |_| (true, false));
    let pauses: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0] - Duration::from_millis(10)).collect();
    assert!(pauses.len() > 100);
    assert!(pauses.iter().all(|pause| (22_500..=37_500).contains(&pause.as_millis())), "{pauses:?}");
    assert!(pauses.iter().any(|pause| pause.as_secs() < 25) && pauses.iter().any(|pause| pause.as_secs() > 35));
}

#[test]
fn without_a_period_only_reasons_count() {
    let settings = RefreshSettings { every: Duration::MAX, ..RefreshSettings::default() };
    let mut refresh = Refresh::new(settings, fastrand::Rng::with_seed(8));
    let now = Instant::now();
    refresh.trigger(now, Trigger::Start);
    assert!(refresh.poll(now));
    refresh.done(now, true, true);
    assert_eq!(refresh.next(), None);
}

#[test]
fn a_view_that_is_confirmed_too_early_is_asked_for_again_with_growing_pauses() {
    for why in ALL {
        let (mut refresh, now) = rested(9);
        refresh.trigger(now, why);
        // The servers fail over after 15 s; what is asked before shows what was.
        let failed_over = now + Duration::from_secs(15);
        let mut begun = Vec::new();
        while let Some(due) = refresh.next().filter(|due| *due < now + Duration::from_secs(22)) {
            assert!(refresh.poll(due));
            let changed = due > failed_over && begun.last().is_some_and(|last| *last <= failed_over);
            begun.push(due);
            refresh.done(due, true, changed);
        }
        if !why.is_doubt() {
            assert_eq!(begun.len(), 1, "{why:?}");
            continue;
        }
        let before = begun.iter().take_while(|at| **at <= failed_over).count();
        let pauses: Vec<_> = begun[..before].windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert!(pauses[0] <= 130 && pauses[4] >= 750 && pauses.iter().all(|pause| *pause <= 1_250), "{pauses:?}");
        assert!(begun[before] <= failed_over + Duration::from_millis(1_250), "{why:?}");
        assert!(why.outlives_a_change() || begun.len() == before + 1, "{why:?}");
    }
}

#[test]
fn doubt_ends_with_the_change_and_begins_anew_with_small_pauses() {
    let (mut refresh, now) = rested(15);
    for start in [now, now + Duration::from_secs(300)] {
        run(&mut refresh, start, |_| (true, false));
        refresh.trigger(start, Trigger::Silent);
        let doubted = run(&mut refresh, start + Duration::from_secs(5), |n| (true, n == 5));
        assert_eq!(doubted.len(), 5);
        assert!(doubted[1] - doubted[0] <= Duration::from_millis(135), "{:?}", doubted[1] - doubted[0]);
        let quiet = run(&mut refresh, start + Duration::from_secs(70), |_| (true, false));
        assert!(quiet.len() <= 3, "{}", quiet.len());
    }
    run(&mut refresh, now + Duration::from_secs(500), |_| (true, false));
    refresh.trigger(now + Duration::from_secs(500), Trigger::Silent);
    run(&mut refresh, now + Duration::from_secs(600), |_| (true, false));
    refresh.trigger(now + Duration::from_secs(600), Trigger::Silent);
    let again = run(&mut refresh, now + Duration::from_secs(601), |_| (true, false));
    assert!(again[1] - again[0] <= Duration::from_millis(135), "{:?}", again[1] - again[0]);
}

#[test]
fn after_a_channel_was_taken_a_changed_view_is_looked_at_again_with_pauses_that_grow_without_a_limit() {
    let (mut refresh, now) = rested(16);
    refresh.trigger(now, Trigger::Revoked);
    // The slot has its new owner in the first view already; the old one leaves the cluster whenever it likes.
    let begun = run(&mut refresh, now + Duration::from_secs(30), |n| (true, n == 1));
    for leaves in [20, 300, 3_000, 12_000].map(Duration::from_millis) {
        let seen = begun.iter().find(|at| **at - now > leaves).unwrap().duration_since(now);
        assert!(seen <= leaves * 3 + GAP * 2, "left after {leaves:?}, seen after {seen:?}");
    }
    assert!(begun.len() <= 10, "{} in 30 s", begun.len());
    let later = run(&mut refresh, now + Duration::from_secs(150), |_| (true, false));
    assert!(later.len() <= 6, "and then it is quiet: {}", later.len());
}

#[test]
fn each_channel_that_is_taken_begins_with_small_pauses() {
    let (mut refresh, now) = rested(17);
    refresh.trigger(now, Trigger::Revoked);
    let second = now + Duration::from_secs(10);
    run(&mut refresh, second, |n| (true, n == 1));
    refresh.trigger(second, Trigger::Revoked);
    let begun = run(&mut refresh, second + Duration::from_secs(2), |n| (true, n == 1));
    assert!(begun.len() >= 4, "{}", begun.len());
}

#[test]
fn doubt_ends_when_nothing_comes_of_it() {
    let (mut refresh, now) = rested(10);
    refresh.trigger(now, Trigger::Silent);
    let begun = run(&mut refresh, now + Duration::from_secs(120), |_| (true, false));
    let within = |from: u64, to: u64| begun.iter().filter(|at| (from..to).contains(&(**at - now).as_secs())).count();
    assert!((25..45).contains(&within(0, 30)), "{}", within(0, 30));
    assert!(within(32, 120) <= 4, "{}", within(32, 120));
}

#[test]
fn a_refresh_that_gains_nothing_is_repeated_for_ever_with_growing_pauses() {
    let mut refresh = machine(11);
    let now = Instant::now();
    refresh.trigger(now, Trigger::Start);
    let begun = run(&mut refresh, now + Duration::from_secs(3_600), |_| (false, false));
    let pauses: Vec<_> = begun.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(pauses[0] <= 300 && pauses[10] >= 1_000, "{:?}", &pauses[..12]);
    assert!(pauses.iter().all(|pause| (100..=2_200).contains(pause)));
    assert_eq!(refresh.failures(), u64::try_from(begun.len()).unwrap());
    assert!(refresh.next().is_some());
}

#[test]
fn while_nobody_answers_callers_do_not_cut_the_pause_short_but_good_news_does() {
    for why in ALL {
        let mut refresh = machine(12);
        let now = Instant::now();
        refresh.trigger(now, Trigger::Start);
        run(&mut refresh, now + Duration::from_secs(60), |_| (false, false));
        let due = refresh.next().unwrap();
        let early = due - Duration::from_millis(900);
        refresh.trigger(early, why);
        assert_eq!(refresh.next().unwrap() < due, why.is_hope(), "{why:?}");
    }
}

#[test]
fn a_success_after_failures_starts_the_pauses_anew() {
    let mut refresh = machine(13);
    let now = Instant::now();
    refresh.trigger(now, Trigger::Start);
    run(&mut refresh, now + Duration::from_secs(60), |_| (false, false));
    let due = refresh.next().unwrap();
    assert!(refresh.poll(due));
    refresh.done(due, true, true);
    assert_eq!(refresh.failures(), 0);
    assert!(refresh.next().unwrap() > due + Duration::from_secs(20));
}

#[test]
fn reasons_of_a_failed_refresh_are_not_forgotten() {
    let (mut refresh, now) = rested(14);
    refresh.trigger(now, Trigger::ReadOnly);
    // It fails twice; then the view is the old one still: the doubt holds.
    let begun = run(&mut refresh, now + Duration::from_secs(3), |n| (n > 2, false));
    assert!(begun.len() >= 5, "{}", begun.len());
}

#[test]
fn a_thousand_clients_do_not_ask_in_the_same_instant() {
    let mut delays: Vec<_> = (0..1_000)
        .map(|seed| {
            let (mut refresh, now) = rested(seed);
            refresh.trigger(now, Trigger::Event);
            (refresh.next().unwrap() - now).as_millis()
        })
        .collect();
    delays.sort_unstable();
    let most_in_a_tenth = delays.chunk_by(|one, other| one / 10 == other / 10).map(<[u128]>::len).max().unwrap();
    assert!(most_in_a_tenth < 150, "{most_in_a_tenth}");
}
