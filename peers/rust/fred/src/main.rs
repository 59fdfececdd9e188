//! The driver for fred.

mod settings;

use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::ErrorKind;
use fred::prelude::*;
use fred::types::Message;
use peer::protocol::{BIG, JOBS, Link, Load, NEWS, Observation, Order};
use peer::target::Target;
use peer::{Effect, FETCH_LIMIT, Failure, Outcome, Reader, Witness};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use settings::{CALL_TIMEOUT, Use};

fn main() -> anyhow::Result<()> {
    peer::main::<Fred>()
}

/// One client for ordinary commands, one for the consumer, one for the subscriber.
#[derive(Clone)]
struct Fred {
    commands: Client,
    blocking: Option<Client>,
    subscriber: Option<SubscriberClient>,
    fetching: Option<Client>,
    shard: bool,
    deadline: Option<Duration>,
}

impl peer::Client for Fred {
    type Subscription = Receiver<Message>;

    const TELLS_OF_CONNECTIONS: bool = true;

    async fn connect(order: &Order, target: &Target, witness: &Witness) -> anyhow::Result<Self> {
        let client = async |what_for, link| -> anyhow::Result<Client> {
            let client = settings::builder(order, target, what_for).build()?;
            watch(&client, link, witness);
            client.init().await?;
            Ok(client)
        };
        let commands = client(Use::Commands, Link::Commands).await?;
        let blocking = match order.loads.contains(&Load::Blocked) {
            true => Some(client(Use::Blocking, Link::Blocking).await?),
            false => None,
        };
        let subscriber = match order.loads.contains(&Load::Subscribed) {
            true => {
                let subscriber = settings::builder(order, target, Use::Subscriptions).build_subscriber_client()?;
                watch(&subscriber, Link::Subscriptions, witness);
                subscriber.init().await?;
                // As the documentation's example of this client: the task that subscribes again after a reconnect.
                drop(subscriber.manage_subscriptions());
                Some(subscriber)
            }
            false => None,
        };
        let fetching = match order.loads.contains(&Load::Fetch) {
            true => Some(client(Use::Fetch, Link::Commands).await?),
            false => None,
        };
        let deadline = order.is_fast().then_some(CALL_TIMEOUT);
        Ok(Self { commands, blocking, subscriber, fetching, shard: order.shard, deadline })
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    async fn incr(&self, key: &str) -> Outcome<i64> {
        self.commands.incr(key).await.map_err(failure)
    }

    async fn ping(&self) -> Outcome<()> {
        self.commands.ping::<String>(None).await.map(drop).map_err(failure)
    }

    async fn echo(&self, word: String) -> Outcome<String> {
        self.commands.custom(echo(), vec![word]).await.map_err(failure)
    }

    async fn echo_within(&self, word: String, limit: Duration) -> Outcome<String> {
        let options = fred::types::config::Options { timeout: Some(limit), ..Default::default() };
        self.commands.with_options(&options).custom(echo(), vec![word]).await.map_err(failure)
    }

    async fn fetch(&self) -> Outcome<()> {
        // docs.rs, `Options::timeout`: the limit of one call. The limit of an overdue reply is its client's.
        let options = fred::types::config::Options { timeout: Some(FETCH_LIMIT), ..Default::default() };
        let client = self.fetching.as_ref().unwrap_or(&self.commands).with_options(&options);
        client.get::<Option<fred::bytes::Bytes>, _>(BIG).await.map(drop).map_err(failure)
    }

    async fn pop(&self) -> Outcome<Option<String>> {
        let client = self.blocking.as_ref().unwrap_or(&self.commands);
        let reply: FredResult<Option<(String, String)>> = client.brpop(JOBS, 0.0).await;
        reply.map(|reply| reply.map(|(_list, element)| element)).map_err(failure)
    }

    async fn subscribe(&self) -> anyhow::Result<Receiver<Message>> {
        let Some(subscriber) = &self.subscriber else { anyhow::bail!("no subscriber was connected") };
        let messages = subscriber.message_rx();
        if self.shard {
            subscriber.ssubscribe(NEWS).await?;
        } else {
            subscriber.subscribe(NEWS).await?;
        }
        Ok(messages)
    }

    async fn listen(&self, mut messages: Receiver<Message>, mut reader: Reader) {
        reader.begins().await;
        loop {
            match messages.recv().await {
                Ok(message) => reader.message(message.value.as_bytes().unwrap_or_default()).await,
                Err(RecvError::Lagged(missed)) => reader.witness().tell(Observation::Dropped(missed)).await,
                Err(RecvError::Closed) => {
                    reader.witness().lost(Link::Subscriptions, "the channel of messages was closed").await;
                    return;
                }
            }
        }
    }
}

fn echo() -> fred::types::CustomCommand {
    fred::types::CustomCommand::new_static("ECHO", None, false)
}

/// Tells what the client says of its connections: errors, which it reports for each lost connection and each failed
/// attempt alike, connections that it closes because they do not answer, and reconnections. Of a shard channel whose slot has
/// moved the server says `sunsubscribe`; the client drops that (`router/responses.rs`), so that nobody can subscribe again.
fn watch(client: &impl EventInterface, link: Link, witness: &Witness) {
    let lost = witness.clone();
    drop(client.on_error(move |(error, _server)| {
        let lost = lost.clone();
        async move {
            lost.lost(link, error).await;
            Ok(())
        }
    }));
    let silent = witness.clone();
    drop(client.on_unresponsive(move |server| {
        let silent = silent.clone();
        async move {
            silent.lost(link, format!("on_unresponsive: {server}")).await;
            Ok(())
        }
    }));
    let back = witness.clone();
    drop(client.on_reconnect(move |_server| {
        let back = back.clone();
        async move {
            back.back(link).await;
            Ok(())
        }
    }));
}

/// The client sends a call up to three times (`max_command_attempts`), so that its last error does not tell whether one of
/// them was executed.
fn failure(error: Error) -> Failure {
    let is_answer = !matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Routing | ErrorKind::Protocol
    );
    // Refused by the client itself before anything was sent.
    let is_unsent = matches!(error.kind(), ErrorKind::Backpressure | ErrorKind::InvalidArgument);
    Failure { effect: if is_unsent { Effect::None } else { Effect::Unknown }, is_answer, cause: error.to_string() }
}
