//! The bytes of a request: inline while they are few, so that a small command costs no allocation.

use std::fmt;

/// Room for `GET` or `SET` with a key and value of about 30 bytes each, and for the whole [`Request`](crate::Request)
/// to be 128 bytes: what compilers still move without a call.
const INLINE: usize = 108;

/// Bulk strings in a row.
#[derive(Clone)]
pub(crate) enum Body {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Vec<u8>),
}

impl Body {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self::Inline { len: 0, bytes: [0; INLINE] }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(heap) => heap,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Inline { len, .. } => usize::from(*len),
            Self::Heap(heap) => heap.len(),
        }
    }

    #[inline]
    pub(crate) fn extend(&mut self, more: &[u8]) {
        match self.room(more.len()) {
            Some(room) => room.copy_from_slice(more),
            None => self.spill(&[more]),
        }
    }

    #[inline]
    pub(crate) fn write_bulk(&mut self, data: &[u8]) {
        let length = romaine_resp::bulk_length(data.len());
        let digits = decimal(data.len());
        let Some(room) = self.room(length) else {
            let mut length = itoa::Buffer::new();
            self.spill(&[b"$", length.format(data.len()).as_bytes(), b"\r\n", data, b"\r\n"]);
            return;
        };
        // Inline, so fewer than 100 bytes: one or two digits.
        let header = if data.len() < 10 { 4 } else { 5 };
        room[0] = b'$';
        if data.len() < 10 {
            room[1] = digits[1];
        } else {
            room[1..3].copy_from_slice(&digits);
        }
        room[header - 2..header].copy_from_slice(b"\r\n");
        room[header..header + data.len()].copy_from_slice(data);
        room[header + data.len()..].copy_from_slice(b"\r\n");
    }

    /// The next `length` inline bytes, if there is room for them.
    #[inline]
    fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        let Self::Inline { len, bytes } = self else { return None };
        let start = usize::from(*len);
        let end = start.checked_add(length)?;
        let room = bytes.get_mut(start..end)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most INLINE, which is below 256")]
        {
            *len = end as u8;
        }
        Some(room)
    }

    /// Cuts off everything from `at` on and returns it.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<u8> {
        match self {
            Self::Inline { len, bytes } => {
                let end = usize::from(*len);
                let at = at.min(end);
                #[expect(clippy::cast_possible_truncation, reason = "not above len, which is a u8")]
                {
                    *len = at as u8;
                }
                bytes[at..end].to_vec()
            }
            Self::Heap(heap) => heap.split_off(at.min(heap.len())),
        }
    }

    /// Appends on the heap, moving there first.
    #[cold]
    fn spill(&mut self, parts: &[&[u8]]) {
        if let Self::Inline { len, bytes } = self {
            let more: usize = parts.iter().map(|part| part.len()).sum();
            let mut heap = Vec::with_capacity(usize::from(*len) + more);
            heap.extend_from_slice(&bytes[..usize::from(*len)]);
            *self = Self::Heap(heap);
        }
        if let Self::Heap(heap) = self {
            for part in parts {
                heap.extend_from_slice(part);
            }
        }
    }
}

/// The last two decimal digits of `n`.
#[inline]
const fn decimal(n: usize) -> [u8; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "digits")]
    [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

impl fmt::Debug for Body {
    /// Arguments are the user's data, and may be secrets: only their size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
