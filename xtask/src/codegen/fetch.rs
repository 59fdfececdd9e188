//! Asks a running server for `COMMAND DOCS` and `COMMAND INFO` and stores the answer as data.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::data::{ArgumentData, CommandData, KeyData};

/// Writes what the server at hand says to `path`.
pub(super) fn run(path: &Path) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _server = Server::start(port)?;
    let mut link = connect(port)?;
    link.ask(&["HELLO", "3"])?;
    let info = link.ask(&["COMMAND"])?;
    let docs = link.ask(&["COMMAND", "DOCS"])?;
    let mut commands = BTreeMap::new();
    for row in list(&info) {
        read_command(row, docs.get(word(row, 0)).unwrap_or(&Value::Null), &mut commands)?;
    }
    let mut text = String::from("{\n");
    for (index, (name, command)) in commands.iter().enumerate() {
        let comma = if index + 1 == commands.len() { "" } else { "," };
        text.push_str(&format!("{}: {}{comma}\n", serde_json::to_string(name)?, serde_json::to_string(command)?));
    }
    text.push_str("}\n");
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {} commands to {}", commands.len(), path.display());
    Ok(())
}

/// A server that ends with this value.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Result<Self> {
        let program = std::env::var("ROMAINE_REDIS_SERVER").unwrap_or_else(|_unset| "redis-server".to_owned());
        let child = Command::new(&program)
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir", "/tmp"])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do about a failure here: the child is gone already.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn connect(port: u16) -> Result<Link> {
    // The server listens within milliseconds; yielding until it does costs less than guessing a pause.
    for _ in 0..2_000_000 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            return Ok(Link { reader: BufReader::new(stream.try_clone()?), stream });
        }
        std::thread::yield_now();
    }
    bail!("the server does not listen on port {port}")
}

struct Link {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Link {
    fn ask(&mut self, words: &[&str]) -> Result<Value> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(request.as_bytes())?;
        self.read()
    }

    /// One RESP3 value as JSON.
    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        Ok(match kind {
            "+" => Value::from(rest),
            ":" => Value::from(rest.parse::<i64>()?),
            "_" => Value::Null,
            "$" => {
                let mut body = vec![0; rest.parse::<usize>()? + 2];
                self.reader.read_exact(&mut body)?;
                body.truncate(body.len() - 2);
                Value::from(String::from_utf8(body)?)
            }
            "*" | "~" => Value::Array((0..rest.parse::<usize>()?).map(|_| self.read()).collect::<Result<_>>()?),
            "%" => {
                let mut map = Map::new();
                for _ in 0..rest.parse::<usize>()? {
                    let key = self.read()?;
                    map.insert(key.as_str().context("a key that is no string")?.to_owned(), self.read()?);
                }
                Value::Object(map)
            }
            _ => bail!("the server said {line}"),
        })
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(row: &Value, index: usize) -> &str {
    row.get(index).and_then(Value::as_str).unwrap_or_default()
}

fn text(doc: &Value, field: &str) -> String {
    doc.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn words(value: Option<&Value>) -> Vec<String> {
    let mut words: Vec<_> =
        value.map(list).unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect();
    words.sort();
    words
}

fn read_command(row: &Value, doc: &Value, commands: &mut BTreeMap<String, CommandData>) -> Result<()> {
    let name = word(row, 0).to_ascii_uppercase().replace('|', " ");
    let subcommands = row.get(9).map(list).unwrap_or_default();
    let keys: Vec<_> = row.get(8).map(list).unwrap_or_default().iter().map(key).collect::<Result<_>>()?;
    let flags = words(doc.get("doc_flags"));
    let command = CommandData {
        summary: text(doc, "summary"),
        since: text(doc, "since"),
        group: text(doc, "group"),
        complexity: text(doc, "complexity"),
        deprecated: flags.iter().any(|flag| flag == "deprecated"),
        container: !subcommands.is_empty(),
        arity: i16::try_from(row.get(1).and_then(Value::as_i64).context("an arity")?)?,
        flags: words(row.get(2)),
        acl: words(row.get(6)),
        tips: words(row.get(7)),
        keys,
        arguments: doc.get("arguments").map(list).unwrap_or_default().iter().map(argument).collect(),
    };
    commands.insert(name, command);
    for sub in subcommands {
        let sub_doc = doc.get("subcommands").and_then(|docs| docs.get(word(sub, 0))).unwrap_or(&Value::Null);
        read_command(sub, sub_doc, commands)?;
    }
    Ok(())
}

fn key(spec: &Value) -> Result<KeyData> {
    let search = &spec["begin_search"];
    let find = &spec["find_keys"];
    let number = |value: &Value| value.as_i64().context("a number");
    let index = &search["spec"]["index"];
    Ok(match (search["type"].as_str(), find["type"].as_str()) {
        (Some("index"), Some("range")) => {
            let first = number(index)?;
            let last = number(&find["spec"]["lastkey"])?;
            KeyData::Range {
                first: u8::try_from(first)?,
                last: i8::try_from(if last < 0 { last } else { first + last })?,
                step: u8::try_from(number(&find["spec"]["keystep"])?)?,
            }
        }
        (Some("index"), Some("keynum")) => KeyData::Counted {
            count: u8::try_from(number(index)? + number(&find["spec"]["keynumidx"])?)?,
            first: u8::try_from(number(index)? + number(&find["spec"]["firstkey"])?)?,
        },
        (Some("keyword"), _) => KeyData::Keyword {
            keyword: text(&search["spec"], "keyword"),
            limit: u8::try_from(number(&find["spec"]["limit"])?)?,
        },
        _ => KeyData::Unknown,
    })
}

fn argument(doc: &Value) -> ArgumentData {
    ArgumentData {
        name: text(doc, "name"),
        kind: text(doc, "type"),
        token: doc.get("token").and_then(Value::as_str).map(str::to_owned),
        flags: words(doc.get("flags")),
        arguments: doc.get("arguments").map(list).unwrap_or_default().iter().map(argument).collect(),
    }
}
