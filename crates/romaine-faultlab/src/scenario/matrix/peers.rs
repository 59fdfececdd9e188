//! The clients beside which romaine is measured, as `peers.toml` lists them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::fault::Topology;
use super::plan::Cell;
use crate::scenario::subject::Driver;

/// A client that is measured.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Its name, such as `go-redis`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is written in.
    pub language: String,
    /// What it can connect to.
    pub topologies: Vec<Topology>,
    /// The program that drives it.
    pub driver: Driver,
    /// What its driver cannot do: names of loads, `shard`, `clients`, each perhaps with ` on ` and a topology.
    pub unsupported: Vec<String>,
    /// Why it cannot be run here, if that is so.
    pub missing: Option<String>,
}

impl Contestant {
    /// romaine, driven by a program that speaks the line protocol.
    #[must_use]
    pub fn romaine(program: impl Into<OsString>, arguments: &[&str]) -> Self {
        Self {
            name: "romaine".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            language: "Rust".into(),
            topologies: vec![Topology::Standalone, Topology::Sentinel, Topology::Cluster],
            driver: Driver::romaine(program, arguments),
            unsupported: Vec::new(),
            missing: None,
        }
    }

    /// Why a cell is none for it, if that is so.
    pub(super) fn cannot(&self, cell: Cell) -> Option<String> {
        if let Some(missing) = &self.missing {
            return Some(missing.clone());
        }
        let topology = cell.fault.topology();
        if !self.topologies.contains(&topology) {
            return Some(format!("its driver has no {}", topology.name()));
        }
        let lacks = |need: &&str| {
            let here = format!("{need} on {}", topology.name());
            self.unsupported.iter().any(|lacking| lacking == need || *lacking == here)
        };
        cell.needs().into_iter().find(lacks).map(|need| format!("its driver has no {need}"))
    }
}

/// The list.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Peers {
    /// One table for each.
    #[serde(alias = "peers", alias = "client", alias = "clients", default)]
    pub peer: Vec<Peer>,
}

/// One entry of the list.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// What it is written in.
    #[serde(default)]
    pub language: String,
    /// The program that drives it, and its arguments.
    pub run: Vec<String>,
    /// Where that runs, below the list's own directory.
    #[serde(default)]
    pub dir: String,
    /// What it can connect to: `standalone`, `sentinel`, `cluster`.
    #[serde(default)]
    pub topologies: Vec<String>,
    /// What its driver cannot do.
    #[serde(default)]
    pub unsupported: Vec<String>,
}

impl Peers {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not understood.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    /// The clients of the list, whose drivers lie below `root`.
    #[must_use]
    pub fn contestants(&self, root: &Path) -> Vec<Contestant> {
        self.peer.iter().map(|peer| peer.contestant(root)).collect()
    }
}

impl Peer {
    fn contestant(&self, root: &Path) -> Contestant {
        let dir = std::path::absolute(root.join(&self.dir)).unwrap_or_else(|_| root.join(&self.dir));
        let mut command: Vec<OsString> = self.run.iter().map(Into::into).collect();
        let mut missing = self.run.is_empty().then(|| "it has no command to run".to_owned());
        if let Some(program) = command.first_mut() {
            let written = Path::new(&*program);
            // A path, and not a name to be looked up.
            if written.components().count() > 1 {
                let found = dir.join(written);
                if !found.exists() {
                    missing = Some(format!("{} has not been built", written.display()));
                }
                *program = found.into();
            } else if !is_in_path(written) {
                missing = Some(format!("there is no {}", written.display()));
            }
        }
        let all = [Topology::Standalone, Topology::Sentinel, Topology::Cluster];
        let topologies = all.into_iter().filter(|topology| {
            self.topologies.is_empty() && *topology == Topology::Standalone
                || self.topologies.iter().any(|name| name == topology.name())
        });
        Contestant {
            name: self.name.clone(),
            version: self.version.clone(),
            language: self.language.clone(),
            topologies: topologies.collect(),
            driver: Driver::Program { name: self.name.clone(), command, dir: Some(dir) },
            unsupported: self.unsupported.clone(),
            missing,
        }
    }
}

fn is_in_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::super::plan::Under;
    use super::*;

    #[test]
    fn a_list_is_read_and_what_is_missing_is_said() {
        let text = r#"
            [[peer]]
            name = "one"
            version = "1.2"
            language = "Sh"
            dir = "one"
            build = ["true"]
            run = ["sh", "drive.sh"]
            tools = ["sh"]
            topologies = ["standalone", "cluster"]
            unsupported = ["droppers", "shard on cluster"]
            [[peer]]
            name = "other"
            run = ["bin/other"]
        "#;
        let peers: Peers = toml::from_str(text).unwrap();
        let [one, other] = peers.contestants(Path::new("/nowhere")).try_into().unwrap();
        assert_eq!((one.missing.as_deref(), one.version.as_str()), (None, "1.2"));
        let cell = |fault, variant, under| one.cannot(Cell { fault, variant, under });
        assert_eq!(cell(Fault::F01, "", Under::Idle), None);
        assert_eq!(cell(Fault::F19, "sunsubscribe", Under::Subscribed), None);
        assert_eq!(cell(Fault::F14, "killed", Under::Subscribed).as_deref(), Some("its driver has no shard"));
        assert_eq!(cell(Fault::F20, "", Under::Callers).as_deref(), Some("its driver has no droppers"));
        assert_eq!(cell(Fault::F11, "killed", Under::Callers).as_deref(), Some("its driver has no sentinel"));
        assert_eq!(other.missing.as_deref(), Some("bin/other has not been built"));
        assert_eq!(other.topologies, [Topology::Standalone]);
    }
}
