//! All that was seen of one client under test, and what it amounts to.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::moment::Moment;
use super::producer::Produced;
use super::protocol::{Calls, Link, Load, Observation, Seen};

/// How exact the ends of an announced gap are: a message is noted before it is sent, the gap when it was received.
const GAP_SLACK: Duration = Duration::from_millis(250);

/// A growing list of observations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Seen>>>);

impl Record {
    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, seen: Seen) {
        self.lock().push(seen);
    }

    /// Looks at all observations, in the order in which they came.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&self.lock())
    }

    pub(crate) fn has(&self, is_it: impl Fn(&Observation) -> bool) -> bool {
        self.read(|all| all.iter().any(|seen| is_it(&seen.what)))
    }

    /// The totals told last.
    pub(crate) fn calls(&self) -> Calls {
        self.read(|all| {
            let last = all.iter().rev().find_map(|seen| match seen.what {
                Observation::Calls(calls) => Some(calls),
                _ => None,
            });
            last.unwrap_or_default()
        })
    }

    /// When each of `loads` first did something, after `healed`, that began after it.
    pub(crate) fn working(&self, produced: &Produced, loads: &[Load], healed: Moment) -> BTreeMap<Load, Moment> {
        let began = |items: &[super::producer::Item], number| {
            Produced::item(items, number).is_some_and(|item| item.at >= healed)
        };
        self.read(|all| {
            let mut working = BTreeMap::new();
            for seen in all.iter().filter(|seen| seen.at >= healed) {
                let link = match &seen.what {
                    Observation::Worked { since } if *since >= healed => Link::Commands,
                    // An element that has waited shows it as well: whoever drains a backlog first works already.
                    Observation::Element(_) => Link::Blocking,
                    Observation::Message(number) if began(&produced.messages, *number) => Link::Subscriptions,
                    _ => continue,
                };
                for load in loads.iter().filter(|load| load.link() == link) {
                    working.entry(*load).or_insert(seen.at);
                }
            }
            working
        })
    }

    /// When each of `loads` lost its connection, or declared it dead, between two moments. Of a client that does not tell,
    /// the first call that failed is what its user sees.
    pub(crate) fn noticed(&self, loads: &[Load], from: Moment, until: Moment) -> BTreeMap<Load, Moment> {
        self.read(|all| {
            let mut noticed = BTreeMap::new();
            let failed = |seen: &Seen| match seen.what {
                Observation::Calls(calls) => Some(calls.refused + calls.unknown),
                _ => None,
            };
            let before = all.iter().take_while(|seen| seen.at < from).filter_map(failed).last().unwrap_or(0);
            for seen in all.iter().filter(|seen| seen.at >= from && seen.at < until) {
                if let Observation::Disconnected { link, .. } | Observation::Broken { link, .. } = &seen.what {
                    for load in loads.iter().filter(|load| load.link() == *link) {
                        noticed.entry(*load).or_insert(seen.at);
                    }
                }
                if failed(seen).is_some_and(|failed| failed > before) {
                    for load in loads.iter().filter(|load| load.counts()) {
                        noticed.entry(*load).or_insert(seen.at);
                    }
                }
            }
            noticed
        })
    }

    /// When the last element or message before `until` was delivered.
    pub(crate) fn last_delivery(&self, until: Moment) -> Option<Moment> {
        let is_it =
            |seen: &&Seen| seen.at < until && matches!(seen.what, Observation::Element(_) | Observation::Message(_));
        self.read(|all| all.iter().rev().find(is_it).map(|seen| seen.at))
    }

    /// The longest delay that was being waited at `healed` or later.
    pub(crate) fn backoff(&self, healed: Moment, until: Moment) -> Duration {
        self.read(|all| {
            let delays = all.iter().filter(|seen| seen.at < until).filter_map(|seen| match seen.what {
                Observation::ReconnectFailed { next_in, .. } if seen.at.plus(next_in) >= healed => Some(next_in),
                Observation::Attempt { after, .. } if seen.at >= healed => Some(after),
                _ => None,
            });
            delays.max().unwrap_or_default()
        })
    }

    /// How long the client's own process was late between two moments, by its own word: that is not the peer's silence.
    pub(crate) fn stalled(&self, from: Moment, until: Moment) -> Duration {
        self.read(|all| {
            let mut late = BTreeMap::<Link, Duration>::new();
            for seen in all.iter().filter(|seen| seen.at >= from && seen.at < until) {
                if let Observation::Stalled { link, late_by } = seen.what {
                    *late.entry(link).or_default() += late_by;
                }
            }
            // Every connection notices the same stall.
            late.into_values().max().unwrap_or_default()
        })
    }

    /// What was said of the connections since `from`, with the time of it: the course of a fault, for people.
    pub(crate) fn course(&self, from: Moment) -> Vec<String> {
        const LINES_MAX: usize = 200;
        self.read(|all| {
            let lines = all.iter().filter(|seen| seen.at >= from).filter_map(|seen| {
                let text = match &seen.what {
                    Observation::ReconnectFailed { link, cause, next_in } => {
                        format!("{link:<13} attempt failed: {cause}; next in {:.2} s", next_in.as_secs_f64())
                    }
                    what => super::demo::describe(what)?,
                };
                Some(format!("+{:7.3} s  {text}", seen.at.since(from).as_secs_f64()))
            });
            lines.take(LINES_MAX).collect()
        })
    }

    /// How many observations of a kind were made between two moments.
    pub(crate) fn count(&self, from: Moment, until: Moment, is_it: impl Fn(&Observation) -> bool) -> usize {
        self.read(|all| all.iter().filter(|seen| seen.at >= from && seen.at < until && is_it(&seen.what)).count())
    }

    /// The words of trouble between two moments.
    pub(crate) fn troubles(&self, from: Moment, until: Moment) -> Vec<String> {
        self.read(|all| {
            let between = all.iter().filter(|seen| seen.at >= from && seen.at < until);
            let words = between.filter_map(|seen| match &seen.what {
                Observation::Trouble(text) => Some(text.clone()),
                _ => None,
            });
            words.collect()
        })
    }

    /// What became of the elements pushed between two moments.
    pub(crate) fn elements(&self, produced: &Produced, from: Moment, until: Moment) -> Flow {
        self.read(|all| {
            let mut delivered = HashSet::new();
            let mut flow = Flow::default();
            let mut outages = 0;
            for seen in all {
                let is_now = seen.at >= from && seen.at < until;
                match &seen.what {
                    Observation::Element(number) if !delivered.insert(*number) && is_now => flow.duplicates += 1,
                    Observation::ElementMayBeLost | Observation::Broken { .. } if is_now => flow.announced += 1,
                    Observation::Disconnected { link: Link::Blocking, .. } if is_now => outages += 1,
                    _ => {}
                }
            }
            for (number, item) in (1u64..).zip(&produced.elements) {
                if item.at >= from && item.at < until && item.is_sure {
                    flow.produced += 1;
                    flow.lost += u64::from(!delivered.contains(&number));
                }
            }
            // Each announcement speaks of one element, and so does the loss of the connection on which one is waited for.
            flow.unannounced = flow.lost.saturating_sub(flow.announced);
            flow.outage = flow.unannounced.min(outages);
            flow.unannounced -= flow.outage;
            flow
        })
    }

    /// What became of the messages published between two moments.
    pub(crate) fn messages(&self, produced: &Produced, from: Moment, until: Moment) -> Flow {
        self.read(|all| {
            let mut received = HashSet::new();
            let mut gaps = Vec::new();
            let outages = outages(all);
            let mut flow = Flow::default();
            let mut dropped = 0;
            for seen in all {
                let is_now = seen.at >= from && seen.at < until;
                match &seen.what {
                    Observation::Message(number) if !received.insert(*number) && is_now => flow.duplicates += 1,
                    Observation::Gap { since, until } => {
                        gaps.push((since.minus(GAP_SLACK), until.plus(GAP_SLACK)));
                        flow.announced += u64::from(is_now);
                    }
                    Observation::Dropped(count) if is_now => {
                        dropped += count;
                        flow.announced += 1;
                    }
                    _ => {}
                }
            }
            for (number, item) in (1u64..).zip(&produced.messages) {
                if item.at < from || item.at >= until || !item.is_sure {
                    continue;
                }
                flow.produced += 1;
                if received.contains(&number) {
                    continue;
                }
                flow.lost += 1;
                let is_in = |spans: &[(Moment, Moment)]| {
                    spans.iter().any(|(since, until)| item.at >= *since && item.at <= *until)
                };
                match (is_in(&gaps), is_in(&outages)) {
                    (true, _) => {}
                    (false, true) => flow.outage += 1,
                    (false, false) => flow.unannounced += 1,
                }
            }
            flow.unannounced = flow.unannounced.saturating_sub(dropped);
            flow
        })
    }
}

