//! Where observations go, and what is known of the connections by what fails and works on them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::protocol::{Link, Moment, Observation, Seen};

/// Where observations go.
#[derive(Debug, Clone)]
pub struct Witness {
    out: mpsc::Sender<Seen>,
    down: Arc<Mutex<BTreeSet<Link>>>,
}

impl Witness {
    pub(crate) fn new(out: mpsc::Sender<Seen>) -> Self {
        Self { out, down: Arc::default() }
    }

    /// The same way out, for another client: its outages are its own.
    #[must_use]
    pub fn for_another(&self) -> Self {
        Self::new(self.out.clone())
    }

    /// Tells what was seen at this moment.
    pub async fn tell(&self, what: Observation) {
        // Nobody listens any more: the scenario is over, and so will this driver be.
        let _ = self.out.send(Seen { at: Moment::now(), what }).await;
    }

    /// A connection was lost, or something failed on it in a way that the user sees. Said once for each outage.
    pub async fn lost(&self, link: Link, cause: impl std::fmt::Display) {
        let is_news = self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(link);
        if is_news {
            self.tell(Observation::Disconnected { link, cause: cause.to_string() }).await;
        }
    }

    /// A connection is there again, or something worked on it. Said once for each outage.
    pub async fn back(&self, link: Link) {
        let is_news = self.down.lock().unwrap_or_else(PoisonError::into_inner).remove(&link);
        if is_news {
            self.tell(Observation::Activated { link }).await;
        }
    }
}
