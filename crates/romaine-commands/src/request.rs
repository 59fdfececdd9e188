//! A command on its way: its name and arguments already in wire form, once.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut, BytesMut};
use romaine_resp::{Reader, Token, decimal_digits, write_array_header};

use crate::arg::{ArgWriter, ToArg};
use crate::args::ToArgs;
use crate::body::Body;
use crate::convert::FromValue;
use crate::executor::Command;
use crate::spec::{KeySpec, Spec, Wait};

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

    /// Adds a list of arguments.
    #[inline]
    pub fn extend<const N: usize>(&mut self, args: impl ToArgs<N>) {
        let mut writer = ArgWriter::new(&mut self.body);
        args.write_args(&mut writer);
        self.args += writer.count();
    }

    /// Adds how many groups of `N` arguments follow, then the arguments (`numkeys key [key …]`).
    pub fn extend_counted<const N: usize>(&mut self, args: impl ToArgs<N>) {
        let (before, mut at) = (self.args, self.mark());
        self.extend(args);
        let groups = (self.args - before) as usize / N.max(1);
        self.insert(&mut at, |out| groups.write_to(out));
    }

    /// The place behind the last argument, for [`insert`](Self::insert).
    #[inline]
    pub(crate) fn mark(&self) -> usize {
        self.body.len()
    }

    /// Inserts arguments at a place that [`mark`](Self::mark) gave, and moves the place behind them.
    pub(crate) fn insert(&mut self, at: &mut usize, write: impl FnOnce(&mut ArgWriter<'_>)) {
        let tail = self.body.split_off(*at);
        let mut writer = ArgWriter::new(&mut self.body);
        write(&mut writer);
        self.args += writer.count();
        *at = self.body.len();
        self.body.extend(&tail);
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
        bulks(self.body.as_slice())
    }

    /// The keys, in order. Empty when there are none or nobody can tell ([`KeySpec::Unknown`]).
    #[must_use]
    pub fn keys(&self) -> Vec<&[u8]> {
        let args = self.args();
        match self.spec.keys {
            KeySpec::None | KeySpec::Unknown => Vec::new(),
            KeySpec::Range { first, last, step } => {
                let first = usize::from(first);
                let end = match usize::try_from(last) {
                    Ok(last) => last + 1,
                    Err(_negative) => (self.args as usize + 1).saturating_sub(usize::from(last.unsigned_abs())),
                };
                args.take(end).skip(first).step_by(usize::from(step.max(1))).collect()
            }
            KeySpec::Counted { count, first } => {
                args.skip(usize::from(first)).take(self.number(usize::from(count))).collect()
            }
            KeySpec::StoreCounted { store, count, first } => {
                let sources = self.args().skip(usize::from(first)).take(self.number(usize::from(count)));
                args.skip(usize::from(store)).take(1).chain(sources).collect()
            }
            KeySpec::AfterKeyword { keyword } => {
                let rest: Vec<_> =
                    args.skip_while(|arg| !arg.eq_ignore_ascii_case(keyword.as_bytes())).skip(1).collect();
                let keys = rest.len() / 2;
                rest.into_iter().take(keys).collect()
            }
        }
    }

    /// The same keys without a list: nothing is allocated, and nothing behind the last key is looked at.
    pub fn keys_iter(&self) -> impl Iterator<Item = &[u8]> {
        let args = self.args as usize;
        let mut store = usize::MAX;
        let (first, end, step) = match self.spec.keys {
            KeySpec::None | KeySpec::Unknown => (0, 0, 1),
            KeySpec::Range { first, last, step } => {
                let end = match usize::try_from(last) {
                    Ok(last) => last + 1,
                    Err(_negative) => (args + 1).saturating_sub(usize::from(last.unsigned_abs())),
                };
                (usize::from(first), end, usize::from(step.max(1)))
            }
            KeySpec::Counted { count, first } => {
                let first = usize::from(first);
                (first, first.saturating_add(self.number(usize::from(count))), 1)
            }
            KeySpec::StoreCounted { store: destination, count, first } => {
                store = usize::from(destination);
                let first = usize::from(first);
                (first, first.saturating_add(self.number(usize::from(count))), 1)
            }
            KeySpec::AfterKeyword { keyword } => {
                let word = self.args().position(|arg| arg.eq_ignore_ascii_case(keyword.as_bytes()));
                let first = word.map_or(args, |word| word + 1);
                (first, first + args.saturating_sub(first) / 2, 1)
            }
        };
        let end_of_all = if store == usize::MAX { end } else { end.max(store + 1) };
        self.args().take(end_of_all).enumerate().filter_map(move |(place, arg)| {
            let is_key = place == store || (place >= first && place < end && (place - first).is_multiple_of(step));
            is_key.then_some(arg)
        })
    }

    /// The number at `index`; zero when there is none.
    fn number(&self, index: usize) -> usize {
        self.arg(index).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
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

/// Bulk strings in a row.
fn bulks(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(wire);
    std::iter::from_fn(move || match reader.token() {
        Ok(Token::Bulk(arg)) => Some(arg),
        _ => None,
    })
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
#[must_use = "a command does nothing until it is issued"]
pub struct Cmd<R> {
    request: Request,
    reply: PhantomData<fn() -> R>,
}

/// Starts a command by name; see [`Cmd`].
pub fn cmd<R: FromValue>(name: &str) -> Cmd<R> {
    Cmd { request: Request::by_name(name), reply: PhantomData }
}

impl<R: FromValue> Cmd<R> {
    /// A command for a row of the table.
    #[inline]
    pub fn new(spec: &'static Spec) -> Self {
        Self { request: Request::new(spec), reply: PhantomData }
    }

    /// Adds an argument (or several).
    #[inline]
    pub fn arg(mut self, arg: impl ToArg) -> Self {
        self.request.push(arg);
        self
    }

    /// Adds a list of arguments.
    #[inline]
    pub fn args<const N: usize>(mut self, args: impl ToArgs<N>) -> Self {
        self.request.extend(args);
        self
    }

    /// Adds how many groups of `N` arguments follow, then the arguments (`numkeys key [key …]`).
    pub fn counted_args<const N: usize>(mut self, args: impl ToArgs<N>) -> Self {
        self.request.extend_counted(args);
        self
    }

    /// Adds the first of every pair, then the second of every pair (XREAD's keys and ids).
    pub(crate) fn transposed_args(mut self, pairs: impl ToArgs<2>) -> Self {
        let mut both = Body::new();
        pairs.write_args(&mut ArgWriter::new(&mut both));
        let both: Vec<_> = bulks(both.as_slice()).collect();
        for arg in both.iter().step_by(2).chain(both.iter().skip(1).step_by(2)) {
            self.request.push(*arg);
        }
        self
    }

    /// The same request under another row for the same command.
    pub(crate) fn for_row(mut self, spec: &'static Spec) -> Self {
        self.request.spec = spec;
        self
    }

    /// The place behind the last argument.
    #[inline]
    pub(crate) fn mark(&self) -> usize {
        self.request.mark()
    }

    /// Inserts arguments at a place that `mark` gave, and moves the place behind them.
    pub(crate) fn insert(mut self, at: &mut usize, write: impl FnOnce(&mut ArgWriter<'_>)) -> Self {
        self.request.insert(at, write);
        self
    }

    /// The same request with another reply type.
    pub fn returning<T: FromValue>(self) -> Cmd<T> {
        Cmd { request: self.request, reply: PhantomData }
    }
}

impl<R: FromValue> Command for Cmd<R> {
    type Reply = R;

    #[inline]
    fn into_request(mut self) -> Request {
        if self.request.spec.words == 1 && self.request.args > 1 && crate::table::is_container(self.request.spec) {
            self.request.refine();
        }
        self.request
    }
}
