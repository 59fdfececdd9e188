//! Opens sockets: the only place of the client that does.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use romaine_proto::{Delivery, Dialling, Liveness, NodeAddress};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::clock;
use crate::config::{Address, Config};
use crate::error::{Error, ErrorKind, Result};

/// A byte stream to the server.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

impl Socket {
    /// Our own address, where there is one.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.tcp().and_then(|tcp| tcp.local_addr().ok())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Unix(_) => None,
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Makes closing discard what was not acknowledged. For a connection that is given up: its unsent requests were
    /// reported as unknown and must not arrive when the path heals.
    pub(crate) fn abort_on_close(&self) {
        if let Some(tcp) = self.tcp() {
            // Best effort: where it fails the kernel goes on trying for a while.
            let _ignored = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

macro_rules! each {
    ($socket:expr, $stream:ident => $result:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $result,
            Socket::Unix($stream) => $result,
            #[cfg(feature = "tls")]
            Socket::Tls($stream) => $result,
            #[cfg(test)]
            Socket::Memory($stream) => $result,
        }
    };
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    /// Only TLS holds bytes back.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A socket to a server.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    /// What it is called: the address reached, or what it announces where `address_map` led to another one.
    pub(crate) node: Arc<str>,
    /// The address reached.
    pub(crate) reached: Arc<str>,
    /// When the dial began that led there.
    pub(crate) began: Instant,
}

/// Resolves, connects and speaks TLS, each step under its own deadline. What is dialled may be another address than the
/// one the server is known by; the name that TLS verifies is of the latter.
///
/// The name is resolved on every call; when that fails the attempt fails: an old address is never used in its place.
/// An address has `limit` to answer, and is dialled again beside that after `again_after`, if anything.
pub(crate) async fn dial(config: &Config, limit: Duration, again_after: Option<Duration>) -> Result<Dialled> {
    match &config.address {
        Address::Unix(path) => {
            let node: Arc<str> = path.display().to_string().into();
            let began = clock::now();
            let connected = tokio::time::timeout(limit, UnixStream::connect(path)).await;
            match connected {
                Ok(Ok(stream)) => Ok(Dialled { socket: Socket::Unix(stream), reached: node.clone(), node, began }),
                Ok(Err(error)) => Err(cannot_connect(error).with_node(&node)),
                Err(_elapsed) => Err(too_slow("connect to", "connect_timeout").with_node(&node)),
            }
        }
        Address::Tcp { host, port } => {
            let node: Arc<str> = config.address.to_string().into();
            let announced = NodeAddress::new(host.as_str(), *port);
            let way = config.dialled(&announced).map_err(|error| error.with_node(&node))?;
            let dialled = way.as_ref().unwrap_or(&announced);
            let connected = match resolve(config, dialled.host(), dialled.port()).await {
                Ok(addresses) => connect_any(config, &addresses, limit, again_after).await,
                Err(error) => Err(error),
            };
            let (tcp, began) = connected.map_err(|error| on_the_way(error, way.as_ref()).with_node(&node))?;
            let reached: Arc<str> = tcp.peer_addr().map_or_else(|_| node.clone(), |peer| peer.to_string().into());
            let socket = secure(config, tcp).await.map_err(|error| error.with_node(&node))?;
            Ok(Dialled { socket, node: if way.is_some() { node } else { reached.clone() }, reached, began })
        }
    }
}

async fn resolve(config: &Config, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let lookup = tokio::time::timeout(config.resolve_timeout, tokio::net::lookup_host((host, port))).await;
    let failed = |message| Error::new(ErrorKind::Connect, Delivery::NotSent, message);
    match lookup {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if addresses.is_empty() { Err(failed("the host name has no address")) } else { Ok(addresses) }
        }
        Ok(Err(error)) => Err(failed("the host name cannot be resolved").with_source(error)),
        Err(_elapsed) => Err(too_slow("resolve the host name of", "resolve_timeout")),
    }
}

/// The first of the addresses that answers, and when its dial began.
pub(crate) async fn connect_any(
    config: &Config,
    addresses: &[SocketAddr],
    limit: Duration,
    again_after: Option<Duration>,
) -> Result<(TcpStream, Instant)> {
    let mut dialling = Dialling::new(clock::now(), addresses.len(), limit, again_after);
    let mut dials = FuturesUnordered::new();
    let mut last = Error::new(ErrorKind::Connect, Delivery::NotSent, "the host name has no address");
    loop {
        let now = clock::now();
        if let Some(address) = dialling.poll(now).and_then(|place| addresses.get(place)) {
            dials.push(connect(*address, &config.liveness).map(move |connected| (connected, now)));
        }
        if dials.is_empty() {
            return Err(last);
        }
        if now >= dialling.end() {
            return Err(too_slow("connect to", "connect_timeout"));
        }
        match tokio::time::timeout_at(dialling.next_timeout().into(), dials.next()).await {
            Ok(Some((Ok(stream), began))) => return Ok((stream, began)),
            Ok(Some((Err(error), _))) => {
                last = cannot_connect(error);
                if !dialling.failed(clock::now()) {
                    return Err(last);
                }
            }
            // The next one is due, or all is over.
            Ok(None) | Err(_) => {}
        }
    }
}

async fn connect(address: SocketAddr, liveness: &Liveness) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let stream = socket.connect(address).await?;
    // A port of our own host in the ephemeral range can be "connected" to itself while its server is down.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the socket was connected to itself"));
    }
    stream.set_nodelay(true)?;
    watch_by_kernel(&stream, liveness);
    Ok(stream)
}

