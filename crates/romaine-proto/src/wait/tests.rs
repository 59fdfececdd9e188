//! A wait in simulated time.

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn wait(liveness: &Liveness, timeout: Option<Duration>, may_probe: bool) -> (Wait, Instant) {
    let now = Instant::now();
    let settings = WaitSettings::new(liveness, timeout, may_probe);
    (Wait::new(settings, now, timeout.map(|timeout| now + timeout)), now)
}

#[test]
fn a_command_is_at_a_server_in_its_time_or_never_and_a_very_short_one_is_worth_a_connection() {
    let now = Instant::now();
    let limits = |timeout, own: Option<Duration>| {
        let limits = WaitLimits::new(now, timeout, own.map(|own| now + own));
        let after = |at: Option<Instant>| at.map(|at| at - now);
        (after(limits.deadline), after(limits.issued_by))
    };
    let tiny = Duration::from_millis(10);
    assert_eq!(limits(None, None), (None, None));
    assert_eq!(limits(Some(secs(5)), None), (Some(secs(5)), Some(secs(5))));
    assert_eq!(limits(Some(tiny), None), (Some(tiny), Some(secs(1))));
    assert_eq!(limits(Some(secs(5)), Some(tiny)), (Some(tiny), Some(tiny)), "its caller means it");
    assert_eq!(limits(None, Some(tiny)), (Some(tiny), Some(tiny)));
    assert_eq!(limits(Some(tiny), Some(secs(5))), (Some(tiny), Some(secs(1))));
}

#[test]
fn a_live_wait_is_probed_and_issued_again_for_ever() {
    let (mut wait, mut now) = wait(&Liveness::default(), None, true);
    assert_eq!(wait.start(now), Action::Issue { timeout: None });
    for _ in 0..100 {
        now = wait.next_timeout().unwrap();
        assert_eq!(wait.timeout(now), Action::Probe);
        now += Duration::from_millis(1);
        assert_eq!(wait.probed(now, ProbeAnswer::Unblocked), Action::Continue);
        assert_eq!(wait.unblocked(now), Action::Issue { timeout: None });
    }
}

#[test]
fn a_busy_server_is_no_verdict_however_long_it_takes() {
    let (mut wait, start) = wait(&Liveness::fast(), Some(secs(3)), true);
    let mut now = start;
    wait.start(now);
    for _ in 0..100 {
        now = wait.next_timeout().unwrap();
        assert_eq!(wait.timeout(now), Action::Probe);
        assert_eq!(wait.probed(now, ProbeAnswer::Busy), Action::Continue);
    }
    assert!(now - start > secs(20));
    assert_eq!(wait.nil(now), Action::End(Outcome::TimedOut));
}

#[test]
fn a_dead_wait_is_found_within_the_promise_whatever_the_probe_says() {
    for (liveness, promise) in
        [(Liveness::default(), secs(10)), (Liveness::fast(), secs(2)), (Liveness::frugal(), secs(60))]
    {
        for answer in [ProbeAnswer::Unblocked, ProbeAnswer::NotBlocked, ProbeAnswer::Lost] {
            let (mut wait, start) = wait(&liveness, None, true);
            wait.start(start);
            let mut now;
            let outcome = loop {
                now = wait.next_timeout().unwrap();
                let action = match wait.timeout(now) {
                    Action::Probe => {
                        // A probe that nobody answers takes its own time; the verdict does not wait for it.
                        let answered = now + liveness.suspect_after;
                        match wait.next_timeout().filter(|due| *due < answered) {
                            Some(due) if answer == ProbeAnswer::Lost => {
                                now = due;
                                wait.timeout(now)
                            }
                            _ if answer == ProbeAnswer::Lost => {
                                now = answered;
                                wait.probed(now, answer)
                            }
                            _ => wait.probed(now, answer),
                        }
                    }
                    action => action,
                };
                if let Action::End(outcome) = action {
                    break outcome;
                }
            };
            let unblocked = answer == ProbeAnswer::Unblocked;
            assert!(matches!(outcome, Outcome::Dead { unblocked: u, .. } if u == unblocked), "{outcome:?}");
            assert!(now - start <= promise, "{:?}", now - start);
        }
    }
}

#[test]
fn where_probing_is_refused_the_wait_is_sliced_and_the_caller_never_sees_it() {
    let (mut wait, mut now) = wait(&Liveness::default(), Some(secs(12)), false);
    let start = now;
    let mut asked = Vec::new();
    let mut action = wait.start(now);
    while let Action::Issue { timeout: Some(timeout) } = action {
        asked.push(timeout);
        now += timeout;
        action = wait.nil(now);
    }
    assert_eq!(asked, [secs(5), secs(5), secs(2)]);
    assert_eq!(action, Action::End(Outcome::TimedOut));
    assert_eq!(now - start, secs(12));
}

