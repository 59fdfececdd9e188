//! One request for several slots or nodes: how it is split, and how the replies become one.

mod gather;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use romaine_commands::{KeySpec, Request};

pub use gather::{Gathering, Shortfall};
pub use merge::{MergeError, merge};

use super::route::is_split;
use super::slot::slot_of;

/// One of the requests that a request for several slots is split into.
#[derive(Debug, Clone)]
pub struct Part {
    /// The slot of its keys.
    pub slot: u16,
    /// What is sent there.
    pub request: Request,
    /// Which keys of the original it carries, in order; the first is 0.
    pub keys: Vec<usize>,
}

/// One request for each slot, in the order in which the slots first appear; the keys of a slot keep their order, and
/// what belongs to a key (MSET's values) goes with it.
///
/// Nothing when the command's row does not allow it, or there is no key. What one part did is not undone when another
/// fails: the whole is not atomic, as it is not on the servers either.
#[must_use]
pub fn split(request: &Request) -> Option<Vec<Part>> {
    let spec = request.spec();
    let KeySpec::Range { first, step, .. } = spec.keys else { return None };
    if !is_split(spec) {
        return None;
    }
    let (first, step) = (usize::from(first), usize::from(step.max(1)));
    let args: Vec<&[u8]> = request.args().collect();
    let key_count = request.keys_iter().count();
    let end = (first + key_count * step).min(args.len());
    // Never more parts than slots, and a key is hashed once.
    let mut places: HashMap<u16, usize> = HashMap::new();
    let mut parts: Vec<Part> = Vec::new();
    for (key, group) in args.get(first..end)?.chunks(step).enumerate() {
        let slot = slot_of(group.first()?);
        let place = *places.entry(slot).or_insert_with(|| {
            let mut request = Request::new(spec);
            for arg in args.iter().take(first).skip(usize::from(spec.words)) {
                request.push(*arg);
            }
            parts.push(Part { slot, request, keys: Vec::new() });
            parts.len() - 1
        });
        let part = parts.get_mut(place)?;
        part.keys.push(key);
        for arg in group {
            part.request.push(*arg);
        }
    }
    for part in &mut parts {
        for arg in args.get(end..)? {
            part.request.push(*arg);
        }
    }
    if parts.is_empty() { None } else { Some(parts) }
}
