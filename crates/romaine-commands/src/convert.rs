//! Typed replies: straight from the frame, no tree in between.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash};

use bytes::Bytes;
use romaine_resp::{DecodeError, Reader, ServerError, Token, Value};

/// A well-formed reply of another type than asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConversionError {
    /// The reply has another type, or a value that the asked type cannot hold.
    Mismatch {
        /// What was asked for.
        expected: &'static str,
        /// What came: the RESP type, never the value (it is the user's data).
        found: &'static str,
    },
    /// An element of the reply is itself an error, for example of one command of a transaction.
    Server(ServerError),
    /// The frame is malformed; cannot happen for frames that came through a connection.
    Malformed(DecodeError),
}

impl ConversionError {
    /// `expected`, but `token` came.
    #[must_use]
    pub fn mismatch(expected: &'static str, token: Token<'_>) -> Self {
        match token {
            Token::Error(text) => Self::Server(ServerError::new(text)),
            other => Self::Mismatch { expected, found: other.type_name() },
        }
    }
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { expected, found } => write!(f, "the reply is a {found}, not {expected}"),
            Self::Server(error) => write!(f, "an element of the reply is an error: {error}"),
            Self::Malformed(error) => write!(f, "the reply is malformed: {error}"),
        }
    }
}

impl std::error::Error for ConversionError {}

impl From<DecodeError> for ConversionError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// A type that a reply can be turned into.
///
/// Implementations accept both protocol versions: a RESP2 server sends doubles and booleans as strings and numbers, and
/// maps as flat arrays.
pub trait FromValue: Sized {
    /// Consumes one value.
    ///
    /// # Errors
    /// When the value is of another type.
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError>;

    /// Consumes one element where the reply is a list of these. Only bytes differ: `Vec<u8>` is one string.
    ///
    /// # Errors
    /// When the value is of another type.
    #[doc(hidden)]
    fn vec_from_value(reader: &mut Reader<'_>) -> Result<Vec<Self>, ConversionError> {
        let n = elements(reader, "a list")?;
        let mut values = Vec::with_capacity(n.min(reader.remaining() + 1));
        for _ in 0..n {
            values.push(Self::from_value(reader)?);
        }
        Ok(values)
    }

    /// Consumes nil or one value. Only tuples differ: an empty list is none too (`ZPOPMIN` of a missing key).
    ///
    /// # Errors
    /// When the value is of another type.
    #[doc(hidden)]
    fn option_from_value(reader: &mut Reader<'_>) -> Result<Option<Self>, ConversionError> {
        option(reader)
    }
}

/// Nil, or a value.
fn option<T: FromValue>(reader: &mut Reader<'_>) -> Result<Option<T>, ConversionError> {
    if reader.peek()? == Token::Null {
        reader.skip()?;
        return Ok(None);
    }
    T::from_value(reader).map(Some)
}

/// The number of elements of the aggregate that comes next. Null counts as empty: servers answer `*-1` for a missing
/// key where RESP3 says an empty list.
fn elements(reader: &mut Reader<'_>, expected: &'static str) -> Result<usize, ConversionError> {
    match reader.token()? {
        Token::Array(n) | Token::Set(n) | Token::Push(n) => Ok(n),
        Token::Map(n) => Ok(n * 2),
        Token::Null => Ok(0),
        other => Err(ConversionError::mismatch(expected, other)),
    }
}

fn text<'a>(token: Token<'a>, expected: &'static str) -> Result<&'a [u8], ConversionError> {
    match token {
        Token::Bulk(bytes) | Token::Simple(bytes) | Token::BigNumber(bytes) => Ok(bytes),
        other => Err(ConversionError::mismatch(expected, other)),
    }
}

impl FromValue for Value {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        Ok(reader.value()?)
    }
}

/// `OK`, or anything that is not an error.
impl FromValue for () {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        if let Token::Error(text) = reader.peek()? {
            return Err(ConversionError::Server(ServerError::new(text)));
        }
        Ok(reader.skip()?)
    }
}

