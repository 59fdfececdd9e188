//! The driver for rustis.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use peer::protocol::{BIG, JOBS, Link, Load, NEWS, Observation, Order};
use peer::target::Target;
use peer::{Effect, FETCH_LIMIT, Failure, Outcome, Reader, Witness};
use rustis::client::{Client, PubSubStream};
use rustis::commands::{BlockingCommands as _, ConnectionCommands as _, StringCommands as _};
use rustis::resp::BulkString;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;

use settings::CALL_TIMEOUT;

fn main() -> anyhow::Result<()> {
    peer::main::<Rustis>()
}

/// One client for ordinary commands and subscriptions, one for the consumer (`ExclusiveClient`, as the library asks for
/// blocking commands).
#[derive(Clone)]
struct Rustis {
    commands: Client,
    blocking: Option<Arc<rustis::client::ExclusiveClient>>,
    subscriber: Option<Client>,
    fetching: Option<Client>,
    shard: bool,
    deadline: Option<Duration>,
    _watching: Arc<JoinSet<()>>,
}

impl peer::Client for Rustis {
    type Subscription = PubSubStream;

    // It tells of reconnections, not of what went before them.
    const TELLS_OF_CONNECTIONS: bool = false;

    async fn connect(order: &Order, target: &Target, witness: &Witness) -> anyhow::Result<Self> {
        let mut watching = JoinSet::new();
        let commands = Client::connect(settings::config(order, target, CALL_TIMEOUT)).await?;
        watching.spawn(watch(commands.on_reconnect(), Link::Commands, witness.clone()));
        let blocking = match order.loads.contains(&Load::Blocked) {
            true => {
                let client =
                    rustis::client::ExclusiveClient::connect(settings::config(order, target, Duration::ZERO)).await?;
                watching.spawn(watch(client.on_reconnect(), Link::Blocking, witness.clone()));
                Some(Arc::new(client))
            }
            false => None,
        };
        let subscriber = match order.loads.contains(&Load::Subscribed) {
            true => {
                let client = Client::connect(settings::config(order, target, CALL_TIMEOUT)).await?;
                watching.spawn(watch(client.on_reconnect(), Link::Subscriptions, witness.clone()));
                Some(client)
            }
            false => None,
        };
        let fetching = match order.loads.contains(&Load::Fetch) {
            true => {
                // docs.rs, `Config::command_timeout`: there is a limit of a client's calls, none of one call.
                let mut config = settings::config(order, target, FETCH_LIMIT);
                config.command_timeout = FETCH_LIMIT;
                Some(Client::connect(config).await?)
            }
            false => None,
        };
        let deadline = order.is_fast().then_some(CALL_TIMEOUT);
        let (shard, watching) = (order.shard, Arc::new(watching));
        Ok(Self { commands, blocking, subscriber, fetching, shard, deadline, _watching: watching })
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    async fn incr(&self, key: &str) -> Outcome<i64> {
        self.commands.incr(key.to_owned()).await.map_err(failure)
    }

    async fn ping(&self) -> Outcome<()> {
        self.commands.ping::<String>(()).await.map(drop).map_err(failure)
    }

    async fn echo(&self, word: String) -> Outcome<String> {
        self.commands.echo(word).await.map_err(failure)
    }

    async fn echo_within(&self, word: String, limit: Duration) -> Outcome<String> {
        let left = Failure { effect: Effect::Unknown, is_answer: false, cause: "the caller's patience".into() };
        tokio::time::timeout(limit, self.echo(word)).await.unwrap_or(Err(left))
    }

    async fn fetch(&self) -> Outcome<()> {
        let client = self.fetching.as_ref().unwrap_or(&self.commands);
        client.get::<Option<BulkString>>(BIG).await.map(drop).map_err(failure)
    }

    async fn pop(&self) -> Outcome<Option<String>> {
        let Some(client) = &self.blocking else { return Ok(None) };
        let reply: Option<(String, String)> = client.brpop(JOBS, 0.0).await.map_err(failure)?;
        Ok(reply.map(|(_list, element)| element))
    }

    async fn subscribe(&self) -> anyhow::Result<PubSubStream> {
        let mut stream = self.subscriber.as_ref().unwrap_or(&self.commands).create_pub_sub();
        if self.shard {
            stream.ssubscribe(NEWS).await?;
        } else {
            stream.subscribe(NEWS).await?;
        }
        Ok(stream)
    }

    // Of a shard channel whose slot has moved the server says `sunsubscribe`; the client drops it (`network_handler.rs`,
    // `UnsubscriptionConfirmed::Unsolicited`), so that nobody can subscribe again.
    async fn listen(&self, mut stream: PubSubStream, mut reader: Reader) {
        reader.begins().await;
        let mut told = 0;
        while let Some(message) = stream.next().await {
            let dropped = stream.dropped_messages();
            if dropped > told {
                reader.witness().tell(Observation::Dropped((dropped - told) as u64)).await;
                told = dropped;
            }
            match message {
                Ok(message) => reader.message(message.payload()).await,
                Err(error) => reader.witness().lost(Link::Subscriptions, error).await,
            }
        }
        reader.witness().lost(Link::Subscriptions, "the stream of messages ended").await;
    }
}

async fn watch(mut reconnections: broadcast::Receiver<()>, link: Link, witness: Witness) {
    while !matches!(reconnections.recv().await, Err(RecvError::Closed)) {
        // What was lost before is seen only now, where nothing failed meanwhile.
        witness.lost(link, "on_reconnect: it had been lost").await;
        witness.back(link).await;
    }
}

fn failure(error: rustis::Error) -> Failure {
    let is_answer = error.is_server_error();
    // A call is sent once (`retry_on_error` is off), so that an error reply means that it was not executed.
    let effect = if is_answer { Effect::None } else { Effect::Unknown };
    Failure { effect, is_answer, cause: error.to_string() }
}
