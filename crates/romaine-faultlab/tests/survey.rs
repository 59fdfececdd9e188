//! Many clients in one matrix: whatever a driver does, its cell ends and says what happened.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use romaine_faultlab::scenario::matrix::{
    Cell, Contestant, Fault, Grade, Outcome, Scale, Selection, Survey, SurveyPlan, SurveyStep, Topology, Under,
};
use romaine_faultlab::scenario::{Driver, Pace};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// A driver that is a shell script. It has read the order when its body begins.
fn scripted(name: &str, body: &str) -> Contestant {
    let command = ["sh", "-c", &format!("read -r order; {body}")].map(Into::into).to_vec();
    Contestant {
        name: name.into(),
        version: "1".into(),
        language: "sh".into(),
        topologies: vec![Topology::Standalone],
        driver: Driver::Program { name: name.into(), command, dir: None },
        unsupported: Vec::new(),
        missing: None,
    }
}

fn romaine() -> Contestant {
    Contestant::romaine(env!("CARGO_BIN_EXE_faultlab-drive"), &[])
}

fn cells(faults: &[Fault], under: &[Under]) -> Vec<Cell> {
    Selection { faults: faults.to_vec(), under: under.to_vec() }.cells()
}

fn plan(contestants: Vec<Contestant>, cells: Vec<Cell>) -> SurveyPlan {
    SurveyPlan {
        contestants,
        configs: vec![Pace::Fast],
        cells,
        scale: Scale::Brief,
        runs: 1,
        jobs: 6,
        logs: None,
        command: "a test".into(),
    }
}

async fn measure(plan: &SurveyPlan) -> Survey {
    measure_until(plan, usize::MAX).await
}

/// Stops when so many runs have ended.
async fn measure_until(plan: &SurveyPlan, enough: usize) -> Survey {
    let (tell, mut steps) = mpsc::channel(64);
    let (stop, stopped) = oneshot::channel();
    let mut showing = JoinSet::new();
    showing.spawn(async move {
        let mut stop = Some(stop);
        while let Some(step) = steps.recv().await {
            if let SurveyStep::Ended { line, done, .. } = step {
                println!("{line}");
                if done >= enough {
                    stop.take().map(|stop| stop.send(()));
                }
            }
        }
    });
    let stop = async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let survey = plan.run(tell, stop).await.unwrap();
    showing.join_all().await;
    survey
}

