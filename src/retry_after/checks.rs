//! What holds of every `Retry-After`: a wait is within its limits, and seconds are those that were written.

use chrono::{DateTime, TimeDelta};

use super::{WAIT_MAX, WAIT_MIN, retry_after};

/// Any text as the header's value.
pub(crate) fn any(value: &str) {
    let now = DateTime::from_timestamp(784_111_740, 0).expect("it is a moment of 1994");
    let wait = retry_after(value, now);
    assert!(wait.is_none_or(|wait| (WAIT_MIN..=WAIT_MAX).contains(&wait)), "{value:?}: {wait:?}");
    let seconds = value.trim();
    if !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        // As many as a float knows: beyond the limit all are the same.
        let asked = seconds.parse::<f64>().expect("digits are a number").clamp(1.0, 3600.0);
        assert_eq!(wait.map(|wait| wait.as_secs_f64()), Some(asked), "{value:?}");
    }
    // A date is a moment: a minute later there is a minute less to wait for.
    let later = retry_after(value, now + TimeDelta::minutes(1));
    assert_eq!(wait.is_some(), later.is_some(), "{value:?}");
    assert!(later <= wait, "{value:?}: {wait:?}, and later {later:?}");
}
