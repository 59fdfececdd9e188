//! The keys of a queue: all of them with one hash tag, so that they live in one slot, and all of them declared to every
//! script that uses them.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The longest name of a queue, in bytes.
const NAME_MAX: usize = 128;

/// One of a queue's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Key {
    Jobs,
    States,
    High,
    Normal,
    Low,
    Delayed,
    Leases,
    Dead,
    Meta,
    Bell,
    Consumers,
    Unique,
    Generations,
    Seen0,
    Seen1,
    Results,
    ResultsUntil,
    Errors,
    Cancels,
}

impl Key {
    /// How the scripts call it, and what its name ends in.
    const NAMES: [(&'static str, &'static str); 19] = [
        ("jobs", "j"),
        ("states", "s"),
        ("high", "w0"),
        ("normal", "w1"),
        ("low", "w2"),
        ("delayed", "d"),
        ("leases", "l"),
        ("dead", "x"),
        ("meta", "m"),
        ("bell", "b"),
        ("consumers", "k"),
        ("unique", "u"),
        ("generations", "g"),
        ("seen0", "f0"),
        ("seen1", "f1"),
        ("results", "r"),
        ("results_until", "rt"),
        ("errors", "e"),
        ("cancels", "c"),
    ];

    /// Its name inside the scripts.
    pub(crate) const fn local(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// The name of a queue and its keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Inner>);

/// A process may serve thousands of queues: the keys are one text.
struct Inner {
    name: String,
    /// All keys, one behind the other.
    keys: String,
    /// Where each of them ends.
    ends: [usize; Key::NAMES.len()],
}

impl Keys {
    /// # Errors
    /// When the name is empty, too long, or has characters that would break the hash tag or an ACL rule.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let fits = !name.is_empty() && name.len() <= NAME_MAX;
        let plain =
            name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'*' | b'?' | b'['));
        if !fits || !plain {
            return Err(Error::config(format!(
                "the name of a queue is 1 to {NAME_MAX} printable ASCII characters without spaces, braces, brackets, \
                 * and ?, for example edge:017"
            )));
        }
        let (mut keys, mut ends) = (String::new(), [0; Key::NAMES.len()]);
        for ((_, last), end) in Key::NAMES.iter().zip(&mut ends) {
            keys.extend(["rq:{", name, "}:", last]);
            *end = keys.len();
        }
        keys.shrink_to_fit();
        Ok(Self(Arc::new(Inner { name: name.to_owned(), keys, ends })))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn key(&self, key: Key) -> &str {
        let Inner { keys, ends, .. } = &*self.0;
        let place = key as usize;
        let begin = place.checked_sub(1).map_or(0, |before| ends[before]);
        &keys[begin..ends[place]]
    }

    /// Where a stored result is announced.
    pub(crate) fn results_channel(&self) -> String {
        format!("{}:ready", self.key(Key::Results))
    }

    /// The pattern that covers every key of this queue and of no other.
    pub(crate) fn pattern(&self) -> String {
        format!("rq:{{{}}}:*", self.0.name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_queue_have_its_name_as_their_hash_tag() {
        let keys = Keys::new("edge:017").unwrap();
        assert_eq!(keys.key(Key::Jobs), "rq:{edge:017}:j");
        assert_eq!(keys.key(Key::Cancels), "rq:{edge:017}:c");
        assert_eq!(Key::Cancels.local(), "cancels");
        assert_eq!(keys.key(Key::Seen1), "rq:{edge:017}:f1");
        assert_eq!(keys.0.keys.matches("rq:{edge:017}:").count(), Key::NAMES.len());
    }

    #[test]
    fn a_name_that_would_break_the_hash_tag_is_refused() {
        for name in ["", "a b", "a}b", "{a", "a*", "naïve", &"x".repeat(129)] {
            let error = Keys::new(name).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config, "{name}");
        }
    }
}
