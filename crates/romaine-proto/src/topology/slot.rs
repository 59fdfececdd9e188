//! Which of a cluster's slots a key is in.

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;

/// The slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it, modulo [`SLOTS`].
///
/// The hash tag is what stands between the first `{` and the first `}` after it, if that is anything.
#[must_use]
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) & SLOT_MASK
}

#[expect(clippy::cast_possible_truncation, reason = "16383")]
const SLOT_MASK: u16 = SLOTS as u16 - 1;

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// `TABLES[n][byte]`: what `byte` does to the checksum when `n` more bytes follow in the same step.
static TABLES: [[u16; 256]; 4] = tables();

const fn tables() -> [[u16; 256]; 4] {
    const POLYNOMIAL: u16 = 0x1021;
    let mut tables = [[0; 256]; 4];
    let mut byte: usize = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 4 {
        byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// Four bytes a step: one lookup does not wait for the one before.
fn crc16(data: &[u8]) -> u16 {
    let mut steps = data.chunks_exact(4);
    let mut crc = 0_u16;
    for step in steps.by_ref() {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[3][usize::from(step[0] ^ high)]
            ^ TABLES[2][usize::from(step[1] ^ low)]
            ^ TABLES[1][usize::from(step[2])]
            ^ TABLES[0][usize::from(step[3])];
    }
    for byte in steps.remainder() {
        let [high, low] = crc.to_be_bytes();
        crc = (u16::from(low) << 8) ^ TABLES[0][usize::from(high ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // Asked of a server: CLUSTER KEYSLOT.
        for (key, slot) in [
            (&b"123456789"[..], 12_739),
            (b"", 0),
            (b"foo", 12_182),
            (b"bar", 5_061),
            (b"hello", 866),
            (b"somekey", 11_058),
            (b"a", 15_495),
            (b"\xff\x00\xfe", 434),
        ] {
            assert_eq!(slot_of(key), slot, "{key:?}");
        }
    }

    #[test]
    fn every_length_gives_what_one_byte_at_a_time_gives() {
        let data: Vec<u8> = (0..=255).cycle().take(600).collect();
        for length in 0..data.len() {
            let mut crc = 0_u16;
            for byte in &data[..length] {
                crc ^= u16::from(*byte) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                }
            }
            assert_eq!(crc16(&data[..length]), crc, "{length}");
        }
    }

    #[test]
    fn only_what_stands_between_the_first_braces_counts_if_anything_does() {
        for (key, hashed) in [
            (&b"foo{bar}"[..], &b"bar"[..]),
            (b"{user1000}.following", b"user1000"),
            (b"foo{}{bar}", b"foo{}{bar}"),
            (b"foo{{bar}}zap", b"{bar"),
            (b"foo{bar}{zap}", b"bar"),
            (b"foo{bar", b"foo{bar"),
            (b"foo}bar{", b"foo}bar{"),
            (b"}{x}", b"x"),
            (b"{}", b"{}"),
            (b"{", b"{"),
        ] {
            assert_eq!(hash_tag(key), hashed);
            assert_eq!(slot_of(key), crc16(hashed) % 16_384);
        }
    }
}
