//! What must be true after a fault, as figures with their limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::Calls;
use super::record::Flow;

/// After a fault has ended a client works again within this and the back-off in force.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(2);

/// A promise that was not kept, in words.
pub(crate) fn check_delay(broken: &mut Vec<String>, what: &str, measured: Option<Duration>, limit: Duration) {
    match measured {
        None => broken.push(format!("{what}: never (limit {:.1} s)", limit.as_secs_f64())),
        Some(measured) if measured > limit => {
            broken.push(format!("{what}: {:.2} s (limit {:.2} s)", measured.as_secs_f64(), limit.as_secs_f64()));
        }
        Some(_) => {}
    }
}

/// Nothing is lost without a word, and nothing is given twice.
pub(crate) fn check_flow(broken: &mut Vec<String>, what: &str, flow: Flow) {
    if flow.unannounced > 0 {
        broken.push(format!("{} {what} lost without a word", flow.unannounced));
    }
    if flow.duplicates > 0 {
        broken.push(format!("{} {what} delivered twice", flow.duplicates));
    }
}

/// The calls of a whole run against the counter that they incremented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Calls that were answered.
    pub acked: u64,
    /// Calls that may have been executed.
    pub unknown: u64,
    /// Calls that were not executed.
    pub refused: u64,
    /// What the server counted.
    pub counter: u64,
    /// Calls that never returned.
    pub never_returned: u64,
    /// Calls that returned later than their deadline.
    pub late: u64,
    /// Replies that belonged to another call.
    pub foreign: u64,
    /// The longest call, in milliseconds.
    pub slowest_ms: u64,
}

impl Balance {
    pub(crate) const fn new(calls: Calls, counter: u64) -> Self {
        Self {
            acked: calls.acked,
            unknown: calls.unknown,
            refused: calls.refused,
            counter,
            never_returned: calls.never_returned,
            late: calls.late,
            foreign: calls.foreign,
            slowest_ms: calls.slowest_ms,
        }
    }

    /// Every call has ended, in time, with its own reply.
    pub(crate) fn check_calls(&self, broken: &mut Vec<String>) {
        if self.never_returned > 0 {
            broken.push(format!("{} calls never returned", self.never_returned));
        }
        if self.late > 0 {
            broken.push(format!("{} calls returned after their deadline", self.late));
        }
        if self.foreign > 0 {
            broken.push(format!("{} replies reached another caller", self.foreign));
        }
    }

    /// The counter lies between what was acknowledged and what may have been executed.
    pub(crate) fn check_counter(&self, broken: &mut Vec<String>) {
        let (low, high) = (self.acked, self.acked + self.unknown);
        if self.counter < low || self.counter > high {
            broken.push(format!("the counter is {}, not between {low} and {high}", self.counter));
        }
    }
}
