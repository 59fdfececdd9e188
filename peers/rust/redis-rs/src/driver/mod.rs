//! redis-rs under test. Compiled once for each version of it, as the crate `redis`.

mod messages;
mod sentinel;
mod settings;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use peer::protocol::{BIG, JOBS, Load, Order};
use peer::target::Target;
use peer::{Client, Effect, Failure, Outcome, Reader, Witness};
use redis::{ErrorKind, FromRedisValue, RedisError, cmd};

use messages::Messages;
use settings::{Patience, Settings};
use wire::Wire;

/// One connection for ordinary commands, one for the consumer, one for the subscriber, as the library's documentation
/// advises for what blocks or subscribes, and one for the call that may take long.
#[derive(Clone)]
pub struct RedisRs {
    settings: Arc<Settings>,
    commands: Wire,
    blocking: Option<Wire>,
    fetching: Option<Wire>,
}

impl Client for RedisRs {
    type Subscription = Messages;

    // There is one push, `Disconnection`, for subscriptions; a command's connection says nothing.
    const TELLS_OF_CONNECTIONS: bool = false;

    async fn connect(order: &Order, target: &Target, _witness: &Witness) -> anyhow::Result<Self> {
        let settings = Arc::new(Settings::new(order, target));
        let commands = Wire::connect(&settings, Patience::Call).await?;
        let blocking = match order.loads.contains(&Load::Blocked) {
            true => Some(Wire::connect(&settings, Patience::Endless).await?),
            false => None,
        };
        let fetching = match order.loads.contains(&Load::Fetch) {
            true => Some(Wire::connect(&settings, Patience::Fetch).await?),
            false => None,
        };
        Ok(Self { settings, commands, blocking, fetching })
    }

    fn deadline(&self) -> Option<Duration> {
        self.settings.response_timeout()
    }

    async fn incr(&self, key: &str) -> Outcome<i64> {
        self.ask(cmd("INCR").arg(key)).await
    }

    async fn ping(&self) -> Outcome<()> {
        self.ask::<String>(&cmd("PING")).await.map(drop)
    }

    async fn echo(&self, word: String) -> Outcome<String> {
        self.ask(cmd("ECHO").arg(word)).await
    }

    async fn echo_within(&self, word: String, limit: Duration) -> Outcome<String> {
        // There is no time limit of one call: its users wrap the future.
        let left = Failure { effect: Effect::Unknown, is_answer: false, cause: "the caller's patience".into() };
        tokio::time::timeout(limit, self.echo(word)).await.unwrap_or(Err(left))
    }

    async fn fetch(&self) -> Outcome<()> {
        let wire = self.fetching.as_ref().unwrap_or(&self.commands);
        wire.query::<Vec<u8>>(cmd("GET").arg(BIG)).await.map(drop).map_err(|error| self.failure(&error))
    }

    async fn pop(&self) -> Outcome<Option<String>> {
        let wire = self.blocking.as_ref().unwrap_or(&self.commands);
        let reply: Option<(String, String)> =
            wire.query(cmd("BRPOP").arg(JOBS).arg(0)).await.map_err(|error| self.failure(&error))?;
        Ok(reply.map(|(_list, element)| element))
    }

    async fn subscribe(&self) -> anyhow::Result<Messages> {
        Ok(Messages::subscribe(&self.settings).await?)
    }

    async fn listen(&self, subscription: Messages, reader: Reader) {
        subscription.listen(&self.settings, reader).await;
    }
}

impl RedisRs {
    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Outcome<T> {
        self.commands.query(command).await.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &RedisError) -> Failure {
        let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        // The cluster's connection sends a call again by itself, so that its last error says nothing of the first try.
        let is_one_try = !self.settings.is_cluster();
        let is_unsent = is_answer || error.is_connection_refusal();
        let effect = if is_one_try && is_unsent { Effect::None } else { Effect::Unknown };
        Failure { effect, is_answer, cause: error.to_string() }
    }
}
