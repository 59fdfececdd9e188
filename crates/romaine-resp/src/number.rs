//! Numbers as RESP writes them: decimal ASCII up to a CR.

/// The integer in `digits`, an optional sign first. `None` when it is not one or does not fit.
pub(crate) fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    // 19 digits fit u64, so only the last step has to look at the range.
    let mut value: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Whether `text` is decimal digits, an optional sign first: an integer of any size.
pub(crate) fn is_integer(text: &[u8]) -> bool {
    let ([b'-' | b'+', digits @ ..] | digits) = text;
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// The double in `text`: what `strtod` accepts and the server sends, `inf`, `-inf` and `nan` included.
pub(crate) fn double(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_cover_the_whole_range_and_nothing_else() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-1"), Some(-1));
        assert_eq!(integer(b"+7"), Some(7));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        for bad in
            [&b""[..], b"-", b"9223372036854775808", b"-9223372036854775809", b"1a", b" 1", b"99999999999999999999"]
        {
            assert_eq!(integer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn doubles_accept_what_servers_send() {
        assert_eq!(double(b"inf"), Some(f64::INFINITY));
        assert_eq!(double(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(double(b"1.5e3"), Some(1500.0));
        assert!(double(b"nan").is_some_and(f64::is_nan));
        assert_eq!(double(b"x"), None);
    }
}
