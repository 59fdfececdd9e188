//! Where an order's URL leads.

use anyhow::{Context as _, bail};

/// One server's host and port.
pub type Address = (String, u16);

/// A user's name, if there is one, and the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Empty for the default user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// What the addresses are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone(Address),
    /// Sentinels, and the name of the primary that they watch.
    Sentinel(Vec<Address>, String),
    /// Nodes of a cluster.
    Cluster(Vec<Address>),
}

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub topology: Topology,
    /// As whom.
    pub credentials: Option<Credentials>,
}

impl Target {
    /// Reads `redis://h:p`, `redis-sentinel://h1:p,h2:p/name` or `redis-cluster://h1:p,h2:p`, each perhaps with
    /// `user:password@` before the hosts.
    ///
    /// # Errors
    ///
    /// When it is none of these.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("the URL has no scheme")?;
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => {
                let (user, password) = who.split_once(':').unwrap_or(("", who));
                (Some(Credentials { user: user.to_owned(), password: password.to_owned() }), rest)
            }
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut hosts = hosts.split(',').map(address).collect::<anyhow::Result<Vec<_>>>()?;
        let topology = match scheme {
            "redis" if hosts.len() == 1 => Topology::Standalone(hosts.swap_remove(0)),
            "redis-sentinel" if !path.is_empty() => Topology::Sentinel(hosts, path.to_owned()),
            "redis-cluster" => Topology::Cluster(hosts),
            _ => bail!("the URL is not understood: {scheme}://…"),
        };
        Ok(Self { topology, credentials })
    }
}

fn address(text: &str) -> anyhow::Result<Address> {
    let (host, port) = text.rsplit_once(':').context("a host without a port")?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port.parse().context("not a port")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_is_read() -> anyhow::Result<()> {
        let at = |port| ("h".to_owned(), port);
        let plain = Target::parse("redis://h:1")?;
        assert_eq!(plain, Target { topology: Topology::Standalone(at(1)), credentials: None });
        let sentinel = Target::parse("redis-sentinel://u:p@h:1,h:2/mymaster")?;
        assert_eq!(sentinel.topology, Topology::Sentinel(vec![at(1), at(2)], "mymaster".into()));
        assert_eq!(sentinel.credentials, Some(Credentials { user: "u".into(), password: "p".into() }));
        assert_eq!(Target::parse("redis-cluster://h:1,h:2")?.topology, Topology::Cluster(vec![at(1), at(2)]));
        assert!(Target::parse("redis://h").is_err());
        Ok(())
    }
}
