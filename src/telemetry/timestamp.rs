//! The time of a line, as RFC 3339 in UTC with milliseconds.

const MILLIS_A_DAY: u64 = 86_400_000;

/// Appends `2026-11-21T10:00:00.123Z` for milliseconds since the epoch, until the year 9999.
pub(super) fn push(out: &mut String, millis: u64) {
    let (days, rest) = (millis / MILLIS_A_DAY, millis % MILLIS_A_DAY);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, rest / 3_600_000),
        (14..16, rest / 60_000 % 60),
        (17..19, rest / 1_000 % 60),
        (20..23, rest % 1_000),
    ];
    for (place, value) in fields {
        digits(&mut text[place], value);
    }
    push_ascii(out, &text);
}

/// Appends `value` with at least `width` digits.
pub(super) fn push_padded(out: &mut String, value: u64, width: usize) {
    let mut text = [b'0'; 20];
    let used = digits(&mut text, value).max(width);
    push_ascii(out, &text[20 - used..]);
}

/// Writes the last digits of `value` at the end of `place`, and returns how many there were.
fn digits(place: &mut [u8], mut value: u64) -> usize {
    let mut used = 0;
    for digit in place.iter_mut().rev() {
        if value == 0 {
            break;
        }
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
    }
    used
}

fn push_ascii(out: &mut String, text: &[u8]) {
    out.push_str(std::str::from_utf8(text).expect("digits and punctuation are ASCII"));
}

/// Year, month and day in the Gregorian calendar, from days since the epoch: counted in years that
/// begin in March, so that a leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january = u64::from(month >= 10);
    (era * 400 + year + january, month + 3 - 12 * january, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_calendar() {
        let seconds = (0..40_000).map(|n| n * 86_399 + n % 61);
        for second in seconds {
            let millis = second * 1_000 + second % 1_000;
            let mut out = String::new();
            push(&mut out, millis);
            let expected = jiff::Timestamp::from_millisecond(millis as i64).unwrap();
            assert_eq!(out, format!("{expected:.3}"));
        }
    }

    #[test]
    fn has_leap_days_and_padding() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ];
        for (millis, expected) in cases {
            let mut out = String::new();
            push(&mut out, millis);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn numbers_are_whole() {
        for (value, width, expected) in
            [(0, 1, "0"), (7, 3, "007"), (1_234, 2, "1234"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut out = String::new();
            push_padded(&mut out, value, width);
            assert_eq!(out, expected);
        }
    }
}
