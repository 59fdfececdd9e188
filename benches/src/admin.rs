//! A small blocking connection for what surrounds a measurement: is the server up, write the data, has everybody blocked.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::address::Address;

/// No answer within this time means that the server is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection of the benchmark's own.
pub(crate) struct Admin {
    stream: BufReader<Box<dyn Stream>>,
}

/// A reply, as far as the benchmark looks into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, an error aside.
    Status(String),
    /// An integer.
    Integer(i64),
    /// A bulk string; empty for nil.
    Bulk(String),
    /// An array.
    Array(Vec<Reply>),
}

impl Admin {
    /// Connects.
    pub(crate) fn connect(address: &Address) -> Result<Self> {
        let stream: Box<dyn Stream> = match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).with_context(|| address.to_string())?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).with_context(|| address.to_string())?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            Address::Cluster(_) => bail!("{address} is several servers"),
        };
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and reads its reply.
    pub(crate) fn command(&mut self, arguments: &[&str]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", arguments.len());
        for argument in arguments {
            request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.reply().with_context(|| arguments.first().copied().unwrap_or_default().to_owned())
    }

    /// The value of `field` in a section of INFO.
    pub(crate) fn info(&mut self, section: &str, field: &str) -> Result<String> {
        self.field(&["INFO", section], field)
    }

    /// The value of `field` in CLUSTER INFO.
    pub(crate) fn cluster_info(&mut self, field: &str) -> Result<String> {
        self.field(&["CLUSTER", "INFO"], field)
    }

    fn field(&mut self, command: &[&str], field: &str) -> Result<String> {
        let name = command.join(" ");
        let Reply::Bulk(text) = self.command(command)? else { bail!("{name} is not a bulk string") };
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned()).with_context(|| format!("no {field} in {name}"))
    }

    /// The keys of this server that match a pattern.
    pub(crate) fn keys(&mut self, pattern: &str) -> Result<Vec<String>> {
        let Reply::Array(keys) = self.command(&["KEYS", pattern])? else { bail!("KEYS is not an array") };
        let key = |reply| if let Reply::Bulk(key) = reply { Ok(key) } else { bail!("KEYS: {reply:?}") };
        keys.into_iter().map(key).collect()
    }

    /// How many clients wait in a blocking command.
    pub(crate) fn blocked_clients(&mut self) -> Result<usize> {
        Ok(self.info("clients", "blocked_clients")?.parse()?)
    }

    /// How many clients are subscribed to `channel`.
    pub(crate) fn subscribers(&mut self, channel: &str) -> Result<i64> {
        match self.command(&["PUBSUB", "NUMSUB", channel])? {
            Reply::Array(items) => match items.get(1) {
                Some(Reply::Integer(count)) => Ok(*count),
                other => bail!("PUBSUB NUMSUB: {other:?}"),
            },
            other => bail!("PUBSUB NUMSUB: {other:?}"),
        }
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((kind, rest)) = line.split_at_checked(1) else { bail!("the server closed the connection") };
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            ":" => Ok(Reply::Integer(rest.parse()?)),
            "$" => self.bulk(rest.parse()?),
            "*" => (0..rest.parse::<usize>()?).map(|_| self.reply()).collect::<Result<_>>().map(Reply::Array),
            _ => bail!("the server says: {line}"),
        }
    }

    fn bulk(&mut self, length: i64) -> Result<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Bulk(String::new())) };
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(Reply::Bulk(String::from_utf8(bytes)?))
    }
}
