//! romaine turns to the server that has the data now, with its fast liveness and short faults, side by side.

use romaine_faultlab::scenario::matrix::{self, Fault, Outcome, Scale, Selection, Settings};
use romaine_faultlab::scenario::{Driver, Pace};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_when_another_server_has_the_data() {
    let driver = Driver::romaine(env!("CARGO_BIN_EXE_faultlab-drive"), &[]);
    // Each cell has up to six servers of its own.
    let settings = Settings { driver, pace: Pace::Fast, scale: Scale::Brief, jobs: 4 };
    let faults = vec![Fault::F10, Fault::F11, Fault::F12, Fault::F13, Fault::F14];
    let cells = Selection { faults, under: Vec::new() }.cells();
    let (tell, mut progress) = mpsc::channel(64);
    let showing = async {
        while let Some(progress) = progress.recv().await {
            if let matrix::Progress::Ended(report) = progress {
                println!("{}", report.line());
            }
        }
    };
    let (report, ()) = tokio::join!(matrix::run(&cells, &settings, tell), showing);
    for cell in &report.cells {
        if let Outcome::Skipped(reason) = &cell.outcome {
            eprintln!("skipped: {}: {reason}", cell.cell);
        }
    }
    assert_eq!(report.cells.len(), cells.len());
    assert!(report.is_kept(), "\n{}\n{}", report.table().text(), report.remarks().join("\n"));
}
