//! Jobs that many tasks enqueue at the same time travel in one call.
//!
//! The first few callers send for themselves: alone, a job takes one round trip and no hop between tasks. Whoever comes
//! while those are under way waits in line, and a task of the producer's takes all who stand there along at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::durability::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Encoded;
use crate::send::{Answer, BYTES_PER_CALL, JOBS_PER_CALL, Own, Sender};

/// Callers that may stand in line; further ones wait before it.
const LINE: usize = 4_096;

/// Callers that send for themselves at the same time.
const DIRECT: usize = 2;

type Place = (Encoded, oneshot::Sender<Result<Answer>>);

/// The line before the server.
#[derive(Debug)]
pub(crate) struct Gather {
    sender: Sender,
    under_way: AtomicUsize,
    line: Mutex<Option<Line>>,
}

/// What carries those who stand in line; ended with the producer.
#[derive(Debug)]
struct Line {
    places: mpsc::Sender<Place>,
    _carrier: JoinSet<()>,
}

impl Gather {
    pub(crate) const fn new(sender: Sender) -> Self {
        Self { sender, under_way: AtomicUsize::new(0), line: Mutex::new(None) }
    }

    pub(crate) async fn send(&self, job: Encoded) -> Result<Answer> {
        // What WAIT counts is written by one connection: those all stand in line for it.
        if self.sender.settings.durability == Durability::Fast {
            let _under_way = UnderWay::enter(&self.under_way);
            if self.under_way.load(Ordering::Acquire) <= DIRECT {
                let mut answers = self.sender.send(&mut None, std::slice::from_ref(&job)).await?;
                return answers.pop().ok_or_else(|| Error::answer("enqueue"));
            }
        }
        let closed = || Error::new(ErrorKind::Closed, "the producer's runtime has ended");
        let (tell, told) = oneshot::channel();
        let places = self.places();
        places.send((job, tell)).await.map_err(|_gone| closed())?;
        told.await.map_err(|_gone| closed())?
    }

    /// Many at once: a batch of their own.
    pub(crate) async fn send_all(&self, jobs: &[Encoded]) -> Result<Vec<Answer>> {
        self.sender.send(&mut None, jobs).await
    }

    fn places(&self) -> mpsc::Sender<Place> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = &*line
            && !line.places.is_closed()
        {
            return line.places.clone();
        }
        let (places, taken) = mpsc::channel(LINE);
        let mut carrier = JoinSet::new();
        carrier.spawn(carry(self.sender.clone(), taken));
        *line = Some(Line { places: places.clone(), _carrier: carrier });
        places
    }
}

/// Counts those under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn carry(sender: Sender, mut line: mpsc::Receiver<Place>) {
    let mut own: Own = None;
    let mut next: Option<Place> = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match line.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let (mut jobs, mut callers) = (Vec::new(), Vec::new());
        let mut bytes = first.0.size();
        jobs.push(first.0);
        callers.push(first.1);
        while jobs.len() < JOBS_PER_CALL {
            let Ok((job, caller)) = line.try_recv() else { break };
            if caller.is_closed() {
                continue;
            }
            bytes += job.size();
            if bytes > BYTES_PER_CALL {
                next = Some((job, caller));
                break;
            }
            jobs.push(job);
            callers.push(caller);
        }
        tell(callers, sender.send(&mut own, &jobs).await);
    }
}

fn tell(callers: Vec<oneshot::Sender<Result<Answer>>>, answers: Result<Vec<Answer>>) {
    match answers {
        Ok(answers) => {
            for (caller, answer) in callers.into_iter().zip(answers) {
                // Who dropped its call does not want to know.
                let _unheard = caller.send(Ok(answer));
            }
        }
        Err(error) => {
            for caller in callers {
                let _unheard = caller.send(Err(error.clone()));
            }
        }
    }
}
