//! Where the server listens.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context as _, Result, bail};

/// The server's address, as the clients are told it.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A port of the loopback interface.
    Tcp {
        /// Host, as an IP address, so that no client spends time on name lookup.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// The primaries of a cluster, on ports of the loopback interface: host and port.
    Cluster(Vec<(String, u16)>),
}

impl Address {
    /// The address as a URL; clients differ only in how they call the schemes of a unix socket and of a cluster.
    pub(crate) fn url(&self, unix_scheme: &str, cluster_scheme: &str) -> String {
        match self {
            Self::Tcp { host, port } => format!("redis://{host}:{port}"),
            Self::Unix(path) => format!("{unix_scheme}://{}", path.display()),
            Self::Cluster(nodes) => format!("{cluster_scheme}://{}", join(nodes)),
        }
    }

    /// The single servers: the nodes of a cluster, or else the one there is.
    pub(crate) fn nodes(&self) -> Vec<Self> {
        match self {
            Self::Tcp { .. } | Self::Unix(_) => vec![self.clone()],
            Self::Cluster(nodes) => {
                nodes.iter().map(|(host, port)| Self::Tcp { host: host.clone(), port: *port }).collect()
            }
        }
    }

    /// Whether this is a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// The address as options of redis-benchmark.
    pub(crate) fn benchmark_options(&self) -> Vec<String> {
        match self {
            Self::Tcp { host, port } => vec!["-h".into(), host.clone(), "-p".into(), port.to_string()],
            Self::Unix(path) => vec!["-s".into(), path.display().to_string()],
            Self::Cluster(_) => {
                let first = self.nodes().first().map(Self::benchmark_options).unwrap_or_default();
                [vec!["--cluster".into()], first].concat()
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Cluster(nodes) => write!(f, "cluster:{}", join(nodes)),
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(nodes) = text.strip_prefix("cluster:") {
            return Ok(Self::Cluster(nodes.split(',').map(host_and_port).collect::<Result<_>>()?));
        }
        let Some(server) = text.strip_prefix("tcp:") else {
            bail!("`{text}` is none of tcp:HOST:PORT, unix:PATH and cluster:HOST:PORT,HOST:PORT…");
        };
        let (host, port) = host_and_port(server)?;
        Ok(Self::Tcp { host, port })
    }
}

fn host_and_port(text: &str) -> Result<(String, u16)> {
    let (host, port) = text.rsplit_once(':').with_context(|| format!("`{text}` is not HOST:PORT"))?;
    Ok((host.to_owned(), port.parse().with_context(|| format!("port of `{text}`"))?))
}

fn join(nodes: &[(String, u16)]) -> String {
    nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for text in ["tcp:127.0.0.1:6379", "unix:/tmp/redis.sock", "cluster:127.0.0.1:7000,127.0.0.1:7001"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("127.0.0.1:6379".parse::<Address>().is_err());
        assert!("cluster:127.0.0.1:7000,7001".parse::<Address>().is_err());
    }

    #[test]
    fn a_cluster_is_all_of_its_nodes() {
        let cluster: Address = "cluster:127.0.0.1:7000,127.0.0.1:7001".parse().unwrap();
        assert_eq!(cluster.url("unix", "redis-cluster"), "redis-cluster://127.0.0.1:7000,127.0.0.1:7001");
        assert_eq!(
            cluster.nodes().iter().map(Address::to_string).collect::<Vec<_>>(),
            ["tcp:127.0.0.1:7000", "tcp:127.0.0.1:7001"]
        );
    }
}
