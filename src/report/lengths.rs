//! Lengths of time, shares and moments, in words for people and as numbers for programs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::ser::Error as _;
use serde_json::value::RawValue;

const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// A length of microseconds as a JSON number of seconds with six decimals, exact however long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub i64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// A moment in microseconds since 1970 as a time; the nearest there is for one out of all calendars.
pub fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// A length of microseconds in its two largest units: `41d 3h`, `12m 5s`, `3.2s`, `40ms`.
pub fn words(micros: i64) -> String {
    let micros = micros.max(0);
    let seconds = micros / 1_000_000;
    if seconds < 1 {
        return if micros % 1_000 == 0 { format!("{}ms", micros / 1_000) } else { format!("{micros}us") };
    }
    if seconds < 60 && micros % 1_000_000 >= 100_000 {
        return format!("{seconds}.{}s", micros % 1_000_000 / 100_000);
    }
    let first = UNITS.iter().position(|(_, unit)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, size) = UNITS[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((unit, next)) = UNITS.get(first + 1).filter(|(_, next)| seconds % size >= *next) {
        text += " ";
        text += &(seconds % size / next).to_string();
        text += unit;
    }
    text
}

/// A share in percent with two decimals, rounded down, so that what is not whole never looks so.
pub fn percent(part: u128, whole: u128) -> String {
    if whole == 0 || part == whole {
        return "100%".to_owned();
    }
    let hundredths = part * 10_000 / whole;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// A count with its thousands apart: `86,400`.
pub fn many(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_words() {
        for (micros, expected) in [
            (0, "0ms"),
            (1, "1us"),
            (40_000, "40ms"),
            (1_000_000, "1s"),
            (3_250_000, "3.2s"),
            (60_000_000, "1m"),
            (725_900_000, "12m 5s"),
            (3_600_000_000, "1h"),
            (3_553_200_000_000, "41d 3h"),
            (86_400_000_000 + 59_000_000, "1d"),
        ] {
            assert_eq!(words(micros), expected);
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (micros, expected) in [(0, "0.000000"), (i64::MAX, "9223372036854.775807"), (-1_500_000, "-1.500000")] {
            assert_eq!(serde_json::to_string(&Seconds(micros)).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_whole_never_looks_so() {
        assert_eq!(percent(999_999, 1_000_000), "99.99%");
        assert_eq!(percent(0, 3), "0.00%");
        assert_eq!(percent(3, 3), "100%");
    }

    #[test]
    fn thousands_are_apart() {
        for (count, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(many(count), expected);
        }
    }
}
