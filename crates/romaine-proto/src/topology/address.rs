//! The address of a node as the servers write it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Host (a name or an IP, without brackets) and port. Cheap to clone.
///
/// Two addresses are the same when they are written the same: names are not resolved, and capitals count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    host: Arc<str>,
    port: u16,
}

impl NodeAddress {
    /// An address; brackets around an IPv6 host are taken off.
    #[must_use]
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        let host = host.into();
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = inner.map(Arc::from).unwrap_or(host);
        Self { host, port }
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port, sharing the text.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: Arc::clone(&self.host), port }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressError;

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address must have the form host:port, with an IPv6 host in brackets")
    }
}

impl std::error::Error for AddressError {}

impl FromStr for NodeAddress {
    type Err = AddressError;

    /// Reads `host:port`, `[::1]:port`, and what servers write for the latter: `::1:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = host_and_port(text).ok_or(AddressError)?;
        if host.is_empty() { Err(AddressError) } else { Ok(Self::new(host, port)) }
    }
}

/// The two halves of `host:port`; the host may be empty, and loses its brackets.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    // `u16::from_str` takes a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None => Some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_is_read_back() {
        for text in ["10.0.0.5:6379", "[::1]:7000", "[fe80::1%eth0]:1", "redis-0.cache.svc:65535"] {
            let address: NodeAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn brackets_are_not_part_of_a_host() {
        let bare = NodeAddress::new("::1", 7000);
        assert_eq!(NodeAddress::new("[::1]", 7000), bare);
        assert_eq!("[::1]:7000".parse(), Ok(bare.clone()));
        assert_eq!("::1:7000".parse(), Ok(bare), "as in a MOVED");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "host", ":1", "host:", "host:65536", "host:+1", "host:-1", "[::1:7000", "[]:1", "h:1x"] {
            assert_eq!(text.parse::<NodeAddress>(), Err(AddressError), "{text}");
        }
    }
}
