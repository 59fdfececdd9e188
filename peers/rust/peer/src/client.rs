//! What a client must be able to do to be measured.

use std::time::Duration;

use tokio::sync::watch;

use crate::protocol::{Link, Observation, Order};
use crate::target::Target;
use crate::witness::Witness;

/// The time limit of [`Client::fetch`], in both configurations: its reply comes slowly, and its caller knows. Where a client
/// has no limit of one call, the call has a connection of its own with this one.
pub const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// What is known of a failed call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It was not executed.
    None,
    /// It may have been executed.
    Unknown,
}

/// Why a call failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Whether it may have been executed.
    pub effect: Effect,
    /// Whether the server answered it, with an error: then the connection is well.
    pub is_answer: bool,
    /// The client's words.
    pub cause: String,
}

/// The result of one call.
pub type Outcome<T> = Result<T, Failure>;

/// A client under test. Clones share their connections.
pub trait Client: Clone + Send + Sync + 'static {
    /// A confirmed subscription.
    type Subscription: Send + 'static;

    /// Whether the client says by itself when it loses a connection. If not, a call that fails without an answer is what
    /// its user sees of that.
    const TELLS_OF_CONNECTIONS: bool;

    /// Connects what the order's loads need.
    fn connect(order: &Order, target: &Target, witness: &Witness) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// How long a call may take at most, by the configuration; `None` where nothing limits it.
    fn deadline(&self) -> Option<Duration>;

    /// `INCR key`.
    fn incr(&self, key: &str) -> impl Future<Output = Outcome<i64>> + Send;

    /// `PING`.
    fn ping(&self) -> impl Future<Output = Outcome<()>> + Send;

    /// `ECHO word`.
    fn echo(&self, word: String) -> impl Future<Output = Outcome<String>> + Send;

    /// `ECHO word` with a time limit of this call alone, where the client has such a thing.
    fn echo_within(&self, word: String, limit: Duration) -> impl Future<Output = Outcome<String>> + Send;

    /// `GET big`, with the limit [`FETCH_LIMIT`].
    fn fetch(&self) -> impl Future<Output = Outcome<()>> + Send;

    /// `BRPOP jobs 0`.
    fn pop(&self) -> impl Future<Output = Outcome<Option<String>>> + Send;

    /// Subscribes to `news`, and returns once the server has confirmed.
    fn subscribe(&self) -> impl Future<Output = anyhow::Result<Self::Subscription>> + Send;

    /// Reads the subscription until it is aborted.
    fn listen(&self, subscription: Self::Subscription, reader: Reader) -> impl Future<Output = ()> + Send;
}

/// The application's end of a subscription.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) witness: Witness,
    pub(crate) reading: watch::Receiver<bool>,
}

impl Reader {
    /// Where observations go.
    #[must_use]
    pub const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Waits until the application wants to read.
    pub async fn begins(&mut self) {
        if self.reading.wait_for(|reading| *reading).await.is_err() {
            // The driver ends, and this task with it.
            std::future::pending::<()>().await;
        }
    }

    /// A message was received.
    pub async fn message(&self, payload: &[u8]) {
        self.witness.back(Link::Subscriptions).await;
        let text = String::from_utf8_lossy(payload);
        // What comes after the number is ballast.
        match text.split(' ').next().unwrap_or_default().parse() {
            Ok(number) => self.witness.tell(Observation::Message(number)).await,
            Err(_) => self.witness.tell(Observation::Trouble(format!("not a message: {text:.40}"))).await,
        }
    }
}
