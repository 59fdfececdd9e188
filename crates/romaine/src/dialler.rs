//! How one server is dialled, and what its connections tell each other of that: where its name led, how long connections
//! to it take to come about, that it is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use romaine_proto::{Openings, STAGGER};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::clock;
use crate::config::Config;
use crate::error::Result;
use crate::socket::{Dialled, dial};

/// Dedicated connections that are dialled at the same time: half of the accept queue that servers are set to (511).
pub(crate) const DIALS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Dialler {
    config: Arc<Config>,
    openings: Mutex<Openings>,
    /// Told when a connection has become usable.
    usable: Notify,
    /// Held while a dedicated connection is dialled: thousands of blocked ones that lose their server together must not
    /// fill its accept queue together. The shared connections do not wait behind them, nor does anybody at another server.
    places: Semaphore,
    /// Where its name led last.
    reached: Mutex<Option<Arc<str>>>,
}

impl Dialler {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            openings: Mutex::default(),
            usable: Notify::new(),
            places: Semaphore::new(DIALS),
            reached: Mutex::default(),
        }
    }

    fn openings(&self) -> MutexGuard<'_, Openings> {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a greeting may take.
    pub(crate) fn handshake_limit(&self) -> Duration {
        self.openings().limit(self.config.handshake_timeout)
    }

    /// A connection became usable whose dial had begun then: whoever waits to dial again need not wait any longer.
    pub(crate) fn opened(&self, began: Instant) {
        self.openings().opened(clock::now().saturating_duration_since(began));
        self.usable.notify_waiters();
    }

    /// An attempt to connect came to nothing.
    pub(crate) fn not_opened(&self) {
        self.openings().failed();
    }

    /// Waits until `until`, or until another connection shows that the server is back.
    pub(crate) async fn back(&self, until: Instant) {
        let _back_or_not = tokio::time::timeout_at(until.into(), self.usable.notified()).await;
    }

    /// Waits until another connection has become usable while one is dialled that began `began` and should have been
    /// answered long since: the server is back, and what was sent to it before is lost.
    async fn back_without_us(&self, began: Instant) {
        loop {
            self.usable.notified().await;
            if began + STAGGER <= clock::now() {
                return;
            }
        }
    }

    /// The right to dial beside hundreds of others.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.places.acquire().await.ok()
    }

    /// Opens a socket. Begins anew when another connection shows that the server is back.
    pub(crate) async fn dial(&self) -> Result<Dialled> {
        loop {
            let (limit, again_after) = {
                let openings = self.openings();
                (openings.limit(self.config.connect_timeout), openings.again_after())
            };
            let dialled = tokio::select! {
                dialled = dial(&self.config, limit, again_after) => dialled?,
                () = self.back_without_us(clock::now()) => continue,
            };
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(dialled.reached.clone());
            return Ok(dialled);
        }
    }

    /// Where its name led last.
    pub(crate) fn reached(&self) -> Option<Arc<str>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