impl FromValue for Bytes {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        match reader.token()? {
            Token::Integer(n) => Ok(Self::copy_from_slice(itoa::Buffer::new().format(n).as_bytes())),
            token => text(token, "bytes").map(|part| reader.bytes(part)),
        }
    }
}

impl FromValue for String {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let part = match reader.token()? {
            Token::Integer(n) => return Ok(n.to_string()),
            Token::Double(n) => return Ok(n.to_string()),
            Token::Boolean(b) => return Ok(Self::from(if b { "1" } else { "0" })),
            token => text(token, "text")?,
        };
        match std::str::from_utf8(part) {
            Ok(part) => Ok(part.to_owned()),
            Err(_not_text) => Err(ConversionError::Mismatch { expected: "UTF-8 text", found: "string of other bytes" }),
        }
    }
}

impl FromValue for Box<str> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        String::from_value(reader).map(String::into_boxed_str)
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
                const EXPECTED: &str = concat!("an integer that fits ", stringify!($type));
                let token = reader.token()?;
                let number = match token {
                    Token::Integer(n) => Self::try_from(n).ok(),
                    Token::Boolean(b) => Some(Self::from(b)),
                    Token::Bulk(digits) | Token::Simple(digits) | Token::BigNumber(digits) => {
                        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
                    }
                    _ => None,
                };
                number.ok_or_else(|| ConversionError::mismatch(EXPECTED, token))
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 i128 isize u16 u32 u64 u128 usize }

/// A byte has no list of its own kind: `Vec<u8>` is a string.
impl FromValue for u8 {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let token = reader.token()?;
        match token {
            Token::Integer(n) => Self::try_from(n).ok(),
            Token::Bulk(digits) => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
            _ => None,
        }
        .ok_or_else(|| ConversionError::mismatch("an integer that fits u8", token))
    }

    fn vec_from_value(reader: &mut Reader<'_>) -> Result<Vec<Self>, ConversionError> {
        match reader.token()? {
            Token::Integer(n) => Ok(n.to_string().into_bytes()),
            token => text(token, "bytes").map(<[u8]>::to_vec),
        }
    }
}

impl FromValue for f64 {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let token = reader.token()?;
        match token {
            Token::Double(n) => Some(n),
            #[expect(clippy::cast_precision_loss, reason = "an integer score is exact up to 2^53, as in the server")]
            Token::Integer(n) => Some(n as Self),
            Token::Bulk(digits) | Token::Simple(digits) => {
                std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
            }
            _ => None,
        }
        .ok_or_else(|| ConversionError::mismatch("a number", token))
    }
}

impl FromValue for bool {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        match reader.token()? {
            Token::Boolean(b) => Ok(b),
            Token::Integer(n @ (0 | 1)) => Ok(n == 1),
            // `SET … NX` and its like: OK or nil.
            Token::Simple(b"OK") => Ok(true),
            Token::Null => Ok(false),
            other => Err(ConversionError::mismatch("a truth value", other)),
        }
    }
}

/// Nil, or a value.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        T::option_from_value(reader)
    }
}

/// An element that may be an error on its own, as in a transaction's reply.
impl<T: FromValue> FromValue for Result<T, ServerError> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        if let Token::Error(text) = reader.peek()? {
            reader.skip()?;
            return Ok(Err(ServerError::new(text)));
        }
        T::from_value(reader).map(Ok)
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        T::vec_from_value(reader)
    }
}

impl<T: FromValue, const N: usize> FromValue for [T; N] {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        Self::try_from(T::vec_from_value(reader)?).map_err(|_other_length| ConversionError::Mismatch {
            expected: "a list of that length",
            found: "list of another length",
        })
    }
}

impl<T: FromValue + Eq + Hash, S: BuildHasher + Default> FromValue for HashSet<T, S> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = elements(reader, "a set")?;
        (0..n).map(|_| T::from_value(reader)).collect()
    }
}

