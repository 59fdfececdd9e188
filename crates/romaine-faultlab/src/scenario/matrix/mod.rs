//! The fault matrix: one fault under one load a cell, each with a server, a way to it and a client process of its own.
//!
//! A cell is measured or empty, never estimated: where it cannot run it says why.

mod abuse;
mod cell;
mod network;
mod patience;
mod plan;
mod reconnect;
mod report;
mod run;
mod trial;

pub use plan::{Cell, Fault, Scale, Selection, Settings, Under};
pub use report::{CellReport, Measured, Outcome, Report};
pub use run::{Progress, run};
