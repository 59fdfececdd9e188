//! A pop that loses nothing: elements are moved to a list of one's own, and removed from there when they are done.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use romaine_commands::{Command as _, Executor, FromValue, cmd};
use romaine_resp::Reader;

use crate::blocking::{self, EndOfStream};
use crate::call::decode;
use crate::circuit::Patience;
use crate::client::Client;
use crate::clock;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::router::Router;

/// An element that was handed out and waits to be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<V> {
    /// The element as the type asked for.
    pub value: V,
    raw: Bytes,
}

impl<V> Element<V> {
    /// The element's bytes.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }
}

/// The loss-free way to take elements from a list.
///
/// `BRPOP` has a gap that no client can close: an element that the server hands to a connection which died just before
/// is gone. romaine bounds that gap to one element and tells
/// ([`Error::may_have_lost_element`]); here it does not exist. Elements are moved by `BLMOVE`
/// from the source's tail to a *processing list* that belongs to one consumer, and stay there until they are
/// [acknowledged](Self::acknowledge). When a blocked connection dies, its ghost is fenced, and an element that it moved
/// is found in the processing list and handed out by [`next`](Self::next). Within one handle nothing is lost and nothing
/// comes twice.
///
/// What a consumer that died (or dropped the handle) had not acknowledged is in its processing list still:
/// [`recover`](Self::recover) hands it out, to the same consumer after its restart. Give each consumer a processing list
/// of its own, with a name that survives the restart (`jobs:processing:worker-7`), and no two handles the same at a time.
/// Equal elements are counted, not told apart: where they are possible, give each an id, and an acknowledgement whose
/// answer was lost can never be taken for its twin's.
/// In a cluster both keys must be in one slot (`{jobs}`, `{jobs}:processing:7`). The server's own durability settings
/// are the limit: what it forgets in a crash is not in any list.
///
/// ```no_run
/// # async fn example(client: &romaine::Client) -> romaine::Result<()> {
/// use std::time::Duration;
///
/// let mut jobs = client.reliable_pop::<String>("jobs", "jobs:processing:worker-7");
/// for job in jobs.recover().await? {
///     println!("again: {}", job.value);
///     jobs.acknowledge(&job).await?;
/// }
/// while let Some(job) = jobs.next(Duration::from_secs(30)).await? {
///     println!("{}", job.value);
///     jobs.acknowledge(&job).await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct ReliablePop<V> {
    client: Client,
    source: Bytes,
    processing: Bytes,
    /// What the processing list holds by our account: handed out or found from before, by content and number.
    known: HashMap<Bytes, usize>,
    /// Found from before, not yet handed out. `None`: not looked yet.
    before: Option<Vec<Bytes>>,
    /// Moved by a ghost and found, not yet handed out.
    found: VecDeque<Bytes>,
    /// The BLMOVE at the server. It outlives a `next` that was dropped.
    moving: Option<Moving>,
    /// Whether a ghost may still move something, so that the list is looked at before every wait.
    doubt: Doubt,
    /// Acknowledged with an unknown outcome.
    unsure: HashSet<Bytes>,
    value: PhantomData<fn() -> V>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// The server was not reached since.
    Unseen,
    /// The server was reached; what ends the ghost is under way.
    Until(Instant),
}

type Moving = Pin<Box<dyn Future<Output = Result<Option<Bytes>>> + Send>>;

/// How long after an unknown outcome, from the moment the server is reached again, the list is looked at before every
/// wait. Longer than a fence takes on a path that works, and than the slice of a ghost that must not be fenced.
const DOUBT: Duration = Duration::from_secs(60);

/// The longest wait while in doubt: what a ghost moves meanwhile is found this soon.
const WAIT_IN_DOUBT: Duration = Duration::from_secs(1);

/// What BLMOVE's own nil gets to arrive before the caller is told nil without it.
const NIL_GRACE: Duration = Duration::from_millis(250);

impl<V> fmt::Debug for ReliablePop<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReliablePop")
            .field("source", &self.source)
            .field("processing", &self.processing)
            .field("unacknowledged", &self.known.values().sum::<usize>())
            .finish_non_exhaustive()
    }
}

impl<V: FromValue> ReliablePop<V> {
    pub(crate) fn new(client: Client, source: Bytes, processing: Bytes) -> Self {
        Self {
            client,
            source,
            processing,
            known: HashMap::new(),
            before: None,
            found: VecDeque::new(),
            moving: None,
            doubt: Doubt::None,
            unsure: HashSet::new(),
            value: PhantomData,
        }
    }