/// Says what a client at work says, as long as its input is open.
const WORKING: &str = r#"
    say() { echo "{\"at\":0,\"what\":$1}"; }
    say '"ready"'
    work() { while sleep 0.05; do say "{\"worked\":{\"since\":$(date +%s%6N)}}" || exit; done; }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_that_fail_crash_or_are_missing_cost_their_own_cells_only() {
    let mut missing = scripted("missing", "");
    missing.missing = Some("there is no compiler".into());
    let contestants = vec![
        romaine(),
        scripted("crashing", r#"echo 'out of luck' >&2; exit 3"#),
        scripted("babbling", "echo 'hello world'; sleep 60"),
        scripted("narrow", r#"echo '{"at":0,"what":{"trouble":"not supported: the load callers"}}'; sleep 60"#),
        missing,
    ];
    let survey = measure(&plan(contestants, cells(&[Fault::F04], &[Under::Callers]))).await;
    let outcome = |client: &str| {
        let entry = survey.entries.iter().find(|entry| entry.client == client).unwrap();
        (entry.runs[0].outcome.clone(), entry.summary)
    };
    let (Outcome::Measured(measured), Some(summary)) = outcome("romaine") else { panic!("{survey:?}") };
    assert_eq!((measured.broken.len(), summary.grade), (0, Grade::Good), "{measured:?}");
    let failed = |client: &str, words: &str| match outcome(client).0 {
        Outcome::Failed(error) => assert!(error.contains(words), "{client}: {error}"),
        other => panic!("{client}: {other:?}"),
    };
    failed("crashing", "out of luck");
    failed("babbling", "hello world");
    for (client, words) in [("narrow", "not supported"), ("missing", "there is no compiler")] {
        let Outcome::Skipped(reason) = outcome(client).0 else { panic!("{survey:?}") };
        assert!(reason.contains(words), "{client}: {reason}");
    }
    assert!(survey.is_kept());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_does_not_end_is_killed_and_its_open_calls_never_returned() {
    let totals = r#"{"calls":{"acked":0,"refused":0,"unknown":0,"open":7,"late":0,"foreign":0,"never_returned":0,"slowest_ms":0}}"#;
    // Works until its input says something; then it only breathes.
    let body = format!("{WORKING} say '{totals}'; work & read -r control; sleep 600");
    let survey = measure(&plan(vec![scripted("stubborn", &body)], cells(&[Fault::F04], &[Under::Callers]))).await;
    let [entry] = survey.entries.as_slice() else { panic!("{survey:?}") };
    let Outcome::Measured(measured) = &entry.runs[0].outcome else { panic!("{survey:?}") };
    assert_eq!((measured.calls.never_returned, measured.grade), (7, Grade::Hangs));
    assert!(measured.broken.iter().any(|broken| broken.contains("was killed")), "{:?}", measured.broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_that_is_stopped_has_what_was_measured_and_says_what_was_not() {
    // The second would take its minute.
    let contestants = vec![scripted("crashing", "exit 3"), scripted("silent", "sleep 60")];
    let survey = measure_until(&plan(contestants, cells(&[Fault::F06], &[Under::Blocked])), 1).await;
    let reasons: Vec<_> = survey.entries.iter().map(|entry| (entry.client.as_str(), entry.has_failed())).collect();
    assert_eq!((survey.stopped_after, reasons), (Some(1), vec![("crashing", true), ("silent", false)]));
    assert_eq!(survey.entries[1].reason(), Some("not measured: it was stopped before"));
    assert!(survey.markdown(None, None).contains("stopped after 1 run"), "{}", survey.markdown(None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_lost_connections_come_back_and_are_counted() {
    let survey = measure(&plan(vec![romaine()], cells(&[Fault::F18], &[]))).await;
    for entry in &survey.entries {
        let Outcome::Measured(measured) = &entry.runs[0].outcome else { panic!("{entry:?}") };
        let storm = measured.storm.unwrap();
        assert_eq!((storm.clients, measured.calls.never_returned), (1_000, 0), "{measured:?}");
        assert!(storm.back_s.is_some() && storm.attempts >= 990, "{storm:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_shows_its_cells_as_a_page_a_picture_and_logs_without_a_path_of_the_machine() {
    let logs = tempfile::tempdir().unwrap();
    let mut plan = plan(vec![romaine(), scripted("crashing", "exit 3")], cells(&[Fault::F06], &[Under::Blocked]));
    plan.runs = 2;
    plan.logs = Some(logs.path().to_owned());
    assert_eq!((plan.count(), plan.estimate() > Duration::from_secs(5)), (4, true));
    let survey = measure(&plan).await;
    let page = survey.markdown(Some("logs"), Some("map.svg"));
    for words in
        ["| romaine |", "![The heat map: faults by clients](map.svg)", "F06 server killed and restarted", "failed"]
    {
        assert!(page.contains(words), "{words}\n{page}");
    }
    let log = survey.entries[0].runs[1].log.as_deref().unwrap();
    assert!(page.contains(&format!("[2](logs/{log})")), "{page}");
    let log = std::fs::read_to_string(logs.path().join(log)).unwrap();
    for words in ["the fault begins", "given up", "elements ×", "all has ended"] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    let picture = survey.heat_map();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n") && picture.contains("failed"), "{picture}");
    let json = serde_json::to_string(&survey).unwrap();
    for text in [page, picture, json] {
        for path in ["/tmp", env!("CARGO_MANIFEST_DIR")] {
            assert!(!text.contains(path), "{path}\n{text}");
        }
    }
}
