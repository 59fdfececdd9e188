//! A model of a server: a counter, an echo, first in, first out.

use std::collections::HashSet;

use bytes::BytesMut;
use romaine_resp::{Framer, Limits, Reader, Scan};

/// What all connections of one server share.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) counter: u64,
    /// Tokens of the INCRs that were executed.
    pub(crate) executed: HashSet<u32>,
}

/// The server's side of one connection.
pub(crate) struct Session {
    input: BytesMut,
    framer: Framer,
    pushes: u64,
    /// How it greets.
    pub(crate) refuses: bool,
}

impl Session {
    pub(crate) fn new(refuses: bool) -> Self {
        Self { input: BytesMut::new(), framer: Framer::new(Limits::default()), pushes: 0, refuses }
    }

    /// Executes what is complete; half a request is never executed.
    pub(crate) fn receive(&mut self, server: &mut Server, bytes: &[u8], out: &mut Vec<u8>) {
        self.input.extend_from_slice(bytes);
        while !self.input.is_empty()
            && let Scan::Complete { length, .. } = self.framer.scan(&self.input).unwrap()
        {
            let request = self.input.split_to(length);
            let value = Reader::new(&request).value().unwrap();
            let words: Vec<&str> = value.as_elements().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            self.execute(server, &words, out);
        }
    }

    fn execute(&self, server: &mut Server, words: &[&str], out: &mut Vec<u8>) {
        let reply = match *words {
            ["HELLO", ..] if self.refuses => "-LOADING the dataset\r\n".to_owned(),
            ["HELLO", ..] => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
            ["PING"] | ["SELECT", _] => "+PONG\r\n".to_owned(),
            ["INCR", token] => {
                assert!(server.executed.insert(token.parse().unwrap()), "executed twice");
                server.counter += 1;
                format!(":{}\r\n", server.counter)
            }
            ["GET"] => format!("*1\r\n:{}\r\n", server.counter),
            ["ECHO", text] => format!("${}\r\n{text}\r\n", text.len()),
            ref other => panic!("the server was sent {other:?}"),
        };
        out.extend_from_slice(reply.as_bytes());
    }

    /// Something out of band.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>) {
        self.pushes += 1;
        out.extend_from_slice(format!(">2\r\n+push\r\n:{}\r\n", self.pushes).as_bytes());
    }
}
