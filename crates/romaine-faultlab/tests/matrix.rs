//! romaine keeps its promises in the cells of the fault matrix, with short faults, side by side; with its fast liveness where
//! nothing is said.

use romaine_faultlab::scenario::matrix::{self, Fault, Outcome, Progress, Scale, Selection, Settings, Under};
use romaine_faultlab::scenario::{Driver, Pace};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn settings(pace: Pace) -> Settings {
    let driver = Driver::romaine(env!("CARGO_BIN_EXE_faultlab-drive"), &[]);
    Settings { driver, pace, scale: Scale::Brief, jobs: 6 }
}

/// Measures these cells; the test fails with the words of every broken promise.
async fn measure(pace: Pace, faults: &[Fault], under: &[Under]) {
    let settings = settings(pace);
    let cells = Selection { faults: faults.to_vec(), under: under.to_vec() }.cells();
    let (tell, mut progress) = mpsc::channel(64);
    let mut showing = JoinSet::new();
    showing.spawn(async move {
        while let Some(progress) = progress.recv().await {
            if let Progress::Ended(report) = progress {
                println!("{}", report.line());
            }
        }
    });
    let report = matrix::run(&cells, &settings, tell).await;
    showing.join_all().await;
    for cell in &report.cells {
        if let Outcome::Skipped(reason) = &cell.outcome {
            eprintln!("skipped: {}: {reason}", cell.cell);
        }
    }
    assert_eq!(report.cells.len(), cells.len());
    assert!(report.is_kept(), "\n{}\n{}", report.table().text(), report.remarks().join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_when_the_peer_is_gone() {
    let faults = [Fault::F01, Fault::F02, Fault::F03, Fault::F04, Fault::F05, Fault::F06, Fault::F07];
    measure(Pace::Fast, &faults, &[Under::Callers, Under::Blocked, Under::Subscribed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_when_the_peer_refuses_or_talks_nonsense() {
    measure(Pace::Fast, &[Fault::F08, Fault::F09, Fault::F17, Fault::F19], &[]).await;
}

/// By default: who bears 8 s of silence bears a script until the server says that it is busy with one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_taken_for_dead_who_is_only_slow() {
    measure(Pace::Default, &[Fault::F16], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_watches_nothing_breaks_the_promise_and_the_matrix_says_so() {
    let cells = Selection { faults: vec![Fault::F05], under: vec![Under::Blocked, Under::Subscribed] }.cells();
    let (tell, _progress) = mpsc::channel(64);
    let report = matrix::run(&cells, &settings(Pace::Off), tell).await;
    for cell in &report.cells {
        let Outcome::Measured(measured) = &cell.outcome else { panic!("{}", cell.line()) };
        assert!(measured.noticed_s.is_none(), "{}", cell.line());
        assert!(measured.broken.iter().any(|broken| broken.contains("noticed: never")), "{}", cell.line());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_cannot_start_fails_its_cell_and_says_why() {
    let driver = Driver::Program { name: "nobody".into(), command: vec!["/nonexistent/driver".into()], dir: None };
    let settings = Settings { driver, ..settings(Pace::Fast) };
    let cells = Selection { faults: vec![Fault::F04], under: vec![Under::Idle] }.cells();
    let (tell, _progress) = mpsc::channel(64);
    let report = matrix::run(&cells, &settings, tell).await;
    let Outcome::Failed(error) = &report.cells.first().unwrap().outcome else { panic!("{report:?}") };
    assert!(error.contains("/nonexistent/driver"), "{error}");
}
