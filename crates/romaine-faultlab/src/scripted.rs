//! A fake server that does what a script says, for what no real server can be brought to do.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::claim::Port;
use crate::scripted_connection::ScriptedConnection;
use crate::sockets;

const WAIT: Duration = Duration::from_secs(10);

/// A server that runs the same script for each connection, and remembers every command it was sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// use romaine_faultlab::ScriptedServer;
/// let server = ScriptedServer::start(|mut conn| async move {
///     conn.greet_resp3().await?;
///     conn.expect("GET").await?;
///     conn.send(b"$3\r\nfo").await?;
///     conn.silence().await
/// })
/// .await?;
/// # let _ = server.address();
/// # Ok(())
/// # }
/// ```
///
/// When a script returns, its connection is closed. One that returns an error has failed: see
/// [`ScriptedServer::failures`]. What differs from one connection to the next is decided by
/// [`ScriptedConnection::index`].
#[derive(Debug)]
pub struct ScriptedServer {
    port: Port,
    record: Arc<Record>,
    _tasks: JoinSet<()>,
}

/// What has happened so far. The watch tells waiters that something has been added.
#[derive(Debug)]
pub(crate) struct Record {
    connections: Mutex<Vec<Vec<Vec<Bytes>>>>,
    failures: Mutex<Vec<String>>,
    changed: watch::Sender<u64>,
}

impl Record {
    pub(crate) fn command(&self, connection: usize, command: Vec<Bytes>) {
        if let Some(commands) = lock(&self.connections).get_mut(connection) {
            commands.push(command);
        }
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn connection(&self) -> usize {
        let index = {
            let mut connections = lock(&self.connections);
            connections.push(Vec::new());
            connections.len() - 1
        };
        self.changed.send_modify(|changes| *changes += 1);
        index
    }

    fn failure(&self, connection: usize, error: &anyhow::Error) {
        lock(&self.failures).push(format!("connection {connection}: {error:#}"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScriptedServer {
    /// Listens on a free port of the loopback, and runs `script` for each connection.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start<S, F>(script: S) -> anyhow::Result<Self>
    where
        S: Fn(ScriptedConnection) -> F + Send + Sync + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let port = Port::claim()?;
        let listener = sockets::listen(port.address()).await.context("the scripted server cannot listen")?;
        let record = Arc::new(Record {
            connections: Mutex::default(),
            failures: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, script, Arc::clone(&record)));
        Ok(Self { port, record, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port of [`ScriptedServer::address`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `redis://…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.record.connections).len()
    }

    /// All commands of one connection (the first is 0), each with its arguments.
    #[must_use]
    pub fn commands(&self, connection: usize) -> Vec<Vec<Bytes>> {
        lock(&self.record.connections).get(connection).cloned().unwrap_or_default()
    }

    /// The commands of one connection in short: `["HELLO 3", "GET key"]`.
    #[must_use]
    pub fn transcript(&self, connection: usize) -> Vec<String> {
        self.commands(connection)
            .iter()
            .map(|words| words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// What went wrong in the scripts: another command than expected, or a client that left in the middle.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        lock(&self.record.failures).clone()
    }

    /// Waits until a command of that name has come, on any connection, and gives the first with its arguments.
    ///
    /// # Errors
    ///
    /// When it does not come within ten seconds.
    pub async fn wait_for_command(&self, name: &str) -> anyhow::Result<Vec<Bytes>> {
        self.wait_for(name, || {
            let connections = lock(&self.record.connections);
            connections.iter().flatten().find(|command| is_named(command, name)).cloned()
        })
        .await
    }

    /// Waits until there have been `count` connections in all.
    ///
    /// # Errors
    ///
    /// When they do not come within ten seconds.
    pub async fn wait_for_connections(&self, count: usize) -> anyhow::Result<()> {
        self.wait_for(&format!("{count} connections"), || (self.connections() >= count).then_some(())).await
    }

    async fn wait_for<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
        let mut changed = self.record.changed.subscribe();
        let wait = async {
            loop {
                if let Some(found) = look() {
                    return Ok(found);
                }
                changed.changed().await?;
            }
        };
        let waited = tokio::time::timeout(WAIT, wait).await;
        waited.with_context(|| {
            let seen = (0..self.connections()).map(|index| self.transcript(index)).collect::<Vec<_>>();
            format!("waited for {what}; there came {seen:?}, and failed {:?}", self.failures())
        })?
    }
}

/// Whether a command has that name, whatever the case.
pub(crate) fn is_named(command: &[Bytes], name: &str) -> bool {
    command.first().is_some_and(|first| first.eq_ignore_ascii_case(name.as_bytes()))
}

async fn serve<S, F>(listener: TcpListener, script: S, record: Arc<Record>)
where
    S: Fn(ScriptedConnection) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let index = record.connection();
                let run = script(ScriptedConnection::new(stream, index, Arc::clone(&record)));
                let record = Arc::clone(&record);
                connections.spawn(async move {
                    if let Err(error) = run.await {
                        record.failure(index, &error);
                    }
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}
