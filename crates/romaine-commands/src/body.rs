//! The bytes of a request: inline while they are few, so that a small command costs no allocation.

use std::fmt;

/// Room for `GET` or `SET` with a key and value of about 30 bytes each. Measured against 64 and 192: larger ones cost
/// more in moves than the saved allocations give back.
const INLINE: usize = 110;

/// Bulk strings in a row.
#[derive(Clone)]
pub(crate) struct Body {
    inline_len: u8,
    inline: [u8; INLINE],
    /// In use as soon as it is not empty; then `inline` is not.
    heap: Vec<u8>,
}

impl Body {
    pub(crate) const fn new() -> Self {
        Self { inline_len: 0, inline: [0; INLINE], heap: Vec::new() }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.heap.is_empty() { &self.inline[..usize::from(self.inline_len)] } else { &self.heap }
    }

    pub(crate) fn len(&self) -> usize {
        if self.heap.is_empty() { usize::from(self.inline_len) } else { self.heap.len() }
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let start = usize::from(self.inline_len);
        if self.heap.is_empty()
            && let Some(room) = self.inline.get_mut(start..start + bytes.len())
        {
            room.copy_from_slice(bytes);
            #[expect(clippy::cast_possible_truncation, reason = "INLINE is below 256")]
            {
                self.inline_len = (start + bytes.len()) as u8;
            }
            return;
        }
        self.spill(bytes.len());
        self.heap.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn write_bulk(&mut self, data: &[u8]) {
        let length = romaine_resp::bulk_length(data.len());
        if !self.heap.is_empty() || usize::from(self.inline_len) + length > INLINE {
            self.spill(length);
        }
        let mut header = [0; 24];
        let digits = itoa::Buffer::new();
        let header = bulk_header(&mut header, digits, data.len());
        self.extend(header);
        self.extend(data);
        self.extend(b"\r\n");
    }

    /// Cuts off everything from `at` on and returns it.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<u8> {
        if self.heap.is_empty() {
            let end = usize::from(self.inline_len);
            let tail = self.inline.get(at..end).unwrap_or_default().to_vec();
            #[expect(clippy::cast_possible_truncation, reason = "not above inline_len, which is a u8")]
            {
                self.inline_len = at.min(end) as u8;
            }
            return tail;
        }
        let tail = self.heap.split_off(at.min(self.heap.len()));
        if self.heap.is_empty() {
            self.inline_len = 0;
        }
        tail
    }

    #[cold]
    fn spill(&mut self, more: usize) {
        if self.heap.is_empty() {
            self.heap.reserve(usize::from(self.inline_len) + more);
            self.heap.extend_from_slice(&self.inline[..usize::from(self.inline_len)]);
            self.inline_len = 0;
        } else {
            self.heap.reserve(more);
        }
    }
}

#[inline]
fn bulk_header(out: &mut [u8; 24], mut digits: itoa::Buffer, len: usize) -> &[u8] {
    if len < 10 {
        #[expect(clippy::cast_possible_truncation, reason = "len < 10")]
        {
            out[..4].copy_from_slice(&[b'$', b'0' + len as u8, b'\r', b'\n']);
        }
        return &out[..4];
    }
    let digits = digits.format(len).as_bytes();
    out[0] = b'$';
    out[1..=digits.len()].copy_from_slice(digits);
    out[digits.len() + 1..digits.len() + 3].copy_from_slice(b"\r\n");
    &out[..digits.len() + 3]
}

impl fmt::Debug for Body {
    /// Arguments are the user's data, and may be secrets: only their size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
