//! A line of `CLIENT LIST`.

use std::collections::BTreeMap;
use std::str::FromStr;

use romaine_resp::Reader;

use super::fields::text;
use crate::convert::{ConversionError, FromValue};

/// One client as the server sees it: a line of `CLIENT LIST`, or the reply of `CLIENT INFO`.
///
/// Fields that some server versions do not send are options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientEntry {
    /// Unique among the clients this server process ever had.
    pub id: i64,
    /// Address and port of the client.
    pub addr: String,
    /// Address and port of the server end (since 6.2).
    pub laddr: Option<String>,
    /// Set by `CLIENT SETNAME`.
    pub name: String,
    /// Seconds since it connected.
    pub age: i64,
    /// Seconds since its last command.
    pub idle: i64,
    /// Letters: `N` normal, `M` primary, `S` replica, `P` subscriber, `b` blocked, `x` in a transaction, `t` tracking, ….
    pub flags: String,
    /// The selected database.
    pub db: i64,
    /// Subscriptions to channels.
    pub sub: i64,
    /// Subscriptions to patterns.
    pub psub: i64,
    /// Subscriptions to shard channels (since 7.0.3).
    pub ssub: Option<i64>,
    /// Commands queued in a transaction; -1 outside one.
    pub multi: i64,
    /// Keys it watches (since 7.4).
    pub watch: Option<i64>,
    /// Bytes of requests not yet executed.
    pub qbuf: i64,
    /// Replies in the output list.
    pub oll: i64,
    /// Bytes in the output list.
    pub omem: i64,
    /// All memory of this client (since 6.2).
    pub tot_mem: Option<i64>,
    /// `r` readable, `w` writable.
    pub events: String,
    /// The last command.
    pub cmd: String,
    /// The user (since 6.0).
    pub user: Option<String>,
    /// Where invalidations of this client go (since 6.2).
    pub redir: Option<i64>,
    /// Protocol version (since 7.0).
    pub resp: Option<i64>,
    /// The client library (since 7.2).
    pub lib_name: Option<String>,
    /// Its version (since 7.2).
    pub lib_ver: Option<String>,
    /// Everything else, by name.
    pub extra: BTreeMap<String, String>,
}

impl ClientEntry {
    /// Reads one line of `name=value` words. A number that is none counts as 0.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut entry = Self::default();
        for word in line.split_ascii_whitespace() {
            if let Some((name, value)) = word.split_once('=') {
                entry.set(name, value);
            }
        }
        entry
    }

    fn set(&mut self, name: &str, value: &str) {
        let text = || value.to_owned();
        match name {
            "id" => self.id = number(value),
            "addr" => self.addr = text(),
            "laddr" => self.laddr = Some(text()),
            "name" => self.name = text(),
            "age" => self.age = number(value),
            "idle" => self.idle = number(value),
            "flags" => self.flags = text(),
            "db" => self.db = number(value),
            "sub" => self.sub = number(value),
            "psub" => self.psub = number(value),
            "ssub" => self.ssub = value.parse().ok(),
            "multi" => self.multi = number(value),
            "watch" => self.watch = value.parse().ok(),
            "qbuf" => self.qbuf = number(value),
            "oll" => self.oll = number(value),
            "omem" => self.omem = number(value),
            "tot-mem" => self.tot_mem = value.parse().ok(),
            "events" => self.events = text(),
            "cmd" => self.cmd = text(),
            "user" => self.user = Some(text()),
            "redir" => self.redir = value.parse().ok(),
            "resp" => self.resp = value.parse().ok(),
            "lib-name" => self.lib_name = Some(text()),
            "lib-ver" => self.lib_ver = Some(text()),
            _ => {
                self.extra.insert(name.to_owned(), text());
            }
        }
    }
}

fn number<T: FromStr + Default>(value: &str) -> T {
    value.parse().unwrap_or_default()
}

impl FromValue for ClientEntry {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        Ok(Self::parse(&text(reader)?))
    }
}

/// The reply of `CLIENT LIST`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients(pub Vec<ClientEntry>);

impl FromValue for Clients {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let text = text(reader)?;
        Ok(Self(text.lines().filter(|line| !line.trim().is_empty()).map(ClientEntry::parse).collect()))
    }
}

impl std::ops::Deref for Clients {
    type Target = [ClientEntry];

    fn deref(&self) -> &[ClientEntry] {
        &self.0
    }
}

impl IntoIterator for Clients {
    type Item = ClientEntry;
    type IntoIter = std::vec::IntoIter<ClientEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Clients {
    type Item = &'a ClientEntry;
    type IntoIter = std::slice::Iter<'a, ClientEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_old_or_a_new_server_is_read_and_the_rest_is_kept() {
        let old = ClientEntry::parse(
            "id=5 addr=127.0.0.1:60000 fd=8 name= age=3 idle=0 flags=N db=0 sub=0 psub=0 multi=-1 qbuf=26 qbuf-free=32742 \
             obl=0 oll=0 omem=0 events=r cmd=client",
        );
        assert_eq!((old.id, old.multi, old.user, old.laddr), (5, -1, None, None));
        assert_eq!(old.extra.get("fd").map(String::as_str), Some("8"));
        let new = ClientEntry::parse(
            "id=7 addr=/tmp/a.sock:0 laddr=/tmp/a.sock:0 fd=9 name=worker age=1 idle=1 flags=bP db=3 sub=1 psub=2 ssub=3 \
             multi=-1 watch=0 qbuf=0 omem=0 tot-mem=22296 events=r cmd=client|list user=default redir=-1 resp=3 \
             lib-name=romaine lib-ver=0.1.0 io-thread=1\n",
        );
        assert_eq!(new.ssub, Some(3));
        assert_eq!((new.cmd.as_str(), new.lib_name.as_deref(), new.resp), ("client|list", Some("romaine"), Some(3)));
        assert_eq!(new.extra.get("io-thread").map(String::as_str), Some("1"));
    }
}
