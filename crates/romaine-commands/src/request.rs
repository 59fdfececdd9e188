//! A command on its way: its name and arguments already in wire form, once.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut, BytesMut};
use romaine_resp::{Reader, Token, decimal_digits, write_array_header};

use crate::arg::{ArgWriter, ToArg};
use crate::body::Body;
use crate::convert::FromValue;
use crate::executor::Command;
use crate::spec::{Spec, Wait};

static UNLISTED: Spec = Spec::UNLISTED;

/// A request: what is sent, and what the table says of it.
///
/// The arguments are encoded once, when they are given; sending and sending again are copies of the same bytes.
#[derive(Clone)]
pub struct Request {
    spec: &'static Spec,
    /// Arguments including the words of the name.
    args: u32,
    body: Body,
}

impl Request {
    /// A request for `spec` without arguments yet.
    #[must_use]
    #[inline]
    pub fn new(spec: &'static Spec) -> Self {
        let mut body = Body::new();
        body.extend(spec.wire);
        Self { spec, args: u32::from(spec.words), body }
    }

    /// A request by name. Looked up in the table; a name that is not there is sent as it stands, with the careful
    /// assumptions of [`Spec::UNLISTED`].
    #[must_use]
    pub fn by_name(name: &str) -> Self {
        if let Some(spec) = crate::table::find(name) {
            return Self::new(spec);
        }
        let mut request = Self { spec: &UNLISTED, args: 0, body: Body::new() };
        for word in name.split_ascii_whitespace() {
            request.push(word);
        }
        request
    }

    /// Adds an argument (or several, see [`ToArg`]).
    #[inline]
    pub fn push(&mut self, arg: impl ToArg) {
        let mut writer = ArgWriter::new(&mut self.body);
        arg.write_to(&mut writer);
        self.args += writer.count();
    }

    /// What the table says of this command.
    #[must_use]
    #[inline]
    pub const fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// The command's name, for messages.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        if self.spec.words > 0 {
            return Cow::Borrowed(self.spec.name);
        }
        self.arg(0).map_or(Cow::Borrowed(UNLISTED.name), |name| {
            Cow::Owned(String::from_utf8_lossy(&name[..name.len().min(32)]).to_ascii_uppercase())
        })
    }

    /// Number of arguments, the words of the name included.
    #[must_use]
    pub const fn arg_count(&self) -> u32 {
        self.args
    }

    /// The argument at `index`; the name is 0.
    #[must_use]
    pub fn arg(&self, index: usize) -> Option<&[u8]> {
        self.args().nth(index)
    }

    /// All arguments, the words of the name first.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(self.body.as_slice());
        std::iter::from_fn(move || match reader.token() {
            Ok(Token::Bulk(arg)) => Some(arg),
            _ => None,
        })
    }

    /// Bytes on the wire.
    #[must_use]
    #[inline]
    pub fn wire_len(&self) -> usize {
        3 + decimal_digits(self.args as usize) + self.body.len()
    }

    /// Appends the whole request.
    #[inline]
    pub fn write_to(&self, out: &mut BytesMut) {
        write_array_header(out, self.args as usize);
        out.put_slice(self.body.as_slice());
    }

    /// Whether this very request can hold its connection: the command blocks and its arguments ask for it.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        match self.spec.wait {
            Wait::None => false,
            Wait::LastSeconds | Wait::FirstSeconds | Wait::LastMillis => true,
            Wait::BlockMillis => self.block_position().is_some(),
        }
    }

    /// The argument position of the time-out of a blocking request.
    #[must_use]
    pub fn wait_position(&self) -> Option<usize> {
        match self.spec.wait {
            Wait::None => None,
            Wait::LastSeconds | Wait::LastMillis => (self.args as usize).checked_sub(1),
            Wait::FirstSeconds => Some(usize::from(self.spec.words)),
            Wait::BlockMillis => self.block_position(),
        }
    }

    /// The same request with the argument at `position` replaced.
    #[must_use]
    pub fn with_arg(&self, position: usize, arg: &[u8]) -> Self {
        let mut body = Body::new();
        for (index, old) in self.args().enumerate() {
            body.write_bulk(if index == position { arg } else { old });
        }
        Self { spec: self.spec, args: self.args, body }
    }

    fn block_position(&self) -> Option<usize> {
        // Options stand before STREAMS; a key may well be called "BLOCK".
        for (index, arg) in self.args().enumerate() {
            if arg.eq_ignore_ascii_case(b"STREAMS") {
                return None;
            }
            if arg.eq_ignore_ascii_case(b"BLOCK") {
                return Some(index + 1);
            }
        }
        None
    }

    /// A container's subcommand is known only after its first argument.
    fn refine(&mut self) {
        if self.spec.words < 2
            && let (Some(name), Some(sub)) = (self.arg(0), self.arg(1))
            && let (Ok(name), Ok(sub)) = (std::str::from_utf8(name), std::str::from_utf8(sub))
            && sub.len() < 32
            && let Some(spec) = crate::table::find(&format!("{name} {sub}"))
        {
            self.spec = spec;
        }
    }
}

impl fmt::Debug for Request {
    /// Shows no argument: they are the user's data, and may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} args, {} bytes)", self.name(), self.args, self.wire_len())
    }
}

/// A command by name, for what has no method of its own.
///
/// ```
/// use romaine_commands::cmd;
/// let reply = cmd::<Option<String>>("GETEX").arg("key").arg("PERSIST");
/// # let _ = reply;
/// ```
#[derive(Debug, Clone)]
pub struct Cmd<R> {
    request: Request,
    reply: PhantomData<fn() -> R>,
}

/// Starts a command by name; see [`Cmd`].
#[must_use]
pub fn cmd<R: FromValue>(name: &str) -> Cmd<R> {
    Cmd { request: Request::by_name(name), reply: PhantomData }
}

impl<R: FromValue> Cmd<R> {
    /// A command for a row of the table.
    #[must_use]
    #[inline]
    pub fn new(spec: &'static Spec) -> Self {
        Self { request: Request::new(spec), reply: PhantomData }
    }

    /// Adds an argument (or several).
    #[must_use]
    #[inline]
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.request.push(arg);
        self
    }

    /// The same request with another reply type.
    #[must_use]
    pub fn returning<T: FromValue>(self) -> Cmd<T> {
        Cmd { request: self.request, reply: PhantomData }
    }
}

impl<R: FromValue> Command for Cmd<R> {
    type Reply = R;

    #[inline]
    fn into_request(mut self) -> Request {
        if self.request.spec.words < 2
            && self.request.spec.name != "command"
            && crate::table::is_container(self.request.spec)
        {
            self.request.refine();
        }
        self.request
    }
}
