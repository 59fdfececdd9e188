//! Many clients in one matrix: whatever a driver does, its cell ends and says what happened.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use romaine_faultlab::scenario::matrix::{
    Cell, Contestant, Fault, Grade, Onto, Outcome, Scale, Selection, Survey, SurveyPlan, SurveyStep, Topology, Under,
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
        onto: None,
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

/// What it says of its calls.
fn totals(acked: u64, open: u64) -> String {
    format!(
        r#"{{"calls":{{"acked":{acked},"refused":0,"unknown":0,"open":{open},"late":0,"foreign":0,"never_returned":0,"slowest_ms":0}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_that_fail_crash_or_are_missing_cost_their_own_cells_only() {
    let mut missing = scripted("missing", "");
    missing.missing = Some("there is no compiler".into());
    let contestants = vec![
        romaine(),
        scripted("crashing", r#"echo 'panic: out of luck' >&2; seq 100 >&2; exit 3"#),
        scripted("babbling", "echo 'hello world'; sleep 60"),
        scripted("narrow", r#"echo '{"at":0,"what":{"trouble":"not supported: the load callers"}}'; sleep 60"#),
        // One of its 64 callers is answered.
        scripted("hesitant", &format!("{WORKING} say '{}'; work", totals(100, 63))),
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
    failed("crashing", "exit code 3: panic: out of luck");
    failed("babbling", "hello world");
    failed("hesitant", "most callers to be answered");
    for (client, words) in [("narrow", "not supported"), ("missing", "there is no compiler")] {
        let Outcome::Skipped(reason) = outcome(client).0 else { panic!("{survey:?}") };
        assert!(reason.contains(words), "{client}: {reason}");
    }
    assert!(survey.is_kept());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_does_not_end_is_killed_and_its_open_calls_never_returned() {
    let totals = totals(64, 7);
    // Works until its input says something; then it only breathes.
    let body = format!("{WORKING} say '{totals}'; work & read -r control; sleep 600");
    let survey = measure(&plan(vec![scripted("stubborn", &body)], cells(&[Fault::F04], &[Under::Callers]))).await;
    let [entry] = survey.entries.as_slice() else { panic!("{survey:?}") };
    let Outcome::Measured(measured) = &entry.runs[0].outcome else { panic!("{survey:?}") };
    assert_eq!((measured.calls.never_returned, measured.grade), (7, Grade::Hangs));
    assert!(measured.broken.iter().any(|broken| broken.contains("was killed")), "{:?}", measured.broken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_a_useless_sentinel_keeps_from_its_work_has_not_come_back() {
    let says = r#"echo '{"at":0,"what":{"trouble":"the client cannot connect: it is a replica"}}'; echo '"finished"'"#;
    let mut hopeless = scripted("hopeless", says);
    hopeless.topologies = vec![Topology::Sentinel];
    let cells: Vec<_> = cells(&[Fault::F13], &[]).into_iter().filter(|cell| cell.variant == "stale").collect();
    let survey = measure(&plan(vec![hopeless], cells)).await;
    let Outcome::Measured(measured) = &survey.entries[0].runs[0].outcome else { panic!("{survey:?}") };
    assert_eq!((measured.grade, measured.working_s), (Grade::Hangs, None));
    assert!(measured.broken[0].contains("it is a replica"), "{measured:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_failed_is_no_verdict_on_a_server_that_lost_no_connection() {
    let lost = r#"{"disconnected":{"link":"commands","cause":"a call took too long"}}"#;
    // Of a caller that never was connected the server has lost nothing.
    let body = format!(
        r#"{WORKING} say '{}'; work & sleep 2; say '{lost}'; read -r control; say '"finished"'"#,
        totals(64, 0)
    );
    let survey = measure(&plan(vec![scripted("timid", &body)], cells(&[Fault::F17], &[Under::Callers]))).await;
    let Outcome::Measured(measured) = &survey.entries[0].runs[0].outcome else { panic!("{survey:?}") };
    assert_eq!((measured.false_verdicts, measured.grade), (0, Grade::Loses), "64 calls are not in the counter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_that_is_stopped_has_what_was_measured_and_says_what_was_not() {
    // The second would take its minute.
    let contestants = vec![scripted("crashing", "exit 3"), scripted("silent", "sleep 60")];
    let survey = measure_until(&plan(contestants, cells(&[Fault::F06], &[Under::Blocked])), 1).await;
    let reasons: Vec<_> = survey.entries.iter().map(|entry| (entry.client.as_str(), entry.has_failed())).collect();
    assert_eq!((survey.sittings[0].stopped_after, reasons), (Some(1), vec![("crashing", true), ("silent", false)]));
    assert_eq!(survey.entries[1].reason(), Some("not measured: it was stopped before"));
    let page = survey.markdown(None, None);
    assert!(page.contains("stopped before its end: one cell was not measured"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_goes_on_where_an_earlier_one_ended_and_keeps_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("earlier.json");
    let cells = cells(&[Fault::F06], &[Under::Blocked]);
    let mut plan = plan(vec![romaine()], cells.clone());
    let mut earlier = measure(&plan).await;
    let Outcome::Measured(measured) = &mut earlier.entries[0].runs[0].outcome else { panic!("{earlier:?}") };
    // A figure that comes back from JSON only if every digit is read.
    measured.working_limit_s = 2.615_669_774_999_999_8;
    std::fs::write(&file, serde_json::to_string(&earlier).unwrap()).unwrap();

    plan.contestants.push(scripted("crashing", "exit 3"));
    plan.command = "another test".into();
    plan.onto = Some(Onto { survey: Survey::read(&file).unwrap(), only_missing: false });
    assert_eq!(plan.count(), 2, "what is there is measured again unless it is said otherwise");
    plan.onto = Some(Onto { survey: Survey::read(&file).unwrap(), only_missing: true });
    assert_eq!(plan.count(), 1);
    let survey = measure(&plan).await;
    let of =
        |survey: &Survey, client| serde_json::to_string(survey.entry(client, Pace::Fast, cells[0]).unwrap()).unwrap();
    assert_eq!(of(&survey, "romaine"), of(&earlier, "romaine"));
    assert!(survey.entry("crashing", Pace::Fast, cells[0]).unwrap().has_failed());
    let page = survey.markdown(None, None);
    let (first, second) = (page.find("    a test  # "), page.find("    another test  # "));
    assert!(first.is_some() && first < second && !page.contains("stopped"), "{page}");

    plan.contestants = vec![romaine()];
    plan.runs = 2;
    assert_eq!(plan.count(), 1, "one of two runs is there");
    let logs = dir.path().join("logs");
    plan.logs = Some(logs.clone());
    let added = measure(&plan).await;
    let known = earlier.entry("romaine", Pace::Fast, cells[0]).unwrap();
    let [first, second] = &added.entry("romaine", Pace::Fast, cells[0]).unwrap().runs[..] else { panic!("{added:?}") };
    assert_eq!(serde_json::to_string(first).unwrap(), serde_json::to_string(&known.runs[0]).unwrap());
    let log = second.log.as_deref().unwrap();
    assert!(log.ends_with("run-2.log") && logs.join(log).exists(), "{log}");

    plan.scale = Scale::Quick;
    let error = plan.fits().unwrap_err().to_string();
    assert!(error.contains("scale was \"brief\", and is \"quick\" now"), "{error}");
    std::fs::write(&file, "{}").unwrap();
    let error = Survey::read(&file).unwrap_err().to_string();
    assert!(error.contains("earlier.json is no survey of this version"), "{error}");
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
