//! A connection to the primary that Sentinels name.
//!
//! The library gives a plain connection here, which does not reconnect and is never resolved again: its user has to ask for
//! another after an error. That is done here, by one caller for all.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult};
use tokio::sync::Mutex;

#[derive(Clone)]
pub(super) struct SentinelWire {
    config: AsyncConnectionConfig,
    resolver: Arc<Mutex<SentinelClient>>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    /// Counts the attempts, so that those who waited for one do not make another.
    attempt: u64,
    connection: RedisResult<MultiplexedConnection>,
}

impl SentinelWire {
    pub(super) async fn connect(mut client: SentinelClient, config: AsyncConnectionConfig) -> RedisResult<Self> {
        let connection = client.get_async_connection_with_config(&config).await?;
        let current = Current { attempt: 0, connection: Ok(connection) };
        Ok(Self { config, resolver: Arc::new(Mutex::new(client)), current: Arc::new(Mutex::new(current)) })
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let (attempt, connection) = {
            let current = self.current.lock().await;
            (current.attempt, current.connection.clone())
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(_) => self.again(attempt).await?,
        };
        let reply = command.query_async(&mut connection).await;
        if reply.as_ref().is_err_and(|error| !is_answer_of_primary(error)) {
            // Its result is for the next call.
            let _ = self.again(attempt).await;
        }
        reply
    }

    /// Asks the Sentinels again, unless somebody has since `attempt`.
    async fn again(&self, attempt: u64) -> RedisResult<MultiplexedConnection> {
        let mut resolver = self.resolver.lock().await;
        {
            let current = self.current.lock().await;
            if current.attempt != attempt {
                return current.connection.clone();
            }
        }
        let connection = resolver.get_async_connection_with_config(&self.config).await;
        let mut current = self.current.lock().await;
        *current = Current { attempt: attempt + 1, connection: connection.clone() };
        connection
    }
}

fn is_answer_of_primary(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) && error.code() != Some("READONLY")
}
