//! No client at all: a tokio socket that counts bytes or waits for a reply it does not parse. The floor for part of the cells.

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use super::{Block, Delivery, Subscribe, Subscription};
use crate::{address::Address, data};

/// What it is.
pub(super) const LABEL: &str = "bare socket";

const BUFFER_BYTES: usize = 64 * 1_024;

/// The floor.
pub(crate) enum Bare {}

/// A socket of either kind.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn connect(address: &Address) -> Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Address::Cluster(_) => bail!("a bare socket knows no cluster"),
        }
    }

    /// Sends a command.
    async fn send(&mut self, command: &str) -> Result<()> {
        match self {
            Self::Tcp(stream) => send(stream, command).await,
            Self::Unix(stream) => send(stream, command).await,
        }
    }

    /// Reads what there is; the number of bytes.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<u64> {
        match self {
            Self::Tcp(stream) => read(stream, buffer).await,
            Self::Unix(stream) => read(stream, buffer).await,
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), command: &str) -> Result<()> {
    Ok(stream.write_all(format!("{command}\r\n").as_bytes()).await?)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<u64> {
    match stream.read(buffer).await? {
        0 => bail!("the server closed the connection"),
        count => Ok(count as u64),
    }
}

/// A subscribed socket.
pub(crate) struct BareSubscription {
    socket: Socket,
    buffer: Vec<u8>,
    /// Size of one message on the wire.
    message_bytes: u64,
    /// Bytes of a message that is not complete yet.
    partial_bytes: u64,
}

impl Subscribe for Bare {
    type Subscription = BareSubscription;

    async fn subscribe(address: &Address, channel: &str) -> Result<Self::Subscription> {
        let mut socket = Socket::connect(address).await?;
        socket.send(&format!("SUBSCRIBE {channel}")).await?;
        let confirmation = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:1\r\n", channel.len()).len() as u64;
        let payload = data::MESSAGE_BYTES;
        let frame = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${payload}\r\n\r\n", channel.len());
        let message_bytes = (frame.len() + payload) as u64;

        let mut buffer = vec![0; BUFFER_BYTES];
        let mut read = 0;
        while read < confirmation {
            read += socket.read(&mut buffer).await?;
        }
        Ok(BareSubscription { socket, buffer, message_bytes, partial_bytes: read - confirmation })
    }
}

impl Subscription for BareSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        self.partial_bytes += self.socket.read(&mut self.buffer).await?;
        let messages = self.partial_bytes / self.message_bytes;
        self.partial_bytes %= self.message_bytes;
        Ok(Delivery::Messages(messages))
    }
}

impl Block for Bare {
    type Lane = Socket;

    async fn open_lane(address: &Address) -> Result<Self::Lane> {
        Socket::connect(address).await
    }

    async fn brpop(mut lane: Self::Lane, key: &str) -> Result<()> {
        lane.send(&format!("BRPOP {key} 0")).await?;
        lane.read(&mut [0; 64]).await?;
        Ok(())
    }
}
