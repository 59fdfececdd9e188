//! The smallest executor: one connection, one request at a time.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use romaine_commands::replies::Hello;
use romaine_commands::{Command, Executor, FromValue, ServerCommands, cmd};
use romaine_resp::{FrameKind, Framer, Limits, Reader, Scan, Token};

/// A connection in one protocol version.
pub(crate) struct Link {
    stream: RefCell<TcpStream>,
    pub(crate) hello: Hello,
}

impl Link {
    pub(crate) fn open(port: u16, protocol: u8) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        // Nothing here takes long: an unanswered request is a failure, not a wait.
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut link = Self { stream: RefCell::new(stream), hello: Hello::default() };
        link.hello = (&link).issue(cmd::<Hello>("HELLO").arg(u32::from(protocol))).unwrap();
        assert_eq!(link.hello.proto, i64::from(protocol));
        link
    }

    /// Whether the server knows a command.
    pub(crate) fn has(&self, command: &str) -> bool {
        self.command_info(command.to_ascii_lowercase().replace(' ', "|")).unwrap().iter().any(Option::is_some)
    }

    /// Whether the server's version is at least this; Valkey counts as the Redis it descends from.
    pub(crate) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let info = self.info().unwrap().server().unwrap();
        let version = info.redis_version.unwrap();
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }

    fn exchange(&self, request: &romaine_commands::Request) -> Bytes {
        let mut out = BytesMut::new();
        request.write_to(&mut out);
        let mut stream = self.stream.borrow_mut();
        stream.write_all(&out).unwrap();
        let mut framer = Framer::new(Limits::default());
        let mut buf = Vec::new();
        loop {
            if !buf.is_empty()
                && let Scan::Complete { length, kind } = framer.scan(&buf).unwrap()
            {
                let frame = buf[..length].to_vec();
                buf.drain(..length);
                if kind == FrameKind::Push {
                    continue;
                }
                assert!(buf.is_empty(), "more than one reply for {request:?}");
                return Bytes::from(frame);
            }
            let mut chunk = [0; 64 << 10];
            let n = stream.read(&mut chunk).unwrap_or_else(|error| panic!("{request:?}: {error}"));
            assert!(n > 0, "the server closed the connection on {request:?}");
            buf.extend_from_slice(&chunk[..n]);
        }
    }
}

impl Executor for &Link {
    type Issued<R: FromValue> = Result<R, String>;

    fn issue<C: Command>(self, command: C) -> Result<C::Reply, String> {
        let request = command.into_request();
        let frame = self.exchange(&request);
        let mut reader = Reader::shared(&frame);
        if let Token::Error(text) = reader.peek().unwrap() {
            return Err(String::from_utf8_lossy(text).into_owned());
        }
        let reply = C::Reply::from_value(&mut reader)
            .map_err(|error| format!("{request:?}: {error}; it was {:?}", Reader::new(&frame).value()))?;
        assert!(reader.is_at_end(), "{request:?}: part of the reply was not read");
        Ok(reply)
    }
}
