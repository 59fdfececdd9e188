//! What can stand as an argument.

use bytes::{Bytes, BytesMut};

use crate::body::Body;

/// Receives the arguments of one request; counts them.
#[derive(Debug)]
pub struct ArgWriter<'a> {
    out: &'a mut Body,
    count: u32,
}

impl<'a> ArgWriter<'a> {
    /// Appends to `out`.
    pub(crate) const fn new(out: &'a mut Body) -> Self {
        Self { out, count: 0 }
    }

    /// Writes one argument.
    pub fn write(&mut self, arg: &[u8]) {
        self.out.write_bulk(arg);
        self.count += 1;
    }

    /// How many were written.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// A value that can be an argument.
///
/// Text and bytes are sent as they are, numbers in decimal, floats in the shortest form that reads back the same.
/// Implement it for your own key types; lists of them are then [`ToArgs`](crate::ToArgs) too.
pub trait ToArg {
    /// Writes the argument.
    fn write_to(&self, out: &mut ArgWriter<'_>);
}

macro_rules! bytes_args {
    ($($type:ty => |$value:ident| $bytes:expr;)*) => {$(
        impl ToArg for $type {
            #[inline]
            fn write_to(&self, out: &mut ArgWriter<'_>) {
                let $value = self;
                out.write($bytes);
            }
        }
    )*};
}

bytes_args! {
    str => |value| value.as_bytes();
    String => |value| value.as_bytes();
    [u8] => |value| value;
    Vec<u8> => |value| value;
    Bytes => |value| value;
    BytesMut => |value| value;
    char => |value| value.encode_utf8(&mut [0; 4]).as_bytes();
}

impl<const N: usize> ToArg for [u8; N] {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        out.write(self);
    }
}

macro_rules! integer_args {
    ($($type:ty)*) => {$(
        impl ToArg for $type {
            #[inline]
            fn write_to(&self, out: &mut ArgWriter<'_>) {
                out.write(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}

integer_args! { i8 i16 i32 i64 i128 isize u16 u32 u64 u128 usize }

impl ToArg for f64 {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        // Display of f64 is the shortest text that reads back the same; `inf` and `-inf` are the server's own words.
        out.write(self.to_string().as_bytes());
    }
}

impl ToArg for f32 {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        out.write(self.to_string().as_bytes());
    }
}

impl<T: ToArg + ?Sized> ToArg for &T {
    #[inline]
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        (**self).write_to(out);
    }
}

impl<T: ToArg + ?Sized> ToArg for Box<T> {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        (**self).write_to(out);
    }
}

impl<T: ToArg + ?Sized> ToArg for std::sync::Arc<T> {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        (**self).write_to(out);
    }
}

impl<T: ToArg + ToOwned + ?Sized> ToArg for std::borrow::Cow<'_, T> {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        (**self).write_to(out);
    }
}

/// `None` writes nothing.
impl<T: ToArg> ToArg for Option<T> {
    fn write_to(&self, out: &mut ArgWriter<'_>) {
        if let Some(arg) = self {
            arg.write_to(out);
        }
    }
}
