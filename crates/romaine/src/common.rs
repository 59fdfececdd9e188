//! What all servers of one client have in common: its settings, events, health, and the tasks it owns.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::config::Config;
use crate::events::{Event, EventBus};
use crate::health::{Health, Status};

#[derive(Debug)]
pub(crate) struct Common {
    /// As the user gave them. A server has settings of its own, with its own address.
    pub(crate) config: Arc<Config>,
    pub(crate) events: EventBus,
    pub(crate) health: watch::Sender<Health>,
    /// Blocking commands under way.
    pub(crate) blocking: AtomicUsize,
    closed: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
}

impl Common {
    pub(crate) fn new(config: Config, runtime: tokio::runtime::Handle) -> Self {
        Self {
            events: EventBus::new(config.events_backlog),
            health: watch::Sender::new(Health::new(clock::now())),
            blocking: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            tasks: Mutex::default(),
            runtime,
            config: Arc::new(config),
        }
    }

    /// Spawns a task that [`join`](Self::join) awaits.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// From here on the client is closed: whoever looks stops.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Changes the health snapshot.
    pub(crate) fn update_health(&self, change: impl FnOnce(&mut Health)) {
        let now = clock::now();
        self.health.send_modify(|health| {
            let before = health.status;
            change(health);
            if health.status != before {
                health.since = now;
            }
        });
    }

    /// Says that the client is closed, to whoever listens.
    pub(crate) fn tell_closed(&self) {
        self.update_health(|health| health.status = Status::Closed);
        self.events.tell(Event::Closed);
    }

    /// Awaits the client's tasks, for at most `limit`; those that have not ended then are aborted.
    pub(crate) async fn join(&self, limit: Duration) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tasks.shutdown().await;
        }
    }
}
