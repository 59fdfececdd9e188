//! What is believed of a primary, from round to round and between them.

use std::time::{Duration, Instant};

use super::super::sentinel_hello::SentinelHello;
use super::SentinelView;

/// For how long a configuration epoch stands that nobody repeats: a failover's leader tells the other Sentinels within two
/// seconds. Those that do not know yet are the majority meanwhile, and Sentinels that were set up anew, whose epochs begin
/// with 0, stay it.
const EPOCH_STANDS_FOR: Duration = Duration::from_secs(10);

/// What is believed, by rounds of answers and by what Sentinels tell each other in our hearing.
#[derive(Debug, Clone, Default)]
pub struct Belief {
    view: Option<SentinelView>,
    /// When a Sentinel last spoke of the view's epoch, or of a newer one.
    heard: Option<Instant>,
    /// News that no look has taken up yet.
    told: Option<SentinelHello>,
}

impl Belief {
    /// What is believed.
    #[must_use]
    pub const fn view(&self) -> Option<&SentinelView> {
        self.view.as_ref()
    }

    /// A Sentinel spoke of this epoch.
    pub fn hear(&mut self, now: Instant, epoch: u64) {
        if self.view.as_ref().is_some_and(|view| epoch >= view.epoch) {
            self.heard = Some(now);
        }
    }

    /// A Sentinel told the others. `true`: of another primary and a newer epoch, and for the first time; that is
    /// [`news`](Self::news). Only the elected leader of a failover makes a new epoch, so one voice is enough.
    pub fn overhear(&mut self, now: Instant, hello: SentinelHello) -> bool {
        self.hear(now, hello.epoch);
        let newest = self.told.as_ref().map(|told| told.epoch).max(self.view.as_ref().map(|view| view.epoch));
        let is_other = self.view.as_ref().is_some_and(|view| view.primary != hello.primary);
        let is_news = is_other && newest.is_some_and(|newest| hello.epoch > newest);
        if is_news {
            self.told = Some(hello);
        }
        is_news
    }

    /// What is to be believed from now on without asking anybody. The nodes are the same, in other roles, until the
    /// Sentinels say more.
    pub fn news(&mut self, now: Instant) -> Option<SentinelView> {
        let told = self.told.take()?;
        let before = self.view.as_ref().filter(|view| told.epoch > view.epoch)?;
        let replicas = before.replicas.iter().filter(|replica| **replica != told.primary).cloned().collect();
        let view = SentinelView { primary: told.primary, epoch: told.epoch, replicas };
        self.adopt(now, &view).then_some(view)
    }

    /// A round ended with this view. `false`: it is not believed, being older than what was heard a moment ago.
    pub fn adopt(&mut self, now: Instant, view: &SentinelView) -> bool {
        let stands = self.heard.is_some_and(|heard| now < heard + EPOCH_STANDS_FOR);
        if stands && self.view.as_ref().is_some_and(|before| view.epoch < before.epoch) {
            return false;
        }
        self.view = Some(view.clone());
        self.heard = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeAddress;

    fn at(port: u16) -> NodeAddress {
        NodeAddress::new("h", port)
    }

    fn view(port: u16, epoch: u64) -> SentinelView {
        SentinelView { primary: at(port), epoch, replicas: vec![at(2), at(3)] }
    }

    fn hello(port: u16, epoch: u64) -> SentinelHello {
        SentinelHello { primary: at(port), epoch }
    }

    fn believing(now: Instant, port: u16, epoch: u64) -> Belief {
        let mut belief = Belief::default();
        assert!(belief.adopt(now, &view(port, epoch)));
        belief
    }

    // The leader of a failover is alone with its epoch for up to two seconds, and the old primary may be back by then.
    #[test]
    fn a_majority_that_does_not_know_yet_takes_nothing_back() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut belief = believing(now, 1, 4);
        assert!(belief.adopt(now, &view(2, 5)));
        assert!(!belief.adopt(after(1), &view(1, 4)));
        belief.hear(after(8), 5);
        assert!(!belief.adopt(after(11), &view(1, 4)), "somebody said it again");
        belief.overhear(after(12), hello(1, 4));
        assert_eq!(belief.view().map(|view| view.epoch), Some(5));
        assert!(belief.adopt(after(18), &view(1, 1)), "nobody repeats it: the Sentinels were set up anew");
        assert!(belief.adopt(after(18), &view(3, 1)), "another of the same epoch is news");
    }

    #[test]
    fn what_is_overheard_again_stands() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut belief = believing(now, 2, 5);
        assert!(!belief.overhear(after(8), hello(2, 5)), "that is known");
        assert!(!belief.adopt(after(12), &view(1, 4)));
    }

    #[test]
    fn a_newer_epoch_with_another_primary_is_news_once() {
        let now = Instant::now();
        let mut belief = believing(now, 1, 4);
        assert!(!belief.overhear(now, hello(1, 4)));
        assert!(!belief.overhear(now, hello(2, 4)), "no newer epoch");
        assert!(!belief.overhear(now, hello(1, 5)), "the same primary");
        assert!(belief.overhear(now, hello(2, 5)));
        assert!(!belief.overhear(now, hello(2, 5)), "the look is under way");
        let believed = SentinelView { primary: at(2), epoch: 5, replicas: vec![at(3)] };
        assert_eq!(belief.news(now), Some(believed.clone()));
        assert_eq!(belief.view(), Some(&believed));
        assert_eq!(belief.news(now), None);
    }

    #[test]
    fn what_a_round_has_found_out_meanwhile_is_no_news() {
        let now = Instant::now();
        let mut belief = believing(now, 1, 4);
        assert!(belief.overhear(now, hello(2, 5)));
        assert!(belief.adopt(now, &view(3, 6)));
        assert_eq!(belief.news(now), None);
    }

    #[test]
    fn as_long_as_nothing_is_known_nothing_is_overheard() {
        let now = Instant::now();
        let mut belief = Belief::default();
        assert!(!belief.overhear(now, hello(2, 5)));
        assert_eq!(belief.news(now), None);
    }
}
