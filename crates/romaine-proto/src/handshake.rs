//! From an open socket to a usable connection: HELLO, AUTH, SETNAME, SETINFO, SELECT.

use std::fmt;

use bytes::BytesMut;
use romaine_resp::{Reader, ServerError, Token, write_array_header, write_bulk};

/// The protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP3 where the server knows it, else RESP2. The default.
    #[default]
    Auto,
    /// RESP2, without asking.
    Resp2,
    /// RESP3; a server that does not know it is refused.
    Resp3,
}

/// What a connection asks for. Made anew for every attempt, so that credentials are never older than the attempt.
#[derive(Clone, Default)]
pub struct Greeting {
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// The ACL user; without one, `default`.
    pub username: Option<String>,
    /// The password; without one, no authentication.
    pub password: Option<String>,
    /// The connection's name (CLIENT SETNAME).
    pub name: Option<String>,
    /// The database to SELECT, if not 0.
    pub database: u32,
    /// Library name and version for CLIENT SETINFO (7.2 and later; refusals are ignored).
    pub library: Option<(&'static str, &'static str)>,
    /// Whether to ask for the server's `run_id` (INFO server; refusals are ignored).
    pub run_id: bool,
    /// Whether the server must be a primary: a replica ends the handshake with [`HandshakeError::WrongRole`], before any
    /// caller's byte is sent.
    pub primary: bool,
    /// Whether to send READONLY: a Cluster's replica then answers reads itself.
    pub read_only: bool,
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting")
            .field("protocol", &self.protocol)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("name", &self.name)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Who the server said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerIdentity {
    /// The protocol that is spoken: [`Protocol::Resp2`] or [`Protocol::Resp3`].
    pub protocol: Protocol,
    /// `redis`, `valkey`, … (RESP3 only).
    pub server: Option<String>,
    /// Its version (RESP3 only).
    pub version: Option<String>,
    /// `standalone`, `sentinel` or `cluster` (RESP3 only).
    pub mode: Option<String>,
    /// `master`, `replica` or `slave` (RESP3, or where it was asked for).
    pub role: Option<String>,
    /// The server's number for this connection: what CLIENT KILL ID and CLIENT UNBLOCK take.
    pub client_id: Option<u64>,
    /// Changes with every start of the server process, where it was asked for and allowed.
    pub run_id: Option<String>,
    /// The availability zone (Valkey 8.1 and later, where it is configured).
    pub zone: Option<String>,
}

impl ServerIdentity {
    const fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            server: None,
            version: None,
            mode: None,
            role: None,
            client_id: None,
            run_id: None,
            zone: None,
        }
    }
}

/// One step of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// HELLO 3, with AUTH and SETNAME in it.
    Hello,
    /// AUTH (RESP2).
    Auth,
    /// CLIENT ID (RESP2).
    ClientId,
    /// CLIENT SETNAME (RESP2).
    SetName,
    /// CLIENT SETINFO LIB-NAME.
    LibraryName,
    /// CLIENT SETINFO LIB-VER.
    LibraryVersion,
    /// SELECT.
    Select,
    /// READONLY, on a Cluster's replica.
    ReadOnly,
    /// ROLE, where HELLO did not tell it.
    Role,
    /// INFO server, for the run id.
    RunId,
    /// PING: does it really answer (RESP2 has no HELLO to show it)?
    Ping,
}

impl Step {
    /// The command of the step.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Auth => "AUTH",
            Self::ClientId => "CLIENT ID",
            Self::SetName => "CLIENT SETNAME",
            Self::LibraryName | Self::LibraryVersion => "CLIENT SETINFO",
            Self::Select => "SELECT",
            Self::ReadOnly => "READONLY",
            Self::Role => "ROLE",
            Self::RunId => "INFO",
            Self::Ping => "PING",
        }
    }

    /// Whether the connection can do without it: older servers and narrow ACLs refuse these.
    const fn is_optional(self) -> bool {
        match self {
            // Where ROLE is refused the first READONLY tells.
            Self::LibraryName | Self::LibraryVersion | Self::RunId | Self::ClientId | Self::SetName | Self::Role => {
                true
            }
            Self::Hello | Self::Auth | Self::Select | Self::ReadOnly | Self::Ping => false,
        }
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server refused a step.
    Refused {
        /// Which.
        step: Step,
        /// Its words.
        error: ServerError,
    },
    /// The server answered a step with something else than the step's reply.
    Unexpected {
        /// Which.
        step: Step,
        /// The type that came.
        found: &'static str,
    },
    /// A primary was asked for, and this is none.
    WrongRole {
        /// What it says it is.
        found: String,
    },
}

