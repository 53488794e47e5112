//! `Retry-After`, in the answers of upstreams and of stores.

#[cfg(any(test, fuzzing))]
pub(crate) mod checks;

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

/// The longest wait that is obeyed. Longer ones are asked for by mistake.
const WAIT_MAX: Duration = Duration::from_hours(1);
const WAIT_MIN: Duration = Duration::from_secs(1);

/// `Retry-After` in both its forms (RFC 9110, 10.2.3), within limits.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are certainly more than the limit.
        value.parse().map_or(WAIT_MAX, Duration::from_secs)
    } else {
        // A moment that has passed asks for nothing more than the least wait.
        (http_date(value)? - now).to_std().unwrap_or(WAIT_MIN)
    };
    Some(wait.clamp(WAIT_MIN, WAIT_MAX))
}

/// A date of HTTP in its three forms: the present one, RFC 850's and asctime's.
fn http_date(value: &str) -> Option<DateTime<Utc>> {
    if let Ok(moment) = DateTime::parse_from_rfc2822(value) {
        return Some(moment.to_utc());
    }
    let forms = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(value, form).ok()).map(|moment| moment.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_table() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("0", Some(1)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(1)),
            ("Sat, 06 Nov 2094 08:48:00 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
