//! What a rollout is to do, and how far it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::image::Image;

/// What was asked for. Never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub id: String,
    /// What is to run.
    pub image: Image,
    /// The generation of that wish.
    pub generation: u64,
    /// The generation of going back, should it come to that: taken at the start, so that whoever goes on takes the same.
    pub back: u64,
    /// The selection, as it was given.
    pub targets: String,
    /// Edges in each wave.
    pub waves: Vec<u32>,
    /// What to do about failures.
    pub budget: Budget,
    /// How long an edge may take, from when its job was taken, in milliseconds.
    pub timeout_ms: i64,
    /// What to do about edges that are away.
    pub offline: Away,
    /// How long a wave is watched before the next one, in milliseconds.
    pub soak_ms: i64,
    /// How often an edge runs a handler that failed again.
    pub retries: u32,
    /// Whether an abort brings edges back to what they ran.
    pub rollback: bool,
    /// When it was started, by the hub's clock.
    pub created_ms: i64,
}

/// How many failures are too many, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// More than this share of the reached edges aborts; in hundredths of a percent.
    pub abort_over: Option<u32>,
    /// More than this share pauses.
    pub pause_over: Option<u32>,
}

impl Budget {
    pub(crate) fn is_over(share: Option<u32>, failed: u32, reached: u32) -> bool {
        share.is_some_and(|share| u64::from(failed) * 10_000 > u64::from(share) * u64::from(reached))
    }
}

/// What to do about edges that are away when their wave comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Away {
    /// They get it when they come back; the rollout ends when all have it. They hold up no wave and count for no budget.
    Wait,
    /// They are left out.
    Skip,
}

/// How a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Waves go out.
    Running,
    /// Nothing new goes out.
    Paused,
    /// Edges go back to what they ran.
    Aborting,
    /// It was aborted.
    Aborted,
    /// All waves are through.
    Done,
}

impl Stage {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Aborted | Self::Done)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
            Self::Done => "done",
        })
    }
}

/// What somebody asked of a rollout that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Send nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Stop, and go back.
    Abort,
}

/// How far it is. Changes with every step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How it is.
    pub stage: Stage,
    /// The wave that goes out, counted from 0.
    pub wave: u32,
    /// When that wave had settled, if it has.
    pub settled_ms: Option<i64>,
    /// Why it is as it is.
    pub reason: Option<String>,
    /// Failures that were looked at when it was last resumed: they do not pause it again.
    pub forgiven: u32,
    /// When it ended.
    pub ended_ms: Option<i64>,
}

/// How far an edge is in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its wave has not come.
    Pending,
    /// It is wanted of it, and its job is in its queue.
    Sent,
    /// It works on it.
    Running,
    /// It is away; it gets it when it comes back.
    Away,
    /// It was away when its wave came, and was left out.
    Skipped,
    /// It runs it.
    Done,
    /// It did not work there.
    Failed,
    /// It did not end in time.
    TimedOut,
    /// Something newer is wanted of it.
    Superseded,
    /// It goes back.
    Reverting,
    /// It runs again what it ran.
    Reverted,
    /// It could not go back, or nobody knows what it ran.
    Stuck,
    /// The rollout ended before its wave came.
    Cancelled,
}

impl Phase {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Away => "away",
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::Superseded => "superseded",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
            Self::Stuck => "stuck",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it did not work.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An edge in a rollout. Times are the hub's, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its wave, counted from 0.
    pub wave: u32,
    /// How far it is.
    pub phase: Phase,
    /// What it ran when its wave came.
    pub previous: Option<Image>,
    /// When it was sent.
    pub sent_ms: Option<i64>,
    /// When it began to work on it, or came back while it did.
    pub begun_ms: Option<i64>,
    /// When its phase last changed.
    pub since_ms: i64,
    /// Why it is as it is.
    pub note: Option<String>,
    /// Whether what is wanted stands in its record and its queue.
    pub delivered: bool,
}

