//! The fault matrix: one fault under one load a cell, each with a server, a way to it and a client process of its own.
//!
//! A cell is measured or empty, never estimated: where it cannot run it says why.

mod abuse;
mod cell;
mod cluster;
mod failover;
mod fault;
mod heat_map;
mod machine;
mod name;
mod network;
mod onto;
mod page;
mod patience;
mod peers;
mod plan;
mod reconnect;
mod report;
mod run;
mod storm;
mod summary;
mod survey;
mod trial;

pub use fault::{Class, Fault, Topology};
pub use onto::Onto;
pub use peers::{Contestant, Peer, Peers};
pub use plan::{Cell, Scale, Selection, Settings, Under};
pub use report::{CellReport, Grade, Measured, Outcome, Report};
pub use run::{Progress, run};
pub use storm::Storm;
pub use summary::{Entry, Run, Spread, Summary};
pub use survey::{Sitting, Survey, SurveyPlan, SurveyStep, Who, config_name};
