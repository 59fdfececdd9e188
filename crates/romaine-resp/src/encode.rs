//! Requests: always an array of bulk strings.

use bytes::{BufMut, BytesMut};

/// How many decimal digits `n` has.
#[must_use]
pub const fn decimal_digits(n: usize) -> usize {
    if n == 0 { 1 } else { n.ilog10() as usize + 1 }
}

/// The wire length of a bulk string of `len` bytes.
#[must_use]
pub const fn bulk_length(len: usize) -> usize {
    1 + decimal_digits(len) + 2 + len + 2
}

/// Writes `*n\r\n`.
pub fn write_array_header(out: &mut BytesMut, n: usize) {
    if n < 10 {
        // The length of nearly every request: one copy of four bytes.
        #[expect(clippy::cast_possible_truncation, reason = "n < 10")]
        out.put_slice(&[b'*', b'0' + n as u8, b'\r', b'\n']);
        return;
    }
    out.put_u8(b'*');
    out.put_slice(itoa::Buffer::new().format(n).as_bytes());
    out.put_slice(b"\r\n");
}

/// Writes `data` as a bulk string.
pub fn write_bulk(out: &mut BytesMut, data: &[u8]) {
    out.reserve(bulk_length(data.len()));
    out.put_u8(b'$');
    out.put_slice(itoa::Buffer::new().format(data.len()).as_bytes());
    out.put_slice(b"\r\n");
    out.put_slice(data);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let mut out = BytesMut::new();
        write_array_header(&mut out, 2);
        write_bulk(&mut out, b"GET");
        write_bulk(&mut out, b"");
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }

    #[test]
    fn lengths_are_what_is_written() {
        for len in [0, 1, 9, 10, 99, 100, 12_345] {
            let mut out = BytesMut::new();
            write_bulk(&mut out, &vec![b'x'; len]);
            assert_eq!(out.len(), bulk_length(len), "{len}");
        }
        let mut out = BytesMut::new();
        write_array_header(&mut out, 1_000);
        assert_eq!(&out[..], b"*1000\r\n");
    }
}
