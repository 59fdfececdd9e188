//! RESP2 and RESP3: bytes to values and back, with limits. No I/O and no clock.
//!
//! Three layers, each usable alone:
//!
//! 1. [`Framer`] finds where a reply ends. It is resumable (nothing is scanned twice however the bytes are cut) and
//!    enforces [`Limits`], so everything after it works on a complete, well-formed frame.
//! 2. [`Reader`] walks a complete frame as [`Token`]s without building anything.
//! 3. [`Value`] is the tree for callers that want one.
//!
//! [`write_array_header`] and [`write_bulk`] are the other direction: a request is always an array of bulk strings.
//!
//! The rules are those of the RESP specification (versions 2 and 3); streamed aggregates (`*?`, `$?`) are in that
//! text but no server sends them, so they are refused.

mod element;
mod encode;
mod error;
mod frame;
mod number;
mod reader;
mod value;

pub use encode::{bulk_length, decimal_digits, write_array_header, write_bulk};
pub use error::{DecodeError, DecodeErrorKind, ServerError};
pub use frame::{FrameKind, Framer, Limits, Scan};
pub use reader::{Reader, Token};
pub use value::Value;
