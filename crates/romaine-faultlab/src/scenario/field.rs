//! A server with a network in front of it that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Direction, DropDirection, Fault, FaultProxy, Namespace, Server, ServerBuilder};

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All of them.
    Both,
    /// Those from the server to the client.
    ToClient,
    /// Those from the client to the server.
    ToServer,
}

/// The way from the client under test to its server.
#[derive(Debug, Clone)]
pub enum Path {
    /// A cable into a network namespace: packets are lost by the kernel.
    Namespace(Namespace),
    /// A proxy: bytes are held back, while the kernel acknowledges them.
    Proxy(Arc<FaultProxy>),
}

/// A real server, and the way to it.
#[derive(Debug, Clone)]
pub struct Field {
    /// The server.
    pub server: Arc<Server>,
    /// The way to it.
    pub path: Path,
    address: SocketAddr,
}

impl Field {
    /// A server in a network namespace.
    ///
    /// # Errors
    ///
    /// When there are no namespaces here, or the server does not start.
    pub async fn in_namespace(server: ServerBuilder) -> anyhow::Result<Self> {
        let namespace = Namespace::create().await?;
        let server = Arc::new(server.in_namespace(&namespace).start().await?);
        Ok(Self { address: server.address(), server, path: Path::Namespace(namespace) })
    }

    /// A server behind a proxy.
    ///
    /// # Errors
    ///
    /// When the server does not start.
    pub async fn behind_proxy(server: ServerBuilder) -> anyhow::Result<Self> {
        let server = Arc::new(server.start().await?);
        let proxy = FaultProxy::start(server.address()).await?;
        Ok(Self { address: proxy.address(), server, path: Path::Proxy(Arc::new(proxy)) })
    }

    /// Where the client under test connects.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The proxy, if that is the way.
    #[must_use]
    pub fn proxy(&self) -> Option<&FaultProxy> {
        match &self.path {
            Path::Namespace(_) => None,
            Path::Proxy(proxy) => Some(proxy),
        }
    }

    /// Loses packets without a word.
    ///
    /// # Errors
    ///
    /// When the packet filter refuses.
    pub async fn cut(&self, cut: Cut) -> anyhow::Result<()> {
        match &self.path {
            Path::Namespace(namespace) => {
                let direction = match cut {
                    Cut::Both => DropDirection::Both,
                    Cut::ToClient => DropDirection::ToClient,
                    Cut::ToServer => DropDirection::ToServer,
                };
                namespace.drop_packets(direction).await
            }
            Path::Proxy(proxy) => {
                // Held back and not thrown away: after a cut TCP would send again what was lost.
                if cut != Cut::ToServer {
                    proxy.set(Direction::ToClient, Fault::Stall);
                }
                if cut != Cut::ToClient {
                    proxy.set(Direction::ToServer, Fault::Stall);
                }
                Ok(())
            }
        }
    }

    /// Ends the cut.
    ///
    /// # Errors
    ///
    /// When the packet filter refuses.
    pub async fn heal(&self) -> anyhow::Result<()> {
        match &self.path {
            Path::Namespace(namespace) => namespace.heal().await,
            Path::Proxy(proxy) => proxy.heal().await,
        }
    }

    /// Kills every connection of the client under test, of every type, and tells how many.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn kill_clients(&self) -> anyhow::Result<i64> {
        let mut killed = 0;
        for kind in ["normal", "pubsub"] {
            let reply = self.server.command(&["CLIENT", "KILL", "TYPE", kind, "USER", "default"]).await?;
            killed += reply.as_int().unwrap_or(0);
        }
        Ok(killed)
    }
}