/// From when to when the client said that the connection of its subscription was lost: whoever hears that knows that
/// messages may be missing since the last one that came, without being told from when on and how long.
fn outages(all: &[Seen]) -> Vec<(Moment, Moment)> {
    let mut outages: Vec<(Moment, Moment)> = Vec::new();
    let (mut last, mut open) = (Moment::default(), false);
    for seen in all {
        match &seen.what {
            Observation::Message(_) => last = seen.at,
            Observation::Disconnected { link: Link::Subscriptions, .. } if !open => {
                outages.push((last.minus(GAP_SLACK), Moment::MAX));
                open = true;
            }
            Observation::Activated { link: Link::Subscriptions } if open => {
                if let Some((_, until)) = outages.last_mut() {
                    *until = seen.at.plus(GAP_SLACK);
                }
                open = false;
            }
            _ => {}
        }
    }
    outages
}

/// What became of numbered things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Flow {
    /// Acknowledged by the server.
    pub produced: u64,
    /// Of those: never delivered.
    pub lost: u64,
    /// How often the client said that something may be missing.
    pub announced: u64,
    /// Lost in an outage that the client told of, without saying what may be missing.
    #[serde(default)]
    pub outage: u64,
    /// Lost without any word.
    pub unannounced: u64,
    /// Delivered more than once.
    pub duplicates: u64,
}

