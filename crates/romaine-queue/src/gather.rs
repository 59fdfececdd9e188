//! Jobs that many tasks enqueue at the same time travel in one call.
//!
//! The first few callers send for themselves: alone, a job takes one round trip and no hop between tasks. Whoever comes
//! while those are under way waits in line, and a task of the producer's takes all who stand there along at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use romaine::Delivery;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::clock;
use crate::durability::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Encoded;
use crate::retry::Pauses;
use crate::send::{Answer, BYTES_PER_CALL, JOBS_PER_CALL, Own, Sender, doubted};

/// Callers that may stand in line; further ones wait before it.
const LINE: usize = 4_096;

/// Callers that send for themselves at the same time.
const DIRECT: usize = 2;

/// A job that stands in line, and who waits for it.
#[derive(Debug)]
struct Place {
    job: Encoded,
    deadline: Instant,
    /// Taken once: by the carrier, which then answers, or by the caller, whose time was up before.
    is_taken: Arc<AtomicBool>,
    /// An attempt that did not succeed may have brought it in.
    may_be_in: bool,
    tell: oneshot::Sender<Result<Answer>>,
}

impl Place {
    fn answer(self, answer: Result<Answer>) {
        let answer = if self.may_be_in { answer.map_err(doubted) } else { answer };
        // Who dropped its call does not want to know.
        let _unheard = self.tell.send(answer);
    }
}

/// Whose turn did not come in time.
fn late() -> Error {
    Error::new(ErrorKind::Unavailable, "the jobs before it in line took all of its time")
}

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
        let deadline = self.deadline();
        // What WAIT counts is written by one connection: those all stand in line for it.
        if self.sender.settings.durability == Durability::Fast {
            let _under_way = UnderWay::enter(&self.under_way);
            if self.under_way.load(Ordering::Acquire) <= DIRECT {
                let sent = self.sender.send(&mut None, std::slice::from_ref(&job), deadline).await;
                let mut answers = sent.map_err(|unsent| unsent.error)?;
                return answers.pop().ok_or_else(|| Error::answer("enqueue"));
            }
        }
        let closed = || Error::new(ErrorKind::Closed, "the producer's runtime has ended");
        let (tell, mut told) = oneshot::channel();
        let is_taken = Arc::new(AtomicBool::new(false));
        let place = Place { job, deadline, is_taken: is_taken.clone(), may_be_in: false, tell };
        let places = self.places();
        let at = tokio::time::Instant::from_std(deadline);
        let room = tokio::time::timeout_at(at, places.reserve()).await.map_err(|_elapsed| late())?;
        room.map_err(|_gone| closed())?.send(place);
        let answer = match tokio::time::timeout_at(at, &mut told).await {
            Ok(answer) => answer,
            Err(_elapsed) if !is_taken.swap(true, Ordering::AcqRel) => return Err(late()),
            // It is under way, and its attempt knows the deadline.
            Err(_elapsed) => told.await,
        };
        answer.map_err(|_gone| closed())?
    }

    /// Many at once: a batch of their own.
    pub(crate) async fn send_all(&self, jobs: &[Encoded]) -> Result<Vec<Answer>> {
        self.sender.send(&mut None, jobs, self.deadline()).await.map_err(|unsent| unsent.error)
    }

    fn deadline(&self) -> Instant {
        clock::now() + self.sender.settings.timeout
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
    let mut again: VecDeque<Place> = VecDeque::new();
    let mut pauses = Pauses::new();
    loop {
        let first = match again.pop_front() {
            Some(first) => first,
            None => match line.recv().await {
                Some(first) if is_for_us(&first) => first,
                Some(_gone) => continue,
                None => return,
            },
        };
        let Some(first) = in_time(first) else { continue };
        let (jobs, callers) = gather(first, &mut again, &mut line);
        let deadline = callers.iter().map(|caller| caller.deadline).min().unwrap_or_else(clock::now);
        let unsent = match sender.send(&mut own, &jobs, deadline).await {
            Ok(answers) => {
                pauses.reset();
                callers.into_iter().zip(answers).for_each(|(caller, answer)| caller.answer(Ok(answer)));
                continue;
            }
            Err(unsent) => unsent,
        };
        // The one whose time is up is told; the others have some left.
        let pause = pauses.next();
        let may_be_in = matches!(unsent.error.delivery(), Delivery::Unknown | Delivery::Executed);
        let mut rest = VecDeque::new();
        for mut caller in callers {
            if unsent.is_late && caller.deadline > clock::now() + pause {
                caller.may_be_in |= may_be_in;
                rest.push_back(caller);
            } else {
                caller.answer(Err(unsent.error.clone()));
            }
        }
        if !rest.is_empty() {
            tokio::time::sleep(pause).await;
        }
        rest.append(&mut again);
        again = rest;
    }
}

/// What goes in one call: the first, and those behind it that fit.
fn gather(first: Place, again: &mut VecDeque<Place>, line: &mut mpsc::Receiver<Place>) -> (Vec<Encoded>, Vec<Place>) {
    let mut bytes = first.job.size();
    let (mut jobs, mut callers) = (vec![first.job.clone()], vec![first]);
    while jobs.len() < JOBS_PER_CALL {
        let next = match again.pop_front() {
            Some(next) => next,
            None => match line.try_recv() {
                Ok(next) if is_for_us(&next) => next,
                Ok(_gone) => continue,
                Err(_empty) => break,
            },
        };
        let Some(next) = in_time(next) else { continue };
        bytes += next.job.size();
        if bytes > BYTES_PER_CALL {
            again.push_front(next);
            break;
        }
        jobs.push(next.job.clone());
        callers.push(next);
    }
    (jobs, callers)
}

/// Takes it out of the line, unless its caller has gone or has been told that its time is up.
fn is_for_us(place: &Place) -> bool {
    !place.tell.is_closed() && !place.is_taken.swap(true, Ordering::AcqRel)
}

/// Tells the caller if its time is up.
fn in_time(place: Place) -> Option<Place> {
    if place.deadline > clock::now() {
        return Some(place);
    }
    place.answer(Err(late()));
    None
}
