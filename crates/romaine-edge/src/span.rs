//! Times and delays as people write them: `90s`, `10m`, `2h55m`, `exponential:1m..3h`.

use std::time::Duration;

use romaine::Backoff;

use crate::error::Error;

/// Reads `500ms`, `90s`, `10m`, `2h55m`, `1d`.
///
/// # Errors
/// When it is not of this form, or zero.
pub fn parse_span(text: &str) -> Result<Duration, Error> {
    let wrong = || Error::usage(format!("'{text}' is not a time; expected for example 90s, 10m or 2h55m"));
    let (mut rest, mut total) = (text.trim(), Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest.get(..digits).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        rest = rest.get(digits..).unwrap_or_default();
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let ms = match rest.get(..end).unwrap_or_default() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = rest.get(end..).unwrap_or_default();
    }
    if total.is_zero() { Err(wrong()) } else { Ok(total) }
}

/// Reads a delay between attempts: `constant:5s`, `linear:1s+2s..1m`, and `exponential`, `full-jitter`, `equal-jitter`,
/// `decorrelated-jitter` with `:base..max`.
///
/// # Errors
/// When it is none of these.
pub fn parse_backoff(text: &str) -> Result<Backoff, Error> {
    let wrong = || {
        Error::usage(format!(
            "'{text}' is not a delay; expected constant:5s, linear:1s+2s..1m, exponential:1m..3h, full-jitter:1s..1m, \
             equal-jitter:… or decorrelated-jitter:…"
        ))
    };
    let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
    let range = || {
        let (base, max) = rest.split_once("..").ok_or_else(wrong)?;
        let (base, max) = (parse_span(base)?, parse_span(max)?);
        if base > max {
            return Err(Error::usage(format!("'{text}': the first delay is longer than the longest")));
        }
        Ok((base, max))
    };
    Ok(match name {
        "constant" => Backoff::Constant { delay: parse_span(rest)? },
        "linear" => {
            let (base, rest) = rest.split_once('+').ok_or_else(wrong)?;
            let (step, max) = rest.split_once("..").ok_or_else(wrong)?;
            Backoff::Linear { base: parse_span(base)?, step: parse_span(step)?, max: parse_span(max)? }
        }
        "exponential" => range().map(|(base, max)| Backoff::Exponential { base, max })?,
        "full-jitter" => range().map(|(base, max)| Backoff::FullJitter { base, max })?,
        "equal-jitter" => range().map(|(base, max)| Backoff::EqualJitter { base, max })?,
        "decorrelated-jitter" => range().map(|(base, max)| Backoff::DecorrelatedJitter { base, max })?,
        _ => return Err(wrong()),
    })
}

/// `1.5s`, `4m 10s`, `2h 55m`: for tables.
#[must_use]
pub fn show_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_span("2h55m").unwrap(), Duration::from_secs(10_500));
        assert_eq!(parse_span("1500ms").unwrap(), Duration::from_millis(1_500));
        for wrong in ["", "5", "m", "-1s", "1y", "0s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_span(Duration::from_secs(10_500)), "2h 55m");
    }

    #[test]
    fn delays_become_romaines_own() {
        let minute_to_hours = parse_backoff("exponential:1m..3h").unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut at = |attempt| minute_to_hours.delay(attempt, Duration::ZERO, &mut random).as_secs();
        assert_eq!((at(0), at(1), at(7), at(8), at(99)), (60, 120, 7_680, 10_800, 10_800));
        assert!(matches!(parse_backoff("linear:1s+2s..1m").unwrap(), Backoff::Linear { .. }));
        for wrong in ["exponential", "exponential:1m", "exponential:3h..1m", "fast:1s..2s", "constant:x"] {
            assert!(parse_backoff(wrong).is_err(), "{wrong}");
        }
    }
}