#[test]
fn a_slice_whose_end_the_server_does_not_report_means_death() {
    let (mut wait, now) = wait(&Liveness::default(), None, false);
    for answer in [None, Some(ProbeAnswer::Lost), Some(ProbeAnswer::NotBlocked), Some(ProbeAnswer::Refused)] {
        wait.start(now);
        let due = wait.next_timeout().unwrap();
        assert_eq!(due - now, secs(7));
        assert_eq!(wait.timeout(due), Action::Inquire);
        if let Some(answer) = answer {
            assert_eq!(wait.probed(due, answer), Action::Continue);
        }
        let due = wait.next_timeout().unwrap();
        assert_eq!(due - now, secs(9));
        assert!(matches!(wait.timeout(due), Action::End(Outcome::Dead { unblocked: false, .. })));
    }
}

#[test]
fn a_server_that_holds_writes_back_is_not_taken_for_dead_by_a_slice() {
    let (mut wait, start) = wait(&Liveness::fast(), None, false);
    wait.start(start);
    let mut now = start;
    for _ in 0..20 {
        now = wait.next_timeout().unwrap();
        assert_eq!(wait.timeout(now), Action::Inquire);
        assert_eq!(wait.probed(now, ProbeAnswer::Busy), Action::Continue);
    }
    assert!(now - start > secs(8));
    assert!(matches!(wait.nil(now), Action::Issue { .. }));
}

#[test]
fn who_waits_at_a_server_that_is_getting_the_slot_asks_the_owner_with_each_sign_of_life() {
    // Where nothing is watched, too: it may be that only the owner gives the move up.
    for (liveness, may_probe) in [(Liveness::default(), true), (Liveness::default(), false), (Liveness::off(), false)] {
        let now = Instant::now();
        let settings = WaitSettings::new(&liveness, Some(secs(60)), may_probe).visiting();
        let visit = || Wait::new(settings.clone(), now, Some(now + secs(60)));
        let (mut echoed, mut sliced, mut over) = (visit(), visit(), visit());
        for wait in [&mut echoed, &mut sliced, &mut over] {
            let timeout = if may_probe { secs(60) } else { secs(5) };
            assert_eq!(wait.start(now), Action::Issue { timeout: Some(timeout) });
        }
        assert_eq!(echoed.unblocked(now + secs(5)), Action::End(Outcome::Return));
        assert_eq!(sliced.nil(now + secs(5)), Action::End(Outcome::Return));
        assert_eq!(over.nil(now + secs(60)), Action::End(Outcome::TimedOut));
        // Where the server only could not serve it for a moment, it is asked again itself.
        assert!(matches!(visit().start(now + secs(1)), Action::Issue { .. }));
    }
    let settings = WaitSettings::new(&Liveness::off(), None, true);
    let now = Instant::now();
    assert_eq!(Wait::new(settings, now, None).start(now), Action::Issue { timeout: None }, "who does not visit waits");
}

#[test]
fn a_time_out_is_never_rounded_to_for_ever() {
    let (mut wait, now) = wait(&Liveness::default(), Some(Duration::from_micros(1)), true);
    assert_eq!(wait.start(now), Action::Issue { timeout: Some(WAIT_MIN) });
}

#[test]
fn the_time_spent_in_probes_counts() {
    let (mut wait, start) = wait(&Liveness::default(), Some(secs(7)), true);
    assert_eq!(wait.start(start), Action::Issue { timeout: Some(secs(7)) });
    let now = wait.next_timeout().unwrap();
    assert_eq!(wait.timeout(now), Action::Probe);
    wait.probed(now, ProbeAnswer::Unblocked);
    assert_eq!(wait.unblocked(now), Action::Issue { timeout: Some(secs(2)) });
    assert_eq!(wait.nil(now + secs(2)), Action::End(Outcome::TimedOut));
}

#[test]
fn a_stall_of_our_own_gives_the_peer_its_grace_anew() {
    let (mut wait, start) = wait(&Liveness::default(), None, true);
    wait.start(start);
    let now = wait.next_timeout().unwrap();
    wait.timeout(now);
    wait.probed(now, ProbeAnswer::Unblocked);
    wait.next_timeout();
    let resumed = now + secs(30);
    assert_eq!(wait.timeout(resumed), Action::Continue);
    assert_eq!(wait.unblocked(resumed), Action::Issue { timeout: None });
}

#[test]
fn only_a_forced_end_means_another_role() {
    for (text, expected) in [
        ("UNBLOCKED client unblocked via CLIENT UNBLOCK", Some(Interruption::Unblocked)),
        ("UNBLOCKED the stream key no longer exists", Some(Interruption::Unblocked)),
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            Some(Interruption::RoleChanged),
        ),
        ("READONLY You can't write against a read only replica.", None),
    ] {
        assert_eq!(Interruption::of(&ServerError::new(text.as_bytes())), expected, "{text}");
    }
}

#[test]
fn an_early_timeout_does_nothing() {
    let (mut wait, now) = wait(&Liveness::default(), None, true);
    wait.start(now);
    wait.next_timeout();
    assert_eq!(wait.timeout(now), Action::Continue);
}