impl HandshakeError {
    /// Whether it is about who we are: wrong or missing password, no such user, no permission.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        match self {
            Self::Refused { step, error } => {
                matches!(error.code(), "WRONGPASS" | "NOAUTH" | "NOPERM")
                    || *step == Step::Auth
                    || error.as_str().contains("invalid password")
            }
            Self::Unexpected { .. } | Self::WrongRole { .. } => false,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step, error } => write!(f, "the server refused {}: {error}", step.command()),
            Self::Unexpected { step, found } => write!(f, "the server answered {} with a {found}", step.command()),
            Self::WrongRole { found } => write!(f, "the server is no primary: it says that it is a {found}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Drives the steps. No caller's request is sent before it is done.
///
/// Two round trips: HELLO (or AUTH) first, because what follows depends on it, then everything else at once.
#[derive(Debug)]
pub struct Handshake {
    greeting: Greeting,
    /// Steps that were sent and not answered, the next reply's first.
    expected: std::collections::VecDeque<Step>,
    identity: ServerIdentity,
    second_round: bool,
}

impl Handshake {
    /// Starts: what to send first is written to `out`.
    pub fn start(greeting: Greeting, out: &mut BytesMut) -> Self {
        let mut handshake = Self {
            identity: ServerIdentity::new(Protocol::Resp3),
            expected: std::collections::VecDeque::with_capacity(4),
            greeting,
            second_round: false,
        };
        if handshake.greeting.protocol == Protocol::Resp2 {
            handshake.speak_resp2(out);
        } else {
            handshake.send_hello(out);
        }
        handshake
    }

    /// The next reply arrived. `Some` when the handshake is over.
    pub fn reply(&mut self, frame: &[u8], out: &mut BytesMut) -> Option<Result<ServerIdentity, HandshakeError>> {
        let step = self.expected.pop_front().unwrap_or(Step::Hello);
        let mut reader = Reader::new(frame);
        let token = match reader.token() {
            Ok(token) => token,
            Err(_malformed) => return Some(Err(HandshakeError::Unexpected { step, found: "malformed reply" })),
        };
        if let Token::Error(text) = token {
            let error = ServerError::new(text);
            if step == Step::Hello && self.greeting.protocol == Protocol::Auto && knows_no_hello(&error) {
                self.speak_resp2(out);
                return None;
            }
            // A server that cannot write its disk, and a user who may not: both answer, which is all that was asked.
            let has_answered = step == Step::Ping && matches!(error.code(), "MISCONF" | "NOPERM");
            if !step.is_optional() && !has_answered {
                return Some(Err(HandshakeError::Refused { step, error }));
            }
        } else if let Err(error) = self.learn(step, token, &mut reader) {
            return Some(Err(error));
        }
        if !self.expected.is_empty() {
            return None;
        }
        if !self.second_round {
            self.second_round = true;
            self.send_rest(out);
            if !self.expected.is_empty() {
                return None;
            }
        }
        Some(self.judged())
    }

    /// Whether it is the server that was asked for.
    fn judged(&self) -> Result<ServerIdentity, HandshakeError> {
        match self.identity.role.as_deref() {
            Some(found) if self.greeting.primary && found != "master" => {
                Err(HandshakeError::WrongRole { found: found.to_owned() })
            }
            _ => Ok(self.identity.clone()),
        }
    }

    /// A reply arrived before the next step was sent: a server that turns everybody away at the door (`maxclients`,
    /// protected mode) says why. `None` when it is no such refusal.
    pub(crate) fn unasked(&self, frame: &[u8]) -> Option<HandshakeError> {
        match Reader::new(frame).token() {
            Ok(Token::Error(text)) => {
                Some(HandshakeError::Refused { step: self.step(), error: ServerError::new(text) })
            }
            _ => None,
        }
    }

    /// The step whose reply is awaited, for messages.
    #[must_use]
    pub fn step(&self) -> Step {
        self.expected.front().copied().unwrap_or(Step::Hello)
    }

    fn learn(&mut self, step: Step, token: Token<'_>, reader: &mut Reader<'_>) -> Result<(), HandshakeError> {
        let unexpected = |token: Token<'_>| Err(HandshakeError::Unexpected { step, found: token.type_name() });
        match step {
            Step::Hello => match token {
                Token::Map(pairs) => self.learn_hello(pairs, reader, step),
                Token::Array(items) if items % 2 == 0 => self.learn_hello(items / 2, reader, step),
                other => unexpected(other),
            },
            Step::ClientId => {
                if let Token::Integer(id) = token {
                    self.identity.client_id = u64::try_from(id).ok();
                }
                Ok(())
            }
            Step::RunId => {
                if let Token::Bulk(text) = token {
                    self.identity.run_id = info_field(text, "run_id");
                }
                Ok(())
            }
            Step::Role => {
                if let Token::Array(1..) = token
                    && let Ok(Token::Bulk(role)) = reader.token()
                {
                    self.identity.role = Some(String::from_utf8_lossy(role).into_owned());
                }
                Ok(())
            }
            Step::Auth
            | Step::Select
            | Step::ReadOnly
            | Step::SetName
            | Step::LibraryName
            | Step::LibraryVersion
            | Step::Ping => {
                match token {
                    Token::Simple(_) => Ok(()),
                    // RESP2's PING on a connection that somebody put into subscribed mode.
                    Token::Array(_) | Token::Bulk(_) if step == Step::Ping => Ok(()),
                    other => unexpected(other),
                }
            }
        }
    }

    fn learn_hello(&mut self, pairs: usize, reader: &mut Reader<'_>, step: Step) -> Result<(), HandshakeError> {
        let malformed = |_| HandshakeError::Unexpected { step, found: "malformed map" };
        for _ in 0..pairs {
            let key = reader.token().map_err(malformed)?;
            let value = reader.value().map_err(malformed)?;
            let Token::Bulk(key) = key else { continue };
            let text = || value.as_str().map(str::to_owned);
            match key {
                b"server" => self.identity.server = text(),
                b"version" => self.identity.version = text(),
                b"mode" => self.identity.mode = text(),
                b"role" => self.identity.role = text(),
                b"availability_zone" => self.identity.zone = text().filter(|zone| !zone.is_empty()),
                b"id" => self.identity.client_id = value.as_integer().and_then(|id| u64::try_from(id).ok()),
                b"proto" if value.as_integer() == Some(2) => self.identity.protocol = Protocol::Resp2,
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, step: Step, args: &[&str], out: &mut BytesMut) {
        write_array_header(out, args.len());
        for arg in args {
            write_bulk(out, arg.as_bytes());
        }
        self.expected.push_back(step);
    }

    fn send_hello(&mut self, out: &mut BytesMut) {
        let greeting = std::mem::take(&mut self.greeting);
        let mut args = vec!["HELLO", "3"];
        if let Some(password) = &greeting.password {
            args.extend(["AUTH", greeting.username.as_deref().unwrap_or("default"), password]);
        }
        if let Some(name) = &greeting.name {
            args.extend(["SETNAME", name]);
        }
        self.send(Step::Hello, &args, out);
        self.greeting = greeting;
    }

    fn speak_resp2(&mut self, out: &mut BytesMut) {
        self.identity = ServerIdentity::new(Protocol::Resp2);
        let greeting = std::mem::take(&mut self.greeting);
        match (&greeting.username, &greeting.password) {
            (Some(user), Some(password)) => self.send(Step::Auth, &["AUTH", user, password], out),
            (None, Some(password)) => self.send(Step::Auth, &["AUTH", password], out),
            (_, None) => self.send(Step::Ping, &["PING"], out),
        }
        self.greeting = greeting;
    }

    fn send_rest(&mut self, out: &mut BytesMut) {
        let greeting = std::mem::take(&mut self.greeting);
        if self.identity.protocol == Protocol::Resp2 {
            if let Some(name) = &greeting.name {
                self.send(Step::SetName, &["CLIENT", "SETNAME", name], out);
            }
            if self.identity.client_id.is_none() {
                self.send(Step::ClientId, &["CLIENT", "ID"], out);
            }
        }
        if let Some((name, version)) = greeting.library {
            self.send(Step::LibraryName, &["CLIENT", "SETINFO", "LIB-NAME", name], out);
            self.send(Step::LibraryVersion, &["CLIENT", "SETINFO", "LIB-VER", version], out);
        }
        if greeting.database != 0 {
            self.send(Step::Select, &["SELECT", &greeting.database.to_string()], out);
        }
        if greeting.read_only {
            self.send(Step::ReadOnly, &["READONLY"], out);
        }
        if greeting.primary && self.identity.role.is_none() {
            self.send(Step::Role, &["ROLE"], out);
        }
        if greeting.run_id {
            self.send(Step::RunId, &["INFO", "server"], out);
        }
        self.greeting = greeting;
    }
}

/// A server before 6.0, or a proxy, that does not know HELLO or RESP3.
fn knows_no_hello(error: &ServerError) -> bool {
    let text = error.as_str().to_ascii_lowercase();
    error.code() == "NOPROTO" || (error.code() == "ERR" && (text.contains("unknown") || text.contains("unsupported")))
}

/// The value of `field` in INFO's text.
fn info_field(text: &[u8], field: &str) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
        $2\r\nid\r\n:42\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

    fn greeting() -> Greeting {
        Greeting {
            username: Some("app".into()),
            password: Some("s3cret".into()),
            name: Some("web-1".into()),
            database: 5,
            ..Greeting::default()
        }
    }

    fn sent(out: &mut BytesMut) -> Vec<String> {
        let bytes = out.split();
        let mut reader = Reader::new(&bytes);
        let mut commands = Vec::new();
        while !reader.is_at_end() {
            let value = reader.value().unwrap();
            let words: Vec<_> =
                value.as_elements().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
            commands.push(words.join(" "));
        }
        commands
    }

    fn over(handshake: &mut Handshake, frames: &[&[u8]]) -> Result<ServerIdentity, HandshakeError> {
        let mut out = BytesMut::new();
        frames.iter().find_map(|frame| handshake.reply(frame, &mut out)).unwrap()
    }

    #[test]
    fn a_replica_is_refused_where_a_primary_was_asked_for() {
        let wants = |protocol| Greeting { protocol, primary: true, ..Greeting::default() };
        let wrong = Err(HandshakeError::WrongRole { found: "slave".into() });
        let mut out = BytesMut::new();
        let mut resp3 = Handshake::start(wants(Protocol::Resp3), &mut out);
        assert_eq!(over(&mut resp3, &[b"%1\r\n$4\r\nrole\r\n$5\r\nslave\r\n"]), wrong);
        let mut resp2 = Handshake::start(wants(Protocol::Resp2), &mut out);
        let slave = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n";
        assert_eq!(over(&mut resp2, &[b"+PONG\r\n", b":7\r\n", slave]), wrong);
        let mut primary = Handshake::start(wants(Protocol::Resp2), &mut out);
        let master = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
        assert_eq!(over(&mut primary, &[b"+PONG\r\n", b":7\r\n", master]).unwrap().role.as_deref(), Some("master"));
        // Where ROLE is not permitted the first READONLY tells.
        let mut unknown = Handshake::start(wants(Protocol::Resp2), &mut out);
        assert!(over(&mut unknown, &[b"+PONG\r\n", b":7\r\n", b"-NOPERM no\r\n"]).is_ok());
    }

    #[test]
    fn readonly_is_part_of_the_greeting_and_of_every_reconnect() {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(Greeting { read_only: true, ..Greeting::default() }, &mut out);
        out.clear();
        assert_eq!(handshake.reply(HELLO, &mut out), None);
        assert_eq!(sent(&mut out), ["READONLY"]);
        assert!(handshake.reply(b"+OK\r\n", &mut out).unwrap().is_ok());
    }

    #[test]
    fn hello_carries_user_and_name_and_the_rest_follows_at_once() {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(greeting(), &mut out);
        assert_eq!(sent(&mut out), ["HELLO 3 AUTH app s3cret SETNAME web-1"]);
        assert_eq!(handshake.reply(HELLO, &mut out), None);
        assert_eq!(sent(&mut out), ["SELECT 5"]);
        let identity = handshake.reply(b"+OK\r\n", &mut out).unwrap().unwrap();
        assert_eq!(identity.client_id, Some(42));
        assert_eq!(identity.version.as_deref(), Some("7.0.15"));
        assert_eq!(identity.protocol, Protocol::Resp3);
    }

    #[test]
    fn a_server_without_hello_is_spoken_to_in_resp2() {
        for refusal in [&b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n"[..], b"-NOPROTO sorry\r\n"]
        {
            let mut out = BytesMut::new();
            let mut handshake = Handshake::start(greeting(), &mut out);
            out.clear();
            assert_eq!(handshake.reply(refusal, &mut out), None);
            assert_eq!(sent(&mut out), ["AUTH app s3cret"]);
            assert_eq!(handshake.reply(b"+OK\r\n", &mut out), None);
            assert_eq!(sent(&mut out), ["CLIENT SETNAME web-1", "CLIENT ID", "SELECT 5"]);
            assert_eq!(handshake.reply(b"+OK\r\n", &mut out), None);
            assert_eq!(handshake.reply(b":9\r\n", &mut out), None);
            let identity = handshake.reply(b"+OK\r\n", &mut out).unwrap().unwrap();
            assert_eq!((identity.protocol, identity.client_id), (Protocol::Resp2, Some(9)));
        }
    }

    #[test]
    fn resp3_when_forced_is_not_given_up() {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(Greeting { protocol: Protocol::Resp3, ..greeting() }, &mut out);
        let failed = handshake.reply(b"-NOPROTO sorry\r\n", &mut out).unwrap().unwrap_err();
        assert!(matches!(failed, HandshakeError::Refused { step: Step::Hello, .. }), "{failed}");
    }

    #[test]
    fn resp2_when_forced_never_says_hello() {
        let mut out = BytesMut::new();
        Handshake::start(
            Greeting { protocol: Protocol::Resp2, password: Some("x".into()), ..Greeting::default() },
            &mut out,
        );
        assert_eq!(sent(&mut out), ["AUTH x"]);
    }

    #[test]
    fn a_wrong_password_is_an_authentication_failure() {
        for protocol in [Protocol::Auto, Protocol::Resp2] {
            let mut out = BytesMut::new();
            let mut handshake = Handshake::start(Greeting { protocol, ..greeting() }, &mut out);
            let refusal = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
            let error = handshake.reply(refusal, &mut out).unwrap().unwrap_err();
            assert!(error.is_auth(), "{error}");
            assert!(!error.to_string().contains("s3cret"));
        }
    }

    #[test]
    fn steps_that_old_servers_refuse_are_done_without() {
        let mut out = BytesMut::new();
        let greeting = Greeting { library: Some(("romaine", "0")), run_id: true, ..Greeting::default() };
        let mut handshake = Handshake::start(greeting, &mut out);
        assert_eq!(handshake.reply(HELLO, &mut out), None);
        let refusal = b"-ERR Unknown subcommand or wrong number of arguments\r\n";
        assert_eq!(handshake.reply(refusal, &mut out), None);
        assert_eq!(handshake.reply(refusal, &mut out), None);
        let identity = handshake.reply(b"-NOPERM no\r\n", &mut out).unwrap().unwrap();
        assert_eq!(identity.run_id, None);
    }

    #[test]
    fn the_run_id_is_found_in_info() {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(Greeting { run_id: true, ..Greeting::default() }, &mut out);
        assert_eq!(handshake.reply(HELLO, &mut out), None);
        let info = b"$40\r\n# Server\r\nrun_id:abcdef\r\ntcp_port:6379\r\n\r\n\r\n";
        let identity = handshake.reply(info, &mut out).unwrap().unwrap();
        assert_eq!(identity.run_id.as_deref(), Some("abcdef"));
    }

    #[test]
    fn a_peer_that_is_no_redis_is_refused() {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(Greeting::default(), &mut out);
        let error = handshake.reply(b":1\r\n", &mut out).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the server answered HELLO with a integer");
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", greeting()).contains("s3cret"));
    }
}