impl<T: FromValue + Ord> FromValue for BTreeSet<T> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let n = elements(reader, "a set")?;
        (0..n).map(|_| T::from_value(reader)).collect()
    }
}

/// The number of pairs that follow, and whether each is wrapped in an array of its own (`ZRANGE … WITHSCORES` in RESP3).
fn pairs(reader: &mut Reader<'_>) -> Result<(usize, bool), ConversionError> {
    match reader.token()? {
        Token::Map(n) => Ok((n, false)),
        Token::Array(n) | Token::Set(n) => {
            if n > 0 && matches!(reader.peek()?, Token::Array(2)) {
                return Ok((n, true));
            }
            if n % 2 == 1 {
                return Err(ConversionError::Mismatch { expected: "pairs", found: "list of odd length" });
            }
            Ok((n / 2, false))
        }
        Token::Null => Ok((0, false)),
        other => Err(ConversionError::mismatch("pairs", other)),
    }
}

fn pair<K: FromValue, V: FromValue>(reader: &mut Reader<'_>, wrapped: bool) -> Result<(K, V), ConversionError> {
    if wrapped {
        let token = reader.token()?;
        if token != Token::Array(2) {
            return Err(ConversionError::mismatch("a pair", token));
        }
    }
    Ok((K::from_value(reader)?, V::from_value(reader)?))
}

impl<K: FromValue + Eq + Hash, V: FromValue, S: BuildHasher + Default> FromValue for HashMap<K, V, S> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (n, wrapped) = pairs(reader)?;
        let mut map = Self::with_capacity_and_hasher(n.min(reader.remaining()), S::default());
        for _ in 0..n {
            let (key, value) = pair(reader, wrapped)?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

impl<K: FromValue + Ord, V: FromValue> FromValue for BTreeMap<K, V> {
    fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
        let (n, wrapped) = pairs(reader)?;
        (0..n).map(|_| pair(reader, wrapped)).collect()
    }
}

macro_rules! tuples {
    ($($n:literal: $($name:ident)+;)*) => {$(
        impl<$($name: FromValue),+> FromValue for ($($name,)+) {
            fn from_value(reader: &mut Reader<'_>) -> Result<Self, ConversionError> {
                match elements(reader, concat!("a list of ", $n))? {
                    $n => Ok(($($name::from_value(reader)?,)+)),
                    _ => Err(ConversionError::Mismatch {
                        expected: concat!("a list of ", $n),
                        found: "list of another length",
                    }),
                }
            }

            fn option_from_value(reader: &mut Reader<'_>) -> Result<Option<Self>, ConversionError> {
                if matches!(reader.peek()?, Token::Array(0) | Token::Set(0)) {
                    reader.skip()?;
                    return Ok(None);
                }
                option(reader)
            }

            /// A list of pairs comes flat in RESP2 and wrapped in RESP3.
            fn vec_from_value(reader: &mut Reader<'_>) -> Result<Vec<Self>, ConversionError> {
                tuple_list::<Self, $n>(reader, |reader| Ok(($($name::from_value(reader)?,)+)))
            }
        }
    )*};
}

fn tuple_list<T: FromValue, const N: usize>(
    reader: &mut Reader<'_>,
    flat: impl Fn(&mut Reader<'_>) -> Result<T, ConversionError>,
) -> Result<Vec<T>, ConversionError> {
    let n = elements(reader, "a list of lists")?;
    let wrapped = n == 0 || matches!(reader.peek()?, Token::Array(_) | Token::Set(_) | Token::Map(_));
    if !wrapped && n % N != 0 {
        return Err(ConversionError::Mismatch { expected: "groups", found: "list that does not divide into them" });
    }
    let count = if wrapped { n } else { n / N };
    let mut values = Vec::with_capacity(count.min(reader.remaining() + 1));
    for _ in 0..count {
        values.push(if wrapped { T::from_value(reader)? } else { flat(reader)? });
    }
    Ok(values)
}

tuples! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
}
