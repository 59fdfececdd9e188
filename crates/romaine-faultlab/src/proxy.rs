//! A TCP proxy in user space that does to a connection what networks and middleboxes do.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::claim::Port;
use crate::deadline::until;
use crate::fault::{Accept, Direction, Fault, Outburst};
use crate::pump::{Ending, Pump};
use crate::sockets;

/// How long the proxy's own methods wait: everything they wait for is local and takes milliseconds.
const WAIT: Duration = Duration::from_secs(10);

/// A proxy on the loopback in front of one upstream address. Each direction has its own [`Fault`], and a fault applies
/// from the moment it is set, to connections that exist and to new ones.
///
/// ```no_run
/// # async fn test() -> anyhow::Result<()> {
/// use romaine_faultlab::{Direction, Fault, FaultProxy, Server};
/// let server = Server::start().await?;
/// let proxy = FaultProxy::start(server.address()).await?;
/// // … connect to proxy.address() …
/// proxy.set(Direction::ToClient, Fault::Stall);
/// // … the client hears nothing any more …
/// proxy.heal().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    port: Port,
    shared: Arc<Shared>,
    accept: watch::Sender<(u64, Accept)>,
    /// The last change of `accept` that has come into force.
    accept_applied: watch::Receiver<u64>,
    /// Owns the accepting task, which owns the connections: dropping the proxy ends them all.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    to_server: watch::Sender<Fault>,
    to_client: watch::Sender<Fault>,
    /// Raised with what is to be said, to whom.
    outburst: watch::Sender<(u64, Option<(Direction, Outburst)>)>,
    /// Raised to end all connections there are.
    cut: watch::Sender<(u64, Ending)>,
    accepted: watch::Sender<u64>,
    open: AtomicUsize,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
}

impl FaultProxy {
    /// Starts a proxy that passes everything on to `upstream`, which need not listen yet.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let port = Port::claim()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            to_server: watch::Sender::new(Fault::Pass),
            to_client: watch::Sender::new(Fault::Pass),
            outburst: watch::Sender::new((0, None)),
            cut: watch::Sender::new((0, Ending::Close)),
            accepted: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            bytes_to_server: AtomicU64::new(0),
            bytes_to_client: AtomicU64::new(0),
        });
        let listener = sockets::listen(port.address()).await.context("the proxy cannot listen")?;
        let (accept, accept_changes) = watch::channel((0, Accept::Pass));
        let (applied, accept_applied) = watch::channel(0);
        let acceptor = Acceptor {
            address: port.address(),
            listener: Some(listener),
            shared: Arc::clone(&shared),
            changes: accept_changes,
            applied,
            connections: JoinSet::new(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(acceptor.run());
        Ok(Self { port, shared, accept, accept_applied, _tasks: tasks })
    }

    /// Where clients connect. It stays the same while the proxy lives, whatever the faults.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port of [`FaultProxy::address`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Sends new connections elsewhere; those that exist stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Puts one direction under a fault, in place of the one before. Byte counts of the fault begin anew.
    pub fn set(&self, direction: Direction, fault: Fault) {
        match direction {
            Direction::ToServer => self.shared.to_server.send_replace(fault),
            Direction::ToClient => self.shared.to_client.send_replace(fault),
        };
    }

    /// Puts both directions under the same fault.
    pub fn set_both(&self, fault: Fault) {
        self.set(Direction::ToServer, fault);
        self.set(Direction::ToClient, fault);
    }

    /// Says something in one direction on every connection there is, after what was read for it so far: between two
    /// replies of a server, as long as each of them came whole. The direction's fault does not apply to it.
    pub fn burst_out(&self, direction: Direction, outburst: Outburst) {
        self.shared.outburst.send_modify(|(number, last)| {
            *number += 1;
            *last = Some((direction, outburst));
        });
    }

    /// What happens to new connections. Returns when it has come into force: after `Refuse` nobody connects any more.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on again.
    pub async fn accept(&self, mode: Accept) -> anyhow::Result<()> {
        let mut change = 0;
        self.accept.send_modify(|(number, accept)| {
            *number += 1;
            *accept = mode;
            change = *number;
        });
        let mut applied = self.accept_applied.clone();
        let in_force = tokio::time::timeout(WAIT, applied.wait_for(|number| *number >= change)).await;
        in_force.context("the proxy cannot listen again")?.context("the proxy has ended")?;
        Ok(())
    }

    /// The upstream dies without a word behind a middlebox that lives: what clients send is acknowledged and lost, nothing
    /// comes back, no socket is closed. New connections are accepted, and end up in the same void.
    ///
    /// # Errors
    ///
    /// See [`FaultProxy::accept`].
    pub async fn keep_acknowledging_with_dead_upstream(&self) -> anyhow::Result<()> {
        self.set_both(Fault::Swallow);
        self.accept(Accept::Silent).await
    }

    /// No fault any more. A connection that lost bytes stays without them; one whose peer closed meanwhile is closed
    /// now; one that was accepted in silence stays silent.
    ///
    /// # Errors
    ///
    /// See [`FaultProxy::accept`].
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.set_both(Fault::Pass);
        self.accept(Accept::Pass).await
    }

    /// Closes all connections on both sides, and returns when they are closed. A connection counts from
    /// [`FaultProxy::wait_for_connections`] on; before that it may still wait in the kernel's queue, and is spared.
    ///
    /// # Errors
    ///
    /// When they do not close, which would be an error of the proxy.
    pub async fn cut_all(&self) -> anyhow::Result<()> {
        self.end_all(Ending::Close).await
    }

    /// Resets all connections on both sides (RST), and returns when that is done.
    ///
    /// # Errors
    ///
    /// When they do not end, which would be an error of the proxy.
    pub async fn reset_all(&self) -> anyhow::Result<()> {
        self.end_all(Ending::Reset).await
    }

    async fn end_all(&self, ending: Ending) -> anyhow::Result<()> {
        self.shared.cut.send_modify(|(number, how)| {
            *number += 1;
            *how = ending;
        });
        // Clients may connect anew at once; those connections are not waited for.
        let accepted_before = self.connections();
        until(WAIT, "the connections to end", || {
            let accepted_since = self.connections() - accepted_before;
            u64::try_from(self.open_connections()).is_ok_and(|open| open <= accepted_since)
        })
        .await
    }

    /// How many connections were accepted so far, whatever became of them.
    #[must_use]
    pub fn connections(&self) -> u64 {
        *self.shared.accepted.borrow()
    }

    /// How many connections the proxy holds now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many bytes were passed on in that direction, over all connections.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes(direction).load(Ordering::SeqCst)
    }

    /// Waits until `count` connections have been accepted in all.
    ///
    /// # Errors
    ///
    /// When they do not come within ten seconds.
    pub async fn wait_for_connections(&self, count: u64) -> anyhow::Result<()> {
        let mut accepted = self.shared.accepted.subscribe();
        let wait = tokio::time::timeout(WAIT, accepted.wait_for(|accepted| *accepted >= count)).await;
        wait.with_context(|| format!("waited for {count} connections, {} came", self.connections()))??;
        Ok(())
    }
}

