//! The ways in which a TCP socket ends.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Listens on a port that is claimed. A process that is being started elsewhere in this one has for a moment a copy of
/// every socket, that of the claim's own look included: so the port may seem taken for a few milliseconds.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 100;
    loop {
        attempts -= 1;
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Ends the stream in an orderly way; the socket itself closes when it is dropped.
///
/// A socket closed with unread bytes sends a reset in place of the orderly end, hence the reading.
pub(crate) fn close(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let mut scratch = [0; 16 * 1024];
    while stream.try_read(&mut scratch).is_ok_and(|count| count > 0) {}
}

/// Has the socket send a reset when it is dropped.
pub(crate) fn prepare_reset(stream: &impl AsFd) {
    // Fails only on a socket that is already gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Reads, and so acknowledges, until the peer ends the stream.
pub(crate) async fn discard(stream: &mut TcpStream) {
    let mut scratch = [0; 16 * 1024];
    while stream.read(&mut scratch).await.is_ok_and(|count| count > 0) {}
}

/// A socket to connect to `peer` with, and a second handle on it for the time in which the connecting has it.
pub(crate) fn with_handle(peer: SocketAddr) -> io::Result<(TcpSocket, Socket)> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let handle = SockRef::from(&socket).try_clone()?;
    Ok((socket, handle))
}