/// Keepalive and user timeout, on every new socket (hiredis#593: they were lost with the first reconnect).
fn watch_by_kernel(stream: &TcpStream, liveness: &Liveness) {
    let socket = socket2::SockRef::from(stream);
    if let Some(keepalive) = liveness.keepalive {
        let settings = socket2::TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.count);
        if let Err(error) = socket.set_tcp_keepalive(&settings) {
            tracing::warn!(%error, "the kernel refuses keepalive settings; the watchdog is on its own");
        }
    }
    #[cfg(target_os = "linux")]
    if let Some(limit) = liveness.user_timeout
        && let Err(error) = socket.set_tcp_user_timeout(Some(limit))
    {
        tracing::warn!(%error, "the kernel refuses TCP_USER_TIMEOUT; the watchdog is on its own");
    }
}

#[cfg(feature = "tls")]
async fn secure(config: &Config, tcp: TcpStream) -> Result<Socket> {
    let Some(tls) = &config.tls else { return Ok(Socket::Tcp(tcp)) };
    let connector = tokio_rustls::TlsConnector::from(tls.client_config()?);
    let name = tls.name(&config.address)?;
    let failed = |message| Error::new(ErrorKind::Tls, Delivery::NotSent, message);
    match tokio::time::timeout(config.tls_timeout, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(failed("the TLS handshake failed").with_source(error)),
        Err(_elapsed) => Err(failed("the TLS handshake did not end in time (tls_timeout)")),
    }
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "the same signature with and without TLS")]
async fn secure(_config: &Config, tcp: TcpStream) -> Result<Socket> {
    Ok(Socket::Tcp(tcp))
}

/// Says by which other address it was tried: that is what may be wrong.
fn on_the_way(error: Error, way: Option<&NodeAddress>) -> Error {
    match way {
        None => error,
        Some(dialled) => {
            let message = format!("cannot connect by way of {dialled} (address_map)");
            Error::new(error.kind(), error.delivery(), message).with_source(error)
        }
    }
}

fn cannot_connect(error: io::Error) -> Error {
    Error::new(ErrorKind::Connect, Delivery::NotSent, "cannot connect").with_source(error)
}

fn too_slow(what: &str, setting: &str) -> Error {
    Error::new(ErrorKind::Connect, Delivery::NotSent, format!("cannot {what} the server in time ({setting})"))
}