    /// The next element; `None` when there was none until `timeout` ([`Duration::ZERO`] waits for ever).
    ///
    /// An outage is waited out, no longer than `timeout`.
    ///
    /// # Errors
    /// The server's refusals; [`ErrorKind::Conversion`](crate::ErrorKind::Conversion) for an element of another type
    /// than `V`, which then stays in the processing list; the client was closed. After an error the handle can be used
    /// on, and nothing is lost.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: an element that it had under way is handed out by the next call.
    pub async fn next(&mut self, timeout: Duration) -> Result<Option<Element<V>>> {
        let deadline = (!timeout.is_zero()).then(|| clock::after(timeout));
        loop {
            if let Some(raw) = self.found.pop_front() {
                return element(raw).map(Some);
            }
            if self.moving.is_none() {
                if self.before.is_none() || self.doubt != Doubt::None {
                    match self.look(deadline).await {
                        Ok(()) if self.found.is_empty() => {}
                        Ok(()) => continue,
                        Err(_) if deadline.is_some_and(|deadline| clock::now() >= deadline) => return Ok(None),
                        Err(error) if error.kind() == ErrorKind::Timeout => continue,
                        Err(error) => return Err(error),
                    }
                }
                if deadline.is_some_and(|deadline| clock::now() >= deadline) {
                    return Ok(None);
                }
                self.moving = Some(self.wait(deadline));
            }
            let Some(moving) = &mut self.moving else { continue };
            let moved = match deadline {
                None => moving.await,
                // What is under way stays so: the next call takes it up.
                Some(deadline) => match tokio::time::timeout_at((deadline + NIL_GRACE).into(), moving).await {
                    Ok(moved) => moved,
                    Err(_elapsed) => return Ok(None),
                },
            };
            self.moving = None;
            match moved {
                Ok(Some(raw)) => {
                    *self.known.entry(raw.clone()).or_default() += 1;
                    return element(raw).map(Some);
                }
                Ok(None) => {}
                Err(error) if error.delivery() == Delivery::Unknown && !self.client.common().is_closed() => {
                    self.doubt = Doubt::Unseen;
                }
                Err(error) if error.kind() == ErrorKind::Timeout => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What the processing list held before this handle's first use: elements that were handed out and never
    /// acknowledged. Empty when asked again.
    ///
    /// # Errors
    /// As any command; nothing is lost. [`ErrorKind::Conversion`](crate::ErrorKind::Conversion) when one is of another
    /// type than `V`.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn recover(&mut self) -> Result<Vec<Element<V>>> {
        if self.before.is_none() {
            self.look(None).await?;
        }
        let before = self.before.iter().flatten().cloned().map(element).collect::<Result<_>>()?;
        self.before = Some(Vec::new());
        Ok(before)
    }

    /// The element is done: removes it from the processing list.
    ///
    /// # Errors
    /// As any command. The element then counts as not acknowledged; call it again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was acknowledged; call it again.
    pub async fn acknowledge(&mut self, element: &Element<V>) -> Result<()> {
        let raw = &element.raw;
        let Some(known) = self.known.get(raw).copied() else {
            return Err(Error::usage("the element was acknowledged already, or is another handle's"));
        };
        // An earlier attempt may have removed it: a second LREM would remove its twin.
        let is_gone = self.unsure.contains(raw) && count(&self.client, &self.processing, raw).await? < known;
        if !is_gone {
            self.unsure.insert(raw.clone());
            let lrem = cmd::<i64>("LREM").arg(&self.processing).arg(-1).arg(raw);
            if let Err(error) = self.client.issue(lrem).await {
                if error.delivery() != Delivery::Unknown {
                    self.unsure.remove(raw);
                }
                return Err(error);
            }
        }
        self.unsure.remove(raw);
        if known > 1 {
            self.known.insert(raw.clone(), known - 1);
        } else {
            self.known.remove(raw);
        }
        Ok(())
    }

    /// Compares the processing list with what we know to be there: the rest was moved by a ghost, or is from before.
    async fn look(&mut self, deadline: Option<Instant>) -> Result<()> {
        let asked = clock::now();
        let listing = list(&self.client, &self.processing);
        let listed = match deadline {
            None => listing.await?,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), listing)
                .await
                .map_err(|_elapsed| Error::without_reply(romaine_proto::FailureKind::Expired, Delivery::NotSent))??,
        };
        let mut known = self.known.clone();
        let mut unknown = Vec::new();
        // From the tail: the oldest first.
        for raw in listed.into_iter().rev() {
            match known.get_mut(&raw) {
                Some(count) if *count > 0 => *count -= 1,
                _ => unknown.push(raw),
            }
        }
        for raw in &unknown {
            *self.known.entry(raw.clone()).or_default() += 1;
        }
        if self.before.is_none() {
            self.before = Some(unknown);
        } else {
            self.found.extend(unknown);
        }
        self.doubt = match self.doubt {
            Doubt::Unseen => Doubt::Until(clock::now() + DOUBT),
            Doubt::Until(until) if until <= asked => Doubt::None,
            same @ (Doubt::None | Doubt::Until(_)) => same,
        };
        Ok(())
    }

    fn wait(&self, deadline: Option<Instant>) -> Moving {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let left = match self.doubt {
            Doubt::None => left,
            Doubt::Unseen | Doubt::Until(_) => Some(left.map_or(WAIT_IN_DOUBT, |left| left.min(WAIT_IN_DOUBT))),
        };
        let seconds = left.map_or(0.0, |left| left.max(Duration::from_millis(10)).as_secs_f64());
        let (client, source, processing) = (self.client.clone(), self.source.clone(), self.processing.clone());
        Box::pin(async move {
            let blmove = cmd::<Option<Bytes>>("BLMOVE").arg(source).arg(processing).arg("RIGHT").arg("LEFT");
            let request = Box::new(blmove.arg(seconds).into_request());
            let moved =
                blocking::run(Router::of(client.place()), request, Patience::Default, EndOfStream::Unknown).await?;
            decode(&moved)
        })
    }
}

async fn list(client: &Client, key: &Bytes) -> Result<Vec<Bytes>> {
    client.issue(cmd::<Vec<Bytes>>("LRANGE").arg(key).arg(0).arg(-1)).await
}

async fn count(client: &Client, key: &Bytes, raw: &Bytes) -> Result<usize> {
    Ok(list(client, key).await?.iter().filter(|other| *other == raw).count())
}

/// The element as the type asked for.
fn element<V: FromValue>(raw: Bytes) -> Result<Element<V>> {
    let mut frame = format!("${}\r\n", raw.len()).into_bytes();
    frame.extend_from_slice(&raw);
    frame.extend_from_slice(b"\r\n");
    let value = V::from_value(&mut Reader::new(&frame)).map_err(Error::conversion)?;
    Ok(Element { value, raw })
}
