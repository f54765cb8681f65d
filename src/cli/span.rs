//! Lengths of time and points in time as arguments.

use jiff::Timestamp;

/// The units, the longest first, in seconds.
const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Why an expiry is refused: what follows the option's name.
const EXPIRY_SHAPE: &str = "is neither an RFC 3339 time such as 2027-01-31T00:00:00Z nor a span such as 90d or 12h30m";

/// Seconds of a span such as `90d` or `1h30m`: whole numbers with their units, the longest first and none twice.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let (unit, after) = after.split_at_checked(1)?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    Some(total)
}

/// When something ends that is to end at a time or after a span, in seconds since the epoch; what is over already is
/// an error.
pub(super) fn expiry(text: &str, now: u64) -> Result<u64, &'static str> {
    let at = match (seconds(text), text.parse::<Timestamp>()) {
        (Some(span), _) => now.checked_add(span).ok_or("is too far away: leave it out, and it never expires")?,
        // What ends, ends no later.
        (None, Ok(time)) => u64::try_from(time.as_second()).map_err(|_| "lies in the past: name a time to come")?,
        (None, Err(_)) => return Err(EXPIRY_SHAPE),
    };
    if at <= now {
        return Err("lies in the past: name a time to come");
    }
    let year_9999 = u64::try_from(Timestamp::MAX.as_second()).unwrap_or(u64::MAX);
    if at > year_9999 { Err("lies beyond the year 9999: leave it out, and it never expires") } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_with_units() {
        for (text, expected) in [
            ("90d", Some(7_776_000)),
            ("2w", Some(1_209_600)),
            ("1w2d3h4m5s", Some(788_645)),
            ("5m", Some(300)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5M", None),
            ("5ms", None),
            ("5mé", None),
            ("-5m", None),
            ("1.5h", None),
            ("5m 3s", None),
            ("3s5m", None),
            ("5m5m", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_expiry_is_a_time_or_a_span_to_come() {
        let now = 1_795_341_600;
        for (text, expected) in [
            ("90d", Ok(now + 7_776_000)),
            ("2026-11-22T10:00:01Z", Ok(now + 1)),
            ("2026-11-22T12:00:01.9+02:00", Ok(now + 1)),
            ("2026-11-22T10:00:00Z", Err("lies in the past: name a time to come")),
            ("0d", Err("lies in the past: name a time to come")),
            ("1900-01-01T00:00:00Z", Err("lies in the past: name a time to come")),
            ("18446744073709551615s", Err("is too far away: leave it out, and it never expires")),
            ("300000000000s", Err("lies beyond the year 9999: leave it out, and it never expires")),
            ("2027-01-31", Err(EXPIRY_SHAPE)),
            ("tomorrow", Err(EXPIRY_SHAPE)),
            ("", Err(EXPIRY_SHAPE)),
        ] {
            assert_eq!(expiry(text, now), expected, "{text:?}");
        }
    }
}
