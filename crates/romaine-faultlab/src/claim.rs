//! Numbers (ports, subnets) that parallel tests and parallel test processes share out among themselves.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context as _;

/// Ports come from below the kernel's ephemeral range, for two reasons. A server that is down for a while must find its
/// port again, and no outgoing connection takes a port from here. And a client that dials a closed *ephemeral* port
/// on the loopback in a loop sooner or later connects to itself. The upper end leaves room for the bus port of
/// a cluster node, which is the port + 10,000.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

const ATTEMPTS: usize = 200;

/// A number that is ours until this is dropped: an advisory lock on a file named after it, which the kernel takes back
/// even when the process is killed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) number: u16,
    _lock: File,
}

impl Claim {
    /// `None` when somebody else has the number.
    pub(crate) fn take(kind: &str, number: u16) -> anyhow::Result<Option<Self>> {
        // Not the configurable temporary directory: two processes with a different TMPDIR share the same network.
        let uid = rustix::process::geteuid().as_raw();
        let dir = PathBuf::from(format!("/tmp/romaine-faultlab-{uid}"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("{kind}-{number}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { number, _lock: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// A number from `range` for which `is_free` holds.
    pub(crate) fn any(kind: &str, range: std::ops::Range<u16>, is_free: impl Fn(u16) -> bool) -> anyhow::Result<Self> {
        for _ in 0..ATTEMPTS {
            let Some(claim) = Self::take(kind, fastrand::u16(range.clone()))? else { continue };
            if is_free(claim.number) {
                return Ok(claim);
            }
        }
        anyhow::bail!("no free {kind} in {range:?} after {ATTEMPTS} attempts")
    }
}

/// A TCP port on 127.0.0.1 that no other faultlab test takes while this lives, whether something listens on it or not.
///
/// By itself it is a port where connections are refused.
#[derive(Debug)]
pub struct Port {
    claim: Claim,
}

impl Port {
    /// Claims a port on which nothing listens.
    ///
    /// # Errors
    ///
    /// When the lock directory cannot be written, or no port is free.
    pub fn claim() -> anyhow::Result<Self> {
        let claim = Claim::any("port", PORTS, |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        Ok(Self { claim })
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.claim.number
    }

    /// The port on the loopback.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number()))
    }
}