impl Target {
    /// One whose wave has not come.
    #[must_use]
    pub const fn new(wave: u32, now_ms: i64) -> Self {
        Self {
            wave,
            phase: Phase::Pending,
            previous: None,
            sent_ms: None,
            begun_ms: None,
            since_ms: now_ms,
            note: None,
            delivered: false,
        }
    }
}

/// Waves as they are asked for: `1%,10%,100%`, or numbers of edges `1,10,100%`; each says how many have it after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waves(Vec<Upto>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upto {
    Percent(u32),
    Edges(u32),
}

impl Waves {
    /// How many edges each wave has, of so many. The last takes all that are left.
    #[must_use]
    pub fn sizes(&self, edges: u32) -> Vec<u32> {
        let (mut sizes, mut before) = (Vec::new(), 0);
        for upto in &self.0 {
            let upto = match *upto {
                Upto::Percent(share) => {
                    u32::try_from((u64::from(edges) * u64::from(share)).div_ceil(10_000)).unwrap_or(edges)
                }
                Upto::Edges(count) => count,
            };
            let upto = upto.min(edges);
            if upto > before {
                sizes.push(upto - before);
                before = upto;
            }
        }
        if before < edges {
            sizes.push(edges - before);
        }
        sizes
    }
}

impl FromStr for Waves {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::usage(format!(
                "'{text}' are no waves; expected growing shares or numbers of edges, as in 1%,10%,100% or 1,5,100%"
            ))
        };
        let mut waves = Vec::new();
        for part in text.split(',').map(str::trim) {
            let upto = if part.ends_with('%') {
                Upto::Percent(parse_percent(part).map_err(|_form| wrong())?)
            } else {
                Upto::Edges(part.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?)
            };
            let grows = match (waves.last(), upto) {
                (Some(Upto::Percent(before)), Upto::Percent(share)) => share > *before,
                (Some(Upto::Edges(before)), Upto::Edges(count)) => count > *before,
                _ => true,
            };
            if !grows || upto == Upto::Percent(0) {
                return Err(wrong());
            }
            waves.push(upto);
        }
        Ok(Self(waves))
    }
}

/// Reads `5%` or `0.5%` as hundredths of a percent.
///
/// # Errors
/// When it is not of this form, or more than 100%.
pub fn parse_percent(text: &str) -> Result<u32, Error> {
    let wrong = || Error::usage(format!("'{text}' is no share; expected for example 5% or 0.5%"));
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_number| wrong())?;
    let part: u32 = format!("{part:0<2}").parse().map_err(|_number| wrong())?;
    let share = whole.checked_mul(100).and_then(|share| share.checked_add(part));
    share.filter(|share| *share <= 10_000).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_cumulative_and_take_everybody_in_the_end() {
        let sizes = |text: &str, edges| text.parse::<Waves>().unwrap().sizes(edges);
        assert_eq!(sizes("1%,10%,100%", 500), [5, 45, 450]);
        assert_eq!(sizes("1%,10%,100%", 5), [1, 4]);
        assert_eq!(sizes("1,5,50%", 20), [1, 4, 5, 10]);
        assert_eq!(sizes("30", 5), [5]);
        assert_eq!(sizes("10%", 0), Vec::<u32>::new());
        for wrong in ["", "0", "0%", "10%,5%", "5,5", "101%", "x", "1%,"] {
            assert!(wrong.parse::<Waves>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_over_when_more_than_its_share_failed() {
        let five = parse_percent("5%").unwrap();
        assert_eq!((five, parse_percent("0.5%").unwrap()), (500, 50));
        assert!(!Budget::is_over(Some(five), 1, 20) && Budget::is_over(Some(five), 2, 20));
        assert!(Budget::is_over(Some(five), 1, 1) && !Budget::is_over(None, 9, 9) && !Budget::is_over(Some(0), 0, 9));
        assert!(Budget::is_over(Some(0), 1, 500));
    }
}
