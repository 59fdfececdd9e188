//! How one server is dialled, and what its connections tell each other of that: where its name led, how long connections
//! to it take to come about, that it is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use romaine_proto::{Attempt, Openings};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::circuit::{Circuit, GreetingLimits};
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
    pub(crate) fn greeting_limits(&self, attempt: Attempt) -> GreetingLimits {
        let openings = self.openings();
        GreetingLimits {
            most: openings.limit(attempt, self.config.handshake_timeout),
            lost: openings.again_after(),
            hurried: openings.hurried_limit(attempt, clock::now()),
        }
    }

    /// A connection became usable whose dial had begun then: whoever waits to dial again need not wait any longer.
    pub(crate) fn opened(&self, began: Instant) {
        self.openings().opened(clock::now().saturating_duration_since(began));
        self.usable.notify_waiters();
    }

    /// An attempt was cut off for a call.
    pub(crate) fn hurried(&self) {
        self.openings().hurried(clock::now());
    }

    /// An attempt to connect came to nothing.
    pub(crate) fn not_opened(&self) {
        self.openings().failed();
    }

    /// Waits until `until`, or until another connection shows that the server is back.
    pub(crate) async fn back(&self, until: Instant) {
        let _back_or_not = tokio::time::timeout_at(until.into(), self.usable.notified()).await;
    }

    /// Ends when a dial that began `began` is to begin anew: it is lost, as far as [`Openings`] can tell, and another
    /// connection shows that the server is back, or a call of `circuit` waits that came after it.
    async fn overtaken(&self, began: Instant, attempt: Attempt, circuit: Option<&Circuit>) {
        let back = async {
            loop {
                self.usable.notified().await;
                if self.openings().is_lost(began, clock::now()) {
                    return;
                }
            }
        };
        let hurried = self.openings().hurried_limit(attempt, began);
        // Run again by whoever wakes the circuit's task.
        let wanted = std::future::poll_fn(|_cx| match (circuit, hurried) {
            (Some(circuit), Some(limit)) if circuit.is_wanted() && began + limit <= clock::now() => {
                self.hurried();
                Poll::Ready(())
            }
            _ => Poll::Pending,
        });
        tokio::select! {
            () = back => {}
            () = wanted => {}
        }
    }

    /// The right to dial beside hundreds of others.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.places.acquire().await.ok()
    }

    /// Opens a socket, for `circuit` if it is one that is tended meanwhile. Begins anew when that will be sooner.
    pub(crate) async fn dial(&self, circuit: Option<&Circuit>) -> Result<(Dialled, Attempt)> {
        loop {
            if let Some(circuit) = circuit {
                circuit.dialling();
            }
            let (attempt, limit, again_after) = {
                let mut openings = self.openings();
                let attempt = openings.begin();
                (attempt, openings.limit(attempt, self.config.connect_timeout), openings.again_after())
            };
            let dialled = tokio::select! {
                biased;
                dialled = dial(&self.config, limit, again_after) => dialled?,
                () = self.overtaken(clock::now(), attempt, circuit) => continue,
            };
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(dialled.reached.clone());
            return Ok((dialled, attempt));
        }
    }

    /// Where its name led last.
    pub(crate) fn reached(&self) -> Option<Arc<str>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