impl Shared {
    fn bytes(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.bytes_to_server,
            Direction::ToClient => &self.bytes_to_client,
        }
    }

    fn upstream(&self) -> SocketAddr {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Acceptor {
    address: SocketAddr,
    listener: Option<TcpListener>,
    shared: Arc<Shared>,
    changes: watch::Receiver<(u64, Accept)>,
    applied: watch::Sender<u64>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self) {
        loop {
            let (change, mode) = *self.changes.borrow_and_update();
            if mode == Accept::Refuse {
                // With the listener go the connections that the kernel had accepted on its behalf.
                self.listener = None;
            } else if self.listener.is_none() {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => self.listener = Some(listener),
                    // The port is claimed, so only a passing shortage can be in the way. `FaultProxy::accept` reports it.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                }
            }
            self.applied.send_replace(change);
            tokio::select! {
                biased;
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(_ended) = self.connections.join_next() => {}
                accepted = accept(self.listener.as_ref()) => {
                    if let Ok(client) = accepted {
                        self.admit(client, mode);
                    }
                }
            }
        }
    }

    fn admit(&mut self, client: TcpStream, mode: Accept) {
        let shared = Arc::clone(&self.shared);
        // Subscribed to here and not in the task, so that a cut right after the accept reaches the connection.
        let cut = shared.cut.subscribe();
        let open = OpenGuard::new(&shared);
        shared.accepted.send_modify(|accepted| *accepted += 1);
        self.connections.spawn(async move {
            match mode {
                Accept::Pass => serve(client, &shared, cut).await,
                Accept::Silent => hold(client, cut).await,
                Accept::CloseAtOnce | Accept::Refuse => sockets::close(&client),
                Accept::Reset => sockets::prepare_reset(&client),
            }
            drop(open);
        });
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Counts a connection as open, also while its task is being cancelled.
struct OpenGuard(Arc<Shared>);

impl OpenGuard {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn cut_comes(cut: &mut watch::Receiver<(u64, Ending)>) -> Ending {
    match cut.changed().await {
        Ok(()) => cut.borrow().1,
        Err(_proxy_is_gone) => Ending::Close,
    }
}

/// Accepts and acknowledges, and never answers.
async fn hold(mut client: TcpStream, mut cut: watch::Receiver<(u64, Ending)>) {
    let ending = tokio::select! {
        ending = cut_comes(&mut cut) => ending,
        () = sockets::discard(&mut client) => Ending::Close,
    };
    ending.apply(&client);
}

async fn serve(mut client: TcpStream, shared: &Shared, mut cut: watch::Receiver<(u64, Ending)>) {
    let upstream = shared.upstream();
    let Ok((socket, handle)) = sockets::with_handle(upstream) else { return sockets::prepare_reset(&client) };
    let connecting = tokio::select! {
        ending = cut_comes(&mut cut) => {
            // The server may have accepted already, and is then owed the same ending. Only the handle is left to say it.
            if ending == Ending::Reset {
                sockets::prepare_reset(&handle);
            }
            return ending.apply(&client);
        }
        connecting = socket.connect(upstream) => connecting,
    };
    // Two descriptors of one socket: it would close only with the second.
    drop(handle);
    // A server that is not there would have refused; the nearest to that, once accepted, is a reset.
    let Ok(mut server) = connecting else { return sockets::prepare_reset(&client) };
    // A proxy that gathers small packets would be a fault that nobody asked for.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);

    let ending = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let pump = |direction, faults: &watch::Sender<Fault>| {
            Pump::new(direction, faults.subscribe(), shared.outburst.subscribe(), shared.bytes(direction))
        };
        let forth = pump(Direction::ToServer, &shared.to_server);
        let back = pump(Direction::ToClient, &shared.to_client);
        tokio::select! {
            ending = cut_comes(&mut cut) => ending,
            both = async { tokio::try_join!(forth.run(client_reads, server_writes), back.run(server_reads, client_writes)) } => {
                match both {
                    Ok(((), ())) => Ending::Close,
                    Err(ending) => ending,
                }
            }
        }
    };
    ending.apply(&client);
    ending.apply(&server);
}
