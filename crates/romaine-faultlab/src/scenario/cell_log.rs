//! What was seen in one cell, kept in a file for whoever doubts a figure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::moment::Moment;
use super::protocol::{Observation, Seen};

/// Of what comes in crowds, one a kind is written in this time, with how many there were.
const CROWD_EVERY: Duration = Duration::from_millis(500);

/// A log file, or none.
#[derive(Debug, Clone, Default)]
pub(crate) struct CellLog(Option<Arc<Mutex<Inner>>>);

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    begin: Moment,
    crowds: BTreeMap<&'static str, Crowd>,
}

#[derive(Debug, Default)]
struct Crowd {
    unwritten: u64,
    written: Moment,
}

impl CellLog {
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self(Some(Arc::new(Mutex::new(Inner { file, begin: Moment::now(), crowds: BTreeMap::new() })))))
    }

    fn inner(&self) -> Option<MutexGuard<'_, Inner>> {
        self.0.as_ref().map(|inner| inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A line of the lab's own.
    pub(crate) fn say(&self, text: &str) {
        if let Some(mut inner) = self.inner() {
            inner.write(Moment::now(), &format!("── {text}"));
        }
    }

    /// What the client did or said.
    pub(crate) fn note(&self, seen: &Seen) {
        let Some(mut inner) = self.inner() else { return };
        let Some(kind) = crowd(&seen.what) else {
            let text = super::demo::describe(&seen.what);
            return inner.write(seen.at, &text.unwrap_or_else(|| format!("{:?}", seen.what)));
        };
        let crowd = inner.crowds.entry(kind).or_default();
        crowd.unwritten += 1;
        if seen.at.since(crowd.written) >= CROWD_EVERY {
            let count = std::mem::take(&mut crowd.unwritten);
            crowd.written = seen.at;
            inner.write(seen.at, &format!("{kind} ×{count}, last {:?}", seen.what));
        }
    }
}

impl Inner {
    fn write(&mut self, at: Moment, text: &str) {
        let after = at.since(self.begin).as_secs_f64();
        // A full disk spoils the log, and must not spoil the measurement.
        let _ = writeln!(self.file, "{after:>9.3} s  {text}");
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.file.flush();
    }
}

/// The kinds that come many times a second.
fn crowd(what: &Observation) -> Option<&'static str> {
    match what {
        Observation::Element(_) => Some("elements"),
        Observation::Message(_) => Some("messages"),
        Observation::Worked { .. } => Some("working calls"),
        Observation::Calls(_) => Some("totals"),
        Observation::Suspect { .. }
        | Observation::Recovered { .. }
        | Observation::Disconnected { .. }
        | Observation::ReconnectFailed { .. }
        | Observation::Attempt { .. }
        | Observation::Activated { .. }
        | Observation::Fenced { .. }
        | Observation::Stalled { .. }
        | Observation::Failover { .. }
        | Observation::ElementMayBeLost
        | Observation::Broken { .. }
        | Observation::Gap { .. }
        | Observation::Dropped(_)
        | Observation::Trouble(_)
        | Observation::Ready
        | Observation::Finished => None,
    }
}
