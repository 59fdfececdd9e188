//! The decoded tree.

use bytes::Bytes;

use crate::error::ServerError;

/// Any RESP value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing there: `_`, `$-1` or `*-1`.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number (RESP3; RESP2 servers send a bulk string).
    Double(f64),
    /// A truth value (RESP3; RESP2 servers send 0 or 1).
    Boolean(bool),
    /// A status line such as `OK`.
    Simple(Bytes),
    /// Binary-safe data.
    Bulk(Bytes),
    /// An integer of any size, in decimal (RESP3).
    BigNumber(Bytes),
    /// An error inside an aggregate, for example of one command of a transaction.
    Error(ServerError),
    /// Values in order.
    Array(Vec<Value>),
    /// Values without order or repetition (RESP3).
    Set(Vec<Value>),
    /// Pairs in the server's order (RESP3; RESP2 servers send a flat array).
    Map(Vec<(Value, Value)>),
    /// Out-of-band data (RESP3).
    Push(Vec<Value>),
}

impl Value {
    /// The bytes of a status line, bulk string or big number.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(bytes) | Self::Bulk(bytes) | Self::BigNumber(bytes) => Some(bytes),
            Self::Null
            | Self::Integer(_)
            | Self::Double(_)
            | Self::Boolean(_)
            | Self::Error(_)
            | Self::Array(_)
            | Self::Set(_)
            | Self::Map(_)
            | Self::Push(_) => None,
        }
    }

    /// The same as text, when it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The number of an integer.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(n) = self { Some(*n) } else { None }
    }

    /// The elements of an array, set or push.
    #[must_use]
    pub fn as_elements(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) | Self::Set(values) | Self::Push(values) => Some(values),
            Self::Null
            | Self::Integer(_)
            | Self::Double(_)
            | Self::Boolean(_)
            | Self::Simple(_)
            | Self::Bulk(_)
            | Self::BigNumber(_)
            | Self::Error(_)
            | Self::Map(_) => None,
        }
    }

    /// Whether it is [`Value::Null`].
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}
