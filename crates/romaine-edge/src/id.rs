//! The id of an edge, and the keys that belong to it and to no other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Error;

/// The longest id.
const ID_MAX: usize = 100;

/// The id of an edge: 1 to 100 letters, digits, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(Arc<str>);

impl EdgeId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its queue, which is also the hash tag of all its keys.
    #[must_use]
    pub fn queue(&self) -> String {
        format!("edge:{}", self.0)
    }

    /// What is wanted of it. It may read this, not write it.
    pub(crate) fn desired_key(&self) -> String {
        self.key("desired")
    }

    /// What it says of itself.
    pub(crate) fn state_key(&self) -> String {
        self.key("state")
    }

    /// Which process speaks for it.
    pub(crate) fn session_key(&self) -> String {
        self.key("session")
    }

    /// What happened to its jobs, a stream.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.key("log")
    }

    /// How much of its outbox has arrived.
    pub(crate) fn sent_key(&self) -> String {
        self.key("sent")
    }

    fn key(&self, end: &str) -> String {
        format!("edge:{{{}}}:{end}", self.queue())
    }

    /// What finds the states of all edges.
    pub(crate) const STATES: &'static str = "edge:{edge:*}:state";

    /// The edge whose state this key holds.
    pub(crate) fn of_state_key(key: &str) -> Option<Self> {
        key.strip_prefix("edge:{edge:")?.strip_suffix("}:state")?.parse().ok()
    }
}

impl FromStr for EdgeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if text.is_empty() || text.len() > ID_MAX || !plain {
            return Err(Error::usage(format!(
                "the id of an edge is 1 to {ID_MAX} letters, digits, '.', '_' and '-', for example edge-017"
            )));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_an_edge_share_the_tag_of_its_queue() {
        let id: EdgeId = "kr-017".parse().unwrap();
        assert_eq!(id.queue(), "edge:kr-017");
        for key in [id.desired_key(), id.state_key(), id.session_key(), id.log_key(), id.sent_key()] {
            assert!(key.starts_with("edge:{edge:kr-017}:"), "{key}");
        }
        assert_eq!(EdgeId::of_state_key(&id.state_key()), Some(id));
        assert_eq!(EdgeId::of_state_key("edge:{edge:a b}:state"), None);
    }

    #[test]
    fn an_id_that_would_break_a_key_or_a_rule_is_refused() {
        for id in ["", "a b", "a}", "*", "a:b", "naïve", &"x".repeat(101)] {
            assert!(id.parse::<EdgeId>().is_err(), "{id}");
        }
    }
}
