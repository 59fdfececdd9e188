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
}

impl Address {
    /// The address as a URL; clients differ only in how they call the scheme of a unix socket.
    pub(crate) fn url(&self, unix_scheme: &str) -> String {
        match self {
            Self::Tcp { host, port } => format!("redis://{host}:{port}"),
            Self::Unix(path) => format!("{unix_scheme}://{}", path.display()),
        }
    }

    /// The address as options of redis-benchmark.
    pub(crate) fn benchmark_options(&self) -> Vec<String> {
        match self {
            Self::Tcp { host, port } => vec!["-h".into(), host.clone(), "-p".into(), port.to_string()],
            Self::Unix(path) => vec!["-s".into(), path.display().to_string()],
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let Some((host, port)) = text.strip_prefix("tcp:").and_then(|rest| rest.rsplit_once(':')) else {
            bail!("`{text}` is neither tcp:HOST:PORT nor unix:PATH");
        };
        let port = port.parse().with_context(|| format!("port of `{text}`"))?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for text in ["tcp:127.0.0.1:6379", "unix:/tmp/redis.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("127.0.0.1:6379".parse::<Address>().is_err());
    }
}
