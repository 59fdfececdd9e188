//! A Sentinel that says what it is told to say, for what real ones cannot be brought to do on demand.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use romaine_faultlab::{ScriptedConnection, ScriptedServer};
use tokio::sync::broadcast;

/// What it answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Says {
    /// Nobody: it does not know the name, and lists nothing.
    pub(crate) primary: Option<SocketAddr>,
    pub(crate) epoch: u64,
    pub(crate) replicas: Vec<SocketAddr>,
    pub(crate) sentinels: Vec<SocketAddr>,
}

impl Says {
    pub(crate) fn primary(address: SocketAddr, epoch: u64) -> Self {
        Self { primary: Some(address), epoch, ..Self::default() }
    }
}

#[derive(Debug)]
struct Shared {
    says: Mutex<Says>,
    events: broadcast::Sender<(String, String)>,
    asked: AtomicUsize,
    listeners: AtomicUsize,
    has_events: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FakeSentinel {
    server: ScriptedServer,
    shared: Arc<Shared>,
}

impl FakeSentinel {
    pub(crate) async fn start(says: Says) -> Self {
        Self::with(says, true).await
    }

    /// One that refuses SUBSCRIBE: all there is to know has to be asked for.
    pub(crate) async fn without_events(says: Says) -> Self {
        Self::with(says, false).await
    }

    async fn with(says: Says, has_events: bool) -> Self {
        let shared = Arc::new(Shared {
            says: Mutex::new(says),
            events: broadcast::Sender::new(4_096),
            asked: AtomicUsize::new(0),
            listeners: AtomicUsize::new(0),
            has_events,
        });
        let served = shared.clone();
        let script = move |mut connection: ScriptedConnection| {
            let shared = served.clone();
            async move {
                connection.greet_resp3().await?;
                serve(connection, shared).await;
                Ok(())
            }
        };
        let server = ScriptedServer::start(script).await.unwrap();
        Self { server, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis-sentinel://{}/mymaster", self.address())
    }

    /// From now on.
    pub(crate) fn says(&self, says: Says) {
        *self.shared.says.lock().unwrap() = says;
    }

    /// Publishes an event.
    pub(crate) fn tells(&self, channel: &str, payload: &str) {
        let _nobody_listens = self.shared.events.send((channel.to_owned(), payload.to_owned()));
    }

    /// How many times it was asked who is the primary.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Connections that have subscribed, and live.
    pub(crate) fn listeners(&self) -> usize {
        self.shared.listeners.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }
}

async fn serve(mut connection: ScriptedConnection, shared: Arc<Shared>) {
    let mut events = shared.events.subscribe();
    let mut listening = Listening { channels: HashSet::new(), shared: &shared };
    loop {
        tokio::select! {
            biased;
            command = connection.next_command() => {
                let Ok(command) = command else { return };
                let reply = listening.reply(&command);
                if connection.send(&reply).await.is_err() {
                    return;
                }
            }
            event = events.recv() => {
                let Ok((channel, payload)) = event else { continue };
                if listening.channels.contains(&channel) {
                    let push = format!(">3\r\n$7\r\nmessage\r\n{}{}", bulk(&channel), bulk(&payload));
                    if connection.send(push.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// What one connection listens to.
struct Listening<'a> {
    channels: HashSet<String>,
    shared: &'a Shared,
}

impl Listening<'_> {
    fn reply(&mut self, command: &[Bytes]) -> Vec<u8> {
        let words: Vec<String> = command.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        match name.as_str() {
            "PING" => b"+PONG\r\n".to_vec(),
            "SUBSCRIBE" if !self.shared.has_events => b"-NOPERM this user has no permission to subscribe\r\n".to_vec(),
            "SUBSCRIBE" => {
                if self.channels.is_empty() {
                    self.shared.listeners.fetch_add(1, Ordering::SeqCst);
                }
                let mut reply = String::new();
                for channel in &words[1..] {
                    self.channels.insert(channel.clone());
                    reply.push_str(&format!(">3\r\n$9\r\nsubscribe\r\n{}:{}\r\n", bulk(channel), self.channels.len()));
                }
                reply.into_bytes()
            }
            "SENTINEL" => self.describe(words.get(1).map(String::as_str).unwrap_or_default()).into_bytes(),
            _ => b"+OK\r\n".to_vec(),
        }
    }

    fn describe(&self, what: &str) -> String {
        let says = self.shared.says.lock().unwrap().clone();
        match (what.to_ascii_uppercase().as_str(), says.primary) {
            ("GET-MASTER-ADDR-BY-NAME", primary) => {
                self.shared.asked.fetch_add(1, Ordering::SeqCst);
                primary.map_or("_\r\n".to_owned(), |at| {
                    format!("*2\r\n{}{}", bulk(&at.ip().to_string()), bulk(&at.port().to_string()))
                })
            }
            (_, None) => "-ERR No such master with that name\r\n".to_owned(),
            ("MASTER", Some(primary)) => {
                let epoch = says.epoch.to_string();
                instance(primary, &[("name", "mymaster"), ("flags", "master"), ("config-epoch", &epoch)])
            }
            ("REPLICAS", Some(_)) => list(&says.replicas, "slave"),
            ("SENTINELS", Some(_)) => list(&says.sentinels, "sentinel"),
            _ => "-ERR unknown subcommand\r\n".to_owned(),
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        if !self.channels.is_empty() {
            self.shared.listeners.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn instance(address: SocketAddr, fields: &[(&str, &str)]) -> String {
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let all = fields.iter().copied().chain([("ip", ip.as_str()), ("port", port.as_str())]);
    let text: String = all.map(|(name, value)| format!("{}{}", bulk(name), bulk(value))).collect();
    format!("%{}\r\n{text}", fields.len() + 2)
}

fn list(addresses: &[SocketAddr], flags: &str) -> String {
    let all: String = addresses.iter().map(|address| instance(*address, &[("flags", flags)])).collect();
    format!("*{}\r\n{all}", addresses.len())
}
