//! Agents on edge servers that can only dial out, what is wanted of them, and rollouts to them.
//!
//! | for | see |
//! |---|---|
//! | the agent | [`agent::run`], [`agent::Settings`] |
//! | what it may do at the hub, and how it is started | [`acl_rule`], [`systemd_unit`] |
//! | who is there, and how they are | [`fleet`] |
//! | bringing an image to many | [`rollout`] |
//!
//! Everything an edge touches has its id as the hash tag, `{edge:<id>}`: its queue, what is wanted of it (which it may
//! read, not write), what it says of itself.

mod acl;
pub mod agent;
mod clock;
mod error;
pub mod fleet;
mod health;
mod hub;
mod id;
mod image;
mod labels;
mod record;
pub mod rollout;
mod span;
mod systemd;

pub use acl::acl_rule;
pub use error::{Error, ErrorKind, Result};
pub use health::Probe;
pub use id::EdgeId;
pub use image::Image;
pub use labels::{Labels, Selector};
pub use record::{Check, Container, DEPLOY, Deploy, Progress, Reason, Reported, Tried, Wellness};
pub use span::{parse_backoff, parse_span, show_span};
pub use systemd::{Unit, systemd_unit};
