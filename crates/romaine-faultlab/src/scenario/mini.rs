//! A scripted server that knows as much Redis as the loads need, and that says, when told to, what no Redis says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::protocol::{JOBS, NEWS};
use crate::{ScriptedConnection, ScriptedServer};

/// What every connection that exists is to say, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outburst {
    pub(crate) bytes: Bytes,
    /// Whether the connection is closed after it.
    pub(crate) closes: bool,
}

/// The state behind all connections of one server.
#[derive(Debug)]
pub(crate) struct Mini {
    state: Mutex<State>,
    pushed: watch::Sender<u64>,
    published: broadcast::Sender<u64>,
    outburst: broadcast::Sender<Outburst>,
}

#[derive(Debug, Default)]
struct State {
    counter: i64,
    queue: VecDeque<u64>,
}

/// What one connection is about.
#[derive(Default)]
struct Talk {
    is_blocked: bool,
    /// When the wait ends by itself.
    until: Option<Instant>,
    /// The kind of message that it is subscribed to.
    message: Option<&'static str>,
    is_in_multi: bool,
}

impl Mini {
    pub(crate) async fn start() -> anyhow::Result<(Arc<Self>, ScriptedServer)> {
        let mini = Arc::new(Self {
            state: Mutex::default(),
            pushed: watch::Sender::new(0),
            published: broadcast::Sender::new(1_024),
            outburst: broadcast::Sender::new(16),
        });
        let behind = mini.clone();
        let server = ScriptedServer::start(move |connection| behind.clone().serve(connection)).await?;
        Ok((mini, server))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, number: u64) {
        self.lock().queue.push_back(number);
        self.pushed.send_replace(number);
    }

    pub(crate) fn publish(&self, number: u64) {
        // Nobody is connected: then nobody hears it, as with Redis.
        let _ = self.published.send(number);
    }

    pub(crate) fn counter(&self) -> i64 {
        self.lock().counter
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Every connection that exists says this now.
    pub(crate) fn burst_out(&self, outburst: Outburst) {
        let _ = self.outburst.send(outburst);
    }

    async fn serve(self: Arc<Self>, mut connection: ScriptedConnection) -> anyhow::Result<()> {
        let mut outbursts = self.outburst.subscribe();
        let mut published = self.published.subscribe();
        let mut pushed = self.pushed.subscribe();
        let mut talk = Talk::default();
        connection.greet_resp3().await?;
        connection.answer_introductions(false);
        loop {
            if talk.is_blocked && self.hand_out(&mut connection).await? {
                talk.is_blocked = false;
            }
            let until = talk.until.filter(|_| talk.is_blocked);
            tokio::select! {
                biased;
                outburst = outbursts.recv() => {
                    let Ok(outburst) = outburst else { continue };
                    connection.send(&outburst.bytes).await?;
                    if outburst.closes {
                        return connection.close().await;
                    }
                }
                command = connection.next_command() => {
                    let Ok(command) = command else { return Ok(()) };
                    self.answer(&mut connection, &mut talk, &command).await?;
                }
                number = published.recv() => {
                    if let (Some(kind), Ok(number)) = (talk.message, number) {
                        let number = number.to_string();
                        let push = format!(
                            ">3\r\n${}\r\n{kind}\r\n${}\r\n{NEWS}\r\n${}\r\n{number}\r\n",
                            kind.len(), NEWS.len(), number.len(),
                        );
                        connection.send(push.as_bytes()).await?;
                    }
                }
                _ = pushed.changed(), if talk.is_blocked => {}
                () = sleep_until(until) => {
                    talk.is_blocked = false;
                    connection.send(b"_\r\n").await?;
                }
            }
        }
    }

    /// Gives the next element to a blocked connection, if there is one.
    async fn hand_out(&self, connection: &mut ScriptedConnection) -> anyhow::Result<bool> {
        let Some(number) = self.lock().queue.pop_front() else { return Ok(false) };
        let number = number.to_string();
        let reply = format!("*2\r\n${}\r\n{JOBS}\r\n${}\r\n{number}\r\n", JOBS.len(), number.len());
        connection.send(reply.as_bytes()).await?;
        Ok(true)
    }

    async fn answer(
        &self,
        connection: &mut ScriptedConnection,
        talk: &mut Talk,
        command: &[Bytes],
    ) -> anyhow::Result<()> {
        let name = String::from_utf8_lossy(command.first().map_or(&b""[..], |name| name)).to_ascii_uppercase();
        let argument = |index: usize| command.get(index).map(|word| String::from_utf8_lossy(word).into_owned());
        if talk.is_in_multi && name != "EXEC" {
            return connection.send(b"-NOPERM not here\r\n").await;
        }
        let reply = match name.as_str() {
            "PING" => "+PONG\r\n".to_owned(),
            "INCR" => {
                let mut state = self.lock();
                state.counter += 1;
                format!(":{}\r\n", state.counter)
            }
            "CLIENT" if argument(1).is_some_and(|word| word.eq_ignore_ascii_case("ID")) => {
                format!(":{}\r\n", connection.index() + 1)
            }
            "CLIENT" | "SELECT" | "AUTH" => "+OK\r\n".to_owned(),
            "INFO" => {
                let text = "# Server\r\nredis_version:7.0.15\r\nrun_id:0123456789abcdef0123456789abcdef01234567\r\n";
                format!("${}\r\n{text}\r\n", text.len())
            }
            "MULTI" => {
                // So that the client may not probe here, and cuts its waits into slices.
                talk.is_in_multi = true;
                "-NOPERM not here\r\n".to_owned()
            }
            "EXEC" => {
                talk.is_in_multi = false;
                "-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned()
            }
            "BRPOP" => {
                let seconds = argument(2).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
                talk.is_blocked = true;
                talk.until = (seconds > 0.0).then(|| now() + Duration::from_secs_f64(seconds));
                return Ok(());
            }
            "SUBSCRIBE" | "SSUBSCRIBE" => {
                talk.message = Some(if name == "SUBSCRIBE" { "message" } else { "smessage" });
                let kind = name.to_ascii_lowercase();
                format!(">3\r\n${}\r\n{kind}\r\n${}\r\n{NEWS}\r\n:1\r\n", kind.len(), NEWS.len())
            }
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        connection.send(reply.as_bytes()).await
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the scripted server waits in real time")]
fn now() -> Instant {
    Instant::now()
}
