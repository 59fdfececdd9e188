//! What the agent before this one did not tell of the jobs that are leased to it still.

use std::time::Duration;

use romaine_queue::{Done, Failure, JobInfo, Place, Queue};

use crate::agent::course::{self, Facts, Next, answer};
use crate::agent::ledger::{Entry, Past};
use crate::agent::runs::{key, told};
use crate::agent::shared::{Ended, Shared};
use crate::error::{Error, ErrorKind, Result};

/// A peek shows no more at a time.
const LEASED_MOST: usize = 100;

/// How long until the hub is asked again.
const HUB_AGAIN: Duration = Duration::from_secs(1);

/// A job, and what is to be told of it.
pub(crate) type Untold = (JobInfo, Result<Done, Failure>);

impl Shared {
    /// Jobs that are leased still to an agent that died, and what is to be told of them, as far as that is known. Said at
    /// once, with their tokens: when the lease has run out a job without an attempt left would not come back to be told of.
    /// A hub that cannot be reached is waited for; what cannot be learnt for another reason is told when its lease ends.
    pub(crate) async fn untold(&self, queue: &Queue) -> Vec<Untold> {
        let mut untold = Vec::new();
        let leased = patiently(|| queue.status()).await.map_or(0, |status| status.leased);
        let leased = usize::try_from(leased).unwrap_or(usize::MAX);
        for from in (0..leased).step_by(LEASED_MOST) {
            let Some(page) = patiently(|| queue.peek(Place::Leased, from, LEASED_MOST)).await else {
                break;
            };
            for job in page {
                match self.untold_of(&job).await {
                    Ok(Some(outcome)) => untold.push((job, outcome)),
                    Ok(None) => {}
                    Err(error) => tracing::error!(job = job.id, error = error.full(), "it is told when its lease ends"),
                }
            }
        }
        untold
    }

    /// What is to be told of a job that is leased to us or to the agent before us.
    async fn untold_of(&self, job: &JobInfo) -> Result<Option<Result<Done, Failure>>> {
        let facts = Facts::new(&job.id, &job.kind, &job.payload, self.settings.repeat);
        let key = key(&job.id, job.enqueued_ms, &facts);
        let (Ok(mut facts), Some(token)) = (facts, job.token.and_then(|token| i64::try_from(token).ok())) else {
            return Ok(None);
        };
        (facts.attempt, facts.token) = (job.attempts, token);
        facts.last_error.clone_from(&job.error);
        let outcome = match self.ledger.past(&key).await? {
            // Whatever it came to: it is this claim's.
            Past::Ended { outcome, token: of, .. } if of == token => outcome,
            Past::Received { token: of, .. } if of == token => {
                tracing::info!(job = job.id, "it was not begun: given back");
                return Ok(Some(told(Some(&Ended::Unbegun))));
            }
            past @ (Past::Begun { .. } | Past::Ended { .. }) => match course::next(past, &facts) {
                Next::Tell(outcome) => outcome,
                Next::GiveUp { begun_ms, attempt } => {
                    let entry = Entry { job: key, kind: job.kind.clone(), token, attempt: job.attempts };
                    return self
                        .interrupted(&entry, &facts, attempt, begun_ms)
                        .await
                        .map(|outcome| Some(answer(&outcome)));
                }
                Next::Run => return Ok(None),
            },
            Past::Unknown | Past::Received { .. } => return Ok(None),
        };
        tracing::info!(job = job.id, verdict = ?outcome.verdict, "it ended before: told again, not run again");
        Ok(Some(answer(&outcome)))
    }
}

/// Asks the hub until it answers, or refuses.
async fn patiently<T, F: Future<Output = romaine_queue::Result<T>>>(ask: impl Fn() -> F) -> Option<T> {
    loop {
        match ask().await.map_err(Error::from) {
            Ok(answer) => return Some(answer),
            Err(error) if error.kind() == ErrorKind::Unreachable => {
                tracing::debug!(error = error.full(), "the hub is asked again what it was not told");
                tokio::time::sleep(HUB_AGAIN).await;
            }
            Err(error) => {
                let error = error.full();
                tracing::error!(error, "what the agent before this one did not tell is told when its leases end");
                return None;
            }
        }
    }
}