impl Flow {
    /// As it counts for romaine, which promises to say what may be missing: that a connection was lost is not enough.
    #[must_use]
    pub(crate) const fn to_the_word(mut self) -> Self {
        self.unannounced += self.outage;
        self.outage = 0;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::producer::Item;
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::default().plus(Duration::from_secs(second))
    }

    fn record(seen: &[(u64, Observation)]) -> Record {
        let record = Record::default();
        for (second, what) in seen {
            record.add(Seen { at: at(*second), what: what.clone() });
        }
        record
    }

    fn produced(count: u64) -> Produced {
        let items: Vec<_> = (1..=count).map(|second| Item { at: at(second), is_sure: true }).collect();
        Produced { elements: items.clone(), messages: items }
    }

    #[test]
    fn an_element_that_never_came_is_lost_and_an_announcement_covers_one() {
        let record = record(&[
            (1, Observation::Element(1)),
            (2, Observation::ElementMayBeLost),
            (4, Observation::Element(4)),
            (4, Observation::Element(4)),
        ]);
        let flow = record.elements(&produced(4), at(0), Moment::MAX);
        let expected = Flow { produced: 4, lost: 2, announced: 1, outage: 0, unannounced: 1, duplicates: 1 };
        assert_eq!(flow, expected);
        // That the connection was lost is a word, too, and so is an error of the call.
        let lost = Observation::Disconnected { link: Link::Blocking, cause: String::new() };
        record.add(Seen { at: at(5), what: lost });
        assert_eq!(record.elements(&produced(4), at(0), Moment::MAX), Flow { outage: 1, unannounced: 0, ..expected });
        record.add(Seen { at: at(5), what: Observation::Broken { link: Link::Blocking, cause: String::new() } });
        assert_eq!(
            record.elements(&produced(4), at(0), Moment::MAX),
            Flow { announced: 2, unannounced: 0, ..expected }
        );
    }

    #[test]
    fn a_hole_is_announced_by_a_gap_that_spans_it() {
        let gap = |since, until| Observation::Gap { since: at(since), until: at(until) };
        let seen = [(1, Observation::Message(1)), (4, gap(1, 4)), (5, Observation::Message(5))];
        let whole = record(&seen).messages(&produced(5), at(0), Moment::MAX);
        assert_eq!((whole.lost, whole.announced, whole.unannounced), (3, 1, 0));
        let seen = [(1, Observation::Message(1)), (4, gap(1, 2)), (5, Observation::Message(5))];
        let half = record(&seen).messages(&produced(5), at(0), Moment::MAX);
        assert_eq!((half.lost, half.unannounced), (3, 2));
    }

    #[test]
    fn an_outage_that_was_told_covers_what_was_lost_from_the_last_message_to_its_end() {
        let lost = Observation::Disconnected { link: Link::Subscriptions, cause: String::new() };
        let back = Observation::Activated { link: Link::Subscriptions };
        let seen = [(2, Observation::Message(2)), (6, lost), (8, back), (9, Observation::Message(9))];
        let flow = record(&seen).messages(&produced(12), at(1), Moment::MAX);
        assert_eq!((flow.lost, flow.outage, flow.unannounced), (10, 6, 4), "before it, and after it, nobody was told");
    }

    #[test]
    fn only_work_that_began_after_the_fault_shows_that_things_work() {
        let record = record(&[
            (10, Observation::Worked { since: at(9) }),
            (10, Observation::Message(9)),
            (11, Observation::Element(3)),
            (12, Observation::Worked { since: at(11) }),
            (13, Observation::Message(11)),
        ]);
        let working = record.working(&produced(20), &[Load::Callers, Load::Blocked, Load::Subscribed], at(10));
        let expected = [(Load::Callers, at(12)), (Load::Blocked, at(11)), (Load::Subscribed, at(13))];
        assert_eq!(working, BTreeMap::from(expected), "an element that waited was fetched after the fault");
    }

    #[test]
    fn the_back_off_in_force_is_the_one_that_reaches_past_the_healing() {
        let failed = |next_in| Observation::ReconnectFailed {
            link: Link::Commands,
            cause: String::new(),
            next_in: Duration::from_secs(next_in),
        };
        let attempt = |after| Observation::Attempt { link: Link::Commands, after: Duration::from_secs(after) };
        let record = record(&[(1, failed(5)), (8, failed(1)), (9, attempt(7)), (9, failed(2)), (20, attempt(9))]);
        assert_eq!(record.backoff(at(10), at(15)), Duration::from_secs(2));
    }
}
